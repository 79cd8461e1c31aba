/* Private to vfs/ and filesystems: the permission rules beyond inode_permission(). */
#ifndef VFS_PERMISSION_H
#define VFS_PERMISSION_H

#include "vfs/cred.h"
#include "vfs/inode.h"

bool inode_owner_or_capable(const struct inode *inode, const struct cred *cred);
/* The sticky bit of `dir` forbids removing or renaming `inode`. */
bool inode_sticky_denies(const struct inode *dir, const struct inode *inode, const struct cred *cred);
/* A directory that has been removed: nothing can be made in it any more. */
bool inode_dead(const struct inode *dir);
int may_create(struct inode *dir, const struct cred *cred);
int may_delete(struct inode *dir, struct inode *victim, const struct cred *cred, bool want_dir);
mode_t mode_without_setid(mode_t mode, const struct inode *inode, const struct cred *cred);
/* Checks a change of attributes and completes it (set-ID bits). inode->lock is held. */
int setattr_prepare(struct inode *inode, struct iattr *attr, const struct cred *cred);
int setattr_locked(struct inode *inode, struct iattr *attr, const struct vfs_caller *c);
/* What a write does to set-ID bits. inode->lock is held. */
int inode_drop_privileges_locked(struct inode *inode, const struct vfs_caller *c);

#endif
