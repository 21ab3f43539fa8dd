"""Where the four times come from: each change of state books the time since the last one.

Law of this file: pure functions from a Runstate to a Runstate. All numbers are ns and wrap at 64
bits, as the kernel's do.
"""

from dataclasses import replace

from runstate_abi.layouts.abi import U64
from runstate_abi.writer.vcpu import OFFLINE, RUNNABLE, RUNNING, TIME_COUNT, Runstate


def kvm_account(
    vcpu: Runstate, state: int, now: int, stolen: int = 0, clamps: bool = False
) -> Runstate:
    """kvm_xen_update_runstate(): what the vCPU's runstate is once it enters ``state`` at ``now``.

    A vCPU that was running loses ``stolen`` ns (waiting for a CPU) to runnable. Afterwards
    state_entry_time is the sum of the times, always: also if the clock went backwards, where one
    time becomes huge. ``clamps``: that is ruled out, and an entry time never goes back.
    """
    # Nobody has accounted anything yet: until now the vCPU was offline.
    before = vcpu.state if vcpu.entry_time else OFFLINE
    if clamps and now < vcpu.entry_time:
        return replace(vcpu, state=state)
    delta = (now - vcpu.entry_time) & U64
    if before != RUNNING:
        stolen = 0
    elif clamps:
        stolen = min(stolen, delta)
    times = list(vcpu.times)
    times[RUNNABLE] = (times[RUNNABLE] + stolen) & U64
    times[before] = (times[before] + delta - stolen) & U64
    return _runstate(state, now, times)


def xen_account(vcpu: Runstate, state: int, now: int) -> Runstate:
    """vcpu_runstate_change(): nothing if the state stays; no time and no entry if none passed."""
    if state == vcpu.state:
        return vcpu
    delta = now - vcpu.entry_time
    if delta <= 0:
        return replace(vcpu, state=state)
    times = list(vcpu.times)
    times[vcpu.state] = (times[vcpu.state] + delta) & U64
    return _runstate(state, now, times)


def total(vcpu: Runstate) -> int:
    """Return the sum of the times modulo 2**64: KVM's state_entry_time, at every update."""
    return sum(vcpu.times) & U64


def origin(vcpu: Runstate) -> int:
    """Return state_entry_time minus all times, constant for a vCPU: 0 on KVM, its birth on Xen."""
    return (vcpu.entry_time - total(vcpu)) & U64


def _runstate(state: int, entry_time: int, times: list[int]) -> Runstate:
    assert len(times) == TIME_COUNT
    return Runstate(state, entry_time, (times[0], times[1], times[2], times[3]))
