#if defined(__x86_64__) || defined(__i386__)
#define PVCLOCK_TSC_STABLE_BIT (1 << 0)
#define PVCLOCK_GUEST_STOPPED (1 << 1)
#define PVCLOCK_TRIES 100000 /* as long as you can wait */

struct pvclock_copy {
	u64 tsc;
	u64 tsc_timestamp;
	u64 system_time;
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags;
};

/* One try: 1 if the copy is one update's, whole; 0 if not. */
static inline int
pvclock_try(const struct pvclock_vcpu_time_info *info,
	    struct pvclock_copy *copy)
{
	u32 version = READ_ONCE(info->version);

	virt_rmb();
	copy->tsc = rdtsc_ordered();
	copy->tsc_timestamp = READ_ONCE(info->tsc_timestamp);
	copy->system_time = READ_ONCE(info->system_time);
	copy->tsc_to_system_mul = READ_ONCE(info->tsc_to_system_mul);
	copy->tsc_shift = READ_ONCE(info->tsc_shift);
	copy->flags = READ_ONCE(info->flags);
	virt_rmb();
	return !(version & 1) && READ_ONCE(info->version) == version;
}

/* Nanoseconds. The product has 96 bits, so the halves of delta are
 * multiplied one by one.
 */
static inline u64 pvclock_time(const struct pvclock_copy *copy)
{
	u64 delta = copy->tsc - copy->tsc_timestamp;
	u64 mul = copy->tsc_to_system_mul;

	if (delta >> 63) /* this CPU's counter is behind */
		delta = 0;
	if (copy->tsc_shift < 0)
		delta >>= -copy->tsc_shift;
	else
		delta <<= copy->tsc_shift;
	return copy->system_time + (delta >> 32) * mul +
	       (((delta & 0xffffffff) * mul) >> 32);
}

/* Never a time before the one that *last holds; *last holds the later
 * of both then.
 */
static inline u64 pvclock_monotonic(u64 *last, u64 time)
{
	/* This loads *last, whole. */
	u64 found, seen = __sync_val_compare_and_swap(last, 0, 0);

	while (seen < time) {
		found = __sync_val_compare_and_swap(last, seen, time);
		if (found == seen)
			return time;
		seen = found;
	}
	return seen;
}

/* 1 and the time, or 0: nobody has written the struct yet, or an
 * update does not end.
 */
static inline int
pvclock_read(const struct pvclock_vcpu_time_info *info, u64 *last,
	     u64 *time)
{
	struct pvclock_copy copy;
	int tries = PVCLOCK_TRIES;

	while (!pvclock_try(info, &copy)) {
		if (!--tries)
			return 0;
		cpu_relax();
	}
	if (!copy.tsc_to_system_mul)
		return 0;
	*time = pvclock_time(&copy);
	if (!(copy.flags & PVCLOCK_TSC_STABLE_BIT))
		*time = pvclock_monotonic(last, *time);
	return 1;
}
#endif
