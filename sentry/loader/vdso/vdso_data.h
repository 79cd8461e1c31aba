/*
 * The page that the sentry shares with the vDSO in every guest process: how to turn the time-stamp counter into time.
 *
 * A seqlock: the writer makes `seq` odd, writes, makes it even. A reader whose seq is odd, or changed, tries again. Beyond
 * `valid_until` (or with 0 in it) the parameters are too old: the reader makes the real system call, and the sentry takes that
 * as the moment to renew them. So an idle sandbox has nothing to refresh, and the clocks never drift further than one period's
 * extrapolation.
 */
#ifndef SENTRY_LOADER_VDSO_VDSO_DATA_H
#define SENTRY_LOADER_VDSO_VDSO_DATA_H

#include <stdint.h>

#define VDSO_SHIFT 32

struct vdso_data {
    uint32_t seq;
    uint32_t nr_cpus;
    uint64_t base_tsc, valid_until; /* counter values */
    uint64_t mult;                  /* nanoseconds per tick << VDSO_SHIFT */
    int64_t monotonic_ns;           /* CLOCK_MONOTONIC at base_tsc */
    int64_t realtime_offset_ns;     /* CLOCK_REALTIME - CLOCK_MONOTONIC */
    uint32_t getcpu_by_call;        /* threads are bound to CPUs: only the sentry knows where one "is" */
    int64_t boottime_offset_ns;     /* CLOCK_BOOTTIME - CLOCK_MONOTONIC */
};

#endif
