import ctypes as C


class El(C.BigEndianStructure):
    _fields_ = (("v", C.c_uint64),)


class Rs(C.Structure):
    _fields_ = (
        ("state", C.c_int32),
        ("state_entry_time", C.c_uint64),
        ("time", El * 4),
    )


def test_it(runstate_check):
    runstate_check("native", against=Rs)
