/* Taking pages away: munmap, MADV_DONTNEED, truncation. */
#include "sentry/mm/mm_internal.h"

#define LATER_PAGES 16

void mm_limbo_release(struct mm *mm)
{
    for (unsigned int i = 0; i < mm->nr_limbo; i++)
        memfile_put(mm->s->mf, mm->limbo[i].off, mm->limbo[i].len);
    mm->nr_limbo = 0;
}

static int zap(struct mm *mm, uint64_t start, uint64_t end, bool may_wait)
{
    uint64_t first = end, last = start, at = start;
    unsigned int runs = 0;
    struct pte_run run;
    struct mm_batch b;
    bool later;
    int r;

    /* One unmapping, from the first page that is mapped to the last: what is between goes anyway. */
    while (at < end && ptab_next_run(&mm->pt, at, end, &run)) {
        if (run.pte & PTE_MAPPED) {
            if (first == end)
                first = run.start;
            last = run.end;
        }
        may_wait = may_wait && (run.pte & PTE_ANON);
        runs++;
        at = run.end;
    }
    if (at == start)
        return 0;
    later = may_wait && !mm->loading && first < last && last - first <= LATER_PAGES * PAGE && mm->nr_limbo + runs <= MM_LIMBO &&
            platform_as_unmap_later(mm->as, first, last - first);
    if (first < last && !later) {
        mm_batch_init(&b, mm);
        mm_batch_unmap(&b, first, last);
        r = mm_batch_finish(&b, false);
        if (r < 0)
            return r;
    }
    for (at = start; at < end && ptab_next_run(&mm->pt, at, end, &run); at = run.end) {
        if (run.pte & PTE_FILE)
            continue;
        if (later)
            mm->limbo[mm->nr_limbo++] = (struct mm_limbo){run.pte & PTE_FRAME, run.end - run.start};
        else
            memfile_put(mm->s->mf, run.pte & PTE_FRAME, run.end - run.start);
    }
    ptab_clear(&mm->pt, start, end);
    return 0;
}

int mm_zap(struct mm *mm, uint64_t start, uint64_t end)
{
    return zap(mm, start, end, false);
}

int mm_zap_later(struct mm *mm, uint64_t start, uint64_t end)
{
    return zap(mm, start, end, true);
}
