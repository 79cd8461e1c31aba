/* A small set of extended attributes in memory, for inodes that have nowhere else to keep them. The owner locks. */
#ifndef VFS_SIMPLE_XATTR_H
#define VFS_SIMPLE_XATTR_H

#include "lib/list.h"

#include <sys/types.h>

struct simple_xattrs {
    struct list_head list;
    size_t bytes;
};

void simple_xattrs_init(struct simple_xattrs *x);
void simple_xattrs_fini(struct simple_xattrs *x);
/* `size` 0 asks for the size. -ENODATA, -ERANGE. */
ssize_t simple_xattr_get(const struct simple_xattrs *x, const char *name, void *buf, size_t size);
/* `flags`: XATTR_CREATE, XATTR_REPLACE. value NULL removes. -EEXIST, -ENODATA, -ENOSPC, -ENOMEM. */
int simple_xattr_set(struct simple_xattrs *x, const char *name, const void *value, size_t size, int flags);
ssize_t simple_xattr_list(const struct simple_xattrs *x, char *buf, size_t size);

#endif
