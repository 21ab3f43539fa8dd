"""What a VMM does to a runstate: the KVM_XEN_*_ATTR ioctls as far as memory depends on them.

Law of this file: each ioctl is a generator of the steps of the update that it makes, and returns
0 or -errno as the ioctl does. Refusals come before anything changes.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace

from replaying.accounting import kvm_account, total
from runstate_abi.layouts.abi import U64
from runstate_abi.writer.gpc import Caches
from runstate_abi.writer.host import EINVAL, ENOENT, EOPNOTSUPP, INVALID_GPA
from runstate_abi.writer.steps import Step
from runstate_abi.writer.variants import (
    VARIANT,
    Variant,
    is_xen,
    register_hva,
    register_hva_anywhere,
)
from runstate_abi.writer.vcpu import OFFLINE, RUNNABLE, RUNNING, Area, Runstate

Ioctl = Generator[Step, None, int]
Times = tuple[int, int, int, int]

STATE_UNCHANGED = U64  # RUNSTATE_ADJUST with (u64)-1: the times move, the state does not

ZERO = Runstate(RUNNING, 0, (0, 0, 0, 0))  # a new vCPU, before it is ever accounted


@dataclass(slots=True)
class Vm:
    """A VM with one vCPU: its mode, its clock (kvmclock, ns), and what was booked.

    ``run_delay`` is the scheduler's count of ns that the vCPU's thread waited for a CPU.
    """

    variant: Variant = VARIANT["upstream"]
    host: str = "x86_64"
    long_mode: bool = False
    update_flag: bool = False
    sched_info: bool = True
    clock: int = 0
    run_delay: int = 0
    last_steal: int = 0
    vcpu: Runstate = ZERO
    caches: Caches = field(init=False)

    def __post_init__(self) -> None:
        if is_xen(self.variant):
            raise ValueError(f"{self.variant.name}: Xen has no ioctls")
        self.caches = Caches(code=self.variant.pfncache)

    @property
    def abi(self) -> str:
        """The guest's ABI now: the whole VM has one, and it may change."""
        return "native" if self.long_mode and self.host == "x86_64" else "compat"

    @property
    def active(self) -> bool:
        """Is an area registered?"""
        if self.variant.register in (register_hva, register_hva_anywhere):
            return self.caches.ghc.active
        return self.caches.gpc1.active


def write_guest(vm: Vm, atomic: bool) -> Generator[Step, None, None]:
    """kvm_xen_update_runstate_guest(), if an area is registered. The ABI is decided here."""
    if vm.active:
        area = Area(vm.abi, 0, vm.update_flag, vm.host)
        yield from vm.variant.update(vm.vcpu, area, vm.caches, atomic)


def enter_state(vm: Vm, state: int) -> Generator[Step, None, None]:
    """A change of state that KVM makes: book the time, then write; without sleeping if runnable."""
    _account(vm, state)
    yield from write_guest(vm, atomic=state == RUNNABLE)


def _account(vm: Vm, state: int) -> None:
    stolen = vm.run_delay - vm.last_steal
    vm.vcpu = kvm_account(vm.vcpu, state, vm.clock, stolen, vm.variant.clamps)
    vm.last_steal = vm.run_delay


# What the ioctls call. It was the half that books until 5ec3289b31ab (in v6.2) turned the two
# functions round: the booking one calls the writing one since, and was called by it before.
def _update_runstate(vm: Vm, state: int) -> Generator[Step, None, None]:
    if vm.variant.writes_at_once:
        yield from enter_state(vm, state)
    else:
        _account(vm, state)


def set_address(vm: Vm, gpa: int) -> Ioctl:
    """RUNSTATE_ADDR: -EFAULT without a writable memslot for each page; up to 6.1 -EINVAL to cross.

    ~0 takes the area away. Since 6.2 the runstate is written at once.
    """
    if not vm.sched_info:
        return -EOPNOTSUPP
    if gpa == INVALID_GPA:
        _forget(vm)
        return 0
    error = vm.variant.register(Area(vm.abi, gpa, vm.update_flag, vm.host), vm.caches)
    if error == 0 and vm.variant.writes_at_once:
        yield from write_guest(vm, atomic=False)
    return error


def _forget(vm: Vm) -> None:
    vm.caches.ghc.active = False
    vm.caches.gpc1.deactivate_now()
    vm.caches.gpc2.deactivate_now()


def set_current(vm: Vm, state: int) -> Ioctl:
    """RUNSTATE_CURRENT: enter a state now; -EINVAL if it is none. Written at once since 6.2."""
    if not vm.sched_info:
        return -EOPNOTSUPP
    if not 0 <= state <= OFFLINE:
        return -EINVAL
    yield from _update_runstate(vm, state)
    return 0


def set_data(vm: Vm, state: int, entry_time: int, times: Times) -> Ioctl:
    """RUNSTATE_DATA: replace everything. Guest memory is not written, not before the next update.

    -EINVAL for no state, an entry time that is not the sum of the times (modulo 2**64), or one
    that the clock has not reached.
    """
    if not vm.sched_info:
        return -EOPNOTSUPP
    if not 0 <= state <= OFFLINE:
        return -EINVAL
    wanted = Runstate(state, entry_time, times)
    if entry_time != total(wanted) or vm.clock < entry_time:
        return -EINVAL
    vm.vcpu, vm.last_steal = wanted, vm.run_delay
    return 0
    yield  # an ioctl, so a generator: one that makes no step


def adjust(vm: Vm, state: int, entry_delta: int, deltas: Times) -> Ioctl:
    """RUNSTATE_ADJUST: add to the times; enter ``state``, or with (u64)-1 stay and only write.

    Up to 6.1 nothing is written. -EINVAL for another state, deltas that do not add up, or an
    entry time in the future.
    """
    if not vm.sched_info:
        return -EOPNOTSUPP
    if not 0 <= state <= OFFLINE and state != STATE_UNCHANGED:
        return -EINVAL
    if entry_delta & U64 != sum(deltas) & U64:
        return -EINVAL
    entry_time = (vm.vcpu.entry_time + entry_delta) & U64
    if vm.clock < entry_time:
        return -EINVAL
    first, second, third, fourth = (
        (time + delta) & U64 for time, delta in zip(vm.vcpu.times, deltas, strict=True)
    )
    vm.vcpu = replace(vm.vcpu, entry_time=entry_time, times=(first, second, third, fourth))
    if state != STATE_UNCHANGED:
        yield from _update_runstate(vm, state)
    elif vm.variant.writes_at_once:
        yield from write_guest(vm, atomic=False)
    return 0


def get_address(vm: Vm) -> int:
    """RUNSTATE_ADDR, read back: the address, or -ENOENT if there is none (others say ~0)."""
    if not vm.active:
        return -ENOENT
    return (
        vm.caches.ghc.gpa
        if vm.variant.register in (register_hva, register_hva_anywhere)
        else vm.caches.gpc1.gpa
    )


def set_long_mode(vm: Vm, long_mode: bool) -> int:
    """LONG_MODE: the guest's ABI from now on. The area keeps the old layout until it is written."""
    if long_mode and vm.host == "i386":
        return -EINVAL
    vm.long_mode = long_mode
    return 0


def set_update_flag(vm: Vm, wanted: bool) -> int:
    """RUNSTATE_UPDATE_FLAG: from the next update on. -ENOENT where there is no switch."""
    if vm.variant.always_flagged:
        return -ENOENT
    if not vm.sched_info:
        return -EOPNOTSUPP
    vm.update_flag = wanted
    return 0


def finish(ioctl: Ioctl) -> tuple[int, tuple[Step, ...]]:
    """Run an ioctl to its end: what it returned, and the steps that it made."""
    steps: list[Step] = []
    while True:
        try:
            steps.append(next(ioctl))
        except StopIteration as end:
            return int(end.value), tuple(steps)
