"""Numbers of calls, and what the guest's author is advised to do with memory.

Law of this file: numbers of Xen's public headers, and numbers that follow from layouts/.
"""

from runstate_abi.layouts.runstate import NATIVE
from runstate_abi.writer.xen import PHYS_ALIGNMENT

# xen/include/public/xen.h and vcpu.h.
# fmt: off
NUMBERS = {
    "hypercall.vcpu_op":    24,
    "hypercall.vm_assist":  21,
    "vcpuop.get":           4,
    "vcpuop.register":      5,
    "vcpuop.register_phys": 14,
    "vmasst.enable":        0,
    "vmasst.flag":          5,
}
# fmt: on

# An area that is aligned to a cache line, and no longer than one, is in one line and in one page.
CACHE_LINE = 64


def words() -> dict[str, str]:
    """Return the numbers that the prose asks for."""
    assert NATIVE.size <= CACHE_LINE
    numbers = {
        **NUMBERS,
        "advice.alignment": CACHE_LINE,
        "phys.native": PHYS_ALIGNMENT["native"],
        "phys.compat": PHYS_ALIGNMENT["compat"],
    }
    return {name: str(number) for name, number in numbers.items()}
