/* Reading and writing open files below the system calls: checks, positions, times, events. */
#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/locks.h"
#include "vfs/mount.h"
#include "vfs/permission.h"

#include <errno.h>
#include <linux/falloc.h>
#include <sys/mount.h>
#include <unistd.h>

#define MAX_RW_COUNT 0x7ffff000

/* relatime: only when the access time is not newer than the last change, or a day old. */
static bool atime_is_due(const struct inode *inode, struct timespec now)
{
    struct timespec atime = ts_load(&inode->atime);
    return ts_cmp(atime, ts_load(&inode->mtime)) <= 0 || ts_cmp(atime, ts_load(&inode->ctime)) <= 0 ||
           now.tv_sec - atime.tv_sec >= 24 * 60 * 60;
}

void path_accessed(const struct path *p)
{
    struct inode *inode = p->dentry->inode;
    unsigned long flags = p->mnt ? p->mnt->flags : 0;

    if (inode->sb->flags & (SB_RDONLY | SB_NOATIME | SB_KERNEL) || flags & (MS_NOATIME | MS_RDONLY) ||
        (flags & MS_NODIRATIME && S_ISDIR(inode->mode)))
        return;
    struct timespec now = vfs_now();
    if (flags & MS_STRICTATIME || atime_is_due(inode, now))
        ts_store(&inode->atime, now);
}

void file_accessed(struct file *f)
{
    if (f->path.dentry && !(atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NOATIME))
        path_accessed(&f->path);
}

ssize_t vfs_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    if (unlikely(!(f->mode & FMODE_READ)))
        return -EBADF;
    if (unlikely(!f->ops->read))
        return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
    if (f->mode & FMODE_PSEEK && unlikely(*pos < 0 || *pos > INT64_MAX - (loff_t)MAX_RW_COUNT))
        return *pos < 0 ? -EINVAL : 0;
    ssize_t n = f->ops->read(f, c, uio, pos);
    if (n > 0) {
        file_accessed(f);
        notify_file(f, IN_ACCESS);
    }
    return n;
}

ssize_t vfs_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    if (unlikely(!(f->mode & FMODE_WRITE)))
        return -EBADF;
    if (unlikely(!f->ops->write))
        return -EINVAL;
    if (f->mode & FMODE_PSEEK && unlikely(*pos < 0))
        return -EINVAL;
    ssize_t n = f->ops->write(f, c, uio, pos);
    if (n > 0)
        notify_file(f, IN_MODIFY);
    return n;
}

ssize_t generic_write_checks(struct file *f, const struct vfs_caller *c, size_t n, loff_t *pos)
{
    struct inode *inode = f->inode;

    if (n == 0)
        return 0;
    if (atomic_load_explicit(&f->flags, memory_order_relaxed) & O_APPEND)
        *pos = atomic_load(&inode->size);
    if ((uint64_t)*pos >= c->fsize_limit)
        return -EFBIG;
    if (n > c->fsize_limit - (uint64_t)*pos)
        n = (size_t)(c->fsize_limit - (uint64_t)*pos);
    uint64_t max = inode->sb->max_bytes ? inode->sb->max_bytes : INT64_MAX;
    if ((uint64_t)*pos >= max)
        return -EFBIG;
    if (n > max - (uint64_t)*pos)
        n = (size_t)(max - (uint64_t)*pos);
    int err = inode_drop_privileges_locked(inode, c);
    return err < 0 ? err : (ssize_t)n;
}

loff_t file_set_pos(struct file *f, loff_t pos)
{
    if (pos < 0)
        return -EINVAL;
    f->pos = pos;
    return pos;
}

/* Called with pos_lock held, by vfs_llseek(). */
loff_t generic_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    loff_t size = atomic_load(&f->inode->size);
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        if (__builtin_add_overflow(off, f->pos, &off))
            return -EOVERFLOW;
        break;
    case SEEK_END:
        if (__builtin_add_overflow(off, size, &off))
            return -EOVERFLOW;
        break;
    case SEEK_DATA:
        if (off < 0 || off >= size)
            return -ENXIO;
        break;
    case SEEK_HOLE:
        if (off < 0 || off >= size)
            return -ENXIO;
        off = size;
        break;
    default:
        return -EINVAL;
    }
    if (f->inode->sb->max_bytes && off > (loff_t)f->inode->sb->max_bytes)
        return -EINVAL;
    return file_set_pos(f, off);
}

loff_t vfs_llseek(struct file *f, loff_t off, int whence)
{
    if (!(f->mode & FMODE_LSEEK))
        return -ESPIPE;
    mutex_lock(&f->pos_lock);
    loff_t r = f->ops->llseek ? f->ops->llseek(f, off, whence) : generic_llseek(f, off, whence);
    mutex_unlock(&f->pos_lock);
    return r;
}

int vfs_fsync(struct file *f, bool datasync)
{
    return f->ops->fsync ? f->ops->fsync(f, datasync) : -EINVAL;
}

int vfs_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc)
{
    if (!f->ops->iterate)
        return -ENOTDIR;
    if (atomic_load(&f->inode->nlink) == 0 && S_ISDIR(f->inode->mode))
        return -ENOENT;
    int err = f->ops->iterate(f, c, dc);
    file_accessed(f);
    notify_file(f, IN_ACCESS | IN_ISDIR);
    return err;
}

int vfs_fallocate(struct file *f, const struct vfs_caller *c, int mode, loff_t off, loff_t len)
{
    static const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE |
                             FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
    if (off < 0 || len <= 0)
        return -EINVAL;
    if (mode & ~known || (mode & FALLOC_FL_PUNCH_HOLE && mode & FALLOC_FL_ZERO_RANGE) ||
        (mode & FALLOC_FL_PUNCH_HOLE && !(mode & FALLOC_FL_KEEP_SIZE)))
        return -EOPNOTSUPP;
    if ((mode & FALLOC_FL_COLLAPSE_RANGE && mode & ~FALLOC_FL_COLLAPSE_RANGE) ||
        (mode & FALLOC_FL_INSERT_RANGE && mode & ~FALLOC_FL_INSERT_RANGE))
        return -EINVAL;
    if (!(f->mode & FMODE_WRITE))
        return -EBADF;
    if (S_ISFIFO(f->inode->mode))
        return -ESPIPE;
    if (S_ISDIR(f->inode->mode))
        return -EISDIR;
    if (!S_ISREG(f->inode->mode) && !S_ISBLK(f->inode->mode))
        return -ENODEV;
    if (off > INT64_MAX - len)
        return -EFBIG;
    if (!f->ops->fallocate)
        return -EOPNOTSUPP;
    if (!(mode & FALLOC_FL_KEEP_SIZE) && (uint64_t)(off + len) > c->fsize_limit)
        return -EFBIG;
    int err = f->ops->fallocate(f, c, mode, off, len);
    if (err == 0)
        notify_file(f, IN_MODIFY);
    return err;
}

ssize_t file_read_host(struct file *f, const struct vfs_caller *c, void *buf, size_t n, loff_t *pos)
{
    struct iovec iov = {buf, n};
    struct uio uio;
    uio_init_host(&uio, &iov, 1);
    return f->ops->read ? f->ops->read(f, c, &uio, pos) : -EINVAL;
}

ssize_t file_write_host(struct file *f, const struct vfs_caller *c, const void *buf, size_t n, loff_t *pos)
{
    struct iovec iov = {(void *)(uintptr_t)buf, n};
    struct uio uio;
    uio_init_host(&uio, &iov, 1);
    return f->ops->write ? f->ops->write(f, c, &uio, pos) : -EINVAL;
}
