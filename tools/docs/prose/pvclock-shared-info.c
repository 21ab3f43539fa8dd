/* Where the wall clock is in shared_info: as a guest of this width, on
 * this machine, has it.
 */
#if defined(__x86_64__)
enum { WC_VERSION = @x86_64.version@, WC_SEC_HI = @x86_64.sec_hi@ };
#elif defined(__i386__)
enum { WC_VERSION = @i386.version@, WC_SEC_HI = @i386.sec_hi@ };
#elif defined(__aarch64__) || defined(__arm__)
enum { WC_VERSION = @arm64.version@, WC_SEC_HI = @arm64.sec_hi@ };
#else
#error "where is it on this machine?"
#endif

static inline int
xen_wall_clock_read(const void *shared_info, struct wall_time *copy)
{
	const u8 *start = shared_info;

	return wall_clock_read((const void *)(start + WC_VERSION),
			       (const void *)(start + WC_SEC_HI), copy);
}
