"""Recorded updates, file format by file format, and the model doing what each of them recorded."""
