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
    put_u64(t->slot, SLOT_FP_FEATURES, t->as->base.p->fp.features);
    memcpy(t->slot + SLOT_SIGSTACK, &sigstack, sizeof(sigstack));
    atomic_store(slot_u32(t, SLOT_TURN), TURN_SENTRY);
}

static struct stub_thread *thread_alloc(struct stub_as *as, int *err) REQUIRES(as->lock)
{
    struct stub_platform *p = platform_of(as);
    bool mapped = as->slots_used < as->proc.nr_slots;
    struct stub_thread *t;
    int64_t slot;

    *err = -EAGAIN;
    if (STUB_SLOTS + (as->slots_used + 1) * SLOT_SIZE > STUB_SLOTS_END)
        return NULL;
    *err = -ENOMEM;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    slot = mapped ? (int64_t)as->proc.slots[as->slots_used] : arena_alloc(&p->arena, ARENA_SLOT);
    if (slot < 0) {
        free(t);
        return NULL;
    }
    t->as = as;
    t->fresh = true;
    t->slot_mapped = mapped;
    t->slot_off = (uint64_t)slot;
    t->slot = arena_ptr(&p->arena, t->slot_off);
    t->slot_va = STUB_SLOTS + as->slots_used * SLOT_SIZE;
    list_init(&t->idle_node);
    slot_init(t);
    as->slots_used++;
    list_add(&t->node, &as->threads);
    return t;
}

/*
 * The operations that map the slot and start the thread. A forked process gets its family's memory on the way: it will soon
 * come to a rewritten site.
 */
static size_t birth_ops(struct stub_as *as, struct stub_thread *t, struct mapper_op ops[STUB_BIRTH_OPS]) REQUIRES(as->lock)
{
    const uint64_t fd = (uint64_t)platform_of(as)->arena.fd;
    struct stub_family *f = atomic_load(&as->family);
    size_t n = 0;

    t->with_family = f && !as->family_mapped && stub_family_used(f);
    if (t->with_family) {
        stub_family_map_ops(f, ops);
        n = 2;
    }
    if (!t->slot_mapped) {
        ops[n++] = (struct mapper_op){SYS_mmap, {t->slot_va, SLOT_RO, PROT_READ, MAP_SHARED | MAP_FIXED, fd, t->slot_off}};
        ops[n++] = (struct mapper_op){SYS_mmap,
                                      {t->slot_va + SLOT_RO, SLOT_SIZE - SLOT_RO, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_FIXED, fd, t->slot_off + SLOT_RO}};
    }
    ops[n++] = (struct mapper_op){SYS_clone, {THREAD_CLONE_FLAGS, 0, 0, t->slot_va + SLOT_TID, 0, t->slot_va}};
    return n;
}

/* Takes note of what the mapper did of them. A thread that was not started keeps its slot, which may be mapped, to the end. */
static int born(struct stub_as *as, struct stub_thread *t, size_t n, int done, int64_t last) REQUIRES(as->lock)
{
    if (done >= 2 && t->with_family)
        as->family_mapped = true;
    if (done < (int)n)
        return last < 0 ? (int)last : -EAGAIN;
    t->tid = (pid_t)last;
    t->pinned_cpu = as->proc.mapper_cpu;
    return 0;
}

size_t stub_thread_prepare(struct stub_as *as, struct mapper_op *ops, struct stub_thread **out)
{
    int err;

    *out = thread_alloc(as, &err);
    return *out ? birth_ops(as, *out, ops) : 0;
}

void stub_thread_prepared(struct stub_as *as, struct stub_thread *t, size_t n, int done, int64_t last)
{
    if (born(as, t, n, done, last) == 0)
        list_add(&t->idle_node, &as->idle_threads);
}

static int thread_create(struct stub_as *as, struct stub_thread **out) REQUIRES(as->lock)
{
    struct mapper_op ops[STUB_BIRTH_OPS];
    int64_t last = 0;
    size_t n;
    int r;

    *out = thread_alloc(as, &r);
    if (!*out)
        return r;
    n = birth_ops(as, *out, ops);
    r = mapper_run(as, ops, n, &last);
    return r < 0 ? r : born(as, *out, n, r, last);
}

int stub_thread_get(struct stub_as *as, struct stub_thread **out, bool *fresh_fp)
{
    int r = 0;

    mutex_lock(&as->lock);
    if (list_empty(&as->idle_threads)) {
        r = thread_create(as, out);
    } else {
        *out = list_first_entry(&as->idle_threads, struct stub_thread, idle_node);
        list_del_init(&(*out)->idle_node);
    }
    if (r == 0) {
        (*out)->owned = true;
        as->nr_owned++;
        *fresh_fp = (*out)->fresh;
        (*out)->fresh = false;
        ref_get(&as->refs);
    }
    mutex_unlock(&as->lock);
    return r;
}

void stub_thread_free(struct stub_thread *t)
{
    if ((t->slot_va - STUB_SLOTS) / SLOT_SIZE >= t->as->proc.nr_slots)
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
    as->nr_owned--;
    if (as->buried)
        stub_thread_free(t);
    else
        list_add(&t->idle_node, &as->idle_threads);
    mutex_unlock(&as->lock);
    stub_as_put(as);
}
