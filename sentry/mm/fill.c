/*
 * Filling absent pages: anonymous memory, the vDSO's pages, files.
 *
 * A fault costs many times what a page costs, so each brings in a window of pages. Windows on anonymous memory get wider with
 * what the vma has been given so far: from 64 KiB to 2 MiB, so that a guest that uses little is given little and one that walks
 * through gigabytes faults every 2 MiB. While it walks, each window doubles what there is. Pages of a window are reserved in
 * the memory file and mapped, but the host allocates them when they are touched; only where a sequential walk is seen (or the
 * window is tiny) are they allocated at once, which is cheaper a page.
 *
 * Host files are mapped straight from the host's page cache, in windows of 2 MiB. Tmpfs pages are mapped from the memory file.
 */
#include "sentry/mm/mm_internal.h"
#include "sentry/mm/safe_access.h"

#include <string.h>

#define MIN_WINDOW    16  /* pages */
#define MAX_WINDOW    512 /* pages: 2 MiB */
#define POPULATE_TINY 4   /* pages */

static uint64_t round_down_pow2(uint64_t n)
{
    return 1ULL << (63 - __builtin_clzll(n));
}

/* The aligned window of at most MAX_WINDOW pages about the fault, clipped to the vma and to absent pages. */
static void choose_window(struct mm *mm, const struct mm_fault_in *in, uint64_t pages, uint64_t *start, uint64_t *end)
{
    uint64_t wanted = page_up(in->want) / PAGE;

    if (wanted > pages)
        pages = wanted;
    if (pages > MAX_WINDOW)
        pages = MAX_WINDOW;
    pages = round_down_pow2(pages);
    *start = in->addr & ~(pages * PAGE - 1);
    *end = *start + pages * PAGE;
    if (*start < in->vma->start)
        *start = in->vma->start;
    if (*end > in->vma->end)
        *end = in->vma->end;
    ptab_clip_absent(&mm->pt, in->addr, start, end);
}

static uint64_t growing_window(const struct vma *v, bool walk)
{
    uint64_t pages = walk ? v->nr_filled : v->nr_filled / 4;

    return pages < MIN_WINDOW ? MIN_WINDOW : pages;
}

/* Enters pages that are now in the platform as `pte` says (but for PTE_MAPPED and PTE_WRITE while loading). */
static void enter(struct mm *mm, struct vma *v, uint64_t start, uint64_t end, pte_t pte, bool mapped)
{
    if (!mapped)
        pte &= ~(pte_t)(PTE_MAPPED | PTE_WRITE);
    ptab_set_run(&mm->pt, start, end, pte);
    v->nr_filled += (uint32_t)((end - start) / PAGE);
}

static int fill_anon(struct mm *mm, const struct mm_fault_in *in)
{
    struct vma *v = in->vma;
    bool mapped = !mm->loading && (v->flags & VM_PROT);
    struct mm_batch b;
    uint64_t start, end, off;
    int r;

    mm_predict_learn(mm, in->addr);
    if (in->populate) { /* just what is asked for */
        start = in->addr;
        end = in->want < MAX_WINDOW * PAGE ? in->addr + page_up(in->want) : in->addr + MAX_WINDOW * PAGE;
        if (end > v->end)
            end = v->end;
        ptab_clip_absent(&mm->pt, in->addr, &start, &end);
    } else {
        choose_window(mm, in, growing_window(v, in->addr == v->next_fault), &start, &end);
    }
    r = memfile_alloc(mm->s->mf, end - start, MEMFILE_ZERO, &off);
    if (r < 0) {
        start = in->addr;
        end = start + PAGE;
        r = memfile_alloc(mm->s->mf, PAGE, MEMFILE_ZERO, &off);
        if (r < 0)
            return r;
    }
    r = ptab_reserve(&mm->pt, start, end);
    if (r == 0 && mapped) {
        bool tiny = end - start <= POPULATE_TINY * PAGE;
        if (!tiny && (in->populate || in->addr == v->next_fault))
            memfile_back(mm->s->mf, off, end - start);
        mm_batch_init(&b, mm);
        mm_batch_map(&b, start, end, mm->s->mf_fd, off, mm_vma_prot(v, true), tiny || in->populate);
        r = mm_batch_finish_fresh(mm, v, &b);
    }
    if (r < 0) {
        memfile_put(mm->s->mf, off, end - start);
        return r;
    }
    enter(mm, v, start, end, off | PTE_PRESENT | PTE_ANON | PTE_MAPPED | (v->flags & VM_WRITE ? PTE_WRITE : 0), mapped);
    v->next_fault = end;
    return 0;
}

static int fill_special(struct mm *mm, const struct mm_fault_in *in)
{
    struct vma *v = in->vma;
    bool mapped = !mm->loading && (v->flags & VM_PROT);
    uint64_t off = v->special + (in->addr - v->start);
    struct mm_batch b;
    int r = ptab_reserve(&mm->pt, in->addr, in->addr + PAGE);

    if (r == 0 && mapped) {
        mm_batch_init(&b, mm);
        mm_batch_map(&b, in->addr, in->addr + PAGE, mm->s->mf_fd, off, mm_vma_prot(v, false), false);
        r = mm_batch_finish(&b, true);
    }
    if (r < 0)
        return r;
    memfile_get(mm->s->mf, off, PAGE);
    enter(mm, v, in->addr, in->addr + PAGE, off | PTE_PRESENT | PTE_MAPPED, mapped);
    return 0;
}

/*
 * The host will not map this file as the guest wants it (for execution from a noexec mount, mostly): a private mapping gets a
 * copy instead.
 */
static int fill_by_copy(struct mm *mm, const struct mm_fault_in *in)
{
    struct mm_fault_in copy = *in;

    if (in->vma->flags & VM_SHARED)
        return -EFAULT;
    copy.access = VM_WRITE;
    return mm_make_writable(mm, &copy);
}

/* Takes what one map_extent() gave for [at, at+len) into the batch; returns the bytes used. */
static uint64_t batch_extent(struct mm_batch *b, const struct vma *v, uint64_t at, uint64_t len, const struct mmap_extent *ext,
                             bool writable)
{
    uint64_t have = page_up(ext->len), use = have < len ? have : len;

    if (ext->mf && have > use)
        memfile_put(ext->mf, ext->offset + use, have - use);
    mm_batch_map(b, at, at + use, ext->fd, ext->offset, mm_vma_prot(v, writable), false);
    return use;
}

static int fill_file(struct mm *mm, const struct mm_fault_in *in)
{
    struct vma *v = in->vma;
    struct file *f = v->vf->file;
    bool mapped = !mm->loading && (v->flags & VM_PROT), before = false;
    bool writable =
        (v->flags & VM_SHARED) && (in->access == VM_WRITE || (v->flags & (VM_SHMEM | VM_WRITE)) == (VM_SHMEM | VM_WRITE));
    int access = PROT_READ | (int)(v->flags & VM_EXEC) | (writable ? PROT_WRITE : 0);
    uint64_t start, end, used;
    struct mmap_extent ext, ext0;
    struct mm_batch b;
    pte_t pte;
    int r;

    choose_window(mm, in, MAX_WINDOW, &start, &end);
    r = ptab_reserve(&mm->pt, start, end);
    if (r < 0)
        return r;
    mm_batch_init(&b, mm);
    /* What lies before comes along when it is the same piece of the host's file. */
    r = f->ops->map_extent(f, vma_file_offset(v, in->addr), end - in->addr, access, &ext);
    if (r < 0)
        return r;
    if (!ext.mf && start < in->addr && f->ops->map_extent(f, vma_file_offset(v, start), in->addr - start, access, &ext0) == 0) {
        before = !ext0.mf && ext0.fd == ext.fd && page_up(ext0.len) >= in->addr - start &&
                 ext0.offset + (in->addr - start) == ext.offset;
        if (before)
            batch_extent(&b, v, start, in->addr - start, &ext0, writable);
        else if (ext0.mf)
            memfile_put(ext0.mf, ext0.offset, page_up(ext0.len));
    }
    if (!before)
        start = in->addr;
    used = batch_extent(&b, v, in->addr, end - in->addr, &ext, writable);
    if (mapped) {
        r = mm_batch_finish_fresh(mm, v, &b);
        if (r < 0) {
            if (ext.mf)
                memfile_put(ext.mf, ext.offset, used);
            return !ext.mf && r != -EAGAIN ? fill_by_copy(mm, in) : r;
        }
    }
    pte = PTE_PRESENT | PTE_MAPPED | (writable && (v->flags & VM_WRITE) ? PTE_WRITE : 0);
    pte |= ext.mf ? ext.offset : PTE_FILE;
    enter(mm, v, start, in->addr + used, pte, mapped);
    return 0;
}

int mm_fill(struct mm *mm, const struct mm_fault_in *in)
{
    if (in->vma->flags & VM_SPECIAL)
        return fill_special(mm, in);
    if (vma_is_anon(in->vma))
        return fill_anon(mm, in);
    if (in->access == VM_WRITE && !(in->vma->flags & VM_SHARED)) {
        int r = mm_make_writable(mm, in); /* copies straight from the file */
        if (r != -ENOENT)
            return r;
    }
    return fill_file(mm, in);
}
