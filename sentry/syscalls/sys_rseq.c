/* rseq(2). */
#include "sentry/kernel/rseq.h"
#include "sentry/syscalls/syscalls.h"

#define RSEQ_FLAG_UNREGISTER 1

int64_t sys_rseq(struct task *t, const struct syscall_args *a)
{
    int flags = arg_int(a, 2);

    if (flags & ~RSEQ_FLAG_UNREGISTER)
        return -EINVAL;
    if (flags & RSEQ_FLAG_UNREGISTER)
        return rseq_unregister(t, arg_addr(a, 0), arg_uint(a, 1), arg_uint(a, 3));
    return rseq_register(t, arg_addr(a, 0), arg_uint(a, 1), arg_uint(a, 3));
}
