/*
 * hostfs's extended attributes: those of users, the trusted ones, and file capabilities. Labels of the host's security modules
 * are none of the guest's business, and ACLs would need rules that the VFS does not have.
 */
#include "vfs/hostfs/hostfs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

static bool visible(const char *name)
{
    return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strcmp(name, "security.capability") == 0;
}

ssize_t hostfs_getxattr(struct inode *inode, const char *name, void *buf, size_t size)
{
    if (!visible(name))
        return strncmp(name, "security.", 9) == 0 ? -ENODATA : -EOPNOTSUPP;
    int fd = hostfs_get_fd(inode, HOST_FD_READ);
    if (fd < 0)
        return fd;
    ssize_t n = fgetxattr(fd, name, buf, size);
    n = n < 0 ? -errno : n;
    hostfs_put_fd(inode, HOST_FD_READ);
    return n;
}

int hostfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size, int flags)
{
    if (!visible(name))
        return -EOPNOTSUPP;
    int fd = hostfs_get_fd(inode, HOST_FD_READ);
    if (fd < 0)
        return fd;
    int err = fsetxattr(fd, name, value, size, flags) < 0 ? -errno : 0;
    hostfs_put_fd(inode, HOST_FD_READ);
    atomic_store(&hostfs_i(inode)->stale, true);
    return err;
}

ssize_t hostfs_listxattr(struct inode *inode, char *buf, size_t size)
{
    int fd = hostfs_get_fd(inode, HOST_FD_READ);
    if (fd < 0)
        return fd;
    ssize_t n = flistxattr(fd, NULL, 0);
    n = n < 0 ? -errno : n;
    char *all = n > 0 ? malloc((size_t)n) : NULL;
    if (n > 0 && !all)
        n = -ENOMEM;
    if (n > 0) {
        n = flistxattr(fd, all, (size_t)n);
        n = n < 0 ? -errno : n;
    }
    hostfs_put_fd(inode, HOST_FD_READ);
    size_t kept = 0;
    for (char *s = all; n > 0 && s < all + n; s += strlen(s) + 1) {
        size_t len = strlen(s) + 1;
        if (!visible(s))
            continue;
        if (size > 0 && kept + len > size) {
            n = -ERANGE;
            break;
        }
        if (size > 0)
            memcpy(buf + kept, s, len);
        kept += len;
    }
    free(all);
    return n < 0 ? n : (ssize_t)kept;
}

int hostfs_removexattr(struct inode *inode, const char *name)
{
    if (!visible(name))
        return -EOPNOTSUPP;
    int fd = hostfs_get_fd(inode, HOST_FD_READ);
    if (fd < 0)
        return fd;
    int err = fremovexattr(fd, name) < 0 ? -errno : 0;
    hostfs_put_fd(inode, HOST_FD_READ);
    atomic_store(&hostfs_i(inode)->stale, true);
    return err;
}
