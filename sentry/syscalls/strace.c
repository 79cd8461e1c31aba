/* Prints calls with their arguments and results. */
#include "sentry/syscalls/strace.h"

#include "lib/log.h"

#include <inttypes.h>

int64_t strace_call(struct task *t, const struct syscall_desc *d, const struct syscall_args *a)
{
    int64_t r = d->fn(t, a);

    log_info("[%d %s] %s(%#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ") = %" PRId64,
             t->tid, t->comm, d->name, a->v[0], a->v[1], a->v[2], a->v[3], a->v[4], a->v[5], r);
    return r;
}
