/*
 * Choosing a backend, and the thin front through which callers reach it.
 *
 * "auto" tries the fastest first and keeps each one's reason for saying no, so that the last error names them all.
 */
#include "platform/platform.h"

#include "lib/log.h"
#include "platform/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct backend {
    const char *name;
    int (*create)(struct platform **out, char *why, size_t why_len);
} backends[] = {
    {"pvmexec:kernel", pvmexec_kernel_create},
    {"pvmexec:stub", pvmexec_stub_create},
    {"ptrace", ptrace_platform_create},
};

/* "auto" is every backend, "pvmexec" both of its engines, anything else itself. */
static bool backend_matches(const struct backend *b, const char *wanted)
{
    if (strcmp(wanted, "auto") == 0 || strcmp(wanted, b->name) == 0)
        return true;
    return strcmp(wanted, "pvmexec") == 0 && strncmp(b->name, "pvmexec:", 8) == 0;
}

int platform_create(const struct platform_config *config, struct platform **out, char *why, size_t why_len)
{
    const char *wanted = config->name ? config->name : "auto";
    size_t used = 0;
    int r = -EINVAL;

    *out = NULL;
    if (why_len)
        why[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        char reason[256] = "";

        if (!backend_matches(&backends[i], wanted))
            continue;
        r = backends[i].create(out, reason, sizeof(reason));
        if (r == 0) {
            log_info("platform %s", backends[i].name);
            return 0;
        }
        log_info("platform %s cannot be used: %s", backends[i].name, reason);
        if (used < why_len) {
            int n = snprintf(why + used, why_len - used, "%s%s: %s", used ? "; " : "", backends[i].name, reason);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    if (used == 0 && why_len)
        snprintf(why, why_len, "no platform is called \"%s\"", wanted);
    return r;
}

void platform_destroy(struct platform *p)
{
    if (p)
        p->vt->destroy(p);
}

const char *platform_name(const struct platform *p)
{
    return p->name;
}

const struct platform_limits *platform_limits(const struct platform *p)
{
    return &p->limits;
}

size_t platform_fp_size(const struct platform *p)
{
    return p->fp.size;
}

uint64_t platform_fp_features(const struct platform *p)
{
    return p->fp.features;
}

bool platform_on_caller(const struct platform *p)
{
    return p->on_caller;
}

int platform_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                       struct platform_as **out)
{
    *out = NULL;
    return p->vt->as_create(p, fork_of, ops, owner, out);
}

void platform_as_destroy(struct platform_as *as)
{
    if (as)
        as->p->vt->as_destroy(as);
}

/* Whether a backend may carry out `op`: inside the guest's range and outside of the platform's own memory. */
static bool op_valid(const struct platform_limits *lim, const struct platform_op *op)
{
    uint64_t end;

    if ((op->addr | op->len | op->offset) & 0xfff || op->len == 0)
        return false;
    if (__builtin_add_overflow(op->addr, op->len, &end) || op->addr < lim->min || end > lim->max)
        return false;
    if (op->addr < lim->hole_end && end > lim->hole_start)
        return false;
    return op->kind == PLATFORM_UNMAP || !(op->prot & ~7);
}

int platform_as_apply(struct platform_as *as, const struct platform_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!op_valid(&as->p->limits, &ops[i]))
            return -EINVAL;
    return n ? as->p->vt->as_apply(as, ops, n) : 0;
}

bool platform_as_unmap_later(struct platform_as *as, uint64_t addr, uint64_t len)
{
    return as->p->vt->as_unmap_later && as->p->vt->as_unmap_later(as, addr, len);
}

int platform_context_create(struct platform *p, struct platform_context **out)
{
    *out = NULL;
    return p->vt->context_create(p, out);
}

void platform_context_destroy(struct platform_context *ctx)
{
    if (ctx)
        ctx->p->vt->context_destroy(ctx);
}

void platform_set_answers(struct platform_context *ctx, const struct platform_answers *answers)
{
    if (ctx->p->vt->set_answers)
        ctx->p->vt->set_answers(ctx, answers);
}

int platform_run(struct platform_context *ctx, struct platform_as *as, struct guest_regs *regs, struct platform_event *ev)
{
    if (unlikely(regs->fs_base >= PLATFORM_TASK_SIZE || regs->gs_base >= PLATFORM_TASK_SIZE))
        return -EINVAL;
    return ctx->p->vt->run(ctx, as, regs, ev);
}

void platform_interrupt(struct platform_context *ctx)
{
    ctx->p->vt->interrupt(ctx);
}

void platform_park(struct platform_context *ctx)
{
    if (ctx->p->vt->park)
        ctx->p->vt->park(ctx);
}

int platform_fp_get(struct platform_context *ctx, void *buf)
{
    return ctx->p->vt->fp_get(ctx, buf);
}

int platform_fp_set(struct platform_context *ctx, const void *buf)
{
    int r = fp_check(&ctx->p->fp, buf);

    return r ? r : ctx->p->vt->fp_set(ctx, buf);
}

uint64_t platform_cpu_time(struct platform_context *ctx)
{
    return ctx->p->vt->cpu_time(ctx);
}
