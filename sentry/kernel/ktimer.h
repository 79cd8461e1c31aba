/*
 * One-shot kernel timers: call a function on the event loop's thread at a CLOCK_MONOTONIC time.
 *
 * All armed timers of a sandbox sit in one heap (intrusive: arming allocates nothing and cannot fail), behind one timerfd that
 * is set to the earliest of them. Setting and cancelling cost a short lock, and a host call only when the timer becomes the
 * earliest. Blocking calls with timeouts do not need this: task_block() has a deadline of its own.
 *
 * The callback holds no lock, may take any lock of the kernel, must not block for long, and may set its own timer again.
 */
#ifndef SENTRY_KERNEL_KTIMER_H
#define SENTRY_KERNEL_KTIMER_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct host_loop;
struct timer_queue;

#define KTIMER_NEVER INT64_MAX

struct ktimer {
    void (*fn)(struct ktimer *kt); /* immutable */
    struct timer_queue *queue;     /* immutable */
    /* The queue's: see ktimer.c. */
    int64_t deadline; /* KTIMER_NEVER: not armed */
    struct ktimer *child, *sibling, *prev;
};

void ktimer_init(struct ktimer *kt, struct host_loop *loop, void (*fn)(struct ktimer *kt));
/* (Re)arms; a deadline in the past fires at once. KTIMER_NEVER cancels. */
void ktimer_set(struct ktimer *kt, int64_t deadline_monotonic_ns);
/* Disarms; true if it was armed, which means that the callback will not run. A callback that has begun may still be running. */
bool ktimer_cancel(struct ktimer *kt);
/* Disarms and waits for a callback that has begun, unless called from within it. Afterwards the memory may be freed. No lock
 * that the callback takes may be held. */
void ktimer_cancel_sync(struct ktimer *kt);

/* The heap behind host_loop: made and driven by sentry/host/loop.c. */
int must_check timer_queue_create(struct timer_queue **out);
void timer_queue_destroy(struct timer_queue *q);
int timer_queue_fd(const struct timer_queue *q); /* readable when timer_queue_run() has something to do */
void timer_queue_run(struct timer_queue *q);

#endif
