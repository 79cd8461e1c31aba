/* shmget, shmat, shmdt, shmctl. */
#include "sentry/kernel/ipc_shm.h"
#include "sentry/syscalls/syscalls.h"

int64_t sys_shmget(struct task *t, const struct syscall_args *a)
{
    return shm_get(t, arg_int(a, 0), arg_size(a, 1), arg_int(a, 2));
}

int64_t sys_shmat(struct task *t, const struct syscall_args *a)
{
    return shm_attach(t, arg_int(a, 0), a->v[1], arg_int(a, 2));
}

int64_t sys_shmdt(struct task *t, const struct syscall_args *a)
{
    return shm_detach(t, a->v[0]);
}

int64_t sys_shmctl(struct task *t, const struct syscall_args *a)
{
    return shm_control(t, arg_int(a, 0), arg_int(a, 1), arg_addr(a, 2));
}
