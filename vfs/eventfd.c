/* eventfd(2): reads take the counter (or one of it), writes add to it, up to 2^64 - 2. */
#include "vfs/eventfd.h"

#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

struct eventfd {
    struct mutex lock;
    struct waitq wq;
    atomic_ullong count; /* written under lock */
    bool semaphore;
    unsigned int id;
};

static atomic_uint next_id; /* for fdinfo only */

static ssize_t eventfd_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct eventfd *e = f->priv;
    uint64_t count, taken;
    ssize_t r;

    if (uio->resid < sizeof(taken))
        return -EINVAL;
    mutex_lock(&e->lock);
    count = atomic_load(&e->count);
    taken = e->semaphore && count ? 1 : count;
    atomic_store(&e->count, count - taken);
    mutex_unlock(&e->lock);
    if (!count)
        return -EAGAIN;
    waitq_wake(&e->wq, POLLOUT);
    r = uio_copy_to(uio, &taken, sizeof(taken));
    return r == (ssize_t)sizeof(taken) ? r : -EFAULT;
}

static ssize_t eventfd_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct eventfd *e = f->priv;
    struct uio start = *uio;
    uint64_t add, count;
    ssize_t r = sizeof(add);

    if (uio->resid < sizeof(add))
        return -EINVAL;
    if (uio_copy_from(uio, &add, sizeof(add)) != (ssize_t)sizeof(add))
        return -EFAULT;
    if (add == UINT64_MAX)
        return -EINVAL;
    mutex_lock(&e->lock);
    count = atomic_load(&e->count);
    if (UINT64_MAX - count > add)
        atomic_store(&e->count, count + add);
    else
        r = -EAGAIN;
    mutex_unlock(&e->lock);
    if (r > 0)
        waitq_wake(&e->wq, POLLIN);
    /* Whoever waits for room calls again with the same eight bytes. */
    if (r < 0)
        *uio = start;
    return r;
}

void eventfd_signal(struct file *f, uint64_t n)
{
    struct eventfd *e = f->priv;
    uint64_t count;

    mutex_lock(&e->lock);
    count = atomic_load(&e->count);
    atomic_store(&e->count, UINT64_MAX - count < n ? UINT64_MAX : count + n);
    mutex_unlock(&e->lock);
    waitq_wake(&e->wq, POLLIN);
}

static uint32_t eventfd_poll(struct file *f)
{
    uint64_t count = atomic_load(&((struct eventfd *)f->priv)->count);

    return (count > 0 ? POLLIN : 0) | (count == UINT64_MAX ? POLLERR : 0) | (count < UINT64_MAX - 1 ? POLLOUT : 0);
}

static void eventfd_release(struct file *f)
{
    struct eventfd *e = f->priv;

    waitq_fini(&e->wq);
    mutex_fini(&e->lock);
    free(e);
}

static void eventfd_show(struct file *f, char *buf, size_t len)
{
    struct eventfd *e = f->priv;

    snprintf(buf, len, "eventfd-count: %16llx\neventfd-id: %u\neventfd-semaphore: %d\n", atomic_load(&e->count), e->id,
             e->semaphore);
}

static const struct file_ops eventfd_ops = {
    .read = eventfd_read,
    .write = eventfd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
    .show_fdinfo = eventfd_show,
};

bool file_is_eventfd(const struct file *f)
{
    return f->ops == &eventfd_ops;
}

int eventfd_create(uint64_t count, bool semaphore, int flags, struct file **out)
{
    struct eventfd *e = calloc(1, sizeof(*e));
    int err;

    if (!e)
        return -ENOMEM;
    mutex_init(&e->lock);
    waitq_init(&e->wq);
    atomic_init(&e->count, count);
    e->semaphore = semaphore;
    e->id = atomic_fetch_add(&next_id, 1);
    err = file_create_anon("[eventfd]", &eventfd_ops, e, O_RDWR | flags, FMODE_READ | FMODE_WRITE, out);
    if (err)
        free(e);
    else
        (*out)->wq = &e->wq;
    return err;
}
