/* Nice values and I/O priorities. They are kept and reported, with Linux's permission rules; the host schedules as it likes. */
#include "sentry/kernel/task_select.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/ioprio.h>
#include <sys/resource.h>

#define MIN_NICE (-20)
#define MAX_NICE 19

static bool same_owner(struct task *t, struct task *target)
{
    struct cred *c = task_get_cred(target);
    bool same = c && (t->cred->euid == c->uid || t->cred->euid == c->euid);

    if (c)
        cred_put(c);
    return same || cred_has_cap(t->cred, CAP_SYS_NICE);
}

struct priority_set {
    struct task *t;
    int nice, error;
};

static void set_one_nice(struct task *target, void *arg)
{
    struct priority_set *ps = arg;

    if (!same_owner(ps->t, target)) {
        ps->error = -EPERM;
        return;
    }
    mutex_lock(&target->tg->siglock);
    /* RLIMIT_NICE counts from 1 (nice 19) to 40 (nice -20). */
    if (ps->nice < target->nice && (uint64_t)(20 - ps->nice) > target->tg->rlimits[RLIMIT_NICE].rlim_cur &&
        !cred_has_cap(ps->t->cred, CAP_SYS_NICE)) {
        ps->error = -EACCES;
    } else {
        if (ps->error == -ESRCH)
            ps->error = 0;
        target->nice = ps->nice;
    }
    mutex_unlock(&target->tg->siglock);
}

int64_t sys_setpriority(struct task *t, const struct syscall_args *a)
{
    int nice = arg_int(a, 2);
    struct priority_set ps = {.t = t, .error = -ESRCH};

    if (arg_uint(a, 0) > PRIO_USER)
        return -EINVAL;
    ps.nice = nice < MIN_NICE ? MIN_NICE : nice > MAX_NICE ? MAX_NICE : nice;
    task_select(t, (enum task_select)arg_uint(a, 0), arg_int(a, 1), set_one_nice, &ps);
    return ps.error;
}

static void get_one_nice(struct task *target, void *arg)
{
    int *best = arg, value = 20 - target->nice;

    if (value > *best)
        *best = value;
}

/* The highest priority among them, as 40 .. 1. */
int64_t sys_getpriority(struct task *t, const struct syscall_args *a)
{
    int best = -ESRCH;

    if (arg_uint(a, 0) > PRIO_USER)
        return -EINVAL;
    task_select(t, (enum task_select)arg_uint(a, 0), arg_int(a, 1), get_one_nice, &best);
    return best;
}

/* Below the class are 10 bits of hints for the device and 3 of level. */
static int ioprio_check(struct task *t, int ioprio)
{
    int level = IOPRIO_PRIO_DATA(ioprio) & 7;

    switch (IOPRIO_PRIO_CLASS(ioprio)) {
    case IOPRIO_CLASS_RT:
        if (!cred_has_cap(t->cred, CAP_SYS_ADMIN) && !cred_has_cap(t->cred, CAP_SYS_NICE))
            return -EPERM;
        return 0;
    case IOPRIO_CLASS_BE:
    case IOPRIO_CLASS_IDLE:
        return 0;
    case IOPRIO_CLASS_NONE:
        return level ? -EINVAL : 0;
    default:
        return -EINVAL;
    }
}

static int ioprio_select(int which, enum task_select *out)
{
    if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
        return -EINVAL;
    *out = (enum task_select)(which - IOPRIO_WHO_PROCESS);
    return 0;
}

static void set_one_ioprio(struct task *target, void *arg)
{
    struct priority_set *ps = arg;

    if (!same_owner(ps->t, target)) {
        ps->error = -EPERM;
        return;
    }
    if (ps->error == -ESRCH)
        ps->error = 0;
    __atomic_store_n(&target->ioprio, ps->nice, __ATOMIC_RELAXED);
}

int64_t sys_ioprio_set(struct task *t, const struct syscall_args *a)
{
    struct priority_set ps = {.t = t, .nice = arg_int(a, 2), .error = -ESRCH};
    enum task_select which;
    int err = ioprio_check(t, ps.nice);

    if (!err)
        err = ioprio_select(arg_int(a, 0), &which);
    if (err)
        return err;
    task_select(t, which, arg_int(a, 1), set_one_ioprio, &ps);
    return ps.error;
}

static void get_one_ioprio(struct task *target, void *arg)
{
    int *best = arg, value = __atomic_load_n(&target->ioprio, __ATOMIC_RELAXED);

    /* Lower numbers are higher priorities, but for "none", which counts as the middle of best effort. */
    if (*best < 0 || IOPRIO_PRIO_CLASS(*best) == IOPRIO_CLASS_NONE || (value && value < *best))
        *best = value;
}

int64_t sys_ioprio_get(struct task *t, const struct syscall_args *a)
{
    enum task_select which;
    int best = -ESRCH, err = ioprio_select(arg_int(a, 0), &which);

    if (err)
        return err;
    task_select(t, which, arg_int(a, 1), get_one_ioprio, &best);
    return best;
}
