/* Contexts of the kernel engine: the run loop, events, interrupts, FP state and CPU time. */
#include "platform/pvmexec/kernel.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

/* The registers that both sides have come first and in the same order, so they are copied as one. */
_Static_assert(offsetof(struct pvm_context, cs) == sizeof(struct guest_regs), "registers");
_Static_assert(offsetof(struct pvm_context, ip) == offsetof(struct guest_regs, rip), "rip");
_Static_assert(offsetof(struct pvm_context, gs_base) == offsetof(struct guest_regs, gs_base), "gs_base");

/* What Linux gives a fresh program: access to pages with key 0 only. */
#define PKRU_INIT 0x55555554U

/* A page: malloc(3) would put the beginning of the context anywhere in one. */
#define CONTEXT_ALIGN ((size_t)4096)

static struct kernel_context *to_ctx(struct platform_context *ctx)
{
    return container_of(ctx, struct kernel_context, base);
}

static int context_create(struct platform *p, struct platform_context **out)
{
    size_t size = (sizeof(struct kernel_context) + p->fp.host_size + CONTEXT_ALIGN - 1) & ~(CONTEXT_ALIGN - 1);
    struct kernel_context *ctx = aligned_alloc(CONTEXT_ALIGN, size);

    if (!ctx)
        return -ENOMEM;
    memset(ctx, 0, size);
    fp_init_state(&p->fp, ctx->fp);
    ctx->base.p = p;
    ctx->pvm.xsave = (uintptr_t)ctx->fp;
    ctx->pvm.xsave_size = (uint32_t)p->fp.host_size;
    ctx->pvm.pkru = PKRU_INIT;
    *out = &ctx->base;
    return 0;
}

static void context_destroy(struct platform_context *base)
{
    free(to_ctx(base));
}

/* --- interrupts --- */

static _Atomic uint32_t *interrupt_word(struct kernel_context *ctx)
{
    return (_Atomic uint32_t *)&ctx->pvm.interrupt;
}

/*
 * The word comes first, then the look at where the thread is; the thread says where it is, then its kernel looks at the word.
 * So one of the two sees the other.
 */
static void interrupt(struct platform_context *base)
{
    struct kernel_context *ctx = to_ctx(base);
    const struct kernel_platform *p = container_of(base->p, struct kernel_platform, base);
    int running = KICK_RUNNING;

    atomic_store(interrupt_word(ctx), 1);
    if (!atomic_compare_exchange_strong(&ctx->kick, &running, KICK_SENDING))
        return;
    syscall(SYS_tgkill, p->pid, atomic_load(&ctx->tid), PLATFORM_KICK_SIGNAL);
    atomic_store(&ctx->kick, KICK_SENT);
}

/* Back in the sentry. A signal that was sent is pending by now and is delivered no later than at the end of any system call. */
static void leave_guest(struct kernel_context *ctx)
{
    int running = KICK_RUNNING;

    if (likely(atomic_compare_exchange_strong(&ctx->kick, &running, KICK_AWAY)))
        return;
    do
        sched_yield();
    while (atomic_load(&ctx->kick) != KICK_SENT);
    atomic_store(&ctx->kick, KICK_AWAY);
    sched_yield();
}

/* --- running --- */

static void adopt(struct kernel_context *ctx)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, PLATFORM_KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    atomic_store(&ctx->tid, gettid());
}

static uint64_t base_or_zero(uint64_t base)
{
    return base < PLATFORM_TASK_SIZE ? base : 0;
}

/* What a kernel without 32-bit emulation makes of its entries: a general protection fault for the gate in the IDT. */
static void event_foreign_call(const struct pvm_context *pvm, struct guest_regs *regs, struct platform_event *ev)
{
    if (pvm->abi == PVM_ABI_INT80)
        regs->rip -= 2;
    *ev = (struct platform_event){
        .kind = PLATFORM_EVENT_EXCEPTION, .signo = SIGSEGV, .code = SI_KERNEL, .trapno = 13, .error_code = 0x402};
}

static void get_event(const struct pvm_context *pvm, struct guest_regs *regs, struct platform_event *ev)
{
    memcpy(regs, pvm, sizeof(*regs));
    /* wrfsbase takes addresses of the kernel's half as well. */
    regs->fs_base = base_or_zero(regs->fs_base);
    regs->gs_base = base_or_zero(regs->gs_base);
    if (likely(pvm->reason == PVM_EXIT_SYSCALL)) {
        ev->kind = PLATFORM_EVENT_SYSCALL;
        if (unlikely(pvm->abi != PVM_ABI_SYSCALL))
            event_foreign_call(pvm, regs, ev);
        return;
    }
    *ev = (struct platform_event){
        .kind = PLATFORM_EVENT_EXCEPTION,
        .signo = pvm->signo,
        .code = pvm->code,
        .addr = pvm->addr,
        .trapno = pvm->trapno,
        .error_code = pvm->error_code,
    };
    if (pvm->reason == PVM_EXIT_FAULT) {
        ev->kind = PLATFORM_EVENT_FAULT;
        ev->trapno = 14;
        /* Bits of the page-fault error code: 1 write, 4 instruction fetch. */
        ev->access = pvm->error_code & 16 ? PLATFORM_EXEC : pvm->error_code & 2 ? PLATFORM_WRITE : PLATFORM_READ;
    }
}

static int run(struct platform_context *base, struct platform_as *as, struct guest_regs *regs, struct platform_event *ev)
{
    struct kernel_context *ctx = to_ctx(base);
    int fd = container_of(as, struct kernel_as, base)->fd, r;
    uint64_t ticks = atomic_load_explicit(&ctx->ticks, memory_order_relaxed);

    if (unlikely(!atomic_load_explicit(&ctx->tid, memory_order_relaxed)))
        adopt(ctx);
    memcpy(&ctx->pvm, regs, sizeof(*regs));
    ctx->pvm.cs = ctx->pvm.ss = 0;
    for (;;) {
        if (unlikely(atomic_load_explicit(interrupt_word(ctx), memory_order_relaxed)) &&
            atomic_exchange(interrupt_word(ctx), 0)) {
            memcpy(regs, &ctx->pvm, sizeof(*regs));
            *ev = (struct platform_event){.kind = PLATFORM_EVENT_INTERRUPTED};
            return 0;
        }
        atomic_store(&ctx->kick, KICK_RUNNING);
        atomic_store_explicit(&ctx->ticks, (ticks - 2 * __rdtsc()) | 1, memory_order_relaxed);
        r = kernel_exec(fd, &ctx->pvm);
        ticks = (atomic_load_explicit(&ctx->ticks, memory_order_relaxed) & ~1ULL) + 2 * __rdtsc();
        atomic_store_explicit(&ctx->ticks, ticks, memory_order_relaxed);
        leave_guest(ctx);
        if (unlikely(r))
            return r;
        if (likely(ctx->pvm.reason != PVM_EXIT_INTERRUPTED)) {
            get_event(&ctx->pvm, regs, ev);
            return 0;
        }
        /* For the word, which is looked at now, or for reasons that are none of the owner's business. */
    }
}

/* --- FP state --- */

static int fp_get(struct platform_context *base, void *buf)
{
    struct kernel_context *ctx = to_ctx(base);

    memcpy(buf, ctx->fp, base->p->fp.size);
    fp_scrub(&base->p->fp, buf);
    fp_put_pkru(&base->p->fp, buf, ctx->pvm.pkru);
    return 0;
}

static int fp_set(struct platform_context *base, const void *buf)
{
    struct kernel_context *ctx = to_ctx(base);

    memcpy(ctx->fp, buf, base->p->fp.size);
    ctx->pvm.pkru = fp_take_pkru(&base->p->fp, ctx->fp, PKRU_INIT);
    return 0;
}

/* --- CPU time --- */

uint64_t kernel_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Of a thread of this process, by the id that clock_getcpuclockid(3) would make. */
static uint64_t thread_cpu_ns(pid_t tid)
{
    struct timespec ts;

    if (clock_gettime((clockid_t)((~(unsigned int)tid << 3) | 6), &ts))
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/*
 * The thread's clock has guest and sentry in one. What is taken for the guest's part is the time that passed in runs, which
 * counts some that the thread waited for a CPU; so no more than the whole.
 */
static uint64_t cpu_time(struct platform_context *base)
{
    struct kernel_context *ctx = to_ctx(base);
    const struct kernel_platform *p = container_of(base->p, struct kernel_platform, base);
    uint64_t ticks = atomic_load_explicit(&ctx->ticks, memory_order_relaxed), now = __rdtsc(), all, ns;
    pid_t tid = atomic_load(&ctx->tid);

    if (!tid || now <= p->start_tsc)
        return 0;
    if (ticks & 1)
        ticks += 2 * now;
    ns = (uint64_t)((unsigned __int128)(ticks / 2) * (kernel_now_ns() - p->start_ns) / (now - p->start_tsc));
    all = thread_cpu_ns(tid);
    return ns < all ? ns : all;
}

const struct platform_vtable kernel_vtable = {
    .destroy = kernel_platform_destroy,
    .as_create = kernel_as_create,
    .as_destroy = kernel_as_destroy,
    .as_apply = kernel_as_apply,
    .context_create = context_create,
    .context_destroy = context_destroy,
    .run = run,
    .interrupt = interrupt,
    .fp_get = fp_get,
    .fp_set = fp_set,
    .cpu_time = cpu_time,
};
