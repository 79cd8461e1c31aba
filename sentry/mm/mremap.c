/* mremap(2): growing, shrinking and moving. The checks come in the order of Linux's mm/mremap.c. */
#include "sentry/mm/mm_internal.h"

#include <stdlib.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct remap {
    uint64_t old, old_len, new_len, new_addr;
    int flags;
};

/* Whether the vma at rq->old may become rq->new_len bytes long. */
static int check_resize(struct mm *mm, const struct mm_limits *lim, const struct remap *rq, struct vma **out)
{
    struct vma *v = vma_at(mm, rq->old);
    uint64_t more = rq->new_len - rq->old_len;
    int r;

    if (!v)
        return -EFAULT;
    *out = v;
    if (rq->old_len == 0 && !(v->flags & (VM_SHARED | VM_MAYSHARE)))
        return -EINVAL;
    if ((rq->flags & MREMAP_DONTUNMAP) && (v->flags & VM_SPECIAL))
        return -EINVAL;
    if (rq->old_len > v->end - rq->old)
        return -EFAULT;
    if (rq->new_len == rq->old_len)
        return 0;
    if (v->vf && vma_file_offset(v, rq->old) + rq->new_len > INT64_MAX)
        return -EINVAL;
    if (v->flags & (VM_SPECIAL | VM_DONTEXPAND))
        return -EFAULT;
    if (v->flags & VM_LOCKED) {
        r = mm_may_lock(mm, lim, more);
        if (r < 0)
            return r;
    }
    if (!mm_may_expand(mm, lim, v->flags, more) || !mm_may_commit(mm, v->flags, more))
        return -ENOMEM;
    return 0;
}

/* Moves the entries of [from, from+len) to `to`; the platform has neither mapped. Blocks for `to` are reserved. */
static void move_entries(struct mm *mm, uint64_t from, uint64_t to, uint64_t len)
{
    struct pte_run run;

    for (uint64_t at = from; at < from + len && ptab_next_run(&mm->pt, at, from + len, &run); at = run.end)
        ptab_set_run(&mm->pt, to + (run.start - from), to + (run.end - from), run.pte & ~(pte_t)(PTE_MAPPED | PTE_WRITE));
    ptab_clear(&mm->pt, from, from + len);
}

static int unmap_from_platform(struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t first = 0, last = 0;
    struct pte_run run;
    struct mm_batch b;
    int r;

    for (uint64_t at = start; at < end && ptab_next_run_with(&mm->pt, at, end, PTE_MAPPED, &run); at = run.end) {
        first = first ? first : run.start;
        last = run.end;
    }
    if (last == 0)
        return 0;
    mm_batch_init(&b, mm);
    mm_batch_unmap(&b, first, last);
    r = mm_batch_finish(&b, false);
    if (r == 0)
        ptab_change(&mm->pt, start, end, PTE_MAPPED | PTE_WRITE, 0);
    return r;
}

/* Blocks for the new places of the pages that are present. */
static int reserve_entries(struct mm *mm, uint64_t from, uint64_t to, uint64_t len)
{
    struct pte_run run;

    for (uint64_t at = from; at < from + len && ptab_next_run(&mm->pt, at, from + len, &run); at = run.end)
        if (ptab_reserve(&mm->pt, to + (run.start - from), to + (run.end - from)) < 0)
            return -ENOMEM;
    return 0;
}

/* Moves [old, old+old_len) of `v` to the free range at rq->new_addr. */
static int64_t move_vma(struct mm *mm, struct vma *v, const struct remap *rq)
{
    uint64_t len = rq->old_len < rq->new_len ? rq->old_len : rq->new_len;
    bool keep = rq->flags & MREMAP_DONTUNMAP;
    struct vma *to;
    int r;

    if (mm->nr_vmas + 2 >= MAX_MAP_COUNT - 3)
        return -ENOMEM;
    if (rq->old_len) {
        r = vma_cut(mm, rq->old, rq->old + rq->old_len);
        if (r < 0)
            return r;
        v = vma_at(mm, rq->old);
    }
    to = vma_alloc();
    if (!to)
        return -ENOMEM;
    r = reserve_entries(mm, rq->old, rq->new_addr, len);
    if (r == 0)
        r = unmap_from_platform(mm, rq->old, rq->old + len);
    if (r < 0) {
        free(to);
        return r;
    }
    to->start = rq->new_addr;
    to->end = rq->new_addr + rq->new_len;
    to->flags = v->flags;
    to->name = v->name;
    to->special = v->special + (rq->old - v->start);
    to->nr_filled = v->nr_filled;
    to->vf = v->vf;
    if (v->vf) {
        to->pgoff = vma_file_offset(v, rq->old);
        v->vf->nr_vmas++;
    }
    vma_link(mm, to);
    if (len)
        move_entries(mm, rq->old, rq->new_addr, len);
    if (keep) {
        vma_set_flags(mm, v, v->flags & ~(uint32_t)VM_LOCKED_MASK);
        v->nr_filled = 0;
    } else if (rq->old_len) {
        r = mm_unmap_locked(mm, rq->old, rq->old + rq->old_len);
        if (r < 0)
            mm->broken = true; /* there are no pages left that could refuse */
    }
    if (mm->layout.vdso == rq->old)
        mm->layout.vdso = rq->new_addr;
    /* What is present comes along at once; what the platform does not take in one go comes by faults. */
    r = mm_map_present(mm, rq->new_addr, rq->new_addr + rq->new_len, MM_BATCH_OPS, false);
    if (r < 0)
        mm->broken = true;
    if ((to->flags & VM_LOCKED_MASK) == VM_LOCKED)
        mm_populate_locked(mm, rq->new_addr, rq->new_addr + rq->new_len, false);
    vma_merge(mm, to);
    return (int64_t)rq->new_addr;
}

/* MREMAP_FIXED and MREMAP_DONTUNMAP. */
static int64_t remap_to(struct mm *mm, const struct mm_limits *lim, struct remap *rq)
{
    struct vma *v;
    int r;

    if ((rq->new_addr & ~GUEST_PAGE_MASK) || !mm_range_ok(mm, rq->new_addr, rq->new_len))
        return -EINVAL;
    if ((rq->flags & MREMAP_FIXED) && rq->old + rq->old_len > rq->new_addr && rq->new_addr + rq->new_len > rq->old)
        return -EINVAL;
    if (mm->nr_vmas + 2 >= MAX_MAP_COUNT - 3)
        return -ENOMEM;
    if (rq->flags & MREMAP_FIXED) {
        if (rq->new_addr < mm->s->limits.min)
            return -EPERM;
        r = mm_unmap_locked(mm, rq->new_addr, rq->new_addr + rq->new_len);
        if (r < 0)
            return r;
        if (!vma_range_free(mm, rq->new_addr, rq->new_addr + rq->new_len))
            return -ENOMEM; /* the platform's hole */
    }
    if (rq->old_len > rq->new_len) {
        r = mm_unmap_locked(mm, rq->old + rq->new_len, rq->old + rq->old_len);
        if (r < 0)
            return r;
        rq->old_len = rq->new_len;
    }
    r = check_resize(mm, lim, rq, &v);
    if (r < 0)
        return r;
    if ((rq->flags & MREMAP_DONTUNMAP) && !mm_may_expand(mm, lim, v->flags, rq->old_len))
        return -ENOMEM;
    if (!(rq->flags & MREMAP_FIXED)) {
        rq->new_addr = mm_get_unmapped_area(mm, rq->new_addr, rq->new_len, 0);
        if (!rq->new_addr)
            return -ENOMEM;
    }
    return move_vma(mm, v, rq);
}

/* Whether the range above `v` is free for it to grow. */
static bool can_grow(struct mm *mm, const struct vma *v, uint64_t more)
{
    return more <= mm_task_size(mm) - v->end && vma_find_gap_bottomup(mm, v->end, v->end + more, more) == v->end;
}

static int64_t remap_locked(struct mm *mm, const struct mm_limits *lim, struct remap *rq)
{
    struct vma *v = vma_at(mm, rq->old);
    uint64_t more;
    int r;

    if (!v)
        return -EFAULT;
    if (v->flags & VM_SEALED)
        return -EPERM;
    if (rq->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
        return remap_to(mm, lim, rq);
    if (rq->old_len >= rq->new_len) {
        if (rq->old_len > rq->new_len) {
            r = mm_unmap_locked(mm, rq->old + rq->new_len, rq->old + rq->old_len);
            if (r < 0)
                return r;
        }
        return (int64_t)rq->old;
    }
    r = check_resize(mm, lim, rq, &v);
    if (r < 0)
        return r;
    more = rq->new_len - rq->old_len;
    if (rq->old_len == v->end - rq->old && can_grow(mm, v, more)) {
        uint64_t end = v->end;
        vma_set_range(mm, v, v->start, end + more);
        v = vma_merge(mm, v);
        if ((v->flags & VM_LOCKED_MASK) == VM_LOCKED)
            mm_populate_locked(mm, end, end + more, false);
        return (int64_t)rq->old;
    }
    if (!(rq->flags & MREMAP_MAYMOVE))
        return -ENOMEM;
    rq->new_addr = mm_get_unmapped_area(mm, 0, rq->new_len, 0);
    if (!rq->new_addr)
        return -ENOMEM;
    return move_vma(mm, v, rq);
}

int64_t mm_mremap(struct mm *mm, const struct mm_limits *lim, uint64_t old, uint64_t old_len, uint64_t new_len, int flags,
                  uint64_t new_addr)
{
    struct remap rq = {
        .old = old, .old_len = page_up(old_len), .new_len = page_up(new_len), .new_addr = new_addr, .flags = flags};
    int64_t r;

    if (flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP))
        return -EINVAL;
    if ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE))
        return -EINVAL;
    if ((flags & MREMAP_DONTUNMAP) && (!(flags & MREMAP_MAYMOVE) || rq.old_len != rq.new_len))
        return -EINVAL;
    if ((old & ~GUEST_PAGE_MASK) || rq.new_len == 0)
        return -EINVAL;
    if (rq.old_len < old_len || rq.new_len < new_len)
        return -EINVAL; /* wrapped */
    if (rq.new_len > mm_task_size(mm) && !(flags & MREMAP_FIXED))
        return -ENOMEM;
    mm_wrlock(mm);
    r = remap_locked(mm, lim, &rq);
    mm_wrunlock(mm);
    return r;
}
