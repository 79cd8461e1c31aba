/*
 * The run loop: what the host thread of a task does all its life.
 *
 * Going into the guest is announced in guest_seq (odd: inside); then everything that asks for attention is looked at once more.
 * A sender sets its flag first and looks at guest_seq afterwards, so that one of the two notices the other: no lock is on the
 * path of a call. The path is: event, table, handler, back.
 */
#include "sentry/kernel/task_internal.h"

#include "lib/log.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/rseq.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/mm/mm.h"
#include "sentry/syscalls/syscalls.h"

#include <errno.h>
#include <stdlib.h>

/* Handlers keep a few path-sized buffers at most; only what is touched costs memory. */

#define TRAP_PAGE_FAULT 14

static void serve_syscall(struct task *t);

static void force_signal(struct task *t, int signo, int code, uint64_t addr)
{
    ksiginfo info;

    siginfo_fault(&info, signo, code, addr);
    signal_force(t, &info);
}

static bool is_restart_code(int64_t r)
{
    return r <= -ERESTARTSYS && r >= -ERESTART_RESTARTBLOCK;
}

static void serve_fault(struct task *t, const struct platform_event *ev)
{
    struct mm_limits lim;
    int code = SEGV_MAPERR;
    enum mm_fault_result r;

    task_mm_limits(t, &lim);
    r = mm_fault(t->mm, ev->addr, ev->access, &lim, &code);
    if (likely(r == MM_FAULT_OK))
        return;
    t->fault.addr = ev->addr;
    t->fault.trapno = TRAP_PAGE_FAULT;
    /* Present, write, user, fetch: as the CPU would report it. */
    t->fault.error_code =
        (code == SEGV_ACCERR) | (ev->access & PLATFORM_WRITE ? 2 : 0) | 4 | (ev->access & PLATFORM_EXEC ? 16 : 0);
    switch (r) {
    case MM_FAULT_SEGV:
        force_signal(t, SIGSEGV, code, ev->addr);
        break;
    case MM_FAULT_BUS:
        force_signal(t, SIGBUS, BUS_ADRERR, ev->addr);
        break;
    default:
        log_warn("[%d %s] out of memory: killed", t->tid, t->comm);
        task_request_group_exit(t, SIGKILL);
    }
}

static void serve_exception(struct task *t, const struct platform_event *ev)
{
    if (ev->signo < 1 || ev->signo > 31) {
        force_signal(t, SIGSEGV, SI_KERNEL, 0);
        return;
    }
    t->fault.addr = ev->addr;
    t->fault.trapno = ev->trapno;
    t->fault.error_code = ev->error_code;
    force_signal(t, ev->signo, ev->code, ev->addr);
}

/* Anything to see to before the guest runs? A few loads and one branch. */
static bool has_work(struct task *t)
{
    int work = atomic_load_explicit(&t->sigpending, memory_order_relaxed);

    work |= (t->rseq.area.a != 0) && rseq_resume_due(t);
    work |= atomic_load_explicit(&t->tg->cpu_timers_armed, memory_order_relaxed) && cpu_timers_due(t->tg);
    work |= atomic_load_explicit(&t->k->paused, memory_order_relaxed);
    work |= atomic_load_explicit(&t->tg->held, memory_order_relaxed);
    work |= atomic_load_explicit(&t->seccomp_sync, memory_order_relaxed) != NULL;
    return work;
}

static void do_work(struct task *t)
{
    while ((atomic_load(&t->k->paused) || atomic_load(&t->tg->held)) && !atomic_load(&t->fatal))
        task_block_killable(t, TASK_NO_DEADLINE);
    if (atomic_load_explicit(&t->seccomp_sync, memory_order_relaxed))
        seccomp_take_sync(t);
    if (t->rseq.area.a && rseq_resume_due(t) && !rseq_resume(t))
        force_signal(t, SIGSEGV, SI_KERNEL, 0);
    if (atomic_load_explicit(&t->tg->cpu_timers_armed, memory_order_relaxed))
        cpu_timers_check(t);
    while (signal_pending(t) && task_signal_work(t))
        serve_syscall(t);
}

/* The call in regs (or, for a restart, in orig_rax). */
static void serve_syscall(struct task *t)
{
    struct guest_regs *regs = &t->regs;
    struct syscall_args args;
    uint64_t nr;
    int64_t r;

    if (unlikely(t->ptrace.mode) && !ptrace_syscall_entry(t))
        goto out;
    if (unlikely(t->seccomp_mode) && !seccomp_check(t, &r)) {
        if (t->orig_rax >= 0)
            regs->rax = (uint64_t)r;
        goto out;
    }
    args = (struct syscall_args){{regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9}};
    nr = (uint64_t)t->orig_rax;
    if (unlikely(t->k->strace) || unlikely(nr >= NR_SYSCALLS))
        r = syscall_dispatch(t, nr, &args);
    else
        r = syscall_table[nr].fn ? syscall_table[nr].fn(t, &args) : -ENOSYS;
    regs->rax = (uint64_t)r;
    if (unlikely(is_restart_code(r)) && t->orig_rax >= 0)
        atomic_store(&t->sigpending, true); /* signal work decides how it goes on */
out:
    if (unlikely(t->ptrace.mode))
        ptrace_syscall_exit(t);
    if (unlikely(t->ptrace.step) && !t->exit_requested)
        force_signal(t, SIGTRAP, TRAP_BRKPT, regs->rip);
}

static void serve_event(struct task *t, const struct platform_event *ev)
{
    switch (ev->kind) {
    case PLATFORM_EVENT_SYSCALL:
        /* The kernel's int 0x80-free ABI: numbers are 32 bits wide. */
        t->orig_rax = (int64_t)(uint32_t)t->regs.rax;
        atomic_store_explicit(&t->nr_syscalls, atomic_load_explicit(&t->nr_syscalls, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        /* A filter that another thread has pushed meanwhile holds for this call: the interrupt may come too late for it. */
        if (unlikely(atomic_load_explicit(&t->seccomp_sync, memory_order_acquire)))
            seccomp_take_sync(t);
        serve_syscall(t);
        return;
    case PLATFORM_EVENT_FAULT:
        t->orig_rax = -1;
        serve_fault(t, ev);
        return;
    case PLATFORM_EVENT_EXCEPTION:
        t->orig_rax = -1;
        serve_exception(t, ev);
        return;
    case PLATFORM_EVENT_INTERRUPTED:
        t->orig_rax = -1;
        return;
    }
}

static void run_loop(struct task *t)
{
    struct platform_event ev;
    unsigned int seq = atomic_load(&t->guest_seq);
    int r;

    while (!t->exit_requested) {
        atomic_store(&t->guest_seq, ++seq); /* odd; sequentially consistent, against signal_kick() and membarrier */
        if (unlikely(has_work(t))) {
            atomic_store_explicit(&t->guest_seq, ++seq, memory_order_release);
            do_work(t);
            continue; /* what has come meanwhile found guest_seq even and left it to this thread to look again */
        }
        if (unlikely(t->ptrace.step))
            ptrace_prepare_run(t);
        r = platform_run(t->ctx, mm_platform_as(t->mm), &t->regs, &ev);
        atomic_store_explicit(&t->guest_seq, ++seq, memory_order_release);
        if (likely(r == 0)) {
            serve_event(t, &ev);
        } else if (r == -EINVAL) {
            force_signal(t, SIGSEGV, SI_KERNEL, 0); /* registers that no thread can run with */
        } else {
            log_warn("[%d %s] the guest thread cannot be run any more (%d): killed", t->tid, t->comm, r);
            task_request_group_exit(t, SIGKILL);
        }
    }
}

static bool task_setup(struct task *t)
{
    struct platform_context *ctx;
    int r = platform_context_create(t->k->platform, &ctx);

    if (r) {
        log_warn("[%d %s] no platform context: %d", t->tid, t->comm, r);
        return false;
    }
    mutex_lock(&t->tg->siglock);
    task_clock_start(t);
    t->ctx = ctx;
    mutex_unlock(&t->tg->siglock);
    if (t->fp_inherit) {
        r = platform_fp_set(ctx, t->fp_inherit);
        free(t->fp_inherit);
        t->fp_inherit = NULL;
        if (r)
            return false;
    }
    task_set_answers(t);
    /* CLONE_CHILD_SETTID; as in Linux a bad address is the child's own problem. */
    if (t->set_child_tid.a) {
        uint32_t tid = (uint32_t)t->tid;
        if (copy_out(t, t->set_child_tid, &tid, sizeof(tid)))
            log_debug("[%d] bad CLONE_CHILD_SETTID address", t->tid);
        t->set_child_tid = GUEST_NULL;
    }
    return true;
}

static _Thread_local struct task *current;

struct task *task_current(void)
{
    return current;
}

static void task_main(struct task *t)
{
    current = t;
    if (task_setup(t))
        run_loop(t);
    else
        task_request_group_exit(t, SIGKILL);
    task_exit(t);
    current = NULL;
}

int task_start(struct task *t)
{
    struct kernel *k = t->k;
    int r;

    atomic_fetch_add(&k->nr_threads, 1);
    r = task_threads_run(&k->threads, t, task_main);
    if (r)
        atomic_fetch_sub(&k->nr_threads, 1);
    return r;
}
