/*
 * Keeping the vDSO's clock true.
 *
 * The parameters are a point (counter, CLOCK_MONOTONIC) and a slope. They are measured against the host's own clock: the slope
 * from two readings some time apart, so that the host's NTP corrections are followed. They are valid for as long as the two
 * readings were apart, a second at most: the extrapolation's error is then no greater than a reading's, a fraction of a
 * microsecond. The next refresh starts at the guest's idea of now, never before it, and bends the slope so that guest and host
 * meet again at the period's end. Hence CLOCK_MONOTONIC never goes back.
 */
#include "sentry/loader/vdso.h"

#include "lib/lock.h"
#include "lib/log.h"
#include "lib/memfile.h"
#include "sentry/kernel/kernel.h"
#include "sentry/loader/loader.h"
#include "sentry/loader/vdso/vdso_data.h"
#include "vdso_image.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define PAGE MEMFILE_PAGE
/* The shortest distance between two readings that gives a useful slope, and how long parameters live at most. */
#define MIN_BASELINE_NS 1000000LL
#define MAX_PERIOD_NS   1000000000LL
/* CLOCK_REALTIME is a constant offset from CLOCK_MONOTONIC, until someone sets it; smaller differences are measuring errors. */
#define OFFSET_NOISE_NS 2000LL
/* A guest further off than this is set right at once (a suspended host). */
#define MAX_BEND_NS 10000000LL

struct reading {
    uint64_t tsc;
    int64_t monotonic_ns;
};

struct vdso {
    struct vdso_pages pages;
    struct vdso_data *data; /* in the memory file; written under lock */
    bool usable;            /* the counter runs at a constant rate; immutable */
    struct mutex lock;
    struct reading far;  /* the far end of the baseline; guarded by lock, like */
    struct reading near; /* the next one to become it */
};

const struct vdso_pages *vdso_pages(const struct kernel *k)
{
    return &k->vdso->pages;
}

static int64_t host_clock(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Reads both clocks as close together as a few tries can make it. */
static struct reading take_reading(void)
{
    struct reading best = {0};
    uint64_t best_gap = UINT64_MAX;

    for (int i = 0; i < 4; i++) {
        uint64_t before = __rdtsc(), after;
        int64_t ns = host_clock(CLOCK_MONOTONIC);

        after = __rdtsc();
        if (after - before < best_gap) {
            best_gap = after - before;
            best = (struct reading){.tsc = before + (after - before) / 2, .monotonic_ns = ns};
        }
    }
    return best;
}

static int64_t ticks_to_ns(uint64_t ticks, uint64_t mult)
{
    return (int64_t)((unsigned __int128)ticks * mult >> VDSO_SHIFT);
}

/* How far `clock` is ahead of CLOCK_MONOTONIC; `old` if it has not changed. */
static int64_t take_offset(clockid_t clock, int64_t old)
{
    int64_t best = old, best_gap = INT64_MAX;

    for (int i = 0; i < 4; i++) {
        int64_t before = host_clock(CLOCK_MONOTONIC), ns = host_clock(clock), gap = host_clock(CLOCK_MONOTONIC) - before;

        if (gap < best_gap) {
            best_gap = gap;
            best = ns - before - gap / 2;
        }
    }
    return best - old < OFFSET_NOISE_NS && old - best < OFFSET_NOISE_NS ? old : best;
}

static uint64_t ns_to_ticks(int64_t ns, uint64_t mult)
{
    return (uint64_t)(((unsigned __int128)ns << VDSO_SHIFT) / mult);
}

/* The words of the page between the two changes of `seq`: read while they may be written, which `seq` then tells. */
#define read_word(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define write_word(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

/* Publishes parameters from `now` on; the slope is that of the baseline, bent to absorb the guest's present error. */
static void publish(struct vdso *v, struct reading now)
{
    struct vdso_data *d = v->data;
    int64_t base_ns = now.monotonic_ns, baseline = now.monotonic_ns - v->far.monotonic_ns, error;
    uint64_t mult = (uint64_t)(((unsigned __int128)baseline << VDSO_SHIFT) / (now.tsc - v->far.tsc));
    uint64_t period_ticks = ns_to_ticks(baseline < MAX_PERIOD_NS ? baseline : MAX_PERIOD_NS, mult);
    int64_t realtime = take_offset(CLOCK_REALTIME, d->realtime_offset_ns);
    int64_t boottime = take_offset(CLOCK_BOOTTIME, d->boottime_offset_ns);

    if (d->valid_until) {
        /* What the guest last could see: the clock stands still at the end of validity. */
        uint64_t seen = now.tsc < d->valid_until ? now.tsc : d->valid_until;
        int64_t guest_ns = d->monotonic_ns + ticks_to_ns(seen - d->base_tsc, d->mult);

        error = guest_ns - base_ns;
        if (error > 0) {
            base_ns = guest_ns;
            if (error < MAX_BEND_NS && error < baseline / 4)
                mult -= (uint64_t)(((unsigned __int128)error << VDSO_SHIFT) / period_ticks);
        }
    }
    __atomic_store_n(&d->seq, d->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    write_word(&d->base_tsc, now.tsc);
    write_word(&d->valid_until, now.tsc + period_ticks);
    write_word(&d->mult, mult);
    write_word(&d->monotonic_ns, base_ns);
    write_word(&d->realtime_offset_ns, realtime);
    write_word(&d->boottime_offset_ns, boottime);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&d->seq, d->seq + 1, __ATOMIC_RELEASE);
    /* Once the baseline is long enough it moves along, so that it follows a host clock that is being slewed. */
    if (now.monotonic_ns - v->near.monotonic_ns >= MAX_PERIOD_NS) {
        v->far = v->near;
        v->near = now;
    }
}

static void refresh(struct vdso *v)
{
    struct reading now;

    if (__rdtsc() < read_word(&v->data->valid_until) || !mutex_trylock(&v->lock))
        return;
    now = take_reading();
    if (now.monotonic_ns - v->far.monotonic_ns >= MIN_BASELINE_NS && now.tsc >= v->data->valid_until)
        publish(v, now);
    mutex_unlock(&v->lock);
}

/* The guest's own computation; false when the parameters are too old. */
static bool guest_monotonic(const struct vdso_data *d, const int64_t *offset, int64_t *ns)
{
    for (;;) {
        uint32_t seq = __atomic_load_n(&d->seq, __ATOMIC_ACQUIRE);
        uint64_t now = __rdtsc(), base;

        if (seq & 1) {
            _mm_pause();
            continue;
        }
        if (now >= read_word(&d->valid_until))
            return false;
        base = read_word(&d->base_tsc);
        now = now > base ? now - base : 0;
        *ns = read_word(&d->monotonic_ns) + ticks_to_ns(now, read_word(&d->mult)) + (offset ? read_word(offset) : 0);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&d->seq, __ATOMIC_RELAXED) == seq)
            return true;
    }
}

int64_t vdso_clock_ns(struct kernel *k, clockid_t clock)
{
    struct vdso *v = k->vdso;
    const int64_t *offset = NULL;
    int64_t ns;

    switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
        break;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        offset = &v->data->realtime_offset_ns;
        break;
    case CLOCK_BOOTTIME:
        offset = &v->data->boottime_offset_ns;
        break;
    default:
        return host_clock(clock);
    }
    if (!v->usable)
        return host_clock(clock);
    refresh(v);
    return guest_monotonic(v->data, offset, &ns) ? ns : host_clock(clock);
}

void vdso_getcpu_by_call(struct kernel *k)
{
    __atomic_store_n(&k->vdso->data->getcpu_by_call, 1, __ATOMIC_RELAXED);
}

/* CPUID's "invariant TSC": the rate does not change with power states. */
static bool tsc_is_invariant(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1U << 8));
}

int vdso_init(struct kernel *k, bool tsc_clock)
{
    size_t text_len = (sizeof(vdso_image) + PAGE - 1) & ~(PAGE - 1);
    struct vdso *v = calloc(1, sizeof(*v));
    uint64_t off;
    int r;

    if (!v)
        return -ENOMEM;
    r = memfile_alloc(k->memfile, PAGE + text_len, MEMFILE_ZERO, &off);
    if (r) {
        free(v);
        return r;
    }
    mutex_init(&v->lock);
    v->pages = (struct vdso_pages){.memfile_off = off, .data_len = PAGE, .text_len = text_len};
    v->data = memfile_ptr(k->memfile, off);
    memcpy(memfile_ptr(k->memfile, off + PAGE), vdso_image, sizeof(vdso_image));
    v->data->nr_cpus = k->nr_cpus;
    /* Hypervisors often hide that bit; then trust the host kernel if it keeps its own time by the counter. */
    v->usable = tsc_clock || tsc_is_invariant();
    v->far = v->near = take_reading();
    if (!v->usable)
        log_info("vdso: the time-stamp counter is not invariant; clocks are system calls");
    k->vdso = v;
    return 0;
}

void vdso_fini(struct kernel *k)
{
    struct vdso *v = k->vdso;

    if (!v)
        return;
    memfile_put(k->memfile, v->pages.memfile_off, v->pages.data_len + v->pages.text_len);
    mutex_fini(&v->lock);
    free(v);
    k->vdso = NULL;
}
