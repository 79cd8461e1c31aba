/*
 * mmap(2), munmap(2), and where mappings go.
 *
 * The order of checks is Linux's do_mmap(), because the order decides which errno a call with several faults gets.
 */
#include "sentry/mm/mm_internal.h"
#include "vfs/mount.h"
#include "vfs/tmpfs/tmpfs.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
/* What MAP_SHARED has always ignored, so that MAP_SHARED_VALIDATE accepts it; Linux's LEGACY_MAP_MASK. */
#define LEGACY_FLAGS                                                                                                      \
    (MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_GROWSDOWN | MAP_LOCKED | \
     MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_32BIT | 0x4000000 /* MAP_UNINITIALIZED */)

#define MAP_32BIT_LOW  0x40000000ULL
#define MAP_32BIT_HIGH 0x80000000ULL

bool mm_may_expand(struct mm *mm, const struct mm_limits *lim, uint32_t vm_flags, uint64_t bytes)
{
    if (!lim)
        return true;
    if (lim->as != UINT64_MAX && mm->total_vm + bytes > lim->as)
        return false;
    if ((vm_flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN)) == VM_WRITE && lim->data != UINT64_MAX)
        return mm->data_vm + bytes <= lim->data;
    return true;
}

int mm_may_lock(struct mm *mm, const struct mm_limits *lim, uint64_t bytes)
{
    if (!lim || lim->may_lock_over || lim->memlock == UINT64_MAX)
        return 0;
    return mm->locked_vm + bytes > lim->memlock ? -EAGAIN : 0;
}

bool mm_may_commit(struct mm *mm, uint32_t vm_flags, uint64_t bytes)
{
    if ((vm_flags & (VM_NORESERVE | VM_SHARED | VM_WRITE)) != VM_WRITE)
        return true;
    return bytes <= mm->s->total_ram;
}

uint64_t mm_get_unmapped_area(struct mm *mm, uint64_t hint, uint64_t len, int map_flags)
{
    uint64_t min = page_up(mm->s->limits.min), found = 0;

    if (len > mm_task_size(mm))
        return 0;
    if (map_flags & MAP_32BIT)
        return vma_find_gap_bottomup(mm, MAP_32BIT_LOW, MAP_32BIT_HIGH, len);
    hint = page_down(hint);
    if (hint) {
        if (hint < min)
            hint = min;
        /* A gap search over just the place that is hinted also minds guard gaps. */
        if (hint <= mm_task_size(mm) - len && vma_find_gap_bottomup(mm, hint, hint + len, len) == hint)
            return hint;
    }
    found = vma_find_gap_topdown(mm, min, mm->mmap_base, len);
    return found ? found : vma_find_gap_bottomup(mm, mm_task_size(mm) / 3, mm_task_size(mm), len);
}

uint64_t mm_find_free(struct mm *mm, uint64_t len)
{
    mm_rdlock(mm);
    uint64_t found = mm_get_unmapped_area(mm, 0, page_up(len), 0);
    mm_rdunlock(mm);
    return found;
}

static int unmap_locked(struct mm *mm, uint64_t start, uint64_t end, bool later)
{
    struct vma *v = vma_find(mm, start);
    int r;

    if (!v || v->start >= end)
        return 0;
    if (vma_range_sealed(mm, start, end))
        return -EPERM;
    r = vma_cut(mm, start, end);
    if (r == 0)
        r = later ? mm_zap_later(mm, start, end) : mm_zap(mm, start, end);
    if (r < 0)
        return r;
    for (v = vma_find(mm, start); v && v->start < end; v = vma_find(mm, start))
        vma_remove(mm, v);
    return 0;
}

int mm_unmap_locked(struct mm *mm, uint64_t start, uint64_t end)
{
    return unmap_locked(mm, start, end, false);
}

int64_t mm_munmap(struct mm *mm, uint64_t addr, uint64_t len)
{
    int r;

    if ((addr & ~GUEST_PAGE_MASK) || !mm_range_ok(mm, addr, len))
        return -EINVAL;
    len = page_up(len);
    if (len == 0)
        return -EINVAL;
    mm_wrlock(mm);
    r = unmap_locked(mm, addr, addr + len, true);
    mm_wrunlock(mm);
    return r;
}

/* An mmap(2) call on its way. */
struct map_request {
    uint64_t addr, len, off;
    int prot, flags;
    uint32_t vm_flags;
    struct file *file;  /* what is mapped; NULL: private anonymous memory */
    struct file *shmem; /* made for this call; counted */
};

static bool path_noexec(const struct file *f)
{
    return f->path.mnt && (f->path.mnt->flags & MS_NOEXEC);
}

/* The part of do_mmap() that looks at a file. */
static int check_file(struct map_request *q)
{
    struct file *f = q->file;
    bool shared = false;

    switch (q->flags & MAP_TYPE) {
    case MAP_SHARED_VALIDATE:
        if (q->flags & ~(LEGACY_FLAGS | MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE))
            return -EOPNOTSUPP; /* MAP_SYNC needs persistent memory */
        __attribute__((fallthrough));
    case MAP_SHARED:
        shared = true;
        if ((q->prot & PROT_WRITE) && !(f->mode & FMODE_WRITE))
            return -EACCES;
        q->vm_flags |= VM_SHARED | VM_MAYSHARE;
        if (!(f->mode & FMODE_WRITE))
            q->vm_flags &= ~(uint32_t)(VM_MAYWRITE | VM_SHARED);
        break;
    case MAP_PRIVATE:
        break;
    default:
        return -EINVAL;
    }
    if (!(f->mode & FMODE_READ))
        return -EACCES;
    if (path_noexec(f)) {
        if (q->prot & PROT_EXEC)
            return -EPERM;
        q->vm_flags &= ~(uint32_t)VM_MAYEXEC;
    }
    if (!f->ops->mmap && !f->ops->map_extent)
        return -ENODEV;
    if (q->flags & MAP_GROWSDOWN)
        return -EINVAL;
    int r = f->ops->mmap ? f->ops->mmap(f, q->prot, shared, q->off, q->len) : 0;
    if (r <= 0)
        return r;
    q->vm_flags &= ~(uint32_t)VM_MAYWRITE;
    return 0;
}

static bool is_dev_zero(const struct file *f)
{
    return f && S_ISCHR(f->inode->mode) && f->inode->rdev == makedev(1, 5);
}

/* Anonymous memory, also by way of /dev/zero. Shared memory gets a file of its own in the memory file. */
static int check_anon(struct mm *mm, struct map_request *q)
{
    int r;

    switch (q->flags & MAP_TYPE) {
    case MAP_PRIVATE:
        q->file = NULL;
        q->vm_flags &= ~(uint32_t)VM_DENYWRITE;
        return 0;
    case MAP_SHARED:
        if (q->flags & MAP_GROWSDOWN)
            return -EINVAL;
        if (q->file && !(q->file->mode & FMODE_WRITE)) { /* /dev/zero, open for reading: nothing will ever be written */
            if (q->prot & PROT_WRITE)
                return -EACCES;
            q->vm_flags &= ~(uint32_t)VM_MAYWRITE;
        }
        r = shmem_file_create(mm->s->mf, "dev/zero", q->len, &q->shmem);
        if (r < 0)
            return r;
        q->file = q->shmem;
        q->off = 0;
        q->vm_flags |= VM_SHARED | VM_MAYSHARE | VM_SHMEM;
        return 0;
    default:
        return -EINVAL;
    }
}

/* What needs no lock, in Linux's order but for the address, which is chosen under the lock. */
static int check_request(struct mm *mm, const struct mm_limits *lim, struct map_request *q)
{
    if (q->off & ~GUEST_PAGE_MASK)
        return -EINVAL;
    if ((q->flags & MAP_HUGETLB) && q->file)
        return -EINVAL;
    if (q->flags & MAP_HUGETLB)
        return -ENOMEM; /* no huge pages are reserved */
    if (q->len == 0)
        return -EINVAL;
    if (q->flags & MAP_FIXED_NOREPLACE)
        q->flags |= MAP_FIXED;
    if (q->len > mm_task_size(mm))
        return -ENOMEM;
    q->len = page_up(q->len);
    if (q->off + q->len < q->off)
        return -EOVERFLOW;
    if (q->flags & MAP_FIXED) {
        if (q->len > mm_task_size(mm) || q->addr > mm_task_size(mm) - q->len)
            return -ENOMEM;
        if (q->addr & ~GUEST_PAGE_MASK)
            return -EINVAL;
        if (q->addr < mm->s->limits.min)
            return -EPERM;
    }
    if ((q->flags & MAP_LOCKED) && lim && lim->memlock == 0 && !lim->may_lock_over)
        return -EPERM;
    if (q->file && q->off + q->len > INT64_MAX)
        return -EOVERFLOW;
    q->vm_flags = ((uint32_t)q->prot & VM_PROT) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
    if (q->flags & MAP_GROWSDOWN)
        q->vm_flags |= VM_GROWSDOWN;
    if (q->flags & MAP_LOCKED)
        q->vm_flags |= VM_LOCKED;
    if (q->flags & MAP_DENYWRITE)
        q->vm_flags |= VM_DENYWRITE;
    if (q->flags & MAP_NORESERVE)
        q->vm_flags |= VM_NORESERVE;
    return q->file && !is_dev_zero(q->file) ? check_file(q) : check_anon(mm, q);
}

/* Pages of [start, end) that are mapped already and so do not add to the sums. */
static uint64_t overlap(struct mm *mm, uint64_t start, uint64_t end)
{
    uint64_t n = 0;

    for (struct vma *v = vma_find(mm, start); v && v->start < end; v = vma_next(v))
        n += (v->end < end ? v->end : end) - (v->start > start ? v->start : start);
    return n;
}

/* Brings a small anonymous mapping in if it will be touched anyway. */
static void touch_small(struct mm *mm, const struct map_request *q)
{
    struct mm_fault_in in = {.addr = q->addr, .access = VM_WRITE, .want = q->len};

    if (q->file || q->len > MM_SMALL_ANON || mm->loading)
        return;
    if ((q->vm_flags & (VM_READ | VM_WRITE | VM_GROWSDOWN | VM_NORESERVE)) != (VM_READ | VM_WRITE))
        return;
    in.vma = vma_at(mm, q->addr);
    if (mm_predict_touch(mm, q->addr, q->len))
        mm_fault_page(mm, &in); /* if not now, then by a fault */
}

static int64_t map_locked(struct mm *mm, const struct mm_limits *lim, struct map_request *q)
{
    bool writable = (q->vm_flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE);
    uint64_t extra = q->len;
    struct vma *v;
    int r;

    if (mm->nr_vmas >= MAX_MAP_COUNT)
        return -ENOMEM;
    if (q->flags & MAP_FIXED) {
        const struct platform_limits *l = &mm->s->limits;
        if (q->addr < l->hole_end && l->hole_start < q->addr + q->len)
            return q->flags & MAP_FIXED_NOREPLACE ? -EEXIST : -ENOMEM;
        if ((q->flags & MAP_FIXED_NOREPLACE) && !vma_range_free(mm, q->addr, q->addr + q->len))
            return -EEXIST;
        extra -= overlap(mm, q->addr, q->addr + q->len);
    } else {
        q->addr = mm_get_unmapped_area(mm, q->addr, q->len, q->flags);
        if (!q->addr)
            return -ENOMEM;
    }
    q->vm_flags |= mm->def_flags;
    if (q->vm_flags & VM_LOCKED) {
        r = mm_may_lock(mm, lim, q->len);
        if (r < 0)
            return r;
    }
    if (!mm_may_expand(mm, lim, q->vm_flags, extra) || !mm_may_commit(mm, q->vm_flags, q->len))
        return -ENOMEM;

    v = vma_alloc();
    if (!v)
        return -ENOMEM;
    v->start = q->addr;
    v->end = q->addr + q->len;
    v->flags = q->vm_flags;
    v->pgoff = q->file ? q->off : 0;
    r = q->file ? vma_file_create(mm, q->file, writable, &v->vf) : 0;
    if (r == 0 && (q->flags & MAP_FIXED))
        r = mm_unmap_locked(mm, q->addr, q->addr + q->len);
    if (r < 0) {
        if (v->vf) {
            v->vf->next_dead = mm->dead_files;
            mm->dead_files = v->vf;
        }
        free(v);
        return r;
    }
    vma_link(mm, v);
    vma_merge(mm, v);
    if (q->file && (q->vm_flags & VM_DENYWRITE))
        mm_fresh_note(mm, q->addr);
    touch_small(mm, q);
    if ((q->vm_flags & VM_LOCKED_MASK) == VM_LOCKED || (q->flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE)
        mm_populate_locked(mm, q->addr, q->addr + q->len, false); /* as far as it goes */
    return (int64_t)q->addr;
}

/* Emulated by new mappings, as in Linux since 4.0. */
int64_t mm_remap_file_pages(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int prot, uint64_t pgoff,
                            int flags)
{
    uint64_t start = page_down(addr), size = page_down(len), at;
    struct file *f = NULL;
    struct vma *v;
    int64_t r = -EINVAL;
    int mmap_flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE | (flags & MAP_NONBLOCK);

    if (prot || start + size <= start || pgoff + size / PAGE < pgoff || pgoff > INT64_MAX / PAGE)
        return -EINVAL;
    mm_rdlock(mm);
    v = vma_at(mm, start);
    if (v && v->vf && (v->flags & VM_SHARED)) {
        uint32_t vm_flags = v->flags;
        f = v->vf->file;
        prot = (int)(v->flags & VM_PROT);
        for (at = v->end; at < start + size; at = v->end) {
            v = vma_at(mm, at);
            if (!v || !v->vf || v->vf->file != f || v->flags != vm_flags)
                break;
        }
        f = at < start + size ? NULL : file_get(f);
        if (vm_flags & VM_LOCKED)
            mmap_flags |= MAP_LOCKED;
    }
    mm_rdunlock(mm);
    if (f) {
        r = mm_mmap(mm, lim, start, size, prot, mmap_flags, f, pgoff * PAGE);
        file_put(f);
    }
    return r < 0 ? r : 0;
}

int64_t mm_mmap(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int prot, int flags, struct file *f,
                uint64_t off)
{
    struct map_request q = {.addr = addr, .len = len, .off = off, .prot = prot, .flags = flags, .file = f};
    int64_t r = check_request(mm, lim, &q);

    if (r == 0) {
        mm_wrlock(mm);
        r = map_locked(mm, lim, &q);
        mm_wrunlock(mm);
    }
    if (q.shmem)
        file_put(q.shmem);
    return r;
}
