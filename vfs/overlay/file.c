/*
 * Open files of an overlay: each stands on an open file of the layer that held the data at open time, and hands everything on
 * to it. A file that was opened for reading before it was copied up reads the copy from then on, but its mappings keep the
 * lower file's pages, as on Linux.
 */
#include "vfs/overlay/overlay_internal.h"

#include "vfs/file_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>

struct ovl_file {
    struct file *real;
    _Atomic(struct file *) upper; /* opened when a lower `real` turns out to have been copied up */
};

/* The real file to use now. NULL only when the copy cannot be opened. */
static struct file *real_file(struct file *f, const struct vfs_caller *c)
{
    struct ovl_file *of = f->priv;
    struct dentry *upper = ovl_upper(f->inode);
    struct file *rf = of->real;

    if (unlikely(upper && rf->path.dentry->sb != upper->sb)) {
        struct file *now = atomic_load(&of->upper), *expected = NULL;
        if (!now) {
            if (dop_open(upper, O_RDONLY, f->mode & ~(unsigned int)FMODE_WRITE, c, &now) < 0)
                return NULL;
            if (!atomic_compare_exchange_strong(&of->upper, &expected, now)) {
                file_put(now);
                now = expected;
            }
        }
        rf = now;
    }
    int flags = atomic_load_explicit(&f->flags, memory_order_relaxed);
    if (unlikely(atomic_load_explicit(&rf->flags, memory_order_relaxed) != flags))
        atomic_store_explicit(&rf->flags, flags, memory_order_relaxed);
    return rf;
}

static ssize_t ovl_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct file *rf = real_file(f, c);
    if (!rf)
        return -EIO;
    ssize_t n = rf->ops->read(rf, c, uio, pos);
    if (n > 0)
        file_accessed(rf); /* times are kept where the file is */
    return n;
}

static ssize_t ovl_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct file *rf = real_file(f, c);
    if (!rf)
        return -EIO;
    ssize_t n = rf->ops->write(rf, c, uio, pos);
    if (n > 0)
        ovl_sync_attr(f->inode);
    return n;
}

static loff_t ovl_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS /* f->pos_lock is held */
{
    struct file *rf = real_file(f, NULL);
    if (!rf)
        return -EIO;
    if (whence == SEEK_SET || whence == SEEK_CUR) /* needs no size */
        return generic_llseek(f, off, whence);
    loff_t r = vfs_llseek(rf, off, whence);
    return r < 0 ? r : file_set_pos(f, r);
}

static int ovl_fsync(struct file *f, bool datasync)
{
    struct file *rf = real_file(f, NULL);
    return rf && rf->ops->fsync ? rf->ops->fsync(rf, datasync) : 0;
}

static int ovl_fallocate(struct file *f, const struct vfs_caller *c, int mode, loff_t off, loff_t len)
{
    struct file *rf = real_file(f, c);
    if (!rf || !rf->ops->fallocate)
        return -EOPNOTSUPP;
    int err = rf->ops->fallocate(rf, c, mode, off, len);
    if (err == 0) {
        ovl_sync_attr(f->inode);
        if (mode & ~FALLOC_FL_KEEP_SIZE)
            inode_mapping_invalidate(f->inode, (uint64_t)off & ~4095ULL, UINT64_MAX - ((uint64_t)off & ~4095ULL));
    }
    return err;
}

static int ovl_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    struct file *rf = real_file(f, NULL);
    return rf && rf->ops->mmap ? rf->ops->mmap(rf, prot, shared, off, len) : -ENODEV;
}

static int ovl_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct file *rf = ((struct ovl_file *)f->priv)->real;
    return rf->ops->map_extent ? rf->ops->map_extent(rf, off, len, access, out) : -ENODEV;
}

static void ovl_release(struct file *f)
{
    struct ovl_file *of = f->priv;
    file_put(of->real);
    file_put(atomic_load(&of->upper));
    free(of);
}

static const struct file_ops ovl_file_ops = {
    .read = ovl_read,
    .write = ovl_write,
    .llseek = ovl_llseek,
    .fsync = ovl_fsync,
    .fallocate = ovl_fallocate,
    .mmap = ovl_mmap,
    .map_extent = ovl_map_extent,
    .release = ovl_release,
};

int ovl_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    if (f->mode & FMODE_WRITE) {
        int err = ovl_copy_up(inode);
        if (err < 0)
            return err;
    }
    struct ovl_file *of = calloc(1, sizeof(*of));
    if (!of)
        return -ENOMEM;
    int err = dop_open(ovl_real(inode), atomic_load(&f->flags), f->mode, c, &of->real);
    if (err < 0) {
        free(of);
        return err;
    }
    f->priv = of;
    f->ops = &ovl_file_ops;
    return 0;
}
