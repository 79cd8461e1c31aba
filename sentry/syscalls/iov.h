/* Fetching iovec arrays, for the calls that take them. */
#ifndef SENTRY_SYSCALLS_IOV_H
#define SENTRY_SYSCALLS_IOV_H

#include "sentry/kernel/task.h"

#define IOV_INLINE       8
#define IOV_MAX_SEGMENTS 1024

struct guest_iov {
    struct iovec few[IOV_INLINE];
    struct iovec *iov; /* `few` or from the heap */
    int n;
};

/* Copies `n` vectors in: 0, -EINVAL (too many), -EFAULT, -ENOMEM. iov_fini() in any case. */
int must_check iov_fetch(struct task *t, guest_addr at, uint64_t n, struct guest_iov *out);
void iov_fini(struct guest_iov *v);

#endif
