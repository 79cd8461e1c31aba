#include "sentry/syscalls/stream.h"

#include "sentry/kernel/clock.h"
#include "vfs/file.h"

#include <errno.h>
#include <poll.h>

static void send_to_self(struct task *t, int signo)
{
    ksiginfo info;

    siginfo_user(&info, signo, SI_USER, t);
    if (signal_send_task(t, &info) < 0)
        return; /* exiting: nobody is left to tell */
}

void task_send_sigpipe(struct task *t)
{
    send_to_self(t, SIGPIPE);
}

void task_send_sigxfsz(struct task *t)
{
    send_to_self(t, SIGXFSZ);
}

struct stream_op {
    struct task *t;
    struct file *f;
    struct uio *uio;
    bool writing, some;
    int64_t done; /* of a write that goes on */
};

static int64_t stream_try(void *arg)
{
    struct stream_op *op = arg;
    loff_t none = 0;
    int64_t r;

    if (!op->writing)
        return vfs_read(op->f, task_caller(op->t), op->uio, &none);
    for (;;) {
        r = vfs_write(op->f, task_caller(op->t), op->uio, &none);
        if (r <= 0)
            return r;
        op->done += r;
        if (!(op->f->mode & FMODE_STREAM) || op->some || op->uio->resid == 0)
            return op->done;
    }
}

static int64_t run(struct stream_op *op, bool nonblock)
{
    int64_t limit = op->f->ops->timeout ? op->f->ops->timeout(op->f, op->writing) : INT64_MAX, r;
    int64_t deadline = limit == INT64_MAX ? TASK_NO_DEADLINE : time_add_saturating(kernel_monotonic_ns(), limit);

    r = task_retry_file(op->t, op->f, op->writing ? POLLOUT : POLLIN, deadline, nonblock, stream_try, op);
    if (r == -EPIPE && op->f->mode & FMODE_STREAM)
        task_send_sigpipe(op->t);
    if (r < 0 && op->done)
        return op->done;
    return r == -ERESTARTSYS && limit != INT64_MAX ? -EINTR : r;
}

int64_t stream_read(struct task *t, struct file *f, struct uio *uio, bool nonblock)
{
    return run(&(struct stream_op){.t = t, .f = f, .uio = uio}, nonblock);
}

int64_t stream_write(struct task *t, struct file *f, struct uio *uio, bool nonblock)
{
    return run(&(struct stream_op){.t = t, .f = f, .uio = uio, .writing = true}, nonblock);
}

int64_t stream_write_some(struct task *t, struct file *f, struct uio *uio, bool nonblock)
{
    return run(&(struct stream_op){.t = t, .f = f, .uio = uio, .writing = true, .some = true}, nonblock);
}
