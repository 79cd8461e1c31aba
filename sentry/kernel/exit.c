/*
 * The end of threads and processes.
 *
 * A thread's exit gives back what it holds in the order that others may rely on: futexes first, then the address space (a vfork
 * parent goes on), then descriptors; and only then does it become visible as dead. The last thread makes the process a zombie,
 * hands its children to a reaper, and tells the parent. The leader's task stays in the tables, whenever it ended, until the
 * process is reaped; other threads vanish at once.
 */
#include "sentry/kernel/task_internal.h"

#include "lib/wake.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/ipc.h"
#include "sentry/kernel/rseq.h"
#include "sentry/kernel/usage.h"
#include "sentry/mm/mm.h"
#include "vfs/fs_struct.h"

#include <errno.h>
#include <poll.h>

void task_request_exit(struct task *t, int wait_status)
{
    if (!t->exit_requested)
        t->exit_code = wait_status;
    t->exit_requested = true;
    atomic_store(&t->sigpending, true);
}

void task_request_group_exit(struct task *t, int wait_status)
{
    mutex_lock(&t->tg->siglock);
    signal_group_exit_locked(t->tg, wait_status);
    wait_status = t->tg->group_exit_code;
    mutex_unlock(&t->tg->siglock);
    task_request_exit(t, wait_status);
}

void task_vfork_release(struct task *t)
{
    struct task *parent = t->vfork_parent;

    if (!parent)
        return;
    t->vfork_parent = NULL;
    atomic_store(&t->mm_released, true);
    task_wake(parent);
    task_put(parent);
}

/* Off the tables: the number is free and the table's reference goes. */
static void unhash_task_locked(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;

    mutex_lock(&tg->siglock);
    list_del_init(&t->thread_node);
    mutex_unlock(&tg->siglock);
    if (t->pid->task == t) {
        t->pid->task = NULL;
        pid_release(t->pid);
    }
    k->nr_tasks--;
    user_nproc_add(k, t->cred->uid, -1);
    atomic_store_explicit(&t->state, TASK_DEAD, memory_order_relaxed);
    task_put(t);
}

void task_release_locked(struct task *t)
{
    unhash_task_locked(t);
}

void tgroup_reap_locked(struct tgroup *tg)
{
    struct kernel *k = tg->k;
    struct task *leader = tg->leader, *t, *next;
    struct pid *pid = tg->pid;

    /* Threads that a tracer has not waited for go with their process. */
    list_for_each_entry_safe(t, next, &tg->threads, thread_node) {
        if (t->ptrace.tracer)
            ptrace_unlink_locked(t);
        if (t != leader)
            unhash_task_locked(t);
    }
    tg->reaped = true;
    list_del_init(&tg->sibling);
    tg->parent = NULL;
    pgrp_leave(tg);
    tg->leader = NULL;
    pid->tgroup = NULL;
    waitq_wake(&pid->exit_wq, POLLIN | POLLHUP);
    unhash_task_locked(leader);
    pid_release(pid);
    k->nr_tgroups--;
    waitq_wake(&k->tasks_gone, POLLIN);
    tgroup_put(tg);
}

/* Who takes over the children of `tg`: the nearest ancestor that asked for it, else init; NULL when there is none. */
static struct tgroup *find_reaper(struct tgroup *tg)
{
    struct kernel *k = tg->k;
    struct tgroup *p;

    if (tg->has_child_subreaper)
        for (p = tg->parent; p; p = p->parent)
            if (p->is_subreaper && !p->zombie)
                return p;
    return k->init && k->init != tg && !k->init->zombie ? k->init : NULL;
}

static struct task *live_thread(struct tgroup *tg)
{
    struct task *t;

    list_for_each_entry(t, &tg->threads, thread_node) {
        if (!t->exiting)
            return t;
    }
    return NULL;
}

static void send_pdeath_signals(struct tgroup *child)
{
    struct task *t;
    ksiginfo info;

    list_for_each_entry(t, &child->threads, thread_node) {
        if (!t->pdeath_signal || t->exiting)
            continue;
        siginfo_kernel(&info, t->pdeath_signal, SI_USER);
        signal_send_tgroup(child, &info);
    }
}

/* A zombie has a parent that must be told, or nobody. Reaped at once in the latter case. */
void announce_zombie_locked(struct tgroup *tg)
{
    if (notify_parent_exit_locked(tg) || tg->k->dying)
        tgroup_reap_locked(tg);
}

/* The children that this thread made find another parent: a sibling thread, or a reaper when it was the last. */
static void reparent_children(struct task *t, bool last)
{
    struct tgroup *tg = t->tg, *reaper = last ? find_reaper(tg) : NULL, *child, *next;
    struct task *sibling = last ? NULL : live_thread(tg);
    struct task *reaper_thread = reaper ? live_thread(reaper) : NULL;

    list_for_each_entry_safe(child, next, &tg->children, sibling) {
        if (!last && child->parent_tid != t->tid)
            continue;
        if (!last) {
            child->parent_tid = sibling ? sibling->tid : 0;
            send_pdeath_signals(child);
            continue;
        }
        list_del_init(&child->sibling);
        child->parent = reaper;
        atomic_store(&child->ppid, reaper ? reaper->tgid : 0);
        child->parent_tid = reaper_thread ? reaper_thread->tid : 0;
        if (reaper)
            list_add_tail(&child->sibling, &reaper->children);
        send_pdeath_signals(child);
        child->exit_signal = SIGCHLD;
        if (child->zombie)
            announce_zombie_locked(child);
        else
            pgrp_check_orphan(child, tg, NULL);
    }
}

/* The container's init is gone: everybody else dies, as when a pid namespace loses its pid 1. */
static void kill_everyone(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *tg, *child, *next;
    struct task_wait w;
    ksiginfo info;

    siginfo_kernel(&info, SIGKILL, SI_KERNEL);
    mutex_lock(&k->tasks_lock);
    k->dying = true;
    list_for_each_entry_safe(child, next, &t->tg->children, sibling) {
        if (child->zombie)
            tgroup_reap_locked(child);
    }
    mutex_unlock(&k->tasks_lock);

    for (pid_t nr = 1; (tg = tgroup_next(k, nr)); tgroup_put(tg)) {
        nr = tg->tgid + 1;
        if (tg == t->tg)
            continue;
        mutex_lock(&tg->siglock);
        signal_group_exit_locked(tg, SIGKILL);
        mutex_unlock(&tg->siglock);
    }

    task_wait_begin(t, &w, &k->tasks_gone, POLLIN);
    mutex_lock(&k->tasks_lock);
    while (k->nr_tgroups > 1) {
        mutex_unlock(&k->tasks_lock);
        task_block_uninterruptible(t);
        mutex_lock(&k->tasks_lock);
    }
    mutex_unlock(&k->tasks_lock);
    task_wait_end(&w);
}

/* Address space, descriptors, directories. The CPU time must have been read before. */
void task_drop_resources(struct task *t)
{
    struct tgroup *tg = t->tg;
    struct platform_context *ctx;
    struct fdtable *files;
    struct fs_struct *fs;
    struct mm *mm;

    mutex_lock(&tg->siglock);
    ctx = t->ctx;
    mm = t->mm;
    t->ctx = NULL;
    t->mm = NULL;
    t->sentry_cpu_clock = 0; /* the thread may serve another task next */
    mutex_unlock(&tg->siglock);
    if (ctx)
        platform_context_destroy(ctx);
    if (mm)
        mm_put(mm);
    task_vfork_release(t);

    mutex_lock(&tg->siglock);
    files = t->files;
    fs = t->fs;
    t->files = NULL;
    mutex_unlock(&tg->siglock);
    if (files)
        fdtable_put(files, &t->caller);
    mutex_lock(&tg->siglock);
    t->fs = NULL;
    mutex_unlock(&tg->siglock);
    t->caller.fs = NULL;
    if (fs)
        fs_struct_put(fs);
}

/* The first step: from here on no signal is for this thread. True if it is the last of its process. */
static bool begin_exit(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    bool last, stop_complete;

    mutex_lock(&k->tasks_lock);
    mutex_lock(&tg->siglock);
    t->exiting = true;
    last = --tg->nr_live == 0;
    stop_complete = jobctl_leave(t);
    signal_retarget_locked(t, ~t->blocked);
    if (last && !tg->group_exit) {
        tg->group_exit = true;
        tg->group_exit_code = t->exit_code;
    }
    mutex_unlock(&tg->siglock);
    if (stop_complete && !last)
        notify_parent_cldstop_locked(tg, CLD_STOPPED, tg->stop_signo);
    mutex_unlock(&k->tasks_lock);
    return last;
}

/* The last step: dead for all to see. Returns whether the process is. */
static bool finish_exit(struct task *t, const struct cputime *times, bool last)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    bool dead;

    wake_hold(); /* the parent will want the lock */
    mutex_lock(&k->tasks_lock);
    ptrace_detach_all_locked(t);
    reparent_children(t, last);
    if (last)
        pgrp_check_orphan(tg, tg->parent, tg);

    mutex_lock(&tg->siglock);
    usage_fold_thread(tg, t, times);
    t->times_folded = true;
    mutex_unlock(&tg->siglock);
    atomic_store_explicit(&t->state, TASK_ZOMBIE, memory_order_relaxed);
    dead = --tg->nr_threads == 0;
    if (t != tg->leader && t->ptrace.tracer)
        ptrace_notify_zombie_locked(t);
    else if (t != tg->leader)
        task_release_locked(t);
    if (tg->group_exec)
        task_wake(tg->group_exec);
    if (dead) {
        tg->exit_code = tg->group_exit_code;
        tg->zombie = true;
        waitq_wake(&tg->pid->exit_wq, POLLIN);
        if (k->init == tg)
            k->init = NULL;
        /* A tracer that is not the parent comes first. */
        if (tg->leader->ptrace.tracer && tg->leader->ptrace.tracer->tg != tg->parent && !k->dying)
            ptrace_notify_zombie_locked(tg->leader);
        else
            announce_zombie_locked(tg);
    }
    mutex_unlock(&k->tasks_lock);
    wake_release();
    return dead;
}

void task_exit(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *tg = tgroup_get(t->tg);
    struct cputime times;
    bool last, dead;

    ptrace_exit_event(t);
    last = begin_exit(t);

    if (last) {
        tgroup_timers_exit(tg);
        mutex_lock(&k->tasks_lock);
        bool is_init = k->init == tg;
        mutex_unlock(&k->tasks_lock);
        if (is_init)
            kill_everyone(t);
    }
    if (t->mm) {
        futex_task_exit(t);
        usage_note_mm(t);
    }
    rseq_exit(t);
    sem_undo_exit(t);
    times = task_cputime(t);
    task_drop_resources(t);
    if (last)
        session_disassociate_ctty(tg, true);

    /* `t` may be freed by whoever reaps it as soon as finish_exit() has let go, but for our own reference. */
    dead = finish_exit(t, &times, last);
    if (dead && tg->exited)
        tg->exited(k, tg->tgid, tg->exit_code, tg->exited_arg);
    task_put(t);
    tgroup_put(tg);
    /* With this the kernel may go; see kernel_wait_idle(). */
    mutex_lock(&k->tasks_lock);
    atomic_fetch_sub(&k->nr_threads, 1);
    waitq_wake(&k->tasks_gone, POLLIN);
    mutex_unlock(&k->tasks_lock);
}

int task_exec_alone(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    struct task *u, *leader;

    mutex_lock(&k->tasks_lock);
    mutex_lock(&tg->siglock);
    if (tg->group_exit || tg->group_exec) { /* someone else was first: we are to die */
        mutex_unlock(&tg->siglock);
        mutex_unlock(&k->tasks_lock);
        return -EAGAIN;
    }
    tg->group_exec = t;
    tg->stop_count = 0;
    list_for_each_entry(u, &tg->threads, thread_node) {
        if (u == t || u->exiting)
            continue;
        u->stop_wanted = u->in_stop = false;
        atomic_store(&u->fatal, true);
        signal_kick(u);
    }
    mutex_unlock(&tg->siglock);

    while (tg->nr_threads > 1) {
        mutex_unlock(&k->tasks_lock);
        bool killed = task_block_killable(t, TASK_NO_DEADLINE) != 0;
        mutex_lock(&k->tasks_lock);
        if (killed) {
            tg->group_exec = NULL;
            mutex_unlock(&k->tasks_lock);
            return -EAGAIN;
        }
    }

    leader = tg->leader;
    if (leader != t) {
        /* Take the dead leader's identity; our own number becomes free. */
        struct pid *own = t->pid;
        pid_t tid = leader->tid;

        if (leader->ptrace.tracer)
            ptrace_unlink_locked(leader);
        mutex_lock(&tg->siglock);
        list_del_init(&leader->thread_node);
        mutex_unlock(&tg->siglock);
        t->pid = pid_get(leader->pid);
        t->tid = tid;
        t->start_ns = leader->start_ns; /* the process's, by which /proc knows it */
        t->pid->task = t;
        own->task = NULL;
        tg->leader = t;
        pid_release(own);
        pid_put(own);
        k->nr_tasks--;
        user_nproc_add(k, leader->cred->uid, -1);
        task_put(leader);
    }
    mutex_lock(&tg->siglock);
    tg->group_exec = NULL;
    tg->exit_signal = SIGCHLD;
    mutex_unlock(&tg->siglock);
    mutex_unlock(&k->tasks_lock);
    return 0;
}
