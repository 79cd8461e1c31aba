/* Taking pages away: munmap, MADV_DONTNEED, truncation. */
#include "sentry/mm/mm_internal.h"

int mm_zap(struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t first = end, last = start, at = start;
    struct pte_run run;
    struct mm_batch b;
    int r;

    /* One unmapping, from the first page that is mapped to the last: what is between goes anyway. */
    while (at < end && ptab_next_run(&mm->pt, at, end, &run)) {
        if (run.pte & PTE_MAPPED) {
            if (first == end)
                first = run.start;
            last = run.end;
        }
        at = run.end;
    }
    if (at == start)
        return 0;
    if (first < last) {
        mm_batch_init(&b, mm);
        mm_batch_unmap(&b, first, last);
        r = mm_batch_finish(&b, false);
        if (r < 0)
            return r;
    }
    for (at = start; at < end && ptab_next_run(&mm->pt, at, end, &run); at = run.end)
        if (!(run.pte & PTE_FILE))
            memfile_put(mm->s->mf, run.pte & PTE_FRAME, run.end - run.start);
    ptab_clear(&mm->pt, start, end);
    return 0;
}
