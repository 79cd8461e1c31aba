/*
 * Blocking: the one way a guest task waits for anything.
 *
 * The pattern, with the object's readiness behind a waitq:
 *
 *     struct task_wait w;
 *     task_wait_begin(t, &w, wq, POLLIN);
 *     while ((r = try_it()) == -EAGAIN && !(r2 = task_block(t, deadline)))
 *         ;
 *     task_wait_end(&w);
 *
 * The entry is linked before the first try, so that no wake-up is lost; spurious wake-ups are allowed.
 */
#ifndef SENTRY_KERNEL_WAIT_H
#define SENTRY_KERNEL_WAIT_H

#include "lib/waitq.h"

#include <stdint.h>

struct task;
struct file;

#define TASK_NO_DEADLINE INT64_MAX

struct task_wait {
    struct waitq_entry entry;
    struct task *task;
};

void task_wait_begin(struct task *t, struct task_wait *w, struct waitq *wq, uint32_t events);
void task_wait_begin_exclusive(struct task *t, struct task_wait *w, struct waitq *wq, uint32_t events);
void task_wait_end(struct task_wait *w);

/*
 * Sleeps the calling task until task_wake(), a signal it must act on, or the deadline (CLOCK_MONOTONIC ns). Returns 0 (woken,
 * maybe spuriously), -ETIMEDOUT, or -ERESTARTSYS for a signal; callers that must not restart turn that into -EINTR. No lock may
 * be held.
 */
int task_block(struct task *t, int64_t deadline);
/* The same, but only SIGKILL (and group exit) interrupts. */
int task_block_killable(struct task *t, int64_t deadline);
/* The same, whatever signals come; for waits that end by themselves. */
void task_block_uninterruptible(struct task *t);
/* Wakes `t` from task_block(), now or at its next call. Any thread; takes no locks. */
void task_wake(struct task *t);

/*
 * For read, write and the like: runs `try` until it returns something else than -EAGAIN, blocking on f->wq for `events` unless
 * the file is O_NONBLOCK or the deadline passes (-EAGAIN then). -ERESTARTSYS on a signal.
 */
int64_t task_retry_file(struct task *t, struct file *f, uint32_t events, int64_t deadline, bool nonblock,
                        int64_t (*try_op)(void *arg), void *arg);

#endif
