/*
 * See text.h. Only private executable mappings are touched: a shared one may be somebody else's file. A patched page becomes
 * the address space's own, and the guest's threads, which may be running in it, see the old bytes or the new ones.
 */
#include "sentry/mm/text.h"

#include "sentry/mm/mm_internal.h"
#include "sentry/mm/safe_access.h"
#include "sentry/mm/usercopy.h"

#include <string.h>

#define CACHE_LINE 64

static struct vma *text_at(struct mm *mm, uint64_t addr)
{
    struct vma *v = vma_at(mm, addr);

    return v && (v->flags & VM_EXEC) && !(v->flags & (VM_MAYSHARE | VM_SPECIAL)) ? v : NULL;
}

static int text_read(void *owner, uint64_t addr, void *buf, size_t len)
{
    struct mm *mm = owner;
    bool ok;

    if (len == 0 || len > PAGE || !mm_range_ok(mm, addr, len))
        return -EFAULT;
    mm_rdlock(mm);
    ok = text_at(mm, addr) && text_at(mm, addr + len - 1);
    mm_rdunlock(mm);
    return ok ? mm_copy_in(mm, buf, guest_addr_of(addr), len) : -EFAULT;
}

static int text_patch(void *owner, uint64_t addr, const void *old_bytes, const void *new_bytes, size_t len)
{
    struct mm *mm = owner;
    struct mm_fault_in in = {.addr = page_down(addr), .access = VM_WRITE, .force = true};
    uint64_t line = addr & ~(uint64_t)(CACHE_LINE - 1), word = addr, expected, desired, seen;
    int r = -EFAULT;
    uint8_t *p;

    if (len == 0 || len > 8 || addr + len > line + CACHE_LINE || !mm_range_ok(mm, addr, len))
        return -EINVAL;
    if (word + 8 > line + CACHE_LINE)
        word = line + CACHE_LINE - 8; /* eight bytes within the line, for one locked instruction */
    mm_wrlock(mm);
    in.vma = text_at(mm, addr);
    if (!in.vma || mm_fault_page(mm, &in) != MM_FAULT_OK)
        goto out;
    p = mm_frame_ptr(mm, ptab_get(&mm->pt, addr)) + (word & (PAGE - 1));
    memcpy(&expected, p, 8);
    memcpy((uint8_t *)&expected + (addr - word), old_bytes, len);
    desired = expected;
    memcpy((uint8_t *)&desired + (addr - word), new_bytes, len);
    seen = expected;
    r = safe_cmpxchg64(p, &seen, desired) ? -EFAULT : seen == expected ? 0 : -EAGAIN;
out:
    mm_wrunlock(mm);
    return r;
}

const struct platform_text_ops mm_text_ops = {.read = text_read, .patch = text_patch};
