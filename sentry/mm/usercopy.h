/*
 * Guest memory, for the sentry. All of these are fault-safe (-EFAULT), fetch each byte once, respect the guest's own
 * protections, and bring pages in as a guest access would. None may be called with a VFS or mm lock held. The fast path is a
 * small resident copy.
 */
#ifndef SENTRY_MM_USERCOPY_H
#define SENTRY_MM_USERCOPY_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "vfs/uaccess.h"

#include <stdatomic.h>

struct mm;

int must_check mm_copy_in(struct mm *mm, void *dst, guest_addr src, size_t n);
int must_check mm_copy_out(struct mm *mm, guest_addr dst, const void *src, size_t n);
/* Zeroes guest memory. */
int must_check mm_clear(struct mm *mm, guest_addr dst, size_t n);
/*
 * Copies a NUL-terminated string of at most max-1 bytes. The length without NUL, -EFAULT, or -ENAMETOOLONG when there is no NUL
 * within `max` bytes.
 */
ssize_t must_check mm_copy_str_in(struct mm *mm, char *dst, guest_addr src, size_t max);
/* As ptrace and /proc/PID/mem do: regardless of protections (private pages are copied first). */
int must_check mm_copy_in_force(struct mm *mm, void *dst, guest_addr src, size_t n);
int must_check mm_copy_out_force(struct mm *mm, guest_addr dst, const void *src, size_t n);

/* Aligned 32-bit words, atomically with respect to the guest. -EFAULT; -EINVAL when not aligned. */
int must_check mm_load32(struct mm *mm, guest_addr a, uint32_t *val);
int must_check mm_store32(struct mm *mm, guest_addr a, uint32_t val);
/* If the word equals *expected stores `desired`; else sets *expected to what is there. Returns 0 (look at *expected) or
 * -EFAULT. */
int must_check mm_cmpxchg32(struct mm *mm, guest_addr a, uint32_t *expected, uint32_t desired);

/*
 * The identity of a futex word: for shared mappings the backing object and offset, for private ones the mm and address. Equal
 * keys mean the same word.
 */
struct futex_key {
    uint64_t object, offset;
};
int must_check mm_futex_key(struct mm *mm, guest_addr a, bool shared, struct futex_key *key);

/*
 * A uio over guest ranges. `iov` (host memory, owned by the caller) holds guest addresses. Checks ranges like access_ok:
 * -EFAULT, and the sum: -EINVAL.
 */
int must_check mm_uio_init(struct uio *uio, struct mm *mm, const struct iovec *iov, int nr);
/* For the one-buffer calls: `iov` is the caller's scratch. */
int must_check mm_uio_init_one(struct uio *uio, struct mm *mm, struct iovec *iov, guest_addr buf, size_t n);

/* The uaccess_ops for struct vfs_caller, see sentry/kernel/task.h. */
#endif
