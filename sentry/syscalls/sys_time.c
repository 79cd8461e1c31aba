/* Clocks and sleeping. The guest's clocks are the host's and nobody in a container may set them. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/pid.h"
#include "sentry/loader/vdso.h"
#include "sentry/syscalls/syscalls.h"

#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>

#define USER_HZ       100
#define NSEC_PER_TICK (NSEC_PER_SEC / USER_HZ)
#define MIN_CPU_SLEEP 1000000

/* How the kernel reads the bits of ADJ_OFFSET_SINGLESHOT (0x8001) and ADJ_OFFSET_SS_READ (0xa001). */
#define KERNEL_ADJ_ADJTIME    0x8000
#define KERNEL_ADJ_READONLY   0x2000
#define KERNEL_ADJ_SINGLESHOT 0x0001

int64_t sys_clock_gettime(struct task *t, const struct syscall_args *a)
{
    clockid_t clock = arg_int(a, 0);
    int64_t ns;
    int err;

    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        return timespec_out(t, arg_addr(a, 1), vdso_clock_ns(t->k, clock)); /* what the vDSO leaves to us */
    default:
        err = kclock_get(t, clock, &ns);
        return err ? err : timespec_out(t, arg_addr(a, 1), ns);
    }
}

int64_t sys_clock_getres(struct task *t, const struct syscall_args *a)
{
    clockid_t clock = arg_int(a, 0);
    int64_t ns;
    int err = kclock_get(t, clock, &ns);

    if (err)
        return err;
    if (clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE || (clock < 0 && ((unsigned int)clock & 3) != 2))
        ns = 4000000;
    else
        ns = 1;
    return guest_is_null(arg_addr(a, 1)) ? 0 : timespec_out(t, arg_addr(a, 1), ns);
}

int64_t sys_clock_settime(struct task *t, const struct syscall_args *a)
{
    clockid_t clock = arg_int(a, 0);
    int64_t ns;
    int err;

    if (clock != CLOCK_REALTIME && clock != CLOCK_PROCESS_CPUTIME_ID && clock != CLOCK_THREAD_CPUTIME_ID &&
        (clock >= 0 || kclock_get(t, clock, &ns)))
        return -EINVAL;
    err = timespec_in(t, arg_addr(a, 1), &ns);
    return err ? err : -EPERM;
}

int64_t sys_gettimeofday(struct task *t, const struct syscall_args *a)
{
    static const struct timezone utc;
    int err = 0;

    if (!guest_is_null(arg_addr(a, 0)))
        err = timeval_out(t, arg_addr(a, 0), vdso_clock_ns(t->k, CLOCK_REALTIME));
    if (!err && !guest_is_null(arg_addr(a, 1)))
        err = copy_out(t, arg_addr(a, 1), &utc, sizeof(utc));
    return err;
}

int64_t sys_settimeofday(struct task *t, const struct syscall_args *a)
{
    struct timezone tz;
    int64_t ns;
    int err;

    if (!guest_is_null(arg_addr(a, 0)) && (err = timeval_in(t, arg_addr(a, 0), &ns)))
        return err;
    if (!guest_is_null(arg_addr(a, 1)) && (err = copy_in(t, &tz, arg_addr(a, 1), sizeof(tz))))
        return err;
    return -EPERM;
}

int64_t sys_time(struct task *t, const struct syscall_args *a)
{
    int64_t now = vdso_clock_ns(t->k, CLOCK_REALTIME) / NSEC_PER_SEC;
    int err = guest_is_null(arg_addr(a, 0)) ? 0 : copy_out(t, arg_addr(a, 0), &now, sizeof(now));

    return err ? err : now;
}

int64_t sys_times(struct task *t, const struct syscall_args *a)
{
    int err = 0;

    if (!guest_is_null(arg_addr(a, 0))) {
        struct cputime own = tgroup_cputime(t->tg), children = tgroup_children_cputime(t->tg);
        const struct tms tms = {
            .tms_utime = own.user / NSEC_PER_TICK,
            .tms_stime = own.system / NSEC_PER_TICK,
            .tms_cutime = children.user / NSEC_PER_TICK,
            .tms_cstime = children.system / NSEC_PER_TICK,
        };

        err = copy_out(t, arg_addr(a, 0), &tms, sizeof(tms));
    }
    return err ? err : kernel_monotonic_ns() / NSEC_PER_TICK;
}

static int64_t nanosleep_restart(struct task *t, struct restart_block *rb);

/* Sleeps until a CLOCK_MONOTONIC time. `rem`: where the rest goes if a signal comes; the call then restarts where it was. */
static int64_t sleep_until(struct task *t, int64_t deadline, bool absolute, guest_addr rem)
{
    int64_t left;
    int r;

    do
        r = task_block(t, deadline);
    while (!r);
    if (r == -ETIMEDOUT)
        return 0;
    if (absolute)
        return -ERESTARTNOHAND;
    left = deadline - kernel_monotonic_ns();
    if (left <= 0)
        return 0;
    if (!guest_is_null(rem)) {
        r = timespec_out(t, rem, left);
        if (r)
            return r;
    }
    t->restart.fn = nanosleep_restart;
    t->restart.nanosleep.deadline = deadline;
    t->restart.nanosleep.rem = rem;
    return -ERESTART_RESTARTBLOCK;
}

static int64_t nanosleep_restart(struct task *t, struct restart_block *rb)
{
    return sleep_until(t, rb->nanosleep.deadline, false, rb->nanosleep.rem);
}

int64_t sys_nanosleep(struct task *t, const struct syscall_args *a)
{
    int64_t ns;
    int err = timespec_in(t, arg_addr(a, 0), &ns);

    if (err)
        return err;
    return sleep_until(t, time_add_saturating(kernel_monotonic_ns(), ns), false, arg_addr(a, 1));
}

/*
 * Sleeps until a CPU clock shows `until`: looks again when it could be so if all threads ran. Other threads must do the
 * running, so the calling thread's own clock is not allowed.
 */
static int64_t cpu_clock_sleep(struct task *t, clockid_t clock, int64_t until, bool absolute, guest_addr rem)
{
    int64_t now, left;
    int r = kclock_get(t, clock, &now);

    if (r)
        return r;
    if (!absolute)
        until = time_add_saturating(now, until);
    for (;;) {
        r = kclock_get(t, clock, &now);
        if (r || now >= until)
            return r;
        left = (until - now) / t->k->nr_cpus;
        r = task_block(t, time_add_saturating(kernel_monotonic_ns(), left < MIN_CPU_SLEEP ? MIN_CPU_SLEEP : left));
        if (r == 0 || r == -ETIMEDOUT)
            continue;
        if (absolute)
            return -ERESTARTNOHAND;
        if (!guest_is_null(rem) && (r = timespec_out(t, rem, until - now)))
            return r;
        return -EINTR;
    }
}

int64_t sys_clock_nanosleep(struct task *t, const struct syscall_args *a)
{
    clockid_t clock = arg_int(a, 0);
    bool absolute = arg_int(a, 1) & TIMER_ABSTIME;
    int64_t ns, now;
    int err;

    switch (clock) {
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_THREAD_CPUTIME_ID:
    case CLOCK_REALTIME_ALARM: /* no clock that could wake the machine */
    case CLOCK_BOOTTIME_ALARM:
        return -EOPNOTSUPP;
    default:
        err = kclock_get(t, clock, &now);
        if (err)
            return err;
    }
    err = timespec_in(t, arg_addr(a, 2), &ns);
    if (err)
        return err;
    if (clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID)
        return cpu_clock_sleep(t, clock, ns, absolute, arg_addr(a, 3));
    return sleep_until(t, kclock_to_monotonic(clock, ns, absolute), absolute, arg_addr(a, 3));
}

/* Reading the clock discipline is free; changing it is not the container's. */
static int64_t do_adjtimex(struct task *t, guest_addr buf)
{
    struct timex tx, now = {.modes = 0};
    int state, err = copy_in(t, &tx, buf, sizeof(tx));

    if (err)
        return err;
    if (tx.modes & KERNEL_ADJ_ADJTIME) {
        if (!(tx.modes & KERNEL_ADJ_SINGLESHOT))
            return -EINVAL;
        if (!(tx.modes & KERNEL_ADJ_READONLY))
            return -EPERM;
    } else if (tx.modes) {
        return -EPERM;
    }
    state = adjtimex(&now);
    if (state < 0)
        return -errno;
    err = copy_out(t, buf, &now, sizeof(now));
    return err ? err : state;
}

int64_t sys_adjtimex(struct task *t, const struct syscall_args *a)
{
    return do_adjtimex(t, arg_addr(a, 0));
}

int64_t sys_clock_adjtime(struct task *t, const struct syscall_args *a)
{
    clockid_t clock = arg_int(a, 0);
    int64_t ns;

    if (clock != CLOCK_REALTIME)
        return kclock_get(t, clock, &ns) ? -EINVAL : -EOPNOTSUPP;
    return do_adjtimex(t, arg_addr(a, 1));
}
