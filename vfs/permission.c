/*
 * Who may do what: discretionary access control as Linux does it (path_resolution(7), capabilities(7)), and the rules of
 * notify_change() for chmod, chown, utimes and truncate.
 */
#include "vfs/permission.h"

#include "vfs/inode_internal.h"

#include <errno.h>
#include <sys/mount.h>

int generic_permission(struct inode *inode, const struct cred *cred, int mask)
{
    mode_t mode = inode->mode;
    mode_t bits = mode;

    if (cred->fsuid == inode->uid)
        bits >>= 6;
    else if (((mode >> 3 ^ mode) & 7) != 0 && cred_in_group(cred, inode->gid))
        bits >>= 3;
    if (((unsigned int)mask & ~bits & 7) == 0)
        return 0;

    if (S_ISDIR(mode)) {
        if (!(mask & MAY_WRITE) && cred_has_cap(cred, CAP_DAC_READ_SEARCH))
            return 0;
        return cred_has_cap(cred, CAP_DAC_OVERRIDE) ? 0 : -EACCES;
    }
    if ((mask & (MAY_READ | MAY_WRITE | MAY_EXEC)) == MAY_READ && cred_has_cap(cred, CAP_DAC_READ_SEARCH))
        return 0;
    /* Nobody may execute what has no execute bit at all. */
    if ((!(mask & MAY_EXEC) || (mode & 0111)) && cred_has_cap(cred, CAP_DAC_OVERRIDE))
        return 0;
    return -EACCES;
}

int inode_permission(struct inode *inode, const struct cred *cred, int mask)
{
    mode_t mode = inode->mode;

    if (mask & MAY_WRITE) {
        if (inode->sb->flags & SB_RDONLY && (S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode)))
            return -EROFS;
    } else if (mask == MAY_EXEC && S_ISDIR(mode) && (mode & 0111) == 0111 && !inode->ops->permission) {
        return 0; /* searching a public directory: what nearly every step of a walk is */
    }
    if (inode->ops->permission)
        return inode->ops->permission(inode, cred, mask);
    return generic_permission(inode, cred, mask);
}

bool inode_owner_or_capable(const struct inode *inode, const struct cred *cred)
{
    return cred->fsuid == inode->uid || cred_has_cap(cred, CAP_FOWNER);
}

bool inode_sticky_denies(const struct inode *dir, const struct inode *inode, const struct cred *cred)
{
    if (!(dir->mode & S_ISVTX))
        return false;
    return cred->fsuid != inode->uid && cred->fsuid != dir->uid && !cred_has_cap(cred, CAP_FOWNER);
}

bool inode_dead(const struct inode *dir)
{
    return S_ISDIR(dir->mode) && atomic_load_explicit(&dir->nlink, memory_order_relaxed) == 0;
}

int may_create(struct inode *dir, const struct cred *cred)
{
    if (inode_dead(dir))
        return -ENOENT;
    return inode_permission(dir, cred, MAY_WRITE | MAY_EXEC);
}

int may_delete(struct inode *dir, struct inode *victim, const struct cred *cred, bool want_dir)
{
    int err = inode_permission(dir, cred, MAY_WRITE | MAY_EXEC);
    if (err < 0)
        return err;
    if (inode_sticky_denies(dir, victim, cred))
        return -EPERM;
    if (want_dir)
        return S_ISDIR(victim->mode) ? 0 : -ENOTDIR;
    return S_ISDIR(victim->mode) ? -EISDIR : 0;
}

/* The mode bits that a write or a chown takes away: set-user-ID, and set-group-ID if it can be executed. */
mode_t mode_without_setid(mode_t mode, const struct inode *inode, const struct cred *cred)
{
    mode &= ~(mode_t)S_ISUID;
    if (mode & S_IXGRP)
        mode &= ~(mode_t)S_ISGID;
    else if (mode & S_ISGID && !cred_in_group(cred, inode->gid) && !cred_has_cap(cred, CAP_FSETID))
        mode &= ~(mode_t)S_ISGID;
    return mode;
}

int setattr_prepare(struct inode *inode, struct iattr *attr, const struct cred *cred)
{
    uid_t uid = inode->uid;
    gid_t gid = inode->gid;

    if (attr->valid & ATTR_UID && !cred_has_cap(cred, CAP_CHOWN) && !(cred->fsuid == uid && attr->uid == uid))
        return -EPERM;
    if (attr->valid & ATTR_GID && !cred_has_cap(cred, CAP_CHOWN) &&
        !(cred->fsuid == uid && (cred_in_group(cred, attr->gid) || attr->gid == gid)))
        return -EPERM;
    if (attr->valid & ATTR_MODE) {
        if (!inode_owner_or_capable(inode, cred))
            return -EPERM;
        gid_t group = attr->valid & ATTR_GID ? attr->gid : gid;
        if (!S_ISDIR(inode->mode) || attr->mode & S_ISGID)
            if (!cred_in_group(cred, group) && !cred_has_cap(cred, CAP_FSETID))
                attr->mode &= ~(mode_t)S_ISGID;
    }
    if (attr->valid & (ATTR_ATIME | ATTR_MTIME) && !inode_owner_or_capable(inode, cred))
        return -EPERM;
    if (attr->valid & (ATTR_ATIME_NOW | ATTR_MTIME_NOW) && !inode_owner_or_capable(inode, cred)) {
        /* Setting both to now is also for those who may write; utimensat(2). */
        if ((attr->valid & (ATTR_ATIME_NOW | ATTR_MTIME_NOW)) != (ATTR_ATIME_NOW | ATTR_MTIME_NOW))
            return -EPERM;
        int err = inode_permission(inode, cred, MAY_WRITE);
        if (err < 0)
            return err;
    }
    /* A change of owner or size takes privileges off the file; chown(2), even by root for regular files. */
    if (attr->valid & (ATTR_UID | ATTR_GID) && !S_ISDIR(inode->mode) && !(attr->valid & ATTR_MODE)) {
        mode_t mode = inode->mode;
        mode_t kept = mode_without_setid(mode, inode, cred);
        if (kept != mode) {
            attr->valid |= ATTR_MODE;
            attr->mode = kept & 07777;
        }
    }
    return 0;
}

int setattr_locked(struct inode *inode, struct iattr *attr, const struct vfs_caller *c)
{
    if (inode->ops->setattr)
        return inode->ops->setattr(inode, attr, c);
    return generic_setattr(inode, attr);
}

int inode_drop_privileges_locked(struct inode *inode, const struct vfs_caller *c)
{
    mode_t mode = inode->mode;
    if (!(mode & (S_ISUID | S_ISGID)) || !S_ISREG(mode) || cred_has_cap(c->cred, CAP_FSETID))
        return 0;
    mode_t kept = mode_without_setid(mode, inode, c->cred);
    if (kept == mode)
        return 0;
    struct iattr attr = {.valid = ATTR_MODE, .mode = kept & 07777};
    return setattr_locked(inode, &attr, c);
}
