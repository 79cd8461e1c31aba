/* brk(2): the heap is an ordinary private mapping from start_brk on. Returns the new or, on any failure, the present end. */
#include "sentry/mm/mm_internal.h"

#include <stdlib.h>

static bool grow(struct mm *mm, const struct mm_limits *lim, uint64_t from, uint64_t to)
{
    uint32_t flags = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | mm->def_flags;
    uint64_t len = to - from;
    struct vma *v;

    /* A page is left free above the heap, and the guard gap below a stack. */
    if (to > mm_task_size(mm) - PAGE || vma_find_gap_bottomup(mm, from, to + PAGE, len + PAGE) != from)
        return false;
    if ((flags & VM_LOCKED) && mm_may_lock(mm, lim, len) < 0)
        return false;
    if (mm->nr_vmas >= MAX_MAP_COUNT || !mm_may_expand(mm, lim, flags, len) || !mm_may_commit(mm, flags, len))
        return false;
    v = vma_alloc();
    if (!v)
        return false;
    v->start = from;
    v->end = to;
    v->flags = flags;
    vma_link(mm, v);
    vma_merge(mm, v);
    if ((flags & VM_LOCKED_MASK) == VM_LOCKED)
        mm_populate_locked(mm, from, to, false);
    return true;
}

static bool set_brk(struct mm *mm, const struct mm_limits *lim, uint64_t brk)
{
    struct mm_layout *l = &mm->layout;
    uint64_t old = page_up(l->brk), new = page_up(brk);

    if (brk < l->start_brk || brk > mm_task_size(mm))
        return false;
    if (lim && lim->data != UINT64_MAX && brk - l->start_brk + (l->end_data - l->start_data) > lim->data)
        return false;
    if (new < old)
        return mm_unmap_locked(mm, new, old) == 0;
    return new == old || grow(mm, lim, old, new);
}

int64_t mm_brk(struct mm *mm, const struct mm_limits *lim, uint64_t brk)
{
    int64_t r;

    mm_wrlock(mm);
    if (set_brk(mm, lim, brk))
        mm->layout.brk = brk;
    r = (int64_t)mm->layout.brk;
    mm_wrunlock(mm);
    return r;
}
