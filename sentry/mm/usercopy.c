/*
 * Copies between the sentry and guest memory.
 *
 * The fast path holds the reader lock, finds the page's entry in a small cache, and copies from or to the memory file, which is
 * always mapped: an entry that is PTE_MAPPED may be read by the guest, one that is PTE_WRITE may be written, so protections
 * need no look at the vma. Pages of host files go through the sentry's windows on them. Everything else is first faulted in, as
 * the guest's own access would.
 */
#include "sentry/mm/usercopy.h"

#include "sentry/mm/resident.h"
#include "sentry/mm/safe_access.h"

#include <string.h>

/* Others may unmap what we fault in, but not for ever. */
#define MAX_TRIES 64

enum copy_kind { COPY_IN, COPY_OUT, COPY_ZERO };

static long copy_bytes(enum copy_kind kind, uint8_t *guest, void *host, size_t n)
{
    switch (kind) {
    case COPY_IN:
        return safe_copy(host, guest, n);
    case COPY_OUT:
        return safe_copy(guest, host, n);
    default:
        return safe_zero(guest, n);
    }
}

/* Copies within one page. */
static int copy_piece_slow(struct mm *mm, uint64_t addr, void *host, size_t n, uint64_t want, enum copy_kind kind)
{
    bool write = kind != COPY_IN;

    for (int i = 0; i < MAX_TRIES; i++) {
        struct file_window w;
        uint8_t *p;
        bool file = false;
        long r = 0;

        mm_rdlock(mm);
        p = mm_resident(mm, addr, write);
        if (!p && (file = mm_resident_file(mm, addr, write, &w)))
            p = w.ptr + (addr & (PAGE - 1));
        if (p)
            r = copy_bytes(kind, p, host, n);
        if (file)
            file_window_put(&w);
        mm_rdunlock(mm);
        if (p)
            return r ? -EFAULT : 0;
        if (mm_fault_range(mm, addr, want, write ? VM_WRITE : VM_READ) < 0)
            return -EFAULT;
    }
    return -EFAULT;
}

static int copy(struct mm *mm, uint64_t addr, void *host, size_t n, enum copy_kind kind)
{
    bool write = kind != COPY_IN;

    if (unlikely(!mm_range_ok(mm, addr, n)))
        return -EFAULT;
    while (n > 0) {
        size_t piece = PAGE - (addr & (PAGE - 1));
        uint8_t *p;
        long r = 0;

        if (piece > n)
            piece = n;
        mm_rdlock(mm);
        p = mm_resident(mm, addr, write);
        if (likely(p != NULL))
            r = copy_bytes(kind, p, host, piece);
        mm_rdunlock(mm);
        if (unlikely(!p))
            r = copy_piece_slow(mm, addr, host, piece, n, kind);
        if (unlikely(r))
            return -EFAULT;
        addr += piece;
        if (host)
            host = (char *)host + piece;
        n -= piece;
    }
    return 0;
}

int mm_copy_in(struct mm *mm, void *dst, guest_addr src, size_t n)
{
    return copy(mm, src.a, dst, n, COPY_IN);
}

int mm_copy_out(struct mm *mm, guest_addr dst, const void *src, size_t n)
{
    return copy(mm, dst.a, (void *)(uintptr_t)src, n, COPY_OUT);
}

int mm_clear(struct mm *mm, guest_addr dst, size_t n)
{
    return copy(mm, dst.a, NULL, n, COPY_ZERO);
}

ssize_t mm_copy_str_in(struct mm *mm, char *dst, guest_addr src, size_t max)
{
    size_t done = 0, step = 128; /* most strings are short */

    while (done < max) {
        uint64_t addr = src.a + done;
        size_t n = PAGE - (addr & (PAGE - 1));
        char *nul;

        n = n < step ? n : step;
        n = n < max - done ? n : max - done;
        if (copy(mm, addr, dst + done, n, COPY_IN) < 0)
            return -EFAULT;
        nul = memchr(dst + done, 0, n);
        if (nul)
            return nul - dst;
        done += n;
        step = PAGE;
    }
    return -ENAMETOOLONG;
}

/* Copies within one page whatever the protection. */
static int force_piece(struct mm *mm, uint64_t addr, void *host, size_t n, enum copy_kind kind)
{
    struct mm_fault_in in = {.addr = page_down(addr), .access = kind == COPY_IN ? VM_READ : VM_WRITE, .force = true};
    struct file_window w;
    struct vma *v;
    int r = -EFAULT;
    pte_t pte;

    mm_wrlock(mm);
    v = in.vma = vma_at(mm, addr);
    if (!v)
        goto out;
    /* As FOLL_FORCE: what could be made accessible may be read; only private mappings may be written against protection. */
    if (kind == COPY_IN ? !(v->flags & (VM_MAYREAD | VM_READ)) : !(v->flags & VM_MAYWRITE) && !(v->flags & VM_WRITE))
        goto out;
    if (kind == COPY_OUT && (v->flags & VM_MAYSHARE) && !(v->flags & VM_WRITE))
        goto out;
    if (mm_fault_page(mm, &in) != MM_FAULT_OK)
        goto out;
    pte = ptab_get(&mm->pt, addr);
    if (!(pte & PTE_FILE)) {
        r = copy_bytes(kind, mm_frame_ptr(mm, pte) + (addr & (PAGE - 1)), host, n) ? -EFAULT : 0;
    } else if (file_window_get(v->vf, vma_file_offset(v, in.addr), PAGE, kind == COPY_OUT, &w) == 0) {
        r = copy_bytes(kind, w.ptr + (addr & (PAGE - 1)), host, n) ? -EFAULT : 0;
        file_window_put(&w);
    }
out:
    mm_wrunlock(mm);
    return r;
}

static int force(struct mm *mm, uint64_t addr, void *host, size_t n, enum copy_kind kind)
{
    if (!mm_range_ok(mm, addr, n))
        return -EFAULT;
    while (n > 0) {
        size_t piece = PAGE - (addr & (PAGE - 1));
        int r;

        piece = piece < n ? piece : n;
        r = force_piece(mm, addr, host, piece, kind);
        if (r < 0)
            return r;
        addr += piece;
        host = (char *)host + piece;
        n -= piece;
    }
    return 0;
}

int mm_copy_in_force(struct mm *mm, void *dst, guest_addr src, size_t n)
{
    return force(mm, src.a, dst, n, COPY_IN);
}

int mm_copy_out_force(struct mm *mm, guest_addr dst, const void *src, size_t n)
{
    return force(mm, dst.a, (void *)(uintptr_t)src, n, COPY_OUT);
}

enum word_kind { WORD_LOAD, WORD_STORE, WORD_CMPXCHG };

static long word_access(enum word_kind kind, uint32_t *p, uint32_t *val, uint32_t desired)
{
    switch (kind) {
    case WORD_LOAD:
        return safe_load32(p, val);
    case WORD_STORE:
        return safe_store32(p, desired);
    default:
        return safe_cmpxchg32(p, val, desired);
    }
}

static int word(struct mm *mm, uint64_t addr, enum word_kind kind, uint32_t *val, uint32_t desired)
{
    bool write = kind != WORD_LOAD;

    if (addr & 3)
        return -EINVAL;
    if (!mm_range_ok(mm, addr, 4))
        return -EFAULT;
    for (int i = 0; i < MAX_TRIES; i++) {
        struct file_window w;
        bool file = false;
        uint8_t *p;
        long r = 0;

        mm_rdlock(mm);
        p = mm_resident(mm, addr, write);
        if (unlikely(!p) && (file = mm_resident_file(mm, addr, write, &w)))
            p = w.ptr + (addr & (PAGE - 1));
        if (p)
            r = word_access(kind, (uint32_t *)(void *)p, val, desired);
        if (unlikely(file))
            file_window_put(&w);
        mm_rdunlock(mm);
        if (p)
            return r ? -EFAULT : 0;
        if (mm_fault_range(mm, addr, 4, write ? VM_WRITE : VM_READ) < 0)
            return -EFAULT;
    }
    return -EFAULT;
}

int mm_load32(struct mm *mm, guest_addr a, uint32_t *val)
{
    return word(mm, a.a, WORD_LOAD, val, 0);
}

int mm_store32(struct mm *mm, guest_addr a, uint32_t val)
{
    return word(mm, a.a, WORD_STORE, NULL, val);
}

int mm_cmpxchg32(struct mm *mm, guest_addr a, uint32_t *expected, uint32_t desired)
{
    return word(mm, a.a, WORD_CMPXCHG, expected, desired);
}

int mm_futex_key(struct mm *mm, guest_addr a, bool shared, struct futex_key *key)
{
    struct vma *v;
    uint32_t val;
    int r;

    if (a.a & 3)
        return -EINVAL;
    if (!mm_range_ok(mm, a.a, 4))
        return -EFAULT;
    *key = (struct futex_key){.object = (uint64_t)(uintptr_t)mm, .offset = a.a};
    if (!shared)
        return 0;
    r = mm_load32(mm, a, &val); /* the word must be there */
    if (r < 0)
        return r;
    mm_rdlock(mm);
    v = vma_at(mm, a.a);
    if (!v)
        r = -EFAULT;
    else if (v->flags & VM_MAYSHARE)
        *key = (struct futex_key){.object = (uint64_t)(uintptr_t)v->vf->file->inode, .offset = vma_file_offset(v, a.a)};
    mm_rdunlock(mm);
    return r;
}
