/* exit, exit_group, wait4, waitid. */
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/kernel/wait4.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>

#ifndef __WNOTHREAD
#define __WNOTHREAD 0x20000000
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

int64_t sys_exit(struct task *t, const struct syscall_args *a)
{
    task_request_exit(t, (arg_int(a, 0) & 0xff) << 8);
    return 0;
}

int64_t sys_exit_group(struct task *t, const struct syscall_args *a)
{
    task_request_group_exit(t, (arg_int(a, 0) & 0xff) << 8);
    return 0;
}

static pid_t own_pgid(struct task *t)
{
    struct kernel *k = t->k;
    pid_t pgid;

    mutex_lock(&k->tasks_lock);
    pgid = t->tg->pgrp->pgid;
    mutex_unlock(&k->tasks_lock);
    return pgid;
}

int64_t sys_wait4(struct task *t, const struct syscall_args *a)
{
    pid_t pid = arg_int(a, 0);
    unsigned int options = arg_uint(a, 2);
    struct wait_request rq = {.options = options | WEXITED};
    struct wait_result res;
    int r;

    if (options & ~(unsigned int)(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
        return -EINVAL;
    if (pid == INT_MIN)
        return -ESRCH;
    if (pid == -1) {
        rq.type = WAIT_FOR_ANY;
    } else if (pid > 0) {
        rq.type = WAIT_FOR_PID;
        rq.id = pid;
    } else {
        rq.type = WAIT_FOR_PGRP;
        rq.id = pid ? -pid : own_pgid(t);
    }
    r = task_wait_child(t, &rq, &res);
    if (r || !res.pid)
        return r;
    if (a->v[1] && copy_out(t, arg_addr(a, 1), &res.status, sizeof(res.status)))
        return -EFAULT;
    if (a->v[3] && copy_out(t, arg_addr(a, 3), &res.usage, sizeof(res.usage)))
        return -EFAULT;
    return res.pid;
}

/* P_PIDFD: what is behind the descriptor. Keeps a reference on the file, which keeps the pid. */
static int resolve_pidfd(struct task *t, int fd, struct wait_request *rq, struct file **file)
{
    if (fd < 0)
        return -EINVAL;
    *file = fd_get(t->files, fd);
    if (!*file)
        return -EBADF;
    rq->pid = pidfd_pid(*file);
    if (!rq->pid) {
        file_put(*file);
        *file = NULL;
        return -EBADF;
    }
    rq->pidfd_nonblock = atomic_load(&(*file)->flags) & O_NONBLOCK;
    return 0;
}

int64_t sys_waitid(struct task *t, const struct syscall_args *a)
{
    int which = arg_int(a, 0), id = arg_int(a, 1);
    unsigned int options = arg_uint(a, 3);
    struct wait_request rq = {.options = options};
    struct wait_result res;
    struct file *file = NULL;
    ksiginfo info;
    int r = 0;

    if (options & ~(unsigned int)(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
        return -EINVAL;
    if (!(options & (WEXITED | WSTOPPED | WCONTINUED)))
        return -EINVAL;
    switch (which) {
    case P_ALL:
        rq.type = WAIT_FOR_ANY;
        break;
    case P_PID:
        if (id <= 0)
            return -EINVAL;
        rq.type = WAIT_FOR_PID;
        rq.id = id;
        break;
    case P_PGID:
        if (id < 0)
            return -EINVAL;
        rq.type = WAIT_FOR_PGRP;
        rq.id = id ? id : own_pgid(t);
        break;
    case P_PIDFD:
        rq.type = WAIT_FOR_PID;
        r = resolve_pidfd(t, id, &rq, &file);
        if (r)
            return r;
        break;
    default:
        return -EINVAL;
    }
    r = task_wait_child(t, &rq, &res);
    if (file)
        file_put(file);
    if (r)
        return r;
    if (a->v[4] && res.pid && copy_out(t, arg_addr(a, 4), &res.usage, sizeof(res.usage)))
        return -EFAULT;
    if (!a->v[2])
        return 0;
    memset(&info, 0, sizeof(info));
    if (res.pid) {
        info.si_signo = SIGCHLD;
        info.si_code = res.code;
        info.si_pid = res.pid;
        info.si_uid = res.uid;
        info.si_status = res.child_status;
    }
    /* Linux writes the six fields of the union's front and leaves the rest of the guest's struct alone. */
    return copy_out(t, arg_addr(a, 2), &info, offsetof(ksiginfo, si_status) + sizeof(info.si_status));
}
