/* Contexts of the stub engine: running a guest thread, and its FP state. */
#include "lib/hostproc.h"
#include "lib/log.h"
#include "platform/pvmexec/arch/frame.h"
#include "platform/pvmexec/sites.h"
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RFLAGS_TF 0x100ULL

/* The context that this host thread ran last. */
static _Thread_local struct stub_context *current;

struct stub_context *stub_own_context(const struct stub_as *as)
{
    return current && current->thread && current->thread->as == as ? current : NULL;
}

static struct stub_context *to_ctx(struct platform_context *ctx)
{
    return container_of(ctx, struct stub_context, base);
}

static int context_create(struct platform *p, struct platform_context **out)
{
    struct stub_context *ctx = calloc(1, sizeof(*ctx));

    if (!ctx)
        return -ENOMEM;
    ctx->base.p = p;
    ctx->pinned_cpu = -1;
    list_init(&ctx->line_node);
    *out = &ctx->base;
    return 0;
}

static void park(struct platform_context *base)
{
    place_park(to_ctx(base));
}

/* --- the thread --- */

/* Others than the owner go by number, not through ctx->thread, which only it may follow. */
static uint64_t thread_cpu_time(struct stub_context *ctx)
{
    pid_t tid = atomic_load(&ctx->clock_tid);
    uint64_t ran, queued;

    if (tid && ctx == current && stub_as_lone_time(ctx->thread->as, &ran))
        return ran;
    return tid && hostproc_thread_times(tid, &ran, &queued) == 0 ? ran : 0;
}

/* There are two sources, one of them only nearly right: time must not go backwards for that. */
static uint64_t cpu_time(struct platform_context *base)
{
    struct stub_context *ctx = to_ctx(base);
    unsigned long long now = atomic_load(&ctx->cpu_time_before) + thread_cpu_time(ctx), told = atomic_load(&ctx->cpu_time_told);

    if ((long long)now < 0) /* a thread that ran for others before */
        now = 0;
    while (now > told && !atomic_compare_exchange_weak(&ctx->cpu_time_told, &told, now))
        ;
    return now > told ? now : told;
}

static void drop_thread(struct stub_context *ctx)
{
    if (!ctx->thread)
        return;
    if (ctx->unmap.len)
        stub_context_put_unmap(ctx, (struct stub_range){0});
    atomic_store(&ctx->clock_tid, 0);
    stub_thread_put(ctx->thread);
    ctx->thread = NULL;
}

/* Has the thread do something for the sentry while the guest is stopped. */
static int have_done(struct stub_context *ctx, uint32_t command)
{
    bool parked = !ctx->awake;
    int r;

    if (atomic_load(&ctx->thread->as->dead))
        return -ESRCH;
    r = handoff(ctx, ctx->thread, command);
    if (parked)
        place_park(ctx);
    return r;
}

/* Makes the thread wait in a signal handler, with all of its state in the frame. */
static int to_frame(struct stub_context *ctx)
{
    struct stub_thread *t = ctx->thread;
    int r;

    if (t->in_frame)
        return 0;
    r = have_done(ctx, COMMAND_TO_FRAME);
    if (r == 0)
        r = frame_find(t);
    if (r == 0)
        t->in_frame = true;
    return r;
}

/* The FP state that the thread has. */
static int fp_fetch(struct stub_context *ctx, void *buf)
{
    const struct fp_layout *fp = &ctx->base.p->fp;
    struct stub_thread *t = ctx->thread;
    int r;

    if (!t->in_frame && slot_fp_fits(fp)) {
        slot_fp_prepare(t);
        r = have_done(ctx, COMMAND_SAVE);
        if (r)
            return r;
        if (atomic_load_explicit(slot_u32(t, SLOT_HOW), memory_order_relaxed) == HOW_TRAMPOLINE) {
            slot_fp_get(t, fp, buf);
            return 0;
        }
        /* A kick came first and has made a frame. */
        r = frame_find(t);
        if (r)
            return r;
        t->in_frame = true;
    }
    r = to_frame(ctx);
    return r ? r : frame_fp_get(t, fp, buf);
}

static int fp_alloc(struct stub_context *ctx)
{
    if (!ctx->fp_pending)
        ctx->fp_pending = aligned_alloc(64, (ctx->base.p->fp.size + 63) & ~63UL);
    return ctx->fp_pending ? 0 : -ENOMEM;
}

static int fp_get(struct platform_context *base, void *buf)
{
    struct stub_context *ctx = to_ctx(base);

    if (ctx->fp_pending) {
        memcpy(buf, ctx->fp_pending, base->p->fp.size);
        return 0;
    }
    if (!ctx->thread) {
        fp_init_state(&base->p->fp, buf);
        return 0;
    }
    return fp_fetch(ctx, buf);
}

static int fp_set(struct platform_context *base, const void *buf)
{
    struct stub_context *ctx = to_ctx(base);
    int r = fp_alloc(ctx);

    if (r == 0)
        memcpy(ctx->fp_pending, buf, base->p->fp.size);
    return r;
}

static void fp_loaded(struct stub_context *ctx)
{
    free(ctx->fp_pending);
    ctx->fp_pending = NULL;
}

static void write_answers(struct stub_context *ctx)
{
    static const uint64_t valid = SLOT_MAGIC_VALUE, invalid = 0;
    unsigned char *slot = ctx->thread->slot;

    memcpy(slot + SLOT_ANSWERS, &ctx->answers, sizeof(ctx->answers));
    memcpy(slot + SLOT_ANSWERS_MAGIC, ctx->have_answers ? &valid : &invalid, sizeof(valid));
}

static void set_answers(struct platform_context *base, const struct platform_answers *answers)
{
    struct stub_context *ctx = to_ctx(base);

    ctx->have_answers = answers != NULL;
    if (answers)
        ctx->answers = *answers;
    if (ctx->thread)
        write_answers(ctx);
}

/* The time that it used there is kept; the FP state is not. */
void stub_context_leave(struct stub_context *ctx)
{
    atomic_fetch_add(&ctx->cpu_time_before, thread_cpu_time(ctx));
    drop_thread(ctx);
}

static int enter_as(struct stub_context *ctx, struct stub_as *as)
{
    bool fresh_fp;
    int r;

    if (ctx->thread && !ctx->fp_pending) {
        /* The FP state moves along, unless the old address space is no more. */
        r = fp_alloc(ctx);
        if (r)
            return r;
        r = fp_fetch(ctx, ctx->fp_pending);
        if (r)
            fp_init_state(&ctx->base.p->fp, ctx->fp_pending);
    }
    if (ctx->thread)
        atomic_fetch_add(&ctx->cpu_time_before, thread_cpu_time(ctx));
    drop_thread(ctx);
    r = stub_thread_get(as, &ctx->thread, &fresh_fp);
    if (r)
        return r;
    atomic_store(&ctx->clock_tid, ctx->thread->tid);
    if (!fresh_fp) /* it has run for others before */
        atomic_fetch_sub(&ctx->cpu_time_before, thread_cpu_time(ctx));
    if (!fresh_fp && !ctx->fp_pending) {
        r = fp_alloc(ctx);
        if (r)
            return r;
        fp_init_state(&ctx->base.p->fp, ctx->fp_pending);
    }
    write_answers(ctx);
    return 0;
}

static void context_destroy(struct platform_context *base)
{
    struct stub_context *ctx = to_ctx(base);

    place_release(ctx);
    drop_thread(ctx);
    if (current == ctx)
        current = NULL;
    free(ctx->fp_pending);
    free(ctx);
}

/* --- running --- */

/* Hands the registers to the thread; returns the command that makes it use them, or a negative errno. */
static int put_regs(struct stub_context *ctx, const struct guest_regs *regs)
{
    const struct fp_layout *fp = &ctx->base.p->fp;
    struct stub_thread *t = ctx->thread;
    uint64_t fs = ctx->last_fs;
    int r;

    /* The trampoline code needs gs for itself, and would be traced by a set trap flag. */
    if (regs->gs_base || (regs->rflags & RFLAGS_TF) || (unlikely(ctx->fp_pending) && !slot_fp_fits(fp))) {
        r = to_frame(ctx);
        if (r)
            return r;
    }
    if (t->in_frame) {
        struct guest_regs real = *regs;

        if (unlikely(ctx->fp_pending)) {
            r = frame_fp_set(t, fp, ctx->fp_pending);
            fp_loaded(ctx);
            if (r)
                return r;
        }
        if (regs->rip == ctx->reported_rip)
            real.rip = ctx->real_rip;
        frame_write(t, &real);
        return COMMAND_RUN;
    }
    memcpy(t->slot + SLOT_REGS, regs, sizeof(*regs));
    if (regs->rip == ctx->reported_rip)
        memcpy(t->slot + SLOT_REGS + REGS_RIP, &ctx->real_rip, sizeof(ctx->real_rip));
    if (unlikely(ctx->fp_pending)) {
        slot_fp_set(t, fp, ctx->fp_pending);
        return COMMAND_RUN_LOAD;
    }
    return regs->fs_base == fs && ctx->fs_loaded ? COMMAND_RUN : COMMAND_RUN_SETFS;
}

/* Says that guest code may run now, which it must not while program text is being changed. */
static void enter_guest(struct stub_thread *t)
{
    for (;;) {
        atomic_store(&t->in_guest, true);
        if (likely(!atomic_load(&t->as->patching)))
            return;
        atomic_store(&t->in_guest, false);
        mutex_lock(&t->as->patch_lock);
        mutex_unlock(&t->as->patch_lock);
    }
}

/* Takes what the thread left. Returns 1 for an event, 0 if the thread is to go on with `regs`, or a negative errno. */
static int get_event(struct stub_context *ctx, uint32_t how, struct guest_regs *regs, struct platform_event *ev)
{
    struct stub_thread *t = ctx->thread;

    if (likely(how == HOW_TRAMPOLINE)) {
        t->in_frame = false;
        memcpy(regs, t->slot + SLOT_REGS, sizeof(*regs));
        if (regs->fs_base >= PLATFORM_TASK_SIZE)
            regs->fs_base = 0;
        regs->gs_base = 0;
        ev->kind = PLATFORM_EVENT_SYSCALL;
        ctx->reported_rip = 0;
        if (regs->rip >= STUB_TRAMPOLINES)
            site_resolve(ctx, t->as, regs, ev);
        return 1;
    }
    if (frame_find(t))
        return -ESRCH;
    t->in_frame = true;
    if (how == HOW_ABORTED) {
        /* The registers are as they were given. */
        *ev = (struct platform_event){.kind = PLATFORM_EVENT_INTERRUPTED};
    } else {
        frame_read(t, regs, ev);
        if (ev->kind == PLATFORM_EVENT_SYSCALL && regs->rip < STUB_CODE)
            site_called(ctx, t->as, regs->rip, regs->rax);
        if (!site_resolve(ctx, t->as, regs, ev))
            return 0;
    }
    /* The interrupt that the kick was for is looked at before the next turn. */
    return ev->kind != PLATFORM_EVENT_INTERRUPTED;
}

static int run(struct platform_context *base, struct platform_as *as_base, struct guest_regs *regs, struct platform_event *ev)
{
    struct stub_context *ctx = to_ctx(base);
    struct stub_as *as = container_of(as_base, struct stub_as, base);
    uint32_t how;
    int r;

    current = ctx;
    if (unlikely(!ctx->thread || ctx->thread->as != as)) {
        r = enter_as(ctx, as);
        if (r)
            return r;
        ctx->fs_loaded = false;
    }
    do {
        place_before_run(ctx);
        if (unlikely(atomic_load_explicit(&ctx->interrupted, memory_order_relaxed)) &&
            atomic_exchange(&ctx->interrupted, false)) {
            *ev = (struct platform_event){.kind = PLATFORM_EVENT_INTERRUPTED};
            return 0;
        }
        if (unlikely(atomic_load_explicit(&as->dead, memory_order_relaxed)))
            return -ESRCH;
        r = put_regs(ctx, regs);
        if (r < 0)
            return -ESRCH;
        enter_guest(ctx->thread);
        r = handoff(ctx, ctx->thread, (uint32_t)r);
        atomic_store_explicit(&ctx->thread->in_guest, false, memory_order_release);
        if (r)
            return r;
        how = atomic_load_explicit(slot_u32(ctx->thread, SLOT_HOW), memory_order_relaxed);
        r = get_event(ctx, how, regs, ev);
        /* A thread that was stopped on its way into guest code may not have come that far: it tries again. */
        if (unlikely(ctx->fp_pending) && how != HOW_ABORTED)
            fp_loaded(ctx);
        if (unlikely(ctx->unmap.len) && (r < 0 || ev->kind != PLATFORM_EVENT_INTERRUPTED))
            stub_context_put_unmap(ctx, (struct stub_range){0});
        ctx->fs_loaded = true;
        ctx->last_fs = regs->fs_base;
    } while (r == 0);
    return r < 0 ? r : 0;
}

static void interrupt(struct platform_context *base)
{
    struct stub_context *ctx = to_ctx(base);

    atomic_store(&ctx->interrupted, true);
    stub_kick(ctx);
}

static void destroy(struct platform *base)
{
    stub_platform_destroy(container_of(base, struct stub_platform, base));
}

const struct platform_vtable stub_vtable = {
    .destroy = destroy,
    .as_create = stub_as_create,
    .as_destroy = stub_as_destroy,
    .as_apply = stub_as_apply,
    .as_unmap_later = stub_as_unmap_later,
    .context_create = context_create,
    .context_destroy = context_destroy,
    .set_answers = set_answers,
    .run = run,
    .interrupt = interrupt,
    .park = park,
    .fp_get = fp_get,
    .fp_set = fp_set,
    .cpu_time = cpu_time,
};
