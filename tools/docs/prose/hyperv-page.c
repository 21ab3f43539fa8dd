#if defined(__x86_64__) || defined(__i386__)
struct tsc_page_copy {
	u64 tsc;
	u64 tsc_scale;
	s64 tsc_offset;
};

/* One try: 1 if the copy is one update's, whole; 0 if not; -1 if the
 * page is not valid now.
 */
static inline int tsc_page_try(const struct ms_hyperv_tsc_page *page,
			       struct tsc_page_copy *copy)
{
	u32 sequence = READ_ONCE(page->tsc_sequence);

	if (!sequence)
		return -1;
	virt_rmb();
	copy->tsc_scale = READ_ONCE(page->tsc_scale);
	copy->tsc_offset = READ_ONCE(page->tsc_offset);
	copy->tsc = rdtsc_ordered();
	virt_rmb();
	return READ_ONCE(page->tsc_sequence) == sequence;
}

/* The upper 64 bits of a product of 128. */
static inline u64 upper_product(u64 a, u64 b)
{
	u64 low = (a & 0xffffffff) * (b & 0xffffffff);
	u64 first = (a >> 32) * (b & 0xffffffff) + (low >> 32);
	u64 second = (a & 0xffffffff) * (b >> 32) + (first & 0xffffffff);

	return (a >> 32) * (b >> 32) + (first >> 32) + (second >> 32);
}

/* Units of 100 ns. */
static inline u64 tsc_page_time(const struct tsc_page_copy *copy)
{
	return upper_product(copy->tsc, copy->tsc_scale) +
	       (u64)copy->tsc_offset;
}

/* 0 if the time must be read from HV_X64_MSR_TIME_REF_COUNT. */
static inline int tsc_page_read(const struct ms_hyperv_tsc_page *page,
				u64 *time)
{
	struct tsc_page_copy copy;
	int whole;

	while (!(whole = tsc_page_try(page, &copy)))
		cpu_relax();
	if (whole < 0)
		return 0;
	*time = tsc_page_time(&copy);
	return 1;
}
#endif
