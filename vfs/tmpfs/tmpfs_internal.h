/*
 * Private to vfs/tmpfs/.
 *
 * inode->lock serialises writers, truncation and fallocate. pages_lock guards the page tree; it is innermost but for the memory
 * file's own, since page faults come to map_extent with the memory manager's lock held, while writers copy from guest memory
 * (and may fault) under inode->lock. Pages found under pages_lock are used outside of it with a reference of one's own.
 */
#ifndef VFS_TMPFS_TMPFS_INTERNAL_H
#define VFS_TMPFS_TMPFS_INTERNAL_H

#include "vfs/inode_internal.h"
#include "vfs/simple_xattr.h"
#include "vfs/tmpfs/page_tree.h"
#include "vfs/tmpfs/tmpfs.h"

#include <fcntl.h>

struct tmpfs_super {
    uint64_t max_pages, max_inodes; /* 0: no limit of its own */
    atomic_ullong nr_pages, nr_inodes;
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

struct tmpfs_inode {
    struct mutex pages_lock;
    struct page_tree pages GUARDED_BY(pages_lock);
    atomic_uint seals; /* F_SEAL_*; changed under inode->lock */
    char *link;        /* a symlink's target; immutable */
    struct mutex xattr_lock;
    struct simple_xattrs xattrs GUARDED_BY(xattr_lock);
};

extern const struct inode_ops tmpfs_dir_inode_ops, tmpfs_file_inode_ops, tmpfs_symlink_inode_ops, tmpfs_special_inode_ops;
extern const struct file_ops tmpfs_file_ops;

static inline struct tmpfs_inode *tmpfs_i(const struct inode *inode)
{
    return inode->priv;
}

static inline struct tmpfs_super *tmpfs_sb(const struct super_block *sb)
{
    return sb->priv;
}

/* A new inode, -ENOSPC when the filesystem has no more. */
int tmpfs_inode_create(struct super_block *sb, const struct inode *dir, mode_t mode, const struct vfs_caller *c,
                       struct inode **out);
/* Under inode->lock. */
int tmpfs_set_size(struct inode *inode, uint64_t size);
void tmpfs_free_data(struct inode *inode);
int tmpfs_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c);

ssize_t tmpfs_getxattr(struct inode *inode, const char *name, void *buf, size_t size);
int tmpfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size, int flags);
ssize_t tmpfs_listxattr(struct inode *inode, char *buf, size_t size);
int tmpfs_removexattr(struct inode *inode, const char *name);
int tmpfs_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c);

#endif
