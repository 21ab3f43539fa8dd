"""The symbols that a shipped kernel's code may call and access: the complete allow-list.

A call to anything else means "cannot judge". The names are exact: a pattern __tsan_* once accepted
__tsan_memcpy, which copies, together with functions that only watch.
"""

import re
from typing import NamedTuple

from runstate_abi.layouts.model import WitnessError

# Instrumentation of functions, branches and accesses (ftrace, KCOV, KASAN, KCSAN), and lockdep's
# bookkeeping: they do not change anything that is judged.
_SIZES = ("1", "2", "4", "8", "16")
_ASAN = (*(f"{size}_noabort" for size in (*_SIZES, "N")), *_SIZES, "N")
# fmt: off
QUIET = frozenset((
    "__fentry__", "mcount",
    "__sanitizer_cov_trace_pc", "__sanitizer_cov_trace_switch",
    *(f"__sanitizer_cov_trace_cmp{size}" for size in _SIZES[:4]),
    *(f"__sanitizer_cov_trace_const_cmp{size}" for size in _SIZES[:4]),
    *(f"__asan_load{size}" for size in _ASAN),
    *(f"__asan_store{size}" for size in _ASAN),
    "__asan_handle_no_return",
    "__tsan_init", "__tsan_func_entry", "__tsan_func_exit",
    *(f"__tsan_{what}{size}" for size in _SIZES for what in (
        "read", "write", "read_write", "volatile_read", "volatile_write",
        "unaligned_read", "unaligned_write", "unaligned_read_write",
        "unaligned_volatile_read", "unaligned_volatile_write",
    )),
    "__kcsan_check_access",
    "lock_set_class",
    "preempt_count_add", "preempt_count_sub",
))

# Copies of memory, also with instrumentation: (destination, source, size).
COPIES = frozenset((
    "memcpy", "__memcpy", "memmove", "__memmove",
    "__asan_memcpy", "__asan_memmove", "__tsan_memcpy", "__tsan_memmove",
))
FILLS = frozenset(("memset", "__memset", "__asan_memset", "__tsan_memset"))

# Jumps to what a register holds (retpolines), and the return of a kernel with return thunks.
REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
RETURN = b"\xc3"
REAL = {"__x86_return_thunk": RETURN} | {
    f"__x86_indirect_thunk_{name}": bytes((0x41,) * (number > 7) + (0xFF, 0xE0 | number & 7))
    for number, name in enumerate(REGISTERS)  # jmp *%register
}


# What a function of C may leave in the registers that are not its caller's (System V AMD64 psABI
# 1.0, 3.2.1): anything. rax keeps its result. mov $0x5afe0bad, %register, a return.
SCRATCH = b"".join(
    bytes((0x41,) * (number > 7) + (0xB8 | number & 7,)) + (0x5AFE_0BAD).to_bytes(4, "little")
    for number in map(REGISTERS.index, ("rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"))
) + RETURN


# rwlock_t: what each does to the lock in its first argument.
class LockCall(NamedTuple):
    does: str  # "lock", "trylock", "unlock"
    irq: bool = False
    sleeps: bool = False  # on PREEMPT_RT, where it leaves interrupts alone


LOCKS = {
    "_raw_read_lock":              LockCall("lock"),
    "_raw_read_lock_irqsave":      LockCall("lock", irq=True),
    "_raw_read_trylock":           LockCall("trylock"),
    "_raw_read_unlock":            LockCall("unlock"),
    "_raw_read_unlock_irqrestore": LockCall("unlock", irq=True),
    "rt_read_lock":                LockCall("lock", sleeps=True),
    "rt_read_trylock":             LockCall("trylock", sleeps=True),
    "rt_read_unlock":              LockCall("unlock", sleeps=True),
}

# Interrupts, where paravirt calls stand in for cli and sti: the member of pv_ops that is called.
PARAVIRT = {"irq.save_fl": "save", "irq.irq_disable": "off", "irq.irq_enable": "on"}
PARAVIRT_TABLE, PARAVIRT_TYPE = "pv_ops", "paravirt_patch_template"

# KVM's caches and dirty pages. Arguments are found by the names that the debug info gives the
# parameters; a bare xen.o has none for functions of other files, and then these names are assumed.
CACHES = {
    "kvm_gpc_check":                   ("check",    ("gpc", "len")),
    "kvm_gpc_refresh":                 ("refresh",  ("gpc", "len")),
    "kvm_gpc_activate":                ("activate", ("gpc", "gpa", "len")),
    "kvm_gfn_to_pfn_cache_check":      ("check",    ("kvm", "gpc", "gpa", "len")),
    "kvm_gfn_to_pfn_cache_refresh":    ("refresh",  ("kvm", "gpc", "gpa", "len")),
    "mark_page_dirty_in_slot":         ("dirty",    ("kvm", "memslot", "gfn")),
    "get_kvmclock_ns":                 ("clock",    ("kvm",)),
}

# Data of other files: where the compiler keeps `current` (and in which member of it), the count
# that says whether preemption is off, the canary.
CURRENT = ("current_task", "const_current_task")
CURRENT_INSIDE = ("pcpu_hot", "const_pcpu_hot")     # struct pcpu_hot, whose member it is
CURRENT_TYPE, CURRENT_MEMBER = "pcpu_hot", "current_task"
COUNTS  = {"__preempt_count": b"\1\0\0\0\0\0\0\0"}
CANARY  = bytes.fromhex("00c0fe5adec0fe5a")
GUARDS  = ("__stack_chk_guard", "__ref_stack_chk_guard")
CANARY_AT_GS  = 0x28          # AMD64 kernel ABI: gcc's -mstack-protector-guard=tls
SMASHED = "__stack_chk_fail"
BUG = "it runs into an instruction that stops it (ud2: a BUG or an assertion)"
# What a function restores (System V AMD64 psABI 1.0, 3.2.1), and what is in it at entry.
PRESERVED = {
    name: 0x5AFE_0000_0000_0001 + number
    for number, name in enumerate(("rbx", "rbp", "r12", "r13", "r14", "r15"))
}
EFLAGS_DF = 1 << 10

# System V AMD64 psABI: integer arguments, in order. EFLAGS.IF: Intel SDM, vol. 1, 3.4.3.
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
EFLAGS_IF, EFLAGS_ALWAYS = 0x200, 0x2
# Intel SDM, vol. 2: set interrupt flag; pop flags; movnti, perhaps with a REX prefix. Vol. 3A,
# 9.2.2: what orders such a store: sfence, mfence, or the kernel's smp_mb(), lock addl $0,-4(%rsp).
STI, POPF = re.compile(rb"\xfb"), re.compile(rb"\x9d")
MOVNTI = re.compile(rb"(?=[\x40-\x4f]?\x0f\xc3)")
FENCE = re.compile(rb"(?=\x0f\xae[\xf0\xf8]|\xf0\x83\x44\x24\xfc\x00)")
# include/asm-generic/qrwlock.h: what one reader adds to the lock word.
READER    = 0x200
# arch/x86/include/asm/kasan.h: where the shadow is, and log2 of the bytes per byte of it.
KASAN_SHADOW_OFFSET, KASAN_SHADOW_SCALE = 0xdffffc0000000000, 3
# Xen's public ABI: VMASST_TYPE_runstate_update_flag (xen.h), XEN_DOMCTL_CDF_hvm (domctl.h). Its
# stack is 32 KiB (STACK_SIZE), with struct cpu_info at the top: machine.py's is as large.
VMASST_RUNSTATE_UPDATE_FLAG, CDF_HVM = 5, 0x1
# fmt: on


class Ended(WitnessError):
    """The judged code will never return; what it did until then can be judged."""
