struct wall_time {
	u64 sec;
	u32 nsec;
};

/* One try, as above. sec_hi is where the upper seconds are, or 0 if there are none. */
static inline int wall_clock_try(const struct pvclock_wall_clock *clock, const u32 *sec_hi,
				 struct wall_time *copy)
{
	u32 version = READ_ONCE(clock->version);

	virt_rmb();
	copy->sec = READ_ONCE(clock->sec);
	copy->nsec = READ_ONCE(clock->nsec);
	if (sec_hi)
		copy->sec |= (u64)READ_ONCE(*sec_hi) << 32;
	virt_rmb();
	return !(version & 1) && READ_ONCE(clock->version) == version;
}

/* Where it is in Xen's shared_info: as a guest of this width, on this machine, has it. */
#if defined(__x86_64__)
enum { WC_VERSION = @x86_64.version@, WC_SEC_HI = @x86_64.sec_hi@ };
#elif defined(__i386__)
enum { WC_VERSION = @i386.version@, WC_SEC_HI = @i386.sec_hi@ };
#else /* Arm, both widths */
enum { WC_VERSION = @arm64.version@, WC_SEC_HI = @arm64.sec_hi@ };
#endif

static inline int xen_wall_clock_try(const void *shared_info, struct wall_time *copy)
{
	const u8 *start = shared_info;

	return wall_clock_try((const void *)(start + WC_VERSION), (const void *)(start + WC_SEC_HI),
			      copy);
}
