/*
 * prctl(2): one small handler an option, in a table. Options that need hardware or kernel parts that a sandbox does not offer
 * give the errno that Linux gives where they are not built in.
 */
#include "sentry/kernel/creds.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/mm/mm.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <string.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef PR_GET_AUXV
#define PR_GET_AUXV 0x41555856
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

typedef int64_t prctl_fn(struct task *t, const struct syscall_args *a);

static int64_t put_int(struct task *t, guest_addr at, int value)
{
    return copy_out(t, at, &value, sizeof(value));
}

static bool rest_is_zero(const struct syscall_args *a, int from)
{
    for (int i = from; i < 5; i++)
        if (a->v[i])
            return false;
    return true;
}

static int64_t set_pdeathsig(struct task *t, const struct syscall_args *a)
{
    if (a->v[1] > KERNEL_NSIG)
        return -EINVAL;
    t->pdeath_signal = arg_int(a, 1);
    return 0;
}

static int64_t get_pdeathsig(struct task *t, const struct syscall_args *a)
{
    return put_int(t, arg_addr(a, 1), t->pdeath_signal);
}

static int64_t get_dumpable(struct task *t, const struct syscall_args *a)
{
    int v;

    mutex_lock(&t->tg->siglock);
    v = t->tg->dumpable;
    mutex_unlock(&t->tg->siglock);
    return v;
}

static int64_t set_dumpable(struct task *t, const struct syscall_args *a)
{
    if (a->v[1] > 1)
        return -EINVAL;
    mutex_lock(&t->tg->siglock);
    t->tg->dumpable = arg_int(a, 1);
    mutex_unlock(&t->tg->siglock);
    return 0;
}

static int64_t get_keepcaps(struct task *t, const struct syscall_args *a)
{
    return t->cred->keep_caps;
}

/* Changes one thing in a copy of the credentials, with `edit`. */
static int64_t edit_cred(struct task *t, void (*edit)(struct cred *c, uint64_t arg), uint64_t arg)
{
    struct cred *c = cred_dup(t->cred);

    if (!c)
        return -ENOMEM;
    edit(c, arg);
    task_commit_cred(t, c);
    return 0;
}

static void edit_keep_caps(struct cred *c, uint64_t arg)
{
    c->keep_caps = arg;
    c->securebits = arg ? c->securebits | SECBIT_KEEP_CAPS : c->securebits & ~SECBIT_KEEP_CAPS;
}

static int64_t set_keepcaps(struct task *t, const struct syscall_args *a)
{
    if (a->v[1] > 1)
        return -EINVAL;
    if (t->cred->securebits & SECBIT_KEEP_CAPS_LOCKED)
        return -EPERM;
    return edit_cred(t, edit_keep_caps, a->v[1]);
}

static int64_t set_name(struct task *t, const struct syscall_args *a)
{
    char name[TASK_COMM_LEN] = {0};
    ssize_t n = copy_str_in(t, name, arg_addr(a, 1), sizeof(name) - 1);

    if (n < 0 && n != -ENAMETOOLONG)
        return n;
    name[TASK_COMM_LEN - 1] = 0;
    mutex_lock(&t->tg->siglock);
    memcpy(t->comm, name, sizeof(name));
    mutex_unlock(&t->tg->siglock);
    return 0;
}

static int64_t get_name(struct task *t, const struct syscall_args *a)
{
    return copy_out(t, arg_addr(a, 1), t->comm, sizeof(t->comm));
}

static int64_t get_no_new_privs(struct task *t, const struct syscall_args *a)
{
    return rest_is_zero(a, 1) ? t->cred->no_new_privs : -EINVAL;
}

static void edit_no_new_privs(struct cred *c, uint64_t arg)
{
    c->no_new_privs = true;
}

static int64_t set_no_new_privs(struct task *t, const struct syscall_args *a)
{
    if (a->v[1] != 1 || !rest_is_zero(a, 2))
        return -EINVAL;
    return edit_cred(t, edit_no_new_privs, 0);
}

static int64_t get_securebits(struct task *t, const struct syscall_args *a)
{
    return t->cred->securebits;
}

static void edit_securebits(struct cred *c, uint64_t arg)
{
    c->securebits = (uint32_t)arg;
    c->keep_caps = arg & SECBIT_KEEP_CAPS;
}

/* Locked bits stay, locks are not taken back, and unknown bits are refused: capabilities(7). */
static int64_t set_securebits(struct task *t, const struct syscall_args *a)
{
    uint64_t old = t->cred->securebits, bits = a->v[1];

    if (((old & SECURE_ALL_LOCKS) >> 1 & (old ^ bits)) || (old & SECURE_ALL_LOCKS & ~bits) ||
        (bits & ~(uint64_t)(SECURE_ALL_LOCKS | SECURE_ALL_BITS)) || !cred_has_cap(t->cred, CAP_SETPCAP))
        return -EPERM;
    return edit_cred(t, edit_securebits, bits);
}

static int64_t capbset_read(struct task *t, const struct syscall_args *a)
{
    return a->v[1] > CAP_LAST_CAP ? -EINVAL : (int64_t)(t->cred->cap_bounding >> a->v[1] & 1);
}

static void edit_capbset(struct cred *c, uint64_t arg)
{
    c->cap_bounding &= ~(1ULL << arg);
}

static int64_t capbset_drop(struct task *t, const struct syscall_args *a)
{
    if (!cred_has_cap(t->cred, CAP_SETPCAP))
        return -EPERM;
    return a->v[1] > CAP_LAST_CAP ? -EINVAL : edit_cred(t, edit_capbset, a->v[1]);
}

static void edit_ambient_raise(struct cred *c, uint64_t cap)
{
    c->cap_ambient |= 1ULL << cap;
}

static void edit_ambient_lower(struct cred *c, uint64_t cap)
{
    c->cap_ambient &= ~(1ULL << cap);
}

static void edit_ambient_clear(struct cred *c, uint64_t arg)
{
    c->cap_ambient = 0;
}

static int64_t cap_ambient(struct task *t, const struct syscall_args *a)
{
    const struct cred *c = t->cred;
    uint64_t op = a->v[1], cap = a->v[2];

    if (a->v[3] || a->v[4])
        return -EINVAL;
    if (op == PR_CAP_AMBIENT_CLEAR_ALL)
        return cap ? -EINVAL : edit_cred(t, edit_ambient_clear, 0);
    if (cap > CAP_LAST_CAP)
        return -EINVAL;
    switch (op) {
    case PR_CAP_AMBIENT_IS_SET:
        return c->cap_ambient >> cap & 1;
    case PR_CAP_AMBIENT_RAISE:
        if (!(c->cap_permitted >> cap & 1) || !(c->cap_inheritable >> cap & 1) || (c->securebits & SECBIT_NO_CAP_AMBIENT_RAISE))
            return -EPERM;
        return edit_cred(t, edit_ambient_raise, cap);
    case PR_CAP_AMBIENT_LOWER:
        return edit_cred(t, edit_ambient_lower, cap);
    default:
        return -EINVAL;
    }
}

static int64_t set_child_subreaper(struct task *t, const struct syscall_args *a)
{
    mutex_lock(&t->k->tasks_lock);
    t->tg->is_subreaper = a->v[1];
    mutex_unlock(&t->k->tasks_lock);
    return 0;
}

static int64_t get_child_subreaper(struct task *t, const struct syscall_args *a)
{
    int v;

    mutex_lock(&t->k->tasks_lock);
    v = t->tg->is_subreaper;
    mutex_unlock(&t->k->tasks_lock);
    return put_int(t, arg_addr(a, 1), v);
}

static int64_t set_timerslack(struct task *t, const struct syscall_args *a)
{
    t->timer_slack_ns = arg_long(a, 1) <= 0 ? t->default_timer_slack_ns : a->v[1];
    return 0;
}

static int64_t get_timerslack(struct task *t, const struct syscall_args *a)
{
    return (int64_t)t->timer_slack_ns;
}

/* Only statistical timing is left to choose. */
static int64_t set_timing(struct task *t, const struct syscall_args *a)
{
    return a->v[1] == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
}

static int64_t get_timing(struct task *t, const struct syscall_args *a)
{
    return PR_TIMING_STATISTICAL;
}

/* The time-stamp counter is always readable here. */
static int64_t get_tsc(struct task *t, const struct syscall_args *a)
{
    return put_int(t, arg_addr(a, 1), PR_TSC_ENABLE);
}

static int64_t set_tsc(struct task *t, const struct syscall_args *a)
{
    return a->v[1] == PR_TSC_ENABLE ? 0 : -EINVAL;
}

static int64_t get_tid_address(struct task *t, const struct syscall_args *a)
{
    return copy_out(t, arg_addr(a, 1), &t->clear_child_tid.a, sizeof(t->clear_child_tid.a));
}

/* Huge pages are the host's choice, so there is nothing to turn off: the answer is "not disabled". */
static int64_t get_thp_disable(struct task *t, const struct syscall_args *a)
{
    return rest_is_zero(a, 1) ? 0 : -EINVAL;
}

static int64_t set_thp_disable(struct task *t, const struct syscall_args *a)
{
    return rest_is_zero(a, 2) ? 0 : -EINVAL;
}

/* No machine checks reach a guest: only the default policy can be chosen. */
static int64_t mce_kill(struct task *t, const struct syscall_args *a)
{
    if (a->v[3] || a->v[4])
        return -EINVAL;
    if (a->v[1] == PR_MCE_KILL_CLEAR)
        return a->v[2] ? -EINVAL : 0;
    if (a->v[1] != PR_MCE_KILL_SET || a->v[2] > PR_MCE_KILL_DEFAULT)
        return -EINVAL;
    return 0;
}

static int64_t mce_kill_get(struct task *t, const struct syscall_args *a)
{
    return rest_is_zero(a, 1) ? PR_MCE_KILL_DEFAULT : -EINVAL;
}

/* Naming anonymous areas is a courtesy to readers of /proc/PID/maps; Linux without CONFIG_ANON_VMA_NAME answers the same. */
static int64_t set_vma(struct task *t, const struct syscall_args *a)
{
    return -EINVAL;
}

static int64_t get_auxv(struct task *t, const struct syscall_args *a)
{
    struct mm_layout l;
    size_t n;

    if (a->v[3] || a->v[4])
        return -EINVAL;
    mm_get_layout(t->mm, &l);
    n = sizeof(l.auxv) < a->v[2] ? sizeof(l.auxv) : a->v[2];
    return copy_out(t, arg_addr(a, 1), l.auxv, n) ? -EFAULT : (int64_t)sizeof(l.auxv);
}

static int64_t get_seccomp(struct task *t, const struct syscall_args *a)
{
    return t->seccomp_mode;
}

static int64_t set_seccomp(struct task *t, const struct syscall_args *a)
{
    switch (a->v[1]) {
    case SECCOMP_MODE_STRICT:
        return seccomp_set_strict(t);
    case SECCOMP_MODE_FILTER:
        return seccomp_set_filter(t, 0, arg_addr(a, 2));
    default:
        return -EINVAL;
    }
}

static int64_t need_sys_resource(struct task *t, const struct syscall_args *a)
{
    return cred_has_cap(t->cred, CAP_SYS_RESOURCE) ? -EINVAL : -EPERM;
}

static int64_t no_speculation_control(struct task *t, const struct syscall_args *a)
{
    return -ENODEV;
}

static const struct {
    int option;
    prctl_fn *fn;
} prctl_table[] = {
    {PR_SET_PDEATHSIG, set_pdeathsig},
    {PR_GET_PDEATHSIG, get_pdeathsig},
    {PR_GET_DUMPABLE, get_dumpable},
    {PR_SET_DUMPABLE, set_dumpable},
    {PR_GET_KEEPCAPS, get_keepcaps},
    {PR_SET_KEEPCAPS, set_keepcaps},
    {PR_GET_SECCOMP, get_seccomp},
    {PR_SET_SECCOMP, set_seccomp},
    {PR_GET_TIMING, get_timing},
    {PR_SET_TIMING, set_timing},
    {PR_SET_NAME, set_name},
    {PR_GET_NAME, get_name},
    {PR_CAPBSET_READ, capbset_read},
    {PR_CAPBSET_DROP, capbset_drop},
    {PR_GET_TSC, get_tsc},
    {PR_SET_TSC, set_tsc},
    {PR_GET_SECUREBITS, get_securebits},
    {PR_SET_SECUREBITS, set_securebits},
    {PR_SET_TIMERSLACK, set_timerslack},
    {PR_GET_TIMERSLACK, get_timerslack},
    {PR_MCE_KILL, mce_kill},
    {PR_MCE_KILL_GET, mce_kill_get},
    {PR_SET_MM, need_sys_resource},
    {PR_SET_CHILD_SUBREAPER, set_child_subreaper},
    {PR_GET_CHILD_SUBREAPER, get_child_subreaper},
    {PR_SET_NO_NEW_PRIVS, set_no_new_privs},
    {PR_GET_NO_NEW_PRIVS, get_no_new_privs},
    {PR_GET_TID_ADDRESS, get_tid_address},
    {PR_SET_THP_DISABLE, set_thp_disable},
    {PR_GET_THP_DISABLE, get_thp_disable},
    {PR_CAP_AMBIENT, cap_ambient},
    {PR_GET_SPECULATION_CTRL, no_speculation_control},
    {PR_SET_SPECULATION_CTRL, no_speculation_control},
    {PR_SET_IO_FLUSHER, need_sys_resource},
    {PR_GET_IO_FLUSHER, need_sys_resource},
    {PR_SET_VMA, set_vma},
    {PR_GET_AUXV, get_auxv},
};

int64_t sys_prctl(struct task *t, const struct syscall_args *a)
{
    for (size_t i = 0; i < ARRAY_SIZE(prctl_table); i++)
        if (prctl_table[i].option == arg_int(a, 0))
            return prctl_table[i].fn(t, a);
    return -EINVAL;
}
