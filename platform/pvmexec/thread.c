/*
 * Stub threads and their slots. A thread outlives the context that it was made for: it waits, in its address space, for the
 * next one. It ends with its process, or when too many are idle.
 */
#include "platform/pvmexec/sites.h"
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define THREAD_CLONE_FLAGS \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID)

static struct stub_platform *platform_of(struct stub_as *as)
{
    return container_of(as->base.p, struct stub_platform, base);
}

static void put_u64(unsigned char *slot, uint32_t off, uint64_t value)
{
    memcpy(slot + off, &value, sizeof(value));
}

static void slot_init(struct stub_thread *t)
{
    stack_t sigstack = {.ss_sp = (void *)(t->slot_va + SLOT_STACK), .ss_size = SLOT_SIZE - SLOT_STACK};

    put_u64(t->slot, SLOT_MAGIC, SLOT_MAGIC_VALUE);
    put_u64(t->slot, SLOT_SELF, t->slot_va);
    memcpy(t->slot + SLOT_SIGSTACK, &sigstack, sizeof(sigstack));
    atomic_store(slot_u32(t, SLOT_TURN), TURN_SENTRY);
}

/*
 * Maps the slot and starts the thread, in one go of the mapper. A forked process gets its family's memory on the way: it will
 * soon come to a rewritten site.
 */
static int thread_start(struct stub_as *as, struct stub_thread *t) REQUIRES(as->lock)
{
    struct stub_platform *p = platform_of(as);
    struct stub_family *f = atomic_load(&as->family);
    bool map_family = f && !as->family_mapped && stub_family_used(f);
    struct mapper_op ops[] = {
        {0},
        {0},
        {SYS_mmap, {t->slot_va, SLOT_RO, PROT_READ, MAP_SHARED | MAP_FIXED, (uint64_t)p->arena.fd, t->slot_off}},
        {SYS_mmap,
         {t->slot_va + SLOT_RO, SLOT_SIZE - SLOT_RO, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, (uint64_t)p->arena.fd,
          t->slot_off + SLOT_RO}},
        {SYS_clone, {THREAD_CLONE_FLAGS, 0, 0, t->slot_va + SLOT_TID, 0, t->slot_va}},
    };
    int skip = map_family ? 0 : 2, n = (int)ARRAY_SIZE(ops) - skip, r;
    int64_t last;

    if (map_family)
        stub_family_map_ops(f, ops);
    r = mapper_run(as, ops + skip, (size_t)n, &last);
    if (r < 0)
        return r;
    if (map_family && r >= 2)
        as->family_mapped = true;
    if (r < n)
        return last < 0 ? (int)last : -EAGAIN;
    t->tid = (pid_t)last;
    t->pinned_cpu = as->mapper_cpu;
    return 0;
}

static int thread_create(struct stub_as *as, struct stub_thread **out) REQUIRES(as->lock)
{
    struct stub_platform *p = platform_of(as);
    struct stub_thread *t;
    int64_t slot;
    int r;

    if (STUB_SLOTS + (as->slots_used + 1) * SLOT_SIZE > STUB_SLOTS_END)
        return -EAGAIN;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    slot = arena_alloc(&p->arena, ARENA_SLOT);
    if (slot < 0) {
        free(t);
        return (int)slot;
    }
    t->as = as;
    t->pinned_cpu = -1;
    t->slot_off = (uint64_t)slot;
    t->slot = arena_ptr(&p->arena, t->slot_off);
    t->slot_va = STUB_SLOTS + as->slots_used * SLOT_SIZE;
    list_init(&t->idle_node);
    slot_init(t);
    as->slots_used++;
    list_add(&t->node, &as->threads);
    r = thread_start(as, t);
    if (r) {
        /* The slot may be mapped already: it is freed with the process. */
        return r;
    }
    t->owned = true;
    *out = t;
    return 0;
}

int stub_thread_get(struct stub_as *as, struct stub_thread **out, bool *fresh_fp)
{
    int r = 0;

    mutex_lock(&as->lock);
    if (!list_empty(&as->idle_threads)) {
        struct stub_thread *t = list_first_entry(&as->idle_threads, struct stub_thread, idle_node);

        list_del_init(&t->idle_node);
        t->owned = true;
        *fresh_fp = false;
        *out = t;
    } else {
        *fresh_fp = true;
        r = thread_create(as, out);
    }
    if (r == 0)
        ref_get(&as->refs);
    mutex_unlock(&as->lock);
    return r;
}

void stub_thread_free(struct stub_thread *t)
{
    arena_free(&platform_of(t->as)->arena, ARENA_SLOT, t->slot_off);
    list_del_init(&t->node);
    list_del_init(&t->idle_node);
    free(t);
}

void stub_thread_put(struct stub_thread *t)
{
    struct stub_as *as = t->as;

    mutex_lock(&as->lock);
    t->owned = false;
    if (as->buried)
        stub_thread_free(t);
    else
        list_add(&t->idle_node, &as->idle_threads);
    mutex_unlock(&as->lock);
    stub_as_put(as);
}
