/*
 * Handing the turn over: the sentry's side. The stub's is in arch/.../image.S.
 *
 * One word says whose turn it is and whether the other one sleeps. Both sides change it by exchange, so neither a turn nor a
 * wake-up gets lost, as long as the guest keeps its hands off. If it does not, the sentry's thread must not be stuck: it never
 * sleeps longer than CHECK_MS without looking whether the stub is alive.
 */
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CHECK_MS 200

static bool stub_is_dead(struct stub_as *as)
{
    siginfo_t si = {0};

    if (atomic_load(&as->dead))
        return true;
    if (waitid(P_PID, (id_t)as->proc.pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && si.si_pid == 0)
        return false;
    atomic_store(&as->dead, true);
    return true;
}

void stub_kick(struct stub_context *ctx)
{
    unsigned long long target = atomic_load(&ctx->kickable);

    if (target)
        syscall(SYS_tgkill, (pid_t)(target >> 32), (pid_t)(target & 0xffffffff), PLATFORM_KICK_SIGNAL);
}

int handoff(struct stub_context *ctx, struct stub_thread *t, uint32_t command)
{
    struct stub_platform *p = container_of(ctx->base.p, struct stub_platform, base);
    atomic_uint *turn = slot_u32(t, SLOT_TURN);
    const struct timespec timeout = {.tv_nsec = CHECK_MS * 1000000L};
    bool spin = ctx->spinning;
    uint32_t v;

    atomic_store_explicit(slot_u32(t, SLOT_COMMAND), command, memory_order_relaxed);
    atomic_store_explicit(slot_u32(t, SLOT_SPIN), spin ? p->spin.spin_loops : 0, memory_order_relaxed);
    if (atomic_exchange(turn, TURN_GUEST) == TURN_SENTRY_SLEEP)
        syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
    if (command == COMMAND_RUN || command == COMMAND_RUN_SETFS) {
        /* Only now: a kick before the turn was given would find the thread with nothing to leave. */
        atomic_store(&ctx->kickable, (unsigned long long)t->as->proc.pid << 32 | (unsigned int)t->tid);
        if (unlikely(atomic_load(&ctx->interrupted)))
            stub_kick(ctx);
    }

    if (spin) {
        uint64_t start = __rdtsc();

        for (unsigned int i = 1;; i++) {
            v = atomic_load_explicit(turn, memory_order_acquire);
            if (v == TURN_SENTRY || v == TURN_SENTRY_SLEEP)
                goto done;
            _mm_pause();
            if (i % 16 == 0 && __rdtsc() - start > p->spin.spin_ticks)
                break;
        }
    }
    for (;;) {
        v = TURN_GUEST;
        if (!atomic_compare_exchange_strong(turn, &v, TURN_GUEST_SLEEP) && v != TURN_GUEST_SLEEP)
            break;
        if (syscall(SYS_futex, turn, FUTEX_WAIT, TURN_GUEST_SLEEP, &timeout, NULL, 0) < 0 && errno == ETIMEDOUT &&
            stub_is_dead(t->as)) {
            atomic_store(&ctx->kickable, 0);
            return -ESRCH;
        }
        v = atomic_load(turn);
        if (v == TURN_SENTRY || v == TURN_SENTRY_SLEEP)
            break;
    }
done:
    atomic_store(&ctx->kickable, 0);
    return 0;
}
