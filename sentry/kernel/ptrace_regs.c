/* A stopped tracee's registers, in the layouts of <sys/user.h> and the register sets of core files. */
#include "sentry/kernel/ptrace_regs.h"

#include "sentry/kernel/task_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define USER_CS 0x33
#define USER_DS 0x2b

#define FXSAVE_SIZE     512
#define XSAVE_LEAST     576
#define SW_RESERVED_OFF 464
#define SETTABLE_FLAGS  0x50dd5UL /* CF PF AF ZF SF TF DF OF RF AC */

void ptrace_regs_get(const struct task *t, struct user_regs_struct *u)
{
    const struct guest_regs *r = &t->regs;

    *u = (struct user_regs_struct){
        .r15 = r->r15,
        .r14 = r->r14,
        .r13 = r->r13,
        .r12 = r->r12,
        .rbp = r->rbp,
        .rbx = r->rbx,
        .r11 = r->r11,
        .r10 = r->r10,
        .r9 = r->r9,
        .r8 = r->r8,
        .rax = r->rax,
        .rcx = r->rcx,
        .rdx = r->rdx,
        .rsi = r->rsi,
        .rdi = r->rdi,
        .orig_rax = (unsigned long long)t->orig_rax,
        .rip = r->rip,
        .cs = USER_CS,
        .eflags = r->rflags,
        .rsp = r->rsp,
        .ss = USER_DS,
        .fs_base = r->fs_base,
        .gs_base = r->gs_base,
    };
}

int ptrace_regs_set(struct task *t, const struct user_regs_struct *u)
{
    struct guest_regs *r = &t->regs;
    uint64_t max = platform_limits(t->k->platform)->max;

    /* Selectors other than the ones of 64-bit user code cannot be had. */
    if ((u->cs && (u->cs & 3) != 3) || (u->ss && (u->ss & 3) != 3))
        return -EIO;
    if (u->fs_base >= max || u->gs_base >= max)
        return -EIO;
    *r = (struct guest_regs){
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
        .rflags = (r->rflags & ~SETTABLE_FLAGS) | (u->eflags & SETTABLE_FLAGS),
        .rsp = u->rsp,
        .fs_base = u->fs_base,
        .gs_base = u->gs_base,
    };
    t->orig_rax = (int64_t)(int32_t)u->orig_rax;
    return 0;
}

/*
 * The debug registers of a tracee: the host's are not to be had, so none can be enabled, and the error is that of Linux when
 * all breakpoints of the CPU are taken. Debuggers write them in every new thread all the same, and expect to read what they
 * have written.
 */
#define DEBUG_OFF   offsetof(struct user, u_debugreg)
#define DR6_FIXED   0xffff0ff0UL
#define DR7_ENABLES 0xffUL

static bool debug_register(uint64_t off, unsigned int *n)
{
    *n = (unsigned int)((off - DEBUG_OFF) / 8);
    return off >= DEBUG_OFF && *n < 8;
}

static uint64_t debug_get(const struct task *t, unsigned int n)
{
    if (n == 6)
        return t->ptrace.debug[n] ^ DR6_FIXED;
    return t->ptrace.debug[n];
}

static int debug_set(struct task *t, unsigned int n, uint64_t value)
{
    if (n == 4 || n == 5)
        return -EIO;
    if (n < 4 && value >= platform_limits(t->k->platform)->max)
        return -EINVAL;
    if (n == 7 && (value & DR7_ENABLES))
        return -ENOSPC;
    t->ptrace.debug[n] = n == 6 ? value ^ DR6_FIXED : value;
    return 0;
}

int ptrace_user_peek(const struct task *t, uint64_t off, uint64_t *value)
{
    struct user_regs_struct u;
    unsigned int n;

    if ((off & 7) || off > sizeof(struct user) - 8)
        return -EIO;
    *value = debug_register(off, &n) ? debug_get(t, n) : 0;
    if (off >= sizeof(u))
        return 0; /* what is only in core files is 0 */
    ptrace_regs_get(t, &u);
    memcpy(value, (const char *)&u + off, sizeof(*value));
    return 0;
}

int ptrace_user_poke(struct task *t, uint64_t off, uint64_t value)
{
    struct user_regs_struct u;
    unsigned int n;

    if ((off & 7) || off > sizeof(struct user) - 8)
        return -EIO;
    if (debug_register(off, &n))
        return debug_set(t, n, value);
    if (off >= sizeof(u))
        return -EIO;
    ptrace_regs_get(t, &u);
    memcpy((char *)&u + off, &value, sizeof(value));
    return ptrace_regs_set(t, &u);
}

size_t ptrace_fp_size(const struct task *t, bool legacy)
{
    return legacy ? FXSAVE_SIZE : platform_fp_size(t->k->platform);
}

int ptrace_fp_get(const struct task *t, bool legacy, void *buf)
{
    uint64_t features = platform_fp_features(t->k->platform);

    if (!t->ptrace.fp)
        return -EIO;
    memcpy(buf, t->ptrace.fp, ptrace_fp_size(t, legacy));
    /* The reserved bytes tell which components there are, as in signal frames and core files. */
    memset((char *)buf + SW_RESERVED_OFF, 0, FXSAVE_SIZE - SW_RESERVED_OFF);
    if (!legacy)
        memcpy((char *)buf + SW_RESERVED_OFF, &features, sizeof(features));
    return 0;
}

/* The header must be one that XRSTOR takes: known features, standard format, reserved bytes zero. */
static bool header_is_valid(const unsigned char *area, uint64_t features)
{
    uint64_t words[8];

    memcpy(words, area + FXSAVE_SIZE, sizeof(words));
    if (words[0] & ~features)
        return false;
    for (int i = 1; i < 8; i++)
        if (words[i])
            return false;
    return true;
}

int ptrace_fp_set(struct task *t, bool legacy, const void *buf, size_t len)
{
    size_t size = ptrace_fp_size(t, legacy);
    unsigned char *fp = t->ptrace.fp;
    uint32_t mxcsr;

    if (!fp)
        return -EIO;
    if (len < size)
        return legacy ? -EINVAL : -EFAULT;
    memcpy(&mxcsr, (const char *)buf + 24, sizeof(mxcsr));
    if (mxcsr & ~0xffffU)
        return -EINVAL;
    if (!legacy && !header_is_valid(buf, platform_fp_features(t->k->platform)))
        return -EINVAL;
    memcpy(fp, buf, size);
    memset(fp + SW_RESERVED_OFF, 0, FXSAVE_SIZE - SW_RESERVED_OFF);
    if (legacy) { /* x87 and SSE are in use now */
        uint64_t bv;
        memcpy(&bv, fp + FXSAVE_SIZE, sizeof(bv));
        bv |= 3;
        memcpy(fp + FXSAVE_SIZE, &bv, sizeof(bv));
    }
    t->ptrace.fp_changed = true;
    return 0;
}
