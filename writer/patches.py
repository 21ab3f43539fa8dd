"""The gfn_to_pfn_cache patches discussed in the thread, and the effect of each.

The messages of 22 November 2022 list ten: six by Michal Luczaj, four by Sean Christopherson, all
in v6.2. The thread's own, Woodhouse's fix of khva, is in v6.1.
"""

from typing import NamedTuple


class Patch(NamedTuple):
    commit: str
    author: str
    subject: str
    shows: str = ""  # what differs with and without it
    nothing: str = ""  # why no byte and no lock differs


KHVA_FIX = "8332f0ed4f18"
ONE_DEACTIVATE = "9f87791d686d"
NO_REINIT = "5762cb102357"

# fmt: off
PATCHES = (
    Patch(KHVA_FIX,       "Woodhouse",      "KVM: Update gfn_to_pfn_cache khva when it moves within the same page",       shows="without it, an area that moves within its page is written at the old offset, 33 bytes of it past the page in the worst case"),
    Patch("aba3caef5862", "Luczaj",         "KVM: Shorten gfn_to_pfn_cache function names",                               nothing="it renames functions"),
    Patch("c1a81f3bd9b4", "Luczaj",         "KVM: x86: Remove unused argument in gpc_unmap_khva()",                       nothing="the argument was not used"),
    Patch("8c82a0b3ba1a", "Luczaj",         "KVM: Store immutable gfn_to_pfn_cache properties",                           nothing="every caller passed the same values each time"),
    Patch("e308c24a358d", "Luczaj",         'KVM: Use gfn_to_pfn_cache\'s immutable "kvm" in kvm_gpc_check()',            nothing="every caller passed the cache's own kvm"),
    Patch("2a0b128a906a", "Luczaj",         "KVM: Clean up hva_to_pfn_retry()",                                           nothing="it uses the cache's own kvm instead of an argument"),
    Patch("0318f207d1c2", "Luczaj",         'KVM: Use gfn_to_pfn_cache\'s immutable "kvm" in kvm_gpc_refresh()',          nothing="every caller passed the cache's own kvm"),
    Patch(ONE_DEACTIVATE, "Christopherson", "KVM: Drop KVM's API to allow temporarily unmapping gfn=>pfn cache",          shows="without it, deactivating a cache takes its write lock twice, and in between the cache is valid and not active"),
    Patch(NO_REINIT,      "Christopherson", "KVM: Do not partially reinitialize gfn=>pfn cache during activation",        shows="with it, activating a cache that is valid and not active fails with -EIO; without it, the mapping is forgotten and never unmapped"),
    Patch("58f5ee5fedd9", "Christopherson", "KVM: Drop @gpa from exported gfn=>pfn cache check() and refresh() helpers",  nothing="every caller passed the cache's own gpa, and it is still read before the refresh mutex is taken"),
    Patch("06e155c44aa0", "Christopherson", 'KVM: Skip unnecessary "unmap" if gpc is already valid during refresh',       nothing="what is skipped unmapped nothing"),
)
# fmt: on
UP_TO_6_1 = frozenset((KHVA_FIX,))
UP_TO_6_2 = frozenset(patch.commit for patch in PATCHES)
