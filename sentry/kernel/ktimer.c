/*
 * The timer queue: a pairing heap of armed timers by deadline, in front of one timerfd.
 *
 * In a pairing heap every node keeps a list of children (`child`, then their `sibling`s; `prev` is the left sibling, or the
 * parent for the first child). Joining two heaps makes the later root the first child of the earlier one; taking a node out
 * joins its children in pairs. That is all it takes to insert in constant and remove in amortised logarithmic time without any
 * memory but the nodes.
 *
 * The timerfd may be set earlier than the first deadline, after a cancel; it then fires once for nothing, which is cheaper than
 * a host call at each cancel. It is never set later, except while timer_queue_run() is working, which sets it at its end.
 */
#include "sentry/kernel/ktimer.h"

#include "lib/lock.h"
#include "sentry/host/loop.h"
#include "sentry/kernel/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct timer_queue {
    int fd;
    struct mutex lock;
    pthread_cond_t idle;
    struct ktimer *root GUARDED_BY(lock);
    int64_t programmed GUARDED_BY(lock);      /* what the timerfd is set to */
    bool draining GUARDED_BY(lock);           /* timer_queue_run() will set the timerfd */
    struct ktimer *running GUARDED_BY(lock);  /* whose callback runs now */
    pthread_t runner GUARDED_BY(lock);        /* by which thread, while running */
    unsigned int nr_waiting GUARDED_BY(lock); /* in ktimer_cancel_sync() */
};

static struct ktimer *heap_join(struct ktimer *a, struct ktimer *b)
{
    struct ktimer *t;

    if (!a)
        return b;
    if (!b)
        return a;
    if (b->deadline < a->deadline) {
        t = a;
        a = b;
        b = t;
    }
    b->sibling = a->child;
    if (b->sibling)
        b->sibling->prev = b;
    b->prev = a;
    a->child = b;
    return a;
}

/* Joins a list of siblings into one heap: pairs from left to right, then the pairs from right to left. */
static struct ktimer *heap_join_siblings(struct ktimer *first)
{
    struct ktimer *pairs = NULL, *result = NULL, *a, *b, *next;

    for (; first; first = next) {
        a = first;
        b = a->sibling;
        next = b ? b->sibling : NULL;
        a->sibling = a->prev = NULL;
        if (b)
            b->sibling = b->prev = NULL;
        a = heap_join(a, b);
        a->sibling = pairs;
        pairs = a;
    }
    for (; pairs; pairs = next) {
        next = pairs->sibling;
        pairs->sibling = NULL;
        result = heap_join(result, pairs);
    }
    return result;
}

static void heap_remove(struct timer_queue *q, struct ktimer *kt) REQUIRES(q->lock)
{
    struct ktimer *below = heap_join_siblings(kt->child);

    if (kt == q->root) {
        q->root = below;
    } else {
        if (kt->prev->child == kt)
            kt->prev->child = kt->sibling;
        else
            kt->prev->sibling = kt->sibling;
        if (kt->sibling)
            kt->sibling->prev = kt->prev;
        q->root = heap_join(q->root, below);
    }
    kt->child = kt->sibling = kt->prev = NULL;
    kt->deadline = KTIMER_NEVER;
}

static void program_timerfd(struct timer_queue *q) REQUIRES(q->lock)
{
    struct itimerspec its = {0};
    int64_t at;

    if (q->draining || !q->root || q->root->deadline >= q->programmed)
        return;
    at = q->root->deadline > 0 ? q->root->deadline : 1; /* 0 would disarm */
    its.it_value.tv_sec = at / 1000000000;
    its.it_value.tv_nsec = at % 1000000000;
    q->programmed = q->root->deadline;
    timerfd_settime(q->fd, TFD_TIMER_ABSTIME, &its, NULL);
}

int timer_queue_create(struct timer_queue **out)
{
    struct timer_queue *q = calloc(1, sizeof(*q));
    int fd;

    if (!q)
        return -ENOMEM;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        int err = -errno;
        free(q);
        return err;
    }
    q->fd = fd;
    mutex_init(&q->lock);
    pthread_cond_init(&q->idle, NULL);
    q->programmed = KTIMER_NEVER;
    *out = q;
    return 0;
}

void timer_queue_destroy(struct timer_queue *q)
{
    if (!q)
        return;
    close(q->fd);
    pthread_cond_destroy(&q->idle);
    mutex_fini(&q->lock);
    free(q);
}

int timer_queue_fd(const struct timer_queue *q)
{
    return q->fd;
}

void timer_queue_run(struct timer_queue *q)
{
    uint64_t expirations;
    int64_t now;

    if (read(q->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
        return;
    now = kernel_monotonic_ns();
    mutex_lock(&q->lock);
    q->programmed = KTIMER_NEVER;
    q->draining = true;
    q->runner = pthread_self();
    while (q->root && q->root->deadline <= now) {
        struct ktimer *kt = q->root;

        heap_remove(q, kt);
        q->running = kt;
        mutex_unlock(&q->lock);
        kt->fn(kt);
        mutex_lock(&q->lock);
        q->running = NULL;
        if (q->nr_waiting)
            pthread_cond_broadcast(&q->idle);
    }
    q->draining = false;
    program_timerfd(q);
    mutex_unlock(&q->lock);
}

void ktimer_init(struct ktimer *kt, struct host_loop *loop, void (*fn)(struct ktimer *kt))
{
    *kt = (struct ktimer){.fn = fn, .queue = host_loop_timers(loop), .deadline = KTIMER_NEVER};
}

void ktimer_set(struct ktimer *kt, int64_t deadline)
{
    struct timer_queue *q = kt->queue;

    mutex_lock(&q->lock);
    if (kt->deadline != KTIMER_NEVER)
        heap_remove(q, kt);
    if (deadline != KTIMER_NEVER) {
        kt->deadline = deadline;
        q->root = heap_join(q->root, kt);
        program_timerfd(q);
    }
    mutex_unlock(&q->lock);
}

bool ktimer_cancel(struct ktimer *kt)
{
    struct timer_queue *q = kt->queue;
    bool armed;

    mutex_lock(&q->lock);
    armed = kt->deadline != KTIMER_NEVER;
    if (armed)
        heap_remove(q, kt);
    mutex_unlock(&q->lock);
    return armed;
}

void ktimer_cancel_sync(struct ktimer *kt)
{
    struct timer_queue *q = kt->queue;

    mutex_lock(&q->lock);
    for (;;) {
        if (kt->deadline != KTIMER_NEVER)
            heap_remove(q, kt);
        if (q->running != kt || pthread_equal(q->runner, pthread_self()))
            break;
        q->nr_waiting++;
        pthread_cond_wait(&q->idle, &q->lock.m);
        q->nr_waiting--;
    }
    mutex_unlock(&q->lock);
}
