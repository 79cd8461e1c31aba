/* eventfd(2): a 64-bit counter behind a descriptor. */
#ifndef VFS_EVENTFD_H
#define VFS_EVENTFD_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct file;

/* `semaphore`: each read takes one. `flags`: O_NONBLOCK or 0. */
int must_check eventfd_create(uint64_t count, bool semaphore, int flags, struct file **out);
bool file_is_eventfd(const struct file *f);
/* Adds to the counter from inside the sentry (AIO completion), stopping at the maximum. */
void eventfd_signal(struct file *f, uint64_t n);

#endif
