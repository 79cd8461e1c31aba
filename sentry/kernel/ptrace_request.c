/* ptrace(2)'s requests: a table of what a tracer may ask of a stopped tracee, and the few that need no stop. */
#include "sentry/kernel/ptrace.h"

#include "sentry/kernel/ptrace_access.h"
#include "sentry/kernel/ptrace_regs.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/mm/mm.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define PTRACE_SYSEMU_            31
#define PTRACE_SYSEMU_SINGLESTEP_ 32
#define PTRACE_ARCH_PRCTL_        30
#define PTRACE_GET_SYSCALL_INFO_  0x420e
#define PTRACE_GET_RSEQ_CONFIG_   0x420f
#define ARCH_SET_GS_              0x1001
#define ARCH_SET_FS_              0x1002
#define ARCH_GET_FS_              0x1003
#define ARCH_GET_GS_              0x1004
#define KNOWN_OPTIONS             (0xffU | PTRACE_O_EXITKILL)

/* `t` asks about `c`, which is stopped and frozen. */
typedef int64_t request_fn(struct task *t, struct task *c, uint64_t addr, uint64_t data);

static int64_t peek_text(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    uint64_t word;

    if (!c->mm || mm_copy_in_force(c->mm, &word, guest_addr_of(addr), sizeof(word)))
        return -EIO;
    return copy_out(t, guest_addr_of(data), &word, sizeof(word));
}

static int64_t poke_text(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    return !c->mm || mm_copy_out_force(c->mm, guest_addr_of(addr), &data, sizeof(data)) ? -EIO : 0;
}

static int64_t peek_user(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    uint64_t word;
    int r = ptrace_user_peek(c, addr, &word);

    return r ? r : copy_out(t, guest_addr_of(data), &word, sizeof(word));
}

static int64_t poke_user(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    return ptrace_user_poke(c, addr, data);
}

static int64_t get_regs(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    struct user_regs_struct u;

    ptrace_regs_get(c, &u);
    return copy_out(t, guest_addr_of(data), &u, sizeof(u));
}

static int64_t set_regs(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    struct user_regs_struct u;

    return copy_in(t, &u, guest_addr_of(data), sizeof(u)) ? -EFAULT : ptrace_regs_set(c, &u);
}

static int64_t get_fpregs(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    unsigned char buf[512];
    int r = ptrace_fp_get(c, true, buf);

    return r ? r : copy_out(t, guest_addr_of(data), buf, sizeof(buf));
}

static int64_t set_fpregs(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    unsigned char buf[512];

    return copy_in(t, buf, guest_addr_of(data), sizeof(buf)) ? -EFAULT : ptrace_fp_set(c, true, buf, sizeof(buf));
}

/* Register sets as in core files, through an iovec whose length says how much was moved. */
static int64_t regset_bytes(struct task *c, uint64_t set, void **buf, size_t *size)
{
    int r = 0;

    switch (set) {
    case NT_PRSTATUS:
        *size = sizeof(struct user_regs_struct);
        break;
    case NT_PRFPREG:
    case NT_X86_XSTATE:
        *size = ptrace_fp_size(c, set == NT_PRFPREG);
        break;
    default:
        return -EINVAL;
    }
    *buf = malloc(*size);
    if (!*buf)
        return -ENOMEM;
    if (set == NT_PRSTATUS)
        ptrace_regs_get(c, *buf);
    else
        r = ptrace_fp_get(c, set == NT_PRFPREG, *buf);
    if (r)
        free(*buf);
    return r;
}

static int64_t get_regset(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    struct {
        uint64_t base, len;
    } iov;
    size_t size;
    void *buf;
    int64_t r;

    if (copy_in(t, &iov, guest_addr_of(data), sizeof(iov)))
        return -EFAULT;
    r = regset_bytes(c, addr, &buf, &size);
    if (r)
        return r;
    if (iov.len % sizeof(uint64_t)) {
        free(buf);
        return -EINVAL;
    }
    if (iov.len > size)
        iov.len = size;
    r = copy_out(t, guest_addr_of(iov.base), buf, iov.len);
    free(buf);
    return r ? r : copy_out(t, guest_addr_of(data + 8), &iov.len, sizeof(iov.len));
}

static int64_t set_regset(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    struct {
        uint64_t base, len;
    } iov;
    size_t size;
    void *buf;
    int64_t r;

    if (copy_in(t, &iov, guest_addr_of(data), sizeof(iov)))
        return -EFAULT;
    r = regset_bytes(c, addr, &buf, &size);
    if (r)
        return r;
    r = -EINVAL;
    if (iov.len % sizeof(uint64_t))
        goto out;
    if (iov.len > size)
        iov.len = size;
    r = copy_in(t, buf, guest_addr_of(iov.base), iov.len);
    if (r)
        goto out;
    /* A short one leaves the rest as it was. */
    r = addr == NT_PRSTATUS ? ptrace_regs_set(c, buf) : ptrace_fp_set(c, addr == NT_PRFPREG, buf, size);
    if (!r)
        r = copy_out(t, guest_addr_of(data + 8), &iov.len, sizeof(iov.len));
out:
    free(buf);
    return r;
}

static int64_t get_siginfo(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    return c->ptrace.have_info ? copy_out(t, guest_addr_of(data), &c->ptrace.info, sizeof(c->ptrace.info)) : -EINVAL;
}

static int64_t set_siginfo(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    ksiginfo info;

    if (copy_in(t, &info, guest_addr_of(data), sizeof(info)))
        return -EFAULT;
    if (!c->ptrace.have_info)
        return -EINVAL;
    c->ptrace.info = info;
    return 0;
}

static int64_t get_sigmask(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    ksigset mask = c->restore_mask ? c->saved_mask : c->blocked;

    return addr != sizeof(mask) ? -EINVAL : copy_out(t, guest_addr_of(data), &mask, sizeof(mask));
}

static int64_t set_sigmask(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    ksigset mask;

    if (addr != sizeof(mask))
        return -EINVAL;
    if (copy_in(t, &mask, guest_addr_of(data), sizeof(mask)))
        return -EFAULT;
    signal_set_blocked(c, mask);
    return 0;
}

static int64_t get_eventmsg(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    return copy_out(t, guest_addr_of(data), &c->ptrace.message, sizeof(c->ptrace.message));
}

static int64_t set_options(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    if (data & ~(uint64_t)KNOWN_OPTIONS)
        return -EINVAL;
    c->ptrace.options = (unsigned int)data;
    return 0;
}

static int64_t arch_prctl_of(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    uint64_t max = platform_limits(t->k->platform)->max;

    switch (data) {
    case ARCH_SET_FS_:
    case ARCH_SET_GS_:
        if (addr >= max)
            return -EPERM;
        *(data == ARCH_SET_FS_ ? &c->regs.fs_base : &c->regs.gs_base) = addr;
        return 0;
    case ARCH_GET_FS_:
        return copy_out(t, guest_addr_of(addr), &c->regs.fs_base, 8);
    case ARCH_GET_GS_:
        return copy_out(t, guest_addr_of(addr), &c->regs.gs_base, 8);
    default:
        return -EINVAL;
    }
}

/* struct ptrace_syscall_info; `addr` is the caller's size. */
static int64_t get_syscall_info(struct task *t, struct task *c, uint64_t addr, uint64_t data)
{
    const struct guest_regs *r = &c->regs;
    struct {
        uint8_t op, pad[3];
        uint32_t arch;
        uint64_t ip, sp;
        union {
            struct {
                uint64_t nr, args[6];
                uint32_t ret_data;
            } entry;
            struct {
                int64_t rval;
                uint8_t is_error;
            } exit;
        };
    } info = {.arch = AUDIT_ARCH_X86_64, .ip = r->rip, .sp = r->rsp};
    size_t size = 24;

    switch (c->ptrace.kind) {
    case PTRACE_STOP_ENTRY:
    case PTRACE_STOP_SECCOMP:
        info.op = c->ptrace.kind == PTRACE_STOP_ENTRY ? 1 : 3;
        info.entry.nr = (uint64_t)c->orig_rax;
        memcpy(info.entry.args, (const uint64_t[]){r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9}, sizeof(info.entry.args));
        info.entry.ret_data = (uint32_t)c->ptrace.message;
        size = c->ptrace.kind == PTRACE_STOP_ENTRY ? 80 : 84;
        break;
    case PTRACE_STOP_EXIT:
        info.op = 2;
        info.exit.rval = (int64_t)r->rax;
        info.exit.is_error = info.exit.rval < 0 && info.exit.rval >= -4095;
        size = 33;
        break;
    case PTRACE_STOP_OTHER:
        break;
    }
    if (copy_out(t, guest_addr_of(data), &info, size < addr ? size : addr))
        return -EFAULT;
    return (int64_t)size;
}

static const struct {
    long request;
    request_fn *fn;
} stopped_requests[] = {
    {PTRACE_PEEKTEXT, peek_text},        {PTRACE_PEEKDATA, peek_text},
    {PTRACE_POKETEXT, poke_text},        {PTRACE_POKEDATA, poke_text},
    {PTRACE_PEEKUSER, peek_user},        {PTRACE_POKEUSER, poke_user},
    {PTRACE_GETREGS, get_regs},          {PTRACE_SETREGS, set_regs},
    {PTRACE_GETFPREGS, get_fpregs},      {PTRACE_SETFPREGS, set_fpregs},
    {PTRACE_GETREGSET, get_regset},      {PTRACE_SETREGSET, set_regset},
    {PTRACE_GETSIGINFO, get_siginfo},    {PTRACE_SETSIGINFO, set_siginfo},
    {PTRACE_GETSIGMASK, get_sigmask},    {PTRACE_SETSIGMASK, set_sigmask},
    {PTRACE_GETEVENTMSG, get_eventmsg},  {PTRACE_SETOPTIONS, set_options},
    {PTRACE_ARCH_PRCTL_, arch_prctl_of}, {PTRACE_GET_SYSCALL_INFO_, get_syscall_info},
};

/* Requests that let the tracee run on. False: no such one. */
static bool resume_mode(long request, enum ptrace_mode_run *mode, bool *step)
{
    *step = false;
    switch (request) {
    case PTRACE_CONT:
        *mode = PTRACE_RUN;
        return true;
    case PTRACE_SYSCALL:
        *mode = PTRACE_RUN_SYSCALL;
        return true;
    case PTRACE_SINGLESTEP:
        *mode = PTRACE_RUN;
        *step = true;
        return true;
    case PTRACE_SYSEMU_:
        *mode = PTRACE_RUN_SYSEMU;
        return true;
    case PTRACE_SYSEMU_SINGLESTEP_:
        *mode = PTRACE_RUN_SYSEMU;
        *step = true;
        return true;
    default:
        return false;
    }
}

static int64_t resume(struct task *c, enum ptrace_mode_run mode, bool step, uint64_t signo)
{
    if (signo > KERNEL_NSIG)
        return -EIO;
    mutex_lock(&c->tg->siglock);
    c->ptrace.mode = mode;
    c->ptrace.step = step;
    c->ptrace.resume_signo = (int)signo;
    c->ptrace.report = 0;
    c->ptrace.stopped = false;
    mutex_unlock(&c->tg->siglock);
    return 0;
}

static int64_t detach(struct task *t, struct task *c, uint64_t signo)
{
    if (signo > KERNEL_NSIG)
        return -EIO;
    mutex_lock(&t->k->tasks_lock);
    mutex_lock(&c->tg->siglock);
    c->ptrace.resume_signo = (int)signo;
    c->ptrace.frozen = false;
    mutex_unlock(&c->tg->siglock);
    ptrace_unlink_locked(c);
    mutex_unlock(&t->k->tasks_lock);
    return 0;
}

static int64_t listen(struct task *c)
{
    int64_t r = -EIO;

    mutex_lock(&c->tg->siglock);
    if (c->ptrace.seized && c->ptrace.stopped) {
        c->ptrace.mode = PTRACE_RUN_LISTEN;
        c->ptrace.report = 0;
        r = 0;
        if (c->ptrace.trap_wanted)
            c->ptrace.stopped = false;
    }
    mutex_unlock(&c->tg->siglock);
    return r;
}

static int64_t ptrace_kill(struct task *c)
{
    ksiginfo info;

    siginfo_kernel(&info, SIGKILL, SI_KERNEL);
    signal_send_task(c, &info);
    return 0;
}

static int64_t interrupt(struct task *c)
{
    int64_t r = -EIO;

    mutex_lock(&c->tg->siglock);
    if (c->ptrace.seized) {
        c->ptrace.trap_wanted = true;
        if (c->ptrace.stopped && c->ptrace.mode == PTRACE_RUN_LISTEN)
            c->ptrace.stopped = false;
        signal_kick(c);
        r = 0;
    }
    mutex_unlock(&c->tg->siglock);
    return r;
}

static int64_t attach(struct task *t, struct task *c, bool seize, uint64_t options)
{
    struct kernel *k = t->k;
    ksiginfo info;
    int64_t r = 0;

    if (c->tg == t->tg)
        return -EPERM;
    if (seize && (options & ~(uint64_t)KNOWN_OPTIONS))
        return -EIO;
    if (!ptrace_may_access(t, c, PTRACE_MODE_REALCREDS))
        return -EPERM;
    mutex_lock(&k->tasks_lock);
    if (c->exiting || c->ptrace.tracer)
        r = -EPERM;
    else
        ptrace_link_locked(c, t, seize, seize ? (unsigned int)options : 0);
    if (!r && !seize) {
        siginfo_kernel(&info, SIGSTOP, SI_KERNEL);
        signal_send_task(c, &info);
    }
    if (!r) { /* one that is stopped already stops for the tracer now */
        mutex_lock(&c->tg->siglock);
        if (c->in_stop) {
            c->in_stop = false;
            c->stop_wanted = true;
            c->tg->stop_count++;
            signal_kick(c);
        }
        mutex_unlock(&c->tg->siglock);
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

/* By the thread of the parent whose child this is. */
static int64_t trace_me(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *parent;
    struct task *tracer = NULL, *u;
    int64_t r = -EPERM;

    mutex_lock(&k->tasks_lock);
    parent = t->tg->parent;
    if (!t->ptrace.tracer && parent) {
        list_for_each_entry(u, &parent->threads, thread_node) {
            if (!u->exiting && (!tracer || u->tid == t->tg->parent_tid))
                tracer = u;
        }
    }
    if (tracer) {
        ptrace_link_locked(t, tracer, false, 0);
        r = 0;
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

/* The tracee stays in its stop while it is frozen. -ESRCH when it is not ours or not stopped. */
static int64_t freeze(struct task *t, struct task *c)
{
    struct kernel *k = t->k;
    int64_t r = -ESRCH;

    mutex_lock(&k->tasks_lock);
    mutex_lock(&c->tg->siglock);
    if (c->ptrace.tracer == t && c->ptrace.stopped && c->ptrace.mode != PTRACE_RUN_LISTEN && !atomic_load(&c->fatal)) {
        c->ptrace.frozen = true;
        r = 0;
    }
    mutex_unlock(&c->tg->siglock);
    mutex_unlock(&k->tasks_lock);
    return r;
}

static void thaw(struct task *c)
{
    mutex_lock(&c->tg->siglock);
    c->ptrace.frozen = false;
    mutex_unlock(&c->tg->siglock);
    task_wake(c);
}

static bool is_tracer(struct task *t, struct task *c)
{
    bool r;

    mutex_lock(&t->k->tasks_lock);
    r = c->ptrace.tracer == t;
    mutex_unlock(&t->k->tasks_lock);
    return r;
}

static int64_t request_on_stopped(struct task *t, struct task *c, long request, uint64_t addr, uint64_t data)
{
    enum ptrace_mode_run mode;
    bool step;
    int64_t r = freeze(t, c);

    if (r)
        return r;
    r = -EIO;
    if (request == PTRACE_DETACH) {
        r = detach(t, c, data);
    } else if (request == PTRACE_LISTEN) {
        r = listen(c);
    } else if (resume_mode(request, &mode, &step)) {
        r = resume(c, mode, step, data);
    } else {
        for (size_t i = 0; i < ARRAY_SIZE(stopped_requests); i++)
            if (stopped_requests[i].request == request)
                r = stopped_requests[i].fn(t, c, addr, data);
    }
    thaw(c);
    return r;
}

int64_t ptrace_request(struct task *t, long request, pid_t pid, uint64_t addr, uint64_t data)
{
    struct task *c;
    int64_t r;

    if (request == PTRACE_TRACEME)
        return trace_me(t);
    c = task_find(t->k, pid);
    if (!c)
        return -ESRCH;
    if (request == PTRACE_ATTACH)
        r = attach(t, c, false, 0);
    else if (request == PTRACE_SEIZE)
        r = addr ? -EIO : attach(t, c, true, data);
    else if (!is_tracer(t, c))
        r = -ESRCH;
    else if (request == PTRACE_KILL)
        r = ptrace_kill(c);
    else if (request == PTRACE_INTERRUPT)
        r = interrupt(c);
    else
        r = request_on_stopped(t, c, request, addr, data);
    task_put(c);
    return r;
}
