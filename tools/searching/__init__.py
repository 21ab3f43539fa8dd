"""Runstate areas in a whole memory image: where five times stand in a row, and what they are."""
