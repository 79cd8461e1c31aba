/* msgget, msgsnd, msgrcv, msgctl. */
#include "sentry/kernel/ipc_msg.h"
#include "sentry/syscalls/syscalls.h"

int64_t sys_msgget(struct task *t, const struct syscall_args *a)
{
    return msg_get(t, arg_int(a, 0), arg_int(a, 1));
}

int64_t sys_msgsnd(struct task *t, const struct syscall_args *a)
{
    return msg_send(t, arg_int(a, 0), arg_addr(a, 1), arg_size(a, 2), arg_int(a, 3));
}

int64_t sys_msgrcv(struct task *t, const struct syscall_args *a)
{
    return msg_receive(t, arg_int(a, 0), arg_addr(a, 1), arg_size(a, 2), arg_long(a, 3), arg_int(a, 4));
}

int64_t sys_msgctl(struct task *t, const struct syscall_args *a)
{
    return msg_control(t, arg_int(a, 0), arg_int(a, 1), arg_addr(a, 2));
}
