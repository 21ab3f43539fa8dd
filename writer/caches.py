"""What one vCPU's runstate area has of caches, and the notifier that invalidates them.

Law of this file: it holds them together and knows nothing that one of them knows.
"""

from runstate_abi.writer.gpc import PFNCACHE_6_12, Gpc, Pfncache
from runstate_abi.writer.host import Host
from runstate_abi.writer.hva import Ghc
from runstate_abi.writer.vcpu import PAGE_MASK, PAGE_SIZE


class Caches:
    """What KVM keeps for one vCPU's runstate area, and the host that it looks into.

    5.14 and 5.16 use ghc, 6.1 uses gpc1 alone, everything later gpc1 and gpc2.
    """

    __slots__ = ("ghc", "gpc1", "gpc2", "host")

    def __init__(self, host: Host | None = None, code: Pfncache = PFNCACHE_6_12) -> None:
        self.host = host or Host()
        self.ghc = Ghc(self.host)
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
