/*
 * poll(2)'s engine.
 *
 * The first look at the files costs nothing but the looks: most calls find something. Only a call that has to wait links itself
 * into their wait queues, looks again, and sleeps until one of the queues is woken.
 */
#include "sentry/kernel/poll.h"

#include "sentry/kernel/task.h"
#include "sentry/kernel/task_internal.h"
#include "vfs/file.h"

#include <errno.h>
#include <stdlib.h>

/* Sets up to this size need no memory from the heap. */
#define POLL_INLINE 16

struct poll_waiter {
    struct task_wait wait;
    struct file *file; /* referenced; NULL: nothing to wait for */
};

static short wanted(const struct pollfd *p)
{
    return (short)(p->events | POLLERR | POLLHUP);
}

static short revents_of(struct file *f, const struct pollfd *p)
{
    return (short)((short)file_poll(f) & wanted(p));
}

/* One look at everything, without waiting. */
static unsigned int poll_once(struct task *t, struct pollfd *fds, unsigned int n)
{
    unsigned int ready = 0;

    for (unsigned int i = 0; i < n; i++) {
        struct file *f;

        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        f = fd_get(t->files, fds[i].fd);
        if (f) {
            fds[i].revents = revents_of(f, &fds[i]);
            file_put(f);
        } else {
            fds[i].revents = POLLNVAL;
        }
        ready += fds[i].revents != 0;
    }
    return ready;
}

/* Links into the queues; stops early when a file turns out to be ready. Returns how many are. */
static unsigned int link_all(struct task *t, struct pollfd *fds, struct poll_waiter *w, unsigned int n)
{
    unsigned int ready = 0;

    for (unsigned int i = 0; i < n; i++) {
        w[i].file = NULL;
        w[i].wait.entry.wq = NULL;
    }
    for (unsigned int i = 0; i < n && !ready; i++) {
        struct file *f = fds[i].fd < 0 ? NULL : fd_get(t->files, fds[i].fd);

        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        if (!f) {
            fds[i].revents = POLLNVAL;
            ready++;
            continue;
        }
        w[i].file = f;
        if (f->wq)
            task_wait_begin(t, &w[i].wait, f->wq, (uint32_t)(uint16_t)wanted(&fds[i]));
        fds[i].revents = revents_of(f, &fds[i]);
        ready += fds[i].revents != 0;
    }
    return ready;
}

static unsigned int look_again(struct pollfd *fds, struct poll_waiter *w, unsigned int n)
{
    unsigned int ready = 0;

    for (unsigned int i = 0; i < n; i++) {
        if (!w[i].file)
            continue;
        fds[i].revents = revents_of(w[i].file, &fds[i]);
        ready += fds[i].revents != 0;
    }
    return ready;
}

static void unlink_all(struct poll_waiter *w, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        if (!w[i].file)
            continue;
        task_wait_end(&w[i].wait);
        file_put(w[i].file);
    }
}

int64_t task_poll(struct task *t, struct pollfd *fds, unsigned int n, int64_t deadline)
{
    struct poll_waiter few[POLL_INLINE], *w = few;
    unsigned int ready = poll_once(t, fds, n);
    int r = 0;

    if (ready || deadline <= 0)
        return ready;
    if (n > POLL_INLINE) {
        w = malloc(n * sizeof(*w));
        if (!w)
            return -ENOMEM;
    }
    ready = link_all(t, fds, w, n);
    while (!ready && r == 0) {
        r = task_block(t, deadline);
        ready = look_again(fds, w, n);
    }
    unlink_all(w, n);
    if (w != few)
        free(w);
    if (ready)
        return ready;
    return r == -ETIMEDOUT ? 0 : -ERESTARTNOHAND;
}

int task_sigmask_begin(struct task *t, guest_addr set, uint64_t size)
{
    ksigset mask;

    if (guest_is_null(set))
        return 0;
    if (size != sizeof(mask))
        return -EINVAL;
    if (copy_in(t, &mask, set, sizeof(mask)))
        return -EFAULT;
    t->saved_mask = t->blocked;
    t->restore_mask = true;
    signal_set_blocked(t, mask);
    return 0;
}

void task_sigmask_end(struct task *t, bool interrupted)
{
    if (!t->restore_mask || interrupted)
        return;
    t->restore_mask = false;
    signal_set_blocked(t, t->saved_mask);
}
