/* Tasks and thread groups as objects: making, referencing, finding them, and what hangs off them. */
#include "sentry/kernel/task.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/rseq.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/mm/mm.h"
#include "vfs/fs_struct.h"

#include <errno.h>
#include <stdlib.h>

static int task_copy_in(const struct vfs_caller *c, void *dst, guest_addr src, size_t n)
{
    return mm_copy_in(container_of(c, struct task, caller)->mm, dst, src, n);
}

static int task_copy_out(const struct vfs_caller *c, guest_addr dst, const void *src, size_t n)
{
    return mm_copy_out(container_of(c, struct task, caller)->mm, dst, src, n);
}

static const struct uaccess_ops task_uaccess = {.copy_in = task_copy_in, .copy_out = task_copy_out};

struct task *task_of_caller(const struct vfs_caller *c)
{
    return c && c->uaccess == &task_uaccess ? container_of(c, struct task, caller) : NULL;
}

struct sighand *sighand_alloc(void)
{
    struct sighand *sh = calloc(1, sizeof(*sh));

    if (!sh)
        return NULL;
    ref_init(&sh->ref);
    mutex_init(&sh->lock);
    return sh;
}

void sighand_put(struct sighand *sh)
{
    if (!sh || !ref_put(&sh->ref))
        return;
    mutex_fini(&sh->lock);
    free(sh);
}

struct tgroup *tgroup_alloc(struct kernel *k)
{
    struct tgroup *tg = calloc(1, sizeof(*tg));

    if (!tg)
        return NULL;
    ref_init(&tg->ref);
    tg->k = k;
    list_init(&tg->threads);
    list_init(&tg->children);
    list_init(&tg->sibling);
    list_init(&tg->pgrp_node);
    waitq_init(&tg->child_wait);
    waitq_init(&tg->signalfd_wq);
    mutex_init(&tg->siglock);
    signal_init_pending(&tg->shared_pending);
    tg->exit_signal = SIGCHLD;
    tg->dumpable = 1;
    return tg;
}

struct tgroup *tgroup_get(struct tgroup *tg)
{
    ref_get(&tg->ref);
    return tg;
}

void tgroup_put(struct tgroup *tg)
{
    if (!tg || !ref_put(&tg->ref))
        return;
    signal_flush_pending(&tg->shared_pending, ~0ULL);
    tgroup_timers_exit(tg); /* of one that was never started, or whose CPU limit was changed after its end */
    rseq_tgroup_free(tg);
    sighand_put(tg->sighand);
    pgrp_put(tg->pgrp);
    pid_put(tg->pid);
    waitq_fini(&tg->child_wait);
    waitq_fini(&tg->signalfd_wq);
    mutex_fini(&tg->siglock);
    free(tg);
}

struct task *task_alloc(struct kernel *k)
{
    struct task *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    ref_init(&t->ref);
    t->k = k;
    t->orig_rax = -1;
    t->altstack.ss_flags = SS_DISABLE;
    t->timer_slack_ns = t->default_timer_slack_ns = 50000;
    t->start_ns = (uint64_t)kernel_monotonic_ns();
    list_init(&t->thread_node);
    list_init(&t->ptrace.node);
    list_init(&t->ptraced);
    signal_init_pending(&t->pending);
    return t;
}

struct task *task_get(struct task *t)
{
    ref_get(&t->ref);
    return t;
}

void task_put(struct task *t)
{
    if (!t || !ref_put(&t->ref))
        return;
    signal_flush_pending(&t->pending, ~0ULL);
    if (t->cred)
        cred_put(t->cred);
    seccomp_filter_put(t->seccomp);
    seccomp_filter_put(atomic_load(&t->seccomp_sync));
    task_put(t->vfork_parent);
    pid_put(t->pid);
    tgroup_put(t->tg);
    free(t->fp_inherit);
    free(t->ptrace.fp);
    free(t);
}

void task_caller_refresh(struct task *t)
{
    t->caller.cred = t->cred;
    t->caller.fs = t->fs;
    t->caller.uaccess = &task_uaccess;
    t->caller.tgid = t->tg->tgid;
    t->caller.fsize_limit = t->tg->rlimits[RLIMIT_FSIZE].rlim_cur;
}

void task_set_answers(struct task *t)
{
    const struct platform_answers answers = {
        .pid = t->tg->tgid,
        .tid = t->tid,
        .uid = t->cred->uid,
        .euid = t->cred->euid,
        .gid = t->cred->gid,
        .egid = t->cred->egid,
    };

    platform_set_answers(t->ctx, seccomp_heeds_answers(t) || t->ptrace.mode != PTRACE_RUN ? NULL : &answers);
}

void task_commit_cred(struct task *t, struct cred *new_cred)
{
    struct kernel *k = t->k;
    struct cred *old = t->cred;

    if (old->uid != new_cred->uid) {
        mutex_lock(&k->tasks_lock);
        user_nproc_add(k, old->uid, -1);
        user_nproc_add(k, new_cred->uid, 1);
        mutex_unlock(&k->tasks_lock);
    }
    mutex_lock(&t->tg->siglock);
    t->cred = new_cred;
    mutex_unlock(&t->tg->siglock);
    t->caller.cred = new_cred;
    cred_put(old);
    if (t->ctx)
        task_set_answers(t);
}

uint64_t task_rlimit(const struct task *t, int resource)
{
    return __atomic_load_n(&t->tg->rlimits[resource].rlim_cur, __ATOMIC_RELAXED);
}

void task_mm_limits(struct task *t, struct mm_limits *out)
{
    out->as = task_rlimit(t, RLIMIT_AS);
    out->data = task_rlimit(t, RLIMIT_DATA);
    out->stack = task_rlimit(t, RLIMIT_STACK);
    out->memlock = task_rlimit(t, RLIMIT_MEMLOCK);
    out->may_lock_over = cred_has_cap(t->cred, CAP_IPC_LOCK);
}

struct task *task_find(struct kernel *k, pid_t tid)
{
    struct task *t = NULL;
    struct pid *pid;

    mutex_lock(&k->tasks_lock);
    pid = pid_find(k, tid);
    if (pid && pid->task)
        t = task_get(pid->task);
    mutex_unlock(&k->tasks_lock);
    return t;
}

struct tgroup *tgroup_find(struct kernel *k, pid_t tgid)
{
    struct tgroup *tg = NULL;
    struct pid *pid;

    mutex_lock(&k->tasks_lock);
    pid = pid_find(k, tgid);
    if (pid && pid->tgroup)
        tg = tgroup_get(pid->tgroup);
    mutex_unlock(&k->tasks_lock);
    return tg;
}

struct mm *task_get_mm(struct task *t)
{
    struct mm *mm;

    mutex_lock(&t->tg->siglock);
    mm = t->mm ? mm_get(t->mm) : NULL;
    mutex_unlock(&t->tg->siglock);
    return mm;
}

struct fdtable *task_get_files(struct task *t)
{
    struct fdtable *files;

    mutex_lock(&t->tg->siglock);
    files = t->files ? fdtable_get(t->files) : NULL;
    mutex_unlock(&t->tg->siglock);
    return files;
}

struct fs_struct *task_get_fs(struct task *t)
{
    struct fs_struct *fs;

    mutex_lock(&t->tg->siglock);
    fs = t->fs ? fs_struct_get(t->fs) : NULL;
    mutex_unlock(&t->tg->siglock);
    return fs;
}

struct cred *task_get_cred(struct task *t)
{
    struct cred *cred;

    mutex_lock(&t->tg->siglock);
    cred = cred_get(t->cred);
    mutex_unlock(&t->tg->siglock);
    return cred;
}
