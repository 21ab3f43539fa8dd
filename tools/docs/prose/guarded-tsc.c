#if defined(__x86_64__) || defined(__i386__)
/* The time stamp counter. rdtsc is no load: the lfence keeps it behind
 * the loads before it.
 */
static inline u64 rdtsc_ordered(void)
{
	u32 low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)
			 : : "memory");
	return (u64)high << 32 | low;
}
#endif
