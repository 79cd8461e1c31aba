/* See vma.h. */
#include "sentry/mm/vma.h"

#include "sentry/mm/mm_internal.h"

#include <stdlib.h>

/* Nothing else may be mapped from here on: a stack wants its guard gap below it. */
static uint64_t guarded_start(const struct vma *v)
{
    if (!(v->flags & VM_GROWSDOWN))
        return v->start;
    return v->start > STACK_GUARD ? v->start - STACK_GUARD : 0;
}

static void update_summary(struct avl_node *n)
{
    struct vma *v = vma_of(n), *l = vma_of(n->left), *r = vma_of(n->right);
    uint64_t start = guarded_start(v), gap = 0;

    v->min_start = l ? l->min_start : start;
    v->max_end = r ? r->max_end : v->end;
    if (l) {
        gap = l->max_gap;
        if (start > l->max_end && start - l->max_end > gap)
            gap = start - l->max_end;
    }
    if (r) {
        if (r->max_gap > gap)
            gap = r->max_gap;
        if (r->min_start > v->end && r->min_start - v->end > gap)
            gap = r->min_start - v->end;
    }
    v->max_gap = gap;
}

void vma_tree_init(struct mm *mm)
{
    mm->vmas.node = NULL;
    mm->vmas.update = update_summary;
    mm->nr_vmas = 0;
    atomic_init(&mm->vma_hint, NULL);
}

struct vma *vma_first(struct mm *mm)
{
    return vma_of(avl_first(&mm->vmas));
}

struct vma *vma_find(struct mm *mm, uint64_t addr)
{
    struct avl_node *n = mm->vmas.node;
    struct vma *best = NULL;

    while (n) {
        struct vma *v = vma_of(n);
        if (v->end > addr) {
            best = v;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

struct vma *vma_at(struct mm *mm, uint64_t addr)
{
    struct vma *v = atomic_load_explicit(&mm->vma_hint, memory_order_acquire);

    if (v && v->start <= addr && addr < v->end)
        return v;
    v = vma_find(mm, addr);
    if (!v || v->start > addr)
        return NULL;
    atomic_store_explicit(&mm->vma_hint, v, memory_order_release);
    return v;
}

bool vma_range_free(struct mm *mm, uint64_t start, uint64_t end)
{
    const struct platform_limits *l = &mm->s->limits;
    struct vma *v = vma_find(mm, start);

    if (start < l->hole_end && l->hole_start < end)
        return false;
    return !v || v->start >= end;
}

bool vma_range_sealed(struct mm *mm, uint64_t start, uint64_t end)
{
    for (struct vma *v = vma_find(mm, start); v && v->start < end; v = vma_next(v))
        if (v->flags & VM_SEALED)
            return true;
    return false;
}

struct vma *vma_alloc(void)
{
    return calloc(1, sizeof(struct vma));
}

/* Adds `len` bytes of a vma with `flags` to the sums, or takes them off. */
static void account(struct mm *mm, uint32_t flags, uint64_t len, bool add)
{
    uint64_t d = add ? len : 0 - len;

    mm->total_vm += d;
    if (flags & VM_GROWSDOWN)
        mm->stack_vm += d;
    else if ((flags & (VM_WRITE | VM_SHARED)) == VM_WRITE)
        mm->data_vm += d;
    else if ((flags & (VM_EXEC | VM_WRITE)) == VM_EXEC)
        mm->exec_vm += d;
    if (flags & VM_LOCKED)
        mm->locked_vm += d;
    if (mm->total_vm > mm->total_vm_peak)
        mm->total_vm_peak = mm->total_vm;
}

void vma_link(struct mm *mm, struct vma *v)
{
    struct avl_node **link = &mm->vmas.node, *parent = NULL;

    while (*link) {
        parent = *link;
        link = v->start < vma_of(parent)->start ? &parent->left : &parent->right;
    }
    avl_insert(&mm->vmas, &v->node, parent, link);
    mm->nr_vmas++;
    account(mm, v->flags, vma_len(v), true);
}

static void put_vma_file(struct mm *mm, struct vma_file *vf)
{
    if (!vf || --vf->nr_vmas > 0)
        return;
    vf->next_dead = mm->dead_files;
    mm->dead_files = vf;
}

void vma_remove(struct mm *mm, struct vma *v)
{
    if (atomic_load_explicit(&mm->vma_hint, memory_order_relaxed) == v)
        atomic_store_explicit(&mm->vma_hint, NULL, memory_order_relaxed);
    avl_remove(&mm->vmas, &v->node);
    mm->nr_vmas--;
    account(mm, v->flags, vma_len(v), false);
    put_vma_file(mm, v->vf);
    free(v);
}

void vma_set_range(struct mm *mm, struct vma *v, uint64_t start, uint64_t end)
{
    account(mm, v->flags, vma_len(v), false);
    if (v->vf)
        v->pgoff += start - v->start;
    v->special += start - v->start;
    v->start = start;
    v->end = end;
    account(mm, v->flags, vma_len(v), true);
    avl_update_up(&mm->vmas, &v->node);
}

void vma_set_flags(struct mm *mm, struct vma *v, uint32_t flags)
{
    account(mm, v->flags, vma_len(v), false);
    v->flags = flags;
    account(mm, v->flags, vma_len(v), true);
}

int vma_split(struct mm *mm, struct vma *v, uint64_t addr)
{
    struct vma *upper;

    if (mm->nr_vmas >= MAX_MAP_COUNT)
        return -ENOMEM;
    upper = vma_alloc();
    if (!upper)
        return -ENOMEM;
    *upper = *v;
    if (v->vf) {
        v->vf->nr_vmas++;
        upper->pgoff += addr - v->start;
    }
    upper->special += addr - v->start;
    upper->start = addr;
    /* Only the lowest part of a stack can go on growing; Linux keeps the flag on both all the same. */
    vma_set_range(mm, v, v->start, addr);
    vma_link(mm, upper);
    return 0;
}

int vma_cut(struct mm *mm, uint64_t start, uint64_t end)
{
    struct vma *v = vma_at(mm, start);
    int r = 0;

    if (v && v->start < start)
        r = vma_split(mm, v, start);
    v = vma_at(mm, end - 1);
    if (r == 0 && v && v->end > end)
        r = vma_split(mm, v, end);
    return r;
}

/* `b` begins where `a` ends. */
static bool can_merge(const struct vma *a, const struct vma *b)
{
    if (a->end != b->start || a->flags != b->flags || (a->flags & VM_SPECIAL))
        return false;
    if (!a->vf || !b->vf)
        return a->vf == b->vf;
    return a->vf->file == b->vf->file && a->vf->mapping.writable == b->vf->mapping.writable &&
           a->pgoff + vma_len(a) == b->pgoff;
}

/* Lets `a` take over b's range. */
static void absorb_next(struct mm *mm, struct vma *a, struct vma *b)
{
    uint64_t end = b->end;

    a->nr_filled += b->nr_filled;
    a->nr_copied += b->nr_copied;
    a->next_fault = b->next_fault;
    vma_remove(mm, b);
    vma_set_range(mm, a, a->start, end);
}

struct vma *vma_merge(struct mm *mm, struct vma *v)
{
    struct vma *prev = vma_prev(v), *next;

    if (prev && can_merge(prev, v)) {
        absorb_next(mm, prev, v);
        v = prev;
    }
    next = vma_next(v);
    if (next && can_merge(v, next))
        absorb_next(mm, v, next);
    return v;
}

struct gap_search {
    uint64_t low, high, len;
};

/* The part of the gap [lo, hi) that may be used; its size. */
static uint64_t clip_gap(const struct gap_search *g, uint64_t *lo, uint64_t *hi)
{
    if (*lo < g->low)
        *lo = g->low;
    if (*hi > g->high)
        *hi = g->high;
    return *hi > *lo ? *hi - *lo : 0;
}

/* Whether some gap about the subtree of `v`, which lies between `lo` and `hi`, can be wide enough. */
static bool worth_looking(const struct gap_search *g, const struct vma *v, uint64_t lo, uint64_t hi)
{
    if (lo >= g->high || hi <= g->low)
        return false;
    return v->max_gap >= g->len || (v->min_start > lo && v->min_start - lo >= g->len) ||
           (hi > v->max_end && hi - v->max_end >= g->len);
}

static uint64_t search_down(const struct gap_search *g, const struct avl_node *n, uint64_t lo, uint64_t hi)
{
    const struct vma *v;
    uint64_t found;

    if (!n)
        return clip_gap(g, &lo, &hi) >= g->len ? hi - g->len : 0;
    v = container_of(n, struct vma, node);
    if (!worth_looking(g, v, lo, hi))
        return 0;
    found = search_down(g, n->right, v->end, hi);
    return found ? found : search_down(g, n->left, lo, guarded_start(v));
}

static uint64_t search_up(const struct gap_search *g, const struct avl_node *n, uint64_t lo, uint64_t hi)
{
    const struct vma *v;
    uint64_t found;

    if (!n)
        return clip_gap(g, &lo, &hi) >= g->len ? lo : 0;
    v = container_of(n, struct vma, node);
    if (!worth_looking(g, v, lo, hi))
        return 0;
    found = search_up(g, n->left, lo, guarded_start(v));
    return found ? found : search_up(g, n->right, v->end, hi);
}

typedef uint64_t search_fn(const struct gap_search *g, const struct avl_node *n, uint64_t lo, uint64_t hi);

static uint64_t search(struct mm *mm, search_fn *fn, uint64_t low, uint64_t high, uint64_t len)
{
    struct gap_search g = {.low = low, .high = high, .len = len};

    return low < high ? fn(&g, mm->vmas.node, 0, UINT64_MAX) : 0;
}

uint64_t vma_find_gap_topdown(struct mm *mm, uint64_t low, uint64_t high, uint64_t len)
{
    const struct platform_limits *l = &mm->s->limits;
    uint64_t found;

    if (l->hole_start >= l->hole_end || l->hole_start >= high || l->hole_end <= low)
        return search(mm, search_down, low, high, len);
    found = search(mm, search_down, l->hole_end, high, len);
    return found ? found : search(mm, search_down, low, l->hole_start, len);
}

uint64_t vma_find_gap_bottomup(struct mm *mm, uint64_t low, uint64_t high, uint64_t len)
{
    const struct platform_limits *l = &mm->s->limits;
    uint64_t found;

    if (l->hole_start >= l->hole_end || l->hole_start >= high || l->hole_end <= low)
        return search(mm, search_up, low, high, len);
    found = search(mm, search_up, low, l->hole_start, len);
    return found ? found : search(mm, search_up, l->hole_end, high, len);
}
