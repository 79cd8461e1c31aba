/*
 * Where the two threads of a context run, and whether they spin.
 *
 * A context's sentry thread and stub thread take turns, so at any time one of them waits. There are three ways to do that:
 *
 *   PLACE_SPIN    on two CPUs, the waiting one spinning: a quarter of a microsecond a turn, but it takes two CPUs
 *   PLACE_SHARED  on one CPU, pinned there, the waiting one asleep, or yielding the CPU to the other: microseconds
 *   PLACE_FREE    wherever the scheduler puts them, asleep: as PLACE_SHARED if they happen to be on one CPU; tens of
 *                 microseconds if not, because a sleeping CPU has to be woken for each turn
 *
 * `load` counts who needs a CPU: one for each awake context, one more if it spins. A context begins in PLACE_SHARED, spins when
 * calls come thick and fast and the load fits the CPUs, and goes back when it may not spin any more or when the guest computes
 * for longer than spinning pays. If the load does not fit because of others that would spin as well, they do so by turns
 * (line.c).
 *
 * Contexts that block often are put on the CPU where another such one was active last: it is likely the one that wakes this one
 * up, and a wake-up on the same CPU costs next to nothing. If two of them turn out to be active at once for long, one moves.
 *
 * Yielding is nearly twice as fast as sleeping and being woken, as long as there is nobody else on the CPU to yield to: who
 * yields is last in the queue for a whole time slice. So it is done while there are few contexts awake on the CPU (two are what
 * it takes to talk with each other; with four, a server and its clients, it still pays), and as soon as a turn takes long, not
 * again for many calls.
 *
 * What runs on the CPUs besides this sandbox is not known here. That is why a pin does not outlast a long run of guest code.
 */
#include "platform/pvmexec/place.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define SPIN_US        30
#define SETTLE_US      300 /* as SPIN_US, when it has only just begun to spin */
#define SHORT_BURST_US 100 /* a context that is usually awake for less than this blocks often */
#define CONTENDED_US   150 /* two contexts awake on one CPU for so long are worth separating */
#define LINE_SPIN_US   15  /* as SPIN_US, when others wait for their time to spin */
#define FEW_CALLS      16  /* with fewer calls between two changes of its mappings a context had better not spin */
#define GOOD_SPELL     64  /* calls that a spell of spinning must last to have been worth it */
#define HOLD_MIN       16  /* calls until the next one, if it was not; doubled each time */
#define HOLD_MAX       4096
#define YIELDS         3  /* times to yield before going to sleep */
#define YIELD_GOOD     8  /* quick turns in a row, and the past is forgotten */
#define YIELD_PAIRS    4  /* contexts awake on the CPU at most */
#define YIELD_US       50 /* a turn that takes longer is one not worth to yield for */
#define YIELD_HOLD_MIN 16 /* turns to wait by sleeping after such a one; doubled each time */
#define YIELD_HOLD_MAX 4096
#define LOOK_AGAIN_NS  100000000LL

static int64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void look_at_cpus(struct place *s)
{
    cpu_set_t set;

    /* Of a thread that is never pinned by us. */
    if (sched_getaffinity(s->free_pid, sizeof(set), &set) < 0)
        return;
    mutex_lock(&s->mask_lock);
    s->mask = set;
    mutex_unlock(&s->mask_lock);
    atomic_store_explicit(&s->cpus, CPU_COUNT(&set), memory_order_relaxed);
}

static cpu_set_t mask_of(struct place *s)
{
    cpu_set_t set;

    mutex_lock(&s->mask_lock);
    set = s->mask;
    mutex_unlock(&s->mask_lock);
    return set;
}

void place_init(struct place *s, atomic_uint *crowded, pid_t free_pid)
{
    int64_t start, end;
    uint64_t tsc;

    s->crowded = crowded;
    s->free_pid = free_pid;
    mutex_init(&s->mask_lock);
    atomic_init(&s->home, -1);
    line_init(s);
    look_at_cpus(s);
    /* How fast the clock ticks and how long a pause is; a tenth of a millisecond's look is exact enough. */
    start = now_ns(CLOCK_MONOTONIC);
    tsc = __rdtsc();
    for (int i = 0; i < 4000; i++)
        _mm_pause();
    tsc = __rdtsc() - tsc;
    end = now_ns(CLOCK_MONOTONIC);
    if (end <= start)
        end = start + 1;
    s->tsc_per_us = tsc * 1000 / (uint64_t)(end - start) + 1;
    s->spin_loops = (unsigned int)(4000ULL * SPIN_US * 1000 / (uint64_t)(end - start));
}

void place_load_add(struct place *s, int n)
{
    int load = atomic_fetch_add(&s->load, n) + n;
    unsigned int crowded = load > atomic_load_explicit(&s->cpus, memory_order_relaxed);

    if (atomic_load_explicit(s->crowded, memory_order_relaxed) != crowded)
        atomic_store_explicit(s->crowded, crowded, memory_order_relaxed);
}

/* --- pins --- */

static bool pin(pid_t tid, int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(tid, sizeof(set), &set) == 0;
}

static void unpin_thread(struct place *s, struct stub_thread *t)
{
    cpu_set_t mask;

    if (!t || t->pinned_cpu < 0)
        return;
    mask = mask_of(s);
    sched_setaffinity(t->tid, sizeof(mask), &mask);
    t->pinned_cpu = -1;
}

static void unpin(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    cpu_set_t mask;

    unpin_thread(s, ctx->thread);
    if (ctx->pinned_cpu < 0)
        return;
    mask = mask_of(s);
    sched_setaffinity(0, sizeof(mask), &mask);
    ctx->pinned_cpu = -1;
}

static bool pin_thread(struct stub_thread *t, int cpu)
{
    if (t->pinned_cpu == cpu)
        return true;
    if (!pin(t->tid, cpu))
        return false;
    t->pinned_cpu = cpu;
    return true;
}

static bool pin_owner(struct stub_context *ctx, int cpu)
{
    if (ctx->pinned_cpu == cpu)
        return true;
    if (!pin(0, cpu))
        return false;
    ctx->pinned_cpu = cpu;
    return true;
}

/*
 * Puts the two threads on different CPUs; the scheduler would leave the stub's behind a spinning owner. Of two CPUs the owners
 * always have the same one, so that the threads of contexts that spin by turns need not move.
 */
static void spread(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    cpu_set_t mask = mask_of(s);
    int here = sched_getcpu(), home = atomic_load_explicit(&s->home, memory_order_relaxed), other = 0;

    if (CPU_COUNT(&mask) == 2 && home >= 0 && CPU_ISSET(home, &mask)) {
        while (other == home || !CPU_ISSET(other, &mask))
            other++;
        if (pin_owner(ctx, home) && pin_thread(ctx->thread, other))
            return;
    }
    unpin(ctx);
    if (here < 0 || here >= PLACE_CPUS)
        return;
    CPU_CLR(here, &mask);
    if (sched_setaffinity(ctx->thread->tid, sizeof(mask), &mask) == 0)
        ctx->thread->pinned_cpu = PLACE_ELSEWHERE;
}

/* Pins both threads to `cpu`, unless they are there. */
static bool pin_both(struct stub_context *ctx, int cpu)
{
    if (!pin_owner(ctx, cpu))
        return false;
    if (pin_thread(ctx->thread, cpu))
        return true;
    unpin(ctx);
    return false;
}

static int pairs_on(struct place *s, int cpu)
{
    return atomic_load_explicit(&s->pairs[cpu], memory_order_relaxed);
}

static int least_loaded(struct place *s, int preferred)
{
    cpu_set_t mask = mask_of(s);
    int best = preferred;

    for (int cpu = 0; cpu < PLACE_CPUS; cpu++)
        if (CPU_ISSET(cpu, &mask) && pairs_on(s, cpu) < pairs_on(s, best))
            best = cpu;
    return best;
}

/* Shares `cpu`, counting itself there. */
static void share(struct stub_context *ctx, int cpu)
{
    struct place *s = place_of(ctx);

    if (!pin_both(ctx, cpu))
        return;
    atomic_fetch_add(&s->pairs[cpu], 1);
    atomic_store_explicit(&s->home, cpu, memory_order_relaxed);
    ctx->place = PLACE_SHARED;
    ctx->contended_since = 0;
}

void place_leave(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);

    if (ctx->place == PLACE_SPIN) {
        atomic_fetch_sub(&s->spinners, 1);
        place_load_add(s, -1);
    } else if (ctx->place == PLACE_SHARED)
        atomic_fetch_sub(&s->pairs[ctx->pinned_cpu], 1);
    ctx->place = PLACE_FREE;
}

void place_share_here(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    int here;

    if (atomic_load_explicit(&s->cpus, memory_order_relaxed) < 2)
        return;
    here = ctx->pinned_cpu >= 0 ? ctx->pinned_cpu : sched_getcpu();
    if (here >= 0 && here < PLACE_CPUS)
        share(ctx, least_loaded(s, here));
}

void place_begin_spinning(struct stub_context *ctx)
{
    spread(ctx);
    ctx->place = PLACE_SPIN;
    ctx->spell = 0;
    ctx->spin_since = __rdtsc();
}

bool place_try_to_spin(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    int cpus = atomic_load_explicit(&s->cpus, memory_order_relaxed);

    if (atomic_load_explicit(&s->load, memory_order_relaxed) + 1 > cpus)
        return false;
    if (atomic_fetch_add(&s->load, 1) + 1 > cpus) {
        atomic_fetch_sub(&s->load, 1);
        return false;
    }
    place_leave(ctx);
    atomic_fetch_add(&s->spinners, 1);
    place_begin_spinning(ctx);
    return true;
}

/*
 * Changing the mappings of an address space interrupts every CPU that runs a thread of it, and a spinning stub thread runs all
 * the time. So a context that does it often does not spin.
 */
void place_before_mapping(struct stub_context *ctx)
{
    unsigned int calls = ctx->calls_unmapped;

    ctx->calls_unmapped = 0;
    if (calls >= FEW_CALLS)
        return;
    if (ctx->hold < FEW_CALLS)
        ctx->hold = FEW_CALLS;
    if (ctx->place != PLACE_SPIN)
        return;
    place_leave(ctx);
    place_share_here(ctx);
    line_move(place_of(ctx), true);
}

/* Looks after a context that shares a CPU, once a call. */
static void mind_sharing(struct stub_context *ctx, uint64_t now)
{
    struct place *s = place_of(ctx);
    int cpu = ctx->pinned_cpu, other;

    if (pairs_on(s, cpu) <= 1) {
        ctx->contended_since = 0;
        return;
    }
    if (ctx->contended_since == 0) {
        ctx->contended_since = now;
        return;
    }
    if (now - ctx->contended_since < CONTENDED_US * s->tsc_per_us)
        return;
    ctx->contended_since = now;
    other = least_loaded(s, cpu);
    if (pairs_on(s, other) + 1 < pairs_on(s, cpu)) {
        place_leave(ctx);
        share(ctx, other);
    }
}

static void wake(struct stub_context *ctx, uint64_t now)
{
    struct place *s = place_of(ctx);
    int home = atomic_load_explicit(&s->home, memory_order_relaxed), here = sched_getcpu();

    ctx->awake = true;
    ctx->awake_since = now;
    ctx->contended_since = 0;
    line_set_dull(ctx, !line_is_chatty(ctx));
    place_load_add(s, 1);
    if (atomic_load_explicit(&s->cpus, memory_order_relaxed) < 2)
        return;
    if (ctx->burst == 0 && here >= 0 && here < PLACE_CPUS)
        share(ctx, here); /* a new one: who started it will likely wait for it */
    else if (ctx->burst && ctx->burst < SHORT_BURST_US * s->tsc_per_us && home >= 0)
        share(ctx, pairs_on(s, home) <= 1 || ctx->pinned_cpu < 0 ? home : ctx->pinned_cpu);
}

static void stop_spinning(struct stub_context *ctx)
{
    place_leave(ctx);
    line_move(place_of(ctx), true);
}

bool place_before_turn(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    uint64_t now = __rdtsc();

    if (unlikely(!ctx->awake))
        wake(ctx, now);
    if (ctx->place == PLACE_SHARED)
        mind_sharing(ctx, now);
    else if (ctx->place == PLACE_FREE)
        place_share_here(ctx);
    else if (likely(!atomic_load_explicit(s->crowded, memory_order_relaxed)))
        ctx->spell++;
    else
        stop_spinning(ctx);
    ctx->last_call = now;
    ctx->calls_unmapped++;
    return ctx->place == PLACE_SPIN;
}

bool place_keep_spinning(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);

    /* The other thread may have to be woken on its new CPU first. */
    unsigned int limit = ctx->spell < 2                                                ? SETTLE_US
                         : atomic_load_explicit(&s->in_line, memory_order_relaxed) > 0 ? LINE_SPIN_US
                                                                                       : SPIN_US;

    return __rdtsc() - ctx->last_call < limit * s->tsc_per_us && !atomic_load_explicit(s->crowded, memory_order_relaxed);
}

unsigned int place_yields(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);

    if (ctx->yield_hold > 0) {
        ctx->yield_hold--;
        return 0;
    }
    if (ctx->place == PLACE_SHARED)
        return pairs_on(s, ctx->pinned_cpu) <= YIELD_PAIRS ? YIELDS : 0;
    return atomic_load_explicit(&s->cpus, memory_order_relaxed) < 2 &&
                   atomic_load_explicit(&s->load, memory_order_relaxed) <= YIELD_PAIRS
               ? YIELDS
               : 0;
}

void place_yielded(struct stub_context *ctx, bool turn_is_back)
{
    if (turn_is_back && __rdtsc() - ctx->last_call < YIELD_US * place_of(ctx)->tsc_per_us) {
        if (++ctx->yield_spell >= YIELD_GOOD)
            ctx->yield_penalty = 0;
        return;
    }
    ctx->yield_spell = 0;
    ctx->yield_penalty = ctx->yield_penalty == 0                   ? YIELD_HOLD_MIN
                         : ctx->yield_penalty * 2 < YIELD_HOLD_MAX ? ctx->yield_penalty * 2
                                                                   : YIELD_HOLD_MAX;
    ctx->yield_hold = ctx->yield_penalty;
}

void place_before_sleep(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    int64_t now = now_ns(CLOCK_MONOTONIC_COARSE);

    if (now > atomic_load_explicit(&s->next_look, memory_order_relaxed)) {
        atomic_store_explicit(&s->next_look, now + LOOK_AGAIN_NS, memory_order_relaxed);
        look_at_cpus(s);
    }
    if (ctx->place == PLACE_SHARED || atomic_load_explicit(&s->cpus, memory_order_relaxed) < 2)
        return;
    /*
     * Spells that end soon cost more than they gain: the guest has too much to do between calls, or the CPUs are busy with
     * something outside of this sandbox. The next one has to be earned by more quick calls.
     */
    if (ctx->place == PLACE_SPIN) {
        ctx->penalty = ctx->spell >= GOOD_SPELL      ? 0
                       : ctx->penalty == 0           ? HOLD_MIN
                       : ctx->penalty * 2 < HOLD_MAX ? ctx->penalty * 2
                                                     : HOLD_MAX;
        ctx->hold = ctx->penalty;
    }
    place_leave(ctx);
    place_share_here(ctx);
    line_move(s, true);
}

void place_long_sleep(struct stub_context *ctx)
{
    place_leave(ctx);
    unpin(ctx);
    line_set_dull(ctx, true);
}

void place_park(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    uint64_t burst;

    if (!ctx->awake)
        return;
    place_leave(ctx);
    ctx->awake = false;
    line_set_dull(ctx, false);
    place_load_add(s, -1);
    if (ctx->thread)
        atomic_store_explicit(slot_u32(ctx->thread, SLOT_SPIN), 0, memory_order_relaxed);
    line_move(s, false);
    burst = __rdtsc() - ctx->awake_since;
    ctx->burst = ctx->burst ? (ctx->burst * 7 + burst) / 8 : burst;
}

void place_release(struct stub_context *ctx)
{
    place_park(ctx);
    unpin(ctx);
}
