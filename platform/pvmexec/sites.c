/* Hot system-call sites: counting them, rewriting them, finding them again. */
#include "platform/pvmexec/sites.h"

#include "lib/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

/* A rewrite costs what a handful of signals cost, once; short programs should not pay for calls that they make twice. */
#define HOT        6
#define UNSUITABLE 0xffff
/* After so many attempts that found other threads in guest code, these are stopped for the next. */
#define STUBBORN 8

#define CHUNK   64
#define BUCKETS 256

struct stub_family {
    struct refcount refs;
    struct stub_platform *p;
    uint64_t off; /* file offset of the table; trampolines follow it */
    struct mutex lock;
    atomic_uint n; /* entries below are immutable; grown under `lock` */
    _Atomic(struct site *) chunks[TRAMPOLINES_MAX / CHUNK];
    uint16_t buckets[BUCKETS] GUARDED_BY(lock); /* index + 1 of the newest site with that hash */
    uint16_t chain[TRAMPOLINES_MAX] GUARDED_BY(lock);
};

static struct stub_platform *platform_of(const struct stub_as *as)
{
    return container_of(as->base.p, struct stub_platform, base);
}

static struct stub_family *family_create(struct stub_platform *p)
{
    struct stub_family *f = calloc(1, sizeof(*f));
    int64_t off;

    if (!f)
        return NULL;
    off = arena_alloc(&p->arena, ARENA_FAMILY);
    if (off < 0) {
        free(f);
        return NULL;
    }
    ref_init(&f->refs);
    mutex_init(&f->lock);
    f->p = p;
    f->off = (uint64_t)off;
    return f;
}

void stub_family_get(struct stub_family *f)
{
    ref_get(&f->refs);
}

void stub_family_put(struct stub_family *f)
{
    if (!f || !ref_put(&f->refs))
        return;
    /* Of a family without sites, not even the pages of the file exist. */
    arena_free(&f->p->arena, ARENA_FAMILY, f->off);
    for (size_t i = 0; i < ARRAY_SIZE(f->chunks); i++)
        free(atomic_load(&f->chunks[i]));
    mutex_fini(&f->lock);
    free(f);
}

bool stub_family_used(const struct stub_family *f)
{
    return atomic_load(&f->n) > 0;
}

void stub_family_map_ops(const struct stub_family *f, struct mapper_op ops[2])
{
    const uint64_t table_len = STUB_TABLE_END - STUB_TABLE;

    ops[0] = (struct mapper_op){SYS_mmap,
                                {STUB_TABLE, table_len, PROT_READ, MAP_SHARED | MAP_FIXED, (uint64_t)f->p->arena.fd, f->off}};
    ops[1] = (struct mapper_op){SYS_mmap,
                                {STUB_TRAMPOLINES, TRAMPOLINES_MAX * TRAMPOLINE_SIZE, PROT_READ | PROT_EXEC,
                                 MAP_SHARED | MAP_FIXED, (uint64_t)f->p->arena.fd, f->off + table_len}};
}

static struct site *site_at(const struct stub_family *f, unsigned int index)
{
    return &atomic_load_explicit(&f->chunks[index / CHUNK], memory_order_acquire)[index % CHUNK];
}

static unsigned int hash(uint64_t addr)
{
    return (unsigned int)((addr * 0x9e3779b97f4a7c15ULL) >> 56) % BUCKETS;
}

/* The entry for a site like `s`, made if need be; negative when there is no room. */
static int family_add(struct stub_family *f, struct site *s)
{
    unsigned char *memory = arena_ptr(&f->p->arena, f->off);
    unsigned int h = hash(s->resume), n;
    uint64_t target;
    int index = -ENOSPC;

    mutex_lock(&f->lock);
    for (unsigned int i = f->buckets[h]; i; i = f->chain[i - 1]) {
        const struct site *old = site_at(f, i - 1);

        if (old->start == s->start && old->resume == s->resume && old->form == s->form && old->imm == s->imm) {
            *s = *old;
            index = (int)i - 1;
            goto out;
        }
    }
    n = atomic_load(&f->n);
    if (n == TRAMPOLINES_MAX)
        goto out;
    if (n % CHUNK == 0) {
        struct site *chunk = calloc(CHUNK, sizeof(*chunk));

        if (!chunk)
            goto out;
        atomic_store(&f->chunks[n / CHUNK], chunk);
    }
    s->index = (uint16_t)n;
    site_generate(s, memory + (STUB_TABLE_END - STUB_TABLE) + n * TRAMPOLINE_SIZE);
    target = STUB_TRAMPOLINES + n * TRAMPOLINE_SIZE;
    memcpy(memory + n * sizeof(target), &target, sizeof(target));
    *site_at(f, n) = *s;
    f->chain[n] = f->buckets[h];
    f->buckets[h] = (uint16_t)(n + 1);
    atomic_store_explicit(&f->n, n + 1, memory_order_release);
    index = (int)n;
out:
    mutex_unlock(&f->lock);
    return index;
}

/* The site whose trampoline `rip` is in, or NULL. */
static const struct site *site_of_trampoline(const struct stub_as *as, uint64_t rip, enum site_place *place)
{
    const struct stub_family *f = atomic_load_explicit(&as->family, memory_order_acquire);
    uint64_t off = rip - STUB_TRAMPOLINES;
    const struct site *s;

    if (!f || off / TRAMPOLINE_SIZE >= atomic_load_explicit(&f->n, memory_order_acquire))
        return NULL;
    s = site_at(f, (unsigned int)(off / TRAMPOLINE_SIZE));
    *place = site_place_of(s, (unsigned int)(off % TRAMPOLINE_SIZE));
    return s;
}

/* Finds by the address behind the syscall instruction. */
static const struct site *find_by_resume(struct stub_family *f, uint64_t resume, enum site_form form)
{
    const struct site *found = NULL;

    mutex_lock(&f->lock);
    for (unsigned int i = f->buckets[hash(resume)]; i && !found; i = f->chain[i - 1]) {
        const struct site *s = site_at(f, i - 1);

        if (s->resume == resume && s->form == form)
            found = s;
    }
    mutex_unlock(&f->lock);
    return found;
}

/* The site that has `rip` inside of its replaced bytes, provided that this address space has them replaced; else NULL. */
static const struct site *site_around(const struct stub_as *as, uint64_t rip)
{
    struct stub_family *f = atomic_load_explicit(&as->family, memory_order_acquire);
    unsigned char bytes[8];
    const struct site *s;

    if (!f || !as->text)
        return NULL;
    s = find_by_resume(f, rip + 2, SITE_MOV);
    if (!s || s->start + s->len <= rip)
        s = find_by_resume(f, rip, SITE_CMP);
    if (!s || as->text->read(as->owner, s->start, bytes, s->len) || memcmp(bytes, s->new_bytes, s->len))
        return NULL;
    return s;
}

/* Where a thread goes on after a call from `s`: behind it, or in its trampoline. */
static uint64_t site_continuation(const struct site *s)
{
    return s->form == SITE_MOV ? s->resume : STUB_TRAMPOLINES + s->index * TRAMPOLINE_SIZE + site_cmp_continuation;
}

/* Puts the thread behind the syscall instruction of `s`. */
static void behind_call(struct stub_context *ctx, const struct site *s, struct guest_regs *regs)
{
    regs->rip = s->resume;
    ctx->reported_rip = s->resume;
    ctx->real_rip = site_continuation(s);
}

static void make_call(struct stub_context *ctx, const struct site *s, struct guest_regs *regs, struct platform_event *ev)
{
    behind_call(ctx, s, regs);
    regs->rcx = regs->rip;
    regs->r11 = regs->rflags;
    *ev = (struct platform_event){.kind = PLATFORM_EVENT_SYSCALL};
}

static void resolve_in_trampoline(struct stub_context *ctx, const struct site *s, enum site_place place,
                                  struct guest_regs *regs, struct platform_event *ev)
{
    switch (place) {
    case SITE_BEFORE:
        if (ev->kind == PLATFORM_EVENT_INTERRUPTED) {
            regs->rip = s->start;
            return;
        }
        /* The check of gs has faulted, or the guest single-steps: it is as good as at the call. */
        if (s->form == SITE_MOV)
            regs->rax = s->imm;
        make_call(ctx, s, regs, ev);
        return;
    case SITE_CALLED:
    case SITE_AFTER:
        behind_call(ctx, s, regs);
        if (ev->kind == PLATFORM_EVENT_SYSCALL)
            regs->rcx = regs->rip;
        return;
    case SITE_DONE:
        regs->rip = s->start + s->len;
        return;
    }
}

bool site_resolve(struct stub_context *ctx, struct stub_as *as, struct guest_regs *regs, struct platform_event *ev)
{
    enum site_place place;
    const struct site *s;

    ctx->reported_rip = 0;
    /* The first jump in a process that was forked from one with rewritten sites. */
    if (ev->kind == PLATFORM_EVENT_FAULT && ev->addr >= STUB_TABLE && ev->addr < STUB_TABLE_END && atomic_load(&as->family) &&
        stub_family_map(as) == 0)
        return false;
    s = site_of_trampoline(as, regs->rip, &place);
    if (s) {
        resolve_in_trampoline(ctx, s, place, regs, ev);
        return true;
    }
    if (ev->kind != PLATFORM_EVENT_EXCEPTION || !(ev->signo == SIGILL || (ev->signo == SIGSEGV && ev->trapno == 13)))
        return true;
    s = site_around(as, regs->rip);
    if (!s)
        return true;
    if (s->form == SITE_MOV) {
        make_call(ctx, s, regs, ev);
        return true;
    }
    behind_call(ctx, s, regs);
    return false;
}

struct stub_family *stub_family_of(struct stub_as *as)
{
    struct stub_family *f;

    mutex_lock(&as->lock);
    f = atomic_load(&as->family);
    if (!f) {
        f = family_create(platform_of(as));
        atomic_store(&as->family, f);
    }
    mutex_unlock(&as->lock);
    return f;
}

int stub_family_map(struct stub_as *as)
{
    struct stub_family *f = atomic_load(&as->family);
    struct mapper_op ops[2];
    int64_t last;
    int r = 0;

    mutex_lock(&as->lock);
    if (!as->family_mapped) {
        stub_family_map_ops(f, ops);
        r = mapper_run(as, ops, 2, &last);
        as->family_mapped = r == 2;
        r = r == 2 ? 0 : r < 0 ? r : -ENOMEM;
    } else {
        r = -EEXIST;
    }
    mutex_unlock(&as->lock);
    return r;
}

/* Replaces bytes that may lie in two cache lines; nobody executes them meanwhile. */
static int patch_bytes(struct stub_as *as, const struct site *s)
{
    size_t first = 64 - s->start % 64;
    int r;

    if (first > s->len)
        first = s->len;
    r = as->text->patch(as->owner, s->start, s->old_bytes, s->new_bytes, first);
    if (r || first == s->len)
        return r;
    r = as->text->patch(as->owner, s->start + first, s->old_bytes + first, s->new_bytes + first, s->len - first);
    if (r && as->text->patch(as->owner, s->start, s->new_bytes, s->old_bytes, first))
        stub_as_kill(as); /* half a jump must not be executed */
    return r;
}

static bool guests_are_out(struct stub_as *as, bool kick)
{
    struct stub_thread *t;
    bool out = true;

    mutex_lock(&as->lock);
    list_for_each_entry(t, &as->threads, node) {
        if (!atomic_load(&t->in_guest))
            continue;
        out = false;
        if (kick)
            syscall(SYS_tgkill, as->proc.pid, t->tid, PLATFORM_KICK_SIGNAL);
    }
    mutex_unlock(&as->lock);
    return out;
}

/*
 * Keeps all contexts out of guest code until `patching` is cleared. Gives up if some are there and `insist` is not set; if it
 * is, kicks them out, repeatedly, since a kick that comes just before a thread enters is lost.
 */
static bool stop_guests(struct stub_as *as, bool insist)
{
    const struct timespec pause = {.tv_nsec = 20000};

    atomic_store(&as->patching, true);
    for (int tries = 0; !guests_are_out(as, insist); tries++) {
        if (!insist || tries == 100)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* With patch_lock held. */
static int rewrite_locked(struct stub_as *as, uint64_t rip, uint64_t nr, bool insist)
{
    struct stub_family *f;
    struct site s = {0};
    int r;

    if (!site_recognise(as, rip, nr, &s))
        return -ENOENT;
    f = stub_family_of(as);
    if (!f)
        return -ENOMEM;
    r = stub_family_map(as);
    if (r < 0 && r != -EEXIST)
        return r;
    r = family_add(f, &s);
    if (r < 0)
        return r;
    r = stop_guests(as, insist) ? patch_bytes(as, &s) : -EBUSY;
    atomic_store(&as->patching, false);
    return r;
}

/* -EBUSY if it is worth to try again. */
static int rewrite(struct stub_as *as, uint64_t rip, uint64_t nr, bool insist)
{
    int r;

    if (!mutex_trylock(&as->patch_lock))
        return -EBUSY;
    r = rewrite_locked(as, rip, nr, insist);
    mutex_unlock(&as->patch_lock);
    return r;
}

void site_called(struct stub_context *ctx, struct stub_as *as, uint64_t rip, uint64_t nr)
{
    struct site_heat *heat = &ctx->heat[hash(rip) % ARRAY_SIZE(ctx->heat)];
    int r;

    if (!as->text)
        return;
    if (heat->rip != rip) {
        /* A hot site keeps its entry against a few passers-by. */
        if (heat->count > 0 && heat->count != UNSUITABLE && heat->count-- > 1)
            return;
        heat->rip = rip;
        heat->count = 0;
        heat->busy = 0;
    }
    if (heat->count == UNSUITABLE || ++heat->count < HOT)
        return;
    r = rewrite(as, rip, nr, heat->busy >= STUBBORN);
    heat->busy++;
    heat->count = r == -EBUSY ? 0 : UNSUITABLE;
    log_debug("pvmexec:stub: site before %#lx of call %lu: %s", (unsigned long)rip, (unsigned long)nr,
              r == 0 ? "rewritten" : strerror(-r));
}
