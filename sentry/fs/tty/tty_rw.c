/*
 * Open terminals as files: read, write, poll, release, for slaves and masters.
 *
 * Unlike other files these block by themselves (with the task's wait primitives, holding no lock), because what to wait for
 * depends on the terminal's mode: VMIN and VTIME, a write that goes on until all is out, job control that is checked anew each
 * time. Data passes through a buffer on the stack so that guest memory is never touched under tty->lock.
 */
#include "sentry/fs/tty/tty_internal.h"

#include "sentry/kernel/task.h"
#include "vfs/inode.h"
#include "vfs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#define CHUNK 2048

/*
 * Whether an operation may sleep here: not for O_NONBLOCK, and not when the memory is the sentry's own (splice), because the
 * caller then holds locks and waits by itself.
 */
static bool may_block(const struct file *f, const struct task *t, const struct uio *uio)
{
    return t && uio->mem && !(atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK);
}

static void stamp(struct timespec *ts)
{
    clock_gettime(CLOCK_REALTIME_COARSE, ts);
}

/*
 * One attempt to read from the slave: bytes put into `buf`, 0 for end of file, -EAGAIN. `fills`: n is all that the reader
 * wants.
 */
static ssize_t slave_try_read(struct tty *tty, const struct tty_file *tf, unsigned char *buf, size_t n, bool fills,
                              bool *line_done) REQUIRES(tty->lock)
{
    size_t got;

    *line_done = false;
    if (!n_tty_input_available(tty, false))
        tty_receive_backlog(tty);
    if (!n_tty_input_available(tty, false)) {
        if (!tty->master_open)
            return -EIO; /* the master closed while this reader waited */
        return tty_file_hung_up(tty, tf) ? 0 : -EAGAIN;
    }
    got = n_tty_take(tty, buf, n, line_done);
    if (fills && got == n && !*line_done)
        n_tty_skip_eof(tty);
    tty_receive_backlog(tty);
    stamp(&tty->atime);
    if (got == 0 && !*line_done)
        return -EAGAIN;
    return got;
}

/* The deadline for the next byte, by VMIN and VTIME (termios(3)); `*min`: how many bytes make a raw read complete. */
static int64_t slave_timing(struct tty *tty, size_t have, size_t *min)
{
    int64_t tenths, deadline = TASK_NO_DEADLINE;

    tty_lock(tty);
    *min = CC(tty, VMIN);
    tenths = CC(tty, VTIME);
    if (L(tty, ICANON)) {
        *min = 1;
    } else if (*min == 0) {
        *min = 1;
        deadline = kernel_monotonic_ns() + tenths * 100000000LL;
    } else if (tenths && have) {
        deadline = kernel_monotonic_ns() + tenths * 100000000LL;
    }
    tty_unlock(tty);
    return deadline;
}

static ssize_t slave_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;
    struct task *t = task_of_caller(c);
    struct task_wait w;
    unsigned char buf[CHUNK];
    ssize_t done = 0, r = 0;
    int64_t deadline;
    size_t min;
    bool timed_out = false;

    tty_lock(tty);
    r = tty_file_hung_up(tty, tf) ? 1 : 0;
    tty_unlock(tty);
    if (r || uio->resid == 0)
        return 0;
    r = t ? tty_jobctl_check_read(t, &tty->job) : 0;
    if (r)
        return r;
    deadline = slave_timing(tty, 0, &min);
    if (t)
        task_wait_begin(t, &w, &tty->wq, POLLIN | POLLRDNORM);
    while (uio->resid) {
        size_t want = uio->resid < sizeof(buf) ? uio->resid : sizeof(buf);
        bool line_done;

        tty_lock(tty);
        r = slave_try_read(tty, tf, buf, want, want == uio->resid, &line_done);
        tty_unlock(tty);
        if (r >= 0) {
            ssize_t copied = r ? uio_copy_to(uio, buf, r) : 0;
            if (copied < r) {
                r = copied < 0 ? copied : copied + done;
                if (copied > 0)
                    done += copied;
                break;
            }
            done += r;
            if (r == 0 || line_done)
                break;
            deadline = slave_timing(tty, done, &min);
            continue; /* take what else is there */
        }
        timed_out |= deadline != TASK_NO_DEADLINE && kernel_monotonic_ns() >= deadline;
        if (r != -EAGAIN || (size_t)done >= min || timed_out)
            break;
        if (!may_block(f, t, uio))
            break; /* r is -EAGAIN */
        r = task_block(t, deadline);
        if (r == -ETIMEDOUT)
            timed_out = true;
        else if (r)
            break;
        if (!done && !timed_out) {
            r = tty_jobctl_check_read(t, &tty->job);
            if (r)
                break;
        }
    }
    if (t)
        task_wait_end(&w);
    if (done)
        return done;
    /* VMIN 0 answers a vain wait, even one of no time, by 0. */
    return r == -EAGAIN && timed_out ? 0 : r;
}

static ssize_t slave_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;
    struct task *t = task_of_caller(c);
    struct uio start = *uio;
    struct task_wait w;
    unsigned char buf[CHUNK];
    ssize_t done = 0, r = 0;
    bool tostop, waiting = false;

    tty_lock(tty);
    tostop = L(tty, TOSTOP);
    r = tty_file_hung_up(tty, tf) || !tty->master_open ? -EIO : 0;
    tty_unlock(tty);
    if (r == 0 && tostop && t)
        r = tty_jobctl_check_write(t, &tty->job);
    if (r)
        return r;
    while (uio->resid && r == 0) {
        ssize_t have = uio_copy_from(uio, buf, sizeof(buf)), sent = 0;

        if (have < 0) {
            r = have;
            break;
        }
        for (;;) {
            tty_lock(tty);
            if (tty_file_hung_up(tty, tf) || !tty->master_open)
                r = -EIO;
            else
                sent += n_tty_write(tty, buf + sent, have - sent);
            if (sent)
                stamp(&tty->mtime);
            tty_unlock(tty);
            if (r || sent == have)
                break;
            if (!may_block(f, t, uio)) {
                r = -EAGAIN;
                break;
            }
            if (!waiting) {
                task_wait_begin(t, &w, &tty->wq, POLLOUT | POLLWRNORM);
                waiting = true;
                continue;
            }
            r = task_block(t, TASK_NO_DEADLINE);
            if (r)
                break;
        }
        done += sent;
    }
    if (waiting)
        task_wait_end(&w);
    if (done)
        return done;
    *uio = start;
    return r;
}

static uint32_t slave_poll(struct file *f)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;
    uint32_t mask = 0;

    tty_lock(tty);
    if (tty_file_hung_up(tty, tf)) {
        mask = POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
    } else {
        if (n_tty_input_available(tty, true))
            mask |= POLLIN | POLLRDNORM;
        if (!tty->stopped && ring_space(&tty->out) > 256)
            mask |= POLLOUT | POLLWRNORM;
    }
    mutex_unlock(&tty->lock); /* pollers hold locks of their own: no signals from here */
    return mask;
}

static void slave_release(struct file *f)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;

    tty_lock(tty);
    if (--tty->nr_slaves == 0) {
        tty->slave_closed = true;
        waitq_wake(&tty->master_wq, POLLHUP | POLLIN | POLLRDNORM);
    }
    tty_unlock(tty);
    tty_put(tty);
    free(tf);
}

static ssize_t master_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;
    struct task *t = task_of_caller(c);
    struct task_wait w;
    unsigned char buf[CHUNK];
    bool waiting = false;
    ssize_t done = 0, r = 0;

    while (uio->resid) {
        size_t want = uio->resid < sizeof(buf) ? uio->resid : sizeof(buf), got = 0;
        bool status = false;

        tty_lock(tty);
        if (tty->packet && tty->packet_status && !done) {
            buf[0] = tty->packet_status;
            tty->packet_status = 0;
            got = 1;
            status = true;
        } else if (ring_used(&tty->out)) {
            if (tty->packet && !done)
                buf[got++] = TIOCPKT_DATA;
            got += ring_get(&tty->out, buf + got, want - got);
            n_tty_flush_echoes(tty);
            if (!tty->stopped)
                waitq_wake(&tty->wq, POLLOUT | POLLWRNORM);
        } else if (tty->slave_closed) {
            r = -EIO;
        } else {
            r = -EAGAIN;
        }
        tty_unlock(tty);
        if (got) {
            ssize_t copied = uio_copy_to(uio, buf, got);
            if (copied < 0) {
                r = copied;
                break;
            }
            done += copied;
            if (status || (size_t)copied < got || got < want)
                break;
            continue;
        }
        if (done || r != -EAGAIN || !may_block(f, t, uio))
            break;
        if (!waiting) {
            task_wait_begin(t, &w, &tty->master_wq, POLLIN | POLLRDNORM | POLLPRI);
            waiting = true;
            r = 0;
            continue;
        }
        r = task_block(t, TASK_NO_DEADLINE);
        if (r)
            break;
    }
    if (waiting)
        task_wait_end(&w);
    return done ? done : r;
}

static ssize_t master_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;
    struct task *t = task_of_caller(c);
    struct uio start = *uio;
    struct task_wait w;
    unsigned char buf[CHUNK];
    bool waiting = false;
    ssize_t done = 0, r = 0;

    while (uio->resid && r == 0) {
        ssize_t have = uio_copy_from(uio, buf, sizeof(buf)), sent = 0;

        if (have < 0) {
            r = have;
            break;
        }
        for (;;) {
            tty_lock(tty);
            /* What nobody has open takes input all the same: it is there when someone opens it. */
            sent += tty_receive(tty, buf + sent, have - sent);
            tty_unlock(tty);
            if (sent == have)
                break;
            if (!may_block(f, t, uio)) {
                r = -EAGAIN;
                break;
            }
            if (!waiting) {
                task_wait_begin(t, &w, &tty->master_wq, POLLOUT | POLLWRNORM);
                waiting = true;
                continue;
            }
            r = task_block(t, TASK_NO_DEADLINE);
            if (r)
                break;
        }
        done += sent;
    }
    if (waiting)
        task_wait_end(&w);
    if (done)
        return done;
    *uio = start;
    return r;
}

static uint32_t master_poll(struct file *f)
{
    struct tty *tty = ((struct tty_file *)f->priv)->tty;
    uint32_t mask = 0;

    tty_lock(tty);
    if (ring_used(&tty->out))
        mask |= POLLIN | POLLRDNORM;
    if (tty->packet && tty->packet_status)
        mask |= POLLPRI | POLLIN | POLLRDNORM;
    if (tty->slave_closed)
        mask |= POLLHUP;
    if (ring_space(&tty->backlog))
        mask |= POLLOUT | POLLWRNORM;
    mutex_unlock(&tty->lock);
    return mask;
}

static void master_release(struct file *f)
{
    struct tty_file *tf = f->priv;
    struct tty *tty = tf->tty;

    tty_lock(tty);
    tty->master_open = false;
    tty->packet = false;
    tty_unlock(tty);
    devpts_remove(tty);
    tty_vhangup(tty);
    path_put(&tf->pts_root);
    tty_put(tty);
    free(tf);
}

static const struct file_ops slave_ops = {
    .read = slave_read,
    .write = slave_write,
    .poll = slave_poll,
    .ioctl = tty_ioctl,
    .release = slave_release,
};

static const struct file_ops master_ops = {
    .read = master_read,
    .write = master_write,
    .poll = master_poll,
    .ioctl = tty_ioctl,
    .release = master_release,
};

int tty_file_attach(struct tty *tty, struct file *f, bool master)
{
    struct tty_file *tf = calloc(1, sizeof(*tf));

    if (!tf)
        return -ENOMEM;
    tf->tty = tty_get(tty);
    tf->master = master;
    tty_lock(tty);
    tf->hangups = tty->hangups;
    tty_unlock(tty);
    f->mode &= ~(FMODE_LSEEK | FMODE_PSEEK);
    f->ops = master ? &master_ops : &slave_ops;
    f->wq = master ? &tty->master_wq : &tty->wq;
    f->priv = tf;
    return 0;
}

struct tty *tty_of_file(struct file *f)
{
    if (f->ops != &slave_ops && f->ops != &master_ops)
        return NULL;
    return tty_get(((struct tty_file *)f->priv)->tty);
}
