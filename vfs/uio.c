/* Byte streams over host memory, for the sentry's own reads and writes. */
#include "vfs/uaccess.h"

#include <string.h>

static void advance(struct uio *uio, size_t n)
{
    uio->resid -= n;
    while (n > 0) {
        size_t left = uio->iov->iov_len - uio->iov_off;
        if (n < left) {
            uio->iov_off += n;
            return;
        }
        n -= left;
        uio->iov++;
        uio->nr_iov--;
        uio->iov_off = 0;
    }
}

/* The next contiguous piece, at most `max` bytes; skips empty vectors. */
static size_t next_piece(struct uio *uio, size_t max, void **p)
{
    while (uio->nr_iov > 0 && uio->iov->iov_len == uio->iov_off) {
        uio->iov++;
        uio->nr_iov--;
        uio->iov_off = 0;
    }
    if (uio->nr_iov == 0)
        return 0;
    size_t n = uio->iov->iov_len - uio->iov_off;
    *p = (char *)uio->iov->iov_base + uio->iov_off;
    return n < max ? n : max;
}

static ssize_t host_copy_to(struct uio *uio, const void *src, size_t n)
{
    size_t done = 0, piece;
    void *p;
    while (done < n && (piece = next_piece(uio, n - done, &p)) > 0) {
        memcpy(p, (const char *)src + done, piece);
        advance(uio, piece);
        done += piece;
    }
    return (ssize_t)done;
}

static ssize_t host_copy_from(struct uio *uio, void *dst, size_t n)
{
    size_t done = 0, piece;
    void *p;
    while (done < n && (piece = next_piece(uio, n - done, &p)) > 0) {
        memcpy((char *)dst + done, p, piece);
        advance(uio, piece);
        done += piece;
    }
    return (ssize_t)done;
}

static ssize_t host_with_iovec(struct uio *uio, bool writable, size_t max,
                               ssize_t (*fn)(void *arg, const struct iovec *iov, int nr), void *arg)
{
    struct iovec one;
    one.iov_len = next_piece(uio, max, &one.iov_base);
    if (one.iov_len == 0)
        return 0;
    ssize_t r = fn(arg, &one, 1);
    if (r > 0)
        advance(uio, (size_t)r);
    return r;
}

static const struct uio_ops host_uio_ops = {host_copy_to, host_copy_from, host_with_iovec};

void uio_init_host(struct uio *uio, const struct iovec *iov, int nr)
{
    *uio = (struct uio){.ops = &host_uio_ops, .iov = iov, .nr_iov = nr};
    for (int i = 0; i < nr; i++)
        uio->resid += iov[i].iov_len;
}
