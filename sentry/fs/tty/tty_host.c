/*
 * Terminals whose far end is a descriptor of the host: a container's console.
 *
 * Output is written by whoever produced it, straight from the ring, as long as the host takes it; the rest goes when the event
 * loop reports room. Input is read when the loop reports it, and only as much as the backlog can hold; when guests have read,
 * tty_unlock() comes by here and more is fetched. Readiness is edge triggered: `in_ready` and `out_ready` remember it.
 *
 * The host terminal, if it is one, is raw: echo, editing and signals are our line discipline's. Descriptors are made
 * non-blocking where they can be opened anew (so that nobody else's description changes), else each transfer asks poll(2)
 * first.
 */
#include "sentry/fs/tty/tty_internal.h"

#include "lib/hostproc.h"
#include "sentry/fs/fs.h"
#include "sentry/kernel/kernel.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HOST_CHUNK 512 /* for descriptors that might block in the middle of a longer write */

struct tty_host {
    struct tty *tty;
    int in_fd, out_fd;
    bool in_nonblock, out_nonblock, is_tty;
    struct termios2 saved;
    bool restored;
    bool in_ready, out_ready, eof; /* tty->lock */
    int64_t in_watch, out_watch;
    struct waitq wq;
    struct waitq_entry entry;
    struct host_work work;
    atomic_bool posted;
    atomic_uint events; /* that the loop has reported and the work has not yet taken */
};

static bool fd_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) == 1;
}

static void drain_output(struct tty *tty) REQUIRES(tty->lock)
{
    struct tty_host *h = tty->host;
    struct tty_ring *r = &tty->out;
    bool moved = false;

    while (h->out_ready && ring_used(r)) {
        uint32_t pos = r->tail % r->cap, n = r->cap - pos;
        ssize_t w;

        if (n > ring_used(r))
            n = ring_used(r);
        if (!h->out_nonblock) {
            if (n > HOST_CHUNK)
                n = HOST_CHUNK;
            if (!fd_ready(h->out_fd, POLLOUT)) {
                h->out_ready = false;
                break;
            }
        }
        w = write(h->out_fd, r->buf + pos, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno == EAGAIN) {
            h->out_ready = false;
            break;
        }
        r->tail += w < 0 ? n : (uint32_t)w; /* a dead host end swallows everything */
        moved = true;
    }
    if (moved) {
        n_tty_flush_echoes(tty);
        if (!tty->stopped)
            waitq_wake(&tty->wq, POLLOUT | POLLWRNORM);
    }
}

static void fetch_input(struct tty *tty) REQUIRES(tty->lock)
{
    struct tty_host *h = tty->host;
    unsigned char buf[1024];

    while (h->in_ready && !h->eof) {
        size_t room = ring_space(&tty->backlog);
        ssize_t n;

        if (room == 0)
            break;
        if (!h->in_nonblock && !fd_ready(h->in_fd, POLLIN)) {
            h->in_ready = false;
            break;
        }
        n = read(h->in_fd, buf, room < sizeof(buf) ? room : sizeof(buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            h->in_ready = false;
        } else if (n <= 0) {
            h->eof = true;
            atomic_fetch_or(&h->events, POLLHUP);
        } else {
            tty_receive(tty, buf, n);
        }
    }
}

static void post_work(struct tty_host *h)
{
    if (!atomic_exchange(&h->posted, true))
        host_loop_post(h->tty->k->loop, &h->work);
}

void tty_host_kick(struct tty *tty)
{
    struct tty_host *h = tty->host;

    drain_output(tty);
    fetch_input(tty);
    if (h->eof && tty->master_open) {
        tty->master_open = false;
        post_work(h);
    }
}

/* On the loop's thread. */
static void host_work(struct host_work *w)
{
    struct tty_host *h = container_of(w, struct tty_host, work);
    struct tty *tty = h->tty;
    uint32_t events;

    atomic_store(&h->posted, false);
    events = atomic_exchange(&h->events, 0);
    tty_lock(tty);
    h->in_ready |= (events & (POLLIN | POLLHUP | POLLERR)) != 0;
    h->out_ready |= (events & (POLLOUT | POLLHUP | POLLERR)) != 0;
    tty_unlock(tty); /* moves the bytes */
    tty_lock(tty);
    events |= atomic_exchange(&h->events, 0);
    if (!h->eof)
        events = 0;
    tty_unlock(tty);
    if (events & POLLHUP)
        tty_vhangup(tty);
}

static bool host_wake(struct waitq_entry *entry, uint32_t events)
{
    struct tty_host *h = container_of(entry, struct tty_host, entry);

    atomic_fetch_or(&h->events, events);
    post_work(h);
    return true;
}

/* The same file, opened anew and non-blocking, in place of `fd`; false if that cannot be. */
static bool reopen_nonblock(int fd, int flags)
{
    int again = hostproc_reopen(fd, flags | O_NONBLOCK);

    if (again < 0)
        return false;
    if (dup3(again, fd, O_CLOEXEC) < 0) {
        close(again);
        return false;
    }
    close(again);
    return true;
}

static void host_set_raw(struct tty_host *h)
{
    struct termios2 raw;

    h->is_tty = ioctl(h->out_fd, TCGETS2, &h->saved) == 0;
    if (!h->is_tty)
        return;
    raw = h->saved;
    raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag &= ~OPOST;
    raw.c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag = (raw.c_cflag & ~(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    ioctl(h->out_fd, TCSETS2, &raw);
}

void tty_host_restore(struct tty *tty)
{
    struct tty_host *h = tty->host;

    if (!h || !h->is_tty || h->restored)
        return;
    h->restored = true;
    ioctl(h->out_fd, TCSETS2, &h->saved);
}

void tty_host_set_winsize(struct tty *tty)
{
    if (tty->host->is_tty)
        ioctl(tty->host->out_fd, TIOCSWINSZ, &tty->winsize);
}

void tty_host_resize(struct tty *tty)
{
    struct winsize ws;

    if (!tty->host || ioctl(tty->host->out_fd, TIOCGWINSZ, &ws) < 0)
        return;
    tty_lock(tty);
    if (ws.ws_row != tty->winsize.ws_row || ws.ws_col != tty->winsize.ws_col || ws.ws_xpixel != tty->winsize.ws_xpixel ||
        ws.ws_ypixel != tty->winsize.ws_ypixel) {
        tty->winsize = ws;
        tty->signals |= 1U << SIGWINCH;
    }
    tty_unlock(tty);
}

void tty_host_free(struct tty *tty)
{
    struct tty_host *h = tty->host;

    tty_host_restore(tty);
    if (h->in_watch > 0)
        host_loop_unwatch(tty->k->loop, h->in_watch);
    if (h->out_watch > 0)
        host_loop_unwatch(tty->k->loop, h->out_watch);
    waitq_remove(&h->entry);
    waitq_fini(&h->wq);
    close(h->in_fd);
    if (h->out_fd != h->in_fd)
        close(h->out_fd);
    free(h);
}

int tty_create_host(struct kernel *k, struct super_block *devpts, int in_fd, int out_fd, struct tty **out)
{
    struct tty_host *h = calloc(1, sizeof(*h));
    struct tty *tty;
    int r;

    if (!h)
        return -ENOMEM;
    r = devpts_new_tty(devpts, 0, 0, &tty);
    if (r) {
        free(h);
        return r;
    }
    h->tty = tty;
    h->in_fd = in_fd;
    h->out_fd = out_fd;
    h->in_nonblock = reopen_nonblock(in_fd, in_fd == out_fd ? O_RDWR : O_RDONLY);
    h->out_nonblock = in_fd == out_fd ? h->in_nonblock : reopen_nonblock(out_fd, O_WRONLY);
    h->out_ready = true;
    h->work.fn = host_work;
    waitq_init(&h->wq);
    h->entry = (struct waitq_entry){.mask = POLLIN | POLLOUT, .wake = host_wake};
    waitq_add(&h->wq, &h->entry);
    host_set_raw(h);
    tty_lock(tty);
    tty->host = h;
    tty->master_open = true;
    ioctl(out_fd, TIOCGWINSZ, &tty->winsize);
    tty_unlock(tty);
    /* Descriptors that cannot be watched (-EPERM) are always ready. */
    h->in_watch = host_loop_watch(k->loop, in_fd, &h->wq);
    h->out_watch = in_fd == out_fd ? 0 : host_loop_watch(k->loop, out_fd, &h->wq);
    if (h->in_watch < 0)
        host_wake(&h->entry, POLLIN);
    if (!k->console)
        k->console = tty_get(tty);
    *out = tty;
    return 0;
}

int tty_open_host(struct kernel *k, const struct vfs_caller *c, int host_fd, struct file **out)
{
    struct open_how how = {.flags = O_RDWR | O_NOCTTY};
    struct path pts;
    struct tty *tty;
    char name[32];
    int r = vfs_lookup(c, NULL, "/dev/pts", LOOKUP_FOLLOW | LOOKUP_DIRECTORY, 0, &pts);

    if (r)
        return r;
    r = devpts_is(pts.dentry->sb) ? tty_create_host(k, pts.dentry->sb, host_fd, host_fd, &tty) : -ENOENT;
    if (r == 0) {
        snprintf(name, sizeof(name), "/dev/pts/%d", tty->index);
        r = vfs_open(c, NULL, name, &how, out);
        if (r)
            devpts_remove(tty);
        tty_put(tty);
    }
    path_put(&pts);
    return r;
}
