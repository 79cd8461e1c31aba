/*
 * A uio over guest memory: what read, write and their kin move bytes through.
 *
 * with_iovec() gives the callee the guest's pages in place. They are pinned by mm->lock held for reading: whoever would unmap
 * or replace them waits.
 */
#include "sentry/mm/resident.h"
#include "sentry/mm/safe_access.h"
#include "sentry/mm/usercopy.h"

#include <limits.h>
#include <stdlib.h>

#define MAX_RW_COUNT (INT_MAX & GUEST_PAGE_MASK)
#define MAX_IOV      64
#define BOUNCE       (64 * 1024)
#define MAX_TRIES    64

static uint64_t cursor(const struct uio *uio)
{
    return (uint64_t)(uintptr_t)uio->iov->iov_base + uio->iov_off;
}

/* Skips ranges that are used up or empty. */
static void settle(struct uio *uio)
{
    while (uio->nr_iov > 0 && uio->iov_off == uio->iov->iov_len) {
        uio->iov++;
        uio->nr_iov--;
        uio->iov_off = 0;
    }
}

static void advance(struct uio *uio, size_t n)
{
    uio->resid -= n;
    while (n > 0) {
        size_t part;

        settle(uio);
        part = uio->iov->iov_len - uio->iov_off;
        part = part < n ? part : n;
        uio->iov_off += part;
        n -= part;
    }
}

static ssize_t transfer(struct uio *uio, char *host, size_t n, bool to_guest)
{
    size_t done = 0;

    if (n > uio->resid)
        n = uio->resid;
    while (done < n) {
        size_t part;
        int r;

        settle(uio);
        part = uio->iov->iov_len - uio->iov_off;
        part = part < n - done ? part : n - done;
        /* Page by page where it can fail, so that what went well before a fault counts. */
        if (part > PAGE)
            part = PAGE - (cursor(uio) & (PAGE - 1));
        r = to_guest ? mm_copy_out(uio->mem, guest_addr_of(cursor(uio)), host + done, part)
                     : mm_copy_in(uio->mem, host + done, guest_addr_of(cursor(uio)), part);
        if (r < 0)
            return done ? (ssize_t)done : -EFAULT;
        uio->iov_off += part;
        uio->resid -= part;
        done += part;
    }
    return (ssize_t)done;
}

static ssize_t guest_copy_to(struct uio *uio, const void *src, size_t n)
{
    return transfer(uio, (char *)(uintptr_t)src, n, true);
}

static ssize_t guest_copy_from(struct uio *uio, void *dst, size_t n)
{
    return transfer(uio, dst, n, false);
}

struct pinned {
    struct iovec iov[MAX_IOV];
    int n;
    size_t bytes;
};

/* Bytes from the cursor on that are in the same page and range, at most `max`. */
static size_t piece_at(struct uio *at, size_t max)
{
    size_t page, range;

    settle(at);
    page = PAGE - (cursor(at) & (PAGE - 1));
    range = at->iov->iov_len - at->iov_off;
    page = page < range ? page : range;
    return page < max ? page : max;
}

/* Collects memory-file pages for up to `max` bytes at the uio's cursor; stops at the first page that is not one or not there.
 */
static void pin(struct uio *uio, bool write, size_t max, struct pinned *p)
{
    struct uio at = *uio;

    p->n = 0;
    p->bytes = 0;
    while (p->bytes < max) {
        struct iovec *last = p->n ? &p->iov[p->n - 1] : NULL;
        size_t part = piece_at(&at, max - p->bytes);
        uint8_t *ptr = mm_resident(uio->mem, cursor(&at), write);

        if (!ptr)
            return;
        if (last && (uint8_t *)last->iov_base + last->iov_len == ptr)
            last->iov_len += part;
        else if (p->n == MAX_IOV)
            return;
        else
            p->iov[p->n++] = (struct iovec){.iov_base = ptr, .iov_len = part};
        p->bytes += part;
        at.iov_off += part;
    }
}

/* Copies between `buf` and the host-file pages at the cursor, `max` bytes at most; the bytes that could be. */
static size_t copy_file_pages(struct uio *uio, bool to_guest, uint8_t *buf, size_t max)
{
    struct uio at = *uio;
    size_t done = 0;

    while (done < max) {
        size_t part = piece_at(&at, max - done);
        uint64_t addr = cursor(&at);
        struct file_window w;
        uint8_t *guest;
        long r;

        if (!mm_resident_file(uio->mem, addr, to_guest, &w))
            break;
        guest = w.ptr + (addr & (PAGE - 1));
        r = to_guest ? safe_copy(guest, buf + done, part) : safe_copy(buf + done, guest, part);
        file_window_put(&w);
        if (r)
            break;
        done += part;
        at.iov_off += part;
    }
    return done;
}

/*
 * Pages of host files go by way of a buffer: they may vanish under a callee that does not expect it, when the file is cut.
 * False when the cursor is not on such a page; else *result is the outcome. Lock held.
 */
static bool through_buffer(struct uio *uio, bool writable, size_t max,
                           ssize_t (*fn)(void *arg, const struct iovec *iov, int nr), void *arg, ssize_t *result)
{
    struct file_window w;
    struct iovec iov;
    uint8_t *buf;
    ssize_t r;

    settle(uio);
    if (!mm_resident_file(uio->mem, cursor(uio), writable, &w))
        return false;
    file_window_put(&w);
    max = max < BOUNCE ? max : BOUNCE;
    buf = malloc(max);
    *result = -ENOMEM;
    if (!buf)
        return true;
    iov = (struct iovec){.iov_base = buf, .iov_len = max};
    r = -EFAULT;
    if (!writable)
        iov.iov_len = copy_file_pages(uio, false, buf, max);
    else /* as much as is there now; what has gone by the time it is written is lost, as with a device's DMA */
        iov.iov_len = piece_at(uio, max);
    if (iov.iov_len > 0)
        r = fn(arg, &iov, 1);
    if (r > 0 && writable) {
        size_t n = copy_file_pages(uio, true, buf, (size_t)r);
        r = n > 0 ? (ssize_t)n : -EFAULT;
    }
    free(buf);
    *result = r;
    return true;
}

static ssize_t guest_with_iovec(struct uio *uio, bool writable, size_t max,
                                ssize_t (*fn)(void *arg, const struct iovec *iov, int nr), void *arg)
{
    struct mm *mm = uio->mem;

    if (max > uio->resid)
        max = uio->resid;
    if (max == 0)
        return fn(arg, NULL, 0);
    for (int i = 0; i < MAX_TRIES; i++) {
        struct pinned p;
        bool done = true;
        ssize_t r;
        size_t want;

        mm_rdlock(mm);
        pin(uio, writable, max, &p);
        if (p.bytes > 0) {
            guest_memory_begin();
            r = fn(arg, p.iov, p.n);
            guest_memory_end();
        } else {
            done = through_buffer(uio, writable, max, fn, arg, &r);
        }
        mm_rdunlock(mm);
        if (done) {
            if (r > 0)
                advance(uio, (size_t)r);
            return r;
        }
        settle(uio);
        want = uio->iov->iov_len - uio->iov_off;
        want = want < max ? want : max;
        if (mm_fault_range(mm, cursor(uio), want, writable ? VM_WRITE : VM_READ) < 0)
            return -EFAULT;
    }
    return -EFAULT;
}

static const struct uio_ops guest_uio_ops = {
    .copy_to = guest_copy_to,
    .copy_from = guest_copy_from,
    .with_iovec = guest_with_iovec,
};

int mm_uio_init(struct uio *uio, struct mm *mm, const struct iovec *iov, int nr)
{
    size_t total = 0;

    for (int i = 0; i < nr; i++)
        if (iov[i].iov_len > SSIZE_MAX)
            return -EINVAL;
    for (int i = 0; i < nr; i++) {
        if (!mm_range_ok(mm, (uint64_t)(uintptr_t)iov[i].iov_base, iov[i].iov_len))
            return -EFAULT;
        total = iov[i].iov_len > MAX_RW_COUNT - total ? MAX_RW_COUNT : total + iov[i].iov_len;
    }
    *uio = (struct uio){.ops = &guest_uio_ops, .resid = total, .mem = mm, .iov = iov, .nr_iov = nr};
    return 0;
}

int mm_uio_init_one(struct uio *uio, struct mm *mm, struct iovec *iov, guest_addr buf, size_t n)
{
    *iov = (struct iovec){.iov_base = (void *)(uintptr_t)buf.a, .iov_len = n};
    return mm_uio_init(uio, mm, iov, 1);
}
