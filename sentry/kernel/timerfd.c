/*
 * timerfd. The timer fires once and then rests until somebody asks: a periodic one is moved on by all periods that have passed
 * when it is read (or queried), so that an unread timer costs nothing however short its period is.
 *
 * The host's wall clock cannot be set from here, so a timer on CLOCK_REALTIME keeps the CLOCK_MONOTONIC deadline that it had
 * when it was set, and TFD_TIMER_CANCEL_ON_SET finds nothing to cancel.
 */
#include "sentry/kernel/timerfd.h"

#include "sentry/kernel/task.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

struct timerfd {
    struct mutex lock;
    struct ktimer kt;
    struct waitq wq;
    clockid_t clock; /* immutable */
    /* Guarded by lock. */
    int64_t deadline; /* CLOCK_MONOTONIC; of the next expiration, or of the one that fired; KTIMER_NEVER when disarmed */
    int64_t interval;
    bool fired; /* the ktimer has gone off and nobody has asked since */
    uint64_t ticks;
    int settime_flags;
};

static void timerfd_fire(struct ktimer *kt)
{
    struct timerfd *tfd = container_of(kt, struct timerfd, kt);

    mutex_lock(&tfd->lock);
    if (!tfd->fired && kernel_monotonic_ns() >= tfd->deadline) {
        tfd->fired = true;
        tfd->ticks++;
        waitq_wake(&tfd->wq, POLLIN);
    }
    mutex_unlock(&tfd->lock);
}

/* Moves a periodic timer that has fired beyond now; how many more expirations that makes. */
static uint64_t timerfd_forward(struct timerfd *tfd)
{
    int64_t now, n;

    if (!tfd->fired || !tfd->interval)
        return 0;
    now = kernel_monotonic_ns();
    n = (now - tfd->deadline) / tfd->interval + 1;
    tfd->deadline = time_add_saturating(tfd->deadline, n * tfd->interval);
    tfd->fired = false;
    ktimer_set(&tfd->kt, tfd->deadline);
    return (uint64_t)n - 1;
}

static ssize_t timerfd_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct timerfd *tfd = f->priv;
    uint64_t ticks;
    ssize_t n;

    if (uio->resid < sizeof(ticks))
        return -EINVAL;
    mutex_lock(&tfd->lock);
    ticks = tfd->ticks;
    if (ticks) {
        ticks += timerfd_forward(tfd);
        tfd->ticks = 0;
    }
    mutex_unlock(&tfd->lock);
    if (!ticks)
        return -EAGAIN;
    n = uio_copy_to(uio, &ticks, sizeof(ticks));
    return n < 0 ? n : (ssize_t)sizeof(ticks);
}

static uint32_t timerfd_poll(struct file *f)
{
    struct timerfd *tfd = f->priv;
    uint32_t events;

    mutex_lock(&tfd->lock);
    events = tfd->ticks ? POLLIN | POLLRDNORM : 0;
    mutex_unlock(&tfd->lock);
    return events;
}

static long timerfd_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct timerfd *tfd = f->priv;
    uint64_t ticks;
    int err;

    if (cmd != TFD_IOC_SET_TICKS)
        return -ENOTTY;
    err = c->uaccess->copy_in(c, &ticks, arg, sizeof(ticks));
    if (err)
        return err;
    if (!ticks)
        return -EINVAL;
    mutex_lock(&tfd->lock);
    tfd->ticks = ticks;
    waitq_wake(&tfd->wq, POLLIN);
    mutex_unlock(&tfd->lock);
    return 0;
}

static void timerfd_release(struct file *f)
{
    struct timerfd *tfd = f->priv;

    ktimer_cancel_sync(&tfd->kt);
    waitq_fini(&tfd->wq);
    mutex_fini(&tfd->lock);
    free(tfd);
}

static struct timer_spec timerfd_get_locked(struct timerfd *tfd)
{
    struct timer_spec spec = {.interval = tfd->interval};
    int64_t now = kernel_monotonic_ns();

    tfd->ticks += timerfd_forward(tfd);
    if (tfd->deadline != KTIMER_NEVER && !tfd->fired)
        spec.value = tfd->deadline > now ? tfd->deadline - now : 1;
    return spec;
}

static void timerfd_show_fdinfo(struct file *f, char *buf, size_t len)
{
    struct timerfd *tfd = f->priv;
    struct timer_spec spec;
    uint64_t ticks;
    int flags;

    mutex_lock(&tfd->lock);
    ticks = tfd->ticks;
    flags = tfd->settime_flags;
    spec = timerfd_get_locked(tfd);
    tfd->ticks = ticks;
    mutex_unlock(&tfd->lock);
    snprintf(buf, len, "clockid: %d\nticks: %llu\nsettime flags: 0%o\nit_value: (%lld, %lld)\nit_interval: (%lld, %lld)\n",
             tfd->clock, (unsigned long long)ticks, flags, (long long)(spec.value / NSEC_PER_SEC),
             (long long)(spec.value % NSEC_PER_SEC), (long long)(spec.interval / NSEC_PER_SEC),
             (long long)(spec.interval % NSEC_PER_SEC));
}

static const struct file_ops timerfd_ops = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .ioctl = timerfd_ioctl,
    .release = timerfd_release,
    .show_fdinfo = timerfd_show_fdinfo,
};

int timerfd_create_file(struct kernel *k, clockid_t clock, int flags, struct file **out)
{
    struct timerfd *tfd = calloc(1, sizeof(*tfd));
    int err;

    if (!tfd)
        return -ENOMEM;
    mutex_init(&tfd->lock);
    waitq_init(&tfd->wq);
    ktimer_init(&tfd->kt, k->loop, timerfd_fire);
    tfd->clock = clock;
    tfd->deadline = KTIMER_NEVER;
    err = file_create_anon("[timerfd]", &timerfd_ops, tfd, O_RDWR | flags, FMODE_READ | FMODE_WRITE, out);
    if (err) {
        waitq_fini(&tfd->wq);
        mutex_fini(&tfd->lock);
        free(tfd);
        return err;
    }
    (*out)->wq = &tfd->wq;
    return 0;
}

int timerfd_set(struct file *f, int flags, const struct timer_spec *new_spec, struct timer_spec *old)
{
    struct timerfd *tfd = f->priv;

    if (f->ops != &timerfd_ops)
        return -EINVAL;
    mutex_lock(&tfd->lock);
    *old = timerfd_get_locked(tfd);
    tfd->settime_flags = flags;
    tfd->ticks = 0;
    tfd->fired = false;
    tfd->interval = new_spec->interval;
    tfd->deadline =
        new_spec->value ? kclock_to_monotonic(tfd->clock, new_spec->value, flags & TFD_TIMER_ABSTIME) : KTIMER_NEVER;
    ktimer_set(&tfd->kt, tfd->deadline);
    mutex_unlock(&tfd->lock);
    return 0;
}

int timerfd_get(struct file *f, struct timer_spec *cur)
{
    struct timerfd *tfd = f->priv;

    if (f->ops != &timerfd_ops)
        return -EINVAL;
    mutex_lock(&tfd->lock);
    *cur = timerfd_get_locked(tfd);
    mutex_unlock(&tfd->lock);
    return 0;
}
