/* epoll_create, epoll_create1, epoll_ctl, epoll_wait, epoll_pwait, epoll_pwait2. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/poll.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/epoll.h"
#include "vfs/file.h"

#include <limits.h>
#include <poll.h>

static int64_t create(struct task *t, int flags)
{
    struct file *f;
    int r;

    if (flags & ~EPOLL_CLOEXEC)
        return -EINVAL;
    r = epoll_create_file(&f);
    if (r)
        return r;
    r = fd_install(t->files, f, 0, flags & EPOLL_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return r;
}

int64_t sys_epoll_create(struct task *t, const struct syscall_args *a)
{
    return arg_int(a, 0) <= 0 ? -EINVAL : create(t, 0);
}

int64_t sys_epoll_create1(struct task *t, const struct syscall_args *a)
{
    return create(t, arg_int(a, 0));
}

int64_t sys_epoll_ctl(struct task *t, const struct syscall_args *a)
{
    int op = arg_int(a, 1), fd = arg_int(a, 2);
    struct epoll_event ev = {0};
    struct file *ep, *target;
    int64_t r = -EBADF;

    if (op != EPOLL_CTL_DEL && copy_in(t, &ev, arg_addr(a, 3), sizeof(ev)))
        return -EFAULT;
    ep = fd_get(t->files, arg_int(a, 0));
    if (!ep)
        return -EBADF;
    target = fd_get(t->files, fd);
    if (target) {
        r = epoll_control(ep, op, target, fd, &ev);
        file_put(target);
    }
    file_put(ep);
    return r;
}

/* `deadline` 0: do not wait. Interrupted waits are never restarted. */
static int64_t wait_for_events(struct task *t, const struct syscall_args *a, int64_t deadline)
{
    guest_addr events = arg_addr(a, 1);
    int max = arg_int(a, 2), r = 0;
    struct task_wait w;
    struct file *f;
    int64_t n;

    if (max <= 0 || (size_t)max > INT_MAX / sizeof(struct epoll_event))
        return -EINVAL;
    if (events.a > GUEST_TASK_SIZE || (uint64_t)max * sizeof(struct epoll_event) > GUEST_TASK_SIZE - events.a)
        return -EFAULT;
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    if (!file_is_epoll(f)) {
        file_put(f);
        return -EINVAL;
    }
    n = epoll_collect(f, task_caller(t), events, max);
    if (n == 0 && deadline > 0) {
        task_wait_begin_exclusive(t, &w, f->wq, POLLIN);
        while ((n = epoll_collect(f, task_caller(t), events, max)) == 0 && !(r = task_block(t, deadline)))
            ;
        task_wait_end(&w);
        if (n == 0 && r != -ETIMEDOUT)
            n = -EINTR;
    }
    file_put(f);
    return n;
}

static int64_t deadline_of_ms(int ms)
{
    if (ms < 0)
        return TASK_NO_DEADLINE;
    return ms == 0 ? 0 : kernel_monotonic_ns() + ms * 1000000LL;
}

int64_t sys_epoll_wait(struct task *t, const struct syscall_args *a)
{
    return wait_for_events(t, a, deadline_of_ms(arg_int(a, 3)));
}

static int64_t wait_with_mask(struct task *t, const struct syscall_args *a, int64_t deadline)
{
    int64_t r = task_sigmask_begin(t, arg_addr(a, 4), a->v[5]);

    if (r)
        return r;
    r = wait_for_events(t, a, deadline);
    task_sigmask_end(t, r == -EINTR);
    return r;
}

int64_t sys_epoll_pwait(struct task *t, const struct syscall_args *a)
{
    return wait_with_mask(t, a, deadline_of_ms(arg_int(a, 3)));
}

int64_t sys_epoll_pwait2(struct task *t, const struct syscall_args *a)
{
    int64_t ns, deadline = TASK_NO_DEADLINE;
    int err;

    if (!guest_is_null(arg_addr(a, 3))) {
        err = timespec_in(t, arg_addr(a, 3), &ns);
        if (err)
            return err;
        deadline = ns == 0 ? 0 : time_add_saturating(kernel_monotonic_ns(), ns);
    }
    return wait_with_mask(t, a, deadline);
}
