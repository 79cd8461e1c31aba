/* mq_open, mq_unlink, mq_timedsend, mq_timedreceive, mq_notify, mq_getsetattr. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/mqueue.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <fcntl.h>
#include <limits.h>

#define MQ_KERNEL_PRIOS 32768

static int name_in(struct task *t, guest_addr at, char name[PATH_MAX])
{
    ssize_t n = copy_str_in(t, name, at, PATH_MAX);

    return n < 0 ? (int)n : 0;
}

int64_t sys_mq_open(struct task *t, const struct syscall_args *a)
{
    int flags = arg_int(a, 1), fd;
    char name[PATH_MAX];
    struct mq_attr attr;
    bool has_attr = !guest_is_null(arg_addr(a, 3));
    struct file *f;

    if (has_attr && copy_in(t, &attr, arg_addr(a, 3), sizeof(attr)))
        return -EFAULT;
    fd = name_in(t, arg_addr(a, 0), name);
    if (fd)
        return fd;
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    fd = mqueue_open(t, name, flags, (mode_t)arg_uint(a, 2), has_attr ? &attr : NULL, &f);
    if (fd)
        return fd;
    fd = fd_install(t->files, f, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return fd;
}

int64_t sys_mq_unlink(struct task *t, const struct syscall_args *a)
{
    char name[PATH_MAX];
    int err = name_in(t, arg_addr(a, 0), name);

    return err ? err : mqueue_unlink(t, name);
}

/* A queue descriptor that allows `mode`; -EBADF. */
static int queue_fd(struct task *t, int fd, unsigned int mode, struct file **out)
{
    struct file *f = fd_get(t->files, fd);

    *out = f;
    if (!f)
        return -EBADF;
    if (mqueue_is_file(f) && (f->mode & mode) == mode)
        return 0;
    file_put(f);
    return -EBADF;
}

static int timeout_in(struct task *t, guest_addr at, int64_t *deadline)
{
    int64_t ns;
    int err;

    *deadline = TASK_NO_DEADLINE;
    if (guest_is_null(at))
        return 0;
    err = timespec_in(t, at, &ns);
    if (!err)
        *deadline = kclock_to_monotonic(CLOCK_REALTIME, ns, true);
    return err;
}

int64_t sys_mq_timedsend(struct task *t, const struct syscall_args *a)
{
    int64_t deadline, ret;
    struct file *f;

    ret = timeout_in(t, arg_addr(a, 4), &deadline);
    if (ret)
        return ret;
    if (arg_uint(a, 3) >= MQ_KERNEL_PRIOS)
        return -EINVAL;
    ret = queue_fd(t, arg_int(a, 0), FMODE_WRITE, &f);
    if (ret)
        return ret;
    ret = mqueue_send(t, f, arg_addr(a, 1), arg_size(a, 2), arg_uint(a, 3), deadline);
    file_put(f);
    return ret;
}

int64_t sys_mq_timedreceive(struct task *t, const struct syscall_args *a)
{
    int64_t deadline, ret;
    unsigned int prio;
    struct file *f;

    ret = timeout_in(t, arg_addr(a, 4), &deadline);
    if (!ret)
        ret = queue_fd(t, arg_int(a, 0), FMODE_READ, &f);
    if (ret)
        return ret;
    ret = mqueue_receive(t, f, arg_addr(a, 1), arg_size(a, 2), &prio, deadline);
    file_put(f);
    if (ret >= 0 && !guest_is_null(arg_addr(a, 3)) && copy_out(t, arg_addr(a, 3), &prio, sizeof(prio)))
        ret = -EFAULT;
    return ret;
}

/* struct sigevent as the kernel has it. */
struct sigevent_abi {
    union sigval value;
    int signo, notify, tid;
    int pad[11];
};

/* `n->sock` is referenced for the caller on success of SIGEV_THREAD. */
static int notify_in(struct task *t, guest_addr at, struct mqueue_notify *n)
{
    struct sigevent_abi ev;
    int err = copy_in(t, &ev, at, sizeof(ev));

    if (err)
        return err;
    *n = (struct mqueue_notify){.how = ev.notify, .signo = ev.signo, .value = ev.value};
    switch (ev.notify) {
    case SIGEV_NONE:
        return 0;
    case SIGEV_SIGNAL:
        return ev.signo < 0 || ev.signo > KERNEL_NSIG ? -EINVAL : 0;
    case SIGEV_THREAD:
        /* The signal number is a netlink socket and the value points at what to send there. */
        err = copy_in(t, n->cookie, guest_addr_of((uint64_t)(uintptr_t)ev.value.sival_ptr), sizeof(n->cookie));
        if (err)
            return err;
        n->sock = fd_get(t->files, ev.signo);
        return n->sock ? 0 : -EBADF;
    default:
        return -EINVAL;
    }
}

int64_t sys_mq_notify(struct task *t, const struct syscall_args *a)
{
    bool on = !guest_is_null(arg_addr(a, 1));
    struct mqueue_notify n = {.sock = NULL};
    struct file *f;
    int err = 0;

    if (on)
        err = notify_in(t, arg_addr(a, 1), &n);
    if (!err)
        err = queue_fd(t, arg_int(a, 0), 0, &f);
    if (!err) {
        err = mqueue_notify(t, f, on ? &n : NULL);
        file_put(f);
    }
    if (n.sock)
        file_put(n.sock);
    return err;
}

int64_t sys_mq_getsetattr(struct task *t, const struct syscall_args *a)
{
    bool set = !guest_is_null(arg_addr(a, 1));
    struct mq_attr attr, old;
    struct file *f;
    int err;

    if (set) {
        err = copy_in(t, &attr, arg_addr(a, 1), sizeof(attr));
        if (err)
            return err;
        if (attr.mq_flags & ~O_NONBLOCK)
            return -EINVAL;
    }
    err = queue_fd(t, arg_int(a, 0), 0, &f);
    if (err)
        return err;
    err = mqueue_getsetattr(f, set ? &attr.mq_flags : NULL, &old);
    file_put(f);
    if (!err && !guest_is_null(arg_addr(a, 2)))
        err = copy_out(t, arg_addr(a, 2), &old, sizeof(old));
    return err;
}
