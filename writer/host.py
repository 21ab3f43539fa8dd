"""The host: which guest frames have a memslot, and which host page backs each frame.

As in the canonical text, addresses are relative to the frame of page 1: guest address 4096 is the
start of the next frame. Host pages are numbered from 1.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE, U64
from runstate_abi.writer.steps import Copy, Dirty, Step, Store

# errno.h; the kernel returns them negated.
ENOENT, EIO, ENXIO, EACCES, EFAULT, EINVAL, EOPNOTSUPP = 2, 5, 6, 13, 14, 22, 95
_NAMES = ("ENOENT", "EIO", "ENXIO", "EACCES", "EFAULT", "EINVAL", "EOPNOTSUPP")
_ERRNO = dict(zip((ENOENT, EIO, ENXIO, EACCES, EFAULT, EINVAL, EOPNOTSUPP), _NAMES, strict=True))


def errno_name(error: int) -> str:
    """Return the name of an error, negated or not: ``EINVAL``."""
    return _ERRNO[abs(error)]


# How far page 1's frame is above guest address 0: more than any test subtracts from an address.
BASE = 1 << 40
INVALID_GPA = U64  # ~0: KVM_XEN_INVALID_GPA and INVALID_GPA


class Place(NamedTuple):
    page: int
    offset: int

    def plus(self, size: int) -> "Place":
        """Return the place ``size`` bytes further; it may be past the end of the page."""
        return Place(self.page, self.offset + size)


def frame_of(gpa: int) -> int:
    """Return the guest frame of an address, relative to page 1's frame."""
    return gpa // PAGE_SIZE


@dataclass(slots=True)
class Host:
    """One VM's memory as the host sees it, and what other CPUs may change at any time."""

    # frame -> host page; a frame that is absent cannot be faulted in
    pages: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 2, 2: 3, 3: 4})
    generation: int = 1  # of the memslots: if it changes, each cache looks up its slot again
    slot_end: int = BASE
    missing: set[int] = field(default_factory=set)
    read_only: set[int] = field(default_factory=set)
    swapped: set[int] = field(default_factory=set)  # frames not resident: an access must sleep
    fault_at: int = 0  # the number of the user access that faults in any case, from 1; 0: none
    accesses: int = 0
    invalidations: int = 0
    irqs_off: bool = False
    # Called with each event inside a cache (a lock, a page lookup), so that a test can interfere.
    watch: Callable[[str], None] | None = None

    def hva(self, frame: int) -> int | None:
        """gfn_to_hva_memslot() for writing: None is an error hva (no slot, or read-only)."""
        if not 0 <= frame < self.slot_end or frame in self.missing or frame in self.read_only:
            return None
        return frame * PAGE_SIZE

    def hva_to_page(self, hva: int) -> int | None:
        """hva_to_pfn(): the host page behind a user address; it may sleep. None: a fault."""
        page = self.pages.get(frame_of(hva)) or None
        if page is not None:
            self.swapped.discard(frame_of(hva))
        return page

    def user_page(self, hva: int, atomic: bool) -> int | None:
        """Return the page for a user access, None for a fault; if atomic, it must be resident."""
        self.accesses += 1
        if self.accesses == self.fault_at or (atomic and frame_of(hva) in self.swapped):
            return None
        return self.hva_to_page(hva)


@dataclass(slots=True)
class Ghc:
    """gfn_to_hva_cache: an address, its size, and the memslots' generation of its lookup."""

    host: Host
    active: bool = False
    gpa: int = 0
    size: int = 0
    generation: int = 0
    hva: int | None = None

    @property
    def crosses(self) -> bool:
        """Does it reach into a second page? Then each access uses write_slow()."""
        return (self.gpa & PAGE_MASK) + self.size > PAGE_SIZE

    def activate(self, gpa: int, size: int, one_page: bool = True) -> int:
        """kvm_gfn_to_hva_cache_init(): 0 or -errno.

        ``one_page``: RUNSTATE_ADDR checks first that the area is in one page (since fcb732d8f8cf).
        """
        if one_page and (gpa & PAGE_MASK) + size > PAGE_SIZE:
            return -EINVAL
        self.gpa, self.size = gpa, size
        self.active = self._find()
        return 0 if self.active else -EFAULT

    def current(self) -> bool:
        """Look up the slot again if the memslots have changed: False if there is none now."""
        return self.generation == self.host.generation or self._find()

    def write(
        self, kind: type[Store] | type[Copy], offset: int, data: bytes, atomic: bool
    ) -> Generator[Step, None, bool]:
        """__put_user() (a Store) or __copy_to_user(); False if it faulted and nothing is stored."""
        page = None if self.hva is None else self.host.user_page(self.hva, atomic)
        if page is not None:
            yield kind(page, (self.gpa & PAGE_MASK) + offset, data)
        return page is not None

    def write_slow(self, offset: int, data: bytes) -> Generator[Step, None, bool]:
        """kvm_write_guest(): page by page, each marked dirty; False at the first that faults."""
        address = self.gpa + offset
        while data:
            part = data[: PAGE_SIZE - (address & PAGE_MASK)]
            hva = self.host.hva(frame_of(address))
            page = None if hva is None else self.host.user_page(hva, atomic=False)
            if page is None:
                return False
            yield Copy(page, address & PAGE_MASK, part)
            yield Dirty(frame_of(address))
            address, data = address + len(part), data[len(part) :]
        return True

    def mark_dirty(self) -> Generator[Step, None, None]:
        yield Dirty(frame_of(self.gpa))

    def _find(self) -> bool:
        self.generation = self.host.generation
        self.hva = self.host.hva(frame_of(self.gpa))
        last = self.host.hva(frame_of(self.gpa + self.size - 1))
        return self.hva is not None and last is not None
