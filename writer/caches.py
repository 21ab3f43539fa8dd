"""What one vCPU's runstate area has of caches, and the notifier that invalidates them.

Law of this file: it holds them together and knows nothing that one of them knows.
"""

from collections.abc import Generator

from runstate_abi.layouts.abi import PAGE_MASK, PAGE_SIZE
from runstate_abi.writer.gpc import PFNCACHE_6_12, Gpc, Pfncache
from runstate_abi.writer.host import EFAULT, EINVAL, Host, frame_of
from runstate_abi.writer.steps import Copy, Dirty, Step, Store


class Caches:
    """What KVM keeps for one vCPU's runstate area, and the host that it looks into.

    5.14 and 5.16 use ghc, 6.1 uses gpc1 alone, everything later gpc1 and gpc2; ghc2 is for the
    idea of two gfn_to_hva_cache.
    """

    __slots__ = ("ghc", "ghc2", "gpc1", "gpc2", "host")

    def __init__(self, host: Host | None = None, code: Pfncache = PFNCACHE_6_12) -> None:
        self.host = host or Host()
        self.ghc = Ghc(self.host)
        self.ghc2 = Ghc(self.host)
        self.gpc1 = Gpc("gpc1", self.host, code)
        self.gpc2 = Gpc("gpc2", self.host, code)

    def invalidate(self, hva: int) -> None:
        """Take the page behind a user address away, as the MMU notifier announces it."""
        start = hva & ~PAGE_MASK
        self.host.invalidations += 1
        for gpc in (self.gpc1, self.gpc2):
            gpc.invalidate(start, start + PAGE_SIZE)

    def held(self) -> dict[str, int]:
        """Return how many read locks are held on each cache."""
        return {gpc.name: gpc.readers for gpc in (self.gpc1, self.gpc2)}


class Ghc:
    """One cache: an address that fits one page, and the generation of memslots it was found in."""

    __slots__ = ("active", "generation", "gpa", "host", "hva", "size")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.active = False
        self.gpa = self.size = self.generation = 0
        self.hva: int | None = None

    @property
    def crosses(self) -> bool:
        """Does it reach into a second page? Then each access goes the slow way, write_slow()."""
        return (self.gpa & PAGE_MASK) + self.size > PAGE_SIZE

    def activate(self, gpa: int, size: int, one_page: bool = True) -> int:
        """kvm_gfn_to_hva_cache_init(): 0 or -errno.

        ``one_page``: after RUNSTATE_ADDR's own check of the page, which came with fcb732d8f8cf.
        """
        if one_page and (gpa & PAGE_MASK) + size > PAGE_SIZE:
            return -EINVAL
        self.gpa, self.size = gpa, size
        self.active = self._find()
        return 0 if self.active else -EFAULT

    def current(self) -> bool:
        """Look the slot up again if the memslots have changed: False if there is none now."""
        return self.generation == self.host.generation or self._find()

    def put(self, offset: int, data: bytes, atomic: bool) -> Generator[Step, None, bool]:
        """__put_user(): one assignment to user space. False if it faulted: nothing is stored."""
        page = self._page(atomic)
        if page is not None:
            yield Store(page, (self.gpa & PAGE_MASK) + offset, data)
        return page is not None

    def copy(self, offset: int, data: bytes, atomic: bool) -> Generator[Step, None, bool]:
        """__copy_to_user(): False if it faulted. One page, so it is all or nothing."""
        page = self._page(atomic)
        if page is not None:
            yield Copy(page, (self.gpa & PAGE_MASK) + offset, data)
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
        """mark_page_dirty_in_slot()."""
        yield Dirty(frame_of(self.gpa))

    def _page(self, atomic: bool) -> int | None:
        return None if self.hva is None else self.host.user_page(self.hva, atomic)

    def _find(self) -> bool:
        self.generation = self.host.generation
        self.hva = self.host.hva(frame_of(self.gpa))
        last = self.host.hva(frame_of(self.gpa + self.size - 1))
        return self.hva is not None and last is not None
