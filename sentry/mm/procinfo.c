/* /proc/PID/maps and smaps, one mapping at a time. */
#include "sentry/mm/mm_internal.h"

#include <stdio.h>
#include <string.h>

static const char *vma_name(const struct mm *mm, const struct vma *v)
{
    const struct mm_layout *l = &mm->layout;

    if (v->name)
        return v->name;
    if (v->vf)
        return "";
    if (v->start < l->brk && v->end > l->start_brk)
        return "[heap]";
    if (v->start <= l->start_stack && l->start_stack < v->end)
        return "[stack]";
    return "";
}

bool mm_next_vma(struct mm *mm, uint64_t from, struct mm_vma_info *out)
{
    struct pte_run run;
    struct vma *v;

    memset(out, 0, sizeof(*out));
    mm_rdlock(mm);
    v = vma_find(mm, from);
    if (v) {
        out->start = v->start;
        out->end = v->end;
        out->offset = v->vf ? v->pgoff : 0;
        out->prot = (int)(v->flags & VM_PROT);
        out->shared = v->flags & VM_MAYSHARE;
        out->growsdown = v->flags & VM_GROWSDOWN;
        out->locked = v->flags & VM_LOCKED;
        out->file = v->vf ? file_get(v->vf->file) : NULL;
        snprintf(out->name, sizeof(out->name), "%s", vma_name(mm, v));
        for (uint64_t at = v->start; at < v->end && ptab_next_run(&mm->pt, at, v->end, &run); at = run.end) {
            out->rss += run.end - run.start;
            if (run.pte & PTE_ANON)
                out->private_dirty += run.end - run.start;
        }
    }
    mm_rdunlock(mm);
    return v != NULL;
}

void mm_pagemap(struct mm *mm, uint64_t addr, size_t n, uint8_t *out)
{
    const uint64_t end = addr + n * GUEST_PAGE_SIZE;
    struct pte_run run;

    memset(out, 0, n);
    mm_rdlock(mm);
    for (uint64_t at = addr; at < end && ptab_next_run(&mm->pt, at, end, &run); at = run.end)
        memset(out + (run.start - addr) / GUEST_PAGE_SIZE,
               run.pte & PTE_ANON ? MM_PAGE_PRESENT : MM_PAGE_PRESENT | MM_PAGE_FILE, (run.end - run.start) / GUEST_PAGE_SIZE);
    mm_rdunlock(mm);
}
