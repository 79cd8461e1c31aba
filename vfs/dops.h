/*
 * Private to vfs/: operations on names below a dentry, with the locking that the VFS owes a filesystem and without permission
 * checks, mounts or events. For filesystems that stand on others (overlay), and where namei.c has checked already.
 */
#ifndef VFS_DOPS_H
#define VFS_DOPS_H

#include "vfs/inode.h"

/* Locks two directories of one superblock for renaming between them: ancestor first, under rename_lock if they differ. */
void dop_lock_two(struct dentry *a, struct dentry *b);
void dop_unlock_two(struct dentry *a, struct dentry *b);

/* What to make: the type is in `mode`. */
struct dop_new {
    mode_t mode;
    dev_t rdev;
    const char *target; /* of a symlink */
};

/* The new name's dentry, referenced. -EEXIST and whatever the filesystem says. */
int must_check dop_create(struct dentry *dir, const char *name, const struct dop_new *n, const struct vfs_caller *c,
                          struct dentry **out);
/* unlink or rmdir, by what it is. -ENOENT. */
int must_check dop_remove(struct dentry *dir, const char *name);
int must_check dop_link(struct dentry *dir, const char *name, struct inode *target, const struct vfs_caller *c,
                        struct dentry **out);
int must_check dop_rename(struct dentry *old_dir, const char *old_name, struct dentry *new_dir, const char *new_name,
                          unsigned int flags, const struct vfs_caller *c);
int must_check dop_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c);
/* An internal open file without a mount; counts no writers, checks nothing. */
int must_check dop_open(struct dentry *d, int flags, unsigned int fmode, const struct vfs_caller *c, struct file **out);

#endif
