/* io_setup, io_destroy, io_submit, io_cancel, io_getevents, io_pgetevents. */
#include "sentry/kernel/aio.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/poll.h"
#include "sentry/syscalls/iov.h"
#include "sentry/syscalls/stream.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/eventfd.h"
#include "vfs/file.h"

#include <limits.h>
#include <linux/fs.h>
#include <stddef.h>
#include <sys/uio.h>

/* More would overflow the size of a ring in Linux. */
#define MAX_EVENTS (0x10000000u / sizeof(struct io_event))

int64_t sys_io_setup(struct task *t, const struct syscall_args *a)
{
    unsigned int nr = arg_uint(a, 0);
    uint64_t ctx;
    int64_t r;

    if (copy_in(t, &ctx, arg_addr(a, 1), sizeof(ctx)))
        return -EFAULT;
    if (ctx || nr == 0)
        return -EINVAL;
    if (nr > MAX_EVENTS)
        return -EINVAL;
    if (nr > AIO_MAX_NR)
        return -EAGAIN;
    r = aio_setup(t, nr);
    if (r < 0)
        return r;
    ctx = (uint64_t)r;
    if (copy_out(t, arg_addr(a, 1), &ctx, sizeof(ctx))) {
        r = aio_destroy(t, ctx);
        return -EFAULT;
    }
    return 0;
}

int64_t sys_io_destroy(struct task *t, const struct syscall_args *a)
{
    return aio_destroy(t, a->v[0]);
}

/* The transfer itself: its result is the event's. */
static int64_t transfer(struct task *t, struct file *f, const struct iocb *cb, struct uio *uio, bool write)
{
    loff_t pos = cb->aio_offset;

    if (f->mode & FMODE_PSEEK)
        return write ? vfs_write(f, task_caller(t), uio, &pos) : vfs_read(f, task_caller(t), uio, &pos);
    return write ? stream_write(t, f, uio, cb->aio_rw_flags & RWF_NOWAIT)
                 : stream_read(t, f, uio, cb->aio_rw_flags & RWF_NOWAIT);
}

/* What is wrong with a request is told by io_submit, before anything is done: *r gets the result of what is done. */
static int run_rw(struct task *t, struct file *f, const struct iocb *cb, int64_t *r)
{
    bool write = cb->aio_lio_opcode == IOCB_CMD_PWRITE || cb->aio_lio_opcode == IOCB_CMD_PWRITEV;
    bool vector = cb->aio_lio_opcode == IOCB_CMD_PREADV || cb->aio_lio_opcode == IOCB_CMD_PWRITEV;
    struct guest_iov v = {.iov = v.few};
    struct iovec one;
    struct uio uio;
    int err;

    if (!(f->mode & (write ? FMODE_WRITE : FMODE_READ)))
        return -EBADF;
    if (write ? !f->ops->write : !f->ops->read)
        return -EINVAL;
    if (cb->aio_rw_flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND))
        return -EOPNOTSUPP;
    if (vector) {
        err = iov_fetch(t, guest_addr_of(cb->aio_buf), cb->aio_nbytes, &v);
        if (!err)
            err = mm_uio_init(&uio, t->mm, v.iov, v.n);
    } else {
        err = mm_uio_init_one(&uio, t->mm, &one, guest_addr_of(cb->aio_buf), cb->aio_nbytes);
    }
    if (!err)
        *r = transfer(t, f, cb, &uio, write);
    iov_fini(&v);
    return err;
}

static int run(struct task *t, struct file *f, const struct iocb *cb, int64_t *r)
{
    switch (cb->aio_lio_opcode) {
    case IOCB_CMD_PREAD:
    case IOCB_CMD_PWRITE:
    case IOCB_CMD_PREADV:
    case IOCB_CMD_PWRITEV:
        return run_rw(t, f, cb, r);
    case IOCB_CMD_FSYNC:
    case IOCB_CMD_FDSYNC:
        if (cb->aio_buf || cb->aio_offset || cb->aio_nbytes || cb->aio_rw_flags || !f->ops->fsync)
            return -EINVAL;
        *r = vfs_fsync(f, cb->aio_lio_opcode == IOCB_CMD_FDSYNC);
        return 0;
    default:
        return -EINVAL;
    }
}

static int submit_one(struct task *t, struct aio_context *c, uint64_t at)
{
    struct file *f, *notify = NULL;
    struct io_event ev;
    struct iocb cb;
    uint32_t key = 0;
    int64_t r = 0;
    int err;

    if (copy_in(t, &cb, guest_addr_of(at), sizeof(cb)))
        return -EFAULT;
    if (cb.aio_reserved2 || (int64_t)cb.aio_nbytes < 0 || cb.aio_flags & ~(uint32_t)(IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO))
        return -EINVAL;
    if (!aio_reserve(c))
        return -EAGAIN;
    f = fd_get(t->files, (int)cb.aio_fildes);
    err = f ? 0 : -EBADF;
    if (!err && cb.aio_flags & IOCB_FLAG_RESFD) {
        notify = fd_get(t->files, (int)cb.aio_resfd);
        err = !notify ? -EBADF : file_is_eventfd(notify) ? 0 : -EINVAL;
    }
    if (!err)
        err = copy_out(t, guest_addr_of(at + offsetof(struct iocb, aio_key)), &key, sizeof(key));
    if (!err)
        err = run(t, f, &cb, &r);
    if (err) {
        aio_unreserve(c);
    } else {
        /* There is no restarting a request: an interruption is its result. */
        ev = (struct io_event){.data = cb.aio_data, .obj = at, .res = r <= -ERESTARTSYS ? -EINTR : r};
        aio_complete(c, &ev);
        if (notify)
            eventfd_signal(notify, 1);
    }
    file_put(notify);
    file_put(f);
    return err;
}

int64_t sys_io_submit(struct task *t, const struct syscall_args *a)
{
    int64_t nr = arg_long(a, 1), done = 0;
    struct aio_context *c;
    struct file *f;
    int err = 0;

    if (nr < 0)
        return -EINVAL;
    c = aio_find(t, a->v[0], &f);
    if (!c)
        return -EINVAL;
    for (; done < nr && !err; done += !err) {
        uint64_t at;

        err = copy_in(t, &at, guest_addr_of(a->v[2] + (uint64_t)done * sizeof(at)), sizeof(at));
        if (!err)
            err = submit_one(t, c, at);
    }
    file_put(f);
    return done ? done : err;
}

/* Nothing is ever under way that could be cancelled. */
int64_t sys_io_cancel(struct task *t, const struct syscall_args *a)
{
    struct aio_context *c;
    struct file *f;
    uint32_t key;

    if (copy_in(t, &key, guest_addr_of(a->v[1] + offsetof(struct iocb, aio_key)), sizeof(key)))
        return -EFAULT;
    if (key)
        return -EINVAL;
    c = aio_find(t, a->v[0], &f);
    if (c)
        file_put(f);
    return -EINVAL;
}

static int64_t get_events(struct task *t, const struct syscall_args *a, int64_t deadline)
{
    int64_t min = arg_long(a, 1), nr = arg_long(a, 2), r;
    struct aio_context *c;
    struct file *f;

    c = aio_find(t, a->v[0], &f);
    if (!c)
        return -EINVAL;
    if (min < 0 || nr < 0 || min > nr)
        r = -EINVAL;
    else
        r = aio_get_events(t, c, min, nr, a->v[3], deadline);
    file_put(f);
    return r;
}

static int get_deadline(struct task *t, guest_addr at, int64_t *deadline)
{
    int64_t ns;
    int err;

    *deadline = TASK_NO_DEADLINE;
    if (guest_is_null(at))
        return 0;
    err = timespec_in(t, at, &ns);
    if (!err)
        *deadline = ns == 0 ? 0 : time_add_saturating(kernel_monotonic_ns(), ns);
    return err;
}

int64_t sys_io_getevents(struct task *t, const struct syscall_args *a)
{
    int64_t deadline;
    int err = get_deadline(t, arg_addr(a, 4), &deadline);

    return err ? err : get_events(t, a, deadline);
}

int64_t sys_io_pgetevents(struct task *t, const struct syscall_args *a)
{
    struct {
        uint64_t set, size;
    } sig = {0};
    int64_t deadline, r;
    int err = get_deadline(t, arg_addr(a, 4), &deadline);

    if (err)
        return err;
    if (a->v[5] && copy_in(t, &sig, arg_addr(a, 5), sizeof(sig)))
        return -EFAULT;
    err = task_sigmask_begin(t, guest_addr_of(sig.set), sig.size);
    if (err)
        return err;
    r = get_events(t, a, deadline);
    task_sigmask_end(t, r == -EINTR);
    return r;
}
