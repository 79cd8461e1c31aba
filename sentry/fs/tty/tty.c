/* Terminals as objects: life, locking, opening by device number, hangup. Reading and writing are in tty_rw.c. */
#include "sentry/fs/tty/tty_internal.h"

#include "sentry/kernel/task.h"
#include "vfs/cred.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define OUT_RING     16384
#define ECHO_RING    4096
#define BACKLOG_RING 8192

void ring_init(struct tty_ring *r, uint32_t cap)
{
    *r = (struct tty_ring){.cap = cap};
}

size_t ring_put(struct tty_ring *r, const void *data, size_t n)
{
    uint32_t pos = r->head % r->cap, first;

    if (!r->buf && !(r->buf = malloc(r->cap)))
        return 0;
    if (n > ring_space(r))
        n = ring_space(r);
    first = n < r->cap - pos ? n : r->cap - pos;
    memcpy(r->buf + pos, data, first);
    memcpy(r->buf, (const char *)data + first, n - first);
    r->head += n;
    return n;
}

size_t ring_get(struct tty_ring *r, void *data, size_t n)
{
    uint32_t pos = r->tail % r->cap, first;

    if (n > ring_used(r))
        n = ring_used(r);
    if (n == 0)
        return 0;
    first = n < r->cap - pos ? n : r->cap - pos;
    memcpy(data, r->buf + pos, first);
    memcpy((char *)data + first, r->buf, n - first);
    r->tail += n;
    return n;
}

static void job_get(struct tty_jobctl *job)
{
    tty_get(tty_of_jobctl(job));
}

static void job_put(struct tty_jobctl *job)
{
    tty_put(tty_of_jobctl(job));
}

/* As Linux's tty_std_termios with the changes that its pty driver makes. */
static const struct termios2 default_termios = {
    .c_iflag = ICRNL | IXON,
    .c_oflag = OPOST | ONLCR,
    .c_cflag = B38400 | CS8 | CREAD,
    .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
    .c_cc = {[VINTR] = 3,
             [VQUIT] = 28,
             [VERASE] = 127,
             [VKILL] = 21,
             [VEOF] = 4,
             [VMIN] = 1,
             [VSTART] = 17,
             [VSTOP] = 19,
             [VSUSP] = 26,
             [VREPRINT] = 18,
             [VDISCARD] = 15,
             [VWERASE] = 23,
             [VLNEXT] = 22},
    .c_ispeed = 38400,
    .c_ospeed = 38400,
};

struct tty *tty_create(struct kernel *k, struct devpts *pts, int index)
{
    struct tty *tty = calloc(1, sizeof(*tty));

    if (!tty)
        return NULL;
    ref_init(&tty->ref);
    tty->k = k;
    tty->pts = pts;
    tty->index = index;
    tty->job.get = job_get;
    tty->job.put = job_put;
    mutex_init(&tty->lock);
    tty->termios = default_termios;
    ring_init(&tty->backlog, BACKLOG_RING);
    ring_init(&tty->out, OUT_RING);
    ring_init(&tty->echo, ECHO_RING);
    waitq_init(&tty->wq);
    waitq_init(&tty->master_wq);
    n_tty_init(tty);
    return tty;
}

struct tty *tty_get(struct tty *tty)
{
    ref_get(&tty->ref);
    return tty;
}

void tty_put(struct tty *tty)
{
    if (!tty || !ref_put(&tty->ref))
        return;
    if (tty->host)
        tty_host_free(tty);
    free(tty->backlog.buf);
    free(tty->out.buf);
    free(tty->echo.buf);
    waitq_fini(&tty->wq);
    waitq_fini(&tty->master_wq);
    mutex_fini(&tty->lock);
    free(tty);
}

dev_t tty_rdev(const struct tty *tty)
{
    return makedev(136, tty->index);
}

struct tty *tty_of_jobctl(struct tty_jobctl *job)
{
    return container_of(job, struct tty, job);
}

struct tty_jobctl *tty_jobctl(struct tty *tty)
{
    return &tty->job;
}

void tty_unlock(struct tty *tty)
{
    uint32_t signals;

    if (tty->host)
        tty_host_kick(tty);
    signals = tty->signals;
    tty->signals = 0;
    mutex_unlock(&tty->lock);
    for (int signo = 1; signals >> signo; signo++)
        if (signals >> signo & 1)
            tty_jobctl_signal(tty->k, &tty->job, signo);
}

/* Everyone who has the slave open loses it, and the session its terminal. */
void tty_vhangup(struct tty *tty)
{
    tty_lock(tty);
    tty->hangups++;
    n_tty_flush_input(tty);
    tty->termios = default_termios;
    tty->stopped = tty->tco_stopped = false;
    waitq_wake(&tty->wq, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLERR | POLLHUP);
    tty_unlock(tty);
    tty_jobctl_hangup(tty->k, &tty->job);
}

/* Opening. */

static int slave_attach(struct tty *tty, struct file *f, const struct vfs_caller *c, bool noctty)
{
    struct task *t = task_of_caller(c);
    int r = 0;

    tty_lock(tty);
    if (!tty->master_open || tty->pt_locked)
        r = -EIO;
    else if (tty->exclusive && !cred_has_cap(c->cred, CAP_SYS_ADMIN))
        r = -EBUSY;
    if (r == 0) {
        tty->nr_slaves++;
        tty->slave_closed = false;
    }
    tty_unlock(tty);
    if (r)
        return r;
    r = tty_file_attach(tty, f, false);
    if (r) {
        tty_lock(tty);
        tty->nr_slaves--;
        tty_unlock(tty);
        return r;
    }
    if (t && !noctty && !(f->flags & O_NOCTTY) && (f->mode & FMODE_READ))
        tty_jobctl_open(t, &tty->job);
    return 0;
}

int tty_open_slave(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct tty *tty = devpts_is(inode->sb) ? devpts_inode_tty(inode) : NULL;
    int r;

    if (!tty)
        return -EIO;
    r = slave_attach(tty, f, c, false);
    tty_put(tty);
    return r;
}

int tty_open_current(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct task *t = task_of_caller(c);
    struct tty_jobctl *job = t ? tty_jobctl_current(t) : NULL;
    int r;

    if (!job)
        return -ENXIO;
    r = slave_attach(tty_of_jobctl(job), f, c, true);
    job->put(job);
    return r;
}

int tty_open_console(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct task *t = task_of_caller(c);

    if (!t || !t->k->console)
        return -ENXIO;
    return slave_attach(t->k->console, f, c, true);
}

/* The devpts instance for a ptmx: the one it lies in, or what is mounted on the `pts` beside it. */
static int ptmx_instance(struct file *f, const struct vfs_caller *c, struct path *root)
{
    struct path dir;
    int r;

    if (devpts_is(f->path.dentry->sb)) {
        *root = (struct path){.mnt = f->path.mnt, .dentry = f->path.dentry->sb->root};
        path_get(root);
        return 0;
    }
    dir = (struct path){.mnt = f->path.mnt, .dentry = f->path.dentry->parent};
    r = vfs_lookup(c, &dir, "pts", LOOKUP_DIRECTORY, 0, root);
    if (r)
        return -ENODEV;
    if (!devpts_is(root->dentry->sb) || root->dentry != root->dentry->sb->root) {
        path_put(root);
        return -ENODEV;
    }
    return 0;
}

int tty_open_ptmx(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct path root;
    struct tty *tty;
    int r = ptmx_instance(f, c, &root);

    if (r)
        return r;
    r = devpts_new_tty(root.dentry->sb, c->cred->fsuid, c->cred->fsgid, &tty);
    if (r) {
        path_put(&root);
        return r;
    }
    tty_lock(tty);
    tty->pt_locked = true;
    tty->master_open = true;
    tty_unlock(tty);
    r = tty_file_attach(tty, f, true);
    if (r) {
        devpts_remove(tty);
        path_put(&root);
    } else {
        ((struct tty_file *)f->priv)->pts_root = root;
    }
    tty_put(tty);
    return r;
}
