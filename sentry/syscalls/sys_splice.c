/*
 * splice, tee, vmsplice: pipes on at least one side (vfs/pipe.h does the moving, this waits). sendfile, copy_file_range:
 * through a buffer, from a position that only advances by what was written.
 */
#include "sentry/kernel/clock.h"
#include "sentry/syscalls/iov.h"
#include "sentry/syscalls/stream.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"
#include "vfs/inode.h"
#include "vfs/pipe.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#define SPLICE_ALL   (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)
#define MAX_RW_COUNT 0x7ffff000u
#define COPY_BUFFER  (64 * 1024)

static bool is_nonblock(const struct file *f)
{
    return atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK;
}

/* One step of a splice, to be tried until it works. */
struct splice {
    struct task *t;
    struct file *in, *out;
    loff_t *in_pos, *out_pos; /* NULL: the file's own */
    size_t len;
    bool tee;
    struct file *wait_on;
};

static int64_t splice_step(void *arg)
{
    struct splice *s = arg;

    if (file_is_pipe(s->in) && file_is_pipe(s->out))
        return pipe_splice_pipe(s->in, s->out, s->len, s->tee, &s->wait_on);
    if (file_is_pipe(s->in))
        return pipe_splice_to_file(s->in, task_caller(s->t), s->out, s->out_pos, s->len, &s->wait_on);
    return pipe_splice_from_file(s->in, task_caller(s->t), s->in_pos, s->out, s->len, &s->wait_on);
}

/* Tries until something moves; the file to wait for may be another one each time. */
static int64_t splice_wait(struct splice *s, bool nonblock)
{
    int64_t r;

    while ((r = splice_step(s)) == -EAGAIN) {
        bool reading = s->wait_on == s->in;
        struct task_wait w;
        int b = 0;

        if (nonblock || !s->wait_on->wq || (!file_is_pipe(s->wait_on) && is_nonblock(s->wait_on)))
            return r;
        task_wait_begin(s->t, &w, s->wait_on->wq, reading ? POLLIN : POLLOUT);
        r = splice_step(s);
        if (r == -EAGAIN)
            b = task_block(s->t, TASK_NO_DEADLINE);
        task_wait_end(&w);
        if (r != -EAGAIN || b)
            return r != -EAGAIN ? r : b;
    }
    return r;
}

static int64_t splice_all(struct splice *s, bool nonblock)
{
    int64_t done = splice_wait(s, nonblock), r;

    /* A pipe is emptied into a file as far as it goes without waiting. */
    for (r = done; r > 0 && file_is_pipe(s->in) && !file_is_pipe(s->out) && (size_t)r < s->len; done += r) {
        s->len -= (size_t)r;
        r = splice_step(s);
        if (r <= 0)
            break;
    }
    if (done == -EPIPE)
        task_send_sigpipe(s->t);
    return done;
}

/* What has no splice operation in Linux: anonymous inodes of eventfd and the like. */
static bool can_splice(const struct file *f)
{
    return f->inode->mode & S_IFMT && !S_ISDIR(f->inode->mode);
}

static int check_splice(const struct file *in, const struct file *out, bool off_in, bool off_out)
{
    bool in_pipe = file_is_pipe(in), out_pipe = file_is_pipe(out);

    if ((in_pipe && off_in) || (out_pipe && off_out))
        return -ESPIPE;
    if (!(in->mode & FMODE_READ) || !(out->mode & FMODE_WRITE))
        return -EBADF;
    if (!in_pipe && !out_pipe)
        return -EINVAL;
    if (in_pipe && !out_pipe) {
        if (off_out && !(out->mode & FMODE_PSEEK))
            return -EINVAL;
        if (atomic_load(&out->flags) & O_APPEND || !can_splice(out) || !out->ops->write)
            return -EINVAL;
    }
    if (out_pipe && !in_pipe) {
        if (off_in && !(in->mode & FMODE_PSEEK))
            return -EINVAL;
        if (!can_splice(in) || !in->ops->read)
            return -EINVAL;
    }
    return 0;
}

static int64_t do_splice(struct task *t, const struct syscall_args *a, struct file *in, struct file *out)
{
    guest_addr off_in = arg_addr(a, 1), off_out = arg_addr(a, 3);
    unsigned int flags = arg_uint(a, 5);
    loff_t in_pos, out_pos;
    struct splice s = {.t = t, .in = in, .out = out, .len = arg_size(a, 4)};
    int64_t r = check_splice(in, out, !guest_is_null(off_in), !guest_is_null(off_out));
    bool nonblock;

    if (r)
        return r;
    if (s.len > MAX_RW_COUNT)
        s.len = MAX_RW_COUNT;
    if (!guest_is_null(off_in)) {
        s.in_pos = &in_pos;
        if (copy_in(t, &in_pos, off_in, sizeof(in_pos)))
            return -EFAULT;
    }
    if (!guest_is_null(off_out)) {
        s.out_pos = &out_pos;
        if (copy_in(t, &out_pos, off_out, sizeof(out_pos)))
            return -EFAULT;
    }
    if ((s.in_pos && in_pos < 0) || (s.out_pos && out_pos < 0))
        return -EINVAL;
    nonblock = flags & SPLICE_F_NONBLOCK || (file_is_pipe(out) && is_nonblock(out)) || (file_is_pipe(in) && is_nonblock(in));
    r = splice_all(&s, nonblock);
    if (r >= 0 && ((s.in_pos && copy_out(t, off_in, &in_pos, sizeof(in_pos))) ||
                   (s.out_pos && copy_out(t, off_out, &out_pos, sizeof(out_pos)))))
        r = -EFAULT;
    return r;
}

int64_t sys_splice(struct task *t, const struct syscall_args *a)
{
    struct file *in, *out;
    int64_t r = -EBADF;

    if (arg_uint(a, 5) & ~SPLICE_ALL)
        return -EINVAL;
    if (arg_size(a, 4) == 0)
        return 0;
    in = fd_get(t->files, arg_int(a, 0));
    out = fd_get(t->files, arg_int(a, 2));
    if (in && out)
        r = do_splice(t, a, in, out);
    file_put(in);
    file_put(out);
    return r;
}

int64_t sys_tee(struct task *t, const struct syscall_args *a)
{
    struct splice s = {.t = t, .len = arg_size(a, 2), .tee = true};
    unsigned int flags = arg_uint(a, 3);
    int64_t r = -EBADF;

    if (flags & ~SPLICE_ALL)
        return -EINVAL;
    if (s.len == 0)
        return 0;
    s.in = fd_get(t->files, arg_int(a, 0));
    s.out = fd_get(t->files, arg_int(a, 1));
    if (s.in && s.out && s.in->mode & FMODE_READ && s.out->mode & FMODE_WRITE) {
        r = -EINVAL;
        if (file_is_pipe(s.in) && file_is_pipe(s.out) && s.in->priv != s.out->priv)
            r = splice_all(&s, flags & SPLICE_F_NONBLOCK || is_nonblock(s.in) || is_nonblock(s.out));
    }
    file_put(s.in);
    file_put(s.out);
    return r;
}

int64_t sys_vmsplice(struct task *t, const struct syscall_args *a)
{
    unsigned int flags = arg_uint(a, 3);
    struct guest_iov v;
    struct uio uio;
    struct file *f;
    int64_t r = -EBADF;

    if (flags & ~SPLICE_ALL)
        return -EINVAL;
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    if (file_is_pipe(f)) {
        r = iov_fetch(t, arg_addr(a, 1), a->v[2], &v);
        if (!r)
            r = mm_uio_init(&uio, t->mm, v.iov, v.n);
        if (!r && uio.resid)
            r = f->mode & FMODE_WRITE ? stream_write_some(t, f, &uio, flags & SPLICE_F_NONBLOCK)
                                      : stream_read(t, f, &uio, flags & SPLICE_F_NONBLOCK);
        iov_fini(&v);
    }
    file_put(f);
    return r;
}

/* Writes a piece of host memory at `*pos` (NULL: the file's own position), waiting as write(2) would. */
static int64_t write_piece(struct task *t, struct file *out, loff_t *pos, const char *buf, size_t n) NO_THREAD_SAFETY_ANALYSIS
{
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = n};
    bool own_pos = !pos && out->mode & FMODE_LSEEK;
    struct uio uio;
    int64_t r;

    uio_init_host(&uio, &iov, 1);
    if (!own_pos && !pos)
        return stream_write(t, out, &uio, false);
    if (own_pos)
        mutex_lock(&out->pos_lock);
    r = vfs_write(out, task_caller(t), &uio, own_pos ? &out->pos : pos);
    if (own_pos)
        mutex_unlock(&out->pos_lock);
    return r;
}

/* Copies up to `len` bytes from in at *in_pos. Positions advance by what has arrived. */
static int64_t copy_through(struct task *t, struct file *in, loff_t *in_pos, struct file *out, loff_t *out_pos, size_t len)
{
    size_t size = len < COPY_BUFFER ? len : COPY_BUFFER, done = 0;
    char *buf = malloc(size);
    int64_t r = 0;

    if (!buf)
        return -ENOMEM;
    while (done < len) {
        loff_t pos = *in_pos;
        int64_t n = file_read_host(in, task_caller(t), buf, len - done < size ? len - done : size, &pos);

        if (n <= 0) {
            r = n;
            break;
        }
        r = write_piece(t, out, out_pos, buf, (size_t)n);
        if (r <= 0)
            break;
        *in_pos += r;
        done += (size_t)r;
        if (r < n || signal_pending(t))
            break;
    }
    free(buf);
    if (done)
        return (int64_t)done;
    if (r == -EFBIG)
        task_send_sigxfsz(t);
    return r;
}

static int64_t do_sendfile(struct task *t, struct file *in, struct file *out, loff_t *pos, size_t len)
{
    if (!(out->mode & FMODE_WRITE))
        return -EBADF;
    if (!(in->mode & FMODE_LSEEK) || !can_splice(in) || !can_splice(out) || !in->ops->read || !out->ops->write)
        return -EINVAL;
    if (*pos < 0)
        return -EINVAL;
    if (atomic_load(&out->flags) & O_APPEND)
        return -EINVAL;
    if (len == 0)
        return 0;
    return copy_through(t, in, pos, out, NULL, len < MAX_RW_COUNT ? len : MAX_RW_COUNT);
}

static loff_t get_pos(struct file *f)
{
    loff_t pos;

    mutex_lock(&f->pos_lock);
    pos = f->pos;
    mutex_unlock(&f->pos_lock);
    return pos;
}

static void set_pos(struct file *f, loff_t pos)
{
    mutex_lock(&f->pos_lock);
    f->pos = pos;
    mutex_unlock(&f->pos_lock);
}

int64_t sys_sendfile(struct task *t, const struct syscall_args *a)
{
    guest_addr at = arg_addr(a, 2);
    bool own_pos = guest_is_null(at);
    struct file *in, *out = NULL;
    loff_t pos;
    int64_t r;

    if (!own_pos && copy_in(t, &pos, at, sizeof(pos)))
        return -EFAULT;
    in = fd_get(t->files, arg_int(a, 1));
    if (!in)
        return -EBADF;
    if (own_pos)
        pos = get_pos(in);
    r = -EBADF;
    if (in->mode & FMODE_READ) {
        out = fd_get(t->files, arg_int(a, 0));
        if (!own_pos && !(in->mode & FMODE_PSEEK))
            r = -ESPIPE;
        else if (out)
            r = do_sendfile(t, in, out, &pos, arg_size(a, 3));
    }
    if (r > 0 && own_pos)
        set_pos(in, pos);
    if (r >= 0 && !own_pos && copy_out(t, at, &pos, sizeof(pos)))
        r = -EFAULT;
    file_put(in);
    file_put(out);
    return r;
}

static int check_copy_range(struct file *in, struct file *out, loff_t in_pos, loff_t out_pos, size_t *len)
{
    loff_t end, size = atomic_load(&in->inode->size);

    if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
        return -EISDIR;
    if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode))
        return -EINVAL;
    if (!(in->mode & FMODE_READ) || !(out->mode & FMODE_WRITE) || atomic_load(&out->flags) & O_APPEND)
        return -EBADF;
    if (in_pos < 0 || out_pos < 0)
        return -EINVAL;
    if (*len > INT64_MAX || __builtin_add_overflow(in_pos, (loff_t)*len, &end) ||
        __builtin_add_overflow(out_pos, (loff_t)*len, &end))
        return -EOVERFLOW;
    *len = in_pos >= size ? 0 : *len < (size_t)(size - in_pos) ? *len : (size_t)(size - in_pos);
    if (in->inode == out->inode && *len && out_pos + (loff_t)*len > in_pos && out_pos < in_pos + (loff_t)*len)
        return -EINVAL;
    if (*len > MAX_RW_COUNT)
        *len = MAX_RW_COUNT;
    return 0;
}

static int64_t do_copy_range(struct task *t, const struct syscall_args *a, struct file *in, struct file *out)
{
    guest_addr at_in = arg_addr(a, 1), at_out = arg_addr(a, 3);
    loff_t in_pos = guest_is_null(at_in) ? get_pos(in) : 0, out_pos = guest_is_null(at_out) ? get_pos(out) : 0;
    size_t len = arg_size(a, 4);
    int64_t r;

    if (!guest_is_null(at_in) && copy_in(t, &in_pos, at_in, sizeof(in_pos)))
        return -EFAULT;
    if (!guest_is_null(at_out) && copy_in(t, &out_pos, at_out, sizeof(out_pos)))
        return -EFAULT;
    if (arg_uint(a, 5))
        return -EINVAL;
    r = check_copy_range(in, out, in_pos, out_pos, &len);
    if (r || len == 0)
        return r;
    r = copy_through(t, in, &in_pos, out, &out_pos, len);
    if (r <= 0)
        return r;
    if (guest_is_null(at_in))
        set_pos(in, in_pos);
    else if (copy_out(t, at_in, &in_pos, sizeof(in_pos)))
        return -EFAULT;
    if (guest_is_null(at_out))
        set_pos(out, out_pos);
    else if (copy_out(t, at_out, &out_pos, sizeof(out_pos)))
        return -EFAULT;
    return r;
}

int64_t sys_copy_file_range(struct task *t, const struct syscall_args *a)
{
    struct file *in = fd_get(t->files, arg_int(a, 0)), *out = fd_get(t->files, arg_int(a, 2));
    int64_t r = in && out ? do_copy_range(t, a, in, out) : -EBADF;

    file_put(in);
    file_put(out);
    return r;
}
