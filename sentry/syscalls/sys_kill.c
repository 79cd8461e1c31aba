/* Sending signals: kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_send_signal. */
#include "sentry/fs/fs.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <limits.h>

static bool is_signo(int signo)
{
    return signo >= 0 && signo <= KERNEL_NSIG;
}

/* With permission. Signal 0 only asks. */
static int64_t send_to_tgroup(struct task *t, struct tgroup *tg, const ksiginfo *info)
{
    struct task *leader = NULL;
    int64_t r;

    mutex_lock(&t->k->tasks_lock);
    if (tg->leader)
        leader = task_get(tg->leader);
    mutex_unlock(&t->k->tasks_lock);
    if (!leader)
        return -ESRCH;
    if (!signal_may_send(t, leader, info->si_signo)) {
        r = -EPERM;
    } else {
        r = info->si_signo ? signal_send_tgroup(tg, info) : 0;
        if (r == -ESRCH) /* a zombie takes signals without noticing */
            r = 0;
    }
    task_put(leader);
    return r;
}

static int64_t send_to_pid(struct task *t, pid_t pid, const ksiginfo *info)
{
    struct tgroup *tg = tgroup_find(t->k, pid);
    struct task *thread;
    int64_t r;

    if (!tg) { /* a thread's number means its process */
        thread = task_find(t->k, pid);
        if (!thread)
            return -ESRCH;
        tg = tgroup_get(thread->tg);
        task_put(thread);
    }
    r = send_to_tgroup(t, tg, info);
    tgroup_put(tg);
    return r;
}

/*
 * To every process that `wanted` takes: 0 if any could be sent to, else the last error. A referenced list is made first,
 * because permissions are looked at without tasks_lock.
 */
static int64_t send_to_many(struct task *t, const ksiginfo *info,
                            bool (*wanted)(const struct tgroup *tg, struct task *t, pid_t id), pid_t id)
{
    int64_t r, result = -ESRCH;
    bool sent = false, take;
    struct tgroup *tg;

    for (pid_t nr = 1; (tg = tgroup_next(t->k, nr)); tgroup_put(tg)) {
        nr = tg->tgid + 1;
        mutex_lock(&t->k->tasks_lock);
        take = wanted(tg, t, id);
        mutex_unlock(&t->k->tasks_lock);
        if (!take)
            continue;
        r = send_to_tgroup(t, tg, info);
        if (r == 0)
            sent = true;
        else if (r != -ESRCH)
            result = r;
    }
    return sent ? 0 : result;
}

static bool in_pgrp(const struct tgroup *tg, struct task *t, pid_t id)
{
    return tg->pgrp && tg->pgrp->pgid == id;
}

static bool not_self_nor_init(const struct tgroup *tg, struct task *t, pid_t id)
{
    return tg != t->tg && tg != t->k->init;
}

int64_t sys_kill(struct task *t, const struct syscall_args *a)
{
    pid_t pid = arg_int(a, 0), pgid;
    int signo = arg_int(a, 1);
    ksiginfo info;
    int64_t r;

    if (!is_signo(signo))
        return -EINVAL;
    siginfo_user(&info, signo, SI_USER, t);
    if (pid > 0)
        return send_to_pid(t, pid, &info);
    if (pid == INT_MIN)
        return -ESRCH;
    if (pid == -1) {
        r = send_to_many(t, &info, not_self_nor_init, 0);
        return r == -EPERM ? 0 : r; /* as Linux: -EPERM is no answer to "everybody" */
    }
    pgid = -pid;
    if (pid == 0) {
        mutex_lock(&t->k->tasks_lock);
        pgid = t->tg->pgrp->pgid;
        mutex_unlock(&t->k->tasks_lock);
    }
    return send_to_many(t, &info, in_pgrp, pgid);
}

static int64_t send_to_thread(struct task *t, pid_t tgid, pid_t tid, const ksiginfo *info)
{
    struct task *target = task_find(t->k, tid);
    int64_t r = -ESRCH;

    if (!target)
        return r;
    if (tgid <= 0 || target->tg->tgid == tgid) {
        if (!signal_may_send(t, target, info->si_signo)) {
            r = -EPERM;
        } else {
            r = info->si_signo ? signal_send_task(target, info) : 0;
            if (r == -ESRCH) /* it exits just now: sent and lost */
                r = 0;
        }
    }
    task_put(target);
    return r;
}

int64_t sys_tgkill(struct task *t, const struct syscall_args *a)
{
    ksiginfo info;

    if (arg_int(a, 0) <= 0 || arg_int(a, 1) <= 0 || !is_signo(arg_int(a, 2)))
        return -EINVAL;
    siginfo_user(&info, arg_int(a, 2), SI_TKILL, t);
    return send_to_thread(t, arg_int(a, 0), arg_int(a, 1), &info);
}

int64_t sys_tkill(struct task *t, const struct syscall_args *a)
{
    ksiginfo info;

    if (arg_int(a, 0) <= 0 || !is_signo(arg_int(a, 1)))
        return -EINVAL;
    siginfo_user(&info, arg_int(a, 1), SI_TKILL, t);
    return send_to_thread(t, 0, arg_int(a, 0), &info);
}

/* Nobody may pretend to be the kernel or kill(2) towards others. */
static int64_t fetch_info(struct task *t, guest_addr at, int signo, bool to_self, ksiginfo *info)
{
    if (copy_in(t, info, at, sizeof(*info)))
        return -EFAULT;
    info->si_signo = signo;
    return (info->si_code >= 0 || info->si_code == SI_TKILL) && !to_self ? -EPERM : 0;
}

int64_t sys_rt_sigqueueinfo(struct task *t, const struct syscall_args *a)
{
    pid_t pid = arg_int(a, 0);
    int signo = arg_int(a, 1);
    ksiginfo info;
    int64_t r = fetch_info(t, arg_addr(a, 2), signo, pid == t->tid, &info);

    if (r)
        return r;
    if (!is_signo(signo))
        return -EINVAL;
    return send_to_pid(t, pid, &info);
}

int64_t sys_rt_tgsigqueueinfo(struct task *t, const struct syscall_args *a)
{
    pid_t tgid = arg_int(a, 0), tid = arg_int(a, 1);
    int signo = arg_int(a, 2);
    ksiginfo info;
    int64_t r = fetch_info(t, arg_addr(a, 3), signo, tid == t->tid, &info);

    if (r)
        return r;
    if (tgid <= 0 || tid <= 0 || !is_signo(signo))
        return -EINVAL;
    return send_to_thread(t, tgid, tid, &info);
}

/* Before there were pidfds a descriptor of /proc/PID took their place. Referenced, or NULL. */
static struct pid *pid_of_proc_dir(struct file *file)
{
    struct task *leader = proc_file_task(file);
    struct pid *pid = NULL;

    if (leader)
        pid = pid_get(leader->tg->pid);
    task_put(leader);
    return pid;
}

int64_t sys_pidfd_send_signal(struct task *t, const struct syscall_args *a)
{
    int signo = arg_int(a, 1);
    struct tgroup *tg = NULL;
    struct file *file;
    struct pid *pid;
    ksiginfo info;
    int64_t r;

    if (arg_uint(a, 3))
        return -EINVAL;
    file = fd_get(t->files, arg_int(a, 0));
    if (!file)
        return -EBADF;
    pid = pidfd_pid(file);
    if (pid)
        pid_get(pid);
    else
        pid = pid_of_proc_dir(file);
    r = -EBADF;
    if (!pid)
        goto out;
    r = -EINVAL;
    if (!is_signo(signo))
        goto out;
    if (a->v[2]) {
        if (copy_in(t, &info, arg_addr(a, 2), sizeof(info))) {
            r = -EFAULT;
            goto out;
        }
        if (info.si_signo != signo)
            goto out;
        r = -EPERM;
        if ((info.si_code >= 0 || info.si_code == SI_TKILL) && pid != t->tg->pid)
            goto out;
    } else {
        siginfo_user(&info, signo, SI_USER, t);
    }
    r = -ESRCH;
    mutex_lock(&t->k->tasks_lock);
    if (pid->tgroup)
        tg = tgroup_get(pid->tgroup);
    mutex_unlock(&t->k->tasks_lock);
    if (tg) {
        r = send_to_tgroup(t, tg, &info);
        tgroup_put(tg);
    }
out:
    pid_put(pid);
    file_put(file);
    return r;
}
