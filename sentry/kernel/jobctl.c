/*
 * Stopping and continuing processes, and telling parents about their children.
 *
 * A stop signal that is taken with its default action begins a group stop: every live thread is asked (stop_wanted) to come to
 * jobctl_do_stop(), where it sleeps. The last to arrive makes the process `stopped` and tells the parent. SIGCONT, when it is
 * sent, undoes all of this at once (signal_send.c) and leaves a note (cld_pending) by which the first thread that wakes tells
 * the parent.
 */
#include "sentry/kernel/task_internal.h"

#include <poll.h>

/* Sends SIGCHLD or what clone asked for instead. tasks_lock and no siglock held. */
static void send_to_parent(struct tgroup *parent, const ksiginfo *info)
{
    mutex_lock(&parent->siglock);
    signal_send_locked(parent, NULL, info, false); /* a parent that is ending itself needs none */
    mutex_unlock(&parent->siglock);
}

/* si_utime and si_stime are in ticks of 1/100 s. */
static clock_t timeval_ticks(const struct timeval *tv)
{
    return tv->tv_sec * 100 + tv->tv_usec / 10000;
}

static void child_info(struct tgroup *tg, int signo, int why, int status, ksiginfo *info)
{
    const struct rusage *ru = &tg->dead_threads; /* all of them, when it is a zombie */

    siginfo_kernel(info, signo, why);
    info->si_pid = tg->tgid;
    info->si_uid = tg->leader->cred->uid;
    info->si_status = status;
    info->si_utime = timeval_ticks(&ru->ru_utime);
    info->si_stime = timeval_ticks(&ru->ru_stime);
}

static struct ksigaction parent_action(struct tgroup *parent, int signo)
{
    struct sighand *sh = parent->sighand;
    struct ksigaction ka;

    mutex_lock(&sh->lock);
    ka = sh->action[signo - 1];
    mutex_unlock(&sh->lock);
    return ka;
}

void send_sigchld_locked(struct tgroup *parent, const ksiginfo *info)
{
    struct ksigaction ka = parent_action(parent, SIGCHLD);

    if (ka.handler != (uint64_t)SIG_IGN && !(ka.flags & SA_NOCLDSTOP))
        send_to_parent(parent, info);
}

void notify_parent_cldstop_locked(struct tgroup *tg, int why, int status)
{
    struct tgroup *parent = tg->parent;
    struct task *tracer = tg->leader ? tg->leader->ptrace.tracer : NULL;
    ksiginfo info;

    if (!parent || !tg->leader || (tracer && tracer->tg == parent)) /* a tracer hears of each thread */
        return;
    child_info(tg, SIGCHLD, why, status, &info);
    send_sigchld_locked(parent, &info);
    waitq_wake(&parent->child_wait, POLLIN);
}

bool notify_parent_exit_locked(struct tgroup *tg)
{
    struct tgroup *parent = tg->parent;
    /* clone(2) takes any byte for it; what is no signal is not sent, as in Linux's do_notify_parent(). */
    int signo = tg->exit_signal > 0 && tg->exit_signal <= KERNEL_NSIG ? tg->exit_signal : 0, status = tg->exit_code;
    bool autoreap = false;
    struct ksigaction ka;
    ksiginfo info;

    if (!parent)
        return true;
    if (signo == SIGCHLD) {
        ka = parent_action(parent, SIGCHLD);
        if (ka.handler == (uint64_t)SIG_IGN)
            signo = 0;
        autoreap = ka.handler == (uint64_t)SIG_IGN || (ka.flags & SA_NOCLDWAIT);
    }
    if (signo) {
        if (!(status & 0x7f))
            child_info(tg, signo, CLD_EXITED, status >> 8 & 0xff, &info);
        else
            child_info(tg, signo, status & 0x80 ? CLD_DUMPED : CLD_KILLED, status & 0x7f, &info);
        send_to_parent(parent, &info);
    }
    waitq_wake(&parent->child_wait, POLLIN);
    return autoreap;
}

/* One thread less to wait for. True when the stop is now complete. */
static bool arrive(struct tgroup *tg)
{
    if (tg->stop_count == 0 || --tg->stop_count > 0)
        return false;
    tg->stopped = true;
    tg->wait_stop_code = tg->stop_signo;
    tg->wait_continued = 0;
    return true;
}

bool jobctl_leave(struct task *t)
{
    if (!t->stop_wanted)
        return false;
    t->stop_wanted = false;
    return arrive(t->tg);
}

static void begin_stop(struct task *t, int signo)
{
    struct tgroup *tg = t->tg;
    struct task *u;

    /* A second stop signal while the process is stopped does not report a second time. */
    if (!tg->stopped)
        tg->stop_signo = signo;
    tg->stop_count = 1;
    t->stop_wanted = true;
    list_for_each_entry(u, &tg->threads, thread_node) {
        if (u == t || u->exiting || u->in_stop || u->stop_wanted)
            continue;
        u->stop_wanted = true;
        tg->stop_count++;
        signal_kick(u);
    }
}

void jobctl_do_stop(struct task *t, int signo) NO_THREAD_SAFETY_ANALYSIS
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    bool complete;

    if (!t->stop_wanted)
        begin_stop(t, signo);
    t->stop_wanted = false;
    t->in_stop = !t->ptrace.tracer;
    complete = arrive(tg);
    signo = tg->stop_signo;
    mutex_unlock(&tg->siglock);

    atomic_store_explicit(&t->state, TASK_STOPPED, memory_order_relaxed);
    if (complete) {
        mutex_lock(&k->tasks_lock);
        notify_parent_cldstop_locked(tg, CLD_STOPPED, signo);
        mutex_unlock(&k->tasks_lock);
    }
    mutex_lock(&tg->siglock);
    if (t->ptrace.tracer && !t->in_stop)
        ptrace_group_stop(t, signo);
    while (t->in_stop && !atomic_load(&t->fatal)) {
        mutex_unlock(&tg->siglock);
        task_block_uninterruptible(t);
        mutex_lock(&tg->siglock);
    }
    t->in_stop = false;
    atomic_store_explicit(&t->state, TASK_RUNNING, memory_order_relaxed);
}
