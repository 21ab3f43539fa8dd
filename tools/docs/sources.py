"""The sources that the document cites, and the numbers of hypercalls.

A commit has its subject and version if they are known. A measurement says on what it was made.
"""

from runstate_abi.layouts.abi import CACHE_LINE
from runstate_abi.layouts.structs.runstate import NATIVE
from runstate_abi.writer.xen import PHYS_ALIGNMENT

# The key in the text, and the entry in the list of sources.
# fmt: off
REFERENCES = (
    # The headers.
    ("vcpu.h",       'Xen xen/include/public/vcpu.h; the same in Linux include/xen/interface/vcpu.h'),
    ("xen.h",        'Xen xen/include/public/xen.h: hypercall numbers, VMASST_*'),
    ("kvm-xen.h",    'Linux arch/x86/kvm/xen.h: struct compat_vcpu_runstate_info'),
    ("kvm-xen.c",    'Linux arch/x86/kvm/xen.c (read in 5.14 to 7.3)'),
    ("api.rst",      'Linux Documentation/virt/kvm/api.rst, KVM_XEN_VCPU_SET_ATTR'),
    ("time.c",       'Linux drivers/xen/time.c: the reader of Linux guests (read in 5.14 to 7.3)'),
    ("domain.c",     'Xen xen/common/domain.c: update_runstate_area(), runstate_area_populate(), common_vcpu_op(), map_guest_area()'),
    ("x86-domain.c", 'Xen xen/arch/x86/domain.c: context_switch(), _update_runstate_area(); xen/arch/x86/x86_64/domain.c: compat_vcpu_op()'),
    ("core.c",       'Xen xen/common/sched/core.c: vcpu_runstate_change(), vcpu_wake(), vcpu_sleep_nosync_locked()'),
    ("xlat.c",       'Xen xen/common/compat/xlat.c: xlat_vcpu_runstate_info()'),
    ("xlat.lst",     'Xen xen/include/xlat.lst: "!" is an entry that is translated and not checked'),
    ("hvm.c",        'Xen xen/arch/x86/hvm/hvm.c: hvm_latch_shinfo_size(), copy_to_user_hvm(), __hvm_copy()'),
    ("cpuid.h",      'Xen xen/include/public/arch-x86/cpuid.h'),
    ("features.h",   'Xen xen/include/public/features.h'),
    ("arm-domain.c", 'Xen xen/arch/arm/domain.c: do_vcpu_op()'),
    ("x86.c",        'Linux arch/x86/kvm/x86.c: record_steal_time(), vcpu_enter_guest(), kvm_arch_vcpu_load(), kvm_arch_vcpu_put(), __kvm_emulate_halt()'),
    ("kvm_main.c",   'Linux virt/kvm/kvm_main.c: kvm_sched_out() (read in 6.1 and 6.12)'),
    ("barriers",     "Linux arch/x86/include/asm/barrier.h and arch/arm64/include/asm/barrier.h; AMD64 Architecture Programmer's Manual, volume 2, memory ordering"),
    ("enlighten.c",  'Linux arch/arm/xen/enlighten.c'),
    ("qemu",         'QEMU 10.0 target/i386/kvm/xen-emu.c'),
    ("xen.rst",      'QEMU 10.0 docs/system/i386/xen.rst'),
    ("thread",       'kvm@vger.kernel.org, 19 to 24 Nov 2022, Message-Id 20221119094659.11868-3-dwmw2@infradead.org and the answers to it'),
    # Linux.
    ("30b5c851af79", '30b5c851af79 ("KVM: x86/xen: Add support for vCPU runstate information") (in v5.12)'),
    ("fcb732d8f8cf", 'fcb732d8f8cf ("KVM: x86/xen: Fix runstate updates to be atomic when preempting vCPU") (in v5.17)'),
    ("a795cd43c5b5", 'a795cd43c5b5 ("KVM: x86/xen: Use gfn_to_pfn_cache for runstate area") (in v5.19)'),
    ("8332f0ed4f18", '8332f0ed4f18 (in v6.1): a cache that moves inside one page'),
    ("5ec3289b31ab", '5ec3289b31ab ("KVM: x86/xen: Compatibility fixes for shared runstate area") (in v6.2)'),
    ("d8ba8ba4c801", 'd8ba8ba4c801 ("KVM: x86/xen: Allow XEN_RUNSTATE_UPDATE flag behaviour to be configured") (in v6.2)'),
    ("23e60258aeaf", '23e60258aeaf: a lockdep subclass for the second cache'),
    ("bbe17c625d68", 'bbe17c625d68: read_trylock() where the update must not spin'),
    ("4438355ec6e1", '4438355ec6e1 and 78b74638eb6d: pages marked dirty under the caches\' locks (read in 6.12)'),
    ("7fa0da537368", '7fa0da537368 (in v6.13; 6.6.67, 6.1.121, 5.15.175): hypercalls without the hypercall page, XSA-466'),
    ("5e25f5db6abb", '5e25f5db6abb: do not decrease steal time after live migration'),
    ("36a85200643e", '36a85200643e (in v7.3): no time passes if the clock went back, and the wait for a CPU is at most the time that passed'),
    # Xen.
    ("2529c850ea",   'Xen 2529c850ea ("add update indicator to vcpu_runstate_info") (in 4.8)'),
    ("f13404d57f",   'Xen f13404d57f (in 4.14): HVM guests may ask for the update flag'),
    ("0dd40d68b1",   'Xen 0dd40d68b1 (in 4.15): compat headers without #pragma pack'),
    ("d5df44275e",   'Xen d5df44275e (in 4.18): areas at guest-physical addresses'),
    ("eadc288cbb",   'Xen eadc288cbb (in 4.18): what is wrong with areas at virtual addresses'),
    ("72c538cca9",   'Xen 72c538cca9 (in 4.8): vm_assist on Arm'),
    ("cf8b52ff53",   'Xen cf8b52ff53 (2009): the area is updated when a vCPU is descheduled, too'),
    ("eddde6561c",   'Xen eddde6561c (2010): 32-bit HVM guests had been given the 64-bit layout'),
    ("f28c4c4c10",   'Xen f28c4c4c10 (2019): the flag had leaked into VCPUOP_get_runstate_info'),
    # What was measured.
    ("compilers",    'measured: gcc 12 and clang for every ABI listed; `runstate matrix --zig` asks again'),
    ("recordings",   'measured: updates recorded in guests of Linux 6.1.192 and 6.12.107 and of Xen 4.17.5'),
    ("model",        'made by playing the model of each writer, which is held against recordings and machine code: `runstate write`, `runstate judge`'),
    ("checked",      'measured: `runstate check`, cell by cell'),
    ("tearing",      'measured: a guest and a writer in threads on a Zen 4, at every offset in a cache line'),
    ("race",         'proved or refuted by exhaustive search over every interleaving: `runstate race`'),
)
# fmt: on

# xen/include/public/xen.h, vcpu.h and features.h.
# fmt: off
NUMBERS = {
    "hypercall.vcpu_op":    24,
    "hypercall.vm_assist":  21,
    "vcpuop.get":           4,
    "vcpuop.register":      5,
    "vcpuop.register_phys": 14,
    "vmasst.enable":        0,
    "vmasst.flag":          5,
    "xenfeat.phys":         18,
}
# fmt: on


def words() -> dict[str, str]:
    # An area that is aligned to a cache line is in one line and in one page.
    assert NATIVE.size <= CACHE_LINE
    numbers = {
        **NUMBERS,
        "advice.alignment": CACHE_LINE,
        "phys.native": PHYS_ALIGNMENT["native"],
        "phys.compat": PHYS_ALIGNMENT["compat"],
    }
    return {name: str(number) for name, number in numbers.items()}
