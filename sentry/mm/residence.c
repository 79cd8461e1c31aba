/* msync(2) and mincore(2). */
#include "sentry/mm/mm_internal.h"
#include "sentry/mm/usercopy.h"

#include <string.h>

int64_t mm_msync(struct mm *mm, uint64_t addr, uint64_t len, int flags)
{
    uint64_t start = addr, end = addr + page_up(len);
    int64_t unmapped = 0;

    if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (addr & ~GUEST_PAGE_MASK))
        return -EINVAL;
    if ((flags & MS_ASYNC) && (flags & MS_SYNC))
        return -EINVAL;
    if (end < addr || (len && page_up(len) == 0))
        return -ENOMEM;
    while (start < end) {
        struct vma *v;
        struct file *f = NULL;
        int r = 0;

        mm_rdlock(mm);
        v = vma_find(mm, start);
        if (!v || v->start >= end) {
            mm_rdunlock(mm);
            return -ENOMEM;
        }
        if (v->start > start)
            unmapped = -ENOMEM;
        if ((flags & MS_INVALIDATE) && (v->flags & VM_LOCKED))
            r = -EBUSY;
        else if ((flags & MS_SYNC) && v->vf && (v->flags & VM_SHARED) && !(v->flags & VM_SHMEM))
            f = file_get(v->vf->file);
        start = v->end;
        mm_rdunlock(mm);
        if (f) {
            r = f->ops->fsync ? f->ops->fsync(f, true) : 0;
            file_put(f);
        }
        if (r < 0)
            return r;
    }
    return unmapped;
}

/* Asks the host which of `n` pages at sentry memory `p` are in memory. */
static void host_residence(const uint8_t *p, uint64_t n, unsigned char *vec)
{
    if (mincore((void *)(uintptr_t)p, n * PAGE, vec) < 0)
        memset(vec, 1, n);
    for (uint64_t i = 0; i < n; i++)
        vec[i] &= 1;
}

/* What the page cache has of a file, whether mapped or not. */
static void file_residence(const struct vma *v, uint64_t addr, uint64_t n, unsigned char *vec)
{
    struct file *f = v->vf->file;
    struct mmap_extent ext;

    for (uint64_t i = 0, got; i < n; i += got) {
        struct file_window w;
        uint64_t off = vma_file_offset(v, addr + i * PAGE);
        int r = file_window_get(v->vf, off, (n - i) * PAGE, false, &w);

        got = 1;
        if (r == 0) {
            got = w.len / PAGE < n - i ? w.len / PAGE : n - i;
            host_residence(w.ptr, got, vec + i);
            file_window_put(&w);
        } else if (r == -EAGAIN && f->ops->map_extent(f, off, (n - i) * PAGE, PROT_READ, &ext) == 0 && ext.mf) {
            got = page_up(ext.len) / PAGE < n - i ? page_up(ext.len) / PAGE : n - i;
            host_residence(memfile_ptr(ext.mf, ext.offset), got, vec + i);
            memfile_put(ext.mf, ext.offset, page_up(ext.len));
        } else if (r < 0 && r != -EAGAIN) {
            return; /* the end of the file */
        }
    }
}

/* Fills vec for `n` pages from `addr` on, within one vma. */
static void residence(struct mm *mm, const struct vma *v, uint64_t addr, uint64_t n, unsigned char *vec)
{
    uint64_t end = addr + n * PAGE;
    struct pte_run run;

    memset(vec, 0, n);
    if (v->vf)
        file_residence(v, addr, n, vec);
    /* Pages of a window in the memory file that were never touched are holes. */
    for (uint64_t at = addr; at < end && ptab_next_run(&mm->pt, at, end, &run); at = run.end)
        if (!(run.pte & PTE_FILE))
            host_residence(mm_frame_ptr(mm, run.pte), (run.end - run.start) / PAGE, &vec[(run.start - addr) / PAGE]);
}

int mm_page_state(struct mm *mm, uint64_t addr)
{
    int r = -EFAULT;

    mm_rdlock(mm);
    if (vma_at(mm, addr))
        r = ptab_get(&mm->pt, addr) & PTE_PRESENT ? 0 : -ENOENT;
    mm_rdunlock(mm);
    return r;
}

bool mm_range_mapped(struct mm *mm, uint64_t addr, uint64_t len)
{
    uint64_t at = addr;
    struct vma *v;

    mm_rdlock(mm);
    while (at < addr + len && (v = vma_at(mm, at)))
        at = v->end;
    mm_rdunlock(mm);
    return at >= addr + len;
}

int64_t mm_mincore(struct mm *mm, uint64_t addr, uint64_t len, guest_addr vec)
{
    unsigned char buf[512];
    uint64_t pages = page_up(len) / PAGE;

    if (addr & ~GUEST_PAGE_MASK)
        return -EINVAL;
    if (!mm_range_ok(mm, addr, len))
        return -ENOMEM;
    if (!mm_range_ok(mm, vec.a, pages))
        return -EFAULT;
    while (pages > 0) {
        uint64_t n = pages < sizeof(buf) ? pages : sizeof(buf);
        struct vma *v;

        mm_rdlock(mm);
        v = vma_at(mm, addr);
        if (v) {
            if (n > (v->end - addr) / PAGE)
                n = (v->end - addr) / PAGE;
            residence(mm, v, addr, n, buf);
        }
        mm_rdunlock(mm);
        if (!v)
            return -ENOMEM;
        if (mm_copy_out(mm, vec, buf, n) < 0)
            return -EFAULT;
        addr += n * PAGE;
        vec = guest_add(vec, n);
        pages -= n;
    }
    return 0;
}
