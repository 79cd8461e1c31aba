/*
 * Regular files of hostfs. Data moves by preadv and pwritev between the host's page cache and guest memory, without a copy in
 * between; mappings are of the host's page cache too.
 */
#include "vfs/file_internal.h"
#include "vfs/hostfs/hostfs_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static enum host_fd_kind kind_of(const struct file *f)
{
    return f->mode & FMODE_WRITE ? HOST_FD_WRITE : HOST_FD_READ;
}

static int fd_of(const struct file *f)
{
    return (int)(intptr_t)f->priv;
}

struct transfer {
    int fd, flags;
    off_t off;
};

static ssize_t host_read(void *arg, const struct iovec *iov, int nr)
{
    const struct transfer *t = arg;
    ssize_t n = preadv(t->fd, iov, nr, t->off);
    return n < 0 ? -errno : n;
}

static ssize_t host_write(void *arg, const struct iovec *iov, int nr)
{
    const struct transfer *t = arg;
    ssize_t n = t->flags ? pwritev2(t->fd, iov, nr, t->off, t->flags) : pwritev(t->fd, iov, nr, t->off);
    return n < 0 ? -errno : n;
}

/* The host has set the access time, if its rules say so; ours only guess whether cached attributes are out of date. */
static void read_may_touch(struct inode *inode)
{
    struct timespec atime = ts_load(&inode->atime);
    if (ts_cmp(atime, ts_load(&inode->mtime)) <= 0 || ts_cmp(atime, ts_load(&inode->ctime)) <= 0)
        atomic_store_explicit(&hostfs_i(inode)->stale, true, memory_order_relaxed);
}

static ssize_t hostfs_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct transfer t = {.fd = fd_of(f)};
    ssize_t done = 0, r = 0;

    while (uio->resid > 0) {
        t.off = *pos;
        size_t want = uio->resid;
        r = uio_with_iovec(uio, true, want, host_read, &t);
        if (r <= 0)
            break;
        *pos += r;
        done += r;
    }
    if (done > 0)
        read_may_touch(f->inode);
    return done ? done : r;
}

static int sync_flags(const struct file *f)
{
    int flags = atomic_load_explicit(&f->flags, memory_order_relaxed);
    if (likely(!(flags & (O_SYNC | O_DSYNC))))
        return 0;
    return (flags & O_SYNC) == O_SYNC ? RWF_SYNC : RWF_DSYNC;
}

static ssize_t hostfs_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct inode *inode = f->inode;
    struct transfer t = {.fd = fd_of(f), .flags = sync_flags(f)};
    ssize_t r = 0;
    size_t done = 0;

    mutex_lock(&inode->lock);
    if (hostfs_sb(inode->sb)->shared && atomic_load(&f->flags) & O_APPEND)
        (void)!hostfs_refresh(inode); /* where the end is now */
    ssize_t n = generic_write_checks(f, c, uio->resid, pos);
    while (n > 0 && done < (size_t)n) {
        t.off = *pos;
        r = uio_with_iovec(uio, false, (size_t)n - done, host_write, &t);
        if (r <= 0)
            break;
        *pos += r;
        done += (size_t)r;
    }
    if (done > 0) {
        if (*pos > atomic_load(&inode->size))
            atomic_store(&inode->size, *pos);
        atomic_store(&hostfs_i(inode)->stale, true);
    }
    mutex_unlock(&inode->lock);
    if (n <= 0)
        return n;
    return done ? (ssize_t)done : r;
}

static loff_t hostfs_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    if (whence == SEEK_END && hostfs_sb(f->inode->sb)->shared)
        (void)!hostfs_refresh(f->inode);
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return generic_llseek(f, off, whence);
    /* The shared descriptor's own position is used by nobody, so moving it about is harmless. */
    off_t r = off < 0 ? -1 : lseek(fd_of(f), off, whence);
    if (r < 0)
        return off < 0 ? -ENXIO : -errno;
    return file_set_pos(f, r);
}

static int hostfs_fsync(struct file *f, bool datasync)
{
    int r = datasync ? fdatasync(fd_of(f)) : fsync(fd_of(f));
    return r < 0 ? -errno : 0;
}

static int hostfs_fallocate(struct file *f, const struct vfs_caller *c, int mode, loff_t off, loff_t len)
{
    struct inode *inode = f->inode;
    mutex_lock(&inode->lock);
    int err = fallocate(fd_of(f), mode, off, len) < 0 ? -errno : 0;
    if (err == 0)
        err = hostfs_refresh(inode);
    mutex_unlock(&inode->lock);
    /* Mappings are of the host's page cache, which has done this to them already. */
    return err;
}

static int hostfs_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    if (shared && f->mode & FMODE_WRITE)
        atomic_store(&hostfs_i(f->inode)->always_stale, true);
    return 0;
}

static int hostfs_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct inode *inode = f->inode;
    uint64_t size = (uint64_t)atomic_load(&inode->size);

    if (off >= size && hostfs_sb(inode->sb)->shared && hostfs_refresh(inode) == 0)
        size = (uint64_t)atomic_load(&inode->size);
    uint64_t end = (size + 4095) & ~4095ULL;
    if (off >= end)
        return -ENXIO;
    *out = (struct mmap_extent){.fd = fd_of(f), .offset = off, .len = len < end - off ? len : end - off};
    return 0;
}

static void hostfs_release(struct file *f)
{
    hostfs_put_fd(f->inode, kind_of(f));
}

static const struct file_ops hostfs_file_ops = {
    .read = hostfs_read,
    .write = hostfs_write,
    .llseek = hostfs_llseek,
    .fsync = hostfs_fsync,
    .fallocate = hostfs_fallocate,
    .mmap = hostfs_mmap,
    .map_extent = hostfs_map_extent,
    .release = hostfs_release,
};

int hostfs_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    int fd = hostfs_get_fd(inode, kind_of(f));
    if (fd < 0)
        return fd;
    f->priv = (void *)(intptr_t)fd;
    f->ops = &hostfs_file_ops;
    return 0;
}
