/* Actions, masks, waiting for signals, the alternate stack, and the return from a handler. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/sigframe.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/syscalls/syscalls.h"

#include <limits.h>

#define ALL_SIGNALS        (~0ULL)
#define UNCATCHABLE        (ksig_bit(SIGKILL) | ksig_bit(SIGSTOP))
#define SA_UNSUPPORTED_    0x400
#define SA_EXPOSE_TAGBITS_ 0x800
/* Bits of sa_flags that the kernel knows; others are cleared, which lets programs probe for support. */
#define SA_KNOWN_FLAGS                                                                                          \
    ((uint64_t)(unsigned int)(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | \
                              SA_RESETHAND) |                                                                   \
     SA_RESTORER_ | SA_EXPOSE_TAGBITS_)

int64_t sys_rt_sigaction(struct task *t, const struct syscall_args *a)
{
    struct tgroup *tg = t->tg;
    struct ksigaction new_ka, old_ka;
    unsigned int signo = arg_uint(a, 0);
    ksigset bit;

    if (arg_size(a, 3) != sizeof(ksigset))
        return -EINVAL;
    if (a->v[1] && copy_in(t, &new_ka, arg_addr(a, 1), sizeof(new_ka)))
        return -EFAULT;
    if (signo < 1 || signo > KERNEL_NSIG || (a->v[1] && (ksig_bit((int)signo) & UNCATCHABLE)))
        return -EINVAL;
    bit = ksig_bit((int)signo);

    mutex_lock(&tg->siglock);
    mutex_lock(&tg->sighand->lock);
    old_ka = tg->sighand->action[signo - 1];
    if (a->v[1]) {
        new_ka.flags &= SA_KNOWN_FLAGS;
        new_ka.mask &= ~UNCATCHABLE;
        tg->sighand->action[signo - 1] = new_ka;
    }
    mutex_unlock(&tg->sighand->lock);
    /* POSIX: pending signals that are ignored now go, blocked or not. */
    if (a->v[1] &&
        (new_ka.handler == (uint64_t)SIG_IGN || (new_ka.handler == (uint64_t)SIG_DFL && signal_ignored_by_default((int)signo))))
        signal_flush_everywhere_locked(tg, bit);
    mutex_unlock(&tg->siglock);

    return a->v[2] ? copy_out(t, arg_addr(a, 2), &old_ka, sizeof(old_ka)) : 0;
}

int64_t sys_rt_sigprocmask(struct task *t, const struct syscall_args *a)
{
    ksigset old = t->blocked, set;

    if (arg_size(a, 3) != sizeof(ksigset))
        return -EINVAL;
    if (a->v[1]) {
        if (copy_in(t, &set, arg_addr(a, 1), sizeof(set)))
            return -EFAULT;
        switch (arg_int(a, 0)) {
        case SIG_BLOCK:
            set |= old;
            break;
        case SIG_UNBLOCK:
            set = old & ~set;
            break;
        case SIG_SETMASK:
            break;
        default:
            return -EINVAL;
        }
        signal_set_blocked(t, set);
    }
    return a->v[2] ? copy_out(t, arg_addr(a, 2), &old, sizeof(old)) : 0;
}

int64_t sys_rt_sigpending(struct task *t, const struct syscall_args *a)
{
    ksigset set;

    if (arg_size(a, 1) > sizeof(set))
        return -EINVAL;
    mutex_lock(&t->tg->siglock);
    set = (t->pending.set | t->tg->shared_pending.set) & t->blocked;
    mutex_unlock(&t->tg->siglock);
    return copy_out(t, arg_addr(a, 0), &set, arg_size(a, 1));
}

/* Sleeps until a signal must be acted upon; with no handler in the end, goes on sleeping (ERESTARTNOHAND). */
static int64_t wait_for_handler(struct task *t)
{
    while (task_block(t, TASK_NO_DEADLINE) == 0)
        ;
    return -ERESTARTNOHAND;
}

int64_t sys_pause(struct task *t, const struct syscall_args *a)
{
    return wait_for_handler(t);
}

int64_t sys_rt_sigsuspend(struct task *t, const struct syscall_args *a)
{
    ksigset set;

    if (arg_size(a, 1) != sizeof(set))
        return -EINVAL;
    if (copy_in(t, &set, arg_addr(a, 0), sizeof(set)))
        return -EFAULT;
    t->saved_mask = t->blocked;
    t->restore_mask = true;
    signal_set_blocked(t, set);
    return wait_for_handler(t);
}

/* Waits with `set` unblocked, so that its signals are sent here and not thrown away. */
static bool sigwait_sleep(struct task *t, ksigset set, int64_t deadline, ksiginfo *info, int *error)
{
    struct tgroup *tg = t->tg;
    bool got;

    mutex_lock(&tg->siglock);
    t->real_blocked = t->blocked;
    t->blocked &= ~set;
    signal_recalc(t);
    mutex_unlock(&tg->siglock);

    *error = task_block(t, deadline);

    mutex_lock(&tg->siglock);
    t->blocked = t->real_blocked;
    t->real_blocked = 0;
    mutex_unlock(&tg->siglock);
    got = signal_dequeue(t, set, info);
    mutex_lock(&tg->siglock);
    signal_recalc(t);
    mutex_unlock(&tg->siglock);
    return got;
}

int64_t sys_rt_sigtimedwait(struct task *t, const struct syscall_args *a)
{
    int64_t deadline = TASK_NO_DEADLINE, timeout;
    ksiginfo info;
    ksigset set;
    int error = 0, r;

    if (arg_size(a, 3) != sizeof(set))
        return -EINVAL;
    if (copy_in(t, &set, arg_addr(a, 0), sizeof(set)))
        return -EFAULT;
    set &= ~UNCATCHABLE;
    if (a->v[2]) {
        r = timespec_in(t, arg_addr(a, 2), &timeout);
        if (r)
            return r;
        deadline = timeout ? kclock_to_monotonic(CLOCK_MONOTONIC, timeout, false) : 0;
    }
    if (!signal_dequeue(t, set, &info)) {
        if (deadline == 0)
            return -EAGAIN;
        while (!sigwait_sleep(t, set, deadline, &info, &error))
            if (error)
                return error == -ETIMEDOUT ? -EAGAIN : -EINTR;
    }
    if (a->v[1] && copy_out(t, arg_addr(a, 1), &info, sizeof(info)))
        return -EFAULT;
    return info.si_signo;
}

int64_t sys_sigaltstack(struct task *t, const struct syscall_args *a)
{
    struct {
        uint64_t sp;
        int32_t flags;
        uint32_t pad;
        uint64_t size;
    } in, old = {
              .sp = (uint64_t)t->altstack.ss_sp,
              .flags =
                  (int32_t)((unsigned int)altstack_flags(t, t->regs.rsp) | ((unsigned int)t->altstack.ss_flags & (1U << 31))),
              .size = t->altstack.ss_size,
          };
    int r;

    if (a->v[0]) {
        if (copy_in(t, &in, arg_addr(a, 0), sizeof(in)))
            return -EFAULT;
        r = altstack_set(t, in.sp, (unsigned int)in.flags, in.size, true);
        if (r)
            return r;
    }
    return a->v[1] ? copy_out(t, arg_addr(a, 1), &old, sizeof(old)) : 0;
}

int64_t sys_rt_sigreturn(struct task *t, const struct syscall_args *a)
{
    ksiginfo info;

    t->orig_rax = -1; /* what comes back in rax is no result */
    if (!sigframe_return(t)) {
        siginfo_kernel(&info, SIGSEGV, SI_KERNEL);
        signal_force(t, &info);
    }
    return (int64_t)t->regs.rax;
}

int64_t sys_restart_syscall(struct task *t, const struct syscall_args *a)
{
    struct restart_block rb = t->restart;

    if (!rb.fn)
        return -EINTR;
    t->restart.fn = NULL;
    return rb.fn(t, &rb);
}
