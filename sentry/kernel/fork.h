/* Making tasks: what fork, vfork, clone and clone3 have in common. */
#ifndef SENTRY_KERNEL_FORK_H
#define SENTRY_KERNEL_FORK_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stdint.h>

struct task;

struct clone_request {
    uint64_t flags; /* CLONE_*, without the exit signal */
    int exit_signal;
    guest_addr pidfd, parent_tid, child_tid;
    uint64_t stack; /* the child's stack pointer; 0: the caller's */
    uint64_t tls;
};

/*
 * The child's tid in the caller's eyes, or -errno as clone(2) (and -ERESTARTNOINTR when a signal should be taken first). With
 * CLONE_VFORK returns when the child has given up the address space.
 */
int64_t must_check task_clone(struct task *t, const struct clone_request *rq);

#endif
