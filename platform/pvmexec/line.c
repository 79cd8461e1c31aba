/*
 * Contexts that spin by turns.
 *
 * Spinning takes two CPUs, so there may be more contexts that want to than CPUs for it. If all of them make calls in quick
 * succession, it is best to let them spin one after the other: a call by a spinning hand-over costs a tenth of one on a shared
 * CPU, so one at a time they get more done than all at once. So a context that finds others spinning waits in a line, asleep
 * and out of all counts, until one of them blocks, or has had its time. A context that computes for longer between calls would
 * waste the second CPU. It does not line up, and nobody does while it is awake.
 *
 * Who is in the line must not be forgotten there. It is let go, to share a CPU, when the one that spins stops for any other
 * reason than blocking, and leaves by itself after LINE_MS.
 */
#include "platform/pvmexec/place.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CHATTY_US   8   /* a context that usually takes less from call to call gains by spinning */
#define PACE_MAX_US 24  /* what a longer one counts as: it may not have had a CPU for all of that time */
#define EAGER_US    10  /* a context that is awake for less at a time does not gain by it */
#define TERM_US     200 /* how long it spins while others wait */
#define LINE_MAX    6   /* contexts beyond the CPUs, and there is no line */
#define LINE_MS     2
#define LINE_HOLD   4096 /* calls to make before lining up again after nothing came of it */

enum { LINE_WAITING, LINE_SPIN, LINE_SHARE };

void line_init(struct place *s)
{
    mutex_init(&s->line_lock);
    list_init(&s->line);
}

bool line_is_chatty(const struct stub_context *ctx)
{
    return ctx->pace < CHATTY_US * place_of(ctx)->tsc_per_us;
}

void line_set_dull(struct stub_context *ctx, bool dull)
{
    if (ctx->dull == dull)
        return;
    ctx->dull = dull;
    atomic_fetch_add(&place_of(ctx)->dull, dull ? 1 : -1);
}

static bool anybody(struct place *s)
{
    return atomic_load(&s->in_line) > 0;
}

/* Under the line's lock. Afterwards the context is its owner's again. */
static void call(struct place *s, struct stub_context *ctx, unsigned int what)
{
    atomic_uint *word = &ctx->line_word;

    list_del_init(&ctx->line_node);
    atomic_fetch_sub(&s->in_line, 1);
    atomic_store(word, what);
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

void line_move(struct place *s, bool give_up)
{
    if (likely(!anybody(s)))
        return;
    mutex_lock(&s->line_lock);
    while (!list_empty(&s->line)) {
        struct stub_context *first = list_first_entry(&s->line, struct stub_context, line_node);

        if (atomic_load(&s->load) + 2 <= atomic_load_explicit(&s->cpus, memory_order_relaxed)) {
            atomic_fetch_add(&s->spinners, 1);
            place_load_add(s, 2);
            call(s, first, LINE_SPIN);
        } else if (give_up && atomic_load(&s->spinners) == 0) {
            call(s, first, LINE_SHARE);
        } else {
            break;
        }
    }
    mutex_unlock(&s->line_lock);
}

static void sleep_in_line(struct stub_context *ctx)
{
    static const struct timespec limit = {.tv_nsec = LINE_MS * 1000000L};
    struct place *s = place_of(ctx);

    while (atomic_load(&ctx->line_word) == LINE_WAITING) {
        if (syscall(SYS_futex, &ctx->line_word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, LINE_WAITING, &limit, NULL, 0) == 0 ||
            errno != ETIMEDOUT)
            continue;
        mutex_lock(&s->line_lock);
        if (!list_empty(&ctx->line_node)) {
            call(s, ctx, LINE_SHARE);
            ctx->hold = LINE_HOLD;
        }
        mutex_unlock(&s->line_lock);
    }
}

static void line_up(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    uint64_t start = __rdtsc();

    if (ctx->awake) {
        line_set_dull(ctx, false);
        place_leave(ctx);
        place_load_add(s, -1);
        atomic_store_explicit(slot_u32(ctx->thread, SLOT_SPIN), 0, memory_order_relaxed);
    } else {
        ctx->awake_since = start;
    }
    atomic_store(&ctx->line_word, LINE_WAITING);
    mutex_lock(&s->line_lock);
    list_add_tail(&ctx->line_node, &s->line);
    atomic_fetch_add(&s->in_line, 1);
    mutex_unlock(&s->line_lock);
    line_move(s, false);
    sleep_in_line(ctx);
    ctx->last_call = __rdtsc();
    ctx->awake_since += ctx->last_call - start;
    ctx->awake = true;
    if (atomic_load(&ctx->line_word) == LINE_SPIN) {
        place_begin_spinning(ctx);
    } else {
        place_load_add(s, 1);
        place_share_here(ctx);
    }
}

/* How long the owner takes from one turn given to the next, on average. */
static void measure_pace(struct stub_context *ctx, uint64_t now)
{
    uint64_t gap = now - ctx->last_call, max = PACE_MAX_US * place_of(ctx)->tsc_per_us;

    ctx->pace += (gap < max ? gap : max) / 8 - ctx->pace / 8;
}

void place_before_run(struct stub_context *ctx)
{
    struct place *s = place_of(ctx);
    int cpus = atomic_load_explicit(&s->cpus, memory_order_relaxed), load;
    uint64_t now = __rdtsc();

    if (cpus < 2)
        return;
    if (ctx->awake) {
        measure_pace(ctx, now);
        if (likely(ctx->place == PLACE_SPIN)) {
            if (unlikely(anybody(s)) && now - ctx->spin_since > TERM_US * s->tsc_per_us)
                line_up(ctx);
            return;
        }
        line_set_dull(ctx, !line_is_chatty(ctx));
    } else if (ctx->burst == 0) {
        ctx->pace = PACE_MAX_US * s->tsc_per_us;
    }
    if (!line_is_chatty(ctx))
        return;
    if (ctx->hold > 0) {
        ctx->hold--;
        return;
    }
    if ((ctx->awake ? now - ctx->awake_since : ctx->burst) < EAGER_US * s->tsc_per_us)
        return;
    load = atomic_load_explicit(&s->load, memory_order_relaxed) + !ctx->awake;
    if (load + 1 <= cpus) {
        if (!ctx->awake) {
            ctx->awake = true;
            ctx->awake_since = now;
            place_load_add(s, 1);
        }
        if (!place_try_to_spin(ctx) && ctx->place == PLACE_FREE)
            place_share_here(ctx);
    } else if (load + atomic_load_explicit(&s->in_line, memory_order_relaxed) <= LINE_MAX + cpus &&
               (ctx->awake ? atomic_load_explicit(&s->dull, memory_order_relaxed) == 0
                           : atomic_load_explicit(&s->spinners, memory_order_relaxed) > 0)) {
        line_up(ctx);
    }
}
