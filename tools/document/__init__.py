"""The ABI document: its content as values, and one module for each way to write it down."""
