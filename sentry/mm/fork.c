/*
 * The copy of an address space that fork makes.
 *
 * Vmas are copied one by one, entries run by run, with a reference on each page of the memory file. Private pages are shared
 * until one side writes: the parent's lose their write permission in one batch, and what the child has is mapped in another, so
 * that its first steps need no faults.
 */
#include "sentry/mm/mm_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_EAGER   192 /* pieces of memory that a child has mapped from the start */
#define CLUSTER     16  /* pages copied in one piece */
#define CLUSTER_GAP 4   /* pages between hot ones that are copied along */

static int copy_vma_file(struct mm *child, struct vma_file *vf, struct vma_file **out)
{
    int r = 0;

    if (vf->fork_copy)
        vf->fork_copy->nr_vmas++;
    else
        r = vma_file_create(child, vf->file, vf->mapping.writable, &vf->fork_copy);
    *out = vf->fork_copy;
    return r;
}

static int copy_vma(struct mm *child, const struct vma *v, struct vma **out)
{
    struct vma *c = vma_alloc();
    int r;

    if (!c)
        return -ENOMEM;
    c->start = v->start;
    c->end = v->end;
    c->pgoff = v->pgoff;
    c->special = v->special;
    c->name = v->name;
    c->flags = v->flags & ~(uint32_t)VM_LOCKED_MASK; /* locks are not inherited */
    c->nr_filled = v->nr_filled;
    c->nr_copied = v->nr_copied;
    if (v->vf) {
        r = copy_vma_file(child, v->vf, &c->vf);
        if (r < 0) {
            free(c);
            return r;
        }
    }
    vma_link(child, c);
    *out = c;
    return 0;
}

/* Shares a run of pages; the parent may not write private ones any more. Blocks in the child are reserved. */
static void share_run(struct mm *mm, struct mm *child, const struct vma *v, const struct pte_run *run, struct mm_batch *b)
{
    if (!(run->pte & PTE_FILE))
        memfile_get(mm->s->mf, run->pte & PTE_FRAME, run->end - run->start);
    ptab_set_run(&child->pt, run->start, run->end, run->pte & ~(pte_t)(PTE_MAPPED | PTE_WRITE));
    if ((run->pte & PTE_WRITE) && !(v->flags & VM_SHARED)) {
        mm_batch_protect(b, run->start, run->end, mm_vma_prot(v, false));
        ptab_change(&mm->pt, run->start, run->end, PTE_WRITE, 0);
    }
}

static bool is_hot(struct mm *mm, uint64_t addr)
{
    return hot_pages_next(mm->hot, addr, addr + PAGE) == addr;
}

/* Where the pages end that are worth copying together with the hot one at `start`. */
static uint64_t cluster_end(struct mm *mm, const struct vma *v, uint64_t start)
{
    uint64_t end = start + PAGE;

    for (uint64_t a = end; a < v->end && a - start < CLUSTER * PAGE && (ptab_get(&mm->pt, a) & PTE_ANON); a += PAGE) {
        if (is_hot(mm, a))
            end = a + PAGE;
        else if (a - end >= CLUSTER_GAP * PAGE)
            break;
    }
    return end;
}

/* Gives the child copies of private pages of its own; the parent's stay as they are. */
static int copy_now(struct mm *mm, struct mm *child, uint64_t start, uint64_t end)
{
    uint64_t off;
    int r = ptab_reserve(&child->pt, start, end);

    if (r == 0)
        r = memfile_alloc(mm->s->mf, end - start, MEMFILE_OVERWRITE, &off);
    if (r < 0)
        return r;
    for (uint64_t a = start; a < end; a += PAGE)
        memcpy(mm->s->mf_base + off + (a - start), mm_frame_ptr(mm, ptab_get(&mm->pt, a)), PAGE);
    ptab_set_run(&child->pt, start, end, off | PTE_PRESENT | PTE_ANON);
    return 0;
}

/*
 * Gives the child the pages of one vma. Pages that both sides wrote after earlier forks are copied at once: that costs a
 * microsecond, and a fault on either side several. What lies between two of them is copied with them, to one piece of memory,
 * because a mapping of its own would cost more. Only for processes of one thread: another one might be writing.
 */
static int copy_entries(struct mm *mm, struct mm *child, const struct vma *v, struct mm_batch *b)
{
    bool hot = mm->hot && (v->flags & (VM_SHARED | VM_WRITE)) == VM_WRITE && ref_read(&mm->ref) == 1;
    struct pte_run run;

    for (uint64_t at = v->start; at < v->end && ptab_next_run(&mm->pt, at, v->end, &run); at = run.end) {
        if (hot && (run.pte & PTE_ANON)) {
            uint64_t first = hot_pages_next(mm->hot, run.start, run.end), end;
            if (first == run.start) {
                end = cluster_end(mm, v, first);
                if (copy_now(mm, child, first, end) == 0) {
                    run.end = end;
                    continue;
                }
                run.end = first + PAGE;
            } else {
                run.end = first;
            }
        }
        if (ptab_reserve(&child->pt, run.start, run.end) < 0)
            return -ENOMEM;
        share_run(mm, child, v, &run, b);
    }
    return 0;
}

static int copy_all(struct mm *mm, struct mm *child, struct mm_batch *b)
{
    struct vma *c;
    int r;

    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        if (v->flags & VM_DONTCOPY)
            continue;
        r = copy_vma(child, v, &c);
        if (r == 0 && !(v->flags & VM_WIPEONFORK))
            r = copy_entries(mm, child, v, b);
        if (r < 0)
            return r;
    }
    return 0;
}

int mm_fork(struct mm *mm, struct mm **out)
{
    struct mm_batch b;
    struct mm *child;
    int r = mm_alloc(mm->s, mm->as, &child);

    if (r < 0)
        return r;
    mm_wrlock(mm);
    mm_wrlock(child);
    child->mmap_base = mm->mmap_base;
    child->layout = mm->layout;
    if (!mm->hot)
        mm->hot = hot_pages_create();
    child->hot = hot_pages_get(mm->hot);
    mm->nr_since_fork = 0;
    atomic_store(&child->stack_limit, atomic_load(&mm->stack_limit));
    if (mm->exe && inode_deny_write(mm->exe->inode) == 0)
        child->exe = file_get(mm->exe);
    mm_batch_init(&b, mm);
    r = mm->broken ? -ENOMEM : copy_all(mm, child, &b);
    /* Whatever came of it, the parent's pages may have gained references: protect them before anyone goes on. */
    if (mm_batch_finish(&b, false) < 0) {
        if (mm_platform_reset(mm) < 0) /* what was not protected is not mapped any more */
            r = -ENOMEM;
    }
    if (r == 0)
        r = mm_map_present(child, 0, mm_task_size(child), MAX_EAGER, true);
    for (struct vma *v = vma_first(mm); v; v = vma_next(v))
        if (v->vf)
            v->vf->fork_copy = NULL;
    mm_wrunlock(child);
    mm_wrunlock(mm);
    if (r < 0) {
        mm_put(child);
        return r == -EAGAIN ? -ENOMEM : r;
    }
    *out = child;
    return 0;
}
