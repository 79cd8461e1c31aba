/*
 * O_ASYNC. The file's wait queue gets an entry whose callback runs under the locks of whoever made the file ready, so all it
 * does is post a piece of work to the event loop, which then finds the owner and sends the signal. The work holds a reference
 * on the file; readiness that shows while it is under way is one more signal, not one for each time.
 */
#include "sentry/syscalls/fasync.h"

#include "sentry/host/loop.h"
#include "sentry/kernel/task.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

struct fasync {
    struct waitq_entry entry;
    struct host_work work;
    struct file *f; /* not referenced but by work under way */
    struct kernel *k;
    int fd;
    atomic_bool posted;
    atomic_uint events; /* since the last signal */
};

static bool may_signal(const struct cred *target, uid_t uid, uid_t euid)
{
    return euid == 0 || euid == target->suid || euid == target->uid || uid == target->suid || uid == target->uid;
}

static bool task_allows(struct task *t, uid_t uid, uid_t euid)
{
    struct cred *c = task_get_cred(t);
    bool ok = c && may_signal(c, uid, euid);
    cred_put(c);
    return ok;
}

/* si_code and si_band of the most interesting event. */
static int code_of(uint32_t events)
{
    if (events & POLLHUP)
        return POLL_HUP;
    if (events & POLLERR)
        return POLL_ERR;
    if (events & POLLPRI)
        return POLL_PRI;
    return events & POLLIN ? POLL_IN : POLL_OUT;
}

static void send_to_owner(struct fasync *fa, uint32_t events)
{
    struct file *f = fa->f;
    ksiginfo info;

    mutex_lock(&f->lock);
    int type = f->owner.type, signo = f->owner.signo;
    pid_t pid = f->owner.pid;
    uid_t uid = f->owner.uid, euid = f->owner.euid;
    mutex_unlock(&f->lock);
    if (pid == 0)
        return;
    if (signo == 0) {
        siginfo_kernel(&info, SIGIO, SI_KERNEL);
    } else {
        siginfo_kernel(&info, signo, code_of(events));
        info.si_band = events;
        info.si_fd = fa->fd;
    }
    if (type == F_OWNER_PGRP) {
        if (signal_send_pgrp(fa->k, pid, &info) < 0)
            return; /* nobody is there any more */
    } else {
        struct task *t = task_find(fa->k, pid);
        if (t && task_allows(t, uid, euid) &&
            (type == F_OWNER_TID ? signal_send_task(t, &info) : signal_send_tgroup(t->tg, &info)) < 0) {
            task_put(t); /* it is exiting, or its queue is full */
            return;
        }
        if (t)
            task_put(t);
    }
}

static void run(struct host_work *w)
{
    struct fasync *fa = container_of(w, struct fasync, work);
    struct file *f = fa->f;
    atomic_store(&fa->posted, false);
    uint32_t events = atomic_exchange(&fa->events, 0);
    if (events && atomic_load(&f->flags) & O_ASYNC)
        send_to_owner(fa, events);
    file_put(f); /* may be the last, and free `fa` */
}

static bool ready(struct waitq_entry *e, uint32_t events)
{
    struct fasync *fa = container_of(e, struct fasync, entry);
    atomic_fetch_or(&fa->events, events);
    if (atomic_exchange(&fa->posted, true))
        return true;
    if (ref_get_unless_zero(&fa->f->ref))
        host_loop_post(fa->k->loop, &fa->work);
    return true;
}

static void destroy(struct fasync *fa)
{
    waitq_remove(&fa->entry);
    free(fa);
}

/* From file_put(): nobody else has the file, so no work is under way either. */
static void file_closed(struct file *f)
{
    destroy(f->fasync);
    f->fasync = NULL;
}

void fasync_boot(void)
{
    file_fasync_register(file_closed);
}

int fasync_set(struct task *t, struct file *f, int fd, bool on)
{
    if (!on || !f->wq)
        return 0; /* an entry that is there stays: F_SETFL without O_ASYNC only means that its signals go unsent */
    mutex_lock(&f->lock);
    bool have = f->fasync != NULL;
    if (have)
        f->fasync->fd = fd;
    mutex_unlock(&f->lock);
    if (have)
        return 0;
    struct fasync *fa = calloc(1, sizeof(*fa));
    if (!fa)
        return -ENOMEM;
    fa->f = f;
    fa->k = t->k;
    fa->fd = fd;
    fa->work.fn = run;
    fa->entry = (struct waitq_entry){.mask = POLLIN | POLLOUT | POLLPRI | POLLRDHUP, .wake = ready};
    list_init(&fa->entry.node);
    mutex_lock(&f->lock);
    have = f->fasync != NULL;
    if (!have)
        f->fasync = fa;
    mutex_unlock(&f->lock);
    if (have)
        free(fa);
    else
        waitq_add(f->wq, &fa->entry);
    return 0;
}
