/* SPDX-License-Identifier: MIT */
/*
 * A writer of a guest's clock, for the tests of the judge: our own, written from the rules, under
 * the names that a kernel gives its function and members. Compiled with -DNAME it is broken in one
 * way; tests/writer/witnesses/versions/test_clock.py says which rule that must break.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L
typedef _Bool bool; /* a keyword from C23 on */
#endif

typedef struct { u32 cnts, waiting; } rwlock_t;
struct kvm_memory_slot;

struct pvclock_vcpu_time_info {
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 tsc_to_system_mul;
	signed char tsc_shift;
	u8 flags, pad[2];
};

struct gfn_to_pfn_cache {
	struct kvm *kvm;
	void *khva;
	rwlock_t lock;
	u64 gpa;
	struct kvm_memory_slot *memslot;
	bool active;
};

struct kvm { u64 users; };
struct kvm_vcpu {
	u64 id;
	struct kvm *kvm;
	struct {
		u64 regs[16];
		struct gfn_to_pfn_cache pv_time;
#ifdef OLD
		struct pvclock_vcpu_time_info hv_clock;
#endif
		bool pvclock_set_guest_stopped_request;
		struct { struct gfn_to_pfn_cache vcpu_info_cache; } xen;
	} arch;
};

void _raw_read_lock(rwlock_t *lock);
void _raw_read_unlock(rwlock_t *lock);
u64 _raw_read_lock_irqsave(rwlock_t *lock);
void _raw_read_unlock_irqrestore(rwlock_t *lock, u64 flags);
bool kvm_gpc_check(struct gfn_to_pfn_cache *gpc, u64 len);
int kvm_gpc_refresh(struct gfn_to_pfn_cache *gpc, u64 len);
void mark_page_dirty_in_slot(struct kvm *kvm, const struct kvm_memory_slot *memslot, u64 gfn);
void *memcpy(void *to, const void *from, u64 size);
void unknown_call(void);

#define STOPPED 2
#define barrier() __asm__ volatile("" ::: "memory")

static void put_version(u8 *guest, u32 version)
{
#ifdef TWO_HALVES
	*(volatile u16 *)guest = version;
	*(volatile u16 *)(guest + 2) = version >> 16;
#else
	*(volatile u32 *)guest = version;
#endif
	barrier();
}

static void body(u8 *guest, const struct pvclock_vcpu_time_info *clock)
{
	u64 words = sizeof(*clock) / 8, number;

#ifdef CALLS_MEMCPY /* harmless */
	memcpy(guest, clock, sizeof(*clock));
	return;
#endif
#ifdef TOO_LONG
	words++;
#endif
	for (number = 0; number < words; number++) {
#ifdef BACKWARDS /* harmless */
		u64 at = words - 1 - number;
#else
		u64 at = number;
#endif
#ifdef SWAPPED
		((volatile u64 *)guest)[at] = ((const u64 *)clock)[at == 1 ? 2 : at == 2 ? 1 : at];
#else
		((volatile u64 *)guest)[at] = ((const u64 *)clock)[at];
#endif
	}
	barrier();
}

#define SIZE(offset) ((offset) + sizeof(struct pvclock_vcpu_time_info))
#ifdef SHORT_CHECK
#define CHECKED(offset) (SIZE(offset) - 8)
#else
#define CHECKED(offset) SIZE(offset)
#endif

#ifdef CLOBBERS
__attribute__((naked))
void kvm_setup_guest_pvclock(struct pvclock_vcpu_time_info *ref_hv_clock, struct kvm_vcpu *v,
			     struct gfn_to_pfn_cache *gpc, u32 offset)
{
	__asm__ volatile("call inner\n\tmov $1, %rbx\n\tret");
}
#define kvm_setup_guest_pvclock inner
#endif

#ifdef OLD
void kvm_setup_guest_pvclock(struct kvm_vcpu *v, struct gfn_to_pfn_cache *gpc, u32 offset,
			     bool force_tsc_unstable)
{
	struct pvclock_vcpu_time_info clock = v->arch.hv_clock;
#elif defined(STRANGE_PARAMETER)
void kvm_setup_guest_pvclock(struct pvclock_vcpu_time_info *ref_hv_clock, struct kvm_vcpu *v,
			     struct gfn_to_pfn_cache *gpc, u32 offset, u64 whatever)
{
	struct pvclock_vcpu_time_info clock = *ref_hv_clock;
#else
void kvm_setup_guest_pvclock(struct pvclock_vcpu_time_info *ref_hv_clock, struct kvm_vcpu *v,
			     struct gfn_to_pfn_cache *gpc, u32 offset)
{
	struct pvclock_vcpu_time_info clock = *ref_hv_clock;
#endif
	u64 flags = 0;
	u8 *guest;
	u32 odd;

#ifdef IRQS_ON
	_raw_read_lock(&gpc->lock);
#elif !defined(NO_LOCK)
	flags = _raw_read_lock_irqsave(&gpc->lock);
#endif
#ifndef NO_CHECK
	while (!kvm_gpc_check(gpc, CHECKED(offset))) {
#ifdef REFRESH_UNDER_LOCK
		int error = kvm_gpc_refresh(gpc, SIZE(offset));
#else
		_raw_read_unlock_irqrestore(&gpc->lock, flags);
		int error = kvm_gpc_refresh(gpc, SIZE(offset));
		flags = _raw_read_lock_irqsave(&gpc->lock);
#endif
#if defined(WRITES_REFUSED)
		if (error)
			break;
#elif !defined(ENDLESS)
		if (error) {
			_raw_read_unlock_irqrestore(&gpc->lock, flags);
			return;
		}
#endif
	}
#endif
#ifdef UNKNOWN_CALL
	unknown_call();
#endif
#ifdef FIRST_BYTE_OF_CACHE
	offset = 0;
#endif
	guest = (u8 *)gpc->khva + offset;
#ifdef PLAIN_ADD
	odd = *(volatile u32 *)guest + 1;
#elif defined(OWN_VERSION)
	odd = clock.version + 1;
#else
	odd = (*(volatile u32 *)guest + 1) | 1;
#endif
#ifdef DIRTY_FIRST
	mark_page_dirty_in_slot(gpc->kvm, gpc->memslot, gpc->gpa >> 12);
#endif
#ifdef DATA_FIRST
	((volatile u64 *)guest)[1] = clock.tsc_timestamp;
#endif
#ifndef NO_ODD
	put_version(guest, odd);
#endif
#ifndef EVEN_BODY
	clock.version = odd;
#endif
#ifdef FORGETS_STOPPED
#elif defined(KEEPS_ALL_FLAGS)
	clock.flags |= guest[29];
#else
	clock.flags |= guest[29] & STOPPED;
#endif
#ifdef OLD
	if (v->arch.pvclock_set_guest_stopped_request) {
#ifndef DROPS_REQUEST
		clock.flags |= STOPPED;
#endif
		v->arch.pvclock_set_guest_stopped_request = 0;
	}
#ifdef LEAKS_STOPPED
	v->arch.hv_clock.flags = clock.flags;
#endif
#endif
	body(guest, &clock);
#ifdef OLD
	if (force_tsc_unstable)
		*(volatile u8 *)(guest + 29) &= ~1;
	barrier();
#endif
#ifndef NO_EVEN
	put_version(guest, odd + 1);
#endif
#ifdef DATA_LAST
	((volatile u64 *)guest)[2] = clock.system_time;
#endif
#ifdef WRONG_FRAME
	mark_page_dirty_in_slot(gpc->kvm, gpc->memslot, (gpc->gpa >> 12) + 1);
#elif defined(WRONG_VM)
	mark_page_dirty_in_slot((void *)v, gpc->memslot, gpc->gpa >> 12);
#elif !defined(NO_DIRTY) && !defined(DIRTY_FIRST)
	mark_page_dirty_in_slot(gpc->kvm, gpc->memslot, gpc->gpa >> 12);
#endif
#if defined(IRQS_ON)
	_raw_read_unlock(&gpc->lock);
#elif defined(IRQS_STAY_OFF)
	_raw_read_unlock(&gpc->lock);
#elif !defined(NO_UNLOCK) && !defined(NO_LOCK)
	_raw_read_unlock_irqrestore(&gpc->lock, flags);
#endif
}
