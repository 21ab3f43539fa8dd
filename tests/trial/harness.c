/* A trial of a reader: a thread plays the hypervisor and updates an area as Linux does since 6.2,
 * with pauses at the worst moments, while read_runstate() reads it. Every number of an update
 * follows from its state_entry_time, so a snapshot that mixes two updates is known for certain.
 *
 *	gcc -m32 -O2 -pthread harness.c my_reader.c -o trial && ./trial
 *
 * -DNATIVE: the area is a 64-bit guest's, else a 32-bit guest's. Arguments: seconds (default 1),
 * offset of the area in a page (default 0), 0 for an update without the flag (default 1), and after
 * how many seconds a reader hangs (default 100). A busy machine may take longer than it was told:
 * READS_MIN snapshots are taken in any case.
 * Exit 0: nothing torn. 1: torn, and it stops there. 3: the reader hangs.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "trial.h"

#ifdef NATIVE
enum { ENTRY = 8, TIMES = 16, SIZE = 48 };
#else
enum { ENTRY = 4, TIMES = 12, SIZE = 44 };
#endif
enum { UPDATE_BYTE = ENTRY + 7, PAGE = 4096, READS_MIN = 20000 };

static volatile unsigned char *area;
static volatile int over;
static int flagged = 1;

/* Strides that change the high half often, and the low half always. */
static uint64_t entry_of(uint32_t number)
{
	return number * 0x55555557ull;
}

static void image_of(uint64_t entry, unsigned char *to)
{
	uint32_t state = (uint32_t)((entry * 0x9e3779b97f4a7c15ull) >> 62);

	memset(to, 0, SIZE);
	memcpy(to, &state, sizeof(state));
	memcpy(to + ENTRY, &entry, sizeof(entry));
	for (int i = 0; i < 4; i++) {
		uint64_t time = (entry + (uint64_t)i + 1) * 0xd1342543de82ef95ull;

		memcpy(to + TIMES + 8 * i, &time, sizeof(time));
	}
}

static void pause_now(uint32_t chance)
{
	if (chance % 64 == 0)
		sched_yield();
	else
		for (volatile uint32_t i = 0; i < chance % 32; i++)
			;
}

/* The body's bytes in any order: here in four-byte pieces, beginning anywhere. */
static void store_body(const unsigned char *from, uint32_t number)
{
	uint32_t pieces = SIZE / 4, first = number % pieces;

	for (uint32_t i = 0; i < pieces; i++) {
		uint32_t offset = (first + i) % pieces * 4;

		for (uint32_t byte = offset; byte < offset + 4; byte++)
			area[byte] = from[byte];
		pause_now(number * 2654435761u + i * 40503u);
	}
}

static void *hypervisor(void *unused)
{
	unsigned char new[SIZE];

	for (uint32_t number = 1; !over; number++) {
		uint64_t entry = entry_of(number) & ~(1ull << 63);

		image_of(entry, new);
		if (flagged) {
			new[UPDATE_BYTE] |= 0x80;
			area[UPDATE_BYTE] = new[UPDATE_BYTE];
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			pause_now(number * 7919u);
		}
		store_body(new, number);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (flagged)
			area[UPDATE_BYTE] = new[UPDATE_BYTE] & 0x7f;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		pause_now(number * 104729u);
	}
	return unused;
}

static int is_whole(const struct snapshot *seen)
{
	unsigned char want[SIZE];

	image_of(seen->state_entry_time, want);
	return !memcmp(want, &seen->state, sizeof(seen->state)) &&
	       !memcmp(want + TIMES, seen->time, sizeof(seen->time));
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void hangs(int unused)
{
	static const char words[] = "the reader hangs\n";

	(void)unused;
	(void)!write(2, words, sizeof(words) - 1);
	_exit(3);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1, stop;
	long offset = argc > 2 ? atol(argv[2]) : 0;
	unsigned long reads = 0, torn = 0, flags = 0;
	struct snapshot seen, first = { 0 };
	pthread_t writer;

	flagged = argc > 3 ? atoi(argv[3]) : 1;
	area = (unsigned char *)mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + offset;
	image_of(0, (unsigned char *)area);
	signal(SIGALRM, hangs);
	alarm(argc > 4 ? (unsigned)atoi(argv[4]) : 100);
	if (pthread_create(&writer, NULL, hypervisor, NULL))
		return 3;
	stop = now_s() + seconds;
	do {
		for (int i = 0; i < 1000; i++, reads++) {
			memset(&seen, 0xee, sizeof(seen));
			read_runstate((const void *)area, &seen);
			flags += seen.state_entry_time >> 63;
			if (!is_whole(&seen) && torn++ == 0)
				first = seen;
		}
	} while (!torn && (now_s() < stop || reads < READS_MIN));
	over = 1;
	pthread_join(writer, NULL);
	printf("%lu reads, %lu torn, %lu with the flag in the time\n", reads, torn, flags);
	if (torn)
		printf("first: state %u, state_entry_time %#llx, time[0] %#llx\n", first.state,
		       (unsigned long long)first.state_entry_time,
		       (unsigned long long)first.time[0]);
	return torn || flags ? 1 : 0;
}
