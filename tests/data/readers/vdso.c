/* A vDSO with a reader of the time info, as Linux has it, for test_vdso.py. Written for it. */
#include <stdint.h>

typedef uint64_t u64;
typedef uint32_t u32;

struct time_info {
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 mul;
	int8_t shift;
	uint8_t flags, pad[2];
} __attribute__((packed));

extern const volatile struct time_info pvclock_page __attribute__((visibility("hidden")));
extern const volatile u64 hvclock_page[3] __attribute__((visibility("hidden")));

#define rmb() __asm__ __volatile__("" ::: "memory")

static __attribute__((noinline)) u64 read_hvclock(void)
{
	const volatile u32 *sequence = (const volatile u32 *)hvclock_page;
	u32 seen;
	u64 scale;

	do {
		seen = *sequence;
		if (!seen)
			return -1ull;
		rmb();
		scale = hvclock_page[1] + hvclock_page[2];
		rmb();
	} while (*sequence != seen);
	return scale;
}

static __attribute__((noinline)) u64 read_pvclock(void)
{
	const volatile struct time_info *t = &pvclock_page;
	u32 version;
	u64 now;

	do {
#ifdef NO_ODD_TEST
		version = t->version;
#else
		version = t->version & ~1u;
#endif
		rmb();
		if (!(t->flags & 1))
			return -1ull;
		now = t->system_time + t->tsc_timestamp * t->mul + t->shift;
		rmb();
	} while (t->version != version);
	return now;
}

int __vdso_clock_gettime(int clock, u64 *ts)
{
	ts[0] = clock ? read_hvclock() : read_pvclock();
	return 0;
}
