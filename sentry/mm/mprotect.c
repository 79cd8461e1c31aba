/* mprotect(2): vmas are split and merged; of the platform only pages that it has mapped are changed. */
#include "sentry/mm/mm_internal.h"

#ifndef PROT_SEM
#define PROT_SEM 0x8
#endif

/* Whether a mapped page of `v`, whose flags are new, may be writable in the platform. */
static bool stays_writable(struct mm *mm, const struct vma *v, pte_t pte)
{
    if (!(v->flags & VM_WRITE))
        return false;
    if (v->flags & VM_SHARED)
        return (pte & PTE_WRITE) || ((v->flags & VM_SHMEM) && !(pte & PTE_FILE));
    return (pte & PTE_ANON) && memfile_exclusive(mm->s->mf, pte & PTE_FRAME);
}

/* Narrows a run of mapped pages to those that are alike in stays_writable(). */
static bool clip_run(struct mm *mm, const struct vma *v, struct pte_run *run)
{
    bool first = stays_writable(mm, v, run->pte);
    pte_t pte = run->pte;

    if (!(pte & PTE_ANON))
        return first;
    for (uint64_t a = run->start + PAGE; a < run->end; a += PAGE) {
        pte += PAGE;
        if (stays_writable(mm, v, pte) != first) {
            run->end = a;
            break;
        }
    }
    return first;
}

/* Brings the platform and the entries in line with the flags of `v`, which have just changed. */
static int apply_flags(struct mm *mm, struct vma *v)
{
    struct mm_batch b;
    struct pte_run run;
    int r;

    mm_batch_init(&b, mm);
    if (!(v->flags & VM_PROT)) {
        uint64_t first = 0, last = 0;
        for (uint64_t at = v->start; at < v->end && ptab_next_run_with(&mm->pt, at, v->end, PTE_MAPPED, &run); at = run.end) {
            first = first ? first : run.start;
            last = run.end;
        }
        if (last == 0)
            return 0;
        mm_batch_unmap(&b, first, last);
        r = mm_batch_finish(&b, false);
        if (r == 0)
            ptab_change(&mm->pt, v->start, v->end, PTE_MAPPED | PTE_WRITE, 0);
        return r;
    }
    for (uint64_t at = v->start; at < v->end && ptab_next_run_with(&mm->pt, at, v->end, PTE_MAPPED, &run); at = run.end) {
        bool writable = clip_run(mm, v, &run);
        mm_batch_protect(&b, run.start, run.end, mm_vma_prot(v, writable));
        /* At once, because asking again later could find a page ours alone that was not: its other owner may just go. */
        ptab_change(&mm->pt, run.start, run.end, writable ? 0 : PTE_WRITE, writable ? PTE_WRITE : 0);
    }
    r = mm_batch_finish(&b, false);
    /* Some are changed, some not, for instance because the host refuses execution of a file: all come back by faults. */
    return r < 0 ? mm_platform_reset(mm) : 0;
}

/* Changes [start, end), which lies within `v`. */
static int change_part(struct mm *mm, const struct mm_limits *lim, struct vma *v, uint64_t start, uint64_t end, uint32_t prot)
{
    uint32_t flags = (v->flags & ~(uint32_t)VM_PROT) | prot, old = v->flags;
    int r;

    if (flags == old)
        return 0;
    if ((flags & VM_WRITE) && !mm_may_expand(mm, lim, flags, end - start) && mm_may_expand(mm, lim, old, end - start))
        return -ENOMEM;
    if (!(old & VM_WRITE) && !mm_may_commit(mm, flags, end - start))
        return -ENOMEM;
    r = vma_cut(mm, start, end);
    if (r < 0)
        return r;
    v = vma_at(mm, start);
    vma_set_flags(mm, v, flags);
    r = apply_flags(mm, v);
    if (r < 0) {
        vma_set_flags(mm, v, old);
        return r;
    }
    vma_merge(mm, v);
    if ((flags & VM_LOCKED_MASK) == VM_LOCKED && (flags & VM_WRITE) && !(old & VM_WRITE))
        mm_populate_locked(mm, start, end, false);
    return 0;
}

int64_t mm_mseal(struct mm *mm, uint64_t addr, uint64_t len, uint64_t flags)
{
    uint64_t end = addr + page_up(len);
    int64_t r = 0;

    if (flags || (addr & ~GUEST_PAGE_MASK) || (len && page_up(len) == 0) || end < addr)
        return -EINVAL;
    mm_wrlock(mm);
    for (uint64_t at = addr; at < end && r == 0;) { /* all or nothing */
        struct vma *v = vma_at(mm, at);
        if (v)
            at = v->end;
        else
            r = -ENOMEM;
    }
    for (uint64_t at = addr; at < end && r == 0;) {
        struct vma *v = vma_at(mm, at);
        uint64_t part_end = v->end < end ? v->end : end;
        r = vma_cut(mm, at, part_end);
        if (r == 0) {
            v = vma_at(mm, at);
            vma_set_flags(mm, v, v->flags | VM_SEALED);
            vma_merge(mm, v);
        }
        at = part_end;
    }
    mm_wrunlock(mm);
    return r;
}

static int64_t protect_locked(struct mm *mm, const struct mm_limits *lim, uint64_t start, uint64_t end, uint32_t prot,
                              int grows)
{
    struct vma *v = vma_find(mm, start);

    if (!v)
        return -ENOMEM;
    if (grows & PROT_GROWSDOWN) {
        if (v->start >= end)
            return -ENOMEM;
        start = v->start;
        if (!(v->flags & VM_GROWSDOWN))
            return -EINVAL;
    } else {
        if (v->start > start)
            return -ENOMEM;
        if (grows & PROT_GROWSUP)
            return -EINVAL; /* no stack grows up on x86 */
    }
    while (start < end) {
        uint64_t part_end;
        int r;

        v = vma_at(mm, start);
        if (!v)
            return -ENOMEM;
        part_end = v->end < end ? v->end : end;
        if (v->flags & VM_SEALED)
            return -EPERM;
        /* The VM_MAY* bits are those of the protection, shifted. */
        if (prot & ~(v->flags / VM_MAYREAD))
            return -EACCES;
        r = change_part(mm, lim, v, start, part_end, prot);
        if (r < 0)
            return r;
        start = part_end;
    }
    return 0;
}

int64_t mm_mprotect(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int prot)
{
    int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    int64_t r;

    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP);
    if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || (addr & ~GUEST_PAGE_MASK))
        return -EINVAL;
    if (len == 0)
        return 0;
    len = page_up(len);
    if (addr + len <= addr)
        return -ENOMEM;
    if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM))
        return -EINVAL;
    mm_wrlock(mm);
    r = protect_locked(mm, lim, addr, addr + len, (uint32_t)prot & VM_PROT, grows);
    mm_wrunlock(mm);
    return r;
}
