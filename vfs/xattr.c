/* See xattr.h. */
#include "vfs/xattr.h"

#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/permission.h"

#include <errno.h>
#include <string.h>

static bool has_prefix(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0;
}

static int xattr_permission(struct inode *inode, const struct cred *cred, const char *name, int mask)
{
    mode_t mode = inode->mode;

    if (has_prefix(name, "security.") || has_prefix(name, "system."))
        return 0; /* their handlers decide */
    if (has_prefix(name, "trusted.")) {
        if (!cred_has_cap(cred, CAP_SYS_ADMIN))
            return mask & MAY_WRITE ? -EPERM : -ENODATA;
        return 0;
    }
    if (has_prefix(name, "user.")) {
        if (!S_ISREG(mode) && !S_ISDIR(mode))
            return mask & MAY_WRITE ? -EPERM : -ENODATA;
        if (S_ISDIR(mode) && mode & S_ISVTX && mask & MAY_WRITE && !inode_owner_or_capable(inode, cred))
            return -EPERM;
    }
    return inode_permission(inode, cred, mask);
}

static bool known_namespace(const char *name)
{
    static const char *const known[] = {"user.", "trusted.", "security.", "system."};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (has_prefix(name, known[i]))
            return name[strlen(known[i])] != 0;
    return false;
}

ssize_t vfs_getxattr(const struct vfs_caller *c, const struct path *p, const char *name, void *buf, size_t size)
{
    struct inode *inode = p->dentry->inode;
    int err = xattr_permission(inode, c->cred, name, MAY_READ);
    if (err < 0)
        return err;
    if (!inode->ops->getxattr || !known_namespace(name))
        return -EOPNOTSUPP;
    return inode->ops->getxattr(inode, name, buf, size);
}

/* What writing needs besides: file capabilities are for CAP_SETFCAP, other security attributes for CAP_SYS_ADMIN. */
static int may_change(const struct vfs_caller *c, const struct path *p, const char *name)
{
    int err = mount_want_write(p->mnt);
    if (err == 0)
        err = xattr_permission(p->dentry->inode, c->cred, name, MAY_WRITE);
    if (err == 0 && has_prefix(name, "security."))
        if (!cred_has_cap(c->cred, strcmp(name, "security.capability") == 0 ? CAP_SETFCAP : CAP_SYS_ADMIN))
            err = -EPERM;
    return err;
}

int vfs_setxattr(const struct vfs_caller *c, const struct path *p, const char *name, const void *value, size_t size, int flags)
{
    struct inode *inode = p->dentry->inode;
    int err = may_change(c, p, name);
    if (err < 0)
        return err;
    if (!inode->ops->setxattr || !known_namespace(name))
        return -EOPNOTSUPP;
    mutex_lock(&inode->lock);
    err = inode->ops->setxattr(inode, name, value, size, flags);
    mutex_unlock(&inode->lock);
    if (err == 0)
        notify_dentry(p->dentry, IN_ATTRIB);
    return err;
}

ssize_t vfs_listxattr(const struct vfs_caller *c, const struct path *p, char *buf, size_t size)
{
    struct inode *inode = p->dentry->inode;
    if (!inode->ops->listxattr)
        return 0;
    ssize_t n = inode->ops->listxattr(inode, buf, size);
    if (n <= 0 || size == 0 || cred_has_cap(c->cred, CAP_SYS_ADMIN))
        return n;
    /* Trusted attributes are not for everyone's eyes. */
    size_t kept = 0;
    for (char *s = buf; s < buf + n;) {
        size_t len = strlen(s) + 1;
        if (!has_prefix(s, "trusted.")) {
            memmove(buf + kept, s, len);
            kept += len;
        }
        s += len;
    }
    return (ssize_t)kept;
}

int vfs_removexattr(const struct vfs_caller *c, const struct path *p, const char *name)
{
    struct inode *inode = p->dentry->inode;
    int err = may_change(c, p, name);
    if (err < 0)
        return err;
    if (!inode->ops->removexattr || !known_namespace(name))
        return -EOPNOTSUPP;
    mutex_lock(&inode->lock);
    err = inode->ops->removexattr(inode, name);
    mutex_unlock(&inode->lock);
    if (err == 0)
        notify_dentry(p->dentry, IN_ATTRIB);
    return err;
}
