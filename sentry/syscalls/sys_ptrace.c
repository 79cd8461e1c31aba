/* ptrace. */
#include "sentry/kernel/ptrace.h"
#include "sentry/syscalls/syscalls.h"

int64_t sys_ptrace(struct task *t, const struct syscall_args *a)
{
    return ptrace_request(t, arg_long(a, 0), arg_int(a, 1), a->v[2], a->v[3]);
}
