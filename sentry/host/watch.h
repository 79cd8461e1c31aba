/*
 * Readiness of one host descriptor that a guest file stands on. Watching begins when somebody first has to wait, and goes on
 * for as long as the file is there.
 */
#ifndef SENTRY_HOST_WATCH_H
#define SENTRY_HOST_WATCH_H

#include "lib/lock.h"

#include <stdint.h>

struct host_loop;
struct waitq;

struct host_watch {
    struct host_loop *loop;
    struct waitq *wq; /* is woken */
    int fd;
    struct mutex lock;
    int64_t handle GUARDED_BY(lock); /* > 0: begun; < 0: there is nothing to watch */
};

void host_watch_init(struct host_watch *w, struct host_loop *loop, int fd, struct waitq *wq);
/* From now on the queue hears of the descriptor's readiness, beginning with what it is ready for now. */
void host_watch_begin(struct host_watch *w);
/* Before the descriptor is closed. */
void host_watch_fini(struct host_watch *w);
/* What the descriptor is ready for, of `events`: poll(2) bits. */
uint32_t host_ready(int fd, short events);

#endif
