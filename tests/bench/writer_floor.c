/*
 * The floor for bench_writer.py: the same update in C, native layout, flag on, one page or split.
 * Our own code, written from the step list of `runstate write`; prints nanoseconds per update.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct area {
	uint32_t state;
	uint32_t pad;
	uint64_t entry_time;
	uint64_t time[4];
};

#define UPDATE (1ULL << 63)
#define barrier() __asm__ __volatile__("" ::: "memory")

static unsigned char memory[8192];

static void one_page(unsigned char *at, const struct area *v)
{
	uint64_t entry = v->entry_time | UPDATE;

	at[15] = entry >> 56;
	barrier();
	memcpy(at, &v->state, 4);
	memcpy(at + 8, &entry, 8);
	memcpy(at + 16, v->time, 32);
	barrier();
	at[15] = (entry & ~UPDATE) >> 56;
	barrier();
}

static void split(unsigned char *at, const struct area *v, size_t first)
{
	struct area stack = *v;

	stack.pad = 0;
	stack.entry_time |= UPDATE;
	at[15] = stack.entry_time >> 56;
	barrier();
	memcpy(at, &stack, first);
	memcpy(at + first, (unsigned char *)&stack + first, sizeof(stack) - first);
	barrier();
	at[15] = (stack.entry_time & ~UPDATE) >> 56;
	barrier();
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 20000000;
	struct area v = { 1, 0, 0x1122334455667788ULL, { 1, 2, 3, 4 } };
	double start, middle, end;

	start = seconds();
	for (long n = 0; n < count; n++) {
		v.entry_time = n;
		one_page(memory + 256 + (n & 63), &v);
	}
	middle = seconds();
	for (long n = 0; n < count; n++) {
		v.entry_time = n;
		split(memory + 4081, &v, 15 - (n & 3));
	}
	end = seconds();
	printf("%.2f %.2f\n", (middle - start) / count * 1e9, (end - middle) / count * 1e9);
	return memory[300] == 255;
}
