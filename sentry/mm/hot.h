/*
 * Pages that are written soon after a fork, by either side: the top of the stack, the thread's control block, libc's state.
 *
 * Sharing such a page only to copy it on a fault a moment later costs several times what copying it at once does. So an address
 * space and those forked from it remember together which pages these were the last times, and mm_fork() copies them.
 */
#ifndef SENTRY_MM_HOT_H
#define SENTRY_MM_HOT_H

#include "lib/refcount.h"

#include <stdatomic.h>
#include <stdint.h>

#define HOT_PAGES 32
/* So many first writes after a fork count as soon. */
#define HOT_SOON 48

struct hot_pages {
    struct refcount ref;
    atomic_uint next;
    atomic_ullong page[HOT_PAGES]; /* guest addresses; 0: none */
};

struct hot_pages *hot_pages_create(void); /* NULL when out of memory, which is no harm */
struct hot_pages *hot_pages_get(struct hot_pages *h);
void hot_pages_put(struct hot_pages *h);
void hot_pages_note(struct hot_pages *h, uint64_t addr);
/* The lowest of them in [start, end), or `end`. */
uint64_t hot_pages_next(struct hot_pages *h, uint64_t start, uint64_t end);

#endif
