/*
 * Spinning hands the turn over in a quarter of a microsecond, but takes a CPU from whoever could use it; sleeping takes
 * microseconds if both threads share a CPU and tens of them if a sleeping CPU has to be woken. So threads spin while there
 * are CPUs to spare, and `load` counts who needs one.
 */
#include "platform/pvmexec/stub.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define SPIN_NS 30000

static int64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void look_at_cpus(struct spin *s)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        atomic_store_explicit(&s->cpus, CPU_COUNT(&set), memory_order_relaxed);
    else
        atomic_store_explicit(&s->cpus, (int)sysconf(_SC_NPROCESSORS_ONLN), memory_order_relaxed);
}

void spin_init(struct spin *s, atomic_uint *crowded)
{
    int64_t start, end;
    uint64_t tsc;

    s->crowded = crowded;
    look_at_cpus(s);
    /* How fast the clock ticks and how long a pause is: half a millisecond's look is exact enough. */
    start = now_ns(CLOCK_MONOTONIC);
    tsc = __rdtsc();
    for (int i = 0; i < 4000; i++)
        _mm_pause();
    end = now_ns(CLOCK_MONOTONIC);
    tsc = __rdtsc() - tsc;
    if (end <= start)
        end = start + 1;
    s->spin_ticks = tsc * SPIN_NS / (uint64_t)(end - start);
    s->spin_loops = (unsigned int)(4000ULL * SPIN_NS / (uint64_t)(end - start));
}
