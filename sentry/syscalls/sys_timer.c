/* Interval timers (alarm, getitimer, setitimer) and POSIX timers. */
#include "sentry/kernel/posix_timer.h"
#include "sentry/syscalls/syscalls.h"

#include <sys/time.h>

int64_t sys_alarm(struct task *t, const struct syscall_args *a)
{
    struct timer_spec spec = {.value = arg_uint(a, 0) * NSEC_PER_SEC}, old;
    int64_t seconds, rest;

    if (itimer_set(t, ITIMER_REAL, &spec, &old))
        return 0;
    seconds = old.value / NSEC_PER_SEC;
    rest = old.value % NSEC_PER_SEC;
    /* Rounded, but never down to "there was none". */
    return seconds + (rest >= NSEC_PER_SEC / 2 || (seconds == 0 && rest > 0));
}

static int itimerval_out(struct task *t, guest_addr at, const struct timer_spec *spec)
{
    const struct itimerval itv = {
        .it_interval = {.tv_sec = spec->interval / NSEC_PER_SEC, .tv_usec = spec->interval % NSEC_PER_SEC / 1000},
        .it_value = {.tv_sec = spec->value / NSEC_PER_SEC, .tv_usec = spec->value % NSEC_PER_SEC / 1000},
    };

    return copy_out(t, at, &itv, sizeof(itv));
}

int64_t sys_getitimer(struct task *t, const struct syscall_args *a)
{
    struct timer_spec spec;
    int err;

    if (arg_uint(a, 0) > ITIMER_PROF)
        return -EINVAL;
    err = itimer_get(t, arg_int(a, 0), &spec);
    return err ? err : itimerval_out(t, arg_addr(a, 1), &spec);
}

int64_t sys_setitimer(struct task *t, const struct syscall_args *a)
{
    guest_addr value = arg_addr(a, 1), old_value = arg_addr(a, 2);
    struct timer_spec spec = {0}, old;
    int err = 0;

    /* Without a new value the timer is disarmed, which old programs rely on. */
    if (!guest_is_null(value)) {
        err = timeval_in(t, value, &spec.interval);
        if (!err)
            err = timeval_in(t, guest_add(value, sizeof(struct timeval)), &spec.value);
    }
    if (err)
        return err;
    if (arg_uint(a, 0) > ITIMER_PROF)
        return -EINVAL;
    err = itimer_set(t, arg_int(a, 0), &spec, &old);
    if (!err && !guest_is_null(old_value))
        err = itimerval_out(t, old_value, &old);
    return err;
}

/* struct sigevent as the kernel has it. */
struct sigevent_abi {
    union sigval value;
    int signo, notify, tid;
    int pad[11];
};

int64_t sys_timer_create(struct task *t, const struct syscall_args *a)
{
    struct posix_timer_params p = {.clock = arg_int(a, 0), .notify = SIGEV_SIGNAL, .signo = SIGALRM, .value_is_id = true};
    struct sigevent_abi ev;
    int id, err;

    if (!guest_is_null(arg_addr(a, 1))) {
        err = copy_in(t, &ev, arg_addr(a, 1), sizeof(ev));
        if (err)
            return err;
        p.notify = ev.notify;
        p.signo = ev.signo;
        p.value = ev.value;
        p.tid = ev.tid;
        p.value_is_id = false;
    }
    id = posix_timer_create(t, &p);
    if (id < 0)
        return id;
    err = copy_out(t, arg_addr(a, 2), &id, sizeof(id));
    if (err && posix_timer_delete(t, id))
        return -EINVAL;
    return err;
}

static int itimerspec_out(struct task *t, guest_addr at, const struct timer_spec *spec)
{
    const struct itimerspec its = {.it_interval = ns_to_timespec(spec->interval), .it_value = ns_to_timespec(spec->value)};

    return copy_out(t, at, &its, sizeof(its));
}

int64_t sys_timer_settime(struct task *t, const struct syscall_args *a)
{
    guest_addr value = arg_addr(a, 2), old_value = arg_addr(a, 3);
    struct timer_spec spec, old;
    int err;

    if (guest_is_null(value))
        return -EINVAL;
    err = timespec_in(t, value, &spec.interval);
    if (!err)
        err = timespec_in(t, guest_add(value, sizeof(struct timespec)), &spec.value);
    if (!err)
        err = posix_timer_settime(t, arg_int(a, 0), arg_int(a, 1) & TIMER_ABSTIME, &spec, &old);
    if (!err && !guest_is_null(old_value))
        err = itimerspec_out(t, old_value, &old);
    return err;
}

int64_t sys_timer_gettime(struct task *t, const struct syscall_args *a)
{
    struct timer_spec spec;
    int err = posix_timer_gettime(t, arg_int(a, 0), &spec);

    return err ? err : itimerspec_out(t, arg_addr(a, 1), &spec);
}

int64_t sys_timer_getoverrun(struct task *t, const struct syscall_args *a)
{
    return posix_timer_getoverrun(t, arg_int(a, 0));
}

int64_t sys_timer_delete(struct task *t, const struct syscall_args *a)
{
    return posix_timer_delete(t, arg_int(a, 0));
}
