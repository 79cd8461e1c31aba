#include "sentry/syscalls/iov.h"

#include <errno.h>
#include <stdlib.h>

int iov_fetch(struct task *t, guest_addr at, uint64_t n, struct guest_iov *out)
{
    out->iov = out->few;
    out->n = (int)n;
    if (n > IOV_MAX_SEGMENTS)
        return -EINVAL;
    if (n > IOV_INLINE) {
        out->iov = malloc(n * sizeof(struct iovec));
        if (!out->iov)
            return -ENOMEM;
    }
    return n && copy_in(t, out->iov, at, n * sizeof(struct iovec)) ? -EFAULT : 0;
}

void iov_fini(struct guest_iov *v)
{
    if (v->iov != v->few)
        free(v->iov);
}
