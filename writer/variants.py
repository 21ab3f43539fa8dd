"""VARIANTS: every version of the update and its source."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from runstate_abi.layouts.abi import PAGE_SIZE
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.writer import alternatives, early, two_pages
from runstate_abi.writer.gpc import PFNCACHE_6_1, PFNCACHE_6_2, PFNCACHE_6_12, Caches, Pfncache
from runstate_abi.writer.host import INVALID_GPA, Host, errno_name
from runstate_abi.writer.steps import Step
from runstate_abi.writer.vcpu import Area, Runstate, split
from runstate_abi.writer.xen import phys_error, xen_phys, xen_va

Update = Callable[[Runstate, Area, Caches, bool], Iterator[Step]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where to read a version: a commit and its subject, a message, or a blob of a diff."""

    commit: str = ""
    subject: str = ""
    since: str = ""
    message: str = ""

    def __str__(self) -> str:
        """``commit ("subject") (in vX.Y)``, or the message."""
        quoted = f'("{self.subject}")' if self.subject else ""
        since = f"(in {self.since})" if self.since else ""
        return " ".join(part for part in (self.commit, quoted, since, self.message) if part)


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    update: Update
    summary: str
    source: Source
    register: Callable[[Area, Caches], int]  # registers the area in the caches: 0 or -errno
    pfncache: Pfncache
    always_flagged: bool = True  # it has no switch for the update flag
    # The ioctls that register the area, set a state or adjust it write the area at once; otherwise
    # it is written only at the next change by KVM.
    writes_at_once: bool = True
    clamps: bool = False  # the accounting never lets time run backwards
    pages: int = 2  # how many pages an area may touch
    idea: bool = False


class Refused(Exception):
    """A version does not accept this area: the message says the errno and the reason."""


# What KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR, or one of Xen's two hypercalls, does to the caches.


def register_hva(area: Area, caches: Caches) -> int:
    """Since fcb732d8f8cf (in v5.17): the native struct must fit in the page, for any guest."""
    return caches.ghc.activate(area.address, NATIVE.size)


def register_hva_anywhere(area: Area, caches: Caches) -> int:
    """Before that, page ends were not checked; -EFAULT if either page has no memory."""
    return caches.ghc.activate(area.address, NATIVE.size, one_page=False)


def register_one_page(area: Area, caches: Caches) -> int:
    """6.1: the same check, so a compat area at the very end of a page is refused too."""
    return caches.gpc1.activate_now(area.address, NATIVE.size)


def register_two_pages(area: Area, caches: Caches) -> int:
    """Since 6.2: gpc1 to the end of its page, gpc2 for the rest if today's struct crosses it.

    The length for gpc1 only keeps it in its page. sizeof would be wrong, because the struct grows
    if the guest changes its mode; 1 would also have worked ("a lie").
    """
    first = PAGE_SIZE - area.offset
    second = split(area.address, area.shape.size).second
    error = caches.gpc1.activate_now(area.address, first)
    if not error and second:
        error = caches.gpc2.activate_now(area.address + first, second)
    if error:
        caches.gpc1.deactivate_now()
    if error or not second:
        caches.gpc2.deactivate_now()
    return error


def register_patch_2of4(area: Area, caches: Caches) -> int:
    """As posted: ``sz1 > sz`` instead of ``>=``, so an exact fit activates gpc2 for 0 bytes."""
    error = register_two_pages(area, caches)
    first = PAGE_SIZE - area.offset
    if not error and first == area.shape.size:
        return caches.gpc2.activate_now(area.address + first, 0)
    return error


def register_draft(area: Area, caches: Caches) -> int:
    """Woodhouse's draft: if the area fits, the native struct must: 4049 to 4052 are refused."""
    first = PAGE_SIZE - area.offset
    if area.shape.size <= first:
        error = caches.gpc1.activate_now(area.address, NATIVE.size)
    else:
        error = caches.gpc1.activate_now(area.address, first)
        if not error:
            error = caches.gpc2.activate_now(area.address + first, area.shape.size - first)
            if not error:
                return 0
            caches.gpc1.deactivate_now()
    caches.gpc2.deactivate_now()
    return error


def register_two_hva(area: Area, caches: Caches) -> int:
    """Two gfn_to_hva_caches: one to the end of the page, one for the rest."""
    first, second = split(area.address, area.shape.size)
    error = caches.ghc.activate(area.address, first)
    if not error and second:
        error = caches.ghc2.activate(area.address + first, second)
    return error


def register_va(area: Area, caches: Caches) -> int:
    """VCPUOP_register_runstate_memory_area: any alignment, any page.

    Xen ignores whether the first copy succeeds, so it returns 0 even for an area that is not
    mapped. -EFAULT is for an unreadable argument, and on PV for an address in Xen's own range.
    """
    return 0


def register_phys(area: Area, caches: Caches) -> int:
    """VCPUOP_register_runstate_phys_area: aligned for the domain and in one page, else -ENXIO."""
    return phys_error(area, caches.host)


_FIRST = Source("30b5c851af79", "KVM: x86/xen: Add support for vCPU runstate information", "v5.12")
_ATOMIC = Source(
    "fcb732d8f8cf",
    "KVM: x86/xen: Fix runstate updates to be atomic when preempting vCPU",
    "v5.17",
    "and 5.16.15",
)
_GPC = Source(
    "a795cd43c5b5",
    "KVM: x86/xen: Use gfn_to_pfn_cache for runstate area",
    "v5.19",
    "read in 6.1, which is always flagged to this day",
)
_DRAFT = Source(message="6acfdbd3e516ece5949e97c85e7db8dc97a3e6c6.camel@infradead.org, 16 Nov 2022")
_PATCH = Source(message="20221119094659.11868-2-dwmw2@infradead.org, 19 Nov 2022")
_QUEUE = Source(
    "56c2c4a401fc", message="kvm/queue; blob d4077262c0a2, the pre-image of the thread's diff"
)
_PAOLO = Source(message="Paolo Bonzini, 24 Nov 2022 01:31; blob 873a0ded3822")
_WOODHOUSE = Source(
    "bf9d04e1c597",
    "KVM: x86/xen: Reconcile fast and slow paths for runstate update",
    message="David Woodhouse, 24 Nov 2022 10:41; blob eaa7fddfbb8c, squashed into 5ec3289b31ab",
)
_MERGED = Source(
    "d8ba8ba4c801",
    "KVM: x86/xen: Allow XEN_RUNSTATE_UPDATE flag behaviour to be configured",
    "v6.2",
    'on top of 5ec3289b31ab ("KVM: x86/xen: Compatibility fixes for shared runstate area") (in v6.2)',
)
# Nobody posted code for these: the message that has the proposal.
_EMBEDDED = Source(message="idea: Paolo Bonzini, 24 Nov 2022 02:11")
_HELPER = Source(message="idea: Paolo Bonzini, 24 Nov 2022 01:31")
_HVA = Source(message="idea: Sean Christopherson, 22 Nov 2022 19:09")
_NEWEST = Source(
    "4438355ec6e1, 78b74638eb6d",
    message="the writer read in Linux 6.12 to 7.3, the accounting in 7.3",
)
_XEN = Source("Xen 2529c850ea", "add update indicator to vcpu_runstate_info", "4.8")
_PHYS = Source("Xen d5df44275e", since="4.18")

# fmt: off
VARIANTS = (
    Variant("linux-5.14",      early.linux_5_14,             "four user copies; a fault in between leaves the flag up",               _FIRST,     register_hva_anywhere, PFNCACHE_6_1, writes_at_once=False),
    Variant("linux-5.16",      early.linux_5_16,             "user stores with page faults disabled; a fault leaves the flag",        _ATOMIC,    register_hva,          PFNCACHE_6_1,  writes_at_once=False, pages=1),
    Variant("linux-6.1",       early.linux_6_1,              "one cache; flag set by 8 bytes, cleared by read-modify-write",          _GPC,       register_one_page,     PFNCACHE_6_1,  writes_at_once=False, pages=1),
    Variant("split-memcpy",    two_pages.split_memcpy,       "Woodhouse's draft: every field split by itself, entry time last",       _DRAFT,     register_draft,        PFNCACHE_6_1,  writes_at_once=False),
    Variant("patch-2of4",      two_pages.two_paths,          "as posted: fast and slow path, one-byte flag",                          _PATCH,     register_patch_2of4,   PFNCACHE_6_1),
    Variant("two-paths",       two_pages.two_paths,          "the pre-image: fast and slow path",                                     _QUEUE,     register_two_pages,    PFNCACHE_6_1),
    Variant("single-path",     two_pages.single_path,        "Bonzini's: always by the stack; leaks gpc2's lock",                     _PAOLO,     register_two_pages,    PFNCACHE_6_1),
    Variant("reconciled",      two_pages.reconciled,         "Woodhouse's: one path, two places to build the struct",                 _WOODHOUSE, register_two_pages,    PFNCACHE_6_1),
    Variant("linux-6.2",       two_pages.linux_6_2,          "as merged: the flag if asked for, trylock when atomic",                 _MERGED,    register_two_pages,    PFNCACHE_6_2,  always_flagged=False),
    Variant("upstream",        two_pages.upstream,           "newest: pages marked dirty under their locks",                          _NEWEST,    register_two_pages,    PFNCACHE_6_12, always_flagged=False, clamps=True),
    Variant("embedded-struct", alternatives.embedded_struct, "idea: the vCPU holds the struct, and that is copied; the flag is lost", _EMBEDDED,  register_two_pages,    PFNCACHE_6_12, always_flagged=False, idea=True),
    Variant("split-helper",    alternatives.split_helper,    "idea: a generic split_memcpy() for each field",                         _HELPER,    register_two_pages,    PFNCACHE_6_12, always_flagged=False, idea=True),
    Variant("two-hva-caches",  alternatives.two_hva_caches,  "idea: user copies, which may fault, instead of locks",                  _HVA,       register_two_hva,      PFNCACHE_6_12, always_flagged=False, idea=True),
    Variant("gpc-lock",        alternatives.gpc_lock,        "idea: one kvm_gpc_lock() for both caches",                              _HVA,       register_two_pages,    PFNCACHE_6_12, always_flagged=False, idea=True),
    Variant("xen-va",          xen_va,                       "Xen, virtual area: byte flag if asked for, padding zeroed",             _XEN,       register_va,           PFNCACHE_6_12, always_flagged=False),
    Variant("xen-phys",        xen_phys,                     "Xen, physical area: always flagged, by 8-byte atomic writes",           _PHYS,      register_phys,         PFNCACHE_6_12, pages=1),
)
# fmt: on

VARIANT = {variant.name: variant for variant in VARIANTS}


def is_xen(variant: Variant) -> bool:
    """Is this Xen's own writer, which has no caches and no ioctls?"""
    return variant.register in (register_va, register_phys)


def uses_gpc(variant: Variant) -> bool:
    """Does this version reach the area through a gfn_to_pfn_cache?"""
    gpc = (register_one_page, register_two_pages, register_patch_2of4, register_draft)
    return variant.register in gpc


# The lengths of a gfn_to_pfn_cache that the thread discussed. 0: since 58f5ee5fedd9 (in v6.2) each
# call passes its own.
LENGTHS = (NATIVE.size, 1, 0)


class Registration(NamedTuple):
    length: int = 0  # the immutable length of the caches; 0: each call passes its own
    fault_at: int = 0  # the number of the user access that faults, from 1; 0: none


PER_USE = Registration()


def prepare(
    variant: Variant, area: Area, host: Host | None = None, how: Registration = PER_USE
) -> Caches:
    """Return the caches after the guest registered the area, before any update.

    The area is placed in page 1, at its offset in the page. Refused if this version rejects it.
    """
    if is_xen(variant) and area.host != "x86_64":
        raise Refused(f"{variant.name}: Xen with an update indicator runs on 64-bit x86 only")
    if area.address == INVALID_GPA:
        raise Refused(f"{variant.name}: address ~0 takes the area away, so nothing is written")
    caches = Caches(host or Host(), variant.pfncache)
    caches.host.fault_at = how.fault_at
    caches.gpc1.length = caches.gpc2.length = how.length
    error = variant.register(replace(area, address=area.offset), caches)
    if error:
        raise Refused(f"{variant.name}: registering the area fails with -{errno_name(error)}")
    return caches


def update(variant: Variant, vcpu: Runstate, area: Area, atomic: bool = False) -> tuple[Step, ...]:
    """Return one whole update of a newly registered area, with no other activity (Refused)."""
    return tuple(variant.update(vcpu, area, prepare(variant, area), atomic))
