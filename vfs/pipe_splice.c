/*
 * Moving bytes between a pipe and a file, or between two pipes, without the guest in between.
 *
 * The pages of the pipe are handed to the other file's own read or write as host memory, under the pipe's lock, so that nothing
 * is lost when less is taken than offered. Between pipes whole pages change hands.
 */
#include "vfs/pipe_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define SPLICE_MAX_IOV 64

/* The first `len` bytes in the ring as vectors; returns how many vectors. */
static int ring_iovec(struct pipe *p, size_t len, struct iovec *iov) REQUIRES(&p->lock)
{
    int nr = 0;

    for (unsigned int i = pipe_tail(p); i != pipe_head(p) && nr < SPLICE_MAX_IOV && len > 0; i++, nr++) {
        struct pipe_buf *b = pipe_slot(p, i);
        size_t n = b->len < len ? b->len : len;

        iov[nr] = (struct iovec){.iov_base = b->page + b->off, .iov_len = n};
        len -= n;
    }
    return nr;
}

static ssize_t to_file_locked(struct pipe *p, struct file *pipe, const struct vfs_caller *c, struct file *out, loff_t *pos,
                              size_t len, struct file **wait_on, bool *made_room)
{
    struct iovec iov[SPLICE_MAX_IOV];
    struct uio uio;
    ssize_t n = 0;

    mutex_lock(&p->lock);
    bool was_full = pipe_full(p);
    if (!pipe_empty(p)) {
        uio_init_host(&uio, iov, ring_iovec(p, len, iov));
        n = vfs_write(out, c, &uio, pos);
        if (n > 0)
            pipe_consume(p, (size_t)n);
        if (n == -EAGAIN)
            *wait_on = out;
    } else if (atomic_load(&p->writers)) {
        n = -EAGAIN;
        *wait_on = pipe;
    }
    *made_room = was_full && !pipe_full(p);
    mutex_unlock(&p->lock);
    return n;
}

ssize_t pipe_splice_to_file(struct file *pipe, const struct vfs_caller *c, struct file *out, loff_t *pos, size_t len,
                            struct file **wait_on) NO_THREAD_SAFETY_ANALYSIS
{
    struct pipe *p = pipe_of(pipe);
    bool own_pos = !pos && (out->mode & FMODE_LSEEK), made_room;
    loff_t none = 0;
    ssize_t n;

    if (own_pos)
        mutex_lock(&out->pos_lock);
    n = to_file_locked(p, pipe, c, out, own_pos ? &out->pos : pos ? pos : &none, len, wait_on, &made_room);
    if (own_pos)
        mutex_unlock(&out->pos_lock);
    if (made_room)
        waitq_wake(&p->wq, POLLOUT | POLLWRNORM);
    return n;
}

/* Reads into fresh pages and puts what came into the ring. */
static ssize_t fill_from(struct pipe *p, const struct vfs_caller *c, struct file *in, loff_t *pos, size_t len)
    REQUIRES(&p->lock)
{
    unsigned int room = pipe_slots(p) - (pipe_head(p) - pipe_tail(p)), nr = 0, used = 0;
    struct iovec iov[SPLICE_MAX_IOV];
    struct uio uio;
    ssize_t n, left;

    if (room > SPLICE_MAX_IOV)
        room = SPLICE_MAX_IOV;
    while (nr < room && len > 0) {
        char *page = pipe_get_page(p);
        size_t take = len < PIPE_PAGE ? len : PIPE_PAGE;

        if (!page)
            break;
        iov[nr++] = (struct iovec){.iov_base = page, .iov_len = take};
        len -= take;
    }
    if (nr == 0)
        return -ENOMEM;
    uio_init_host(&uio, iov, (int)nr);
    n = vfs_read(in, c, &uio, pos);
    for (left = n; left > 0; used++) {
        unsigned int take = left < (ssize_t)iov[used].iov_len ? (unsigned int)left : (unsigned int)iov[used].iov_len;
        pipe_push(p, iov[used].iov_base, take, false);
        left -= take;
    }
    for (; used < nr; used++)
        pipe_put_page(p, iov[used].iov_base);
    return n;
}

ssize_t pipe_splice_from_file(struct file *in, const struct vfs_caller *c, loff_t *pos, struct file *pipe, size_t len,
                              struct file **wait_on) NO_THREAD_SAFETY_ANALYSIS
{
    struct pipe *p = pipe_of(pipe);
    bool own_pos = !pos && (in->mode & FMODE_LSEEK);
    loff_t none = 0;
    ssize_t n;

    if (own_pos)
        mutex_lock(&in->pos_lock);
    mutex_lock(&p->lock);
    if (!atomic_load(&p->readers)) {
        n = -EPIPE;
    } else if (pipe_full(p)) {
        n = -EAGAIN;
        *wait_on = pipe;
    } else {
        n = fill_from(p, c, in, own_pos ? &in->pos : pos ? pos : &none, len);
        if (n == -EAGAIN)
            *wait_on = in;
    }
    mutex_unlock(&p->lock);
    if (own_pos)
        mutex_unlock(&in->pos_lock);
    if (n > 0)
        waitq_wake(&p->wq, POLLIN | POLLRDNORM);
    return n;
}

/* Copies `n` bytes of one buffer into a fresh page of the other pipe: 0 or -ENOMEM. */
static int copy_buf(struct pipe *to, const struct pipe_buf *b, size_t n) REQUIRES(&to->lock)
{
    char *page = pipe_get_page(to);

    if (!page)
        return -ENOMEM;
    memcpy(page, b->page + b->off, n);
    pipe_push(to, page, (unsigned int)n, b->packet);
    return 0;
}

/* Gives the page of the first buffer away. */
static void move_buf(struct pipe *from, struct pipe *to) REQUIRES(&from->lock) REQUIRES(&to->lock)
{
    struct pipe_buf *b = pipe_slot(from, pipe_tail(from));

    *pipe_slot(to, pipe_head(to)) = *b;
    atomic_store_explicit(&to->head, pipe_head(to) + 1, memory_order_release);
    atomic_store_explicit(&from->tail, pipe_tail(from) + 1, memory_order_release);
}

static ssize_t transfer(struct pipe *from, struct pipe *to, size_t len, bool keep) REQUIRES(&from->lock) REQUIRES(&to->lock)
{
    ssize_t done = 0;

    for (unsigned int i = pipe_tail(from); i != pipe_head(from) && len > 0 && !pipe_full(to); i++) {
        struct pipe_buf *b = pipe_slot(from, i);
        size_t n = b->len < len ? b->len : len;

        if (!keep && n == b->len) {
            move_buf(from, to);
        } else {
            if (copy_buf(to, b, n))
                return done ? done : -ENOMEM;
            if (!keep)
                pipe_consume(from, n);
        }
        len -= n;
        done += (ssize_t)n;
    }
    return done;
}

static void lock_both(struct pipe *a, struct pipe *b) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_lock(a < b ? &a->lock : &b->lock);
    mutex_lock(a < b ? &b->lock : &a->lock);
}

ssize_t pipe_splice_pipe(struct file *in, struct file *out, size_t len, bool keep,
                         struct file **wait_on) NO_THREAD_SAFETY_ANALYSIS
{
    struct pipe *from = pipe_of(in), *to = pipe_of(out);
    bool was_full;
    ssize_t n = 0;

    if (from == to)
        return -EINVAL;
    lock_both(from, to);
    was_full = pipe_full(from);
    if (!atomic_load(&to->readers)) {
        n = -EPIPE;
    } else if (pipe_empty(from)) {
        if (atomic_load(&from->writers)) {
            n = -EAGAIN;
            *wait_on = in;
        }
    } else if (pipe_full(to)) {
        n = -EAGAIN;
        *wait_on = out;
    } else {
        n = transfer(from, to, len, keep);
    }
    was_full = was_full && !pipe_full(from);
    mutex_unlock(&from->lock);
    mutex_unlock(&to->lock);
    if (n > 0)
        waitq_wake(&to->wq, POLLIN | POLLRDNORM);
    if (was_full)
        waitq_wake(&from->wq, POLLOUT | POLLWRNORM);
    return n;
}
