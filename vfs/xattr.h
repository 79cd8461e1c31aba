/* Extended attributes by path, with the permission rules of xattr(7). Values and lists are host memory. */
#ifndef VFS_XATTR_H
#define VFS_XATTR_H

#include "vfs/mount.h"

/* `size` 0 asks for the size. Bytes or -errno. */
ssize_t vfs_getxattr(const struct vfs_caller *c, const struct path *p, const char *name, void *buf, size_t size);
int vfs_setxattr(const struct vfs_caller *c, const struct path *p, const char *name, const void *value, size_t size, int flags);
ssize_t vfs_listxattr(const struct vfs_caller *c, const struct path *p, char *buf, size_t size);
int vfs_removexattr(const struct vfs_caller *c, const struct path *p, const char *name);

#endif
