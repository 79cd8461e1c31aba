/*
 * Reading, writing and seeking: read, write, their vector and positioned forms, lseek.
 *
 * The first try is made without any preparation, because it nearly always succeeds; only a file that has nothing to give leads
 * into the blocking loop.
 */
#include "sentry/syscalls/sys_fs.h"

#include <poll.h>
#include <stdlib.h>

/* IOV_MAX of Linux; the first few need no allocation. */
#define MAX_IOV    1024
#define INLINE_IOV 8
#define MAX_BYTES  0x7ffff000UL

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif

struct rw {
    struct task *t;
    struct file *f;
    struct uio uio;
    loff_t *pos;
    bool write;
};

/* One attempt; -EAGAIN if it would block. */
static int64_t try_rw(void *arg)
{
    struct rw *rw = arg;
    const struct vfs_caller *c = task_caller(rw->t);

    if (unlikely(rw->f->mode & FMODE_NOWAIT_HOST) && !(file_poll(rw->f) & ((rw->write ? POLLOUT : POLLIN) | POLLHUP | POLLERR)))
        return -EAGAIN;
    return rw->write ? vfs_write(rw->f, c, &rw->uio, rw->pos) : vfs_read(rw->f, c, &rw->uio, rw->pos);
}

static int64_t block_rw(struct rw *rw, bool nonblock)
{
    int64_t limit = rw->f->ops->timeout ? rw->f->ops->timeout(rw->f, rw->write) : INT64_MAX;
    int64_t deadline = limit == INT64_MAX ? TASK_NO_DEADLINE : kernel_monotonic_ns() + limit;
    int64_t r = task_retry_file(rw->t, rw->f, rw->write ? POLLOUT : POLLIN, deadline, nonblock, try_rw, rw);

    return r == -ERESTARTSYS && limit != INT64_MAX ? -EINTR : r;
}

/* A blocking write to a stream goes on until all is written or something is in the way. */
static int64_t write_rest(struct rw *rw, int64_t done, bool nonblock)
{
    if (nonblock || (atomic_load_explicit(&rw->f->flags, memory_order_relaxed) & O_NONBLOCK))
        return done;
    while (rw->uio.resid > 0) {
        int64_t r = block_rw(rw, false);

        if (r <= 0)
            break;
        done += r;
    }
    return done;
}

static void send_signal(struct task *t, int signo)
{
    ksiginfo info;

    siginfo_user(&info, signo, SI_USER, t);
    signal_send_task(t, &info);
}

static void account(struct task *t, bool write, int64_t n)
{
    atomic_ullong *bytes = write ? &t->tg->io_wchar : &t->tg->io_rchar, *calls = write ? &t->tg->io_syscw : &t->tg->io_syscr;

    /* Plain adds: a lost one between two threads is not worth a locked instruction on every call. */
    if (n > 0)
        atomic_store_explicit(bytes, atomic_load_explicit(bytes, memory_order_relaxed) + (uint64_t)n, memory_order_relaxed);
    atomic_store_explicit(calls, atomic_load_explicit(calls, memory_order_relaxed) + 1, memory_order_relaxed);
}

static int64_t finish(struct rw *rw, int64_t r, bool nonblock)
{
    if (unlikely(r == -EAGAIN) && !nonblock)
        r = block_rw(rw, false);
    if (rw->write) {
        if (r > 0 && rw->uio.resid > 0 && (rw->f->mode & FMODE_STREAM))
            r = write_rest(rw, r, nonblock);
        if (unlikely(r == -EPIPE) && (rw->f->mode & FMODE_STREAM))
            send_signal(rw->t, SIGPIPE);
        if (unlikely(r == -EFBIG) && rw->t->caller.fsize_limit != UINT64_MAX)
            send_signal(rw->t, SIGXFSZ);
    }
    account(rw->t, rw->write, r);
    return r;
}

/* At the file's own position, which is locked meanwhile; streams have none. */
static int64_t rw_at_pos(struct rw *rw)
{
    loff_t none = 0;
    int64_t r;

    if (!(rw->f->mode & FMODE_LSEEK)) {
        rw->pos = &none;
        return finish(rw, try_rw(rw), false);
    }
    mutex_lock(&rw->f->pos_lock);
    rw->pos = &rw->f->pos;
    r = finish(rw, try_rw(rw), false);
    mutex_unlock(&rw->f->pos_lock);
    return r;
}

static int64_t rw_one(struct task *t, const struct syscall_args *a, bool write)
{
    struct rw rw = {.t = t, .f = fd_get(t->files, arg_int(a, 0)), .write = write};
    size_t n = arg_size(a, 2);
    struct iovec iov;
    int64_t r;

    if (!rw.f)
        return -EBADF;
    if (n > MAX_BYTES)
        n = MAX_BYTES;
    r = mm_uio_init_one(&rw.uio, t->mm, &iov, arg_addr(a, 1), n);
    /* A descriptor of the wrong mode is reported before a bad buffer. */
    if (r && !(rw.f->mode & (write ? FMODE_WRITE : FMODE_READ)))
        r = -EBADF;
    if (r == 0)
        r = rw_at_pos(&rw);
    file_put(rw.f);
    return r;
}

int64_t sys_read(struct task *t, const struct syscall_args *a)
{
    return rw_one(t, a, false);
}

int64_t sys_write(struct task *t, const struct syscall_args *a)
{
    return rw_one(t, a, true);
}

static int64_t prw_one(struct task *t, const struct syscall_args *a, bool write)
{
    loff_t pos = arg_long(a, 3);
    struct rw rw = {.t = t, .f = fd_get(t->files, arg_int(a, 0)), .write = write, .pos = &pos};
    size_t n = arg_size(a, 2);
    struct iovec iov;
    int64_t r;

    if (pos < 0) {
        if (rw.f)
            file_put(rw.f);
        return -EINVAL;
    }
    if (!rw.f)
        return -EBADF;
    if (n > MAX_BYTES)
        n = MAX_BYTES;
    r = rw.f->mode & FMODE_PSEEK ? 0 : -ESPIPE;
    if (r == 0)
        r = mm_uio_init_one(&rw.uio, t->mm, &iov, arg_addr(a, 1), n);
    if (r == 0)
        r = finish(&rw, try_rw(&rw), false);
    file_put(rw.f);
    return r;
}

int64_t sys_pread64(struct task *t, const struct syscall_args *a)
{
    return prw_one(t, a, false);
}

int64_t sys_pwrite64(struct task *t, const struct syscall_args *a)
{
    return prw_one(t, a, true);
}

/* Fetches an iovec; `inl` serves for short ones, *iov is to be freed if it is not that. */
static int get_iov(struct task *t, guest_addr at, uint64_t n, struct iovec *inl, struct iovec **iov)
{
    uint64_t sum = 0;

    *iov = inl;
    if (n > MAX_IOV)
        return -EINVAL;
    if (n > INLINE_IOV) {
        *iov = malloc(n * sizeof(**iov));
        if (!*iov)
            return -ENOMEM;
    }
    if (n && copy_in(t, *iov, at, n * sizeof(**iov)))
        return -EFAULT;
    for (uint64_t i = 0; i < n; i++) {
        if ((ssize_t)(*iov)[i].iov_len < 0)
            return -EINVAL;
        /* What is over the limit of one call is left for the next. */
        if ((*iov)[i].iov_len > MAX_BYTES - sum)
            (*iov)[i].iov_len = MAX_BYTES - sum;
        sum += (*iov)[i].iov_len;
    }
    return 0;
}

/* For one call only: descriptor flags that RWF_* flags change. The file is shared, so they are not stored in it. */
static int check_rwf(const struct file *f, int flags)
{
    if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND))
        return -EOPNOTSUPP;
    if ((flags & RWF_NOWAIT) && !f->wq && !(f->mode & FMODE_PSEEK))
        return -EOPNOTSUPP;
    return 0;
}

/* pos NULL: the file's own. */
static int64_t rw_vec(struct task *t, const struct syscall_args *a, bool write, loff_t *pos, int flags)
{
    struct rw rw = {.t = t, .f = fd_get(t->files, arg_int(a, 0)), .write = write, .pos = pos};
    struct iovec inl[INLINE_IOV], *iov = inl;
    loff_t end;
    int64_t r;

    if (!rw.f)
        return -EBADF;
    r = pos && !(rw.f->mode & FMODE_PSEEK) ? -ESPIPE : 0;
    if (r == 0 && !(rw.f->mode & (write ? FMODE_WRITE : FMODE_READ)))
        r = -EBADF;
    if (r == 0)
        r = get_iov(t, arg_addr(a, 1), a->v[2], inl, &iov);
    if (r == 0)
        r = check_rwf(rw.f, flags);
    if (r == 0)
        r = mm_uio_init(&rw.uio, t->mm, iov, (int)a->v[2]);
    if (r == 0) {
        if (write && (flags & RWF_APPEND)) {
            end = atomic_load(&rw.f->inode->size);
            rw.pos = &end;
            r = finish(&rw, try_rw(&rw), flags & RWF_NOWAIT);
        } else if (pos) {
            r = finish(&rw, try_rw(&rw), flags & RWF_NOWAIT);
        } else {
            r = rw_at_pos(&rw);
        }
    }
    if (r > 0 && write && (flags & (RWF_DSYNC | RWF_SYNC))) {
        int err = vfs_fsync(rw.f, !(flags & RWF_SYNC));
        if (err && err != -EINVAL)
            r = err;
    }
    if (iov != inl)
        free(iov);
    file_put(rw.f);
    return r;
}

int64_t sys_readv(struct task *t, const struct syscall_args *a)
{
    return rw_vec(t, a, false, NULL, 0);
}

int64_t sys_writev(struct task *t, const struct syscall_args *a)
{
    return rw_vec(t, a, true, NULL, 0);
}

/* preadv2's position -1 means the file's own. On 64 bits the low half is all of it. */
static int64_t prw_vec(struct task *t, const struct syscall_args *a, bool write, int flags, bool may_be_current)
{
    loff_t pos = arg_long(a, 3);

    if (may_be_current && pos == -1)
        return rw_vec(t, a, write, NULL, flags);
    return pos < 0 ? -EINVAL : rw_vec(t, a, write, &pos, flags);
}

int64_t sys_preadv(struct task *t, const struct syscall_args *a)
{
    return prw_vec(t, a, false, 0, false);
}

int64_t sys_pwritev(struct task *t, const struct syscall_args *a)
{
    return prw_vec(t, a, true, 0, false);
}

int64_t sys_preadv2(struct task *t, const struct syscall_args *a)
{
    return prw_vec(t, a, false, arg_int(a, 5), true);
}

int64_t sys_pwritev2(struct task *t, const struct syscall_args *a)
{
    return prw_vec(t, a, true, arg_int(a, 5), true);
}

int64_t sys_lseek(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r;

    if (!f)
        return -EBADF;
    r = arg_uint(a, 2) > SEEK_HOLE ? -EINVAL : vfs_llseek(f, arg_long(a, 1), arg_int(a, 2));
    file_put(f);
    return r;
}
