/*
 * The asynchronous I/O of io_setup(2): contexts and their completed events. Requests are served while they are submitted, so
 * that nothing is ever under way; what is asynchronous about it is only the order in which a program may ask.
 *
 * A context is a page mapped into its process (libaio reads the ring's header there; ours says that there is none) from a file
 * of its own, and is found by its address through that mapping. So it lives and dies with the address space.
 */
#ifndef SENTRY_KERNEL_AIO_H
#define SENTRY_KERNEL_AIO_H

#include "lib/compiler.h"

#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>

struct aio_context;
struct file;
struct task;

/* The context's address, or -errno. */
int64_t aio_setup(struct task *t, unsigned int nr_events);
int aio_destroy(struct task *t, uint64_t ctx);
/* The context at this address, kept by its file, which is referenced; NULL if there is none. */
struct aio_context *aio_find(struct task *t, uint64_t ctx, struct file **f);
/* A place for one more event: false when all nr_events are taken or waiting to be read. */
bool must_check aio_reserve(struct aio_context *c);
void aio_unreserve(struct aio_context *c);
void aio_complete(struct aio_context *c, const struct io_event *ev);
/* Takes up to `max` events, waiting until `deadline` for `min`. How many, or -EINTR, -EINVAL when it is destroyed. */
int64_t aio_get_events(struct task *t, struct aio_context *c, long min, long max, uint64_t events, int64_t deadline);
/* /proc/sys/fs/aio-max-nr's value. */
#define AIO_MAX_NR 65536

#endif
