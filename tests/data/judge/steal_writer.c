/* SPDX-License-Identifier: MIT */
/*
 * A writer of a guest's steal time, for the tests of the judge: our own, written from the rules,
 * under the names that a kernel gives its function and members. Compiled with -DNAME it is broken
 * in one way; tests/writer/witnesses/versions/test_steal.py says which rule that must break.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L
typedef _Bool bool; /* a keyword from C23 on */
#endif

struct kvm_memory_slot;
struct kvm_memslots { u64 generation, nodes; };
struct gfn_to_hva_cache {
	u64 generation, gpa;
	unsigned long hva, len;
	struct kvm_memory_slot *memslot;
};

struct kvm_steal_time {
	u64 steal;
	u32 version, flags;
	u8 preempted, u8_pad[3];
	u32 pad[11];
};

struct task_struct { u64 state; struct { u64 count, run_delay; } sched_info; };
struct kvm { u64 users; struct kvm_memslots *memslots[2]; };
struct kvm_vcpu {
	struct kvm *kvm;
	struct {
		u64 regs[16];
		struct {
			u8 preempted;
			u64 msr_val, last_steal;
			struct gfn_to_hva_cache cache;
		} st;
		struct { u32 features; bool enforce; } pv_cpuid;
	} arch;
};

extern unsigned long page_offset_base;
extern struct task_struct *current_task;
int kvm_gfn_to_hva_cache_init(struct kvm *kvm, struct gfn_to_hva_cache *ghc, u64 gpa, u64 len);
void mark_page_dirty_in_slot(struct kvm *kvm, const struct kvm_memory_slot *memslot, u64 gfn);
void kvm_vcpu_flush_tlb_guest(struct kvm_vcpu *vcpu);

/* So that the debug info has it. */
struct kvm_memslots slots;

/* An entry of the exception table: an instruction, where to go on, and a kind of fixup. */
#define CAUGHT(to, kind) \
	"\n.pushsection __ex_table, \"a\"\n.balign 4\n.long 1b - ., " to " - ., " kind "\n.popsection"
#ifdef UNCAUGHT
#define CAUGHT_VERSION(to, kind)
#else
#define CAUGHT_VERSION CAUGHT
#endif
#ifndef KIND
#define KIND "3"
#endif
#define PUT(place, value, label, caught)                                                     \
	__asm__ goto("1: mov %0, %1" caught("%l[" #label "]", KIND)                                         \
		     : : "r"(value), "m"(*(place)) : "memory" : label)
#define GET(place, value, label)                                                             \
	__asm__ goto("1: mov %1, %0" CAUGHT("%l[" #label "]", KIND)                                         \
		     : "=r"(value) : "m"(*(place)) : : label)
#define XCHG(place, value, label)                                                            \
	__asm__ goto("1: xchg %0, %1" CAUGHT("%l[" #label "]", KIND)                                        \
		     : "+r"(value), "+m"(*(place)) : : "memory" : label)

#define ENABLED 1
#define FLUSH_FEATURE (1 << 9)
#define FLUSH 2

static struct task_struct *current(void)
{
	struct task_struct *task;

	__asm__("movq %%gs:current_task, %0" : "=r"(task));
	return task;
}

/* A number of -1 says that it failed: the other form of an entry, which sets a register. */
static long get_by_number(const u64 *place, u64 *value)
{
	long error = 0;

	/* 17: set register 0, rax, to -1; 3: and clear rax and rdx before. */
	__asm__ volatile("1: mov %2, %1\n2:" CAUGHT("2b", "17 | 3 << 12 | 0xffff << 16")
			 : "+a"(error), "=d"(*value) : "m"(*place));
	return error;
}

static bool may_flush(struct kvm_vcpu *vcpu)
{
	return !vcpu->arch.pv_cpuid.enforce || vcpu->arch.pv_cpuid.features & FLUSH_FEATURE;
}

static bool is_current(struct kvm_vcpu *vcpu, u64 gpa)
{
	struct gfn_to_hva_cache *ghc = &vcpu->arch.st.cache;

#ifndef ANY_SLOTS
	if (ghc->generation != vcpu->kvm->memslots[0]->generation)
		return 0;
#endif
#ifndef ANY_ADDRESS
	if (ghc->gpa != gpa)
		return 0;
#endif
	return ghc->hva < page_offset_base && ghc->memslot;
}

#ifdef CLOBBERS
__attribute__((naked)) void record_steal_time(struct kvm_vcpu *vcpu)
{
	__asm__ volatile("call inner\n\tmov $1, %rbx\n\tret");
}
#define record_steal_time inner
#endif

void record_steal_time(struct kvm_vcpu *vcpu)
{
	struct gfn_to_hva_cache *ghc = &vcpu->arch.st.cache;
	u64 gpa = vcpu->arch.st.msr_val & ~63UL, steal, delay, size = sizeof(struct kvm_steal_time);
	struct kvm_steal_time *st;
	u32 version;
	u8 preempted = 0;

#ifndef NOT_ENABLED
	if (!(vcpu->arch.st.msr_val & ENABLED))
		return;
#endif
#ifdef SHORT_SETUP
	size -= 8;
#endif
	if (!is_current(vcpu, gpa) &&
	    (kvm_gfn_to_hva_cache_init(vcpu->kvm, ghc, gpa, size) || !ghc->memslot))
		return;
#ifdef BUG
	if (vcpu->arch.st.preempted)
		__builtin_trap();
#endif
	st = (struct kvm_steal_time *)ghc->hva;
#ifdef PLAIN_PREEMPTED
	GET(&st->preempted, preempted, out);
	PUT(&st->preempted, (u8)0, out, CAUGHT);
#elif defined(KEEPS_PREEMPTED)
#else
	if (may_flush(vcpu))
		XCHG(&st->preempted, preempted, out);
	else
		PUT(&st->preempted, (u8)0, out, CAUGHT);
#endif
#ifndef NO_FLUSH
	if (may_flush(vcpu) && preempted & FLUSH)
		kvm_vcpu_flush_tlb_guest(vcpu);
#endif
#ifndef KEEPS_OWN_NOTE
	vcpu->arch.st.preempted = 0;
#endif
	GET(&st->version, version, out);
#ifdef PLAIN_ADD
	version += 1;
#else
	version = (version + 1) | 1;
#endif
#ifndef NO_ODD
	PUT(&st->version, version, out, CAUGHT_VERSION);
#endif
#ifdef BY_NUMBER
	if (get_by_number(&st->steal, &steal))
		goto out;
#else
	GET(&st->steal, steal, out);
#endif
	delay = current()->sched_info.run_delay;
	steal += delay - vcpu->arch.st.last_steal;
#ifndef NO_LAST
	vcpu->arch.st.last_steal = delay;
#endif
#ifdef EVEN_EARLY
	PUT(&st->version, version + 1, out, CAUGHT);
#endif
#ifdef IN_HALVES
	PUT((u32 *)&st->steal, (u32)steal, out, CAUGHT);
	PUT((u32 *)&st->steal + 1, (u32)(steal >> 32), out, CAUGHT); /* harmless, as it is guarded */
#elif defined(GOES_ON)
	PUT(&st->steal, steal, again, CAUGHT);
again:
#else
	PUT(&st->steal, steal, out, CAUGHT);
#endif
#ifdef OUTSIDE
	PUT((u8 *)st + 64, (u8)0, out, CAUGHT);
#endif
#ifdef FLAGS_TOO
	PUT(&st->flags, (u32)0, out, CAUGHT);
#endif
#if !defined(EVEN_EARLY) && !defined(NO_EVEN)
	PUT(&st->version, version + 1, out, CAUGHT);
#endif
out:
#ifndef NO_DIRTY
	mark_page_dirty_in_slot(vcpu->kvm, ghc->memslot, ghc->gpa >> 12);
#endif
	return;
}
