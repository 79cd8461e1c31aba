/*
 * Making tasks.
 *
 * Everything that can fail happens on objects that nobody sees yet (address space, tables, FP state, pid, pidfd); then one
 * critical section checks the limits once more and puts the child into the tables, and its host thread is started. If the host
 * refuses a thread, the child is taken out again as if it had never been.
 */
#include "sentry/kernel/fork.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/cpus.h"
#include "sentry/kernel/ipc.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/rseq.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/mm/mm.h"
#include "vfs/file.h"
#include "vfs/fs_struct.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#define NEW_NAMESPACES \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME_)
#define CLONE_NEWTIME_       0x80ULL
#define CLONE_CLEAR_SIGHAND_ 0x100000000ULL

static int check_flags(const struct task *t, const struct clone_request *rq)
{
    uint64_t f = rq->flags;

    if ((f & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS))
        return -EINVAL;
    if ((f & (CLONE_NEWUSER | CLONE_FS)) == (CLONE_NEWUSER | CLONE_FS))
        return -EINVAL;
    if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
        return -EINVAL;
    if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
        return -EINVAL;
    if ((f & CLONE_SIGHAND) && (f & CLONE_CLEAR_SIGHAND_))
        return -EINVAL;
    if ((f & CLONE_PARENT) && (t->tg->unkillable || !t->tg->parent))
        return -EINVAL;
    if ((f & CLONE_THREAD) && (f & (CLONE_NEWUSER | CLONE_NEWPID)))
        return -EINVAL;
    if ((f & CLONE_PIDFD) && (f & CLONE_DETACHED))
        return -EINVAL;
    if ((f & CLONE_PIDFD) && (f & CLONE_THREAD))
        return -EINVAL;
    if (f & NEW_NAMESPACES & ~CLONE_NEWNS)
        return cred_has_cap(t->cred, CAP_SYS_ADMIN) ? -EINVAL : -EPERM; /* as without CONFIG_*_NS */
    if ((f & CLONE_NEWNS) && !cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if ((f & CLONE_SETTLS) && rq->tls >= platform_limits(t->k->platform)->max)
        return -EPERM;
    return 0;
}

static struct sighand *sighand_dup(struct sighand *from, bool clear)
{
    struct sighand *sh = sighand_alloc();

    if (!sh)
        return NULL;
    mutex_lock(&from->lock);
    memcpy(sh->action, from->action, sizeof(sh->action));
    mutex_unlock(&from->lock);
    if (clear)
        for (int i = 0; i < KERNEL_NSIG; i++)
            if (sh->action[i].handler != (uint64_t)SIG_IGN)
                sh->action[i] = (struct ksigaction){0};
    return sh;
}

static int copy_fs(struct task *child, struct task *t, uint64_t flags)
{
    if (flags & CLONE_FS) {
        child->fs = fs_struct_get(t->fs);
        return 0;
    }
    child->fs = fs_struct_dup(t->fs);
    if (!child->fs)
        return -ENOMEM;
    return flags & CLONE_NEWNS ? fs_unshare_mnt_ns(child->fs) : 0;
}

static int copy_tgroup(struct task *child, struct task *t, const struct clone_request *rq)
{
    struct tgroup *from = t->tg, *tg;

    if (rq->flags & CLONE_THREAD) {
        child->tg = tgroup_get(from);
        return 0;
    }
    tg = tgroup_alloc(t->k);
    if (!tg)
        return -ENOMEM;
    child->tg = tg;
    if (rq->flags & CLONE_SIGHAND) {
        ref_get(&from->sighand->ref);
        tg->sighand = from->sighand;
    } else {
        tg->sighand = sighand_dup(from->sighand, rq->flags & CLONE_CLEAR_SIGHAND_);
        if (!tg->sighand)
            return -ENOMEM;
    }
    mutex_lock(&from->siglock);
    memcpy(tg->rlimits, from->rlimits, sizeof(tg->rlimits));
    tg->oom_score_adj = from->oom_score_adj;
    tg->dumpable = from->dumpable;
    mutex_unlock(&from->siglock);
    tg->leader = child;
    tg->exit_signal = rq->flags & CLONE_PARENT ? from->exit_signal : rq->exit_signal;
    tgroup_timers_init(tg);
    if (tg->rlimits[RLIMIT_CPU].rlim_cur != RLIM64_INFINITY || tg->rlimits[RLIMIT_CPU].rlim_max != RLIM64_INFINITY)
        cpu_timers_rlimit_changed(tg);
    return 0;
}

static int copy_memory(struct task *child, struct task *t, uint64_t flags)
{
    if (flags & CLONE_VM) {
        child->mm = mm_get(t->mm);
        return 0;
    }
    return mm_fork(t->mm, &child->mm);
}

static int copy_fp(struct task *child, struct task *t)
{
    child->fp_inherit = malloc(platform_fp_size(t->k->platform));
    if (!child->fp_inherit)
        return -ENOMEM;
    return platform_fp_get(t->ctx, child->fp_inherit);
}

static void copy_attributes(struct task *child, const struct task *t, const struct clone_request *rq)
{
    uint64_t f = rq->flags;

    child->regs = t->regs;
    child->regs.rax = 0;
    if (rq->stack)
        child->regs.rsp = rq->stack;
    if (f & CLONE_SETTLS)
        child->regs.fs_base = rq->tls;
    if (f & CLONE_CHILD_SETTID)
        child->set_child_tid = rq->child_tid;
    if (f & CLONE_CHILD_CLEARTID)
        child->clear_child_tid = rq->child_tid;
    child->blocked = t->restore_mask ? t->saved_mask : t->blocked;
    /* A thread on the same memory must not share the alternate stack; a vfork child borrows everything. */
    if (!(f & CLONE_VM) || (f & CLONE_VFORK))
        child->altstack = t->altstack;
    memcpy(child->comm, t->comm, sizeof(child->comm));
    sched_clone(child, t);
    child->personality = t->personality;
    child->loginuid = atomic_load(&t->loginuid);
    child->sessionid = atomic_load(&t->sessionid);
    child->timer_slack_ns = child->default_timer_slack_ns = t->timer_slack_ns;
}

/* A child with all its parts, in no table. On failure the caller discards what there is. */
static int make_child(struct task *child, struct task *t, const struct clone_request *rq)
{
    int r = copy_tgroup(child, t, rq);

    if (r)
        return r;
    child->cred = cred_get(t->cred);
    copy_attributes(child, t, rq);
    r = copy_fs(child, t, rq->flags);
    if (r)
        return r;
    if (rq->flags & CLONE_FILES)
        child->files = fdtable_get(t->files);
    else if ((r = fdtable_dup(t->files, &child->files)))
        return r;
    r = copy_fp(child, t);
    if (r)
        return r;
    r = copy_memory(child, t, rq->flags);
    if (r)
        return r;
    task_caller_refresh(child);
    sem_undo_clone(child, t, rq->flags);
    rseq_clone(child, t, rq->flags);
    seccomp_clone(child, t);
    if (rq->flags & CLONE_VFORK)
        child->vfork_parent = task_get(t);
    return 0;
}

static bool over_process_limit(const struct task *t)
{
    const struct cred *c = t->cred;

    return user_nproc(t->k, c->uid) >= task_rlimit(t, RLIMIT_NPROC) && c->uid != 0 && !cred_has_cap(c, CAP_SYS_RESOURCE) &&
           !cred_has_cap(c, CAP_SYS_ADMIN);
}

/* tasks_lock held. The checks that must hold at the moment of birth. */
static int may_be_born(struct task *t)
{
    struct kernel *k = t->k;

    if (k->dying)
        return -ENOMEM;
    if ((k->max_tasks && k->nr_tasks >= k->max_tasks) || over_process_limit(t))
        return -EAGAIN;
    /* Signals of a whole process must not miss the new member: they are taken first, then the call runs again. */
    return signal_pending(t) ? -ERESTARTNOINTR : 0;
}

void task_publish_locked(struct task *t, struct tgroup *parent, pid_t parent_tid)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;

    task_get(t); /* the tables' */
    t->pid->task = t;
    if (tg->leader == t) {
        tgroup_get(tg);
        t->pid->tgroup = tg;
        tg->parent = parent;
        atomic_store(&tg->ppid, parent ? parent->tgid : 0);
        tg->parent_tid = parent_tid;
        if (parent) {
            list_add_tail(&tg->sibling, &parent->children);
            tg->has_child_subreaper = parent->has_child_subreaper || parent->is_subreaper;
        }
        k->nr_tgroups++;
    }
    mutex_lock(&tg->siglock);
    list_add_tail(&t->thread_node, &tg->threads);
    tg->nr_threads++;
    tg->nr_live++;
    signal_recalc(t);
    mutex_unlock(&tg->siglock);
    k->nr_tasks++;
    user_nproc_add(k, t->cred->uid, 1);
}

static int publish(struct task *child, struct task *t, const struct clone_request *rq, int event)
{
    struct kernel *k = t->k;
    int r;

    mutex_lock(&k->tasks_lock);
    r = may_be_born(t);
    if (!r) {
        bool sibling = rq->flags & CLONE_PARENT;
        task_publish_locked(child, sibling ? t->tg->parent : t->tg, sibling ? t->tg->parent_tid : t->tid);
        if (!(rq->flags & CLONE_THREAD))
            pgrp_join(child->tg, t->tg->pgrp);
        ptrace_clone_child_locked(child, t, event, rq);
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

/* The host gave no thread: the child leaves the tables again. */
void task_unpublish(struct task *child)
{
    struct kernel *k = child->k;
    struct tgroup *tg = child->tg;

    mutex_lock(&k->tasks_lock);
    mutex_lock(&tg->siglock);
    child->exiting = true;
    tg->nr_live--;
    tg->nr_threads--;
    mutex_unlock(&tg->siglock);
    if (child->ptrace.tracer)
        ptrace_unlink_locked(child);
    if (tg->leader == child)
        tgroup_reap_locked(tg);
    else
        task_release_locked(child);
    mutex_unlock(&k->tasks_lock);
}

static struct pid *new_pid(struct kernel *k)
{
    struct pid *pid;

    mutex_lock(&k->tasks_lock);
    pid = pid_alloc(k);
    mutex_unlock(&k->tasks_lock);
    return pid;
}

static void free_pid(struct pid *pid)
{
    struct kernel *k = pid->k;

    mutex_lock(&k->tasks_lock);
    pid_release(pid);
    mutex_unlock(&k->tasks_lock);
}

static int install_pidfd(struct task *t, struct pid *pid, guest_addr at)
{
    struct file *f;
    int r = pidfd_create(pid, 0, &f);
    int fd;

    if (r)
        return r;
    fd = fd_install(t->files, f, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    if (fd < 0)
        return fd;
    r = copy_out(t, at, &fd, sizeof(fd));
    if (r)
        fd_close(t->files, &t->caller, fd);
    return r ? r : fd;
}

static void wait_for_vfork(struct task *t, struct task *child)
{
    while (!atomic_load(&child->mm_released))
        if (task_block_killable(t, TASK_NO_DEADLINE))
            return;
}

int64_t task_clone(struct task *t, const struct clone_request *rq)
{
    struct task *child;
    struct pid *pid = NULL;
    int pidfd = -1, event = ptrace_clone_event(t, rq), r = check_flags(t, rq);
    int64_t tid;

    if (r)
        return r;
    /* Cheap to find out before an address space is copied; publish() looks again. */
    mutex_lock(&t->k->tasks_lock);
    r = may_be_born(t);
    mutex_unlock(&t->k->tasks_lock);
    if (r)
        return r;
    child = task_alloc(t->k);
    if (!child)
        return -ENOMEM;
    r = make_child(child, t, rq);
    if (r)
        goto fail;

    r = -EAGAIN;
    pid = new_pid(t->k);
    if (!pid)
        goto fail;
    child->pid = pid;
    child->tid = pid->nr;
    if (!(rq->flags & CLONE_THREAD)) {
        child->tg->tgid = pid->nr;
        child->tg->pid = pid_get(pid);
        child->caller.tgid = pid->nr;
    }
    if (rq->flags & CLONE_PIDFD) {
        r = pidfd = install_pidfd(t, pid, rq->pidfd);
        if (r < 0)
            goto fail;
    }
    r = publish(child, t, rq, event);
    if (r)
        goto fail;

    tid = child->tid;
    if (rq->flags & CLONE_PARENT_SETTID) {
        int32_t v = (int32_t)tid;
        if (copy_out(t, rq->parent_tid, &v, sizeof(v)))
            r = 0; /* as in Linux, no error */
    }
    task_get(child); /* ours, for the vfork wait: the thread may be gone before we look */
    r = task_start(child);
    if (r) {
        task_unpublish(child);
        task_put(child);
        pid = NULL; /* released with the tables' entries */
        goto fail;
    }
    atomic_fetch_add_explicit(&t->k->nr_forks, 1, memory_order_relaxed);
    if (event)
        ptrace_event(t, event, (uint64_t)tid);
    if (rq->flags & CLONE_VFORK) {
        wait_for_vfork(t, child);
        ptrace_event_if(t, PTRACE_EVENT_VFORK_DONE, (uint64_t)tid);
    }
    task_put(child);
    return tid;

fail:
    if (pidfd >= 0)
        fd_close(t->files, &t->caller, pidfd);
    if (pid)
        free_pid(pid);
    if (child->tg) {
        sem_undo_exit(child);
        task_drop_resources(child);
    }
    task_put(child);
    return r;
}
