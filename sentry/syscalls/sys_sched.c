/*
 * Scheduling policies, affinity and yielding. Policies and parameters are kept and reported under Linux's permission rules; the
 * host schedules the threads. Affinity decides which CPU a task is told to be on (task_cpu()).
 */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/cpus.h"
#include "sentry/syscalls/syscalls.h"

#include <sched.h>
#include <string.h>

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#define SCHED_EXT 7

#define MAX_RT_PRIO      99
#define SETPARAM_POLICY  (-1)
#define RR_INTERVAL_NS   100000000LL
#define FAIR_INTERVAL_NS 3000000LL

#define SCHED_FLAG_RESET_ON_FORK 0x01
#define SCHED_FLAG_KEEP_POLICY   0x08
#define SCHED_FLAG_KEEP_PARAMS   0x10
#define SCHED_FLAG_UTIL_CLAMP    0x60
#define SCHED_FLAG_ALL           0x7f
#define SCHED_ATTR_SIZE_VER0     48
#define SCHED_ATTR_SIZE_VER1     56

struct sched_attr_abi {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};

static bool rt_policy(int policy)
{
    return policy == SCHED_FIFO || policy == SCHED_RR;
}

static bool fair_policy(int policy)
{
    return policy == SCHED_OTHER || policy == SCHED_BATCH;
}

static bool same_owner(struct task *t, struct task *target)
{
    struct cred *c = task_get_cred(target);
    bool same = c && (t->cred->euid == c->uid || t->cred->euid == c->euid);

    if (c)
        cred_put(c);
    return same;
}

static struct task *sched_target(struct task *t, pid_t pid)
{
    return pid ? task_find(t->k, pid) : task_get(t);
}

/* The rules of sched(7) for those without CAP_SYS_NICE. siglock held. */
static int sched_check_unprivileged(struct task *t, struct task *target, int old_policy, bool old_reset, bool owner,
                                    const struct sched_attr_abi *attr)
{
    const struct rlimit64 *rl = target->tg->rlimits;
    int policy = (int)attr->policy;

    if (fair_policy(policy) && attr->nice < target->nice && (uint64_t)(20 - attr->nice) > rl[RLIMIT_NICE].rlim_cur)
        return -EPERM;
    if (rt_policy(policy)) {
        if (policy != old_policy && !rl[RLIMIT_RTPRIO].rlim_cur)
            return -EPERM;
        if ((int)attr->priority > target->sched_priority && attr->priority > rl[RLIMIT_RTPRIO].rlim_cur)
            return -EPERM;
    }
    if (policy == SCHED_DEADLINE)
        return -EPERM;
    if (old_policy == SCHED_IDLE && policy != SCHED_IDLE && (uint64_t)(20 - target->nice) > rl[RLIMIT_NICE].rlim_cur)
        return -EPERM;
    if (!owner || (old_reset && !(attr->flags & SCHED_FLAG_RESET_ON_FORK)))
        return -EPERM;
    return 0;
}

/* `attr->policy` of SETPARAM_POLICY keeps the policy. */
static int sched_set(struct task *t, struct task *target, struct sched_attr_abi *attr)
{
    bool privileged = cred_has_cap(t->cred, CAP_SYS_NICE), owner = same_owner(t, target);
    int policy = (int)attr->policy, old, err = 0;
    bool old_reset;

    if (policy >= 0 && !rt_policy(policy) && !fair_policy(policy) && policy != SCHED_IDLE && policy != SCHED_DEADLINE)
        return -EINVAL;
    mutex_lock(&target->tg->siglock);
    old = target->sched_policy & ~SCHED_RESET_ON_FORK;
    old_reset = target->sched_policy & SCHED_RESET_ON_FORK;
    if (policy < 0) {
        attr->policy = (uint32_t)(policy = old);
        if (old_reset)
            attr->flags |= SCHED_FLAG_RESET_ON_FORK;
    }
    if (attr->flags & SCHED_FLAG_KEEP_PARAMS) {
        attr->priority = (uint32_t)target->sched_priority;
        attr->nice = target->nice;
    }
    if (attr->flags & ~(uint64_t)SCHED_FLAG_ALL || attr->priority > MAX_RT_PRIO || rt_policy(policy) != (attr->priority != 0))
        err = -EINVAL;
    else if (!privileged)
        err = sched_check_unprivileged(t, target, old, old_reset, owner, attr);
    else if (policy == SCHED_DEADLINE)
        err = -EBUSY; /* no bandwidth to give */
    if (!err) {
        target->sched_policy = policy | (attr->flags & SCHED_FLAG_RESET_ON_FORK ? SCHED_RESET_ON_FORK : 0);
        target->sched_priority = (int)attr->priority;
        if (fair_policy(policy))
            target->nice = attr->nice;
    }
    mutex_unlock(&target->tg->siglock);
    return err;
}

static int64_t do_setscheduler(struct task *t, pid_t pid, int policy, guest_addr param)
{
    struct sched_attr_abi attr = {0};
    struct task *target;
    int32_t priority;
    int err;

    if (guest_is_null(param) || pid < 0)
        return -EINVAL;
    err = copy_in(t, &priority, param, sizeof(priority));
    if (err)
        return err;
    target = sched_target(t, pid);
    if (!target)
        return -ESRCH;
    if (policy != SETPARAM_POLICY && policy & SCHED_RESET_ON_FORK) {
        attr.flags |= SCHED_FLAG_RESET_ON_FORK;
        policy &= ~SCHED_RESET_ON_FORK;
    }
    attr.policy = (uint32_t)policy;
    attr.priority = (uint32_t)priority;
    attr.nice = target->nice;
    err = sched_set(t, target, &attr);
    task_put(target);
    return err;
}

int64_t sys_sched_setscheduler(struct task *t, const struct syscall_args *a)
{
    if (arg_int(a, 1) < 0)
        return -EINVAL;
    return do_setscheduler(t, arg_int(a, 0), arg_int(a, 1), arg_addr(a, 2));
}

int64_t sys_sched_setparam(struct task *t, const struct syscall_args *a)
{
    return do_setscheduler(t, arg_int(a, 0), SETPARAM_POLICY, arg_addr(a, 1));
}

int64_t sys_sched_getscheduler(struct task *t, const struct syscall_args *a)
{
    struct task *target;
    int policy;

    if (arg_int(a, 0) < 0)
        return -EINVAL;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    policy = target->sched_policy;
    task_put(target);
    return policy;
}

int64_t sys_sched_getparam(struct task *t, const struct syscall_args *a)
{
    struct task *target;
    int32_t priority;

    if (arg_int(a, 0) < 0 || guest_is_null(arg_addr(a, 1)))
        return -EINVAL;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    priority = target->sched_priority;
    task_put(target);
    return copy_out(t, arg_addr(a, 1), &priority, sizeof(priority));
}

/* An extensible struct: what we do not know must be zero. */
static int sched_attr_in(struct task *t, guest_addr at, struct sched_attr_abi *attr)
{
    static const uint32_t known = sizeof(*attr);
    char tail[256];
    uint32_t size;
    int err = copy_in(t, &size, at, sizeof(size));

    if (err)
        return err;
    if (!size)
        size = SCHED_ATTR_SIZE_VER0;
    if (size < SCHED_ATTR_SIZE_VER0 || size > GUEST_PAGE_SIZE)
        goto too_big;
    memset(attr, 0, sizeof(*attr));
    err = copy_in(t, attr, at, size < known ? size : known);
    if (err)
        return err;
    for (uint32_t off = known; off < size; off += sizeof(tail)) {
        uint32_t n = size - off < sizeof(tail) ? size - off : sizeof(tail);

        err = copy_in(t, tail, guest_add(at, off), n);
        if (err)
            return err;
        for (uint32_t i = 0; i < n; i++)
            if (tail[i])
                goto too_big;
    }
    attr->nice = attr->nice < -20 ? -20 : attr->nice > 19 ? 19 : attr->nice;
    return attr->flags & SCHED_FLAG_UTIL_CLAMP && size < SCHED_ATTR_SIZE_VER1 ? -EINVAL : 0;
too_big:
    err = copy_out(t, at, &known, sizeof(known));
    return err ? err : -E2BIG;
}

int64_t sys_sched_setattr(struct task *t, const struct syscall_args *a)
{
    struct sched_attr_abi attr;
    struct task *target;
    int err;

    if (guest_is_null(arg_addr(a, 1)) || arg_int(a, 0) < 0 || arg_uint(a, 2))
        return -EINVAL;
    err = sched_attr_in(t, arg_addr(a, 1), &attr);
    if (err)
        return err;
    if ((int)attr.policy < 0)
        return -EINVAL;
    if (attr.flags & SCHED_FLAG_UTIL_CLAMP)
        return -EOPNOTSUPP;
    if (attr.flags & SCHED_FLAG_KEEP_POLICY)
        attr.policy = (uint32_t)SETPARAM_POLICY;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    err = sched_set(t, target, &attr);
    task_put(target);
    return err;
}

int64_t sys_sched_getattr(struct task *t, const struct syscall_args *a)
{
    struct sched_attr_abi attr = {0};
    unsigned int size = arg_uint(a, 2);
    struct task *target;

    if (guest_is_null(arg_addr(a, 1)) || arg_int(a, 0) < 0 || size > GUEST_PAGE_SIZE || size < SCHED_ATTR_SIZE_VER0 ||
        arg_uint(a, 3))
        return -EINVAL;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    attr.size = size < sizeof(attr) ? size : sizeof(attr);
    attr.policy = (uint32_t)(target->sched_policy & ~SCHED_RESET_ON_FORK);
    attr.flags = target->sched_policy & SCHED_RESET_ON_FORK ? SCHED_FLAG_RESET_ON_FORK : 0;
    attr.priority = (uint32_t)target->sched_priority;
    attr.nice = rt_policy((int)attr.policy) ? 0 : target->nice;
    attr.util_max = 1024;
    task_put(target);
    return copy_out(t, arg_addr(a, 1), &attr, attr.size);
}

static int64_t priority_limit(int policy, int64_t rt)
{
    if (rt_policy(policy))
        return rt;
    return fair_policy(policy) || policy == SCHED_IDLE || policy == SCHED_DEADLINE || policy == SCHED_EXT ? 0 : -EINVAL;
}

int64_t sys_sched_get_priority_max(struct task *t, const struct syscall_args *a)
{
    return priority_limit(arg_int(a, 0), MAX_RT_PRIO);
}

int64_t sys_sched_get_priority_min(struct task *t, const struct syscall_args *a)
{
    return priority_limit(arg_int(a, 0), 1);
}

int64_t sys_sched_rr_get_interval(struct task *t, const struct syscall_args *a)
{
    struct task *target;
    int policy;

    if (arg_int(a, 0) < 0)
        return -EINVAL;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    policy = target->sched_policy & ~SCHED_RESET_ON_FORK;
    task_put(target);
    return timespec_out(t, arg_addr(a, 1), policy == SCHED_RR ? RR_INTERVAL_NS : policy == SCHED_FIFO ? 0 : FAIR_INTERVAL_NS);
}

int64_t sys_sched_yield(struct task *t, const struct syscall_args *a)
{
    sched_yield();
    return 0;
}

int64_t sys_sched_setaffinity(struct task *t, const struct syscall_args *a)
{
    uint64_t mask[CPU_MASK_WORDS] = {0};
    size_t len = arg_uint(a, 1);
    struct task *target;
    int err;

    err = copy_in(t, mask, arg_addr(a, 2), len < sizeof(mask) ? len : sizeof(mask));
    if (err)
        return err;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    if (!same_owner(t, target) && !cred_has_cap(t->cred, CAP_SYS_NICE))
        err = -EPERM;
    else
        err = task_set_affinity(target, mask);
    task_put(target);
    return err;
}

int64_t sys_sched_getaffinity(struct task *t, const struct syscall_args *a)
{
    uint64_t mask[CPU_MASK_WORDS];
    size_t len = arg_uint(a, 1), bytes = (t->k->nr_cpus + 63) / 64 * 8;
    struct task *target;
    int err;

    if (len * 8 < t->k->nr_cpus || len % sizeof(uint64_t))
        return -EINVAL;
    target = sched_target(t, arg_int(a, 0));
    if (!target)
        return -ESRCH;
    task_get_affinity(target, mask);
    task_put(target);
    if (len < bytes)
        bytes = len;
    err = copy_out(t, arg_addr(a, 2), mask, bytes);
    return err ? err : (int64_t)bytes;
}

int64_t sys_getcpu(struct task *t, const struct syscall_args *a)
{
    uint32_t cpu = task_cpu(t), node = 0;
    int err = 0;

    if (!guest_is_null(arg_addr(a, 0)))
        err = copy_out(t, arg_addr(a, 0), &cpu, sizeof(cpu));
    if (!err && !guest_is_null(arg_addr(a, 1)))
        err = copy_out(t, arg_addr(a, 1), &node, sizeof(node));
    return err;
}
