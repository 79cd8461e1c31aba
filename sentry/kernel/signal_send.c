/*
 * Sending signals: from a siginfo to a pending bit and a queue entry, and to the thread that shall take it.
 *
 * It follows Linux's send_signal(): SIGCONT and the stop signals cancel each other at once, a signal that nobody would act on
 * is dropped, standard signals are queued once, real-time ones each time. complete_signal() then picks a thread that does not
 * block it; a signal that is going to kill the process kills all its threads here and now.
 *
 * Lock order: tasks_lock -> siglock -> sighand->lock. A thread list may be walked under either of the first two.
 */
#include "sentry/kernel/task_internal.h"

#include "sentry/kernel/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* The kernel's SIGRTMIN; libc keeps the first two for itself. */
#define FIRST_RT_SIGNAL 32

static const ksigset stop_signals =
    1ULL << (SIGSTOP - 1) | 1ULL << (SIGTSTP - 1) | 1ULL << (SIGTTIN - 1) | 1ULL << (SIGTTOU - 1);
/* Raised by the thread's own instructions: taken before all others, so that the frame shows where it happened. */
static const ksigset synchronous_signals = 1ULL << (SIGSEGV - 1) | 1ULL << (SIGBUS - 1) | 1ULL << (SIGILL - 1) |
                                           1ULL << (SIGTRAP - 1) | 1ULL << (SIGFPE - 1) | 1ULL << (SIGSYS - 1);

void signal_init_pending(struct ksigpending *p)
{
    p->set = 0;
    list_init(&p->queue);
}

static void entry_free(struct ksigqueue *q)
{
    if (q->timer) {
        posix_timer_dropped(q->timer);
        return;
    }
    free(q);
}

void signal_flush_pending(struct ksigpending *p, ksigset set)
{
    struct ksigqueue *q, *next;

    if (!(p->set & set))
        return;
    p->set &= ~set;
    list_for_each_entry_safe(q, next, &p->queue, node) {
        if (!(ksig_bit(q->info.si_signo) & set))
            continue;
        list_del_init(&q->node);
        entry_free(q);
    }
}

/* The same for a live process, which keeps count of its entries. */
static void flush_counted(struct tgroup *tg, struct ksigpending *p, ksigset set)
{
    struct ksigqueue *q;

    if (!(p->set & set))
        return;
    list_for_each_entry(q, &p->queue, node) {
        if ((ksig_bit(q->info.si_signo) & set) && !q->timer && tg->nr_queued_signals)
            tg->nr_queued_signals--;
    }
    signal_flush_pending(p, set);
}

void signal_flush_everywhere_locked(struct tgroup *tg, ksigset set)
{
    struct task *t;

    flush_counted(tg, &tg->shared_pending, set);
    list_for_each_entry(t, &tg->threads, thread_node)
        flush_counted(tg, &t->pending, set);
}

bool signal_pending(const struct task *t)
{
    return atomic_load(&t->sigpending);
}

void signal_recalc(struct task *t)
{
    const struct tgroup *tg = t->tg;
    ksigset deliverable = (t->pending.set | tg->shared_pending.set) & ~t->blocked;

    atomic_store(&t->sigpending, deliverable || t->stop_wanted || t->ptrace.trap_wanted || tg->group_exit ||
                                     atomic_load(&t->fatal) || t->exit_requested);
}

void signal_kick(struct task *t)
{
    atomic_store(&t->sigpending, true);
    /* In the guest, or about to be: the run loop looks at sigpending after it has made guest_seq odd. */
    if (t->ctx && (atomic_load(&t->guest_seq) & 1))
        platform_interrupt(t->ctx);
    else
        task_wake(t);
}

static uint64_t handler_of(const struct tgroup *tg, int signo)
{
    uint64_t h;

    mutex_lock(&tg->sighand->lock);
    h = tg->sighand->action[signo - 1].handler;
    mutex_unlock(&tg->sighand->lock);
    return h;
}

/* Would `t` throw it away? Blocked signals never: the action may be changed before they are unblocked. */
static bool is_ignored(const struct task *t, int signo, bool from_outside)
{
    uint64_t handler;

    if ((t->blocked | t->real_blocked) & ksig_bit(signo))
        return false;
    if (t->ptrace.tracer && signo != SIGKILL) /* the tracer wants to see it */
        return false;
    handler = handler_of(t->tg, signo);
    if (handler == (uint64_t)SIG_IGN)
        return true;
    if (handler != (uint64_t)SIG_DFL)
        return false;
    if (t->tg->unkillable && !(from_outside && signal_kernel_only(signo)))
        return true;
    return signal_ignored_by_default(signo);
}

/* A live thread of the process, the leader if it is one. */
static struct task *any_thread(struct tgroup *tg)
{
    struct task *t;

    list_for_each_entry(t, &tg->threads, thread_node) {
        if (!t->exiting)
            return t;
    }
    return NULL;
}

/* What SIGCONT does even when blocked or ignored. */
static void continue_process(struct tgroup *tg)
{
    struct task *t;
    int why = tg->stopped ? CLD_CONTINUED : tg->stop_count ? CLD_STOPPED : 0;

    list_for_each_entry(t, &tg->threads, thread_node) {
        t->stop_wanted = false;
        t->stop_dequeued = false;
        if (t->ptrace.seized && t->ptrace.tracer && (why || t->ptrace.stopped)) {
            t->ptrace.trap_wanted = true;
            if (t->ptrace.stopped && t->ptrace.mode == PTRACE_RUN_LISTEN)
                t->ptrace.stopped = false;
            signal_kick(t);
        }
        if (t->in_stop) {
            t->in_stop = false;
            signal_kick(t);
        }
    }
    if (!why)
        return;
    if (why == CLD_CONTINUED)
        tg->wait_continued = 1;
    tg->cld_pending = why;
    tg->stopped = false;
    tg->stop_count = 0;
    tg->wait_stop_code = 0;
}

static bool prepare_signal(struct tgroup *tg, struct task *t, int signo, bool from_outside)
{
    struct task *u;

    if (tg->group_exit)
        return signo == SIGKILL;
    if (ksig_bit(signo) & stop_signals) {
        signal_flush_everywhere_locked(tg, ksig_bit(SIGCONT));
    } else if (signo == SIGCONT) {
        signal_flush_everywhere_locked(tg, stop_signals);
        list_for_each_entry(u, &tg->threads, thread_node)
            u->stop_dequeued = false;
        continue_process(tg);
    }
    return !is_ignored(t, signo, from_outside);
}

void signal_group_exit_locked(struct tgroup *tg, int wait_status)
{
    struct task *t;

    if (!tg->group_exit) {
        tg->group_exit = true;
        tg->group_exit_code = wait_status;
    }
    tg->stop_count = 0;
    list_for_each_entry(t, &tg->threads, thread_node) {
        if (t->exiting)
            continue;
        t->stop_wanted = false;
        t->in_stop = false;
        atomic_store(&t->fatal, true);
        signal_kick(t);
    }
}

static bool wants_signal(const struct task *t, int signo)
{
    if (t->exiting || (t->blocked & ksig_bit(signo)))
        return false;
    if (signo == SIGKILL)
        return true;
    return !t->in_stop && !t->ptrace.stopped;
}

static void complete_signal(struct tgroup *tg, struct task *only, int signo)
{
    struct task *t = NULL, *u;
    uint64_t handler;

    if (only) {
        t = wants_signal(only, signo) ? only : NULL;
    } else {
        list_for_each_entry(u, &tg->threads, thread_node) {
            if (!wants_signal(u, signo))
                continue;
            if (!t)
                t = u;
            if (!atomic_load_explicit(&u->sigpending, memory_order_relaxed)) {
                t = u;
                break;
            }
        }
    }
    if (!t)
        return; /* stays pending until somebody unblocks it */

    handler = handler_of(tg, signo);
    if (handler == (uint64_t)SIG_DFL && !tg->group_exit && !(t->real_blocked & ksig_bit(signo)) &&
        !signal_stops_by_default(signo) && !signal_ignored_by_default(signo) && !signal_dumps_core(signo) &&
        (!tg->unkillable || signo == SIGKILL) && (!t->ptrace.tracer || signo == SIGKILL)) {
        signal_group_exit_locked(tg, signo);
        return;
    }
    signal_kick(t);
}

int signal_send_locked(struct tgroup *tg, struct task *only, const ksiginfo *info, bool from_outside)
{
    int signo = info->si_signo;
    struct task *t = only ? only : any_thread(tg);
    struct ksigpending *p = only ? &only->pending : &tg->shared_pending;
    struct ksigqueue *q = NULL;

    if (!t || t->exiting)
        return -ESRCH;
    if (!prepare_signal(tg, t, signo, from_outside))
        return 0;
    if (signo < FIRST_RT_SIGNAL && (p->set & ksig_bit(signo)))
        return 0;

    if (signo != SIGKILL) {
        /* Signals of the kernel and of kill(2) come through even when the queue is full, but then without siginfo. */
        bool override = signo < FIRST_RT_SIGNAL && info->si_code >= 0;
        if (override || tg->nr_queued_signals < task_rlimit(t, RLIMIT_SIGPENDING))
            q = malloc(sizeof(*q));
        if (!q && signo >= FIRST_RT_SIGNAL && info->si_code != SI_USER)
            return -EAGAIN;
        if (q) {
            q->info = *info;
            q->timer = NULL;
            list_add_tail(&q->node, &p->queue);
            tg->nr_queued_signals++;
        }
    }
    p->set |= ksig_bit(signo);
    waitq_wake(&tg->signalfd_wq, POLLIN);
    complete_signal(tg, only, signo);
    return 0;
}

int signal_send_task(struct task *t, const ksiginfo *info)
{
    int r;

    mutex_lock(&t->tg->siglock);
    r = signal_send_locked(t->tg, t, info, false);
    mutex_unlock(&t->tg->siglock);
    return r;
}

int signal_send_tgroup(struct tgroup *tg, const ksiginfo *info)
{
    int r;

    mutex_lock(&tg->siglock);
    r = signal_send_locked(tg, NULL, info, false);
    mutex_unlock(&tg->siglock);
    return r;
}

int signal_queue_timer(struct tgroup *tg, struct task *only, struct ksigqueue *q)
{
    int signo = q->info.si_signo, r = 0;
    struct ksigpending *p = only ? &only->pending : &tg->shared_pending;
    struct task *t;

    mutex_lock(&tg->siglock);
    t = only ? only : any_thread(tg);
    if (!t || t->exiting) {
        r = -ESRCH;
    } else if (!list_empty(&q->node)) {
        r = 1;
    } else if (!prepare_signal(tg, t, signo, false)) {
        r = 2;
    } else {
        list_add_tail(&q->node, &p->queue);
        p->set |= ksig_bit(signo);
        waitq_wake(&tg->signalfd_wq, POLLIN);
        complete_signal(tg, only, signo);
    }
    mutex_unlock(&tg->siglock);
    return r;
}

/*
 * For a fault of the thread itself. If it cannot be caught now, its action becomes the default one, which is to die; even pid 1
 * does of its own faults.
 */
void signal_force(struct task *t, const ksiginfo *info)
{
    struct tgroup *tg = t->tg;
    struct sighand *sh = tg->sighand;
    ksigset bit = ksig_bit(info->si_signo);
    uint64_t *handler = &sh->action[info->si_signo - 1].handler;

    mutex_lock(&tg->siglock);
    mutex_lock(&sh->lock);
    if ((t->blocked & bit) || *handler == (uint64_t)SIG_IGN) {
        *handler = (uint64_t)SIG_DFL;
        t->blocked &= ~bit;
    }
    if (*handler == (uint64_t)SIG_DFL)
        tg->unkillable = false;
    mutex_unlock(&sh->lock);
    flush_counted(tg, &t->pending, bit); /* this one's siginfo is the true one */
    if (signal_send_locked(tg, t, info, false) == 0)
        signal_recalc(t);
    mutex_unlock(&tg->siglock);
}

/* The number of the next signal to take: synchronous ones first, then the lowest. */
static int next_signal(ksigset set)
{
    if (set & synchronous_signals)
        set &= synchronous_signals;
    return set ? __builtin_ctzll(set) + 1 : 0;
}

static void collect(struct tgroup *tg, struct ksigpending *p, int signo, ksiginfo *out, void **timer)
{
    struct ksigqueue *q, *first = NULL;
    bool more = false;

    list_for_each_entry(q, &p->queue, node) {
        if (q->info.si_signo != signo)
            continue;
        if (first) {
            more = true;
            break;
        }
        first = q;
    }
    if (!more)
        p->set &= ~ksig_bit(signo);
    *timer = NULL;
    if (!first) {
        siginfo_kernel(out, signo, SI_USER);
        return;
    }
    *out = first->info;
    list_del_init(&first->node);
    if (first->timer) {
        *timer = first->timer;
        return;
    }
    if (tg->nr_queued_signals)
        tg->nr_queued_signals--;
    free(first);
}

int signal_dequeue_locked(struct task *t, ksigset set, ksiginfo *out, void **timer)
{
    struct ksigpending *p = &t->pending;
    int signo = next_signal(p->set & set);

    if (!signo) {
        p = &t->tg->shared_pending;
        signo = next_signal(p->set & set);
    }
    if (!signo)
        return 0;
    collect(t->tg, p, signo, out, timer);
    if (signal_stops_by_default(signo))
        t->stop_dequeued = true;
    return signo;
}

bool signal_dequeue(struct task *t, ksigset set, ksiginfo *out)
{
    void *timer = NULL;
    int signo;

    mutex_lock(&t->tg->siglock);
    signo = signal_dequeue_locked(t, set, out, &timer);
    if (signo)
        signal_recalc(t);
    mutex_unlock(&t->tg->siglock);
    if (timer)
        posix_timer_dequeued(t->tg, timer, out);
    return signo != 0;
}

void signal_retarget_locked(struct task *t, ksigset set)
{
    struct tgroup *tg = t->tg;
    struct task *u;

    set &= tg->shared_pending.set;
    if (!set)
        return;
    list_for_each_entry(u, &tg->threads, thread_node) {
        if (u == t || u->exiting || !(set & ~u->blocked))
            continue;
        signal_kick(u);
        set &= u->blocked;
        if (!set)
            break;
    }
}

void signal_set_blocked(struct task *t, ksigset mask)
{
    struct tgroup *tg = t->tg;

    mask &= ~(ksig_bit(SIGKILL) | ksig_bit(SIGSTOP));
    if (mask == t->blocked)
        return;
    mutex_lock(&tg->siglock);
    signal_retarget_locked(t, mask & ~t->blocked);
    t->blocked = mask;
    signal_recalc(t);
    mutex_unlock(&tg->siglock);
}

bool signal_may_send(const struct task *from, const struct task *to, int signo)
{
    const struct cred *c = from->cred;
    struct cred *tc;
    bool ok;

    if (from->tg == to->tg)
        return true;
    tc = task_get_cred((struct task *)to);
    ok = c->euid == tc->suid || c->euid == tc->uid || c->uid == tc->suid || c->uid == tc->uid || cred_has_cap(c, CAP_KILL);
    cred_put(tc);
    if (!ok && signo == SIGCONT) {
        mutex_lock(&from->k->tasks_lock);
        ok = from->tg->session == to->tg->session;
        mutex_unlock(&from->k->tasks_lock);
    }
    return ok;
}
