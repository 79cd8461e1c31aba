/*
 * signalfd(2).
 *
 * What is pending depends on who asks: a read takes signals of the thread that reads, or of its process, whoever made the
 * descriptor. Its own wait queue is therefore fed by the queues (tgroup->signalfd_wq) of all processes that have used it so
 * far; one is added when a process first polls or reads it.
 *
 * Locks: sfd->lock guards the list of processes; the feeding entries run under the signal queue's lock and only wake.
 */
#include "sentry/kernel/signalfd.h"

#include "sentry/kernel/task.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

struct signalfd {
    struct mutex lock;
    struct waitq wq;
    atomic_ullong mask;                        /* what it takes */
    struct list_head feeders GUARDED_BY(lock); /* of struct feeder */
};

struct feeder {
    struct waitq_entry entry; /* in tg->signalfd_wq */
    struct list_head node;
    struct tgroup *tg; /* referenced */
    struct signalfd *sfd;
};

static bool feeder_wake(struct waitq_entry *entry, uint32_t events)
{
    waitq_wake(&container_of(entry, struct feeder, entry)->sfd->wq, POLLIN);
    return true;
}

static void feeder_free(struct feeder *fd)
{
    waitq_remove(&fd->entry);
    list_del_init(&fd->node);
    tgroup_put(fd->tg);
    free(fd);
}

static int listen_to(struct signalfd *sfd, struct tgroup *tg)
{
    struct feeder *fd;
    int err = 0;

    mutex_lock(&sfd->lock);
    list_for_each_entry(fd, &sfd->feeders, node) {
        if (fd->tg == tg)
            goto out;
    }
    fd = calloc(1, sizeof(*fd));
    if (!fd) {
        err = -ENOMEM;
        goto out;
    }
    fd->tg = tgroup_get(tg);
    fd->sfd = sfd;
    fd->entry.mask = POLLIN;
    fd->entry.wake = feeder_wake;
    list_init(&fd->entry.node);
    list_add(&fd->node, &sfd->feeders);
    waitq_add(&tg->signalfd_wq, &fd->entry);
out:
    mutex_unlock(&sfd->lock);
    return err;
}

static void fill_info(struct signalfd_siginfo *out, const ksiginfo *in)
{
    memset(out, 0, sizeof(*out));
    out->ssi_signo = (uint32_t)in->si_signo;
    out->ssi_errno = in->si_errno;
    out->ssi_code = in->si_code;
    if (in->si_code <= 0 || in->si_code == SI_KERNEL) {
        if (in->si_code == SI_TIMER) {
            out->ssi_tid = (uint32_t)in->si_timerid;
            out->ssi_overrun = (uint32_t)in->si_overrun;
        } else {
            out->ssi_pid = (uint32_t)in->si_pid;
            out->ssi_uid = in->si_uid;
        }
        if (in->si_code < 0 && in->si_code != SI_TKILL) {
            out->ssi_ptr = (uint64_t)(uintptr_t)in->si_ptr;
            out->ssi_int = in->si_int;
        }
        return;
    }
    switch (in->si_signo) {
    case SIGCHLD:
        out->ssi_pid = (uint32_t)in->si_pid;
        out->ssi_uid = in->si_uid;
        out->ssi_status = in->si_status;
        out->ssi_utime = (uint64_t)in->si_utime;
        out->ssi_stime = (uint64_t)in->si_stime;
        break;
    case SIGILL:
    case SIGFPE:
    case SIGSEGV:
    case SIGBUS:
    case SIGTRAP:
        out->ssi_addr = (uint64_t)(uintptr_t)in->si_addr;
        out->ssi_addr_lsb = (uint16_t)in->si_addr_lsb;
        break;
    default:
        out->ssi_band = (uint32_t)in->si_band;
        out->ssi_fd = in->si_fd;
        break;
    }
}

static ssize_t signalfd_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct signalfd *sfd = f->priv;
    struct task *t = task_of_caller(c);
    struct signalfd_siginfo out;
    ssize_t total = 0, r;
    ksiginfo info;

    if (uio->resid < sizeof(out) || !t)
        return -EINVAL;
    r = listen_to(sfd, t->tg);
    if (r)
        return r;
    while (uio->resid >= sizeof(out) && signal_dequeue(t, atomic_load(&sfd->mask), &info)) {
        fill_info(&out, &info);
        if (uio_copy_to(uio, &out, sizeof(out)) != (ssize_t)sizeof(out))
            return total ? total : -EFAULT;
        total += (ssize_t)sizeof(out);
    }
    return total ? total : -EAGAIN;
}

static uint32_t signalfd_poll(struct file *f)
{
    struct signalfd *sfd = f->priv;
    struct task *t = task_current();
    ksigset pending;

    if (!t || listen_to(sfd, t->tg))
        return 0;
    mutex_lock(&t->tg->siglock);
    pending = t->pending.set | t->tg->shared_pending.set;
    mutex_unlock(&t->tg->siglock);
    return pending & atomic_load(&sfd->mask) ? POLLIN | POLLRDNORM : 0;
}

static void signalfd_release(struct file *f) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    struct signalfd *sfd = f->priv;
    struct feeder *fd, *next;

    list_for_each_entry_safe(fd, next, &sfd->feeders, node)
        feeder_free(fd);
    waitq_fini(&sfd->wq);
    mutex_fini(&sfd->lock);
    free(sfd);
}

static void signalfd_show(struct file *f, char *buf, size_t len)
{
    snprintf(buf, len, "sigmask:\t%016llx\n", atomic_load(&((struct signalfd *)f->priv)->mask));
}

static const struct file_ops signalfd_ops = {
    .read = signalfd_read,
    .poll = signalfd_poll,
    .release = signalfd_release,
    .show_fdinfo = signalfd_show,
};

static ksigset without_unblockable(ksigset mask)
{
    return mask & ~(ksig_bit(SIGKILL) | ksig_bit(SIGSTOP));
}

int signalfd_create(struct task *t, ksigset mask, int flags, struct file **out) NO_THREAD_SAFETY_ANALYSIS
{
    struct signalfd *sfd = calloc(1, sizeof(*sfd));
    int err;

    if (!sfd)
        return -ENOMEM;
    mutex_init(&sfd->lock);
    waitq_init(&sfd->wq);
    list_init(&sfd->feeders);
    atomic_init(&sfd->mask, without_unblockable(mask));
    err = file_create_anon("[signalfd]", &signalfd_ops, sfd, O_RDWR | flags, FMODE_READ | FMODE_WRITE, out);
    if (err) {
        free(sfd);
        return err;
    }
    (*out)->wq = &sfd->wq;
    return 0;
}

int signalfd_update(struct file *f, ksigset mask)
{
    struct signalfd *sfd = f->priv;

    if (f->ops != &signalfd_ops)
        return -EINVAL;
    atomic_store(&sfd->mask, without_unblockable(mask));
    waitq_wake(&sfd->wq, POLLIN);
    return 0;
}
