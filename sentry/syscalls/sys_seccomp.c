/* seccomp(2); prctl(PR_SET_SECCOMP) comes here as well. */
#include "sentry/kernel/seccomp.h"

#include "sentry/syscalls/syscalls.h"

#include <linux/seccomp.h>

#define KNOWN_FLAGS \
    (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_TSYNC_ESRCH)

static bool action_is_available(uint32_t action)
{
    switch (action) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW:
        return true;
    default:
        return false;
    }
}

int64_t sys_seccomp(struct task *t, const struct syscall_args *a)
{
    unsigned int flags = arg_uint(a, 1);
    uint32_t action;

    switch (arg_uint(a, 0)) {
    case SECCOMP_SET_MODE_STRICT:
        return flags || a->v[2] ? -EINVAL : seccomp_set_strict(t);
    case SECCOMP_SET_MODE_FILTER:
        if (flags & ~(unsigned int)KNOWN_FLAGS)
            return -EINVAL;
        return seccomp_set_filter(t, flags, arg_addr(a, 2));
    case SECCOMP_GET_ACTION_AVAIL:
        if (flags)
            return -EINVAL;
        if (copy_in(t, &action, arg_addr(a, 2), sizeof(action)))
            return -EFAULT;
        return action_is_available(action) ? 0 : -EOPNOTSUPP;
    default:
        return -EINVAL; /* SECCOMP_GET_NOTIF_SIZES among them: no listener can be made */
    }
}
