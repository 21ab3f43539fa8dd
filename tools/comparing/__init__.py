"""Layouts held against each other: what `runstate diff` and `runstate matrix` are made of."""
