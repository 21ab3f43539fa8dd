/* SPDX-License-Identifier: MIT */
/*
 * A writer of the runstate area under the names that Xen gives its function and members, for the
 * tests of the judge: our own, written from the rule book. Linked, as xen-syms is. Compiled with
 * -DNAME it is broken in one way; tests/writer/witnesses/test_xen_code.py says which rule breaks.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define wmb() __asm__ volatile("" ::: "memory")
#define UPDATE (1UL << 63)
enum { RUNSTATE_UPDATE_FLAG = 5, HVM = 1 };

struct runstate { u32 state; u64 state_entry_time; u64 time[4]; };
struct compat_runstate { u32 state; u64 state_entry_time; u64 time[4]; } __attribute__((packed));

struct domain {
	u32 domain_id;
	u32 options;
	u64 vm_assist;
	struct { u8 other; u8 has_32bit_shinfo; } arch;
};

struct vcpu {
	u32 vcpu_id;
	struct domain *domain;
	struct runstate runstate;
	void *runstate_guest;
	struct { void *page; void *map; } runstate_guest_area;
	u8 runstate_guest_area_compat;
};

struct cpu_info { u64 registers[20]; struct vcpu *current_vcpu; u64 per_cpu_offset; };

/* Xen finds it by its stack, which is 32 KiB and ends in a struct cpu_info. */
static struct vcpu *current_vcpu(void)
{
	u64 stack = (u64)__builtin_frame_address(0);

	return ((struct cpu_info *)((stack | 0x7fff) + 1) - 1)->current_vcpu;
}

/* Played: it needs the guest's page tables. */
__attribute__((noipa)) u64 copy_to_user_hvm(void *to, const void *from, u32 size)
{
	(void)to, (void)from, (void)size;
	__builtin_trap();
}

static void copy(void *to, const void *from, u64 size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) :: "memory");
}

static void to_guest(struct vcpu *v, void *to, const void *from, u32 size)
{
	if (v->domain->options & HVM)
		copy_to_user_hvm(to, from, size);
	else
		copy(to, from, size);
}

/* The area's entry time begins after its state, and after padding in the native struct. */
static u8 *update_byte(u8 *area, int compat)
{
	return area + (compat ? 4 : 8) + 7;
}

static u64 body(struct compat_runstate *narrow, const struct runstate *from, int compat,
		const void **start)
{
	*start = from;
	if (!compat)
		return sizeof(*from);
	narrow->state = from->state;
	narrow->state_entry_time = from->state_entry_time;
	for (int i = 0; i < 4; i++)
		narrow->time[i] = from->time[i];
	*start = narrow;
	return sizeof(*narrow);
}

/* In the mapping of a physical area, which is aligned, all of the entry time at once. */
static void set_entry(struct vcpu *v, u8 *map, u8 *at, u64 entry)
{
	u8 value = entry >> 56;

	if (map)
		*(volatile u64 *)(at - 7) = entry;
	else
		to_guest(v, at, &value, 1);
}

u64 update_runstate_area(struct vcpu *v)
{
	struct runstate runstate = v->runstate;
	struct compat_runstate narrow;
	u8 *map = v->runstate_guest_area.map, *area = map ? map : v->runstate_guest;
	int compat = map ? v->runstate_guest_area_compat : v->domain->arch.has_32bit_shinfo;
	int flag = v->domain->vm_assist >> RUNSTATE_UPDATE_FLAG & 1;
	const void *start;
	u64 size;

	if (!area || current_vcpu() != v)
		return 1;
#ifdef ALWAYS_FLAG
	flag = 1;
#endif
#ifndef NO_FLAG
	if (flag) {
		runstate.state_entry_time |= UPDATE;
		set_entry(v, map, update_byte(area, compat), runstate.state_entry_time);
		wmb();
	}
#endif
#ifdef CLEAR_WITH_BODY
	runstate.state_entry_time &= ~UPDATE;
#endif
	size = body(&narrow, &runstate, compat, &start);
#ifdef ONE_BYTE_LESS
	size--;
#endif
#ifdef STORES_IN_XEN
	v->runstate.state = 0;
#endif
	if (map)
		copy(area, start, size);
	else
		to_guest(v, area, start, size);
	wmb();
#ifndef NO_CLEAR
	if (flag)
		set_entry(v, map, update_byte(area, compat), runstate.state_entry_time & ~UPDATE);
#endif
	return 1;
}
