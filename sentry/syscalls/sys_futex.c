/* futex(2), the robust list calls, futex_waitv(2) and the futex2 calls. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/futex_internal.h"
#include "sentry/kernel/ptrace_access.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/futex.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif
#define FUTEX2_SIZE_MASK 0x03
#define FUTEX2_SIZE_U32  0x02
#define FUTEX2_PRIVATE   FUTEX_PRIVATE_FLAG

static bool takes_timeout(int cmd)
{
    return cmd == FUTEX_WAIT || cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_BITSET ||
           cmd == FUTEX_WAIT_REQUEUE_PI;
}

int64_t sys_futex(struct task *t, const struct syscall_args *a)
{
    guest_addr uaddr = arg_addr(a, 0), timeout = arg_addr(a, 3), uaddr2 = arg_addr(a, 4);
    int op = arg_int(a, 1), cmd = op & FUTEX_CMD_MASK;
    uint32_t val = arg_uint(a, 2), val2 = arg_uint(a, 3), val3 = arg_uint(a, 5);
    unsigned int flags = op & FUTEX_PRIVATE_FLAG ? 0 : FUTEX_F_SHARED;
    int64_t deadline = TASK_NO_DEADLINE, ns;
    int err;

    if (op & FUTEX_CLOCK_REALTIME && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_WAIT_REQUEUE_PI && cmd != FUTEX_LOCK_PI2)
        return -ENOSYS;
    if (takes_timeout(cmd) && !guest_is_null(timeout)) {
        bool realtime = (op & FUTEX_CLOCK_REALTIME) || cmd == FUTEX_LOCK_PI;

        err = timespec_in(t, timeout, &ns);
        if (err)
            return err;
        deadline = kclock_to_monotonic(realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, ns, cmd != FUTEX_WAIT);
    }
    switch (cmd) {
    case FUTEX_WAIT:
        return futex_wait(t, uaddr, flags, val, deadline, FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAIT_BITSET:
        return futex_wait(t, uaddr, flags, val, deadline, val3);
    case FUTEX_WAKE:
        return futex_wake(t, uaddr, flags, (int)val, FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake(t, uaddr, flags, (int)val, val3);
    case FUTEX_REQUEUE:
        return futex_requeue(t, uaddr, flags, uaddr2, flags, (int)val, (int)val2, NULL);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(t, uaddr, flags, uaddr2, flags, (int)val, (int)val2, &val3);
    case FUTEX_WAKE_OP:
        return futex_wake_op(t, uaddr, uaddr2, flags, (int)val, (int)val2, val3);
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        return futex_lock_pi(t, uaddr, flags, deadline, false);
    case FUTEX_TRYLOCK_PI:
        return futex_lock_pi(t, uaddr, flags, TASK_NO_DEADLINE, true);
    case FUTEX_UNLOCK_PI:
        return futex_unlock_pi(t, uaddr, flags);
    case FUTEX_WAIT_REQUEUE_PI:
        return futex_wait_requeue_pi(t, uaddr, flags, val, deadline, uaddr2);
    case FUTEX_CMP_REQUEUE_PI:
        return futex_cmp_requeue_pi(t, uaddr, uaddr2, flags, (int)val, (int)val2, val3);
    default:
        return -ENOSYS;
    }
}

struct robust_list_head_abi {
    uint64_t next, offset, pending;
};

int64_t sys_set_robust_list(struct task *t, const struct syscall_args *a)
{
    if (arg_size(a, 1) != sizeof(struct robust_list_head_abi))
        return -EINVAL;
    t->robust_list = arg_addr(a, 0);
    return 0;
}

int64_t sys_get_robust_list(struct task *t, const struct syscall_args *a)
{
    pid_t pid = arg_int(a, 0);
    uint64_t len = sizeof(struct robust_list_head_abi), head;
    struct task *target;
    int err = -EPERM;

    target = pid ? task_find(t->k, pid) : task_get(t);
    if (!target)
        return -ESRCH;
    if (ptrace_may_access(t, target, PTRACE_MODE_REALCREDS)) {
        head = target->robust_list.a;
        err = copy_out(t, arg_addr(a, 2), &len, sizeof(len));
        if (!err)
            err = copy_out(t, arg_addr(a, 1), &head, sizeof(head));
    }
    task_put(target);
    return err;
}

/* Flags of the futex2 calls as futex_flags, or -EINVAL. */
static int futex2_flags(uint32_t flags)
{
    if (flags & ~(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE) || (flags & FUTEX2_SIZE_MASK) != FUTEX2_SIZE_U32)
        return -EINVAL;
    return flags & FUTEX2_PRIVATE ? 0 : FUTEX_F_SHARED;
}

static int futex2_deadline(struct task *t, guest_addr timeout, clockid_t clock, int64_t *deadline)
{
    int64_t ns;
    int err;

    *deadline = TASK_NO_DEADLINE;
    if (guest_is_null(timeout))
        return 0;
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
        return -EINVAL;
    err = timespec_in(t, timeout, &ns);
    if (!err)
        *deadline = kclock_to_monotonic(clock, ns, true);
    return err;
}

struct futex_waitv_abi {
    uint64_t val, uaddr;
    uint32_t flags, reserved;
};

static int waitv_fetch(struct task *t, guest_addr waiters, unsigned int nr, struct futex_waitv_entry *out)
{
    for (unsigned int i = 0; i < nr; i++) {
        struct futex_waitv_abi w;
        int flags, err = copy_in(t, &w, guest_add(waiters, i * sizeof(w)), sizeof(w));

        if (err)
            return err;
        flags = futex2_flags(w.flags);
        if (flags < 0 || w.reserved || w.val > UINT32_MAX)
            return -EINVAL;
        out[i] = (struct futex_waitv_entry){.val = (uint32_t)w.val, .flags = (uint32_t)flags, .uaddr = guest_addr_of(w.uaddr)};
    }
    return 0;
}

int64_t sys_futex_waitv(struct task *t, const struct syscall_args *a)
{
    struct futex_waitv_entry v[FUTEX_WAITV_LIMIT];
    unsigned int nr = arg_uint(a, 1);
    int64_t deadline;
    int err;

    if (arg_uint(a, 2) || !nr || nr > FUTEX_WAITV_LIMIT || guest_is_null(arg_addr(a, 0)))
        return -EINVAL;
    err = futex2_deadline(t, arg_addr(a, 3), arg_int(a, 4), &deadline);
    if (!err)
        err = waitv_fetch(t, arg_addr(a, 0), nr, v);
    return err ? err : futex_wait_multiple(t, v, nr, deadline);
}

int64_t sys_futex_wake(struct task *t, const struct syscall_args *a)
{
    int flags = futex2_flags(arg_uint(a, 3));

    if (flags < 0 || a->v[1] > UINT32_MAX)
        return -EINVAL;
    if (arg_int(a, 2) == 0)
        return 0;
    return futex_wake(t, arg_addr(a, 0), (unsigned int)flags, arg_int(a, 2), (uint32_t)a->v[1]);
}

int64_t sys_futex_wait(struct task *t, const struct syscall_args *a)
{
    int flags = futex2_flags(arg_uint(a, 3)), err;
    int64_t deadline;

    if (flags < 0 || a->v[1] > UINT32_MAX || a->v[2] > UINT32_MAX)
        return -EINVAL;
    err = futex2_deadline(t, arg_addr(a, 4), arg_int(a, 5), &deadline);
    return err ? err : futex_wait(t, arg_addr(a, 0), (unsigned int)flags, (uint32_t)a->v[1], deadline, (uint32_t)a->v[2]);
}

int64_t sys_futex_requeue(struct task *t, const struct syscall_args *a)
{
    struct futex_waitv_entry v[2];
    int err;

    if (arg_uint(a, 1) || guest_is_null(arg_addr(a, 0)))
        return -EINVAL;
    err = waitv_fetch(t, arg_addr(a, 0), 2, v);
    if (err)
        return err;
    return futex_requeue(t, v[0].uaddr, v[0].flags, v[1].uaddr, v[1].flags, arg_int(a, 2), arg_int(a, 3), &v[0].val);
}
