"""The names of the families of structs, for command lines: importing this costs nothing."""

RUNSTATE = "runstate"
ALL = "all"

# Families besides runstate, in the order in which they are shown.
MODULES = {
    "vcpu_info": "runstate_abi.layouts.structs.vcpu_info",
    "pvclock": "runstate_abi.layouts.structs.pvclock",
    "steal_time": "runstate_abi.layouts.structs.steal_time",
    "uapi": "runstate_abi.layouts.structs.uapi",
    "hyperv": "runstate_abi.layouts.structs.hyperv",
}

# Where each is encoded a second and a third time.
ENCODINGS = {name: f"runstate_abi.layouts.encodings.{name}" for name in MODULES}

# Those whose structs a version guards: they have writers and readers, in writer/versions.
VERSIONED = ("pvclock", "steal_time", "hyperv")
