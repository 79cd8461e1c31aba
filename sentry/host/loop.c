/*
 * The event loop on libev, with two sources of our own beside it: the timer queue's timerfd, and an inner epoll instance for
 * the watched host descriptors. The inner one is edge triggered, which libev is not: a descriptor that is ready but that nobody
 * reads costs one wake-up and not a busy loop, and nothing has to be switched on and off as waiters come and go.
 *
 * A watch is a slot in a table, named by index and generation, so that an event that was already fetched when its watch ended
 * is recognised as stale. The queue is woken without the watch lock, because wake-up callbacks (epoll's) take locks under which
 * others begin watches; host_loop_unwatch() waits for a wake-up of its own slot that is under way.
 */
#include "sentry/host/loop.h"

#include "lib/lock.h"
#include "lib/waitq.h"
#include "sentry/kernel/ktimer.h"

#include <errno.h>
#include <ev.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct watch {
    struct waitq *wq; /* NULL: free slot */
    int fd;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
};

struct host_loop {
    struct ev_loop *ev;
    ev_async kick;
    ev_io timer_io, watch_io;
    struct timer_queue *timers;
    int watch_epfd;
    atomic_bool stopping;

    struct mutex work_lock;
    struct list_head work GUARDED_BY(work_lock);

    struct mutex watch_lock;
    struct watch *watches GUARDED_BY(watch_lock);
    uint32_t nr_watches GUARDED_BY(watch_lock);
    uint32_t free_watch GUARDED_BY(watch_lock); /* index + 1 */
    int64_t waking GUARDED_BY(watch_lock);      /* handle whose queue is being woken; 0: none */
    pthread_t thread GUARDED_BY(watch_lock);    /* that runs the loop */
    unsigned int nr_unwatching GUARDED_BY(watch_lock);
    pthread_cond_t woken;
};

static int64_t watch_handle(uint32_t index, uint32_t generation)
{
    return (int64_t)generation << 32 | (index + 1);
}

/* The slot of a handle, or NULL if its watch has ended. */
static struct watch *watch_find(struct host_loop *l, int64_t handle) REQUIRES(l->watch_lock)
{
    uint32_t index = (uint32_t)handle - 1;

    if (index >= l->nr_watches || !l->watches[index].wq || l->watches[index].generation != (uint32_t)(handle >> 32))
        return NULL;
    return &l->watches[index];
}

static void on_watch(struct ev_loop *ev, ev_io *io, int revents)
{
    struct host_loop *l = container_of(io, struct host_loop, watch_io);
    struct epoll_event events[32];
    int n = epoll_wait(l->watch_epfd, events, ARRAY_SIZE(events), 0);

    for (int i = 0; i < n; i++) {
        struct waitq *wq = NULL;
        struct watch *w;

        mutex_lock(&l->watch_lock);
        w = watch_find(l, (int64_t)events[i].data.u64);
        if (w) {
            wq = w->wq;
            l->waking = (int64_t)events[i].data.u64;
        }
        mutex_unlock(&l->watch_lock);
        if (!wq)
            continue;
        waitq_wake(wq, events[i].events); /* EPOLL* bits are POLL* bits */
        mutex_lock(&l->watch_lock);
        l->waking = 0;
        if (l->nr_unwatching)
            pthread_cond_broadcast(&l->woken);
        mutex_unlock(&l->watch_lock);
    }
}

static void on_timer(struct ev_loop *ev, ev_io *io, int revents)
{
    timer_queue_run(container_of(io, struct host_loop, timer_io)->timers);
}

static void on_kick(struct ev_loop *ev, ev_async *kick, int revents)
{
    struct host_loop *l = container_of(kick, struct host_loop, kick);
    struct list_head todo;

    list_init(&todo);
    mutex_lock(&l->work_lock);
    list_splice_tail_init(&l->work, &todo);
    mutex_unlock(&l->work_lock);
    while (!list_empty(&todo)) {
        struct host_work *w = list_first_entry(&todo, struct host_work, node);

        list_del_init(&w->node);
        w->fn(w);
    }
    if (atomic_load(&l->stopping))
        ev_break(l->ev, EVBREAK_ALL);
}

int host_loop_create(struct host_loop **out)
{
    struct host_loop *l = calloc(1, sizeof(*l));
    int err = -ENOMEM;

    if (!l)
        return -ENOMEM;
    mutex_init(&l->work_lock);
    mutex_init(&l->watch_lock);
    pthread_cond_init(&l->woken, NULL);
    list_init(&l->work);
    l->watch_epfd = epoll_create1(EPOLL_CLOEXEC);
    if (l->watch_epfd < 0) {
        err = -errno;
        goto fail;
    }
    err = timer_queue_create(&l->timers);
    if (err)
        goto fail;
    l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!l->ev) {
        err = -ENOMEM;
        goto fail;
    }
    ev_async_init(&l->kick, on_kick);
    ev_async_start(l->ev, &l->kick);
    ev_io_init(&l->timer_io, on_timer, timer_queue_fd(l->timers), EV_READ);
    ev_io_start(l->ev, &l->timer_io);
    ev_io_init(&l->watch_io, on_watch, l->watch_epfd, EV_READ);
    ev_io_start(l->ev, &l->watch_io);
    *out = l;
    return 0;
fail:
    timer_queue_destroy(l->timers);
    if (l->watch_epfd >= 0)
        close(l->watch_epfd);
    free(l);
    return err;
}

void host_loop_destroy(struct host_loop *l)
{
    if (!l)
        return;
    ev_async_stop(l->ev, &l->kick);
    ev_io_stop(l->ev, &l->timer_io);
    ev_io_stop(l->ev, &l->watch_io);
    ev_loop_destroy(l->ev);
    timer_queue_destroy(l->timers);
    close(l->watch_epfd);
    mutex_lock(&l->watch_lock);
    free(l->watches);
    mutex_unlock(&l->watch_lock);
    mutex_fini(&l->watch_lock);
    mutex_fini(&l->work_lock);
    pthread_cond_destroy(&l->woken);
    free(l);
}

void host_loop_run(struct host_loop *l)
{
    mutex_lock(&l->watch_lock);
    l->thread = pthread_self();
    mutex_unlock(&l->watch_lock);
    if (!atomic_load(&l->stopping))
        ev_run(l->ev, 0);
}

void host_loop_stop(struct host_loop *l)
{
    atomic_store(&l->stopping, true);
    ev_async_send(l->ev, &l->kick);
}

void host_loop_post(struct host_loop *l, struct host_work *w)
{
    mutex_lock(&l->work_lock);
    list_add_tail(&w->node, &l->work);
    mutex_unlock(&l->work_lock);
    ev_async_send(l->ev, &l->kick);
}

struct ev_loop *host_loop_ev(struct host_loop *l)
{
    return l->ev;
}

struct timer_queue *host_loop_timers(struct host_loop *l)
{
    return l->timers;
}

static int watch_table_grow(struct host_loop *l) REQUIRES(l->watch_lock)
{
    uint32_t nr = l->nr_watches ? l->nr_watches * 2 : 16;
    struct watch *grown = realloc(l->watches, nr * sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    for (uint32_t i = l->nr_watches; i < nr; i++)
        grown[i] = (struct watch){.fd = -1, .generation = 1, .next_free = i + 1 < nr ? i + 2 : 0};
    l->free_watch = l->nr_watches + 1;
    l->watches = grown;
    l->nr_watches = nr;
    return 0;
}

int64_t host_loop_watch(struct host_loop *l, int host_fd, struct waitq *wq)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET};
    struct watch *w;
    uint32_t index;
    int64_t ret;

    mutex_lock(&l->watch_lock);
    if (!l->free_watch && (ret = watch_table_grow(l)) < 0)
        goto out;
    index = l->free_watch - 1;
    w = &l->watches[index];
    ret = watch_handle(index, w->generation);
    ev.data.u64 = (uint64_t)ret;
    if (epoll_ctl(l->watch_epfd, EPOLL_CTL_ADD, host_fd, &ev) < 0) {
        ret = -errno;
        goto out;
    }
    l->free_watch = w->next_free;
    w->wq = wq;
    w->fd = host_fd;
out:
    mutex_unlock(&l->watch_lock);
    return ret;
}

void host_loop_unwatch(struct host_loop *l, int64_t handle)
{
    struct watch *w;

    mutex_lock(&l->watch_lock);
    w = watch_find(l, handle);
    if (w) {
        epoll_ctl(l->watch_epfd, EPOLL_CTL_DEL, w->fd, NULL);
        w->wq = NULL;
        w->fd = -1;
        w->generation = (w->generation + 1) & 0x7fffffff;
        if (!w->generation)
            w->generation = 1;
        w->next_free = l->free_watch;
        l->free_watch = (uint32_t)handle;
        while (l->waking == handle && !pthread_equal(l->thread, pthread_self())) {
            l->nr_unwatching++;
            pthread_cond_wait(&l->woken, &l->watch_lock.m);
            l->nr_unwatching--;
        }
    }
    mutex_unlock(&l->watch_lock);
}
