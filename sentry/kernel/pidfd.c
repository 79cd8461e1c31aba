/*
 * Process descriptors: an anonymous file that holds a struct pid. Readable once the process is a zombie or gone, which
 * pid->exit_wq tells; there is nothing to read.
 */
#include "sentry/kernel/pidfd.h"

#include "sentry/kernel/task_internal.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

static uint32_t pidfd_poll(struct file *f)
{
    struct pid *pid = f->priv;
    struct kernel *k = pid->k;
    uint32_t events = 0;

    mutex_lock(&k->tasks_lock);
    if (!pid->tgroup)
        events = POLLIN | POLLRDNORM | POLLHUP;
    else if (pid->tgroup->zombie)
        events = POLLIN | POLLRDNORM;
    mutex_unlock(&k->tasks_lock);
    return events;
}

static void pidfd_release(struct file *f)
{
    pid_put(f->priv);
}

static void pidfd_show_fdinfo(struct file *f, char *buf, size_t len)
{
    struct pid *pid = f->priv;
    struct kernel *k = pid->k;
    pid_t nr;

    mutex_lock(&k->tasks_lock);
    nr = pid->tgroup ? pid->nr : -1;
    mutex_unlock(&k->tasks_lock);
    snprintf(buf, len, "Pid:\t%d\nNSpid:\t%d\n", nr, nr);
}

static const struct file_ops pidfd_ops = {
    .poll = pidfd_poll,
    .release = pidfd_release,
    .show_fdinfo = pidfd_show_fdinfo,
};

int pidfd_create(struct pid *pid, int flags, struct file **out)
{
    int r = file_create_anon("[pidfd]", &pidfd_ops, pid, O_RDWR | flags, 0, out);

    if (r)
        return r;
    pid_get(pid);
    (*out)->wq = &pid->exit_wq;
    return 0;
}

struct pid *pidfd_pid(struct file *f)
{
    return f->ops == &pidfd_ops ? f->priv : NULL;
}
