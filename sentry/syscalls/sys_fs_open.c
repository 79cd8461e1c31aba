/* Opening and closing: open, openat, openat2, creat, close, close_range. */
#include "sentry/syscalls/sys_fs.h"
#include "vfs/locks.h"
#include "vfs/pipe.h"

#include <poll.h>
#include <string.h>

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#define CLOSE_RANGE_CLOEXEC 4
#endif

/* O_LARGEFILE as the ABI has it; glibc defines it as 0 on 64 bits. */
#define ABI_O_LARGEFILE 0100000
#define VALID_OPEN_FLAGS                                                                                        \
    (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | O_ASYNC | O_DIRECT | \
     ABI_O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_SYNC | O_PATH | O_TMPFILE)
#define VALID_RESOLVE \
    (RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED)
/* Revisions of struct open_how that exist. */
#define OPEN_HOW_SIZE_VER0 24
#define OPEN_HOW_SIZE_MAX  4096

/* /proc/sys/fs/lease-break-time. */
#define LEASE_BREAK_NS 45000000000LL

/* A FIFO was opened whose other end is not there yet. */
static int wait_for_fifo(struct task *t, struct file *f)
{
    struct task_wait w;
    int r;

    task_wait_begin(t, &w, f->wq, POLLIN | POLLOUT);
    while ((r = fifo_open_wait(f)) == -EAGAIN) {
        r = task_block(t, TASK_NO_DEADLINE);
        if (r)
            break;
    }
    task_wait_end(&w);
    return r;
}

/* Someone's lease is in the way; the holder has been told. Waits for any change of the file's locks. */
static int wait_for_lease(struct task *t, const struct path_arg *p, int64_t deadline)
{
    struct task_wait w;
    struct waitq *wq;
    struct path path;
    int r = vfs_lookup(task_caller(t), p->dir, p->name, LOOKUP_FOLLOW, 0, &path);

    if (r)
        return r;
    wq = inode_locks_waitq(path.dentry->inode);
    if (!wq) {
        path_put(&path);
        return -ENOMEM;
    }
    task_wait_begin(t, &w, wq, POLLIN);
    if (lease_break(path.dentry->inode, true) == -EAGAIN)
        r = task_block(t, deadline);
    task_wait_end(&w);
    path_put(&path);
    return r;
}

static int64_t do_open(struct task *t, int dirfd, guest_addr name, const struct open_how *how)
{
    int64_t deadline = kernel_monotonic_ns() + LEASE_BREAK_NS;
    struct path_arg p;
    struct file *f;
    int r = path_arg_get(&p, t, dirfd, name);

    if (r)
        return r;
    do {
        r = vfs_open(task_caller(t), p.dir, p.name, how, &f);
        if (r != -EAGAIN || f || (how->flags & O_NONBLOCK) || (how->resolve & RESOLVE_CACHED))
            break;
        r = wait_for_lease(t, &p, deadline);
    } while (r == 0);
    path_arg_put(&p);
    if (r == -EAGAIN && f) {
        r = wait_for_fifo(t, f);
        if (r)
            file_put(f);
    }
    return r ? r : fd_return(t, f, how->flags & O_CLOEXEC);
}

/* The open() family ignores what it does not know, as it always has. */
static int64_t open_compat(struct task *t, int dirfd, guest_addr name, int flags, mode_t mode)
{
    struct open_how how = {.flags = (uint64_t)(unsigned int)(flags & VALID_OPEN_FLAGS)};

    if (how.flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
        how.mode = mode & 07777;
    if (how.flags & O_PATH)
        how.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if ((how.flags & (O_TMPFILE & ~O_DIRECTORY)) &&
        ((how.flags & O_TMPFILE) != O_TMPFILE || (how.flags & O_ACCMODE) == O_RDONLY || (how.flags & O_CREAT)))
        return -EINVAL;
    return do_open(t, dirfd, name, &how);
}

int64_t sys_open(struct task *t, const struct syscall_args *a)
{
    return open_compat(t, AT_FDCWD, arg_addr(a, 0), arg_int(a, 1), (mode_t)arg_uint(a, 2));
}

int64_t sys_openat(struct task *t, const struct syscall_args *a)
{
    return open_compat(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2), (mode_t)arg_uint(a, 3));
}

int64_t sys_creat(struct task *t, const struct syscall_args *a)
{
    return open_compat(t, AT_FDCWD, arg_addr(a, 0), O_CREAT | O_WRONLY | O_TRUNC, (mode_t)arg_uint(a, 1));
}

/* Fetches a struct open_how of any size: what lies beyond ours must be zero. */
static int get_open_how(struct task *t, guest_addr at, size_t size, struct open_how *how)
{
    char rest[256];

    if (size < OPEN_HOW_SIZE_VER0)
        return -EINVAL;
    if (size > OPEN_HOW_SIZE_MAX)
        return -E2BIG;
    if (copy_in(t, how, at, sizeof(*how)))
        return -EFAULT;
    for (size_t off = sizeof(*how); off < size;) {
        size_t n = size - off < sizeof(rest) ? size - off : sizeof(rest);

        if (copy_in(t, rest, guest_add(at, off), n))
            return -EFAULT;
        for (size_t i = 0; i < n; i++)
            if (rest[i])
                return -E2BIG;
        off += n;
    }
    return 0;
}

static int check_open_how(const struct open_how *how)
{
    bool creates = how->flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY));

    if ((how->flags & ~(uint64_t)VALID_OPEN_FLAGS) || (how->resolve & ~(uint64_t)VALID_RESOLVE))
        return -EINVAL;
    if ((how->resolve & RESOLVE_BENEATH) && (how->resolve & RESOLVE_IN_ROOT))
        return -EINVAL;
    if (how->mode & ~07777ULL || (how->mode && !creates))
        return -EINVAL;
    if ((how->flags & (O_TMPFILE & ~O_DIRECTORY)) &&
        ((how->flags & O_TMPFILE) != O_TMPFILE || (how->flags & O_ACCMODE) == O_RDONLY || (how->flags & O_CREAT)))
        return -EINVAL;
    if ((how->flags & O_PATH) && (how->flags & ~(uint64_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)))
        return -EINVAL;
    if ((how->flags & O_CREAT) && (how->flags & O_DIRECTORY))
        return -EINVAL;
    if ((how->resolve & RESOLVE_CACHED) && (how->flags & (O_TRUNC | O_CREAT | (O_TMPFILE & ~O_DIRECTORY))))
        return -EAGAIN;
    return 0;
}

int64_t sys_openat2(struct task *t, const struct syscall_args *a)
{
    struct open_how how;
    int r = get_open_how(t, arg_addr(a, 2), arg_size(a, 3), &how);

    if (r == 0)
        r = check_open_how(&how);
    return r ? r : do_open(t, arg_int(a, 0), arg_addr(a, 1), &how);
}

int64_t sys_close(struct task *t, const struct syscall_args *a)
{
    return fd_close(t->files, task_caller(t), arg_int(a, 0));
}

int64_t sys_close_range(struct task *t, const struct syscall_args *a)
{
    unsigned int first = arg_uint(a, 0), last = arg_uint(a, 1), flags = arg_uint(a, 2);

    if ((flags & ~(unsigned int)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last)
        return -EINVAL;
    if ((flags & CLOSE_RANGE_UNSHARE) && fdtable_is_shared(t->files)) {
        struct fdtable *old = t->files, *copy;
        int r = fdtable_dup(old, &copy);

        if (r)
            return r;
        mutex_lock(&t->tg->siglock);
        t->files = copy;
        mutex_unlock(&t->tg->siglock);
        fdtable_put(old, task_caller(t));
    }
    fd_close_range(t->files, task_caller(t), first, last, flags & CLOSE_RANGE_CLOEXEC);
    return 0;
}
