/*
 * Private to vfs/overlay/.
 *
 * An overlay inode stands on up to nr_lower + 1 real dentries: the upper one, if the object has been made or copied there, and
 * the lower ones it shows through. Only directories have more than one lower. An object that exists only below is copied up
 * when it is first changed; for that it remembers where it is (directory and name), which cannot change before it is copied up,
 * since directories with a lower part are not renamed (EXDEV, as in Linux without redirect_dir: mv then copies).
 *
 * Lock order: overlay inode->lock -> ovl_inode.copy_lock -> locks of the real filesystems. ovl_super.lock is innermost of ours.
 */
#ifndef VFS_OVERLAY_OVERLAY_INTERNAL_H
#define VFS_OVERLAY_OVERLAY_INTERNAL_H

#include "vfs/dops.h"
#include "vfs/inode_internal.h"
#include "vfs/overlay/overlay.h"

#define OVL_XATTR_PREFIX "trusted.overlay."
#define OVL_XATTR_OPAQUE OVL_XATTR_PREFIX "opaque"
#define OVL_XATTR_ORIGIN OVL_XATTR_PREFIX "origin"

struct ovl_super {
    unsigned int nr_lower;
    struct super_block *upper; /* NULL: read-only */
    struct super_block **lower;
    struct mutex lock; /* guards the hash, and locations */
    struct ovl_inode **hash;
    unsigned int hash_mask, nr_inodes;
    struct cred *cred; /* root's: copies are made with it */
    struct vfs_caller caller;
};

struct ovl_inode {
    struct inode *inode;
    struct dentry *upper;  /* referenced; set once, under copy_lock, with release order */
    struct dentry **lower; /* referenced; immutable, like nr_lower */
    unsigned int nr_lower;
    struct mutex copy_lock;
    struct inode *parent;    /* overlay's, referenced; super lock. NULL for the root and the nameless */
    char *name;              /* super lock */
    const struct inode *key; /* super lock: the real inode it is hashed by; NULL: not hashed */
    struct ovl_inode *hash_next;
};

extern const struct inode_ops ovl_dir_inode_ops, ovl_file_inode_ops, ovl_symlink_inode_ops, ovl_special_inode_ops;

static inline struct ovl_inode *ovl_i(const struct inode *inode)
{
    return inode->priv;
}

static inline struct ovl_super *ovl_sb(const struct super_block *sb)
{
    return sb->priv;
}

static inline struct dentry *ovl_upper(const struct inode *inode)
{
    return __atomic_load_n(&ovl_i(inode)->upper, __ATOMIC_ACQUIRE);
}

/* The dentry that answers for the object now: the upper one, else the first lower. */
static inline struct dentry *ovl_real(const struct inode *inode)
{
    struct dentry *upper = ovl_upper(inode);
    return upper ? upper : ovl_i(inode)->lower[0];
}

static inline bool ovl_is_whiteout(const struct inode *real)
{
    return S_ISCHR(real->mode) && real->rdev == 0;
}

/* inode.c */
/* The overlay inode on these dentries, whose references (and the array, if any) it consumes. */
int ovl_iget(struct super_block *sb, struct dentry *upper, struct dentry **lower, unsigned int nr_lower, struct inode *parent,
             const char *name, struct inode **out);
void ovl_evict(struct inode *inode);
void ovl_rehash(struct inode *inode, const struct inode *key); /* found by the real inode `key` from now on */
void ovl_sync_attr(struct inode *inode);                       /* copies attributes from the real inode */
void ovl_set_location(struct inode *inode, struct inode *parent, const char *name);
uint64_t ovl_ino(const struct ovl_super *os, const struct dentry *real); /* the number that shows, distinct between layers */
bool ovl_xattr_is(struct dentry *real, const char *name, char value);
int ovl_getattr(struct inode *inode);
int ovl_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c);

/* copy_up.c: brings the object, and the directories above it, into the upper tree. 0 at once when it is there. */
int must_check ovl_copy_up(struct inode *inode);

/* names.c */
/* A positive, not whited-out lower entry `name` of directory `dir`, referenced; NULL if there is none. */
struct dentry *ovl_lower_entry(struct inode *dir, const char *name);

/* file.c, dir.c */
int ovl_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
int ovl_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
/* 0 if the merged directory is empty, -ENOTEMPTY. With `clean`, whiteouts are removed from its upper part then. */
int ovl_check_empty(struct inode *dir, bool clean);

#endif
