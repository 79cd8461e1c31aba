/*
 * Signal frames, exactly as Linux lays them out on x86-64, and their return.
 *
 * From high to low addresses: the 128-byte red zone (or the top of the alternate stack), the XSAVE area aligned to 64 bytes
 * with FP_XSTATE_MAGIC2 after it, then struct rt_sigframe, which begins 8 bytes below a 16-byte boundary as after a call.
 *
 * Everything that sigreturn reads was in the guest's hands: the mask loses SIGKILL and SIGSTOP, flags are limited to what user
 * code may change, segments are not taken, and the FP image is checked by the platform before any of it is used.
 */
#include "sentry/kernel/sigframe.h"

#include "sentry/kernel/task_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define RED_ZONE 128

#define UC_FP_XSTATE_         1
#define UC_SIGCONTEXT_SS_     2
#define UC_STRICT_RESTORE_SS_ 4

#define FP_XSTATE_MAGIC1_ 0x46505853U
#define FP_XSTATE_MAGIC2_ 0x46505845U
#define FXSAVE_SIZE       512
#define XSAVE_HEADER_SIZE 64
#define SW_RESERVED_OFF   464

#define USER_CS 0x33
#define USER_DS 0x2b

#define FLAG_CF (1U << 0)
#define FLAG_PF (1U << 2)
#define FLAG_AF (1U << 4)
#define FLAG_ZF (1U << 6)
#define FLAG_SF (1U << 7)
#define FLAG_TF (1U << 8)
#define FLAG_DF (1U << 10)
#define FLAG_OF (1U << 11)
#define FLAG_RF (1U << 16)
#define FLAG_AC (1U << 18)
/* What sigreturn may set. */
#define USER_FLAGS (FLAG_AC | FLAG_OF | FLAG_DF | FLAG_TF | FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF | FLAG_RF)

#define SS_AUTODISARM_ (1U << 31)

struct sigcontext64 {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2;
    uint64_t fpstate; /* guest address */
    uint64_t reserved[8];
};

struct sigstack64 {
    uint64_t sp;
    int32_t flags;
    uint32_t pad;
    uint64_t size;
};

struct ucontext64 {
    uint64_t flags, link;
    struct sigstack64 stack;
    struct sigcontext64 mc;
    ksigset mask;
};

struct rt_sigframe64 {
    uint64_t pretcode;
    struct ucontext64 uc;
    ksiginfo info;
};

_Static_assert(sizeof(struct sigcontext64) == 256, "struct sigcontext");
_Static_assert(offsetof(struct rt_sigframe64, uc.mask) == 8 + 296, "uc_sigmask");
_Static_assert(sizeof(struct rt_sigframe64) == 8 + 304 + 128, "struct rt_sigframe");

struct fpx_sw_bytes {
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size;
    uint32_t padding[7];
};

static bool on_altstack(const struct task *t, uint64_t sp)
{
    uint64_t base = (uint64_t)t->altstack.ss_sp;

    /* A disarmed stack is out of use while its handler runs. */
    if ((unsigned int)t->altstack.ss_flags & SS_AUTODISARM_)
        return false;
    return sp > base && sp - base <= t->altstack.ss_size;
}

int altstack_flags(const struct task *t, uint64_t sp)
{
    if (!t->altstack.ss_size)
        return SS_DISABLE;
    return on_altstack(t, sp) ? SS_ONSTACK : 0;
}

static void save_regs(const struct task *t, struct sigcontext64 *mc)
{
    const struct guest_regs *r = &t->regs;

    *mc = (struct sigcontext64){
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .di = r->rdi,
        .si = r->rsi,
        .bp = r->rbp,
        .bx = r->rbx,
        .dx = r->rdx,
        .ax = r->rax,
        .cx = r->rcx,
        .sp = r->rsp,
        .ip = r->rip,
        .flags = r->rflags,
        .cs = USER_CS,
        .ss = USER_DS,
        .err = t->fault.error_code,
        .trapno = t->fault.trapno,
        .cr2 = t->fault.addr,
    };
}

/* Writes the FP state below `*sp` and moves it there. */
static int save_fp(struct task *t, uint64_t *sp)
{
    size_t size = platform_fp_size(t->k->platform);
    uint64_t at = (*sp - (size + sizeof(uint32_t))) & ~63ULL;
    const uint32_t magic2 = FP_XSTATE_MAGIC2_;
    const struct fpx_sw_bytes sw = {
        .magic1 = FP_XSTATE_MAGIC1_,
        .extended_size = (uint32_t)(size + sizeof(uint32_t)),
        .xfeatures = platform_fp_features(t->k->platform),
        .xstate_size = (uint32_t)size,
    };
    unsigned char *buf = malloc(size + sizeof(uint32_t));
    int r = -ENOMEM;

    if (!buf)
        return r;
    r = platform_fp_get(t->ctx, buf);
    if (!r) {
        memcpy(buf + SW_RESERVED_OFF, &sw, sizeof(sw));
        memcpy(buf + size, &magic2, sizeof(magic2));
        r = copy_out(t, guest_addr_of(at), buf, size + sizeof(uint32_t));
    }
    free(buf);
    *sp = at;
    return r;
}

/* The largest image is some 11 KiB (AMX). */
void task_fp_init(struct task *t)
{
    unsigned char *buf = calloc(1, platform_fp_size(t->k->platform));
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr = 0x1f80;

    if (!buf)
        return;
    memcpy(buf, &fcw, sizeof(fcw));
    memcpy(buf + 24, &mxcsr, sizeof(mxcsr));
    if (platform_fp_set(t->ctx, buf) != 0)
        abort(); /* a constant that every platform must take */
    free(buf);
}

int sigframe_setup(struct task *t, const struct ksigaction *ka, const ksiginfo *info, ksigset saved_mask)
{
    struct guest_regs *regs = &t->regs;
    uint64_t sp = regs->rsp - RED_ZONE, frame_at, fp_at;
    bool was_on = on_altstack(t, regs->rsp);
    struct rt_sigframe64 frame;
    size_t n = sizeof(frame);
    bool entering = false;

    if (!(ka->flags & SA_RESTORER_))
        return -EFAULT;
    if ((ka->flags & SA_ONSTACK) && altstack_flags(t, regs->rsp) == 0) {
        sp = (uint64_t)t->altstack.ss_sp + t->altstack.ss_size;
        entering = true;
    }
    fp_at = sp;
    if (save_fp(t, &fp_at))
        return -EFAULT;
    frame_at = ((fp_at - sizeof(frame)) & ~15ULL) - 8;
    /* An alternate stack that is too small must not be overrun silently. */
    if ((was_on || entering) && frame_at - (uint64_t)t->altstack.ss_sp > t->altstack.ss_size)
        return -EFAULT;

    memset(&frame, 0, sizeof(frame));
    frame.pretcode = ka->restorer;
    frame.uc.flags = UC_FP_XSTATE_ | UC_SIGCONTEXT_SS_ | UC_STRICT_RESTORE_SS_;
    frame.uc.stack =
        (struct sigstack64){.sp = (uint64_t)t->altstack.ss_sp, .flags = t->altstack.ss_flags, .size = t->altstack.ss_size};
    save_regs(t, &frame.uc.mc);
    frame.uc.mc.oldmask = saved_mask;
    frame.uc.mc.fpstate = fp_at;
    frame.uc.mask = saved_mask;
    if (ka->flags & SA_SIGINFO)
        frame.info = *info;
    else
        n = offsetof(struct rt_sigframe64, info);
    if (copy_out(t, guest_addr_of(frame_at), &frame, n))
        return -EFAULT;

    if ((unsigned int)t->altstack.ss_flags & SS_AUTODISARM_)
        t->altstack = (stack_t){.ss_flags = SS_DISABLE};
    regs->rdi = (uint64_t)info->si_signo;
    regs->rsi = frame_at + offsetof(struct rt_sigframe64, info);
    regs->rdx = frame_at + offsetof(struct rt_sigframe64, uc);
    regs->rax = 0;
    regs->rip = ka->handler;
    regs->rsp = frame_at;
    regs->rflags &= ~(uint64_t)(FLAG_DF | FLAG_RF | FLAG_TF);
    task_fp_init(t);
    return 0;
}

/*
 * Reads an XSAVE image back. Without valid magic numbers it is a plain FXSAVE one, as from a program that built its frame
 * itself: the other components then start fresh.
 */
static int restore_fp(struct task *t, uint64_t at)
{
    size_t size = platform_fp_size(t->k->platform);
    struct fpx_sw_bytes sw;
    uint32_t magic2 = 0;
    unsigned char *buf;
    bool full;
    int r;

    if (!at) {
        task_fp_init(t);
        return 0;
    }
    buf = calloc(1, size);
    if (!buf)
        return -ENOMEM;
    r = copy_in(t, buf, guest_addr_of(at), FXSAVE_SIZE);
    if (r)
        goto out;
    memcpy(&sw, buf + SW_RESERVED_OFF, sizeof(sw));
    memset(buf + SW_RESERVED_OFF, 0, sizeof(sw));
    full = sw.magic1 == FP_XSTATE_MAGIC1_ && sw.xstate_size >= FXSAVE_SIZE + XSAVE_HEADER_SIZE && sw.xstate_size <= size &&
           sw.xstate_size <= sw.extended_size;
    if (full) {
        r = copy_in(t, &magic2, guest_addr_of(at + sw.xstate_size), sizeof(magic2));
        if (r)
            goto out;
        full = magic2 == FP_XSTATE_MAGIC2_;
    }
    if (full) {
        r = copy_in(t, buf + FXSAVE_SIZE, guest_addr_of(at + FXSAVE_SIZE), sw.xstate_size - FXSAVE_SIZE);
        if (r)
            goto out;
        /* Features that the frame does not claim, or that do not exist, are not restored. */
        uint64_t bv;
        memcpy(&bv, buf + FXSAVE_SIZE, sizeof(bv));
        bv &= sw.xfeatures & platform_fp_features(t->k->platform);
        memcpy(buf + FXSAVE_SIZE, &bv, sizeof(bv));
    } else {
        const uint64_t x87_and_sse = 3;
        memcpy(buf + FXSAVE_SIZE, &x87_and_sse, sizeof(x87_and_sse));
    }
    r = platform_fp_set(t->ctx, buf);
out:
    free(buf);
    return r;
}

static void restore_regs(struct task *t, const struct sigcontext64 *mc)
{
    struct guest_regs *r = &t->regs;

    r->r8 = mc->r8;
    r->r9 = mc->r9;
    r->r10 = mc->r10;
    r->r11 = mc->r11;
    r->r12 = mc->r12;
    r->r13 = mc->r13;
    r->r14 = mc->r14;
    r->r15 = mc->r15;
    r->rdi = mc->di;
    r->rsi = mc->si;
    r->rbp = mc->bp;
    r->rbx = mc->bx;
    r->rdx = mc->dx;
    r->rax = mc->ax;
    r->rcx = mc->cx;
    r->rsp = mc->sp;
    r->rip = mc->ip;
    r->rflags = (r->rflags & ~(uint64_t)USER_FLAGS) | (mc->flags & USER_FLAGS);
}

bool sigframe_return(struct task *t)
{
    uint64_t at = t->regs.rsp - 8;
    struct ucontext64 uc;

    if (copy_in(t, &uc, guest_addr_of(at + offsetof(struct rt_sigframe64, uc)), sizeof(uc)))
        return false;
    signal_set_blocked(t, uc.mask);
    restore_regs(t, &uc.mc);
    if (restore_fp(t, uc.mc.fpstate))
        return false;
    /* As in Linux, a bad stack_t in the frame changes nothing and is no error. */
    altstack_set(t, uc.stack.sp, (unsigned int)uc.stack.flags, uc.stack.size, false);
    return true;
}

int altstack_set(struct task *t, uint64_t sp, unsigned int flags, uint64_t size, bool check_in_use)
{
    unsigned int mode = flags & ~SS_AUTODISARM_;

    if (check_in_use && on_altstack(t, t->regs.rsp) && t->altstack.ss_size)
        return -EPERM;
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
        return -EINVAL;
    if (mode == SS_DISABLE) {
        sp = size = 0;
    } else if (size < 2048) { /* MINSIGSTKSZ */
        return -ENOMEM;
    }
    t->altstack = (stack_t){.ss_sp = (void *)sp, .ss_flags = (int)flags, .ss_size = size};
    return 0;
}
