/* Address spaces of the stub engine: each has a stub process, new from the zygote or one that served another before. */
#include "platform/pvmexec/sites.h"
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define LONE_TIME_MAX 5000000ULL /* ns */

/* Costs a fraction of what it costs to ask for a thread of another process. */
static uint64_t process_time(pid_t pid)
{
    const clockid_t clock = (clockid_t)(~(unsigned int)pid << 3 | 2); /* see clock_getcpuclockid(3) */
    struct timespec ts;

    return clock_gettime(clock, &ts) == 0 ? (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec : 0;
}

bool stub_as_lone_time(struct stub_as *as, uint64_t *ns)
{
    struct place *s = &container_of(as->base.p, struct stub_platform, base)->place;
    uint64_t all, mapper;
    bool ok;

    mutex_lock(&as->lock);
    all = process_time(as->proc.pid);
    ok = as->slots_used == 1 && all >= as->clock_start && all - as->clock_start < LONE_TIME_MAX;
    mapper = as->mapper_ticks * 1000 / s->tsc_per_us;
    mutex_unlock(&as->lock);
    if (ok) {
        all -= as->clock_start;
        *ns = all > mapper ? all - mapper : 0;
    }
    return ok;
}

void stub_as_kill(struct stub_as *as)
{
    if (!atomic_exchange(&as->dead, true))
        kill(as->proc.pid, SIGKILL);
}

int stub_as_create(struct platform *base, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                   struct platform_as **out)
{
    struct stub_platform *p = container_of(base, struct stub_platform, base);
    struct stub_as *as;
    int r;

    stub_reap_zombies(p, false);
    as = calloc(1, sizeof(*as));
    if (!as)
        return -ENOMEM;
    r = stub_take_spare(p, &as->proc) ? 0 : zygote_take(p, &as->proc);
    if (r) {
        free(as);
        return r;
    }
    as->base.p = base;
    as->clock_start = process_time(as->proc.pid);
    as->text = ops;
    as->owner = owner;
    ref_init(&as->refs);
    mutex_init(&as->lock);
    mutex_init(&as->patch_lock);
    list_init(&as->threads);
    list_init(&as->zombie_node);
    list_init(&as->idle_threads);
    if (fork_of) {
        /* Even if it has no sites yet: it may get some before the owner has copied the text. */
        struct stub_family *f = stub_family_of(container_of(fork_of, struct stub_as, base));

        if (f) {
            stub_family_get(f);
            atomic_store(&as->family, f);
        }
    }
    *out = &as->base;
    return 0;
}

void stub_as_put(struct stub_as *as)
{
    if (!ref_put(&as->refs))
        return;
    stub_family_put(atomic_load(&as->family));
    mutex_fini(&as->patch_lock);
    mutex_fini(&as->lock);
    free(as);
}

void stub_as_destroy(struct platform_as *base)
{
    struct stub_as *as = container_of(base, struct stub_as, base);
    const struct mapper_op unmap[] = {{SYS_munmap, {0, STUB_CODE}},
                                      {SYS_munmap, {STUB_TRAMPOLINES, TRAMPOLINES_MAX * TRAMPOLINE_SIZE}}};
    struct stub_context *own = stub_own_context(as);
    int64_t last;
    bool working, gone;
    int n;

    if (own)
        stub_context_leave(own);
    mutex_lock(&as->lock);
    gone = stub_dismiss_threads(as);
    /*
     * The owner will give its memory to others, and a hijacked thread may still be running. With the guest's memory gone, the
     * process may do what it likes.
     */
    n = as->family_mapped ? 2 : 1;
    working = mapper_run(as, unmap, (size_t)n, &last) == n;
    if (working && !gone)
        gone = stub_await_threads(as);
    atomic_store(&as->dead, true);
    mutex_unlock(&as->lock);
    stub_retire(as, working, gone);
}

static void op_to_call(const struct platform_op *op, struct mapper_op *call)
{
    *call = (struct mapper_op){.args = {op->addr, op->len}};
    switch (op->kind) {
    case PLATFORM_MAP:
        call->nr = SYS_mmap;
        call->args[2] = (uint64_t)op->prot;
        call->args[3] = MAP_SHARED | MAP_FIXED | (op->populate ? MAP_POPULATE : 0);
        call->args[4] = (uint64_t)op->fd;
        call->args[5] = op->offset;
        break;
    case PLATFORM_UNMAP:
        call->nr = SYS_munmap;
        break;
    case PLATFORM_PROTECT:
        call->nr = SYS_mprotect;
        call->args[2] = (uint64_t)op->prot;
        break;
    }
}

/* One go of the mapper. An address space that has no thread yet will need one next, which is cheap to make on the way. */
static int apply_batch(struct stub_as *as, const struct platform_op *ops, size_t n) REQUIRES(as->lock)
{
    struct mapper_op calls[OPS_MAX];
    struct stub_thread *first = NULL;
    size_t needed[STUB_LATER], later = stub_later_begin(as, ops, n, calls, needed), total = later + n, extra = 0;
    int64_t last = 0;
    int r;

    for (size_t i = 0; i < n; i++)
        op_to_call(&ops[i], &calls[later + i]);
    if (list_empty(&as->threads) && total + STUB_BIRTH_OPS <= OPS_MAX)
        extra = stub_thread_prepare(as, calls + total, &first);
    r = mapper_run(as, calls, total + extra, &last);
    if (r < 0)
        return r;
    if (first)
        stub_thread_prepared(as, first, extra, r - (int)total, last);
    if (r >= (int)later)
        stub_later_end(as, (size_t)r - later, needed);
    if (r < (int)total)
        return last < 0 ? (int)last : -EIO;
    return 0;
}

int stub_as_apply(struct platform_as *base, const struct platform_op *ops, size_t n)
{
    struct stub_as *as = container_of(base, struct stub_as, base);
    struct stub_context *own = stub_own_context(as);
    int r = 0;

    if (own) {
        place_before_mapping(own);
        if (own->unmap.len)
            stub_context_put_unmap(own, (struct stub_range){0});
    }
    mutex_lock(&as->lock);
    while (n > 0 && r == 0) {
        size_t batch = n < OPS_MAX - STUB_LATER ? n : OPS_MAX - STUB_LATER;

        r = apply_batch(as, ops, batch);
        ops += batch;
        n -= batch;
    }
    mutex_unlock(&as->lock);
    return r;
}
