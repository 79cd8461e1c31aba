/* arch_prctl, personality, and the x86 calls that a 64-bit guest has no use for. */
#include "sentry/syscalls/syscalls.h"

#include <asm/prctl.h>

#ifndef ARCH_GET_CPUID
#define ARCH_GET_CPUID 0x1011
#define ARCH_SET_CPUID 0x1012
#endif
#define ARCH_GET_XCOMP_SUPP_ 0x1021
#define ARCH_GET_XCOMP_PERM_ 0x1022
#define ARCH_REQ_XCOMP_PERM_ 0x1023
#define XFEATURE_XTILE_DATA  18

#define PERSONALITY_QUERY 0xffffffff

static int64_t set_base(struct task *t, uint64_t *base, uint64_t value)
{
    if (value >= platform_limits(t->k->platform)->max)
        return -EPERM;
    *base = value;
    return 0;
}

int64_t sys_arch_prctl(struct task *t, const struct syscall_args *a)
{
    uint64_t features;

    switch (arg_int(a, 0)) {
    case ARCH_SET_FS:
        return set_base(t, &t->regs.fs_base, a->v[1]);
    case ARCH_SET_GS:
        return set_base(t, &t->regs.gs_base, a->v[1]);
    case ARCH_GET_FS:
        return copy_out(t, arg_addr(a, 1), &t->regs.fs_base, sizeof(t->regs.fs_base));
    case ARCH_GET_GS:
        return copy_out(t, arg_addr(a, 1), &t->regs.gs_base, sizeof(t->regs.gs_base));
    case ARCH_GET_CPUID:
        return 1; /* the instruction never faults */
    case ARCH_SET_CPUID:
        return -ENODEV; /* and cannot be made to */
    case ARCH_GET_XCOMP_SUPP_:
    case ARCH_GET_XCOMP_PERM_:
        features = platform_fp_features(t->k->platform) & ~(1ULL << XFEATURE_XTILE_DATA);
        return copy_out(t, arg_addr(a, 1), &features, sizeof(features));
    case ARCH_REQ_XCOMP_PERM_:
        /* Tiles would make every frame and every context 8 KiB larger: they are not offered. */
        return a->v[1] >= 64 ? -EINVAL : -EOPNOTSUPP;
    default:
        return -EINVAL; /* among them shadow stacks (0x5001...), as on kernels without them */
    }
}

int64_t sys_personality(struct task *t, const struct syscall_args *a)
{
    unsigned long old = t->personality;

    if (arg_uint(a, 0) != PERSONALITY_QUERY)
        t->personality = arg_uint(a, 0);
    return (int64_t)old;
}

/* Thread-local segments of 32-bit programs. */
int64_t sys_set_thread_area(struct task *t, const struct syscall_args *a)
{
    return -ENOSYS;
}

int64_t sys_get_thread_area(struct task *t, const struct syscall_args *a)
{
    return -ENOSYS;
}

int64_t sys_modify_ldt(struct task *t, const struct syscall_args *a)
{
    return -ENOSYS;
}
