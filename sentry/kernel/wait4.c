/*
 * Waiting for children.
 *
 * Each round looks at all children of the process under tasks_lock; who finds nothing sleeps on the process's child_wait, which
 * every change of a child wakes.
 */
#include "sentry/kernel/wait4.h"

#include "sentry/kernel/task_internal.h"
#include "sentry/kernel/usage.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

#ifndef __WNOTHREAD
#define __WNOTHREAD 0x20000000
#endif

static bool is_meant(const struct task *t, const struct wait_request *rq, const struct tgroup *child)
{
    bool clone_child;

    switch (rq->type) {
    case WAIT_FOR_PID:
        if (rq->pid ? child->pid != rq->pid : child->tgid != rq->id)
            return false;
        break;
    case WAIT_FOR_PGRP:
        if (!child->pgrp || child->pgrp->pgid != rq->id)
            return false;
        break;
    case WAIT_FOR_ANY:
        break;
    }
    if ((rq->options & __WNOTHREAD) && child->parent_tid != t->tid)
        return false;
    if (rq->options & __WALL)
        return true;
    clone_child = child->exit_signal != SIGCHLD;
    return clone_child == !!(rq->options & __WCLONE);
}

static void fill(struct wait_result *res, const struct tgroup *child)
{
    res->pid = child->tgid;
    res->uid = child->leader->cred->uid;
}

static bool take_zombie(struct task *t, const struct wait_request *rq, struct tgroup *child, struct wait_result *res)
{
    struct tgroup *tg = t->tg;
    int status = child->exit_code;

    if (!(rq->options & WEXITED) || !child->zombie)
        return false;
    /* Tracers come first, with the process's threads as well. */
    if (child->leader->ptrace.zombie || child->threads.next != child->threads.prev)
        return false;
    fill(res, child);
    res->status = status;
    res->code = !(status & 0x7f) ? CLD_EXITED : status & 0x80 ? CLD_DUMPED : CLD_KILLED;
    res->child_status = status & 0x7f ? status & 0x7f : status >> 8 & 0xff;
    res->usage = child->dead_threads;
    usage_add(&res->usage, &child->dead_children);
    if (!(rq->options & WNOWAIT)) {
        usage_add(&tg->dead_children, &res->usage);
        tgroup_reap_locked(child);
    }
    return true;
}

static bool take_stopped(const struct wait_request *rq, struct tgroup *child, struct wait_result *res)
{
    struct task *tracer = child->leader->ptrace.tracer;
    int signo;

    if (!(rq->options & WSTOPPED) || child->zombie || (tracer && tracer->tg == child->parent))
        return false;
    mutex_lock(&child->siglock);
    signo = child->stopped ? child->wait_stop_code : 0;
    if (signo && !(rq->options & WNOWAIT))
        child->wait_stop_code = 0;
    mutex_unlock(&child->siglock);
    if (!signo)
        return false;
    fill(res, child);
    res->status = signo << 8 | 0x7f;
    res->code = CLD_STOPPED;
    res->child_status = signo;
    return true;
}

static bool take_continued(const struct wait_request *rq, struct tgroup *child, struct wait_result *res)
{
    bool continued;

    if (!(rq->options & WCONTINUED) || child->zombie)
        return false;
    mutex_lock(&child->siglock);
    continued = child->wait_continued;
    if (!(rq->options & WNOWAIT))
        child->wait_continued = 0;
    mutex_unlock(&child->siglock);
    if (!continued)
        return false;
    fill(res, child);
    res->status = 0xffff;
    res->code = CLD_CONTINUED;
    res->child_status = SIGCONT;
    return true;
}

/* Threads that one of ours traces, children or not, report each for itself. */
static bool look_at_tracee(const struct wait_request *rq, struct task *p, struct wait_result *res)
{
    struct ptrace_state *ps = &p->ptrace;

    if (ps->zombie && (rq->options & WEXITED)) {
        int status = p->exit_code;

        *res = (struct wait_result){
            .pid = p->tid,
            .uid = p->cred->uid,
            .status = status,
            .code = !(status & 0x7f) ? CLD_EXITED
                    : status & 0x80  ? CLD_DUMPED
                                     : CLD_KILLED,
            .child_status = status & 0x7f ? status & 0x7f : status >> 8 & 0xff,
        };
        if (!(rq->options & WNOWAIT))
            ptrace_release_locked(p);
        return true;
    }
    mutex_lock(&p->tg->siglock);
    if (ps->stopped && ps->report) {
        *res = (struct wait_result){
            .pid = p->tid,
            .uid = p->cred->uid,
            .status = ps->report << 8 | 0x7f,
            .code = CLD_TRAPPED,
            .child_status = ps->report,
        };
        if (!(rq->options & WNOWAIT))
            ps->report = 0;
    }
    mutex_unlock(&p->tg->siglock);
    return res->pid != 0;
}

static bool tracee_is_meant(const struct wait_request *rq, const struct task *p)
{
    switch (rq->type) {
    case WAIT_FOR_PID:
        return rq->pid ? p->pid == rq->pid : p->tid == rq->id;
    case WAIT_FOR_PGRP:
        return p->tg->pgrp && p->tg->pgrp->pgid == rq->id;
    default:
        return true;
    }
}

static int look_at_tracees(struct task *tracer, const struct wait_request *rq, struct wait_result *res, int r)
{
    struct task *p, *next;

    list_for_each_entry_safe(p, next, &tracer->ptraced, ptrace.node) {
        if (!tracee_is_meant(rq, p))
            continue;
        r = 0;
        if (look_at_tracee(rq, p, res))
            break;
    }
    return r;
}

/* 0 with res->pid set: done; 0 with res->pid 0: there are children, but none is ready; -ECHILD. tasks_lock held. */
static int look(struct task *t, const struct wait_request *rq, struct wait_result *res)
{
    struct tgroup *child, *next;
    struct task *u;
    int r = -ECHILD;

    list_for_each_entry_safe(child, next, &t->tg->children, sibling) {
        if (!is_meant(t, rq, child))
            continue;
        r = 0;
        if (take_zombie(t, rq, child, res) || take_stopped(rq, child, res) || take_continued(rq, child, res))
            return r;
    }
    list_for_each_entry(u, &t->tg->threads, thread_node) {
        if (!res->pid && (u == t || !(rq->options & __WNOTHREAD)))
            r = look_at_tracees(u, rq, res, r);
    }
    return r;
}

int task_wait_child(struct task *t, const struct wait_request *rq, struct wait_result *res)
{
    struct kernel *k = t->k;
    struct task_wait w;
    int r;

    *res = (struct wait_result){0};
    mutex_lock(&k->tasks_lock);
    r = look(t, rq, res);
    mutex_unlock(&k->tasks_lock);
    if (r || res->pid || (rq->options & WNOHANG))
        return r;
    if (rq->pidfd_nonblock)
        return -EAGAIN;

    task_wait_begin(t, &w, &t->tg->child_wait, POLLIN);
    for (;;) {
        mutex_lock(&k->tasks_lock);
        r = look(t, rq, res);
        mutex_unlock(&k->tasks_lock);
        if (r || res->pid)
            break;
        r = task_block(t, TASK_NO_DEADLINE);
        if (r)
            break;
    }
    task_wait_end(&w);
    return r;
}
