/*
 * Batches of changes to the platform's mappings.
 *
 * One call to the platform costs far more than one more change in it, so changes are collected and neighbouring ones merged. A
 * host process may have 65,530 mappings; when a guest's memory is so scattered that the host refuses one more, everything is
 * unmapped and comes back page by page as it is touched: slow, but it always works.
 */
#include "lib/log.h"
#include "sentry/mm/mm_internal.h"

void mm_batch_init(struct mm_batch *b, struct mm *mm)
{
    b->mm = mm;
    b->n = 0;
    b->err = 0;
    b->reset = false;
}

static void apply(struct mm_batch *b)
{
    int r;

    if (b->n == 0 || b->err || b->reset || b->mm->loading)
        goto out;
    r = platform_as_apply(b->mm->as, b->ops, b->n);
    if (r == -ENOMEM) {
        b->err = mm_platform_reset(b->mm);
        b->reset = true;
    } else {
        b->err = r;
    }
    if (r == 0)
        mm_limbo_release(b->mm);
out:
    b->n = 0;
}

static struct platform_op *next_op(struct mm_batch *b)
{
    if (b->n == MM_BATCH_OPS)
        apply(b);
    return &b->ops[b->n++];
}

static struct platform_op *last_op(struct mm_batch *b, enum platform_op_kind kind, uint64_t start)
{
    struct platform_op *op = b->n ? &b->ops[b->n - 1] : NULL;

    return op && op->kind == kind && op->addr + op->len == start ? op : NULL;
}

void mm_batch_map(struct mm_batch *b, uint64_t start, uint64_t end, int fd, uint64_t off, int prot, bool populate)
{
    struct platform_op *op = last_op(b, PLATFORM_MAP, start);

    if (op && op->fd == fd && op->offset + op->len == off && op->prot == prot && op->populate == populate) {
        op->len += end - start;
        return;
    }
    *next_op(b) = (struct platform_op){
        .kind = PLATFORM_MAP, .prot = prot, .addr = start, .len = end - start, .fd = fd, .offset = off, .populate = populate};
}

void mm_batch_unmap(struct mm_batch *b, uint64_t start, uint64_t end)
{
    struct platform_op *op = last_op(b, PLATFORM_UNMAP, start);

    if (op)
        op->len += end - start;
    else
        *next_op(b) = (struct platform_op){.kind = PLATFORM_UNMAP, .addr = start, .len = end - start};
}

void mm_batch_protect(struct mm_batch *b, uint64_t start, uint64_t end, int prot)
{
    struct platform_op *op = last_op(b, PLATFORM_PROTECT, start);

    if (op && op->prot == prot)
        op->len += end - start;
    else
        *next_op(b) = (struct platform_op){.kind = PLATFORM_PROTECT, .prot = prot, .addr = start, .len = end - start};
}

int mm_batch_finish(struct mm_batch *b, bool mapping)
{
    apply(b);
    if (b->err == 0 && b->reset && mapping)
        return -EAGAIN;
    return b->err;
}

int mm_platform_reset(struct mm *mm)
{
    const struct platform_limits *l = &mm->s->limits;
    struct platform_op ops[2];
    size_t n = 0;
    int r = 0;

    if (l->hole_start >= l->hole_end) {
        ops[n++] = (struct platform_op){.kind = PLATFORM_UNMAP, .addr = l->min, .len = l->max - l->min};
    } else {
        if (l->hole_start > l->min)
            ops[n++] = (struct platform_op){.kind = PLATFORM_UNMAP, .addr = l->min, .len = l->hole_start - l->min};
        if (l->hole_end < l->max)
            ops[n++] = (struct platform_op){.kind = PLATFORM_UNMAP, .addr = l->hole_end, .len = l->max - l->hole_end};
    }
    if (!mm->loading)
        r = platform_as_apply(mm->as, ops, n);
    if (r < 0) {
        log_warn("mm: cannot unmap an address space: error %d", -r);
        mm->broken = true;
        return r;
    }
    if (!mm->loading)
        mm_limbo_release(mm);
    ptab_change(&mm->pt, 0, mm_task_size(mm), PTE_MAPPED | PTE_WRITE, 0);
    return 0;
}

int mm_vma_prot(const struct vma *v, bool writable)
{
    int prot = (int)(v->flags & VM_EXEC);

    /* As on x86 without protection keys, what can be written or executed can be read. */
    if (v->flags & VM_PROT)
        prot |= PROT_READ;
    return writable && (v->flags & VM_WRITE) ? prot | PROT_WRITE : prot;
}

/* Whether a write to a present page needs no copy. */
static bool may_write_in_place(struct mm *mm, const struct vma *v, const struct pte_run *run)
{
    if (!(v->flags & VM_WRITE))
        return false;
    /* A shared file page gets writable when it is written to, so that the file hears of it. */
    if (v->flags & VM_SHARED)
        return (v->flags & VM_SHMEM) && !(run->pte & PTE_FILE);
    return (run->pte & PTE_ANON) && memfile_exclusive(mm->s->mf, run->pte & PTE_FRAME);
}

/* Shortens a run to the pages that are alike in whether they may be written. */
static bool clip_writable(struct mm *mm, const struct vma *v, struct pte_run *run)
{
    struct pte_run one = *run;
    bool first = may_write_in_place(mm, v, &one);

    if (!(run->pte & PTE_ANON))
        return first;
    for (uint64_t a = run->start + PAGE; a < run->end; a += PAGE) {
        one.pte += PAGE;
        if (may_write_in_place(mm, v, &one) != first) {
            run->end = a;
            break;
        }
    }
    return first;
}

static int map_file_run(struct mm_batch *b, struct vma *v, const struct pte_run *run)
{
    uint64_t at = run->start;

    while (at < run->end) {
        struct mmap_extent ext;
        struct file *f = v->vf->file;
        int r = f->ops->map_extent(f, vma_file_offset(v, at), run->end - at, (int)(v->flags & (VM_READ | VM_EXEC)), &ext);
        if (r < 0)
            return r;
        if (ext.mf) {
            memfile_put(ext.mf, ext.offset, page_up(ext.len));
            return -EAGAIN;
        }
        uint64_t len = page_up(ext.len);
        if (len > run->end - at)
            len = run->end - at;
        mm_batch_map(b, at, at + len, ext.fd, ext.offset, mm_vma_prot(v, false), false);
        at += len;
    }
    return 0;
}

/* Whether mm_map_present() passes `v` over. */
static bool not_wanted(const struct vma *v, bool program)
{
    if (!(v->flags & VM_PROT))
        return true;
    return program && v->vf && !(v->flags & (VM_DENYWRITE | VM_EXEC | VM_WRITE));
}

int mm_map_present(struct mm *mm, uint64_t start, uint64_t end, unsigned int max_ops, bool program)
{
    struct mm_batch b;
    struct vma *v;
    uint64_t done = start; /* all that is wanted below it is in the batch */
    unsigned int n = 0;
    int r = 0;

    if (mm->loading)
        return 0;
    mm_batch_init(&b, mm);
    for (v = vma_find(mm, start); v && v->start < end && r == 0 && n < max_ops; v = vma_next(v)) {
        uint64_t at = v->start > start ? v->start : start, to = v->end < end ? v->end : end;
        struct pte_run run;
        if (not_wanted(v, program))
            continue;
        while (n < max_ops && r == 0 && at < to && ptab_next_run(&mm->pt, at, to, &run)) {
            bool writable;
            at = run.end;
            if (run.pte & PTE_MAPPED)
                continue;
            writable = clip_writable(mm, v, &run);
            if (run.pte & PTE_FILE)
                r = map_file_run(&b, v, &run);
            else
                mm_batch_map(&b, run.start, run.end, mm->s->mf_fd, run.pte & PTE_FRAME, mm_vma_prot(v, writable), false);
            /* Noted now: a relative may give up its share of the page at any time, but it is mapped as it was found. */
            if (writable)
                ptab_change(&mm->pt, run.start, run.end, 0, PTE_WRITE);
            n++;
            done = at = run.end;
        }
    }
    /* What is left waits for the guest to touch it. */
    if (r == 0)
        r = mm_batch_finish(&b, true);
    if (r < 0) {
        if (r != -EAGAIN || !b.reset)
            r = mm_platform_reset(mm); /* some may have been mapped, one cannot tell which */
        return b.reset && !b.err ? 0 : r;
    }
    for (v = vma_find(mm, start); v && v->start < done; v = vma_next(v)) {
        uint64_t at = v->start > start ? v->start : start, to = v->end < done ? v->end : done;
        struct pte_run run;
        if (not_wanted(v, program))
            continue;
        while (at < to && ptab_next_run(&mm->pt, at, to, &run)) {
            at = run.end;
            if (run.pte & PTE_MAPPED)
                continue;
            ptab_change(&mm->pt, run.start, run.end, 0, PTE_MAPPED);
        }
    }
    return 0;
}
