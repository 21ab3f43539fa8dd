struct wall_time {
	u64 sec;
	u32 nsec;
};

/* One try. sec_hi is where the upper seconds are, or 0 if there are
 * none.
 */
static inline int
wall_clock_try(const struct pvclock_wall_clock *clock,
	       const u32 *sec_hi, struct wall_time *copy)
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

/* 1 and the wall clock, or 0: nobody has written it, or an update does
 * not end.
 */
static inline int
wall_clock_read(const struct pvclock_wall_clock *clock,
		const u32 *sec_hi, struct wall_time *copy)
{
	int tries = 100000; /* as long as you can wait */

	while (!wall_clock_try(clock, sec_hi, copy)) {
		if (!--tries)
			return 0;
		cpu_relax();
	}
	return copy->sec || copy->nsec;
}

/* The date at a time in nanoseconds. */
static inline struct wall_time
wall_clock_at(const struct wall_time *start, u64 time)
{
	struct wall_time date;

	time += start->nsec;
	date.sec = start->sec + time / 1000000000;
	date.nsec = time % 1000000000;
	return date;
}
