"""gfn_to_pfn_cache (virt/kvm/pfncache.c): how KVM finds the host page behind a guest address.

And Caches: all the caches that one vCPU's runstate area has, of either kind.
"""

from collections.abc import Generator
from dataclasses import InitVar, dataclass, field

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE
from runstate_abi.writer.host import (
    BASE,
    EFAULT,
    EINVAL,
    EIO,
    INVALID_GPA,
    Ghc,
    Host,
    Place,
    frame_of,
)
from runstate_abi.writer.patches import KHVA_FIX, NO_REINIT, ONE_DEACTIVATE, UP_TO_6_1, UP_TO_6_2
from runstate_abi.writer.steps import Activate, Check, Lock, Refresh, Step, TryLock, Unlock
from runstate_abi.writer.vcpu import Area, Split, split


@dataclass(frozen=True, slots=True)
class Pfncache:
    name: str
    patches: frozenset[str] = UP_TO_6_1  # the commits it contains: see patches.py
    # Since 406c10962a4c uhva includes the offset in the page, activate() and deactivate() take the
    # refresh mutex, and a cache that was never activated has INVALID_GPA.
    modern: bool = False


PFNCACHE_6_1_BROKEN = Pfncache("6.1 without the khva fix", frozenset())
PFNCACHE_6_1 = Pfncache("6.1")
PFNCACHE_6_2 = Pfncache("6.2", UP_TO_6_2)
PFNCACHE_6_12 = Pfncache("6.12", UP_TO_6_2, modern=True)


class Blocked(Exception):
    """A deadlock: someone waits for a lock that is never released. The message names the lock."""


@dataclass(slots=True)
class Gpc:
    """One gfn_to_pfn_cache. The methods that an update calls also yield the call as a step."""

    name: str
    host: Host
    code: Pfncache = PFNCACHE_6_12
    active: bool = False
    valid: bool = False
    gpa: int = field(init=False)
    generation: int = 0
    uhva: int | None = None
    khva: Place | None = None
    pfn: int | None = None  # the host page; None is KVM_PFN_ERR_FAULT
    readers: int = 0  # read locks held
    writer: bool = False  # write-locked; the recordings say it too
    contended: bool = False  # another CPU holds the write lock
    length: int = 0  # the immutable length of the cache; 0: each call passes its own
    inner: list[str] = field(default_factory=list)  # events inside the current call

    def __post_init__(self) -> None:
        self.gpa = INVALID_GPA if self.code.modern else -BASE

    # If another CPU holds the write lock, only read_trylock() fails here. read_lock() would spin
    # until the lock is free, and afterwards that looks the same as getting it at once.

    def lock(self, irqsave: bool = False) -> Generator[Step, None, None]:
        self.readers += 1
        self.host.irqs_off |= irqsave
        yield Lock(self.name, irqsave)

    def trylock(self) -> Generator[Step, None, bool]:
        got = not self.contended
        self.readers += got
        yield TryLock(self.name, got)
        return got

    def unlock(self, irqrestore: bool = False) -> Generator[Step, None, None]:
        self.readers -= 1
        if irqrestore:
            self.host.irqs_off = False
        yield Unlock(self.name, irqrestore)

    def check(self, size: int, gpa: int | None = None) -> Generator[Step, None, bool]:
        """kvm_gpc_check(): may ``size`` bytes be accessed through khva now?"""
        result = self.is_valid(size, gpa)
        yield Check(self.name, self.length or size, result)
        return result

    def refresh(self, size: int) -> Generator[Step, None, int]:
        """kvm_gpc_refresh(): make the cache valid again where it is; 0 or -errno."""
        self.inner = []
        result = self.refresh_now(size)
        yield Refresh(self.name, self.length or size, result, tuple(self.inner))
        return result

    def activate(self, gpa: int, size: int) -> Generator[Step, None, int]:
        """kvm_gpc_activate(): set the cache up for ``gpa``; 0 or -errno."""
        self.inner = []
        result = self.activate_now(gpa, size)
        yield Activate(self.name, gpa, self.length or size, result, tuple(self.inner))
        return result

    # What the same calls do outside an update: called by ioctls and by other threads.

    def is_valid(self, size: int, gpa: int | None = None) -> bool:
        """Return what kvm_gpc_check() returns; ``gpa`` is 6.1's extra argument."""
        where = self.gpa if gpa is None else gpa
        return (
            self.active
            and where == self.gpa
            and self.generation == self.host.generation
            and self.uhva is not None
            and self._fits(where, size)
            and self.valid
        )

    def refresh_now(self, size: int, gpa: int | None = None) -> int:
        """Do what kvm_gpc_refresh() does; 6.1 and activate() pass ``gpa``."""
        where, modern = self.gpa if gpa is None else gpa, self.code.modern
        crosses = not self._fits(where, size)
        if crosses and not modern:
            return -EINVAL
        self._event("mutex_lock")
        result, old = -EINVAL, None
        if modern and where == INVALID_GPA:
            self._event("WARN")  # __kvm_gpc_refresh(): neither an address nor a uhva
        elif not crosses:
            result, old = self._refresh_locked(where)
        if modern:
            self._unmap(old)
        self._event("mutex_unlock")
        if not modern:
            self._unmap(old)
        return result

    def activate_now(self, gpa: int, size: int) -> int:
        """Do what kvm_gpc_activate() does."""
        if self.code.modern:
            if gpa == INVALID_GPA:
                self._event("WARN")
            if gpa == INVALID_GPA or not self._fits(gpa, size):
                return -EINVAL
            self._event("mutex_lock")
            self._set_active()
            result, old = self._refresh_locked(gpa)
            self._unmap(old)
            self._event("mutex_unlock")
            return result
        if not self.active and NO_REINIT not in self.code.patches:
            self.khva = self.pfn = self.uhva = None
            self.valid = False
        elif not self.active and self.valid:  # KVM_BUG_ON()
            return -EIO
        self._set_active()
        return self.refresh_now(size, gpa)

    def deactivate_now(self) -> None:
        """Do what kvm_gpc_deactivate() does: the mapping goes, gpa and uhva stay."""
        if self.code.modern:
            self._event("mutex_lock")
            if self.active:
                self._unmap(self._forget())
            self._event("mutex_unlock")
        elif self.active and ONE_DEACTIVATE in self.code.patches:
            self._unmap(self._forget())
        elif self.active:
            self._write_lock()
            self.active = False
            self._write_unlock()
            # kvm_gpc_unmap()
            self._event("mutex_lock")
            old = self._forget()
            self._event("mutex_unlock")
            self._unmap(old)

    # Returns the mapping that is no longer used.
    def _forget(self) -> int | None:
        self._write_lock()
        old = self.pfn
        self.active = self.valid = False
        self.khva = self.pfn = None
        self._write_unlock()
        return old

    def invalidate(self, start: int, end: int) -> None:
        """MMU notifier: user addresses [start, end) lose their pages."""
        if self.valid and self.uhva is not None and start <= self.uhva < end:
            self._write_lock()
            self.valid = False
            self._write_unlock()

    def _fits(self, gpa: int, size: int) -> bool:
        return (gpa & PAGE_MASK) + (self.length or size) <= PAGE_SIZE

    def _set_active(self) -> None:
        if not self.active:
            self._write_lock()
            self.active = True
            self._write_unlock()

    # __kvm_gpc_refresh(): returns the result, and the old mapping if it is no longer used.
    def _refresh_locked(self, gpa: int) -> tuple[int, int | None]:
        self._write_lock()
        if not self.active:
            self._write_unlock()
            return -EINVAL, None
        old_pfn, old_uhva, old_khva = self.pfn, self._uhva_page(), self.khva
        result = self._find_uhva(gpa)
        if result == 0:
            if self.valid and self._uhva_page() == old_uhva:
                # The mapping is still good. The fix: the offset in the page may have changed.
                if KHVA_FIX in self.code.patches and old_khva is not None:
                    self.khva = Place(old_khva.page, gpa & PAGE_MASK)
                self._write_unlock()
                return 0, None
            result = self._map()
        if result:
            self.valid, self.pfn, self.khva = False, None, None
        unused = old_pfn if old_pfn != self.pfn else None
        self._write_unlock()
        return result, unused

    # Look up the user address of a guest address, unless it is already known.
    def _find_uhva(self, gpa: int) -> int:
        if self.gpa != gpa or self.generation != self.host.generation or self.uhva is None:
            self.gpa, self.generation = gpa, self.host.generation
            hva = self.host.hva(frame_of(gpa))
            self.uhva = hva
            if hva is None:
                return -EFAULT
            if self.code.modern:
                self.uhva = hva + (gpa & PAGE_MASK)
        return 0

    def _uhva_page(self) -> int | None:
        return None if self.uhva is None else self.uhva & ~PAGE_MASK

    # hva_to_pfn_retry(): look up the page with the lock dropped; retry after an MMU notifier.
    def _map(self) -> int:
        self.valid = False
        new: int | None = None
        while True:
            seen = self.host.invalidations
            self._write_unlock()
            if new != self.pfn:
                self._unmap(new)
            assert self.uhva is not None
            new = self.host.hva_to_page(self.uhva)
            self._event(f"hva_to_pfn ret={-1 if new is None else new}", named=False)
            if new is None:
                self._write_lock()
                return -EFAULT
            if new != self.pfn:
                self._event("kmap", named=False)
            self._write_lock()
            if seen == self.host.invalidations:
                break
        self.valid, self.pfn = True, new
        self.khva = Place(new, self.gpa & PAGE_MASK)
        return 0

    def _unmap(self, pfn: int | None) -> None:
        if pfn is not None:
            self._event("kunmap", named=False)

    def _write_lock(self) -> None:
        if self.readers:
            raise Blocked(f"{self.name}: write_lock_irq on a lock still read-held")
        self.writer = True
        self._event("write_lock_irq")

    def _write_unlock(self) -> None:
        self.writer = False
        self._event("write_unlock_irq")

    def _event(self, text: str, named: bool = True) -> None:
        if named and text != "WARN":
            text = f"{text} {self.name}"
        self.inner.append(text)
        if self.host.watch is not None:
            self.host.watch(text)


@dataclass(slots=True)
class Caches:
    """What KVM keeps for one vCPU's runstate area, and the host it belongs to.

    5.14 and 5.16 use ghc, 6.1 uses gpc1 only, later versions use gpc1 and gpc2. ghc2 is for the
    proposal to use two gfn_to_hva_caches.
    """

    host: Host = field(default_factory=Host)
    code: InitVar[Pfncache] = PFNCACHE_6_12
    ghc: Ghc = field(init=False)
    ghc2: Ghc = field(init=False)
    gpc1: Gpc = field(init=False)
    gpc2: Gpc = field(init=False)

    def __post_init__(self, code: Pfncache) -> None:
        self.ghc = Ghc(self.host)
        self.ghc2 = Ghc(self.host)
        self.gpc1 = Gpc("gpc1", self.host, code)
        self.gpc2 = Gpc("gpc2", self.host, code)

    def invalidate(self, hva: int) -> None:
        """Unmap the page behind a user address, as an MMU notifier announces it."""
        start = hva & ~PAGE_MASK
        self.host.invalidations += 1
        for gpc in (self.gpc1, self.gpc2):
            gpc.invalidate(start, start + PAGE_SIZE)

    def split(self, area: Area) -> Split:
        """Return how many bytes of the area are in gpc1's page, and how many in gpc2's."""
        return split(self.gpc1.gpa, area.shape.size)

    def held(self) -> dict[str, int]:
        return {gpc.name: gpc.readers for gpc in (self.gpc1, self.gpc2)}
