"""gfn_to_pfn_cache (virt/kvm/pfncache.c): how KVM finds the host page behind a guest address.

Law of this file: a cache has a life, so this is the one class whose values change. It knows
addresses, locks and lengths, and nothing about what is written through it.
"""

from collections.abc import Generator
from dataclasses import dataclass

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE
from runstate_abi.writer.host import (
    BASE,
    EFAULT,
    EINVAL,
    EIO,
    INVALID_GPA,
    Host,
    Place,
    frame_of,
)
from runstate_abi.writer.patches import KHVA_FIX, NO_REINIT, ONE_DEACTIVATE, UP_TO_6_1, UP_TO_6_2
from runstate_abi.writer.steps import Activate, Check, Lock, Refresh, Step, TryLock, Unlock


@dataclass(frozen=True, slots=True)
class Pfncache:
    """Which pfncache.c: the ``patches`` it has, by commit (see patches.py).

    ``modern``: uhva has the page offset in it (since 406c10962a4c), activate() and deactivate()
    work under the refresh mutex, and a cache that was never set up has INVALID_GPA.
    """

    name: str
    patches: frozenset[str] = UP_TO_6_1
    modern: bool = False


PFNCACHE_6_1_BROKEN = Pfncache("6.1 without the khva fix", frozenset())
PFNCACHE_6_1 = Pfncache("6.1")
PFNCACHE_6_2 = Pfncache("6.2", UP_TO_6_2)
PFNCACHE_6_12 = Pfncache("6.12", UP_TO_6_2, modern=True)


class Blocked(Exception):
    """Someone waits for a lock that nobody will release: the message says which."""


class Gpc:
    """One cache. Its methods that an update calls yield the step they are."""

    __slots__ = (
        "active",
        "code",
        "contended",
        "generation",
        "gpa",
        "host",
        "inner",
        "khva",
        "length",
        "name",
        "pfn",
        "readers",
        "uhva",
        "valid",
        "writer",
    )

    def __init__(self, name: str, host: Host, code: Pfncache = PFNCACHE_6_12) -> None:
        self.name, self.host, self.code = name, host, code
        self.length = 0  # bytes, the same for each use; 0: each use says how many it needs
        self.active = self.valid = False
        self.gpa = INVALID_GPA if code.modern else -BASE
        self.generation = 0
        self.uhva: int | None = None
        self.khva: Place | None = None
        self.pfn: int | None = None  # the host page, None is KVM_PFN_ERR_FAULT
        self.readers = 0
        self.writer = False  # write-locked, which recordings show
        self.contended = False
        self.inner: list[str] = []

    # Locks, as an update takes them. Another CPU's writer makes only read_trylock() fail: a
    # read_lock() would spin until it is gone, which looks like being granted.

    def lock(self, irqsave: bool = False) -> Generator[Step, None, None]:
        """read_lock(), or read_lock_irqsave()."""
        self.readers += 1
        self.host.irqs_off |= irqsave
        yield Lock(self.name, irqsave)

    def trylock(self) -> Generator[Step, None, bool]:
        """read_trylock()."""
        got = not self.contended
        self.readers += got
        yield TryLock(self.name, got)
        return got

    def unlock(self, irqrestore: bool = False) -> Generator[Step, None, None]:
        """read_unlock(), or read_unlock_irqrestore()."""
        self.readers -= 1
        if irqrestore:
            self.host.irqs_off = False
        yield Unlock(self.name, irqrestore)

    # What an update calls.

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

    # The same outside an update: the ioctls, other threads.

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
        """Do what kvm_gpc_refresh() does; ``gpa`` is 6.1's argument, and what activate() passes."""
        where = self.gpa if gpa is None else gpa
        if self.code.modern:
            self._event("mutex_lock")
            if not self._fits(where, size) and where != INVALID_GPA:
                result, old = -EINVAL, None
            elif where == INVALID_GPA:
                # Neither an address nor a uhva: __kvm_gpc_refresh() warns.
                self._event("WARN")
                result, old = -EINVAL, None
            else:
                result, old = self._refresh_locked(where)
            self._unmap(old)
            self._event("mutex_unlock")
            return result
        if not self._fits(where, size):
            return -EINVAL
        self._event("mutex_lock")
        result, old = self._refresh_locked(where)
        self._event("mutex_unlock")
        self._unmap(old)
        return result

    def activate_now(self, gpa: int, size: int) -> int:
        """Do what kvm_gpc_activate() does."""
        if self.code.modern:
            if gpa == INVALID_GPA:
                self._event("WARN")
                return -EINVAL
            if not self._fits(gpa, size):
                return -EINVAL
            self._event("mutex_lock")
            self._set_active()
            result, old = self._refresh_locked(gpa)
            self._unmap(old)
            self._event("mutex_unlock")
            return result
        if not self.active:
            if NO_REINIT in self.code.patches:
                if self.valid:  # KVM_BUG_ON()
                    return -EIO
            else:
                self.khva = self.pfn = self.uhva = None
                self.valid = False
        self._set_active()
        return self.refresh_now(size, gpa)

    def deactivate_now(self) -> None:
        """Do what kvm_gpc_deactivate() does: the mapping goes, gpa and uhva stay."""
        if not self.active:
            return
        mutex = self.code.modern
        if ONE_DEACTIVATE not in self.code.patches:
            # Then comes kvm_gpc_unmap(), which has locks of its own.
            self._write_lock()
            self.active = False
            self._write_unlock()
            mutex = True
        if mutex:
            self._event("mutex_lock")
        self._write_lock()
        old = self.pfn
        self.active = self.valid = False
        self.khva = self.pfn = None
        self._write_unlock()
        self._unmap(old)
        if mutex:
            self._event("mutex_unlock")

    def invalidate(self, start: int, end: int) -> None:
        """MMU notifier: user addresses [start, end) lose their pages.

        One page a cache, so the length does not matter.
        """
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

    # __kvm_gpc_refresh(): returns the result and the mapping that is no longer used.
    def _refresh_locked(self, gpa: int) -> tuple[int, int | None]:
        self._write_lock()
        if not self.active:
            self._write_unlock()
            return -EINVAL, None
        old_pfn, old_uhva, old_khva = self.pfn, self._uhva_page(), self.khva
        result = self._find_uhva(gpa)
        if result == 0:
            if self.valid and self._uhva_page() == old_uhva:
                # The mapping is still good. What the fix adds: khva has the offset in it, and
                # the offset may be another one now.
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

    # Look guest address -> user address up, unless it is known already.
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

    # hva_to_pfn_retry(): look the page up with the lock dropped, again if a notifier came by.
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
