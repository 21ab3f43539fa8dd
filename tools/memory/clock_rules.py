"""What the numbers of a clock or of a steal time show: a table of rules, each with its fact.

A rule is WRONG only if no writer that we know can leave such numbers: besides KVM and Xen these are
OpenBSD's vmm and VirtualBox. No rule is asked while an update is in progress.
"""
# ruff: noqa: E501

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from runstate_abi.tools.memory import clocks
from runstate_abi.tools.memory.observations import HALF, NORMAL, WRAP, WRONG, Observation, words

Numbers = Mapping[str, int]  # by the names that decoded.py's KINDS have, not the members'

# The facts behind the rules. Each source was read.
X86 = "Linux arch/x86/kvm/x86.c"
# fmt: off
FACTS = {
    "scale":     f"{X86}, kvm_get_time_scale(), and Xen xen/arch/x86/time.c, set_time_scale(), return a multiplier of 2^31 or more; Xen's local_time_calibration() at least half of that. OpenBSD's sys/arch/amd64/amd64/vmm_machdep.c, vmm_init_pvclock(), has a fixed shift of 12 and a smaller multiplier, which is 0 where it does not know the frequency; Linux's pvclock_tsc_khz() divides by it",
    "shift":     f"{X86}, kvm_get_time_scale(), and Xen xen/arch/x86/time.c, set_time_scale(), return -34 to 30 for every frequency of 64 bits; Xen's local_time_calibration() -35 to 31; OpenBSD's vmm_update_pvclock() 12",
    "flags":     "Linux arch/x86/include/asm/pvclock-abi.h and Xen xen/include/public/xen.h define no such bit; Documentation/virt/kvm/x86/msr.rst lets guest and hypervisor agree on more, by CPUID, so a reader must not mind it",
    "zero-flag": 'Linux arch/x86/include/asm/pvclock-abi.h: "broke ABI and can\'t be used anymore"',
    "negative":  "Linux commit 77fcbe823f00 (\"KVM: x86: Prevent 'hv_clock->system_time' from going negative in kvm_guest_time_update()\") (in v5.12): before it, KVM_SET_CLOCK to 0 made it a small negative number",
    "nsec":      "nsec is what a division by 10^9 leaves: kvm_write_wall_clock() (Linux arch/x86/kvm/x86.c, since 7.3 msrs.c), kvm_xen_shared_info_init() (arch/x86/kvm/xen.c), do_settime() (Xen xen/common/time.c)",
    "offset":    "Xen xen/common/time.c, update_domain_wallclock_time(), adds the domain's time offset, which is signed, and stores 64 bits",
    "adds":      f"ns, from 0 on: a writer only adds what run_delay grew by, {X86}, record_steal_time(); arch/riscv/kvm/vcpu_sbi_sta.c, kvm_riscv_vcpu_record_steal_time(); arch/arm64/kvm/pvtime.c, kvm_update_stolen_time()",
    "kvm-flags": 'Linux Documentation/virt/kvm/x86/msr.rst: flags is "at this point, always zero", and a guest must zero the struct before it registers it; KVM writes only steal, version and preempted (record_steal_time())',
    "sbi-flags": 'the SBI specification, STA extension: flags is "always zero", and the SBI zeroes all 64 bytes when they are registered (Linux arch/riscv/kvm/vcpu_sbi_sta.c, kvm_sbi_sta_steal_time_set_shmem())',
    "revision":  'Linux Documentation/virt/kvm/arm/pvtime.rst (Arm DEN0057A): revision "must be 0 for version 1.0", and attributes "must be 0". KVM writes both as 0 (arch/arm64/kvm/pvtime.c, kvm_init_stolen_time()), and a guest takes no other (arch/arm64/kernel/paravirt.c, stolen_time_cpu_online())',
    "preempted": "Linux arch/x86/include/uapi/asm/kvm_para.h: KVM writes 0 and KVM_VCPU_PREEMPTED, and kvm_flush_tlb_multi() (arch/x86/kernel/kvm.c) adds KVM_VCPU_FLUSH_TLB to the latter alone. msr.rst calls every number but 0 preempted",
    "tsc-scale": "a scale is 2^64 * 10^7 / the frequency: Linux arch/x86/kvm/hyperv.c, compute_tsc_page_parameters(); Xen xen/arch/x86/hvm/viridian/time.c, update_reference_tsc(). With 0 the time stands still",
    "unwritten": "an update leaves a version that is not 0, and where Xen registers a secondary time area (commit c2e285ea0e), a multiplier; Xen on Arm writes no time info at all (xen/arch/arm/time.c, update_vcpu_system_time())",
    "no-steal":  "pvclock_vcpu_stolen_time has no version, and begins as zeros (Linux arch/arm64/kvm/pvtime.c, kvm_init_stolen_time())",
    "cleared":   "Xen xen/arch/x86/hvm/viridian/time.c, update_reference_tsc(), clears the page when the guest enables it, and leaves it so where the TSC is not safe or emulated",
}
# fmt: on


class Rule(NamedTuple):
    """What some numbers of one struct show; ``text`` is formatted with them."""

    holds: Callable[[Numbers], bool]
    kind: str
    text: str
    fact: str

    def observation(self, path: str, numbers: Numbers) -> Observation:
        text = self.text.format_map(numbers)
        return Observation(self.kind, f"{path}: {text}" if path else text, FACTS[self.fact])


def _negative(name: str) -> Callable[[Numbers], bool]:
    return lambda numbers: numbers[name] >= HALF


NO_SCALE = "tsc_to_system_mul is 0, so there is no frequency: neither KVM nor Xen writes that, but OpenBSD may"
SMALL_SCALE = (
    "tsc_to_system_mul is {mul:#x}, less than KVM or Xen make it: OpenBSD's, or no time info"
)
# fmt: off
RULES: dict[str, tuple[Rule, ...]] = {
    "time_info": (
        Rule(lambda n: n["shift"] not in clocks.SHIFTS, WRONG, "tsc_shift is {shift}, which no frequency gives", "shift"),
        Rule(lambda n: not n["mul"] and n["version"] > 0, NORMAL, NO_SCALE, "scale"),
        Rule(lambda n: 0 < n["mul"] < clocks.LEAST_MULTIPLIER, NORMAL, SMALL_SCALE, "scale"),
        Rule(lambda n: bool(clocks.unnamed(n["flags"], clocks.TIME_FLAGS)), NORMAL, "flags is {flags:#x}, with a bit that has no name", "flags"),
        Rule(lambda n: bool(n["flags"] & 1 << 2), NORMAL, "flags has PVCLOCK_COUNTS_FROM_ZERO, which is not used any more", "zero-flag"),
        Rule(_negative("system_time"), NORMAL, "system_time is negative as a signed number", "negative"),
    ),
    "wall_clock": (
        Rule(lambda n: n["nsec"] >= clocks.NS, WRONG, "the wall clock has {nsec} ns, which is a second or more", "nsec"),
        Rule(_negative("seconds"), NORMAL, "the wall clock is before 1970 as a signed number", "offset"),
    ),
    "kvm_steal_time": (
        Rule(lambda n: n["flags"] != 0, WRONG, "flags is {flags:#x}, not 0", "kvm-flags"),
        Rule(lambda n: n["preempted"] not in (0, 1, 3), NORMAL, "preempted is {preempted:#x}, which Linux does not write", "preempted"),
    ),
    "sbi_sta": (
        Rule(lambda n: n["flags"] != 0, WRONG, "flags is {flags:#x}, not 0", "sbi-flags"),
    ),
    "stolen_time": (
        Rule(lambda n: n["revision"] != 0, WRONG, "revision is {revision:#x}, not 0", "revision"),
        Rule(lambda n: n["attributes"] != 0, WRONG, "attributes is {attributes:#x}, not 0", "revision"),
    ),
    "tsc_page": (
        Rule(lambda n: not n["scale"], WRONG, "tsc_scale is 0, though tsc_sequence says that the page is valid", "tsc-scale"),
    ),
}
# fmt: on


def judge(kind: str, path: str, numbers: Numbers) -> Iterator[Observation]:
    """Yield what the numbers of one whole struct show, which is in ``path`` of the shown struct."""
    for rule in RULES[kind]:
        if rule.holds(numbers):
            yield rule.observation(path, numbers)
    steal = numbers.get("steal", 0)
    if steal >= HALF:
        text = f"steal is {words(steal - WRAP)} as a signed number: time was taken from it"
        yield Observation(WRONG, f"{path}: {text}" if path else text, FACTS["adds"])


# What zeros mean: the kinds that are not here are counted by a version.
ZEROS = {
    "stolen_time": ("nothing was stolen yet, or it was never written", "no-steal"),
    "tsc_page": ("not updated yet, or cleared because the TSC cannot be used", "cleared"),
}
NOT_UPDATED = ("not updated yet", "unwritten")


def unwritten(kind: str, named: str) -> Observation:
    """Return that the structs of one kind that are called ``named`` are zeros."""
    text, fact = ZEROS.get(kind, NOT_UPDATED)
    where = f" ({named})" if named else ""
    return Observation(NORMAL, f"every number is 0: {text}{where}", FACTS[fact])
