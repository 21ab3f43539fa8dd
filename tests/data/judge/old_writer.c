/* SPDX-License-Identifier: MIT */
/*
 * A writer as Linux 6.1 has one, for the tests of the judge: our own, with one cache, always
 * flagged, the flag set and cleared by eight bytes. It accounts for time before it writes.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L
typedef _Bool bool; /* a keyword from C23 on */
#endif

typedef struct { u32 cnts, waiting; } rwlock_t;
struct kvm_memory_slot;
struct gfn_to_pfn_cache {
	u64 gpa;
	struct kvm_memory_slot *memslot;
	rwlock_t lock;
	void *khva;
	bool active, valid;
};
struct kvm { u64 users; struct { struct { bool long_mode; } xen; } arch; };
struct kvm_vcpu {
	struct kvm *kvm;
	struct {
		struct {
			u32 current_runstate;
			struct gfn_to_pfn_cache runstate_cache;
			u64 last_steal, runstate_entry_time, runstate_times[4];
		} xen;
	} arch;
};
struct vcpu_runstate_info { int state; u64 state_entry_time; u64 time[4]; } a_native;

u64 get_kvmclock_ns(struct kvm *kvm);
u64 _raw_read_lock_irqsave(rwlock_t *lock);
void _raw_read_unlock_irqrestore(rwlock_t *lock, u64 flags);
bool kvm_gfn_to_pfn_cache_check(struct kvm *kvm, struct gfn_to_pfn_cache *gpc, u64 gpa, u64 len);
int kvm_gfn_to_pfn_cache_refresh(struct kvm *kvm, struct gfn_to_pfn_cache *gpc, u64 gpa, u64 len);
void mark_page_dirty_in_slot(struct kvm *kvm, const struct kvm_memory_slot *memslot, u64 gfn);

#define UPDATE (1UL << 63)
#define barrier() __asm__ volatile("" ::: "memory")

void kvm_xen_update_runstate_guest(struct kvm_vcpu *v, int state)
{
	struct gfn_to_pfn_cache *gpc = &v->arch.xen.runstate_cache;
	u64 flags, now = get_kvmclock_ns(v->kvm), size = v->kvm->arch.xen.long_mode ? 48 : 44;
	volatile u64 *entry_time, *times;
	int number;

	v->arch.xen.runstate_times[v->arch.xen.current_runstate] +=
		now - v->arch.xen.runstate_entry_time;
	v->arch.xen.runstate_entry_time = now;
	v->arch.xen.current_runstate = state;
	if (!gpc->active)
		return;
again:
	flags = _raw_read_lock_irqsave(&gpc->lock);
	if (!kvm_gfn_to_pfn_cache_check(v->kvm, gpc, gpc->gpa, size)) {
		_raw_read_unlock_irqrestore(&gpc->lock, flags);
		if (state == 1)
			return;
		if (kvm_gfn_to_pfn_cache_refresh(v->kvm, gpc, gpc->gpa, size))
			return;
		goto again;
	}
	entry_time = gpc->khva + size - 40;
	times = entry_time + 1;
	*entry_time = now | UPDATE;
	barrier();
	*(volatile u32 *)gpc->khva = state;
	for (number = 0; number < 4; number++)
		times[number] = v->arch.xen.runstate_times[number];
	barrier();
	*entry_time &= ~UPDATE;
	barrier();
	_raw_read_unlock_irqrestore(&gpc->lock, flags);
	mark_page_dirty_in_slot(v->kvm, gpc->memslot, gpc->gpa >> 12);
}
