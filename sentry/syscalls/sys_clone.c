/* fork, vfork, clone, clone3. */
#include "sentry/kernel/fork.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/sched.h>
#include <string.h>

#define CLONE_CLEAR_SIGHAND_ 0x100000000ULL
#define CLONE_INTO_CGROUP_   0x200000000ULL
#define CLONE3_KNOWN_FLAGS   (0xffffffffULL | CLONE_CLEAR_SIGHAND_ | CLONE_INTO_CGROUP_)

int64_t sys_fork(struct task *t, const struct syscall_args *a)
{
    return task_clone(t, &(struct clone_request){.exit_signal = SIGCHLD});
}

int64_t sys_vfork(struct task *t, const struct syscall_args *a)
{
    return task_clone(t, &(struct clone_request){.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD});
}

int64_t sys_clone(struct task *t, const struct syscall_args *a)
{
    const struct clone_request rq = {
        .flags = a->v[0] & 0xffffffff & ~(uint64_t)CSIGNAL,
        .exit_signal = (int)(a->v[0] & CSIGNAL),
        .stack = a->v[1],
        .parent_tid = arg_addr(a, 2),
        .pidfd = arg_addr(a, 2),
        .child_tid = arg_addr(a, 3),
        .tls = a->v[4],
    };

    /* Both results would go to the same place. */
    if ((rq.flags & CLONE_PIDFD) && (rq.flags & CLONE_PARENT_SETTID))
        return -EINVAL;
    return task_clone(t, &rq);
}

/* Fetches an extensible struct: what the caller's version lacks reads as zero, what ours lacks must be zero (-E2BIG). */
static int64_t copy_clone_args(struct task *t, guest_addr at, size_t size, struct clone_args *out)
{
    unsigned char page[GUEST_PAGE_SIZE];
    int r;

    if (size > sizeof(page))
        return -E2BIG;
    if (size < CLONE_ARGS_SIZE_VER0)
        return -EINVAL;
    r = copy_in(t, page, at, size);
    if (r)
        return r;
    for (size_t i = sizeof(*out); i < size; i++)
        if (page[i])
            return -E2BIG;
    memset(out, 0, sizeof(*out));
    memcpy(out, page, size < sizeof(*out) ? size : sizeof(*out));
    return 0;
}

int64_t sys_clone3(struct task *t, const struct syscall_args *a)
{
    struct clone_request rq;
    struct clone_args ca;
    int64_t r = copy_clone_args(t, arg_addr(a, 0), arg_size(a, 1), &ca);

    if (r)
        return r;
    if ((ca.flags & ~CLONE3_KNOWN_FLAGS) || (ca.flags & (CLONE_DETACHED | (CSIGNAL & ~0x80ULL)))) /* 0x80: CLONE_NEWTIME */
        return -EINVAL;
    if (ca.exit_signal > KERNEL_NSIG)
        return -EINVAL;
    if ((ca.flags & (CLONE_THREAD | CLONE_PARENT)) && ca.exit_signal)
        return -EINVAL;
    if (!ca.stack != !ca.stack_size)
        return -EINVAL;
    if (ca.stack_size &&
        (ca.stack + ca.stack_size < ca.stack || ca.stack + ca.stack_size > platform_limits(t->k->platform)->max))
        return -EINVAL;
    if (!ca.set_tid != !ca.set_tid_size || ca.set_tid_size > 32)
        return -EINVAL;
    if (ca.set_tid_size)
        return cred_has_cap(t->cred, CAP_SYS_ADMIN) || cred_has_cap(t->cred, 40 /* CAP_CHECKPOINT_RESTORE */) ? -EINVAL
                                                                                                              : -EPERM;
    if (ca.flags & CLONE_INTO_CGROUP_)
        return -EOPNOTSUPP; /* there is one control group */
    rq = (struct clone_request){
        .flags = ca.flags,
        .exit_signal = (int)ca.exit_signal,
        .pidfd = guest_addr_of(ca.pidfd),
        .child_tid = guest_addr_of(ca.child_tid),
        .parent_tid = guest_addr_of(ca.parent_tid),
        .stack = ca.stack_size ? ca.stack + ca.stack_size : 0,
        .tls = ca.tls,
    };
    return task_clone(t, &rq);
}
