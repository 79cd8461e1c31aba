/*
 * Making present pages writable: by copying what is shared, or by just saying so when nobody else has the page.
 *
 * Copies are made one page at a time while they are rare and in small runs where a vma sees many, which also keeps the number
 * of the host's mappings down. The source of a page is the memory file, or, for private mappings of host files, the sentry's
 * window on them.
 */
#include "sentry/mm/mm_internal.h"
#include "sentry/mm/safe_access.h"

#include <string.h>

#define MAX_COPY      64  /* pages in one go */
#define FILE_COPY     8   /* the least for programs' large data segments */
#define WRITABLE_SPAN 512 /* pages about a fault that become writable with it */

static bool exclusive(struct mm *mm, pte_t pte)
{
    return (pte & PTE_ANON) && memfile_exclusive(mm->s->mf, pte & PTE_FRAME);
}

/* A page is written that a fork had shared. */
static void note_hot(struct mm *mm, uint64_t addr)
{
    if (mm->hot && mm->nr_since_fork++ < HOT_SOON)
        hot_pages_note(mm->hot, addr);
}

/* The page is ours alone but write-protected since some fork: so, probably, are its neighbours. */
static int unprotect_around(struct mm *mm, const struct mm_fault_in *in)
{
    const pte_t want = PTE_PRESENT | PTE_MAPPED;
    uint64_t low = in->addr, high = in->addr + PAGE, start, end;
    struct mm_batch b;
    pte_t pte;
    int r;

    start = in->addr & ~(WRITABLE_SPAN * PAGE - 1);
    end = start + WRITABLE_SPAN * PAGE;
    start = start > in->vma->start ? start : in->vma->start;
    end = end < in->vma->end ? end : in->vma->end;
    while (low > start) {
        pte = ptab_get(&mm->pt, low - PAGE);
        if ((pte & (want | PTE_WRITE)) != want || !exclusive(mm, pte))
            break;
        low -= PAGE;
    }
    while (high < end) {
        pte = ptab_get(&mm->pt, high);
        if ((pte & (want | PTE_WRITE)) != want || !exclusive(mm, pte))
            break;
        high += PAGE;
    }
    note_hot(mm, in->addr);
    mm_batch_init(&b, mm);
    mm_batch_protect(&b, low, high, mm_vma_prot(in->vma, true));
    r = mm_batch_finish(&b, true);
    if (r < 0)
        return r;
    ptab_change(&mm->pt, low, high, 0, PTE_WRITE);
    return 0;
}

/* Copies the page at `addr` to `dst`. -ENXIO: beyond the end of the file; -ENOENT: must be filled first. */
static int copy_page(struct mm *mm, const struct vma *v, uint64_t addr, uint8_t *dst)
{
    pte_t pte = ptab_get(&mm->pt, addr);
    struct file_window w;
    int r;

    if ((pte & PTE_PRESENT) && !(pte & PTE_FILE)) {
        memcpy(dst, mm_frame_ptr(mm, pte), PAGE);
        return 0;
    }
    if (!v->vf)
        return -ENOENT;
    r = file_window_get(v->vf, vma_file_offset(v, addr), PAGE, false, &w);
    if (r == -EAGAIN)
        return -ENOENT; /* not a host file */
    if (r < 0)
        return r;
    r = safe_copy(dst, w.ptr, PAGE) ? -ENXIO : 0;
    file_window_put(&w);
    return r;
}

/* Where a page to be copied comes from: a window of copies takes in one kind only. */
enum source { FROM_ANON, FROM_HOST_FILE, FROM_TMPFS };

static enum source source_of(pte_t pte)
{
    if (pte & PTE_ANON)
        return FROM_ANON;
    return !(pte & PTE_PRESENT) || (pte & PTE_FILE) ? FROM_HOST_FILE : FROM_TMPFS;
}

/* Whether the copy window may take in the page at `addr`: it has to be copied too before it is written. */
static bool copy_too(struct mm *mm, uint64_t addr, enum source from)
{
    pte_t pte = ptab_get(&mm->pt, addr);

    return source_of(pte) == from && (from != FROM_ANON || !exclusive(mm, pte));
}

static void choose_copies(struct mm *mm, const struct mm_fault_in *in, uint64_t *start, uint64_t *end)
{
    enum source from = source_of(ptab_get(&mm->pt, in->addr));
    uint64_t pages = in->vma->nr_copied / 8, low = in->addr, high = in->addr + PAGE;
    bool file = from != FROM_ANON;

    *start = low;
    *end = high;
    /* Pages of a file that may change are copied when they are written: until then they show what the file has. */
    if (in->force || (file && !(in->vma->flags & VM_DENYWRITE)))
        return;
    if (file && vma_len(in->vma) <= MM_SMALL_DATA) { /* a data segment is written all over when it is relocated */
        low = in->vma->start;
        high = in->vma->end;
    } else {
        if (file && pages < FILE_COPY)
            pages = FILE_COPY;
        if (pages > MAX_COPY)
            pages = MAX_COPY;
        if (pages < 2)
            return;
        pages = 1ULL << (63 - __builtin_clzll(pages));
        low &= ~(pages * PAGE - 1);
        high = low + pages * PAGE;
        low = low > in->vma->start ? low : in->vma->start;
        high = high < in->vma->end ? high : in->vma->end;
    }
    while (*start > low && copy_too(mm, *start - PAGE, from))
        *start -= PAGE;
    while (*end < high && copy_too(mm, *end, from))
        *end += PAGE;
}

/* Drops what the entries of [start, end) refer to. */
static void put_old(struct mm *mm, uint64_t start, uint64_t end)
{
    struct pte_run run;

    while (start < end && ptab_next_run(&mm->pt, start, end, &run)) {
        if (!(run.pte & PTE_FILE))
            memfile_put(mm->s->mf, run.pte & PTE_FRAME, run.end - run.start);
        start = run.end;
    }
}

static int copy_for_write(struct mm *mm, const struct mm_fault_in *in)
{
    struct vma *v = in->vma;
    bool mapped = !mm->loading && (v->flags & VM_PROT);
    uint64_t start, end, off;
    struct mm_batch b;
    int r;

    if (ptab_get(&mm->pt, in->addr) & PTE_ANON)
        note_hot(mm, in->addr);
    choose_copies(mm, in, &start, &end);
    r = memfile_alloc(mm->s->mf, end - start, MEMFILE_OVERWRITE, &off);
    if (r < 0)
        return r;
    r = ptab_reserve(&mm->pt, start, end);
    if (r < 0)
        goto fail;
    for (uint64_t a = start; a < end; a += PAGE) {
        r = copy_page(mm, v, a, mm->s->mf_base + off + (a - start));
        if (r == 0)
            continue;
        if (a > in->addr) { /* a neighbour beyond the end of the file */
            memfile_put(mm->s->mf, off + (a - start), end - a);
            end = a;
            break;
        }
        goto fail;
    }
    if (mapped) {
        mm_batch_init(&b, mm);
        mm_batch_map(&b, start, end, mm->s->mf_fd, off, mm_vma_prot(v, true), true);
        r = mm_batch_finish_fresh(mm, v, &b);
        if (r < 0)
            goto fail;
    }
    put_old(mm, start, end);
    ptab_set_run(&mm->pt, start, end,
                 off | PTE_PRESENT | PTE_ANON | (mapped ? PTE_MAPPED : 0) | (mapped && (v->flags & VM_WRITE) ? PTE_WRITE : 0));
    v->nr_copied += (uint32_t)((end - start) / PAGE);
    return 0;
fail:
    memfile_put(mm->s->mf, off, end - start);
    return r;
}

/* A write to a shared mapping: the file hears of it (time stamps, space on the disk), then the pages about are writable. */
static int share_for_write(struct mm *mm, const struct mm_fault_in *in)
{
    struct vma *v = in->vma;
    struct file *f = v->vf->file;
    uint64_t end = (in->addr | (WRITABLE_SPAN * PAGE - 1)) + 1;
    struct mmap_extent ext;
    struct mm_batch b;
    struct pte_run run;
    int r;

    if (end > v->end)
        end = v->end;
    if (!ptab_next_run(&mm->pt, in->addr, end, &run) || run.start != in->addr)
        return -EAGAIN;
    r = f->ops->map_extent(f, vma_file_offset(v, in->addr), run.end - run.start, PROT_READ | PROT_WRITE, &ext);
    if (r < 0)
        return r;
    end = in->addr + page_up(ext.len);
    if (end > run.end)
        end = run.end;
    if (ext.mf) {
        memfile_put(ext.mf, ext.offset, page_up(ext.len));
        /* The file has another page there now than the one that we know (a hole was punched): start over. */
        if ((run.pte & PTE_FILE) || ext.offset != (run.pte & PTE_FRAME))
            return mm_zap(mm, in->addr, in->addr + PAGE);
    }
    mm_batch_init(&b, mm);
    if (run.pte & PTE_FILE)
        mm_batch_map(&b, in->addr, end, ext.fd, ext.offset, mm_vma_prot(v, true), false);
    else if (run.pte & PTE_MAPPED)
        mm_batch_protect(&b, in->addr, end, mm_vma_prot(v, true));
    else
        mm_batch_map(&b, in->addr, end, mm->s->mf_fd, run.pte & PTE_FRAME, mm_vma_prot(v, true), false);
    r = mm_batch_finish(&b, true);
    if (r < 0)
        return r;
    ptab_change(&mm->pt, in->addr, end, 0, PTE_MAPPED | (v->flags & VM_WRITE ? PTE_WRITE : 0));
    return 0;
}

int mm_make_writable(struct mm *mm, const struct mm_fault_in *in)
{
    pte_t pte = ptab_get(&mm->pt, in->addr);

    if (in->vma->flags & VM_SHARED)
        return share_for_write(mm, in);
    if (exclusive(mm, pte)) {
        if ((pte & PTE_MAPPED) && (in->vma->flags & VM_WRITE))
            return unprotect_around(mm, in);
        return mm_map_present(mm, in->addr, in->addr + PAGE, MM_BATCH_OPS, false);
    }
    return copy_for_write(mm, in);
}
