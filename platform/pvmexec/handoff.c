/*
 * Handing the turn over: the sentry's side. The stub's is in arch/.../image.S.
 *
 * One word says whose turn it is and whether the other one sleeps. Both sides change it by exchange, so neither a turn nor a
 * wake-up gets lost, as long as the guest keeps its hands off. If it does not, the sentry's thread must not be stuck: it never
 * sleeps longer than CHECK_MS without looking whether its stub thread is alive, and a thread that does not react to interrupts
 * is killed with its process.
 */
#include "platform/pvmexec/stub.h"

#include "lib/hostproc.h"
#include "lib/log.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CHECK_MS  200
#define SETTLE_MS 10

static bool thread_is_dead(const struct stub_thread *t)
{
    struct stub_as *as = t->as;
    siginfo_t si = {0};

    if (atomic_load(&as->dead))
        return true;
    if (waitid(P_PID, (id_t)as->proc.pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || si.si_pid != 0) {
        stub_as_kill(as);
        return true;
    }
    return syscall(SYS_tgkill, as->proc.pid, t->tid, 0) < 0 && errno == ESRCH;
}

/* Watches over a thread that shall react to a kick. Times are those of the first look. */
struct patience {
    unsigned int looks;
    uint64_t ran, queued;
};

/*
 * Whether the thread has had its chance. One that merely waits for a CPU, or is frozen together with the sentry, gets more
 * time: only running, or sleeping, without reacting counts.
 */
static bool patience_ends(struct patience *p, const struct stub_thread *t)
{
    uint64_t ran, queued;

    if (hostproc_thread_times(t->tid, &ran, &queued) < 0)
        return ++p->looks > 10;
    if (p->looks++ == 0) {
        p->ran = ran;
        p->queued = queued;
        return false;
    }
    return p->looks > 5 && (ran - p->ran > 50000000ULL || queued - p->queued < CHECK_MS * 1000000ULL);
}

/* Sleeps until the turn is back. */
static int sleep_for_turn(struct stub_context *ctx, struct stub_thread *t, atomic_uint *turn)
{
    struct timespec timeout = {.tv_nsec = SETTLE_MS * 1000000L};
    struct patience patience = {0};
    uint32_t v;

    for (;;) {
        v = TURN_GUEST;
        if (!atomic_compare_exchange_strong(turn, &v, TURN_GUEST_SLEEP) && v != TURN_GUEST_SLEEP)
            return 0;
        if (syscall(SYS_futex, turn, FUTEX_WAIT, TURN_GUEST_SLEEP, &timeout, NULL, 0) < 0 && errno == ETIMEDOUT) {
            if (timeout.tv_nsec == SETTLE_MS * 1000000L) {
                /* A long computation: let the scheduler have its way. */
                place_long_sleep(ctx);
                timeout.tv_nsec = CHECK_MS * 1000000L;
            }
            if (thread_is_dead(t))
                return -ESRCH;
            if (atomic_load(&ctx->interrupted)) {
                stub_kick(ctx);
                if (patience_ends(&patience, t)) {
                    log_info("pvmexec:stub: thread %d does not react and is killed with its process", t->tid);
                    stub_as_kill(t->as);
                }
            }
        }
    }
}

void stub_kick(struct stub_context *ctx)
{
    unsigned long long target = atomic_load(&ctx->kickable);

    if (target)
        syscall(SYS_tgkill, (pid_t)(target >> 32), (pid_t)(target & 0xffffffff), PLATFORM_KICK_SIGNAL);
}

static bool spin_for_turn(struct stub_context *ctx, atomic_uint *turn)
{
    for (unsigned int i = 1;; i++) {
        uint32_t v = atomic_load_explicit(turn, memory_order_acquire);

        if (v != TURN_GUEST && v != TURN_GUEST_SLEEP)
            return true;
        _mm_pause();
        if (i % 16 == 0 && !place_keep_spinning(ctx))
            return false;
    }
}

static bool yield_for_turn(struct stub_context *ctx, atomic_uint *turn, unsigned int yields)
{
    bool back;

    do {
        uint32_t v;

        sched_yield();
        v = atomic_load_explicit(turn, memory_order_acquire);
        back = v != TURN_GUEST && v != TURN_GUEST_SLEEP;
    } while (!back && --yields > 0);
    place_yielded(ctx, back);
    return back;
}

int handoff(struct stub_context *ctx, struct stub_thread *t, uint32_t command)
{
    atomic_uint *turn = slot_u32(t, SLOT_TURN);
    bool spin = place_before_turn(ctx);
    unsigned int yields = spin ? 0 : place_yields(ctx);
    int r = 0;

    atomic_store_explicit(slot_u32(t, SLOT_COMMAND), command, memory_order_relaxed);
    atomic_store_explicit(slot_u32(t, SLOT_SPIN), spin ? place_of(ctx)->spin_loops : 0, memory_order_relaxed);
    atomic_store_explicit(slot_u32(t, SLOT_YIELDS), yields, memory_order_relaxed);
    if (atomic_exchange(turn, TURN_GUEST) == TURN_SENTRY_SLEEP)
        syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
    if (command != COMMAND_TO_FRAME && command != COMMAND_SAVE) {
        /* Only now: a kick before the turn was given would find the thread with nothing to leave. */
        atomic_store(&ctx->kickable, (unsigned long long)t->as->proc.pid << 32 | (unsigned int)t->tid);
        if (unlikely(atomic_load(&ctx->interrupted)))
            stub_kick(ctx);
    }
    if (!(spin && spin_for_turn(ctx, turn)) && !(yields > 0 && yield_for_turn(ctx, turn, yields))) {
        place_before_sleep(ctx);
        r = sleep_for_turn(ctx, t, turn);
    }
    atomic_store(&ctx->kickable, 0);
    atomic_thread_fence(memory_order_acquire);
    return r;
}
