/*
 * The vDSO's code. It runs in guest processes: no stack beyond the ABI's, no data but the shared page, no calls out but system
 * calls.
 */
#include "sentry/loader/vdso/vdso_data.h"

#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

/* Placed by the linker script one page before the image. */
extern const volatile struct vdso_data vdso_page __attribute__((visibility("hidden")));

#define EXPORT __attribute__((visibility("default"), used))

int __vdso_clock_gettime(clockid_t clock, struct timespec *ts);
int __vdso_gettimeofday(struct timeval *tv, struct timezone *tz);
time_t __vdso_time(time_t *t);
int __vdso_clock_getres(clockid_t clock, struct timespec *res);
int __vdso_getcpu(unsigned int *cpu, unsigned int *node, void *unused);

static inline long syscall2(long nr, long a, long b)
{
    long r;

    __asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return r;
}

static inline uint64_t read_tsc(void)
{
    uint32_t lo, hi;

    /* The fence keeps the counter from being read before what came before: time must not run backwards between threads. */
    __asm__ volatile("lfence\n\trdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

/* Nanoseconds of CLOCK_MONOTONIC, plus *offset if not NULL read in the same critical section. 0 when the parameters are too
 * old. */
static inline int monotonic(int64_t *ns, const volatile int64_t *offset)
{
    for (;;) {
        uint32_t seq = __atomic_load_n(&vdso_page.seq, __ATOMIC_ACQUIRE);
        uint64_t now, delta;
        int64_t value;

        if (seq & 1) {
            __asm__ volatile("pause");
            continue;
        }
        now = read_tsc();
        if (now >= vdso_page.valid_until)
            return 0;
        /* Another CPU's counter may be a little behind the one the base was read on. */
        delta = now > vdso_page.base_tsc ? now - vdso_page.base_tsc : 0;
        value = vdso_page.monotonic_ns + (int64_t)((unsigned __int128)delta * vdso_page.mult >> VDSO_SHIFT);
        if (offset)
            value += *offset;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&vdso_page.seq, __ATOMIC_RELAXED) == seq) {
            *ns = value;
            return 1;
        }
    }
}

static inline int read_clock(clockid_t clock, int64_t *ns)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return monotonic(ns, &vdso_page.realtime_offset_ns);
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
        return monotonic(ns, NULL);
    case CLOCK_BOOTTIME:
        return monotonic(ns, &vdso_page.boottime_offset_ns);
    default:
        return 0;
    }
}

EXPORT int __vdso_clock_gettime(clockid_t clock, struct timespec *ts)
{
    int64_t ns;

    if (!read_clock(clock, &ns))
        return (int)syscall2(SYS_clock_gettime, clock, (long)ts);
    ts->tv_sec = ns / 1000000000;
    ts->tv_nsec = ns % 1000000000;
    return 0;
}

EXPORT int __vdso_gettimeofday(struct timeval *tv, struct timezone *tz)
{
    int64_t ns;

    if (!read_clock(CLOCK_REALTIME, &ns))
        return (int)syscall2(SYS_gettimeofday, (long)tv, (long)tz);
    if (tv) {
        tv->tv_sec = ns / 1000000000;
        tv->tv_usec = ns % 1000000000 / 1000;
    }
    if (tz)
        tz->tz_minuteswest = tz->tz_dsttime = 0;
    return 0;
}

EXPORT time_t __vdso_time(time_t *t)
{
    int64_t ns;
    time_t now;

    if (!read_clock(CLOCK_REALTIME, &ns))
        return syscall2(SYS_time, (long)t, 0);
    now = ns / 1000000000;
    if (t)
        *t = now;
    return now;
}

EXPORT int __vdso_clock_getres(clockid_t clock, struct timespec *res)
{
    return (int)syscall2(SYS_clock_getres, clock, (long)res);
}

/* Linux keeps the CPU number in the limit of a segment that user space may look at. */
#define CPUNODE_SELECTOR 0x7b

EXPORT int __vdso_getcpu(unsigned int *cpu, unsigned int *node, void *unused)
{
    unsigned int limit = 0, selector = CPUNODE_SELECTOR, nr = vdso_page.nr_cpus;

    if (vdso_page.getcpu_by_call)
        return (int)syscall2(SYS_getcpu, (long)cpu, (long)node);
    __asm__ volatile("lsl %1, %0" : "+r"(limit) : "r"(selector) : "cc");
    limit &= 0xfff;
    if (cpu)
        *cpu = limit < nr || nr == 0 ? limit : limit % nr;
    if (node)
        *node = 0;
    return 0;
}

/* The unprefixed names that Linux offers as well. */
#define ALIAS(name) __attribute__((visibility("default"), weak, alias("__vdso_" #name)))
int clock_gettime(clockid_t clock, struct timespec *ts) ALIAS(clock_gettime);
int gettimeofday(struct timeval *restrict tv, void *restrict tz) ALIAS(gettimeofday);
time_t time(time_t *t) ALIAS(time);
int clock_getres(clockid_t clock, struct timespec *res) ALIAS(clock_getres);
/* glibc declares getcpu with two arguments; under another C name, the symbol keeps the three of the kernel. */
int vdso_getcpu_alias(unsigned int *cpu, unsigned int *node, void *unused) __asm__("getcpu") ALIAS(getcpu);
