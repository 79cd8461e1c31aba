/*
 * tmpfs's inodes and names. A name is a pinned dentry, nothing else; so creating one is making an inode and pinning, and a
 * look-up that the dentry cache cannot answer finds nothing.
 */
#include "lib/memfile.h"
#include "vfs/tmpfs/tmpfs_internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#define DIRENT_SIZE 20 /* what a name adds to its directory's st_size, as in Linux */

static const struct inode_ops *ops_of(mode_t mode)
{
    if (S_ISREG(mode))
        return &tmpfs_file_inode_ops;
    if (S_ISDIR(mode))
        return &tmpfs_dir_inode_ops;
    return S_ISLNK(mode) ? &tmpfs_symlink_inode_ops : &tmpfs_special_inode_ops;
}

int tmpfs_inode_create(struct super_block *sb, const struct inode *dir, mode_t mode, const struct vfs_caller *c,
                       struct inode **out)
{
    struct tmpfs_super *ts = tmpfs_sb(sb);

    if (atomic_fetch_add(&ts->nr_inodes, 1) >= ts->max_inodes && ts->max_inodes != 0) {
        atomic_fetch_sub(&ts->nr_inodes, 1);
        return -ENOSPC;
    }
    struct tmpfs_inode *ti = calloc(1, sizeof(*ti));
    struct inode *inode = ti ? inode_create(sb, ops_of(mode), 0, mode, 0, 0) : NULL;
    if (!inode) {
        free(ti);
        atomic_fetch_sub(&ts->nr_inodes, 1);
        return -ENOMEM;
    }
    mutex_init(&ti->pages_lock);
    mutex_init(&ti->xattr_lock);
    mutex_lock(&ti->xattr_lock);
    simple_xattrs_init(&ti->xattrs);
    mutex_unlock(&ti->xattr_lock);
    atomic_init(&ti->seals, F_SEAL_SEAL);
    inode->priv = ti;
    if (c)
        inode_init_owner(inode, dir, mode, c);
    if (S_ISDIR(mode))
        atomic_store(&inode->nlink, 2);
    *out = inode;
    return 0;
}

static void dir_changed(struct inode *dir, int entries)
{
    atomic_fetch_add(&dir->size, entries * DIRENT_SIZE);
    inode_touch(dir, true, true);
}

/* Makes an inode and its name. `link` is a symlink's target, which it takes over. */
static int make_name(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev, char *link, const struct vfs_caller *c)
{
    struct inode *inode;
    int err = tmpfs_inode_create(dir->sb, dir, mode, c, &inode);
    if (err < 0) {
        free(link);
        return err;
    }
    inode->rdev = rdev;
    if (link) {
        tmpfs_i(inode)->link = link;
        atomic_store(&inode->size, (long long)strlen(link));
    }
    dentry_instantiate(d, inode);
    dentry_pin(d);
    if (S_ISDIR(mode))
        atomic_fetch_add(&dir->nlink, 1);
    dir_changed(dir, 1);
    return 0;
}

static int tmpfs_create_file(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    return make_name(dir, d, mode, 0, NULL, c);
}

static int tmpfs_mkdir(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    return make_name(dir, d, mode, 0, NULL, c);
}

static int tmpfs_mknod(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev, const struct vfs_caller *c)
{
    return make_name(dir, d, mode, rdev, NULL, c);
}

static int tmpfs_symlink(struct inode *dir, struct dentry *d, const char *target, const struct vfs_caller *c)
{
    char *link = strdup(target);
    return link ? make_name(dir, d, S_IFLNK | 0777, 0, link, c) : -ENOMEM;
}

static int tmpfs_link(struct inode *dir, struct dentry *d, struct inode *target, const struct vfs_caller *c)
{
    dentry_instantiate(d, inode_get(target));
    dentry_pin(d);
    atomic_fetch_add(&target->nlink, 1);
    inode_touch(target, false, true);
    dir_changed(dir, 1);
    return 0;
}

static int tmpfs_unlink(struct inode *dir, struct dentry *d)
{
    atomic_fetch_sub(&d->inode->nlink, 1);
    inode_touch(d->inode, false, true);
    dir_changed(dir, -1);
    dentry_unpin(d);
    return 0;
}

static int tmpfs_rmdir(struct inode *dir, struct dentry *d)
{
    if (!simple_empty(d))
        return -ENOTEMPTY;
    atomic_fetch_sub(&dir->nlink, 1);
    dir_changed(dir, -1);
    dentry_unpin(d);
    return 0;
}

static int tmpfs_rename(struct inode *old_dir, struct dentry *od, struct inode *new_dir, struct dentry *nd, unsigned int flags,
                        const struct vfs_caller *c)
{
    bool is_dir = S_ISDIR(od->inode->mode), target_is_dir = nd->inode && S_ISDIR(nd->inode->mode);

    if (flags & RENAME_EXCHANGE) {
        if (old_dir != new_dir && is_dir != target_is_dir) {
            atomic_fetch_add(&old_dir->nlink, is_dir ? -1U : 1);
            atomic_fetch_add(&new_dir->nlink, is_dir ? 1 : -1U);
        }
        inode_touch(nd->inode, false, true);
    } else {
        if (target_is_dir && !simple_empty(nd))
            return -ENOTEMPTY;
        if (nd->inode) {
            atomic_fetch_sub(&nd->inode->nlink, 1);
            inode_touch(nd->inode, false, true);
            dir_changed(new_dir, -1);
            dentry_unpin(nd);
        }
        if (is_dir) {
            atomic_fetch_sub(&old_dir->nlink, 1);
            atomic_fetch_add(&new_dir->nlink, 1);
        }
        if (target_is_dir)
            atomic_fetch_sub(&new_dir->nlink, 1);
        dir_changed(old_dir, -1);
        dir_changed(new_dir, 1);
    }
    inode_touch(od->inode, false, true);
    inode_touch(old_dir, true, true);
    inode_touch(new_dir, true, true);
    return 0;
}

static int tmpfs_tmpfile(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    struct inode *inode;
    int err = tmpfs_inode_create(dir->sb, dir, mode, c, &inode);
    if (err < 0)
        return err;
    atomic_store(&inode->nlink, 0);
    dentry_instantiate(d, inode);
    return 0;
}

static ssize_t tmpfs_readlink(struct inode *inode, const struct vfs_caller *c, char *buf, size_t len)
{
    size_t n = strlen(tmpfs_i(inode)->link);
    if (n > len)
        n = len;
    memcpy(buf, tmpfs_i(inode)->link, n);
    return (ssize_t)n;
}

int tmpfs_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    if (attr->valid & ATTR_MODE && atomic_load(&tmpfs_i(inode)->seals) & 0x20 /* F_SEAL_EXEC */ &&
        (attr->mode ^ inode->mode) & 0111)
        return -EPERM;
    if (attr->valid & ATTR_SIZE) {
        int err = tmpfs_set_size(inode, (uint64_t)attr->size);
        if (err < 0)
            return err;
    }
    return generic_setattr(inode, attr);
}

static bool storable(const char *name)
{
    return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0;
}

ssize_t tmpfs_getxattr(struct inode *inode, const char *name, void *buf, size_t size)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    if (!storable(name))
        return -EOPNOTSUPP;
    mutex_lock(&ti->xattr_lock);
    ssize_t n = simple_xattr_get(&ti->xattrs, name, buf, size);
    mutex_unlock(&ti->xattr_lock);
    return n;
}

int tmpfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size, int flags)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    if (!storable(name))
        return -EOPNOTSUPP;
    mutex_lock(&ti->xattr_lock);
    int err = simple_xattr_set(&ti->xattrs, name, value ? value : "", size, flags);
    mutex_unlock(&ti->xattr_lock);
    if (err == 0)
        inode_touch(inode, false, true);
    return err;
}

ssize_t tmpfs_listxattr(struct inode *inode, char *buf, size_t size)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    mutex_lock(&ti->xattr_lock);
    ssize_t n = simple_xattr_list(&ti->xattrs, buf, size);
    mutex_unlock(&ti->xattr_lock);
    return n;
}

int tmpfs_removexattr(struct inode *inode, const char *name)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    if (!storable(name))
        return -EOPNOTSUPP;
    mutex_lock(&ti->xattr_lock);
    int err = simple_xattr_set(&ti->xattrs, name, NULL, 0, 0);
    mutex_unlock(&ti->xattr_lock);
    if (err == 0)
        inode_touch(inode, false, true);
    return err;
}

#define COMMON_OPS                                                                                                  \
    .setattr = tmpfs_setattr, .getxattr = tmpfs_getxattr, .setxattr = tmpfs_setxattr, .listxattr = tmpfs_listxattr, \
    .removexattr = tmpfs_removexattr

const struct inode_ops tmpfs_dir_inode_ops = {
    COMMON_OPS,           .lookup = simple_lookup,  .create = tmpfs_create_file, .mkdir = tmpfs_mkdir,
    .mknod = tmpfs_mknod, .symlink = tmpfs_symlink, .link = tmpfs_link,          .unlink = tmpfs_unlink,
    .rmdir = tmpfs_rmdir, .rename = tmpfs_rename,   .tmpfile = tmpfs_tmpfile,    .open = simple_dir_open,
};
const struct inode_ops tmpfs_file_inode_ops = {COMMON_OPS, .open = tmpfs_file_open};
const struct inode_ops tmpfs_symlink_inode_ops = {COMMON_OPS, .readlink = tmpfs_readlink};
const struct inode_ops tmpfs_special_inode_ops = {COMMON_OPS};
