/*
 * A writer and a reader of a pvclock_vcpu_time_info on two CPUs, to see which checks of the version
 * keep a reader from taking the members of two updates.
 *
 *   version READER OFFSET ACCEPTS UPDATES SECONDS
 *
 * The writer makes the version odd, copies all 32 bytes with the odd version among them and makes
 * it even, as KVM's kvm_setup_guest_pvclock() and Xen's __update_vcpu_system_time() do. READER says
 * which copies the reader accepts, see is_accepted(). OFFSET is where the struct begins in a page,
 * a multiple of 4. The run ends after ACCEPTS accepted copies in UPDATES updates (ACCEPTS 0: at the
 * first torn copy), or SECONDS.
 * Prints: accepts N torn M updates K.
 *
 * Every update has one number, and all members but the version are made of it, so that a copy that
 * is not of one update shows.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define compiler_barrier() __asm__ __volatile__("" ::: "memory")
/*
 * x86 keeps stores in order, and loads, so these are for the compiler only. It keeps the accesses
 * below in order without them, too: they stand where the kernels have them.
 */
#define smp_wmb() compiler_barrier()
#define smp_rmb() compiler_barrier()

/* From one update to the next each byte of the number changes: no byte of STEP is 0x00 or 0xff. */
#define STEP 0x9e3779b97f4a7c15ULL
#define WORDS 4

struct pvclock_vcpu_time_info {
	uint32_t version;
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
} __attribute__((packed));

/* The struct as eight-byte words, so that the accesses of a copy are these and no others. */
union copy {
	struct pvclock_vcpu_time_info info;
	uint64_t words[WORDS];
};
_Static_assert(sizeof(struct pvclock_vcpu_time_info) == sizeof(uint64_t) * WORDS, "32 bytes");

enum reader { SOUND, MASKED, NO_ODD_CHECK, NO_REREAD, PLAIN, READERS };
static const char *const names[READERS] = {
	"sound", "masked", "no-odd-check", "no-reread", "plain",
};

static unsigned char pages[3 * 4096] __attribute__((aligned(4096)));
static unsigned char *area;
static volatile int stop;
static volatile uint64_t updates;

static void put32(uint32_t value)
{
	__asm__ __volatile__("movl %1, %0" : "=m"(*(volatile uint32_t *)area) : "r"(value));
}

static uint32_t get32(void)
{
	uint32_t value;
	__asm__ __volatile__("movl %1, %0" : "=r"(value) : "m"(*(volatile uint32_t *)area));
	return value;
}

static void put64(int word, uint64_t value)
{
	volatile uint64_t *where = (volatile uint64_t *)(area + 8 * word);
	__asm__ __volatile__("movq %1, %0" : "=m"(*where) : "r"(value));
}

static uint64_t get64(int word)
{
	const volatile uint64_t *where = (const volatile uint64_t *)(area + 8 * word);
	uint64_t value;
	__asm__ __volatile__("movq %1, %0" : "=r"(value) : "m"(*where));
	return value;
}

/* The first two CPUs that this process may use: the reader's and the writer's. */
static void find_cpus(int found[2])
{
	cpu_set_t allowed;
	int count = 0;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			found[count++] = cpu;
	if (count < 2) {
		fprintf(stderr, "version: needs two CPUs\n");
		exit(3);
	}
}

static void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set)) {
		fprintf(stderr, "version: cannot pin a thread to CPU %d\n", cpu);
		exit(3);
	}
}

static union copy made_of(uint64_t number, uint32_t version)
{
	return (union copy){ .info = {
		.version = version,
		.pad0 = number >> 16,
		.tsc_timestamp = number,
		.system_time = ~number,
		.tsc_to_system_mul = number >> 32,
		.tsc_shift = (int8_t)(number >> 24),
		.flags = number >> 8,
		.pad = { number, number >> 40 },
	} };
}

/*
 * A kernel's memcpy() may copy in any order. Upwards, the version that is copied has to be odd;
 * downwards, the version before the copy. So every second update goes the other way.
 */
static void update(uint64_t number)
{
	uint32_t odd = (get32() + 1) | 1;
	union copy copy = made_of(number, odd);

	put32(odd);
	smp_wmb();
	for (int i = 0; i < WORDS; i++) {
		int word = number & 1 ? i : WORDS - 1 - i;
		put64(word, copy.words[word]);
	}
	smp_wmb();
	put32(odd + 1);
}

static void *writer(void *cpu)
{
	pin(*(int *)cpu);
	for (uint64_t count = 1; !stop; count++) {
		update(count * STEP);
		updates = count;
		for (volatile int pause = 0; pause < 20; pause++)
			; /* or the version is always odd, and a sound reader accepts nothing */
	}
	return NULL;
}

/* What READER compares: the versions that it loaded before and after the members. */
static int is_accepted(enum reader reader, uint32_t before, uint32_t after)
{
	switch (reader) {
	case SOUND: /* Linux's steal time, NetBSD, xenbus since 2017 */
		return before == after && !(before & 1);
	case MASKED: /* Linux's pvclock, OpenBSD, nanos: an odd version equals no masked one */
		return (before & ~1U) == after;
	case NO_ODD_CHECK: /* OSv's wall clock, xenbus until 2017 */
		return before == after;
	case NO_REREAD: /* OpenBSD's wall clock, where nobody writes at that moment */
		return !(before & 1);
	default:
		return 1;
	}
}

/* Whether the members are of two updates: one of them says what the others have to be. */
static int is_torn(const union copy *copy)
{
	union copy whole = made_of(copy->info.tsc_timestamp, copy->info.version);
	return memcmp(copy, &whole, sizeof(whole)) != 0;
}

/* Reads once; whether the copy was accepted. */
static int reads(enum reader reader, union copy *copy)
{
	uint32_t before = get32();

	smp_rmb();
	for (int word = 0; word < WORDS; word++)
		copy->words[word] = get64(word);
	smp_rmb();
	return is_accepted(reader, before, get32());
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static enum reader reader_named(const char *name)
{
	for (int reader = 0; reader < READERS; reader++)
		if (!strcmp(name, names[reader]))
			return reader;
	fprintf(stderr, "version: no reader %s\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: version sound|masked|no-odd-check|no-reread|plain "
				"OFFSET ACCEPTS UPDATES SECONDS\n");
		return 2;
	}
	enum reader reader = reader_named(argv[1]);
	uint64_t wanted = strtoull(argv[3], NULL, 0), accepts = 0, torn = 0;
	uint64_t wanted_updates = strtoull(argv[4], NULL, 0);
	double end = now() + strtod(argv[5], NULL);
	union copy copy;
	pthread_t thread;
	int cpus[2];

	area = pages + 4096 + (strtoul(argv[2], NULL, 0) & 4092);
	find_cpus(cpus);
	update(0); /* or the first copies, of zeros, are of no update */
	if (pthread_create(&thread, NULL, writer, &cpus[1]))
		return 3;
	pin(cpus[0]);
	for (unsigned turn = 0; wanted ? accepts < wanted || updates < wanted_updates : !torn;) {
		if (!(++turn & 1023) && now() >= end)
			break;
		if (reads(reader, &copy)) {
			accepts++;
			torn += is_torn(&copy);
		}
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("accepts %llu torn %llu updates %llu\n", (unsigned long long)accepts,
	       (unsigned long long)torn, (unsigned long long)updates);
	return 0;
}
