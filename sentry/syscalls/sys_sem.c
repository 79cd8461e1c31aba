/* semget, semop, semtimedop, semctl. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/ipc_sem.h"
#include "sentry/syscalls/syscalls.h"

#include <stdlib.h>
#include <sys/sem.h>

#define OPS_ON_STACK 64

int64_t sys_semget(struct task *t, const struct syscall_args *a)
{
    return sem_get(t, arg_int(a, 0), arg_int(a, 1), arg_int(a, 2));
}

static int64_t do_semop(struct task *t, const struct syscall_args *a, int64_t deadline)
{
    struct sembuf few[OPS_ON_STACK], *ops = few;
    unsigned int nr = arg_uint(a, 2);
    int64_t ret;

    if (nr < 1 || arg_int(a, 0) < 0)
        return -EINVAL;
    if (nr > sem_ops_max(t))
        return -E2BIG;
    if (nr > OPS_ON_STACK) {
        ops = malloc(nr * sizeof(*ops));
        if (!ops)
            return -ENOMEM;
    }
    ret = copy_in(t, ops, arg_addr(a, 1), nr * sizeof(*ops));
    if (!ret)
        ret = sem_op(t, arg_int(a, 0), ops, nr, deadline);
    if (ops != few)
        free(ops);
    return ret;
}

int64_t sys_semop(struct task *t, const struct syscall_args *a)
{
    return do_semop(t, a, TASK_NO_DEADLINE);
}

int64_t sys_semtimedop(struct task *t, const struct syscall_args *a)
{
    int64_t deadline = TASK_NO_DEADLINE, ns;
    int err;

    if (!guest_is_null(arg_addr(a, 3))) {
        err = timespec_in(t, arg_addr(a, 3), &ns);
        if (err)
            return err;
        deadline = time_add_saturating(kernel_monotonic_ns(), ns);
    }
    return do_semop(t, a, deadline);
}

int64_t sys_semctl(struct task *t, const struct syscall_args *a)
{
    return sem_control(t, arg_int(a, 0), arg_int(a, 1), arg_int(a, 2), a->v[3]);
}
