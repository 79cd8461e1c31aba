#include "sentry/host/watch.h"

#include "sentry/host/loop.h"

#include <poll.h>

void host_watch_init(struct host_watch *w, struct host_loop *loop, int fd, struct waitq *wq)
{
    w->loop = loop;
    w->fd = fd;
    w->wq = wq;
    mutex_init(&w->lock);
}

void host_watch_begin(struct host_watch *w)
{
    mutex_lock(&w->lock);
    if (w->handle == 0)
        w->handle = host_loop_watch(w->loop, w->fd, w->wq);
    mutex_unlock(&w->lock);
}

void host_watch_fini(struct host_watch *w)
{
    int64_t handle;

    mutex_lock(&w->lock);
    handle = w->handle;
    mutex_unlock(&w->lock);
    if (handle > 0)
        host_loop_unwatch(w->loop, handle);
    mutex_fini(&w->lock);
}

uint32_t host_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) > 0 ? (uint32_t)(unsigned short)p.revents : 0;
}
