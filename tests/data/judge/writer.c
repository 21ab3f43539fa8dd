/* SPDX-License-Identifier: MIT */
/*
 * A writer of the runstate area, for the tests of the judge: our own, written from the rule book,
 * under the names that a kernel gives its functions and members. Compiled with -DNAME it is broken
 * in one way; tests/writer/witnesses/test_machine_code.py says which rule that must break.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L
typedef _Bool bool; /* a keyword from C23 on */
#endif

typedef struct { u32 cnts, waiting; } rwlock_t;
struct kvm_memory_slot;

struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; };
struct compat_vcpu_runstate_info {
	int state;
	u64 state_entry_time;
	u64 time[4];
} __attribute__((packed));

struct gfn_to_pfn_cache {
	void *khva;
	rwlock_t lock;
	u64 gpa;
	struct kvm_memory_slot *memslot;
	bool active;
};

struct kvm_xen { u32 xen_version; bool long_mode; bool runstate_update_flag; };
struct kvm { u64 users; struct { u32 flags; struct kvm_xen xen; } arch; };

struct kvm_vcpu_xen {
	struct gfn_to_pfn_cache runstate2_cache, runstate_cache;
	u64 runstate_times[4];
	u64 runstate_entry_time, last_steal;
	u32 current_runstate;
};
struct kvm_vcpu { u64 id; struct { u64 regs[16]; struct kvm_vcpu_xen xen; } arch; struct kvm *kvm; };

/* So that the debug info has them. */
struct vcpu_runstate_info a_native;
#ifndef NO_COMPAT
struct compat_vcpu_runstate_info a_compat;
#endif

void _raw_read_lock(rwlock_t *lock);
u64 _raw_read_lock_irqsave(rwlock_t *lock);
int _raw_read_trylock(rwlock_t *lock);
void _raw_read_unlock(rwlock_t *lock);
void _raw_read_unlock_irqrestore(rwlock_t *lock, u64 flags);
int kvm_gpc_refresh(struct gfn_to_pfn_cache *gpc, u64 len);
int kvm_gpc_activate(struct gfn_to_pfn_cache *gpc, u64 gpa, u64 len);
void mark_page_dirty_in_slot(struct kvm *kvm, const struct kvm_memory_slot *memslot, u64 gfn);
#ifdef SWAPPED_PARAMETERS
/* Defined here, so that the debug info names its parameters. The judge plays it all the same. */
__attribute__((noipa)) bool kvm_gpc_check(u64 len, struct gfn_to_pfn_cache *gpc)
{
	return gpc->active && len;
}
#define CHECK(gpc, len) kvm_gpc_check(len, gpc)
#else
bool kvm_gpc_check(struct gfn_to_pfn_cache *gpc, u64 len);
#define CHECK(gpc, len) kvm_gpc_check(gpc, len)
#endif

#define PAGE 4096UL
#define UPDATE (1UL << 63)
#ifdef NO_BARRIER
#define barrier() do { } while (0) /* on x86 it is no instruction, so nothing of it is lost */
#else
#define barrier() __asm__ volatile("" ::: "memory")
#endif

/* Where a byte of the struct is, and how the struct lies. */
struct area {
	u8 *first, *second;
	u64 size, in_first, entry_time, time;
};

#ifdef COPY_OF_CONSTANT
/* Harmless: bytes that lie in a section of their own are copied to the stack by a call. */
static const u8 zeros[48] = { 0 };
void *memcpy(void *to, const void *from, u64 size);
#endif

#ifdef MUTE_COPY
void MUTE_COPY(void *to, const void *from, u64 size);
#define COPY MUTE_COPY
#else
static void COPY(u8 *to, const u8 *from, u64 size)
{
#ifdef COPY_NEVER_ENDS
	while (1) {
#else
	while (size--) {
#endif
#ifdef COPY_BACKWARDS
		/* Harmless. */
		((volatile u8 *)to)[size] = from[size];
#else
		*(volatile u8 *)to++ = *from++; /* @copy */
#endif
		barrier();
	}
}
#endif

#ifdef UNKNOWN_CALL_AFTER_BREACH
void unknown_call(void);
#endif

static u8 *update_byte(struct area *area)
{
	u64 at = area->entry_time + 7;

#ifdef WRONG_PAGE_OF_UPDATE_BYTE
	return area->in_first > at + 1 ? area->first + at : area->second + at - area->in_first;
#else
	return area->in_first > at ? area->first + at : area->second + at - area->in_first;
#endif
}

#ifdef SINGLE_PATH
#define BY_STACK(second) 1
#define LOCKS_SECOND_ALWAYS
#else
#define BY_STACK(second) (second)
#endif

static void body(struct area *area, struct kvm_vcpu_xen *xen, u64 entry_time)
{
	u8 image[48], *to = area->first;
	u64 second = area->size - area->in_first;
	int number;

#ifdef BODY_WITHOUT_FLAG
	entry_time &= ~UPDATE;
#endif
	if (BY_STACK(second)) {
#ifdef COPY_OF_CONSTANT
		const u8 *from = zeros;

		__asm__ volatile("" : "+r"(from));
		memcpy(image, from, sizeof(image));
#elif !defined(NO_MEMSET)
		for (number = 0; number < 48; number++)
			*(volatile u8 *)(image + number) = 0;
#else
		__asm__ volatile("" : "=m"(image));
#endif
		to = image;
#ifdef OVERRUNS_STACK
		__asm__ volatile("" : "+r"(to)); /* so that the compiler does not know how far it goes */
		for (number = 48; number < 64; number++)
			*(volatile u8 *)(to + number) = 0;
#endif
	}
#ifdef FENCED
	__asm__ volatile("sfence" ::: "memory");
#endif
	*(volatile u32 *)to = xen->current_runstate; /* @state */
	*(volatile u64 *)(to + area->entry_time) = entry_time; /* @entry-time */
#ifdef ONE_TIME_MISSING
	for (number = 0; number < 3; number++)
#else
	for (number = 0; number < 4; number++)
#endif
#ifdef NON_TEMPORAL
		__asm__ volatile("movnti %1, %0" : "=m"(*(u64 *)(to + area->time + 8 * number)) /* @streamed */
				 : "r"(xen->runstate_times[number]));
#else
		*(volatile u64 *)(to + area->time + 8 * number) = xen->runstate_times[number]; /* @times */
#endif
#ifdef FENCED
	__asm__ volatile("sfence" ::: "memory");
#endif
	if (!BY_STACK(second))
		return;
#ifdef SECOND_PAGE_FIRST
	COPY(area->second, image + area->in_first, second);
	COPY(area->first, image, area->in_first);
#else
	COPY(area->first, image, area->in_first);
#ifdef COPY_FROM_ONE_BEFORE
	COPY(area->second, image + area->in_first - 1, second);
#elif defined(COPY_ONE_TOO_MANY)
	COPY(area->second, image + area->in_first, second + 1);
#else
	COPY(area->second, image + area->in_first, second);
#endif
#endif
} /* @body-end */

static void write_area(struct area *area, struct kvm_vcpu_xen *xen, bool flag)
{
	u64 entry_time = xen->runstate_entry_time;
	volatile u8 *update = update_byte(area);

	if (flag) {
		entry_time |= UPDATE;
#ifdef READ_MODIFY_WRITE_SET
		*update |= 0x80; /* @set-by-or */
#elif !defined(NO_SET) && !defined(SET_AFTER_BODY)
		*update = entry_time >> 56; /* @set */
#endif
		barrier();
	}
	body(area, xen, entry_time);
	barrier();
#ifdef SET_AFTER_BODY
	if (flag)
		*update = entry_time >> 56;
#endif
#ifdef READS_BACK
	if (*(volatile u32 *)area->first == 99) /* @reads-back */
		return;
#endif
#ifdef FLAG_KEPT_IN_TIME
	if (flag)
		*update = xen->runstate_entry_time >> 56; /* @kept */
#elif !defined(NO_CLEAR)
	if (flag)
		*update = (entry_time & ~UPDATE) >> 56; /* @clear */
#endif
#ifdef ENDLESS
	for (;;) /* @endless */
		barrier(); /* @in-endless */
#endif
#ifdef ENDLESS_AFTER_BREACH
	area->first[area->size] = 1; /* @beyond */
	for (;;)
		barrier();
#endif
#ifdef UNKNOWN_CALL_AFTER_BREACH
	area->first[area->size] = 1; /* @beyond-and-call */
	unknown_call();
#endif
#ifdef STRAY
	*(volatile u32 *)0xdead0000 = 1;
#endif
#ifdef BUG
	__builtin_trap(); /* @trap */
#endif
} /* @write-end */

static void release(rwlock_t *lock)
{
#ifdef INLINED_UNLOCK
	__asm__ volatile("lock subl $0x200, %0" : "+m"(lock->cnts));
#else
	_raw_read_unlock(lock); /* @release */
#endif
}

static u64 irq_save(void)
{
	u64 flags;

	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags)::"memory"); /* @cli */
	return flags;
}

static void irq_restore(u64 flags)
{
#ifndef IRQS_STAY_OFF
	if (flags & 0x200)
		__asm__ volatile("sti" ::: "memory"); /* @sti */
#endif
}

static bool take(rwlock_t *lock, bool atomic)
{
#ifdef SPINS
	atomic = 0;
#endif
	if (atomic)
		return _raw_read_trylock(lock);
	_raw_read_lock(lock); /* @lock */
	return 1;
}

static void shape(struct area *area, struct kvm_vcpu *v)
{
	u64 offset = v->arch.xen.runstate_cache.gpa % PAGE;
	bool native = v->kvm->arch.xen.long_mode;

	area->size = native ? 48 : 44;
	area->entry_time = native ? 8 : 4;
#ifdef WRONG_COMPAT_OFFSET
	area->entry_time = 8;
#endif
	area->time = native ? 16 : 12;
#ifdef TIMES_TOO_FAR
	area->time += 4;
#endif
	area->in_first = area->size;
#ifdef SPLIT_ON_FIT
	if (offset + area->size >= PAGE)
#else
	if (offset + area->size > PAGE)
#endif
		area->in_first = PAGE - offset;
}

#ifdef INLINED
static inline __attribute__((always_inline))
#endif
#if defined(CLOBBERS_RBX) || defined(CLOBBERS_R12)
static __attribute__((noinline)) void update(struct kvm_vcpu *v, bool atomic)
#else
void kvm_xen_update_runstate_guest(struct kvm_vcpu *v, bool atomic)
#endif
{
	struct kvm_vcpu_xen *xen = &v->arch.xen;
	struct gfn_to_pfn_cache *one = &xen->runstate_cache, *two = &xen->runstate2_cache;
	bool flag = v->kvm->arch.xen.runstate_update_flag;
	struct area area;
	u64 flags, second;

#ifdef FLAG_ALWAYS
	flag = 1;
#endif
	shape(&area, v);
	second = area.size - area.in_first;
again:
	flags = irq_save();
	if (!take(&one->lock, atomic)) {
#ifdef LOSES_IRQRESTORE_WHEN_BUSY
		return;
#endif
		goto out;
	}
#ifdef NO_CHECK
	;
#elif defined(CHECK_TOO_SHORT)
	while (!CHECK(one, area.in_first - 1)) { /* @check-short */
#elif defined(CHECKS_WHOLE_LENGTH)
	while (!CHECK(one, area.size)) { /* @check-long */
#else
	while (!CHECK(one, area.in_first)) { /* @check */
#endif
#ifndef NO_CHECK
#ifndef REFRESH_UNDER_LOCK
		release(&one->lock);
#endif
		irq_restore(flags);
#ifndef SLEEPS_WHEN_ATOMIC
		if (atomic)
			return;
#endif
#ifdef RETRIES_WITHOUT_REFRESH
		;
#elif defined(IGNORES_REFRESH_ERROR)
		kvm_gpc_refresh(one, area.in_first); /* @refresh-in-vain */
#else
		if (kvm_gpc_refresh(one, area.in_first)) /* @refresh */
			return;
#endif
#ifdef REFRESH_UNDER_LOCK
		release(&one->lock);
#endif
		goto again;
	}
#endif
#ifdef WRITES_BEFORE_SECOND_LOCK
	if (second)
		*(volatile u32 *)one->khva = 1; /* @begins-early */
#endif
#ifdef LOCKS_SECOND_ALWAYS
	if (1) {
#else
	if (second) {
#endif
		if (!take(&two->lock, atomic))
			goto unlock_one;
		if (second && !CHECK(two, second)) {
			release(&two->lock);
			release(&one->lock);
#ifdef SLEEPS_WITH_IRQS_OFF
			int error = !atomic && kvm_gpc_activate(two, one->gpa + area.in_first, second); /* @sleeps */

			irq_restore(flags);
			if (atomic || error)
				return;
#else
			irq_restore(flags);
			if (atomic)
				return;
			if (kvm_gpc_activate(two, one->gpa + area.in_first, second)) /* @activate */
				return;
#endif
#ifdef NO_RETRY
			return;
#endif
			goto again;
		}
	}
	area.first = one->khva;
	area.second = two->khva;
#ifdef UNLOCKS_SECOND_EARLY
	if (second)
		release(&two->lock);
#endif
#ifdef DEACTIVATES_CACHE
	one->active = 0; /* @vcpu */
#endif
#ifdef IRQS_ON_FOR_STORES
	__asm__ volatile("pushf; orq $0x200, (%%rsp); popf" ::: "memory"); /* @irqs-on */
#endif
	write_area(&area, xen, flag);
#ifdef IRQS_ON_FOR_STORES
	__asm__ volatile("cli" ::: "memory");
#endif
#ifdef IRQS_ON_FOR_A_MOMENT
	__asm__ volatile("sti; nop; cli" ::: "memory"); /* @moment */
#endif
	if (second) {
#ifndef NO_SECOND_DIRTY
		if (two->memslot)
			mark_page_dirty_in_slot(v->kvm, two->memslot, two->gpa / PAGE);
#endif
#if !defined(NO_SECOND_UNLOCK) && !defined(UNLOCKS_SECOND_EARLY)
		release(&two->lock);
#endif
	}
#ifndef DIRTY_AFTER_UNLOCK
	if (one->memslot)
		mark_page_dirty_in_slot(v->kvm, one->memslot, one->gpa / PAGE);
#endif
unlock_one:
	release(&one->lock);
#ifdef DIRTY_AFTER_UNLOCK
	if (one->memslot)
		mark_page_dirty_in_slot(v->kvm, one->memslot, one->gpa / PAGE); /* @dirty-late */
#endif
out:
	irq_restore(flags);
#ifdef DIRECTION_FLAG
	__asm__ volatile("std");
#endif
#ifdef OVERWRITES_CALLERS_STACK
	((volatile u64 *)__builtin_frame_address(0))[2] = 0; /* [1] is the return address */
#endif
} /* @return */

#if defined(CLOBBERS_RBX) || defined(CLOBBERS_R12)
/* Of a function that uses the register itself, the compiler would restore it. */
void kvm_xen_update_runstate_guest(struct kvm_vcpu *v, bool atomic)
{
	update(v, atomic);
#ifdef CLOBBERS_RBX
	__asm__ volatile("mov $1, %rbx");
#else
	__asm__ volatile("mov $1, %r12");
#endif
} /* @return-of-caller */
#endif

#ifdef INLINED
u64 get_kvmclock_ns(struct kvm *kvm);

void kvm_xen_update_runstate(struct kvm_vcpu *v, int state)
{
	struct kvm_vcpu_xen *xen = &v->arch.xen;
	u64 now = get_kvmclock_ns(v->kvm);

	xen->runstate_times[xen->current_runstate] += now - xen->runstate_entry_time;
	xen->runstate_entry_time = now;
	xen->current_runstate = state;
	if (xen->runstate_cache.active)
		kvm_xen_update_runstate_guest(v, state == 1);
}
#endif
