/*
 * madvise(2), as a table: what each advice does to the part of a vma that it meets, and when that is refused.
 *
 * MADV_FREE frees at once, which its manual page allows. Advice about paging and huge pages is accepted and not followed: the
 * host decides about both.
 */
#include "sentry/mm/mm_internal.h"

#include <fcntl.h>
#include <linux/falloc.h>

#ifndef MADV_COLD
#define MADV_COLD    20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

struct advice {
    bool discards; /* -EPERM for sealed memory that the guest could not write either */
    int (*apply)(struct mm *mm, struct vma *v, uint64_t start, uint64_t end); /* NULL: accepted, nothing to do */
    uint32_t set, clear;                                                      /* of the vma's flags */
    uint32_t refuse;                                                          /* -EINVAL for vmas with any of these */
    bool anon_only;                                                           /* -EINVAL for files */
};

static int zap(struct mm *mm, struct vma *v, uint64_t start, uint64_t end)
{
    return mm_zap(mm, start, end);
}

static const struct advice advices[] = {
    [MADV_NORMAL] = {0},
    [MADV_RANDOM] = {0},
    [MADV_SEQUENTIAL] = {0},
    [MADV_WILLNEED] = {0},
    [MADV_DONTNEED] = {.discards = true, .apply = zap, .refuse = VM_LOCKED},
    [MADV_FREE] = {.discards = true, .apply = zap, .refuse = VM_LOCKED, .anon_only = true},
    [MADV_DONTFORK] = {.discards = true, .set = VM_DONTCOPY},
    [MADV_DOFORK] = {.clear = VM_DONTCOPY},
    [MADV_MERGEABLE] = {.refuse = ~0U}, /* as a kernel without KSM */
    [MADV_UNMERGEABLE] = {.refuse = ~0U},
    [MADV_HUGEPAGE] = {0},
    [MADV_NOHUGEPAGE] = {0},
    [MADV_DONTDUMP] = {.set = VM_DONTDUMP},
    [MADV_DODUMP] = {.clear = VM_DONTDUMP},
    [MADV_WIPEONFORK] = {.discards = true, .set = VM_WIPEONFORK, .refuse = VM_SHARED | VM_MAYSHARE, .anon_only = true},
    [MADV_KEEPONFORK] = {.clear = VM_WIPEONFORK},
    [MADV_COLD] = {.refuse = VM_LOCKED},
    [MADV_PAGEOUT] = {.refuse = VM_LOCKED},
    [MADV_DONTNEED_LOCKED] = {.discards = true, .apply = zap},
};

static int advise_part(struct mm *mm, const struct advice *adv, struct vma *v, uint64_t start, uint64_t end)
{
    uint32_t flags = (v->flags & ~adv->clear) | adv->set;
    int r;

    if ((v->flags & adv->refuse) || (adv->anon_only && !vma_is_anon(v)))
        return -EINVAL;
    if (adv->discards && (v->flags & VM_SEALED) && vma_is_anon(v) && !(v->flags & VM_WRITE))
        return -EPERM;
    if (adv->apply)
        return adv->apply(mm, v, start, end);
    if (flags == v->flags)
        return 0;
    r = vma_cut(mm, start, end);
    if (r < 0)
        return r == -ENOMEM ? -EAGAIN : r;
    v = vma_at(mm, start);
    vma_set_flags(mm, v, flags);
    vma_merge(mm, v);
    return 0;
}

static int64_t advise(struct mm *mm, const struct advice *adv, uint64_t start, uint64_t end)
{
    int64_t unmapped = 0;

    while (start < end) {
        struct vma *v = vma_find(mm, start);
        uint64_t part_end;
        int r;
        if (!v || v->start >= end)
            return -ENOMEM;
        if (v->start > start) {
            unmapped = -ENOMEM; /* Linux goes on, and says so at the end */
            start = v->start;
        }
        part_end = v->end < end ? v->end : end;
        r = advise_part(mm, adv, v, start, part_end);
        if (r < 0)
            return r;
        start = part_end;
    }
    return unmapped;
}

/* MADV_REMOVE punches holes in the file itself. The lock is let go meanwhile: the file will ask us to drop the pages. */
static int64_t punch(struct mm *mm, uint64_t start, uint64_t end)
{
    while (start < end) {
        struct vma *v;
        struct file *f = NULL;
        uint64_t off = 0, part_end = 0;
        int r = 0;

        mm_rdlock(mm);
        v = vma_at(mm, start);
        if (!v)
            r = -ENOMEM;
        else if ((v->flags & VM_LOCKED) || !v->vf)
            r = -EINVAL;
        else if ((v->flags & (VM_SHARED | VM_WRITE)) != (VM_SHARED | VM_WRITE))
            r = -EACCES;
        if (r == 0) {
            f = file_get(v->vf->file);
            off = vma_file_offset(v, start);
            part_end = v->end < end ? v->end : end;
        }
        mm_rdunlock(mm);
        if (r < 0)
            return r;
        if (!f->ops->fallocate)
            r = -EOPNOTSUPP;
        else
            r = f->ops->fallocate(f, NULL, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (loff_t)off, (loff_t)(part_end - start));
        file_put(f);
        if (r < 0)
            return r;
        start = part_end;
    }
    return 0;
}

/* MADV_POPULATE_READ and _WRITE. */
static int64_t populate(struct mm *mm, uint64_t start, uint64_t end, bool write)
{
    int64_t r = 0;

    mm_wrlock(mm);
    while (start < end && r == 0) {
        struct vma *v = vma_at(mm, start);
        uint64_t part_end;
        if (!v) {
            r = -ENOMEM;
            break;
        }
        part_end = v->end < end ? v->end : end;
        if (!(v->flags & VM_PROT) || (write && !(v->flags & VM_WRITE)))
            r = -EINVAL;
        for (uint64_t a = start; a < part_end && r == 0; a += PAGE) {
            struct mm_fault_in in = {
                .vma = v, .addr = a, .access = write ? VM_WRITE : VM_READ, .want = part_end - a, .populate = true};
            enum mm_fault_result res = mm_fault_page(mm, &in);
            if (res != MM_FAULT_OK)
                r = res == MM_FAULT_OOM ? -ENOMEM : -EFAULT;
        }
        start = part_end;
    }
    mm_wrunlock(mm);
    return r;
}

int64_t mm_madvise(struct mm *mm, uint64_t addr, uint64_t len, int advice)
{
    const struct advice *adv = NULL;
    uint64_t end;
    int64_t r;

    switch (advice) {
    case MADV_REMOVE:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
    case MADV_HWPOISON:
    case MADV_SOFT_OFFLINE:
        break;
    default:
        if (advice < 0 || (size_t)advice >= ARRAY_SIZE(advices) || (advice > MADV_RANDOM && advice < MADV_SEQUENTIAL) ||
            (advice > MADV_DONTNEED && advice < MADV_FREE))
            return -EINVAL;
        adv = &advices[advice];
    }
    if (addr & ~GUEST_PAGE_MASK)
        return -EINVAL;
    end = addr + page_up(len);
    if ((len && page_up(len) == 0) || end < addr)
        return -EINVAL;
    if (end == addr)
        return 0;
    if (advice == MADV_HWPOISON || advice == MADV_SOFT_OFFLINE)
        return -EPERM;
    if (advice == MADV_REMOVE)
        return punch(mm, addr, end);
    if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
        return populate(mm, addr, end, advice == MADV_POPULATE_WRITE);
    mm_wrlock(mm);
    r = advise(mm, adv, addr, end);
    mm_wrunlock(mm);
    return r;
}
