/*
 * The netstack of the sandbox and its thread: an epoll instance with the links' descriptors and one timerfd for the stack's
 * timers. Whoever arms an earlier timer sets the timerfd, which wakes nobody; an idle sandbox's thread sleeps for good.
 *
 * A peer on this machine has often answered before the sender's call is over. So a task that has just sent something looks for
 * the answer itself before it sleeps, which saves it from being woken by the thread. When there is much to receive the thread
 * had better do it all: it does so beside the tasks, and many frames at a time.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "lib/log.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/net.h"
#include "sentry/socket/netlink/netlink.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RECENT_NS 200000  /* a task expects an answer to what it has sent no longer ago than that */
#define BUSY_NS   1000000 /* the thread is at it anyway if it has received something no longer ago than that */

struct net_rx {
    struct net *net;
    struct rx_source *links;  /* immutable once tasks run */
    struct mutex link_lock;   /* held by whoever receives from links; outside of the stack's lock */
    _Atomic(int64_t) busy_at; /* when the thread last received from one */
    pthread_t thread;
    int epfd, timerfd;
    struct mutex timer_lock;              /* inside the stack's lock */
    int64_t armed GUARDED_BY(timer_lock); /* what the timerfd is set to; INT64_MAX: nothing */
};

static int64_t stack_now(void *ctx)
{
    return kernel_monotonic_ns();
}

static int64_t stack_realtime(void *ctx)
{
    return kernel_realtime_ns();
}

static void stack_random(void *ctx, void *buf, size_t len)
{
    if (getrandom(buf, len, 0) != (ssize_t)len)
        abort();
}

/* Makes the timerfd fire at `deadline` at the latest. */
static void arm(struct net_rx *rx, int64_t deadline)
{
    struct itimerspec when = {0};

    mutex_lock(&rx->timer_lock);
    if (deadline < rx->armed) {
        rx->armed = deadline;
        if (deadline <= 0)
            deadline = 1;
        when.it_value = (struct timespec){deadline / NSEC_PER_SEC, deadline % NSEC_PER_SEC};
        timerfd_settime(rx->timerfd, TFD_TIMER_ABSTIME, &when, NULL);
    }
    mutex_unlock(&rx->timer_lock);
}

static void stack_kick(void *ctx, int64_t deadline)
{
    struct net *net = ctx;

    arm(net->rx, deadline);
}

static void stack_notify(void *ctx, enum netstack_event event, const void *object)
{
    netlink_notify(ctx, event, object);
}

static const struct netstack_ops stack_ops = {
    .now = stack_now,
    .realtime = stack_realtime,
    .kick = stack_kick,
    .random = stack_random,
    .notify = stack_notify,
};

static void run_timers(struct net_rx *rx)
{
    uint64_t fired;
    int64_t next;

    if (read(rx->timerfd, &fired, sizeof(fired)) < 0 && errno != EAGAIN)
        log_warn("network timer: %s", strerror(errno));
    mutex_lock(&rx->timer_lock);
    rx->armed = INT64_MAX;
    mutex_unlock(&rx->timer_lock);
    next = netstack_run_timers(rx->net->stack);
    if (next != INT64_MAX)
        arm(rx, next);
}

/* On a task's thread, unless somebody is receiving already. */
static void receive(struct net_rx *rx)
{
    if (!mutex_trylock(&rx->link_lock))
        return;
    for (struct rx_source *l = rx->links; l; l = l->next)
        l->readable(l);
    mutex_unlock(&rx->link_lock);
}

static void thread_receive(struct net_rx *rx, struct rx_source *source)
{
    if (!source->link) {
        source->readable(source);
        return;
    }
    mutex_lock(&rx->link_lock);
    source->readable(source);
    mutex_unlock(&rx->link_lock);
    atomic_store_explicit(&rx->busy_at, kernel_monotonic_ns(), memory_order_relaxed);
}

static void *rx_main(void *arg)
{
    struct net_rx *rx = arg;
    struct epoll_event events[32];

    for (;;) {
        int n = epoll_wait(rx->epfd, events, ARRAY_SIZE(events), -1);

        for (int i = 0; i < n; i++) {
            struct rx_source *source = events[i].data.ptr;

            if (!source)
                run_timers(rx);
            else
                thread_receive(rx, source);
        }
    }
    return NULL;
}

/* When this thread last sent a frame, and has not looked for an answer since; 0: never. */
static _Thread_local int64_t sent_at;

void net_sent(void)
{
    sent_at = kernel_monotonic_ns();
}

/* On behalf of a task that is about to sleep. */
static void look_for_answer(struct task *t)
{
    struct net_rx *rx = t->k->net->rx;
    int64_t sent = sent_at, now;

    if (sent == 0)
        return;
    sent_at = 0;
    now = kernel_monotonic_ns();
    if (now - sent < RECENT_NS && now - atomic_load_explicit(&rx->busy_at, memory_order_relaxed) > BUSY_NS)
        receive(rx);
}

int net_rx_watch(struct net *net, struct rx_source *source, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = source};

    if (source && source->link) {
        source->next = net->rx->links;
        net->rx->links = source;
        net->k->before_sleep = look_for_answer;
    }
    return epoll_ctl(net->rx->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* Guest signals never come to this thread. */
static int start_thread(struct net_rx *rx)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&rx->thread, NULL, rx_main, rx);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int net_rx_start(struct net *net)
{
    int r = start_thread(net->rx);

    /* What was armed before there was anybody to tell. */
    if (r == 0)
        arm(net->rx, 1);
    return r;
}

/* The descriptors are made here because a confined sentry makes none. */
static int make_rx(struct net *net)
{
    struct net_rx *rx = calloc(1, sizeof(*rx));

    if (!rx)
        return -ENOMEM;
    rx->net = net;
    mutex_init(&rx->link_lock);
    mutex_init(&rx->timer_lock);
    mutex_lock(&rx->timer_lock);
    rx->armed = INT64_MAX;
    mutex_unlock(&rx->timer_lock);
    rx->epfd = epoll_create1(EPOLL_CLOEXEC);
    rx->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    net->rx = rx;
    return rx->epfd < 0 || rx->timerfd < 0 ? -errno : net_rx_watch(net, NULL, rx->timerfd);
}

int net_stack_create(struct net *net)
{
    int r = make_rx(net);

    return r < 0 ? r : netstack_create(&stack_ops, net, &net->stack);
}

void net_stack_destroy(struct net *net)
{
    if (net->stack)
        netstack_destroy(net->stack);
    if (net->rx) {
        close(net->rx->epfd);
        close(net->rx->timerfd);
        mutex_fini(&net->rx->timer_lock);
        mutex_fini(&net->rx->link_lock);
        free(net->rx);
    }
}
