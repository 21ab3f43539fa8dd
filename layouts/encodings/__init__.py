"""The families' structs encoded by hand a second and a third time, a file a family.

Each has CONSTRUCTS and CTYPES: ABI -> name -> a Construct definition or a ctypes class. Names and
types, no offsets, and nothing taken from structs/, or a comparison with it would prove nothing.
ctypes lays out structs as the host's compiler does: its classes are for hosts like that ABI.
"""
