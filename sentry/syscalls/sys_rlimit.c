/* Resource limits: getrlimit, setrlimit, prlimit64. */
#include "sentry/kernel/clock.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/capability.h>

/* fs.nr_open: no RLIMIT_NOFILE may be above it. */
#define NR_OPEN_MAX (1024 * 1024)

/* prlimit(2): another process's limits need CAP_SYS_RESOURCE or the same real, effective and saved ids. */
static bool may_prlimit(struct task *t, struct task *target)
{
    const struct cred *c = t->cred;
    struct cred *tc;
    bool ok;

    if (t->tg == target->tg || cred_has_cap(c, CAP_SYS_RESOURCE))
        return true;
    tc = task_get_cred(target);
    if (!tc)
        return false;
    ok = c->uid == tc->euid && c->uid == tc->suid && c->uid == tc->uid && c->gid == tc->egid && c->gid == tc->sgid &&
         c->gid == tc->gid;
    cred_put(tc);
    return ok;
}

/* Each thread hands this limit to the VFS with its calls. siglock held, by which the list stands still. */
static void tell_threads_fsize(struct tgroup *tg)
{
    struct task *t;

    list_for_each_entry(t, &tg->threads, thread_node)
        __atomic_store_n(&t->caller.fsize_limit, tg->rlimits[RLIMIT_FSIZE].rlim_cur, __ATOMIC_RELAXED);
}

/* Sets `new_lim` and stores what was before in `old_lim`; either may be NULL. */
static int do_prlimit(struct task *t, struct tgroup *tg, unsigned int resource, const struct rlimit64 *new_lim,
                      struct rlimit64 *old_lim)
{
    struct rlimit64 *cur;
    int r = 0;

    if (resource >= KERNEL_NR_RLIMITS)
        return -EINVAL;
    if (new_lim) {
        if (new_lim->rlim_cur > new_lim->rlim_max)
            return -EINVAL;
        if (resource == RLIMIT_NOFILE && new_lim->rlim_max > NR_OPEN_MAX)
            return -EPERM;
    }
    mutex_lock(&tg->siglock);
    cur = &tg->rlimits[resource];
    if (new_lim && new_lim->rlim_max > cur->rlim_max && !cred_has_cap(t->cred, CAP_SYS_RESOURCE))
        r = -EPERM;
    if (!r) {
        if (old_lim)
            *old_lim = *cur;
        if (new_lim) {
            /* Its readers, task_rlimit(), hold no lock. */
            __atomic_store_n(&cur->rlim_cur, new_lim->rlim_cur, __ATOMIC_RELAXED);
            cur->rlim_max = new_lim->rlim_max;
            if (resource == RLIMIT_FSIZE)
                tell_threads_fsize(tg);
        }
    }
    mutex_unlock(&tg->siglock);
    if (!r && new_lim && resource == RLIMIT_CPU)
        cpu_timers_rlimit_changed(tg);
    return r;
}

int64_t sys_getrlimit(struct task *t, const struct syscall_args *a)
{
    struct rlimit64 lim;
    int r = do_prlimit(t, t->tg, arg_uint(a, 0), NULL, &lim);

    return r ? r : copy_out(t, arg_addr(a, 1), &lim, sizeof(lim));
}

int64_t sys_setrlimit(struct task *t, const struct syscall_args *a)
{
    struct rlimit64 lim;

    if (copy_in(t, &lim, arg_addr(a, 1), sizeof(lim)))
        return -EFAULT;
    return do_prlimit(t, t->tg, arg_uint(a, 0), &lim, NULL);
}

int64_t sys_prlimit64(struct task *t, const struct syscall_args *a)
{
    struct rlimit64 new_lim, old_lim;
    bool set = !guest_is_null(arg_addr(a, 2)), get = !guest_is_null(arg_addr(a, 3));
    struct task *target;
    int r;

    if (arg_uint(a, 1) >= KERNEL_NR_RLIMITS)
        return -EINVAL;
    if (set && copy_in(t, &new_lim, arg_addr(a, 2), sizeof(new_lim)))
        return -EFAULT;
    target = arg_int(a, 0) ? task_find(t->k, arg_int(a, 0)) : task_get(t);
    if (!target)
        return -ESRCH;
    r = may_prlimit(t, target) ? do_prlimit(t, target->tg, arg_uint(a, 1), set ? &new_lim : NULL, get ? &old_lim : NULL)
                               : -EPERM;
    task_put(target);
    if (!r && get)
        r = copy_out(t, arg_addr(a, 3), &old_lim, sizeof(old_lim));
    return r;
}
