/*
 * The main thread's event loop (libev): the control socket, host descriptors that guest files stand on, timers (see
 * sentry/kernel/ktimer.h), and work that other threads post to it.
 *
 * Everything here but host_loop_run() may be called from any thread. Whatever the loop runs must not block.
 *
 * Lock order: the loop's locks are inside every lock of the kernel and the VFS; waitq locks are inside the watch lock.
 */
#ifndef SENTRY_HOST_LOOP_H
#define SENTRY_HOST_LOOP_H

#include "lib/compiler.h"
#include "lib/list.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct host_loop;
struct timer_queue;
struct waitq;

int must_check host_loop_create(struct host_loop **out);
/* Nothing may be watched or armed any more. */
void host_loop_destroy(struct host_loop *l);
/* Serves events on the calling thread until host_loop_stop(). */
void host_loop_run(struct host_loop *l);
void host_loop_stop(struct host_loop *l);

/* A piece of work for the loop's thread. The poster owns the memory; `fn` may free it. */
struct host_work {
    struct list_head node;
    void (*fn)(struct host_work *w);
};
/* Runs w->fn once on the loop's thread, soon. The work must not be posted already. */
void host_loop_post(struct host_loop *l, struct host_work *w);

/* For watchers of the main thread's own (control socket, signals): only to be used on that thread or before it runs. */
struct ev_loop *host_loop_ev(struct host_loop *l);

/*
 * Watching a host descriptor on behalf of a guest file: each time the descriptor becomes ready for something (edge
 * triggered), waitq_wake(wq, the poll bits) is called on the loop's thread. Readiness that exists when the watch begins is
 * reported as well, so the pattern "link the waiter, try, EAGAIN, watch if not yet watched, block" loses nothing.
 *
 * Returns a handle > 0 for host_loop_unwatch(), or -errno: -EPERM for descriptors that are always ready (regular files).
 * Watching costs one epoll_ctl; a file does it once, when somebody first has to wait for it.
 */
int64_t must_check host_loop_watch(struct host_loop *l, int host_fd, struct waitq *wq);
/* After this, the queue is not touched any more. To be called before the descriptor is closed. */
void host_loop_unwatch(struct host_loop *l, int64_t handle);

/* The timers that this loop drives. */
struct timer_queue *host_loop_timers(struct host_loop *l);

#endif
