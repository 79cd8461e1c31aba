/*
 * What a thread does about its signals before it goes back to the guest: Linux's get_signal() and the restart of calls that a
 * signal cut short.
 *
 * One pass takes signals until one has a handler (its frame is built), or none is left. Signals with default actions are acted
 * upon here: ignored, stopped by, or died of.
 */
#include "sentry/kernel/task_internal.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/rseq.h"

#include <errno.h>

#define NR_RESTART_SYSCALL 219

/* Tells the parent of a stop or continuation that SIGCONT left a note about. siglock held, dropped in between. */
static void tell_parent(struct tgroup *tg) REQUIRES(tg->siglock)
{
    struct kernel *k = tg->k;
    int why = tg->cld_pending;

    tg->cld_pending = 0;
    mutex_unlock(&tg->siglock);
    mutex_lock(&k->tasks_lock);
    notify_parent_cldstop_locked(tg, why, why == CLD_CONTINUED ? SIGCONT : SIGSTOP);
    mutex_unlock(&k->tasks_lock);
    mutex_lock(&tg->siglock);
}

/* Is the caller's group orphaned, so that terminal stops are not for it? siglock held, dropped in between. */
static bool in_orphaned_group(struct tgroup *tg) REQUIRES(tg->siglock)
{
    struct kernel *k = tg->k;
    bool r;

    mutex_unlock(&tg->siglock);
    mutex_lock(&k->tasks_lock);
    r = pgrp_is_orphaned(tg->pgrp, NULL);
    mutex_unlock(&k->tasks_lock);
    mutex_lock(&tg->siglock);
    return r;
}

static struct ksigaction take_action(struct tgroup *tg, int signo)
{
    struct ksigaction *slot, ka;

    mutex_lock(&tg->sighand->lock);
    slot = &tg->sighand->action[signo - 1];
    ka = *slot;
    if (ka.handler > (uint64_t)SIG_IGN && (ka.flags & SA_RESETHAND))
        slot->handler = (uint64_t)SIG_DFL;
    mutex_unlock(&tg->sighand->lock);
    return ka;
}

/*
 * Takes the next signal that has a handler. False: there is none, or the thread must end (exit_requested). siglock held on
 * entry and on return.
 */
static bool get_signal(struct task *t, struct ksigaction *ka, ksiginfo *info, void **timer) NO_THREAD_SAFETY_ANALYSIS
{
    struct tgroup *tg = t->tg;
    int signo;

    for (;;) {
        if (tg->cld_pending)
            tell_parent(tg);
        if (t->exit_requested)
            return false;
        if (tg->group_exit) {
            task_request_exit(t, tg->group_exit_code);
            return false;
        }
        if (atomic_load(&t->fatal)) { /* another thread execs, or this one could not be run any more */
            task_request_exit(t, SIGKILL);
            return false;
        }
        if (t->stop_wanted) {
            jobctl_do_stop(t, 0);
            continue;
        }
        if (t->ptrace.trap_wanted) {
            ptrace_group_stop(t, 0);
            continue;
        }
        signo = signal_dequeue_locked(t, ~t->blocked, info, timer);
        if (!signo)
            return false;
        if (t->ptrace.tracer && signo != SIGKILL) {
            signo = ptrace_signal(t, signo, info);
            if (!signo)
                continue;
        }
        *ka = take_action(tg, signo);
        if (ka->handler > (uint64_t)SIG_IGN)
            return true;
        if (*timer) {
            mutex_unlock(&tg->siglock);
            posix_timer_dequeued(tg, *timer, info);
            mutex_lock(&tg->siglock);
            *timer = NULL;
        }
        if (ka->handler == (uint64_t)SIG_IGN || signal_ignored_by_default(signo))
            continue;
        if (tg->unkillable && !signal_kernel_only(signo))
            continue;
        if (signal_stops_by_default(signo)) {
            if (signo != SIGSTOP && in_orphaned_group(tg))
                continue;
            if (t->stop_dequeued && !tg->group_exit) { /* no SIGCONT came in between */
                t->stop_dequeued = false;
                jobctl_do_stop(t, signo);
            }
            continue;
        }
        /* A core is announced in the status and never written. */
        signal_group_exit_locked(tg, signal_dumps_core(signo) && task_rlimit(t, RLIMIT_CORE) ? signo | 0x80 : signo);
    }
}

/* What becomes of an interrupted call when a handler runs. */
static void restart_before_handler(struct task *t, const struct ksigaction *ka)
{
    struct guest_regs *regs = &t->regs;

    if (t->orig_rax < 0)
        return;
    switch (-(int64_t)regs->rax) {
    case ERESTARTSYS:
        if (!(ka->flags & SA_RESTART)) {
            regs->rax = (uint64_t)-EINTR;
            break;
        }
        __attribute__((fallthrough));
    case ERESTARTNOINTR:
        regs->rax = (uint64_t)t->orig_rax;
        regs->rip -= 2; /* the syscall instruction, which a rewritten site keeps */
        break;
    case ERESTARTNOHAND:
    case ERESTART_RESTARTBLOCK:
        regs->rax = (uint64_t)-EINTR;
        break;
    default:
        break;
    }
    t->orig_rax = -1;
}

/* And when none does: the sentry runs it again by itself. */
static bool restart_without_handler(struct task *t)
{
    if (t->orig_rax < 0)
        return false;
    switch (-(int64_t)t->regs.rax) {
    case ERESTARTSYS:
    case ERESTARTNOINTR:
    case ERESTARTNOHAND:
        return true;
    case ERESTART_RESTARTBLOCK:
        t->orig_rax = NR_RESTART_SYSCALL;
        return true;
    default:
        return false;
    }
}

/* The frame could not be built: die of SIGSEGV, after its handler's try unless that was the one. */
static void force_segv(struct task *t, int signo)
{
    ksiginfo info;

    if (signo == SIGSEGV) {
        mutex_lock(&t->tg->siglock);
        mutex_lock(&t->tg->sighand->lock);
        t->tg->sighand->action[SIGSEGV - 1].handler = (uint64_t)SIG_DFL;
        mutex_unlock(&t->tg->sighand->lock);
        mutex_unlock(&t->tg->siglock);
    }
    siginfo_kernel(&info, SIGSEGV, SI_KERNEL);
    signal_force(t, &info);
}

static void deliver(struct task *t, const struct ksigaction *ka, const ksiginfo *info)
{
    ksigset mask, oldmask;

    restart_before_handler(t, ka);
    oldmask = t->restore_mask ? t->saved_mask : t->blocked;
    if (!rseq_signal_delivery(t) || sigframe_setup(t, ka, info, oldmask)) {
        force_segv(t, info->si_signo);
        return;
    }
    t->restore_mask = false;
    mask = t->blocked | ka->mask;
    if (!(ka->flags & SA_NODEFER))
        mask |= ksig_bit(info->si_signo);
    signal_set_blocked(t, mask);
}

bool task_signal_work(struct task *t)
{
    struct tgroup *tg = t->tg;
    struct ksigaction ka;
    void *timer = NULL;
    ksiginfo info;
    bool again;

    for (;;) {
        mutex_lock(&tg->siglock);
        if (!get_signal(t, &ka, &info, &timer))
            break;
        signal_recalc(t);
        mutex_unlock(&tg->siglock);
        if (timer)
            posix_timer_dequeued(tg, timer, &info);
        deliver(t, &ka, &info);
        if (!signal_pending(t))
            return false;
    }
    signal_recalc(t);
    mutex_unlock(&tg->siglock);
    if (t->exit_requested)
        return false;
    again = restart_without_handler(t);
    if (t->restore_mask) {
        t->restore_mask = false;
        signal_set_blocked(t, t->saved_mask);
    }
    return again;
}
