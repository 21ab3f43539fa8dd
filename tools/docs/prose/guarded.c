#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int64_t s64;

#define __packed __attribute__((__packed__))

/* One access that the compiler makes once, with the alignment of the member's type. */
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)(const void *)&(x))

/* Loads before it are made before loads after it. */
#if defined(__x86_64__) || defined(__i386__)
#define virt_rmb() __asm__ volatile("" ::: "memory")
#elif defined(__aarch64__)
#define virt_rmb() __asm__ volatile("dmb ishld" ::: "memory")
#elif defined(__riscv)
#define virt_rmb() __asm__ volatile("fence r, r" ::: "memory")
#else
#define virt_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#endif
