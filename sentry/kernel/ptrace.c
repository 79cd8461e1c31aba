/*
 * Being traced: stops.
 *
 * A tracee stops on its own thread, at a few places: when a signal is taken, before and after calls, at events (fork, exec,
 * exit), in a group stop. It saves its FP state where the tracer can reach it, says in ptrace.report what wait(2) shall tell,
 * wakes the tracer, and sleeps until a request lets it go on (or it is killed). While it sleeps its registers are the tracer's;
 * a request that is at work holds it `frozen`, so that even SIGKILL has to wait for the end of the request.
 */
#include "sentry/kernel/ptrace.h"

#include "sentry/kernel/fork.h"
#include "sentry/kernel/task_internal.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#define FLAG_TF (1UL << 8)

static void tell_tracer(struct task *t, int why, int status)
{
    struct task *tracer = t->ptrace.tracer;
    ksiginfo info;

    if (!tracer)
        return;
    siginfo_kernel(&info, SIGCHLD, why);
    info.si_pid = t->tid;
    info.si_uid = t->cred->uid;
    info.si_status = status;
    send_sigchld_locked(tracer->tg, &info);
    waitq_wake(&tracer->tg->child_wait, POLLIN);
}

/* What the tracer may have changed takes effect. */
static void take_back(struct task *t)
{
    struct ptrace_state *ps = &t->ptrace;

    if (ps->fp && ps->fp_changed && platform_fp_set(t->ctx, ps->fp))
        task_fp_init(t);
    free(ps->fp);
    ps->fp = NULL;
    ps->fp_changed = false;
    task_set_answers(t);
}

/*
 * Stops with `report`. siglock held on entry and on return. `dying`: sleep even though the process is exiting, until it is
 * killed again.
 */
static void stop(struct task *t, int report, enum ptrace_stop_kind kind, const ksiginfo *info,
                 int why) NO_THREAD_SAFETY_ANALYSIS
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    struct ptrace_state *ps = &t->ptrace;
    int state;

    if (!ps->tracer || atomic_load(&t->fatal) || !t->ctx)
        return;
    mutex_unlock(&tg->siglock);
    ps->fp = malloc(platform_fp_size(k->platform));
    if (ps->fp && platform_fp_get(t->ctx, ps->fp)) {
        free(ps->fp);
        ps->fp = NULL;
    }
    if (ps->step_tf) {
        t->regs.rflags &= ~FLAG_TF;
        ps->step_tf = false;
    }
    mutex_lock(&k->tasks_lock);
    mutex_lock(&tg->siglock);
    if (!ps->tracer || atomic_load(&t->fatal)) {
        mutex_unlock(&k->tasks_lock);
        goto out;
    }
    ps->have_info = info != NULL;
    if (info)
        ps->info = *info;
    ps->kind = kind;
    ps->report = report;
    ps->resume_signo = 0;
    ps->mode = PTRACE_RUN;
    ps->stopped = true;
    mutex_unlock(&tg->siglock);
    tell_tracer(t, why, report & 0x7f);
    mutex_unlock(&k->tasks_lock);

    state = atomic_exchange(&t->state, TASK_STOPPED);
    mutex_lock(&tg->siglock);
    while ((ps->stopped && !atomic_load(&t->fatal)) || ps->frozen) {
        mutex_unlock(&tg->siglock);
        task_block_uninterruptible(t);
        mutex_lock(&tg->siglock);
    }
    ps->stopped = false;
    ps->report = 0;
    ps->kind = PTRACE_STOP_OTHER;
    atomic_store(&t->state, state);
out:
    mutex_unlock(&tg->siglock);
    take_back(t);
    mutex_lock(&tg->siglock);
}

void ptrace_event(struct task *t, int event, uint64_t message)
{
    struct tgroup *tg = t->tg;
    ksiginfo info;

    siginfo_kernel(&info, SIGTRAP, SIGTRAP | event << 8);
    info.si_pid = t->tid;
    info.si_uid = t->cred->uid;
    mutex_lock(&tg->siglock);
    t->ptrace.message = message;
    stop(t, SIGTRAP | event << 8, event == PTRACE_EVENT_SECCOMP ? PTRACE_STOP_SECCOMP : PTRACE_STOP_OTHER, &info, CLD_TRAPPED);
    mutex_unlock(&tg->siglock);
}

bool ptrace_event_if(struct task *t, int event, uint64_t message)
{
    if (!t->ptrace.tracer || !(t->ptrace.options & 1U << event))
        return false;
    ptrace_event(t, event, message);
    return true;
}

static void syscall_stop(struct task *t, enum ptrace_stop_kind kind)
{
    struct tgroup *tg = t->tg;
    int code = SIGTRAP | (t->ptrace.options & PTRACE_O_TRACESYSGOOD ? 0x80 : 0), signo;
    ksiginfo info;

    siginfo_kernel(&info, SIGTRAP, code);
    info.si_pid = t->tid;
    info.si_uid = t->cred->uid;
    mutex_lock(&tg->siglock);
    t->ptrace.message = kind == PTRACE_STOP_ENTRY ? 1 : 2; /* PTRACE_EVENTMSG_SYSCALL_* */
    stop(t, code, kind, &info, CLD_TRAPPED);
    signo = t->ptrace.resume_signo;
    t->ptrace.resume_signo = 0;
    mutex_unlock(&tg->siglock);
    if (signo) {
        siginfo_kernel(&info, signo, SI_USER);
        signal_send_task(t, &info);
    }
}

bool ptrace_syscall_entry(struct task *t)
{
    bool emulate = t->ptrace.mode == PTRACE_RUN_SYSEMU;

    if (!emulate && t->ptrace.mode != PTRACE_RUN_SYSCALL)
        return true;
    t->regs.rax = (uint64_t)-ENOSYS;
    syscall_stop(t, PTRACE_STOP_ENTRY);
    return !emulate && t->orig_rax >= 0 && !atomic_load(&t->fatal);
}

void ptrace_syscall_exit(struct task *t)
{
    if (t->ptrace.mode == PTRACE_RUN_SYSCALL)
        syscall_stop(t, PTRACE_STOP_EXIT);
}

int ptrace_signal(struct task *t, int signo, ksiginfo *info)
{
    struct ptrace_state *ps = &t->ptrace;

    stop(t, signo, PTRACE_STOP_OTHER, info, CLD_TRAPPED);
    if (atomic_load(&t->fatal))
        return 0;
    signo = ps->resume_signo;
    ps->resume_signo = 0;
    if (!signo)
        return 0;
    *info = ps->info; /* the tracer may have changed it */
    if (signo != info->si_signo) {
        siginfo_kernel(info, signo, SI_USER);
        if (ps->tracer) {
            info->si_pid = ps->tracer->tg->tgid;
            info->si_uid = ps->tracer->cred->uid;
        }
    }
    if (t->blocked & ksig_bit(signo)) { /* it must wait after all */
        signal_send_locked(t->tg, t, info, false);
        return 0;
    }
    return signo;
}

void ptrace_group_stop(struct task *t, int signo)
{
    struct ptrace_state *ps = &t->ptrace;
    ksiginfo info;

    do {
        ps->trap_wanted = false;
        if (!ps->seized) {
            stop(t, signo ? signo : SIGSTOP, PTRACE_STOP_OTHER, NULL, CLD_STOPPED);
        } else {
            int code = signo ? signo : SIGTRAP;
            siginfo_kernel(&info, SIGTRAP, code | PTRACE_EVENT_STOP << 8);
            ps->message = 0;
            stop(t, code | PTRACE_EVENT_STOP << 8, PTRACE_STOP_OTHER, signo ? NULL : &info, CLD_STOPPED);
        }
        signo = 0;
        /* A listener stops again for what it listened for. */
    } while (ps->trap_wanted && ps->tracer && !atomic_load(&t->fatal));
    ps->resume_signo = 0;
}

void ptrace_exec(struct task *t, pid_t old_tid)
{
    ksiginfo info;

    memset(t->ptrace.debug, 0, sizeof(t->ptrace.debug));
    if (!t->ptrace.tracer || ptrace_event_if(t, PTRACE_EVENT_EXEC, (uint64_t)old_tid) || t->ptrace.seized)
        return;
    siginfo_kernel(&info, SIGTRAP, SI_USER);
    signal_send_task(t, &info);
}

void ptrace_exit_event(struct task *t)
{
    struct tgroup *tg = t->tg;

    if (!t->ptrace.tracer || !(t->ptrace.options & PTRACE_O_TRACEEXIT) || !t->ctx)
        return;
    mutex_lock(&tg->siglock);
    if (tg->group_exit && tg->group_exit_code == SIGKILL) {
        mutex_unlock(&tg->siglock);
        return;
    }
    atomic_store(&t->fatal, false); /* a SIGKILL from now on sets it again */
    mutex_unlock(&tg->siglock);
    ptrace_event(t, PTRACE_EVENT_EXIT, (uint64_t)t->exit_code);
}

void ptrace_prepare_run(struct task *t)
{
    struct ptrace_state *ps = &t->ptrace;

    if (!ps->step || (t->regs.rflags & FLAG_TF))
        return;
    t->regs.rflags |= FLAG_TF;
    ps->step_tf = true;
}

int ptrace_clone_event(const struct task *t, const struct clone_request *rq)
{
    int event = rq->flags & CLONE_VFORK      ? PTRACE_EVENT_VFORK
                : rq->exit_signal != SIGCHLD ? PTRACE_EVENT_CLONE
                                             : PTRACE_EVENT_FORK;

    if (!t->ptrace.tracer || (rq->flags & CLONE_UNTRACED) || !(t->ptrace.options & 1U << event))
        return 0;
    return event;
}

void ptrace_link_locked(struct task *t, struct task *tracer, bool seized, unsigned int options)
{
    struct ptrace_state *ps = &t->ptrace;

    mutex_lock(&t->tg->siglock);
    ps->tracer = tracer;
    ps->seized = seized;
    ps->options = options;
    ps->mode = PTRACE_RUN;
    ps->step = ps->stopped = ps->frozen = false;
    ps->report = ps->resume_signo = 0;
    list_add_tail(&ps->node, &tracer->ptraced);
    mutex_unlock(&t->tg->siglock);
}

void ptrace_clone_child_locked(struct task *child, struct task *t, int event, const struct clone_request *rq)
{
    struct task *tracer = t->ptrace.tracer;

    if (!tracer || (!event && !(rq->flags & CLONE_PTRACE)))
        return;
    ptrace_link_locked(child, tracer, t->ptrace.seized, t->ptrace.options);
    mutex_lock(&child->tg->siglock);
    if (t->ptrace.seized)
        child->ptrace.trap_wanted = true;
    else
        child->pending.set |= ksig_bit(SIGSTOP);
    signal_recalc(child);
    mutex_unlock(&child->tg->siglock);
}

void ptrace_unlink_locked(struct task *t)
{
    struct ptrace_state *ps = &t->ptrace;

    mutex_lock(&t->tg->siglock);
    list_del_init(&ps->node);
    ps->tracer = NULL;
    ps->options = 0;
    ps->mode = PTRACE_RUN;
    ps->step = ps->trap_wanted = false;
    /* Those of a stopped process go on in the stop, without the tracer. */
    if (ps->stopped && t->tg->stopped && !t->exiting) {
        t->tg->stop_count++;
        t->stop_wanted = true;
    }
    ps->stopped = false;
    signal_kick(t);
    mutex_unlock(&t->tg->siglock);
}

void ptrace_notify_zombie_locked(struct task *t)
{
    int status = t->exit_code;

    t->ptrace.zombie = true;
    tell_tracer(t,
                !(status & 0x7f) ? CLD_EXITED
                : status & 0x80  ? CLD_DUMPED
                                 : CLD_KILLED,
                status & 0x7f ? status & 0x7f : status >> 8 & 0xff);
}

void ptrace_detach_all_locked(struct task *tracer)
{
    struct task *t, *next;
    ksiginfo info;

    list_for_each_entry_safe(t, next, &tracer->ptraced, ptrace.node) {
        if (t->ptrace.options & PTRACE_O_EXITKILL) {
            siginfo_kernel(&info, SIGKILL, SI_KERNEL);
            signal_send_task(t, &info);
        }
        ptrace_release_locked(t);
    }
}

/* Lets go of a tracee, dead or alive; a dead one goes on to whoever waits next. */
void ptrace_release_locked(struct task *t)
{
    bool zombie = t->ptrace.zombie;

    t->ptrace.zombie = false;
    ptrace_unlink_locked(t);
    if (!zombie)
        return;
    if (t == t->tg->leader) {
        announce_zombie_locked(t->tg);
        return;
    }
    if (t->tg->zombie && t->tg->parent) /* may have been waiting for this */
        waitq_wake(&t->tg->parent->child_wait, POLLIN);
    task_release_locked(t);
}
