/* Readers of a guest's runstate area, sound and not: what guests/test_reader.py compiles.
 *
 * Written for the tests. A line that is wrong says so in a comment; where a line is missing, the
 * comment is at the function's name.
 */
typedef unsigned int u32;
typedef unsigned long long u64;
struct area { int state; u64 state_entry_time; u64 time[4]; };

#define UPDATE (1ULL << 63)
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#ifndef rmb
#define rmb() __asm__ __volatile__(RMB ::: "memory")
#endif
#ifndef RMB
#define RMB ""
#endif

void sound(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

/* It gives up instead of going round. */
int tries(const struct area *a, struct area *out)
{
	u64 entry = READ_ONCE(a->state_entry_time);

	if (entry & UPDATE)
		return 0;
	rmb();
	*out = *a;
	rmb();
	return READ_ONCE(a->state_entry_time) == entry;
}

/* What xen_steal_clock() wants: a number, out of two members. */
u64 stolen(const struct area *a)
{
	u64 entry, sum;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		sum = a->time[1] + a->time[3];
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	return sum;
}

struct area global;

int of_global(struct area *out)
{
	u64 entry = READ_ONCE(global.state_entry_time);

	rmb();
	*out = global;
	rmb();
	return !(entry & UPDATE) && READ_ONCE(global.state_entry_time) == entry;
}

/* Sound as C, and what a compiler makes of it is another matter. */
void plain(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = a->state_entry_time;
		*out = *a;
	} while (a->state_entry_time != entry || (entry & UPDATE));
}

/* With one thing more each. */
#define LESS(name, FIRST, BEFORE, BEHIND, SECOND)					\
void name(const struct area *a, struct area *out)					\
{											\
	u64 entry;									\
											\
	do {										\
		entry = FIRST(a->state_entry_time);					\
		BEFORE;									\
		*out = *a;								\
		BEHIND;									\
	} while (SECOND(a->state_entry_time) != entry || (entry & UPDATE));		\
}
#define ANY_ORDER do { } while (0)
#define PLAIN(x) (x)

LESS(first_look_is_plain, PLAIN, rmb(), rmb(), READ_ONCE)
LESS(second_look_is_plain, READ_ONCE, rmb(), rmb(), PLAIN)
LESS(looks_are_plain, PLAIN, rmb(), rmb(), PLAIN)
LESS(no_barrier_before, READ_ONCE, ANY_ORDER, rmb(), READ_ONCE)
LESS(no_barrier_behind, READ_ONCE, rmb(), ANY_ORDER, READ_ONCE)
LESS(no_barriers, READ_ONCE, ANY_ORDER, ANY_ORDER, READ_ONCE)

/* It looks at the flag before it copies anything. */
void early_flag(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		do {
			entry = READ_ONCE(a->state_entry_time);
		} while (entry & UPDATE);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry);
}

/* As get64() of a 32-bit Linux: high, low, high until both highs agree. */
void halves(const struct area *a, struct area *out)
{
	const u32 *half = (const u32 *)&a->state_entry_time;
	u32 first[3], last[3];

	do {
		do {
			first[0] = READ_ONCE(half[1]);
			rmb();
			first[1] = READ_ONCE(half[0]);
			rmb();
			first[2] = READ_ONCE(half[1]);
		} while (first[0] != first[2]);
		rmb();
		*out = *a;
		rmb();
		do {
			last[0] = READ_ONCE(half[1]);
			rmb();
			last[1] = READ_ONCE(half[0]);
			rmb();
			last[2] = READ_ONCE(half[1]);
		} while (last[0] != last[2]);
	} while (first[1] != last[1] || first[0] != last[0] || (first[0] >> 31));
}

void *memcpy(void *to, const void *from, __SIZE_TYPE__ count);

/* Its looks are single loads, and the copy may be made in any order. */
void copies_by_call(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		(memcpy)(out, a, sizeof(*a));
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

/* Its first look is an acquire: no barrier is needed behind it. */
void acquires(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = __atomic_load_n(&a->state_entry_time, __ATOMIC_ACQUIRE);
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

/* Only time[3] is loaded before the second look for certain. */
void acquires_late(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = __atomic_load_n(&a->state_entry_time, __ATOMIC_ACQUIRE);
		out->state = READ_ONCE(a->state);
		out->time[0] = READ_ONCE(a->time[0]);
		out->time[3] = __atomic_load_n(&a->time[3], __ATOMIC_ACQUIRE);
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

/* The lowest bit of state, a second time: it shows only if it was not set at first. */
void late_bit(const struct area *a, struct area *out)
{
	sound(a, out);
	out->state |= READ_ONCE(a->state) & 1; /* wrong */
}

/* Another value of a parameter, and it takes what it has. */
int forced(const struct area *a, struct area *out, int force)
{
	u64 entry, changed;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		changed = (READ_ONCE(a->state_entry_time) ^ entry) | (entry & UPDATE);
	} while (changed && !force);
	return 0;
}

/* It takes the next value of the entry time for the same one. */
void one_more(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		again = READ_ONCE(a->state_entry_time);
	} while ((again != entry && again != entry + 1) || (again & UPDATE));
}

/* An instruction that is repeated promises no order of its elements. */
void copies_by_string(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
#ifdef __x86_64__
		const void *from = a;
		void *to = out;
		u64 words = sizeof(*a) / 8;

		__asm__ __volatile__("rep movsq" : "+S"(from), "+D"(to), "+c"(words) :: "memory");
#else
		*out = *a;
#endif
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

/* Torn from here on. */

void looks_by_call(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		(memcpy)(&entry, &a->state_entry_time, sizeof(entry));
		rmb();
		*out = *a;
		rmb();
		(memcpy)(&again, &a->state_entry_time, sizeof(again)); /* wrong */
	} while (again != entry || (entry & UPDATE));
}

void no_flag(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry); /* wrong */
}

void copys_flag(const struct area *a, struct area *out)
{
	do {
		*out = *a; /* wrong */
		rmb();
	} while (out->state_entry_time & UPDATE);
}

void no_second_look(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time); /* wrong */
		rmb();
		*out = *a;
	} while (entry & UPDATE); /* wrong */
}

void looks_before(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		again = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a; /* wrong */
		rmb();
	} while (again != entry || (entry & UPDATE));
}

void copies_first(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		*out = *a; /* wrong */
		rmb();
		entry = READ_ONCE(a->state_entry_time);
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

void copy_is_first_look(const struct area *a, struct area *out)
{
	do {
		*out = *a; /* wrong */
		rmb();
	} while (READ_ONCE(a->state_entry_time) != out->state_entry_time ||
		 (out->state_entry_time & UPDATE));
}

void late_time(const struct area *a, struct area *out)
{
	sound(a, out);
	rmb();
	out->time[3] = READ_ONCE(a->time[3]); /* wrong */
}

void late_state(const struct area *a, struct area *out)
{
	sound(a, out);
	rmb();
	out->state = READ_ONCE(a->state); /* wrong */
}

void early_state(const struct area *a, struct area *out)
{
	int state = READ_ONCE(a->state); /* wrong */

	rmb();
	sound(a, out);
	out->state = state;
}

u64 sum_across(const struct area *a)
{
	u64 entry, sum = READ_ONCE(a->time[1]); /* wrong */
	u64 rest;

	rmb();
	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		rest = READ_ONCE(a->time[3]);
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	return sum + rest;
}

void low_half(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((u32)READ_ONCE(a->state_entry_time) != (u32)entry || /* wrong */
		 (entry & UPDATE));
}

void high_half(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		again = READ_ONCE(((const u32 *)&a->state_entry_time)[1]); /* wrong */
	} while (again != entry >> 32 || (entry & UPDATE));
}

void copy_is_second_look(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a; /* wrong */
		rmb();
	} while (out->state_entry_time != entry || (entry & UPDATE));
}

void early_time(const struct area *a, struct area *out)
{
	u64 time = READ_ONCE(a->time[3]); /* wrong */

	rmb();
	sound(a, out);
	out->time[3] = time;
}

void time_in_front(const struct area *a, struct area *out)
{
	u64 entry, time;

	do {
		time = READ_ONCE(a->time[0]); /* wrong */
		rmb();
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	out->time[0] = time;
}

void state_behind(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		again = READ_ONCE(a->state_entry_time);
		rmb();
		out->state = READ_ONCE(a->state); /* wrong */
	} while (again != entry || (entry & UPDATE));
}

u64 late_sum(const struct area *a)
{
	u64 entry, sum;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		sum = READ_ONCE(a->time[1]);
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	rmb();
	return sum + READ_ONCE(a->time[3]); /* wrong */
}

int first_flag_alone(const struct area *a, struct area *out)
{
	if (READ_ONCE(a->state_entry_time) & UPDATE) /* wrong */
		return 0;
	rmb();
	*out = *a;
	return 1;
}

int equal_alone(const struct area *a, struct area *out)
{
	u64 entry = READ_ONCE(a->state_entry_time);

	rmb();
	*out = *a;
	rmb();
	return READ_ONCE(a->state_entry_time) == entry; /* wrong */
}

int two_results(const struct area *a, int *state, u64 *stolen)
{
	u64 entry, sum;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		sum = READ_ONCE(a->time[1]) + READ_ONCE(a->time[3]);
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	rmb();
	*state = READ_ONCE(a->state); /* wrong */
	*stolen = sum;
	return 0;
}

struct blocked { u64 time; int is; };

void late_blocked(const struct area *a, struct blocked *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		out->time = READ_ONCE(a->time[2]);
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	rmb();
	out->is = READ_ONCE(a->state) == 2; /* wrong */
}

int flag_alone(const struct area *a, struct area *out)
{
	*out = *a;
	rmb();
	return !(READ_ONCE(a->state_entry_time) & UPDATE); /* wrong */
}

void no_protocol(const struct area *a, struct area *out)
{
	*out = *a; /* wrong */
}

/* These are not followed, and said to be so. */

void once_again(const struct area *a, struct area *out)
{
	u64 entry = READ_ONCE(a->state_entry_time);

	rmb();
	*out = *a;
	rmb();
	if (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) {
		rmb();
		*out = *a; /* without another look */
	}
}

void three_times(const struct area *a, struct area *out)
{
	u64 entry;

	for (int i = 0; i < 3; i++) { /* and then it takes what it has */
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		if (READ_ONCE(a->state_entry_time) == entry && !(entry & UPDATE))
			break;
	}
}

void differs_three_times(const struct area *a, struct area *out)
{
	u64 entry;
	int left = 3;

	do {
		do {
			entry = READ_ONCE(a->state_entry_time);
		} while (entry & UPDATE);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry && --left); /* and then it takes it */
}

void two_times(const struct area *a, struct area *out)
{
	u64 entry;
	int left = 2;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) && --left);
}

void bounded_wait(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		int n = 0;

		while ((entry = READ_ONCE(a->state_entry_time)) & UPDATE)
			if (++n == 5) /* and then it takes it */
				break;
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry);
}

void hundred_times(const struct area *a, struct area *out)
{
	u64 entry;
	int left = 100;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) && --left);
}

void million_times(const struct area *a, struct area *out)
{
	u64 entry;
	int left = 1000000;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) && --left);
}

int returns_tries(const struct area *a, struct area *out)
{
	u64 entry;
	int n = 0;

	do {
		n++;
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) && n < 3);
	return n;
}

void running_is_taken(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) && out->state != 0);
}

void first_state(const struct area *a, struct area *out)
{
	int state = -1;
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		if (state < 0)
			state = READ_ONCE(a->state); /* of the first try */
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	out->state = state;
}

void retry_takes_before(const struct area *a, struct area *out)
{
	u64 entry = READ_ONCE(a->state_entry_time);

	rmb();
	out->time[1] = READ_ONCE(a->time[1]);
	out->time[3] = READ_ONCE(a->time[3]);
	rmb();
	while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)) {
		rmb();
		out->time[1] = READ_ONCE(a->time[1]); /* in front of the look */
		rmb();
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		READ_ONCE(a->time[1]);
		out->time[3] = READ_ONCE(a->time[3]);
		rmb();
	}
}

int checks = 1;

void by_variable(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(checks) && (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)));
}

struct options { int careful; };

void by_option(const struct area *a, const struct options *options, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (options->careful &&
		 (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)));
}

void by_copied_option(const struct area *a, const struct options *options, struct area *out)
{
	struct options now;
	u64 entry;

	(memcpy)(&now, options, sizeof(now));
	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (now.careful && (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)));
}

/* For a vCPU that runs it knows better. */
void returns_early(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		out->time[0] = READ_ONCE(a->time[0]);
		out->time[1] = READ_ONCE(a->time[1]);
		if (READ_ONCE(a->state) == 0)
			return;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
}

void by_number(const struct area *a, struct area *out, int raw)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (!raw && (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)));
}

#ifdef __SSE2__
double as_double(const struct area *a)
{
	u64 entry, time;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		time = READ_ONCE(a->time[1]);
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	return time;
}
#endif

void unequal_is_taken(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		again = READ_ONCE(a->state_entry_time);
	} while ((entry | again) & UPDATE);
	if (again != entry) {
		rmb();
		*out = *a; /* without another look */
	}
}

void both_flags_are_taken(const struct area *a, struct area *out)
{
	u64 entry, again;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		again = READ_ONCE(a->state_entry_time);
		if (entry & again & UPDATE) {
			rmb();
			*out = *a; /* without another look */
			return;
		}
	} while (again != entry || (entry & UPDATE));
}

void other_bit(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & (UPDATE >> 1)));
}

void some_bits(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while ((READ_ONCE(a->state_entry_time) ^ entry) & 0xfff0 || (entry & UPDATE));
}

void folded(const struct area *a, struct area *out)
{
	u64 entry, differ;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		differ = READ_ONCE(a->state_entry_time) ^ entry;
	} while ((u32)(differ + (differ >> 32)) || (entry & UPDATE)); /* a sum, for an or */
}

void halves_folded(const struct area *a, struct area *out)
{
	const u32 *half = (const u32 *)&a->state_entry_time;
	u32 low, high;

	do {
		low = READ_ONCE(half[0]);
		high = READ_ONCE(half[1]);
		rmb();
		*out = *a;
		rmb();
		low ^= READ_ONCE(half[0]);
	} while (low + (high ^ READ_ONCE(half[1])) || (high >> 31)); /* likewise */
}

void other_member(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->time[0]);
		rmb();
		*out = *a;
		rmb();
	} while (READ_ONCE(a->time[0]) != entry);
}

u64 by_state(const struct area *a)
{
	u64 entry, time;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		time = a->time[READ_ONCE(a->state) & 3];
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	return time;
}

void clears_flag(struct area *a, struct area *out)
{
	*out = *a;
	a->state_entry_time &= ~UPDATE;
}

extern int unchecked;

void of_another_file(const struct area *a, struct area *out)
{
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
	} while (!unchecked && (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE)));
}

void unknown_call(void);

void calls(const struct area *a, struct area *out)
{
	unknown_call();
	sound(a, out);
}

u64 past_the_end(const struct area *a)
{
	return READ_ONCE(a->time[4]);
}

u64 entry_alone(const struct area *a)
{
	return READ_ONCE(a->state_entry_time) & ~UPDATE;
}

void wild(const struct area *a, struct area *out)
{
	sound(a, out);
	*(volatile int *)0x5000 = 1;
}

void for_ever(const struct area *a, struct area *out)
{
	for (;;)
		rmb();
}

/* The retry is code of its own, and looks at a fold of the two. */
void folds_again(const struct area *a, struct area *out)
{
	u64 entry = READ_ONCE(a->state_entry_time), late;

	rmb();
	*out = *a;
	rmb();
	late = READ_ONCE(a->state_entry_time);
	if (late == entry && !(entry & UPDATE))
		return;
	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		late = READ_ONCE(a->state_entry_time);
	} while ((entry & UPDATE) || (((entry ^ late) >> 32) ^ (entry ^ late)) << 32);
}

/* Once it went round, a third look is as good as the first. */
void third_look(const struct area *a, struct area *out)
{
	u64 entry, late, third;
	volatile int again = 0;

	for (;;) {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		late = READ_ONCE(a->state_entry_time);
		if (late == entry && !(entry & UPDATE))
			return;
		if (again) {
			third = READ_ONCE(a->state_entry_time);
			if (third == late && !(third & UPDATE))
				return;
		}
		again = 1;
	}
}

/* It counts what was both, and takes it at last. */
void both_wait(const struct area *a, struct area *out)
{
	u64 entry, late;
	int n = 0;

	for (;;) {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		late = READ_ONCE(a->state_entry_time);
		if (late == entry && !(entry & UPDATE))
			return;
		if (late != entry && (entry & UPDATE) && ++n == 5)
			return;
	}
}

/* Every try loads the state, and that of the first is kept. */
void first_kept(const struct area *a, struct area *out)
{
	int state = -1, seen;
	u64 entry;

	do {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		seen = READ_ONCE(a->state);
		if (state < 0)
			state = seen;
		rmb();
	} while (READ_ONCE(a->state_entry_time) != entry || (entry & UPDATE));
	out->state = state;
}

/* From its third try on a look that is later is good as well. */
void after_two(const struct area *a, struct area *out)
{
	u64 entry, late;
	volatile int n = 0;

	for (;;) {
		entry = READ_ONCE(a->state_entry_time);
		rmb();
		*out = *a;
		rmb();
		late = READ_ONCE(a->state_entry_time);
		if (late == entry && !(entry & UPDATE))
			return;
		if (n < 2) {
			n++;
			continue;
		}
		if (READ_ONCE(a->state_entry_time) == late && !(late & UPDATE))
			return;
	}
}
