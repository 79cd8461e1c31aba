/*
 * What a backend gives to platform.c: a table of functions behind each of the three public structs. The backend embeds
 * these as the first member of its own, so the public functions are one indirect call away from it.
 */
#ifndef PLATFORM_INTERNAL_H
#define PLATFORM_INTERNAL_H

#include "platform/arch/fpstate.h"
#include "platform/platform.h"

/* What a guest may not have as a base address or above: one page below the end of the 47-bit half, as in Linux. */
#define PLATFORM_TASK_SIZE 0x7ffffffff000ULL
/* Backends keep the top 2 GiB of the user half for themselves. */
#define PLATFORM_STUB_BASE 0x7fff80000000ULL
/* Where Linux's default vm.mmap_min_addr ends; nobody may map below it without privilege. */
#define PLATFORM_GUEST_MIN 0x10000ULL

/* The signal that pulls a stub thread out of guest code. Ignored by default, so a stray one does no harm. */
#define PLATFORM_KICK_SIGNAL SIGURG

struct platform_vtable {
    void (*destroy)(struct platform *p);
    int (*as_create)(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                     struct platform_as **out);
    void (*as_destroy)(struct platform_as *as);
    int (*as_apply)(struct platform_as *as, const struct platform_op *ops, size_t n);
    bool (*as_unmap_later)(struct platform_as *as, uint64_t addr, uint64_t len); /* NULL: never */
    int (*context_create)(struct platform *p, struct platform_context **out);
    void (*context_destroy)(struct platform_context *ctx);
    void (*set_answers)(struct platform_context *ctx, const struct platform_answers *answers); /* NULL: all calls come */
    int (*run)(struct platform_context *ctx, struct platform_as *as, struct guest_regs *regs, struct platform_event *ev);
    void (*interrupt)(struct platform_context *ctx);
    void (*park)(struct platform_context *ctx); /* NULL: nothing is kept */
    int (*fp_get)(struct platform_context *ctx, void *buf);
    int (*fp_set)(struct platform_context *ctx, const void *buf);
    uint64_t (*cpu_time)(struct platform_context *ctx);
};

struct platform {
    const struct platform_vtable *vt;
    const char *name;
    struct platform_limits limits;
    struct fp_layout fp;
    bool on_caller; /* see platform_on_caller() */
};

struct platform_as {
    struct platform *p;
};

struct platform_context {
    struct platform *p;
};

/* The backends. Each probes the host, and fails with a reason when it cannot work here. */
int ptrace_platform_create(struct platform **out, char *why, size_t why_len);
int pvmexec_kernel_create(struct platform **out, char *why, size_t why_len);
int pvmexec_stub_create(struct platform **out, char *why, size_t why_len);

#endif
