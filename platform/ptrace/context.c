/* Contexts of the ptrace backend: the run loop, events, and FP state. */
#include "platform/ptrace/ptrace.h"

#include "lib/hostproc.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The context that this host thread ran last: how address-space operations find a tracee of the caller's own. */
static _Thread_local struct ptrace_context *current;

static struct ptrace_context *to_ctx(struct platform_context *ctx)
{
    return container_of(ctx, struct ptrace_context, base);
}

static long do_ptrace(int request, pid_t tid, void *addr, void *data)
{
    return ptrace((enum __ptrace_request)request, tid, addr, data) < 0 ? -errno : 0;
}

pid_t ptrace_own_tracee(struct ptrace_as *as)
{
    if (!current || current->as != as)
        return 0;
    current->there_known = false;
    return atomic_load(&current->tid);
}

static int context_create(struct platform *p, struct platform_context **out)
{
    struct ptrace_context *ctx = calloc(1, sizeof(*ctx));

    if (!ctx)
        return -ENOMEM;
    ctx->base.p = p;
    *out = &ctx->base;
    return 0;
}

static uint64_t tracee_cpu_time(struct ptrace_context *ctx)
{
    pid_t tid = atomic_load(&ctx->tid);
    uint64_t ran, queued;

    return tid && hostproc_thread_times(tid, &ran, &queued) == 0 ? ran : 0;
}

static uint64_t cpu_time(struct platform_context *base)
{
    struct ptrace_context *ctx = to_ctx(base);

    return atomic_load(&ctx->cpu_time_before) + tracee_cpu_time(ctx);
}

static int fp_alloc(struct ptrace_context *ctx)
{
    if (ctx->fp_saved)
        return 0;
    ctx->fp_saved = calloc(1, ctx->base.p->fp.host_size);
    return ctx->fp_saved ? 0 : -ENOMEM;
}

static int fp_get(struct platform_context *base, void *buf)
{
    struct ptrace_context *ctx = to_ctx(base);
    struct iovec iov;
    int r;

    if (!atomic_load(&ctx->tid) && !ctx->fp_pending) {
        fp_init_state(&base->p->fp, buf);
        return 0;
    }
    r = fp_alloc(ctx);
    if (r)
        return r;
    if (!ctx->fp_pending) {
        iov = (struct iovec){ctx->fp_saved, base->p->fp.host_size};
        r = (int)do_ptrace(PTRACE_GETREGSET, atomic_load(&ctx->tid), (void *)NT_X86_XSTATE, &iov);
        if (r)
            return r;
    }
    memcpy(buf, ctx->fp_saved, base->p->fp.size);
    fp_scrub(&base->p->fp, buf);
    return 0;
}

static int fp_set(struct platform_context *base, const void *buf)
{
    struct ptrace_context *ctx = to_ctx(base);
    int r = fp_alloc(ctx);

    if (r)
        return r;
    memcpy(ctx->fp_saved, buf, base->p->fp.size);
    ctx->fp_pending = true;
    return 0;
}

static int fp_flush(struct ptrace_context *ctx)
{
    struct iovec iov = {ctx->fp_saved, ctx->base.p->fp.host_size};
    int r = (int)do_ptrace(PTRACE_SETREGSET, atomic_load(&ctx->tid), (void *)NT_X86_XSTATE, &iov);

    if (r == 0)
        ctx->fp_pending = false;
    return r;
}

/* Ends the tracee, if it is alive, and forgets it. A thread of a killed process is reaped by this. */
static void drop_tracee(struct ptrace_context *ctx)
{
    pid_t tid = atomic_load(&ctx->tid);
    const uint64_t args[6] = {0};
    int64_t result;

    if (!ctx->as)
        return;
    if (tid) {
        atomic_fetch_add(&ctx->cpu_time_before, tracee_cpu_time(ctx));
        /* "Fails" in the only way that it can, with the thread gone. What has been killed before is still to be reaped. */
        if (ptrace_inject(tid, SYS_exit, args, &result) != -ESRCH)
            abort();
        while (waitpid(tid, NULL, __WALL) == tid)
            do_ptrace(PTRACE_CONT, tid, NULL, NULL);
    }
    ctx->there_known = false;
    atomic_store(&ctx->tid, 0);
    ptrace_as_put(ctx->as);
    ctx->as = NULL;
}

static void context_destroy(struct platform_context *base)
{
    struct ptrace_context *ctx = to_ctx(base);

    drop_tracee(ctx);
    if (current == ctx)
        current = NULL;
    free(ctx->fp_saved);
    free(ctx);
}

static int enter_as(struct ptrace_context *ctx, struct ptrace_as *as)
{
    pid_t tid;
    int r;

    if (ctx->as) {
        /* The FP state moves along. */
        if (!ctx->fp_pending) {
            r = fp_alloc(ctx);
            if (r)
                return r;
            if (fp_get(&ctx->base, ctx->fp_saved) == 0)
                ctx->fp_pending = true;
        }
        drop_tracee(ctx);
    } else if (!ctx->fp_pending) {
        r = fp_alloc(ctx);
        if (r)
            return r;
        fp_init_state(&ctx->base.p->fp, ctx->fp_saved);
        ctx->fp_pending = true;
    }
    tid = ptrace_as_spawn(as);
    if (tid < 0)
        return tid;
    ref_get(&as->refs);
    ctx->as = as;
    atomic_store(&ctx->pid, as->pid);
    atomic_store(&ctx->tid, tid);
    return 0;
}

static void regs_to_user(const struct guest_regs *g, struct user_regs_struct *u)
{
    *u = (struct user_regs_struct){
        .r15 = g->r15,
        .r14 = g->r14,
        .r13 = g->r13,
        .r12 = g->r12,
        .rbp = g->rbp,
        .rbx = g->rbx,
        .r11 = g->r11,
        .r10 = g->r10,
        .r9 = g->r9,
        .r8 = g->r8,
        .rax = g->rax,
        .rcx = g->rcx,
        .rdx = g->rdx,
        .rsi = g->rsi,
        .rdi = g->rdi,
        .rip = g->rip,
        .eflags = g->rflags,
        .rsp = g->rsp,
        .fs_base = g->fs_base,
        .gs_base = g->gs_base,
        .cs = 0x33,
        .ss = 0x2b,
        .orig_rax = (uint64_t)-1,
    };
}

static void regs_from_user(const struct user_regs_struct *u, struct guest_regs *g)
{
    *g = (struct guest_regs){
        .r15 = u->r15,
        .r14 = u->r14,
        .r13 = u->r13,
        .r12 = u->r12,
        .rbp = u->rbp,
        .rbx = u->rbx,
        .r11 = u->r11,
        .r10 = u->r10,
        .r9 = u->r9,
        .r8 = u->r8,
        .rax = u->rax,
        .rcx = u->rcx,
        .rdx = u->rdx,
        .rsi = u->rsi,
        .rdi = u->rdi,
        .rip = u->rip,
        .rflags = u->eflags,
        .rsp = u->rsp,
        .fs_base = u->fs_base,
        .gs_base = u->gs_base,
    };
}

/*
 * Whether the call was made by `int $0x80`. Only the syscall instruction leaves its return address in rcx, so in the
 * usual case there is no need to ask the kernel.
 */
static bool is_foreign_call(pid_t tid, const struct guest_regs *regs)
{
    struct __ptrace_syscall_info info;

    if (regs->rcx == regs->rip)
        return false;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info) < 0)
        return false;
    return info.arch != AUDIT_ARCH_X86_64;
}

static void event_syscall(pid_t tid, const struct user_regs_struct *u, struct guest_regs *regs, struct platform_event *ev)
{
    regs->rax = u->orig_rax;
    if (is_foreign_call(tid, regs)) {
        /* What a kernel without 32-bit emulation does: a general protection fault for the IDT entry. */
        regs->rip -= 2;
        *ev = (struct platform_event){
            .kind = PLATFORM_EVENT_EXCEPTION, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = 13, .error_code = 0x402};
        return;
    }
    *ev = (struct platform_event){.kind = PLATFORM_EVENT_SYSCALL};
}

static uint32_t trapno_of(int signo, int code)
{
    switch (signo) {
    case SIGSEGV:
        return code == SI_KERNEL ? 13 : 14;
    case SIGBUS:
        return code == BUS_ADRALN ? 17 : code == SI_KERNEL ? 12 : 14;
    case SIGFPE:
        return code == FPE_INTDIV ? 0 : 16;
    case SIGTRAP:
        return code == SI_KERNEL ? 3 : 1;
    default:
        return 6;
    }
}

/*
 * ptrace does not tell what kind of access faulted, so it is found out by asking for the least first. Where nothing is mapped
 * (SEGV_MAPERR) a read is reported; when that has been granted and the same instruction faults there again at once because of
 * permissions (SEGV_ACCERR), it must have wanted more. An address at or just behind the instruction may be its own fetch.
 */
static unsigned int guess_access(struct ptrace_context *ctx, uint64_t rip, uint64_t addr, int code)
{
    bool crosses = addr > rip && addr - rip < 15 && addr % 4096 == 0;

    if (ctx->fault_rip != rip || ctx->fault_addr != addr || code != SEGV_ACCERR) {
        ctx->fault_rip = rip;
        ctx->fault_addr = addr;
        ctx->fault_repeats = 0;
    } else {
        ctx->fault_repeats++;
    }
    if (addr == rip)
        return PLATFORM_EXEC;
    if (ctx->fault_repeats == 0)
        return PLATFORM_READ;
    return crosses && ctx->fault_repeats == 1 ? PLATFORM_EXEC : PLATFORM_WRITE;
}

/* Fills `ev` for a signal stop; false if it is no event of the guest's own. */
static bool event_signal(struct ptrace_context *ctx, int signo, const struct guest_regs *regs, struct platform_event *ev)
{
    siginfo_t si;

    if (signo != SIGSEGV && signo != SIGBUS && signo != SIGFPE && signo != SIGILL && signo != SIGTRAP)
        return false;
    if (do_ptrace(PTRACE_GETSIGINFO, atomic_load(&ctx->tid), NULL, &si) || si.si_code <= 0)
        return false;
    *ev = (struct platform_event){
        .kind = PLATFORM_EVENT_EXCEPTION,
        .signo = signo,
        .code = si.si_code,
        .addr = (uint64_t)si.si_addr,
        .trapno = trapno_of(signo, si.si_code),
    };
    if (ev->trapno != 14)
        return true;
    ev->kind = PLATFORM_EVENT_FAULT;
    ev->access = guess_access(ctx, regs->rip, ev->addr, ev->code);
    return true;
}

static int read_regs(struct ptrace_context *ctx, pid_t tid, struct guest_regs *regs)
{
    if (do_ptrace(PTRACE_GETREGS, tid, NULL, &ctx->there))
        return -ESRCH;
    regs_from_user(&ctx->there, regs);
    ctx->there_known = true;
    return 0;
}

/* The kernel's internal results, which it would act on if a signal came while the number of a call is still in orig_rax. */
static bool looks_like_restart(uint64_t rax)
{
    return rax >= (uint64_t)-516 && rax <= (uint64_t)-512;
}

/* After most calls there is just a result to write, which is a good deal cheaper than all registers. */
static int write_regs(struct ptrace_context *ctx, pid_t tid, const struct guest_regs *regs)
{
    struct user_regs_struct u, *there = &ctx->there;
    bool known = ctx->there_known;

    regs_to_user(regs, &u);
    ctx->there_known = false;
    there->rax = u.rax;
    there->orig_rax = u.orig_rax;
    if (known && memcmp(&u, there, offsetof(struct user_regs_struct, ds)) == 0 && !looks_like_restart(u.rax))
        return do_ptrace(PTRACE_POKEUSER, tid, (void *)offsetof(struct user_regs_struct, rax), (void *)u.rax) ? -ESRCH : 0;
    return do_ptrace(PTRACE_SETREGS, tid, NULL, &u) ? -ESRCH : 0;
}

static int run(struct platform_context *base, struct platform_as *as, struct guest_regs *regs, struct platform_event *ev)
{
    struct ptrace_context *ctx = to_ctx(base);
    int r = 0, status, signo;
    pid_t tid;

    if (ctx->as != container_of(as, struct ptrace_as, base))
        r = enter_as(ctx, container_of(as, struct ptrace_as, base));
    if (r)
        return r;
    current = ctx;
    tid = atomic_load(&ctx->tid);
    if (ctx->fp_pending && (r = fp_flush(ctx)) < 0)
        return r;
    r = write_regs(ctx, tid, regs);
    if (r)
        return r;
    atomic_store(&ctx->in_guest, true);
    for (;;) {
        if (atomic_load(&ctx->interrupted)) {
            atomic_store(&ctx->interrupted, false);
            *ev = (struct platform_event){.kind = PLATFORM_EVENT_INTERRUPTED};
            goto out;
        }
        if (do_ptrace(PTRACE_SYSEMU, tid, NULL, NULL) || (status = ptrace_wait(tid)) < 0 || !WIFSTOPPED(status)) {
            r = -ESRCH;
            goto out;
        }
        signo = WSTOPSIG(status);
        r = read_regs(ctx, tid, regs);
        if (r)
            goto out;
        if (status >> 16 || signo == PLATFORM_KICK_SIGNAL)
            continue;
        if (signo == (SIGTRAP | 0x80)) {
            ctx->fault_rip = 0;
            event_syscall(tid, &ctx->there, regs, ev);
            goto out;
        }
        if (event_signal(ctx, signo, regs, ev))
            goto out;
    }
out:
    atomic_store(&ctx->in_guest, false);
    return r;
}

static void interrupt(struct platform_context *base)
{
    struct ptrace_context *ctx = to_ctx(base);

    atomic_store(&ctx->interrupted, true);
    if (atomic_load(&ctx->in_guest))
        syscall(SYS_tgkill, atomic_load(&ctx->pid), atomic_load(&ctx->tid), PLATFORM_KICK_SIGNAL);
}

const struct platform_vtable ptrace_vtable = {
    .destroy = ptrace_platform_destroy,
    .as_create = ptrace_as_create,
    .as_destroy = ptrace_as_destroy,
    .as_apply = ptrace_as_apply,
    .context_create = context_create,
    .context_destroy = context_destroy,
    .run = run,
    .interrupt = interrupt,
    .fp_get = fp_get,
    .fp_set = fp_set,
    .cpu_time = cpu_time,
};
