#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int64_t s64;

#define __packed __attribute__((__packed__))
/* As in Linux: without it clang warns of each function that you do not
 * call.
 */
#define inline inline __attribute__((__unused__))

/* Load x once, and whole: a compiler may load plain memory twice, and
 * a packed member in pieces.
 */
#define READ_ONCE(x) \
	(*(const volatile __typeof__(x) *)(const void *)&(x))

/* virt_rmb(): loads before it are made before loads after it. */
#if defined(__x86_64__) || defined(__i386__)
#define virt_rmb() __asm__ volatile("" ::: "memory")
#define cpu_relax() __asm__ volatile("pause" ::: "memory")
#elif defined(__aarch64__)
#define virt_rmb() __asm__ volatile("dmb ishld" ::: "memory")
#define cpu_relax() __asm__ volatile("yield" ::: "memory")
#elif defined(__riscv)
#define virt_rmb() __asm__ volatile("fence r, r" ::: "memory")
#define cpu_relax() __asm__ volatile("" ::: "memory")
#else
#define virt_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define cpu_relax() __asm__ volatile("" ::: "memory")
#endif
