/*
 * Program segments that nobody has touched yet.
 *
 * The dynamic linker maps a library as four or five segments and then touches all of them: one fault each, which costs several
 * times what a mapping costs. So newly mapped segments are remembered, and the next change of the platform's mappings takes
 * their pages along.
 */
#include "sentry/mm/mm_internal.h"

#define MAX_SPAN (512 * PAGE)

/* What a batch took along. */
struct fresh {
    struct {
        uint64_t start, end;
    } range[MM_FRESH];
    unsigned int n;
};

void mm_fresh_note(struct mm *mm, uint64_t start)
{
    mm->fresh[mm->nr_fresh++ % MM_FRESH] = start;
    if (mm->nr_fresh > MM_FRESH)
        mm->nr_fresh = MM_FRESH;
}

static void fresh_batch(struct mm *mm, const struct vma *not_this, struct mm_batch *b, struct fresh *set)
{
    set->n = 0;
    for (unsigned int i = 0; i < mm->nr_fresh; i++) {
        struct vma *v = vma_at(mm, mm->fresh[i]);
        struct mmap_extent ext;
        uint64_t start, end;

        if (!v || v == not_this || !v->vf || !(v->flags & VM_DENYWRITE) || !(v->flags & VM_PROT) || (v->flags & VM_SHARED))
            continue;
        start = v->start;
        end = v->end - start < MAX_SPAN ? v->end : start + MAX_SPAN;
        if (ptab_get(&mm->pt, start) & PTE_PRESENT)
            continue;
        ptab_clip_absent(&mm->pt, start, &start, &end);
        if (v->vf->file->ops->map_extent(v->vf->file, v->pgoff, end - start, (int)(v->flags & (VM_READ | VM_EXEC)), &ext) < 0)
            continue;
        if (ext.mf) {
            memfile_put(ext.mf, ext.offset, page_up(ext.len));
            continue;
        }
        if (page_up(ext.len) < end - start)
            end = start + page_up(ext.len);
        if (ptab_reserve(&mm->pt, start, end) < 0)
            continue;
        mm_batch_map(b, start, end, ext.fd, ext.offset, mm_vma_prot(v, false), false);
        set->range[set->n].start = start;
        set->range[set->n++].end = end;
    }
    mm->nr_fresh = 0;
}

static void fresh_commit(struct mm *mm, const struct fresh *set)
{
    for (unsigned int i = 0; i < set->n; i++)
        ptab_set_run(&mm->pt, set->range[i].start, set->range[i].end, PTE_PRESENT | PTE_FILE | PTE_MAPPED);
}

int mm_batch_finish_fresh(struct mm *mm, const struct vma *not_this, struct mm_batch *b)
{
    struct fresh set;
    int r;

    if (likely(mm->nr_fresh == 0) || mm->loading)
        return mm_batch_finish(b, true);
    fresh_batch(mm, not_this, b, &set);
    r = mm_batch_finish(b, true);
    if (r == 0)
        fresh_commit(mm, &set);
    else if (set.n > 0 && r != -EAGAIN) /* which one the host refused is unknown: drop all, and start over without */
        r = mm_platform_reset(mm) < 0 ? r : -EAGAIN;
    return r;
}
