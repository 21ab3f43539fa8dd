import ctypes as C


class Base(C.Structure):
    _fields_ = (("state", C.c_int32),)


class Rs(Base):
    _fields_ = (
        ("state_entry_time", C.c_uint64),
        ("time", C.c_uint64 * 4),
    )


def test_it(runstate_check):
    runstate_check("native", against=Rs)
