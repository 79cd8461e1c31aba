/*
 * Private to vfs/hostfs/.
 *
 * An inode knows the places where it has been found: its directory's inode and a name in it, several for hard links. From there
 * descriptors are opened when they are needed, one component at a time with O_NOFOLLOW, and kept in an LRU list; those in use
 * are pinned. An inode that loses its last name while somebody still uses it keeps a pinned O_PATH descriptor instead.
 *
 * All reads and writes carry their offset, so every guest file that is open on an inode shares one host descriptor, and opening
 * a file that was open before costs no host call at all.
 *
 * Lock order: inode->lock -> hostfs_super.lock. No host call is made under the latter.
 */
#ifndef VFS_HOSTFS_HOSTFS_INTERNAL_H
#define VFS_HOSTFS_HOSTFS_INTERNAL_H

#include "vfs/hostfs/hostfs.h"
#include "vfs/inode_internal.h"

enum host_fd_kind {
    HOST_FD_PATH,  /* O_PATH */
    HOST_FD_READ,  /* O_RDONLY: data of files, xattrs of directories too */
    HOST_FD_WRITE, /* O_RDWR, or O_WRONLY when the sentry may not read */
    HOST_FD_KINDS
};

struct host_fd {
    int fd; /* -1: not open */
    unsigned int pins;
    struct list_head lru; /* in hostfs_super.lru while open and not pinned */
};

struct hostfs_super {
    bool readonly, shared;
    atomic_uint expired; /* hostfs_expire()s so far */
    int root_fd;
    struct mutex lock; /* guards everything below, and the fields of inodes marked so */
    struct list_head lru;
    unsigned int nr_lru, max_lru;
    struct hostfs_inode **hash; /* by host device and inode number */
    unsigned int hash_mask, nr_inodes;
};

struct hostfs_name {
    struct hostfs_name *next;
    struct inode *parent; /* referenced */
    char name[];
};

struct hostfs_inode {
    struct inode *inode;
    dev_t host_dev; /* immutable, like host_ino */
    uint64_t host_ino;
    struct hostfs_inode *hash_next;    /* super lock */
    struct hostfs_name *names;         /* super lock; NULL: the root, or nameless */
    struct host_fd fds[HOST_FD_KINDS]; /* super lock */
    atomic_bool stale;                 /* the host has changed attributes on our behalf: ask before showing them */
    atomic_bool always_stale;          /* mapped shared and writable: the host may change them at any time */
};

extern const struct inode_ops hostfs_dir_inode_ops, hostfs_file_inode_ops, hostfs_symlink_inode_ops, hostfs_special_inode_ops;

static inline struct hostfs_inode *hostfs_i(const struct inode *inode)
{
    return inode->priv;
}

static inline struct hostfs_super *hostfs_sb(const struct super_block *sb)
{
    return sb->priv;
}

/* fds.c. A pinned descriptor of the inode, or -errno; to be released with hostfs_put_fd(). */
int hostfs_get_fd(struct inode *inode, enum host_fd_kind kind);
void hostfs_put_fd(struct inode *inode, enum host_fd_kind kind);
/* Hands an open descriptor to the inode, which owns it then (closes it if it has one). `pin`: for as long as the inode lives.
 */
void hostfs_adopt_fd(struct inode *inode, enum host_fd_kind kind, int fd, bool pin);
void hostfs_close_fds(struct hostfs_inode *hi);
/* Opens something below a directory; tries again after closing cached descriptors when there are too many. */
int hostfs_openat(struct hostfs_super *hs, int dir_fd, const char *name, int flags, mode_t mode);
/* A place where the inode can be found. `*parent` is referenced. False: it has no name. */
bool hostfs_location(struct inode *inode, struct inode **parent, char name[256]);
void hostfs_add_name(struct inode *inode, struct inode *parent, const char *name); /* no-op when known */
void hostfs_drop_name(struct inode *inode, const struct inode *parent, const char *name);
void hostfs_free_names(struct hostfs_inode *hi);
/* `d` in its directory is about to go: if it is the inode's last known name and the inode is in use, it gets a descriptor. */
void hostfs_prepare_unlink(struct inode *dir, struct dentry *d);
void hostfs_finish_unlink(struct inode *dir, struct dentry *d);

/* inode.c */
void hostfs_evict(struct inode *inode);
int hostfs_stat_at(int dir_fd, const char *name, struct statx *st); /* name "" for the descriptor itself */
void hostfs_apply_stat(struct inode *inode, const struct statx *st);
/* The inode for what `st` describes, found as `name` in `dir` (NULL: the root). Referenced. */
int hostfs_iget(struct super_block *sb, const struct statx *st, struct inode *dir, const char *name, struct inode **out);
int hostfs_refresh(struct inode *inode); /* asks the host for the attributes */
int hostfs_getattr(struct inode *inode);
int hostfs_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c);

/* names.c */
int hostfs_revalidate(struct dentry *d);

/* file.c, dir.c */
int hostfs_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
int hostfs_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c);

/* xattr.c */
ssize_t hostfs_getxattr(struct inode *inode, const char *name, void *buf, size_t size);
int hostfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size, int flags);
ssize_t hostfs_listxattr(struct inode *inode, char *buf, size_t size);
int hostfs_removexattr(struct inode *inode, const char *name);

#endif
