/* Readers of structs with a version, for test_version_readers.py. Written for these tests. */
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
struct wall_clock { u32 version, sec, nsec, sec_hi; };
struct steal { u64 steal; u32 version, flags; uint8_t preempted; };

#if defined(__aarch64__)
#define rmb() __asm__ __volatile__("dmb ishld" ::: "memory")
#elif defined(__arm__)
#define rmb() __asm__ __volatile__("dmb ish" ::: "memory")
#else
#define rmb() __asm__ __volatile__("" ::: "memory")
#endif

#if defined(__x86_64__)
static inline u64 now(void)
{
	u32 low, high;
	__asm__ __volatile__("lfence; rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}
static inline u64 time_of(const volatile struct time_info *t)
{
	u64 delta = now() - t->tsc_timestamp;
	int shift = t->shift;
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return t->system_time + (u64)((unsigned __int128)delta * t->mul >> 32);
}
#define TIME(name, first, again) \
u64 name(const volatile struct time_info *t) \
{ \
	u32 v; \
	u64 now; \
	do { \
		v = first; \
		rmb(); \
		now = time_of(t); \
		rmb(); \
	} while (again); \
	return now; \
}
TIME(time_masked, t->version & ~1u, t->version != v)
TIME(time_first, t->version, (v & 1) || t->version != v)
TIME(time_last, t->version, (t->version & 1) || t->version != v)
TIME(time_never, t->version, t->version != v)
TIME(time_both_masked, t->version & ~1u, (t->version & ~1u) != v)
TIME(time_last_masked, t->version, (t->version & ~1u) != v)
TIME(time_no_second, t->version, v & 1)
TIME(time_other_bit, t->version, (v & 2) || t->version != v)
TIME(time_next, (t->version + 1) & ~1u, t->version != v)
TIME(time_spares_1, t->version, ((v & 1) && v != 1) || t->version != v)
TIME(time_low_byte, t->version, (v & 1) || (uint8_t)t->version != (uint8_t)v)
void time_late_bit(const volatile struct time_info *t, u64 *out)
{
	u32 v;
	do {
		v = t->version;
		rmb();
		out[0] = time_of(t);
		out[1] = t->flags & 1;
		rmb();
	} while ((v & 1) || t->version != v);
	out[1] |= t->flags & 1;
}
u64 time_by_option(const volatile struct time_info *t, int force)
{
	u32 v, bad;
	u64 now;
	do {
		v = t->version;
		rmb();
		now = time_of(t);
		rmb();
		bad = (v & 1) | (t->version ^ v);
	} while (bad && !force);
	return now;
}
u64 time_by_sign(const volatile struct time_info *t)
{
	u32 v;
	int shift;
	u64 now, stamp;
	do {
		v = t->version;
		rmb();
		now = t->system_time;
		stamp = t->tsc_timestamp;
		shift = t->shift;
		rmb();
	} while ((v & 1) || t->version != v);
	return now + stamp + (shift < 0 ? t->shift : shift);
}
u64 time_by_cpu(const volatile struct time_info *t)
{
	u32 v, low, high, cpu, again;
	u64 now;
	do {
		v = t->version;
		rmb();
		__asm__ __volatile__("rdtscp" : "=a"(low), "=d"(high), "=c"(cpu));
		now = t->system_time;
		__asm__ __volatile__("rdtscp" : "=a"(low), "=d"(high), "=c"(again));
		rmb();
		if (cpu != again)
			return now;
	} while ((v & 1) || t->version != v);
	return now;
}
u64 time_or_0(const volatile struct time_info *t)
{
	u32 v = t->version, again;
	u64 now = time_of(t);
	again = t->version;
	return (v & 1) | (again ^ v) ? 0 : now;
}
u64 time_late(const volatile struct time_info *t)
{
	u32 v;
	do {
		v = t->version & ~1u;
		rmb();
	} while (t->version != v);
	return time_of(t);
}
u64 time_tries(const volatile struct time_info *t)
{
	u64 now = 0;
	for (int n = 0; n < 3; n++) {
		u32 v = t->version;
		rmb();
		now = time_of(t);
		rmb();
		if (!(v & 1) && t->version == v)
			break;
	}
	return now;
}
u64 time_by_flags(const volatile struct time_info *t)
{
	u32 v;
	u64 now;
	do {
		v = t->version & ~1u;
		rmb();
		now = t->flags & 1 ? time_of(t) : 0;
		rmb();
	} while (t->version != v);
	return now;
}
u64 time_by_chance(const volatile struct time_info *t)
{
	return now() & 1 ? t->system_time : 0;
}
#endif

#define CLOCK(name, again) \
void name(const volatile struct wall_clock *w, u64 *out) \
{ \
	u32 v; \
	do { \
		v = w->version; \
		rmb(); \
		out[0] = (u64)w->sec_hi << 32 | w->sec; \
		out[1] = w->nsec; \
		rmb(); \
	} while (again); \
}
struct outer { u64 other[4]; struct wall_clock clock; };
CLOCK(clock_first, (v & 1) || w->version != v)
CLOCK(clock_never, w->version != v)
void clock_outer(const volatile struct outer *o, u64 *out)
{
	const volatile struct wall_clock *w = &o->clock;
	u32 v;
	do {
		v = w->version;
		rmb();
		out[0] = w->sec;
		rmb();
	} while ((v & 1) || w->version != v);
}
void clock_unfenced(const volatile struct wall_clock *w, u64 *out)
{
	u32 v;
	do {
		v = w->version;
		out[0] = (u64)w->sec_hi << 32 | w->sec;
		out[1] = w->nsec;
	} while ((v & 1) || w->version != v);
}

u64 steal_first(const volatile struct steal *s)
{
	int v;
	u64 time;
	do {
		v = s->version;
		rmb();
		time = s->steal;
		rmb();
	} while ((v & 1) || v != s->version);
	return time;
}
void steal_both(const volatile struct steal *s, u64 *out)
{
	int v;
	do {
		v = s->version;
		rmb();
		out[0] = s->steal;
		out[1] = s->preempted;
		rmb();
	} while ((v & 1) || v != s->version);
}
u64 steal_alone(const volatile struct steal *s)
{
	return s->steal;
}
