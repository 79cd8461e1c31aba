/*
 * Wait queues: how anything that can be waited for tells its waiters.
 *
 * An object that can become ready owns a `struct waitq`. Whoever is interested links a `struct waitq_entry`
 * into it; waitq_wake() then calls the entry's callback for each waiter whose mask matches. The callback
 * runs under the queue's lock: it may set flags, wake a host thread or wake *another* queue (epoll does),
 * but must not block, and must not add or remove entries of the same queue.
 *
 * Events are poll(2) bits (POLLIN, POLLOUT, POLLERR, POLLHUP, POLLPRI, POLLRDHUP...). POLLERR and POLLHUP reach every
 * waiter whatever its mask.
 *
 * Lock order: a waitq's lock is a leaf except towards other waitqs, which nest outwards from the object to
 * its pollers (object -> epoll -> outer epoll). Objects may wake their queue while they hold their own lock.
 */
#ifndef LIB_WAITQ_H
#define LIB_WAITQ_H

#include "lib/list.h"
#include "lib/lock.h"

#include <stdatomic.h>
#include <stdint.h>

struct waitq {
    struct mutex lock;
    struct list_head waiters GUARDED_BY(lock);
    atomic_uint nr_waiters; /* lets waitq_wake() on an unwatched object skip the lock */
};

struct waitq_entry {
    struct list_head node;
    struct waitq *wq; /* NULL while not linked; changed only by the entry's owner */
    uint32_t mask;    /* events of interest */
    bool exclusive;   /* at most one exclusive waiter is woken per waitq_wake() */
    /* Returns true if the wake-up was used (an exclusive waiter that returns false passes it on). */
    bool (*wake)(struct waitq_entry *entry, uint32_t events);
};

void waitq_init(struct waitq *wq);
/* The queue must have no waiters. */
void waitq_fini(struct waitq *wq);
void waitq_add(struct waitq *wq, struct waitq_entry *entry);
/* Unlinks the entry; afterwards its callback is not running and will not run. No-op when not linked. */
void waitq_remove(struct waitq_entry *entry);
void waitq_wake(struct waitq *wq, uint32_t events);

#endif
