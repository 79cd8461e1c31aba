/* Attributes of what a path leads to: stat, chmod, chown, utimes, truncate, access, statfs, readlink. */
#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/locks.h"
#include "vfs/namei.h"
#include "vfs/permission.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

static struct statx_timestamp statx_time(struct timespec t)
{
    return (struct statx_timestamp){.tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec};
}

int vfs_getattr(const struct path *p, unsigned int mask, struct statx *out)
{
    struct inode *inode = p->dentry->inode;
    if (inode->ops->getattr) {
        int err = inode->ops->getattr(inode);
        if (err < 0)
            return err;
    }
    memset(out, 0, sizeof(*out));
    out->stx_mask = STATX_BASIC_STATS | (mask & STATX_BTIME);
    out->stx_blksize = inode->sb->blksize ? inode->sb->blksize : 4096;
    out->stx_nlink = atomic_load_explicit(&inode->nlink, memory_order_relaxed);
    out->stx_uid = inode->uid;
    out->stx_gid = inode->gid;
    out->stx_mode = (uint16_t)inode->mode;
    out->stx_ino = inode->ino;
    out->stx_size = (uint64_t)atomic_load_explicit(&inode->size, memory_order_relaxed);
    out->stx_blocks = inode_load(inode->blocks);
    out->stx_atime = statx_time(ts_load(&inode->atime));
    out->stx_mtime = statx_time(ts_load(&inode->mtime));
    out->stx_ctime = statx_time(ts_load(&inode->ctime));
    out->stx_btime = statx_time(ts_load(&inode->btime));
    if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
        out->stx_rdev_major = major(inode->rdev);
        out->stx_rdev_minor = minor(inode->rdev);
    }
    out->stx_dev_major = major(inode->sb->dev);
    out->stx_dev_minor = minor(inode->sb->dev);
    out->stx_attributes_mask = STATX_ATTR_MOUNT_ROOT;
    if (p->mnt) {
        if (p->dentry == p->mnt->root)
            out->stx_attributes |= STATX_ATTR_MOUNT_ROOT;
        out->stx_mnt_id = (uint64_t)p->mnt->id;
        out->stx_mask |= STATX_MNT_ID;
    }
    return 0;
}

static uint32_t events_of(unsigned int valid)
{
    uint32_t times = valid & (ATTR_ATIME | ATTR_ATIME_NOW | ATTR_MTIME | ATTR_MTIME_NOW), events = 0;
    bool atime = times & (ATTR_ATIME | ATTR_ATIME_NOW), mtime = times & (ATTR_MTIME | ATTR_MTIME_NOW);
    if (valid & (ATTR_UID | ATTR_GID | ATTR_MODE) || (atime && mtime))
        events |= IN_ATTRIB;
    else if (atime)
        events |= IN_ACCESS;
    else if (mtime)
        events |= IN_MODIFY;
    if (valid & ATTR_SIZE)
        events |= IN_MODIFY;
    return events;
}

int vfs_setattr(const struct vfs_caller *c, const struct path *p, const struct iattr *attr)
{
    struct inode *inode = p->dentry->inode;
    struct iattr a = *attr;

    /* "Now" excludes a value, whether or not the caller has marked both. */
    if (a.valid & ATTR_ATIME_NOW)
        a.valid &= ~(unsigned int)ATTR_ATIME;
    if (a.valid & ATTR_MTIME_NOW)
        a.valid &= ~(unsigned int)ATTR_MTIME;
    int err = mount_want_write(p->mnt);
    if (err < 0)
        return err;
    if (inode->ops->getattr && (err = inode->ops->getattr(inode)) < 0)
        return err;
    mutex_lock(&inode->lock);
    err = setattr_prepare(inode, &a, c->cred);
    if (err == 0)
        err = setattr_locked(inode, &a, c);
    mutex_unlock(&inode->lock);
    if (err == 0)
        notify_dentry(p->dentry, events_of(attr->valid));
    return err;
}

/* Sets the size of a regular file that may be written. */
static int do_truncate(const struct vfs_caller *c, struct dentry *d, loff_t size)
{
    struct inode *inode = d->inode;
    struct iattr attr = {.valid = ATTR_SIZE, .size = size};

    if ((uint64_t)size > c->fsize_limit && size > atomic_load(&inode->size))
        return -EFBIG;
    mutex_lock(&inode->lock);
    int err = inode_drop_privileges_locked(inode, c);
    if (err == 0)
        err = setattr_locked(inode, &attr, c);
    mutex_unlock(&inode->lock);
    if (err == 0)
        notify_dentry(d, IN_MODIFY);
    return err;
}

int vfs_truncate(const struct vfs_caller *c, const struct path *p, loff_t size)
{
    struct inode *inode = p->dentry->inode;

    if (size < 0)
        return -EINVAL;
    if (S_ISDIR(inode->mode))
        return -EISDIR;
    if (!S_ISREG(inode->mode))
        return -EINVAL;
    int err = mount_want_write(p->mnt);
    if (err == 0)
        err = inode_permission(inode, c->cred, MAY_WRITE);
    if (err == 0)
        err = lease_break(inode, true);
    if (err == 0)
        err = inode_get_write(inode);
    if (err < 0)
        return err;
    err = do_truncate(c, p->dentry, size);
    inode_put_write(inode);
    return err;
}

int vfs_ftruncate(const struct vfs_caller *c, struct file *f, loff_t size)
{
    if (size < 0 || !S_ISREG(f->inode->mode) || !(f->mode & FMODE_WRITE))
        return -EINVAL;
    return do_truncate(c, f->path.dentry, size);
}

int vfs_access(const struct vfs_caller *c, const struct path *p, int mask)
{
    struct inode *inode = p->dentry->inode;
    mode_t mode = inode->mode;

    if (inode->ops->getattr) {
        int err = inode->ops->getattr(inode);
        if (err < 0)
            return err;
    }
    if (mask & MAY_EXEC && S_ISREG(mode) && p->mnt && p->mnt->flags & MS_NOEXEC)
        return -EACCES;
    int err = inode_permission(inode, c->cred, mask);
    if (err == 0 && mask & MAY_WRITE && !S_ISCHR(mode) && !S_ISBLK(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode))
        err = mount_want_write(p->mnt);
    return err;
}

/* The mount's flags as statfs(2) has them: the lower ones are mount(2)'s, those about times have numbers of their own. */
static long statfs_flags(const struct path *p)
{
    static const struct {
        unsigned long mount;
        long statfs;
    } times[] = {{MS_NOATIME, 0x400}, {MS_NODIRATIME, 0x800}, {MS_RELATIME, 0x1000}};
    static const unsigned long same = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS | MS_MANDLOCK;
    unsigned long mount_flags = p->mnt ? p->mnt->flags : 0;
    long flags = 0x20 /* ST_VALID */ | (long)(mount_flags & same);

    for (size_t i = 0; i < ARRAY_SIZE(times); i++)
        if (mount_flags & times[i].mount)
            flags |= times[i].statfs;
    return p->dentry->sb->flags & SB_RDONLY ? flags | MS_RDONLY : flags;
}

int vfs_statfs(const struct path *p, struct statfs *out)
{
    struct super_block *sb = p->dentry->sb;
    memset(out, 0, sizeof(*out));
    out->f_type = (__fsword_t)sb->magic;
    out->f_bsize = out->f_frsize = 4096;
    out->f_namelen = sb->max_name;
    out->f_fsid.__val[0] = (int)sb->dev;
    int err = sb->ops->statfs ? sb->ops->statfs(sb, out) : 0;
    if (out->f_frsize == 0)
        out->f_frsize = out->f_bsize;
    out->f_flags = statfs_flags(p);
    return err;
}

ssize_t vfs_readlink(const struct vfs_caller *c, const struct path *p, char *buf, size_t len)
{
    struct inode *inode = p->dentry->inode;
    if (!S_ISLNK(inode->mode) || !inode->ops->readlink)
        return -EINVAL;
    ssize_t n = inode->ops->readlink(inode, c, buf, len);
    if (n >= 0)
        path_accessed(p);
    return n;
}
