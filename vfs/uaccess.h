/*
 * How VFS code reaches guest memory without knowing the memory manager: who calls (struct vfs_caller) and byte streams to and
 * from it (struct uio).
 */
#ifndef VFS_UACCESS_H
#define VFS_UACCESS_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stdbool.h>

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct cred;
struct fs_struct;
struct vfs_caller;

struct uaccess_ops {
    /* Copy exactly `n` bytes; 0 or -EFAULT (part may have been copied). */
    int (*copy_in)(const struct vfs_caller *c, void *dst, guest_addr src, size_t n);
    int (*copy_out)(const struct vfs_caller *c, guest_addr dst, const void *src, size_t n);
};

/*
 * The one on whose behalf a VFS operation runs. Embedded in struct task; filesystems of the sentry get back to the task with
 * task_of_caller(). All pointers are stable for the duration of a call.
 */
struct vfs_caller {
    const struct cred *cred;
    struct fs_struct *fs; /* root, cwd and umask; see vfs/fs_struct.h */
    const struct uaccess_ops *uaccess;
    uint64_t fsize_limit; /* RLIMIT_FSIZE in bytes, UINT64_MAX for none; writes beyond are -EFBIG (the caller sends SIGXFSZ) */
    int32_t tgid;         /* owner of POSIX record locks; reported by F_GETLK */
};

/*
 * A stream of bytes between the VFS and memory that may be the guest's: a cursor over an iovec of guest or host ranges.
 * `resid` is what remains. Copies advance it. A fault after some bytes is reported as a short copy, at once as -EFAULT.
 */
struct uio_ops;
struct uio {
    const struct uio_ops *ops;
    size_t resid;
    void *mem;               /* the ops' own: a struct mm or NULL */
    const struct iovec *iov; /* guest ranges (iov_base holds a guest address) or host ranges; owned by the creator */
    int nr_iov;
    size_t iov_off; /* within iov[0] */
};

struct uio_ops {
    ssize_t (*copy_to)(struct uio *uio, const void *src, size_t n);
    ssize_t (*copy_from)(struct uio *uio, void *dst, size_t n);
    ssize_t (*with_iovec)(struct uio *uio, bool writable, size_t max, ssize_t (*fn)(void *arg, const struct iovec *iov, int nr),
                          void *arg);
};

/* Into the reader's memory / out of the writer's memory: min(n, resid) bytes; the count copied, or -EFAULT when none could be.
 */
static inline ssize_t uio_copy_to(struct uio *uio, const void *src, size_t n)
{
    return uio->ops->copy_to(uio, src, n);
}

static inline ssize_t uio_copy_from(struct uio *uio, void *dst, size_t n)
{
    return uio->ops->copy_from(uio, dst, n);
}

/*
 * Calls `fn` once with host memory for up to `max` of the next bytes, pinned for the duration of the call, so that a host
 * system call or a memcpy can work on guest memory in place. `writable`: the memory will be written (a read(2) by the guest).
 * `fn` returns bytes transferred, by which the uio advances, or -errno; it must not block for long nor touch the guest's
 * address space, whose lock is held. May cover less than `max`; call again. Returns fn's result or -EFAULT.
 */
static inline ssize_t uio_with_iovec(struct uio *uio, bool writable, size_t max,
                                     ssize_t (*fn)(void *arg, const struct iovec *iov, int nr), void *arg)
{
    return uio->ops->with_iovec(uio, writable, max, fn, arg);
}

/* A uio over host memory, for the sentry's own reads and writes. `iov` must outlive it. */
void uio_init_host(struct uio *uio, const struct iovec *iov, int nr);

#endif
