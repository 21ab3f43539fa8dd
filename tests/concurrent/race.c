/*
 * A writer and a reader of a runstate area on two CPUs, to see whether the model talks to itself.
 *
 *   race MODE OFFSET ACCEPTS UPDATES SECONDS
 *
 * MODE is how the writer puts the flag up: byte, eight (one 8-byte store), none. OFFSET is where
 * state_entry_time begins in a page, a multiple of 4; the reader loads it with one 8-byte load. The run ends after
 * ACCEPTS accepted copies in UPDATES updates (ACCEPTS 0: at the first torn copy), or SECONDS.
 * Prints: accepts N torn M updates K.
 *
 * Every update has one number: state, the entry time and the times are all made of it, so that a
 * copy that is not of one update shows. Its low 32 bits change each time and its high ones almost
 * never, as in real entry times.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLAG (1ULL << 63)
#define compiler_barrier() __asm__ __volatile__("" ::: "memory")

/* The area as a 32-bit guest has it: state, the entry time, four times, at any address. */
static unsigned char pages[3 * 4096] __attribute__((aligned(4096)));
static volatile unsigned char *entry, *times;
static volatile uint32_t *state;
static volatile int stop;
static volatile uint64_t updates;

static void put64(volatile unsigned char *where, uint64_t value)
{
	__asm__ __volatile__("movq %1, %0" : "=m"(*(volatile uint64_t *)where) : "r"(value));
}

static uint64_t get64(const volatile unsigned char *where)
{
	uint64_t value;
	__asm__ __volatile__("movq %1, %0" : "=r"(value) : "m"(*(const volatile uint64_t *)where));
	return value;
}

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set)) {
		fprintf(stderr, "race: cannot pin a thread to CPU %d\n", cpu);
		exit(3);
	}
}

/* The bytes of the flag's byte first, then all with the flag, then one byte: as Linux 6.2. */
static void update(const char *mode, uint64_t number)
{
	uint64_t up = *mode == 'n' ? number : number | FLAG;

	if (*mode == 'b')
		entry[7] = up >> 56;
	else if (*mode == 'e')
		put64(entry, up);
	compiler_barrier();
	*state = (uint32_t)number;
	if (*mode != 'e')
		put64(entry, up);
	for (int i = 0; i < 4; i++)
		put64(times + 8 * i, number);
	compiler_barrier();
	if (*mode == 'b')
		entry[7] = number >> 56;
	else if (*mode == 'e')
		put64(entry, number);
}

static void *writer(void *mode)
{
	pin(1);
	for (uint64_t number = 1; !stop; number++) {
		update(mode, number);
		updates = number;
		for (volatile int pause = 0; pause < 20; pause++)
			; /* or the flag is always up, and the reader sees nothing else */
	}
	return NULL;
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int is_torn(void)
{
	uint64_t copy[4];
	uint32_t seen = *state;

	for (int i = 0; i < 4; i++)
		copy[i] = get64(times + 8 * i);
	compiler_barrier();
	for (int i = 0; i < 4; i++)
		if (copy[i] != copy[0] || (uint32_t)copy[i] != seen)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: race byte|eight|none OFFSET ACCEPTS UPDATES SECONDS\n");
		return 2;
	}
	unsigned offset = strtoul(argv[2], NULL, 0) & 4092;
	uint64_t wanted = strtoull(argv[3], NULL, 0), accepts = 0, torn = 0;
	uint64_t wanted_updates = strtoull(argv[4], NULL, 0);
	double end = now() + strtod(argv[5], NULL);
	pthread_t thread;

	entry = pages + 4096 + offset;
	state = (uint32_t *)(entry - 4);
	times = entry + 8;
	if (pthread_create(&thread, NULL, writer, argv[1]))
		return 3;
	pin(0);
	while ((wanted ? accepts < wanted || updates < wanted_updates : !torn) &&
	       ((accepts & 1023) || now() < end)) {
		uint64_t before = get64(entry);
		compiler_barrier();
		int is = is_torn();
		compiler_barrier();
		if (get64(entry) == before && !(before & FLAG)) {
			accepts++;
			torn += is;
		} else if (now() >= end) {
			break;
		}
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("accepts %llu torn %llu updates %llu\n", (unsigned long long)accepts,
	       (unsigned long long)torn, (unsigned long long)updates);
	return 0;
}
