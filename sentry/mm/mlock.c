/*
 * mlock(2) and its family. Nothing is locked on the host, which does not swap a sandbox's memory file by the guest's wish; but
 * limits, accounting and residence are as the guest expects them.
 */
#include "sentry/mm/mm_internal.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

static bool can_lock(const struct mm_limits *lim)
{
    return lim->may_lock_over || lim->memlock != 0;
}

/* Bytes of [start, end) that are locked already. */
static uint64_t locked_in(struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t n = 0;

    for (struct vma *v = vma_find(mm, start); v && v->start < end; v = vma_next(v))
        if (v->flags & VM_LOCKED)
            n += (v->end < end ? v->end : end) - (v->start > start ? v->start : start);
    return n;
}

/* Gives the vmas of [start, end) the lock flags `set`. -ENOMEM at a hole. */
static int set_lock_flags(struct mm *mm, uint64_t start, uint64_t end, uint32_t set)
{
    while (start < end) {
        struct vma *v = vma_at(mm, start);
        uint64_t part_end;
        uint32_t flags;
        if (!v)
            return -ENOMEM;
        part_end = v->end < end ? v->end : end;
        flags = (v->flags & ~(uint32_t)VM_LOCKED_MASK) | set;
        if (flags != v->flags && !(v->flags & VM_SPECIAL)) {
            if (vma_cut(mm, start, part_end) < 0)
                return -ENOMEM;
            v = vma_at(mm, start);
            vma_set_flags(mm, v, flags);
            vma_merge(mm, v);
        }
        start = part_end;
    }
    return 0;
}

/* What mlock(2) says when pages cannot be brought in; __mlock_posix_error_return() in Linux. */
static int posix_error(int r)
{
    return r == -EFAULT ? -ENOMEM : r == -ENOMEM ? -EAGAIN : r;
}

int64_t mm_mlock(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int flags)
{
    uint64_t start = page_down(addr), size = page_up(len + (addr - start)), end = start + size;
    int r;

    if (flags & ~MLOCK_ONFAULT)
        return -EINVAL;
    if (!can_lock(lim))
        return -EPERM;
    if (end < start || (len && size == 0))
        return -EINVAL;
    mm_wrlock(mm);
    r = 0;
    if (!lim->may_lock_over && lim->memlock != UINT64_MAX &&
        mm->locked_vm + size - (mm->locked_vm + size > lim->memlock ? locked_in(mm, start, end) : 0) > lim->memlock)
        r = -ENOMEM;
    if (r == 0)
        r = set_lock_flags(mm, start, end, VM_LOCKED | (flags & MLOCK_ONFAULT ? VM_LOCKONFAULT : 0));
    if (r == 0 && !(flags & MLOCK_ONFAULT))
        r = posix_error(mm_populate_locked(mm, start, end, false));
    mm_wrunlock(mm);
    return r;
}

int64_t mm_munlock(struct mm *mm, uint64_t addr, uint64_t len)
{
    uint64_t start = page_down(addr), size = page_up(len + (addr - start)), end = start + size;
    int r;

    if (end < start || (len && size == 0))
        return -EINVAL;
    mm_wrlock(mm);
    r = set_lock_flags(mm, start, end, 0);
    mm_wrunlock(mm);
    return r;
}

static void set_all(struct mm *mm, uint32_t set)
{
    struct vma *v = vma_first(mm);

    while (v) {
        uint32_t flags = (v->flags & ~(uint32_t)VM_LOCKED_MASK) | set;
        if (!(v->flags & VM_SPECIAL) && flags != v->flags) {
            vma_set_flags(mm, v, flags);
            v = vma_merge(mm, v);
        }
        v = vma_next(v);
    }
}

int64_t mm_mlockall(struct mm *mm, const struct mm_limits *lim, int flags)
{
    int64_t r = 0;

    if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
        return -EINVAL;
    if (!can_lock(lim))
        return -EPERM;
    mm_wrlock(mm);
    if ((flags & MCL_CURRENT) && !lim->may_lock_over && mm->total_vm > lim->memlock) {
        r = -ENOMEM;
    } else {
        uint32_t set = VM_LOCKED | (flags & MCL_ONFAULT ? VM_LOCKONFAULT : 0);
        mm->def_flags = flags & MCL_FUTURE ? set : 0;
        if (flags & MCL_CURRENT)
            set_all(mm, set);
        if ((flags & MCL_CURRENT) && !(flags & MCL_ONFAULT))
            for (struct vma *v = vma_first(mm); v; v = vma_next(v))
                mm_populate_locked(mm, v->start, v->end, false); /* failures do not matter, as in Linux */
    }
    mm_wrunlock(mm);
    return r;
}

int64_t mm_munlockall(struct mm *mm)
{
    mm_wrlock(mm);
    mm->def_flags = 0;
    set_all(mm, 0);
    mm_wrunlock(mm);
    return 0;
}
