/* Who a process is: pid, parent, group, session, and descriptors of processes. */
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/ptrace_access.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <fcntl.h>

int64_t sys_getpid(struct task *t, const struct syscall_args *a)
{
    return t->tg->tgid;
}

int64_t sys_gettid(struct task *t, const struct syscall_args *a)
{
    return t->tid;
}

int64_t sys_getppid(struct task *t, const struct syscall_args *a)
{
    return atomic_load_explicit(&t->tg->ppid, memory_order_relaxed);
}

int64_t sys_set_tid_address(struct task *t, const struct syscall_args *a)
{
    t->clear_child_tid = arg_addr(a, 0);
    return t->tid;
}

static int64_t group_or_session(struct task *t, pid_t pid, bool session)
{
    struct kernel *k = t->k;
    int64_t r = -ESRCH;
    struct tgroup *tg;
    struct pid *p;

    mutex_lock(&k->tasks_lock);
    p = pid ? pid_find(k, pid) : t->pid;
    tg = p && p->task ? p->task->tg : NULL;
    if (tg)
        r = session ? tg->session->sid : tg->pgrp->pgid;
    mutex_unlock(&k->tasks_lock);
    return r;
}

int64_t sys_getpgid(struct task *t, const struct syscall_args *a)
{
    return group_or_session(t, arg_int(a, 0), false);
}

int64_t sys_getpgrp(struct task *t, const struct syscall_args *a)
{
    return group_or_session(t, 0, false);
}

int64_t sys_getsid(struct task *t, const struct syscall_args *a)
{
    return group_or_session(t, arg_int(a, 0), true);
}

int64_t sys_setpgid(struct task *t, const struct syscall_args *a)
{
    return task_setpgid(t, arg_int(a, 0), arg_int(a, 1));
}

int64_t sys_setsid(struct task *t, const struct syscall_args *a)
{
    return task_setsid(t);
}

int64_t sys_pidfd_open(struct task *t, const struct syscall_args *a)
{
    struct kernel *k = t->k;
    unsigned int flags = arg_uint(a, 1);
    struct pid *pid;
    struct file *f;
    bool leads;
    int r;

    if (flags & ~(unsigned int)O_NONBLOCK) /* PIDFD_NONBLOCK */
        return -EINVAL;
    if (arg_int(a, 0) <= 0)
        return -EINVAL;
    mutex_lock(&k->tasks_lock);
    pid = pid_find(k, arg_int(a, 0));
    leads = pid && pid->tgroup;
    r = leads ? 0 : pid && pid->task ? -EINVAL : -ESRCH; /* of a thread that leads no process */
    if (leads)
        pid_get(pid);
    mutex_unlock(&k->tasks_lock);
    if (r)
        return r;
    r = pidfd_create(pid, (int)flags, &f);
    pid_put(pid);
    if (r)
        return r;
    r = fd_install(t->files, f, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return r;
}

int64_t sys_pidfd_getfd(struct task *t, const struct syscall_args *a)
{
    struct kernel *k = t->k;
    struct task *target = NULL;
    struct fdtable *files;
    struct file *f, *theirs = NULL;
    struct pid *pid;
    int64_t r;

    if (arg_uint(a, 2))
        return -EINVAL;
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    pid = pidfd_pid(f);
    r = -EBADF;
    if (!pid)
        goto out;
    mutex_lock(&k->tasks_lock);
    if (pid->tgroup && pid->tgroup->leader && !pid->tgroup->zombie)
        target = task_get(pid->tgroup->leader);
    mutex_unlock(&k->tasks_lock);
    r = -ESRCH;
    if (!target)
        goto out;
    r = -EPERM;
    if (!ptrace_may_access(t, target, PTRACE_MODE_REALCREDS))
        goto out;
    files = task_get_files(target);
    r = -ESRCH;
    if (!files)
        goto out;
    theirs = fd_get_raw(files, arg_int(a, 1));
    fdtable_put(files, &t->caller);
    r = theirs ? fd_install(t->files, theirs, 0, true, task_rlimit(t, RLIMIT_NOFILE)) : -EBADF;
out:
    if (theirs)
        file_put(theirs);
    task_put(target);
    file_put(f);
    return r;
}
