#define PVCLOCK_TSC_STABLE_BIT (1 << 0)
#define PVCLOCK_GUEST_STOPPED (1 << 1)

struct pvclock_copy {
	u64 tsc;
	u64 tsc_timestamp;
	u64 system_time;
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags;
};

/* One try: 1 if the copy is one update's, whole; 0 if not. */
static inline int pvclock_try(const struct pvclock_vcpu_time_info *info, struct pvclock_copy *copy)
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

/* Nanoseconds. The product has 96 bits, so the halves of the counter are multiplied one by one. */
static inline u64 pvclock_time(const struct pvclock_copy *copy)
{
	u64 delta = copy->tsc - copy->tsc_timestamp;
	u64 mul = copy->tsc_to_system_mul;

	if (copy->tsc_shift < 0)
		delta >>= -copy->tsc_shift;
	else
		delta <<= copy->tsc_shift;
	return copy->system_time + (delta >> 32) * mul + (((delta & 0xffffffff) * mul) >> 32);
}

static inline u64 pvclock_read(const struct pvclock_vcpu_time_info *info)
{
	struct pvclock_copy copy;

	while (!pvclock_try(info, &copy))
		__asm__ volatile("pause");
	return pvclock_time(&copy);
}
