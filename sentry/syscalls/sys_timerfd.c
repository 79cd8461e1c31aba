/* timerfd_create, timerfd_settime, timerfd_gettime. */
#include "sentry/kernel/timerfd.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <fcntl.h>
#include <sys/timerfd.h>

int64_t sys_timerfd_create(struct task *t, const struct syscall_args *a)
{
    clockid_t clock = arg_int(a, 0);
    int flags = arg_int(a, 1), fd;
    struct file *f;

    if (flags & ~(TFD_CLOEXEC | TFD_NONBLOCK))
        return -EINVAL;
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME && clock != CLOCK_BOOTTIME && clock != CLOCK_REALTIME_ALARM &&
        clock != CLOCK_BOOTTIME_ALARM)
        return -EINVAL;
    if ((clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM) && !cred_has_cap(t->cred, CAP_WAKE_ALARM))
        return -EPERM;
    fd = timerfd_create_file(t->k, clock, flags & TFD_NONBLOCK, &f);
    if (fd)
        return fd;
    fd = fd_install(t->files, f, 0, flags & TFD_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return fd;
}

static int itimerspec_out(struct task *t, guest_addr at, const struct timer_spec *spec)
{
    const struct itimerspec its = {.it_interval = ns_to_timespec(spec->interval), .it_value = ns_to_timespec(spec->value)};

    return copy_out(t, at, &its, sizeof(its));
}

int64_t sys_timerfd_settime(struct task *t, const struct syscall_args *a)
{
    guest_addr value = arg_addr(a, 2), old_value = arg_addr(a, 3);
    struct timer_spec spec, old;
    struct itimerspec its;
    int flags = arg_int(a, 1), err;
    struct file *f;

    /* A bad pointer is reported before bad contents, and both before a bad descriptor. */
    err = copy_in(t, &its, value, sizeof(its));
    if (err)
        return err;
    if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) || its.it_value.tv_sec < 0 || its.it_value.tv_nsec < 0 ||
        its.it_value.tv_nsec >= NSEC_PER_SEC || its.it_interval.tv_sec < 0 || its.it_interval.tv_nsec < 0 ||
        its.it_interval.tv_nsec >= NSEC_PER_SEC)
        return -EINVAL;
    spec = (struct timer_spec){.value = timespec_to_ns(its.it_value), .interval = timespec_to_ns(its.it_interval)};
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    err = timerfd_set(f, flags, &spec, &old);
    file_put(f);
    if (!err && !guest_is_null(old_value))
        err = itimerspec_out(t, old_value, &old);
    return err;
}

int64_t sys_timerfd_gettime(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    struct timer_spec cur;
    int err;

    if (!f)
        return -EBADF;
    err = timerfd_get(f, &cur);
    file_put(f);
    return err ? err : itimerspec_out(t, arg_addr(a, 1), &cur);
}
