/*
 * Inodes, dentries and superblocks: what a filesystem implements and what the path walk works on.
 *
 * The dentry cache is the tree of names. A dentry holds a reference on its parent and on its inode; a negative dentry (no
 * inode) remembers that a name does not exist. Filesystems whose contents change behind our back set SB_REVALIDATE and are
 * asked through d_revalidate.
 *
 * Locks: inode->lock guards a directory's entries (taken by the VFS around lookup, create, unlink, rename: parent before child,
 * two directories in ancestor-first then address order under sb->rename_lock) and a file's metadata. Dentry links (parent,
 * children, name, inode) are guarded by the dcache lock inside vfs/dcache.c; a dentry's inode never changes from one inode to
 * another while it is hashed, so a walker that holds a reference may read it.
 *
 * Order with the memory manager, as in Linux: inode->lock -> mm->lock -> what map_extent takes. A write copies from guest
 * memory (and may fault) with inode->lock held; map_extent, mmap and release are called with mm->lock held and never take
 * inode->lock.
 */
#ifndef VFS_INODE_H
#define VFS_INODE_H

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/refcount.h"
#include "vfs/file.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

struct dentry;
struct inode;
struct super_block;

/* For setattr: what to change. */
struct iattr {
    unsigned int valid; /* ATTR_* */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    loff_t size;
    struct timespec atime, mtime;
};
enum {
    ATTR_MODE = 1,
    ATTR_UID = 2,
    ATTR_GID = 4,
    ATTR_SIZE = 8,
    ATTR_ATIME = 16,
    ATTR_MTIME = 32,
    ATTR_ATIME_NOW = 64,
    ATTR_MTIME_NOW = 128
};

struct inode_ops {
    /*
     * Directories. Called with dir->lock held. `lookup` finds `d->name` and gives the dentry its inode with
     * dentry_instantiate(), or leaves it negative; 0 or -errno. The others are called after permission checks, on a negative
     * (create...) or positive (unlink...) dentry, and update it with dentry_instantiate() / the VFS unhashes it after success.
     */
    int (*lookup)(struct inode *dir, struct dentry *d);
    int (*create)(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c);
    int (*mkdir)(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c);
    int (*mknod)(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev, const struct vfs_caller *c);
    int (*symlink)(struct inode *dir, struct dentry *d, const char *target, const struct vfs_caller *c);
    int (*link)(struct inode *dir, struct dentry *d, struct inode *target, const struct vfs_caller *c);
    int (*unlink)(struct inode *dir, struct dentry *d);
    int (*rmdir)(struct inode *dir, struct dentry *d);
    /* `flags`: RENAME_NOREPLACE is already checked; RENAME_EXCHANGE, RENAME_WHITEOUT are the filesystem's (-EINVAL). */
    int (*rename)(struct inode *old_dir, struct dentry *od, struct inode *new_dir, struct dentry *nd, unsigned int flags,
                  const struct vfs_caller *c);
    /* An unnamed regular file (O_TMPFILE); NULL: -EOPNOTSUPP. */
    int (*tmpfile)(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c);

    /* Copies a symlink's target, not terminated; the length or -errno. */
    ssize_t (*readlink)(struct inode *inode, const struct vfs_caller *c, char *buf, size_t len);
    /* Magic links (/proc/PID/fd/N, cwd, root, exe): the place itself, referenced. NULL: an ordinary symlink. */
    int (*get_link)(struct inode *inode, const struct vfs_caller *c, struct path *out);

    /* Brings cached attributes up to date (remote filesystems); NULL: they are always true. */
    int (*getattr)(struct inode *inode);
    int (*setattr)(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c); /* NULL: generic on fields */
    /* Beyond mode bits; NULL: generic_permission(). `mask`: MAY_*. */
    int (*permission)(struct inode *inode, const struct cred *cred, int mask);
    /* xattrs, names with prefix. get/list with size 0 return the needed size. NULL: -EOPNOTSUPP. */
    ssize_t (*getxattr)(struct inode *inode, const char *name, void *buf, size_t size);
    int (*setxattr)(struct inode *inode, const char *name, const void *value, size_t size, int flags);
    ssize_t (*listxattr)(struct inode *inode, char *buf, size_t size);
    int (*removexattr)(struct inode *inode, const char *name);

    /* Makes `f` (flags, mode, path and inode are set) usable: sets ops, priv, wq. -EAGAIN is allowed for FIFOs, see
     * vfs/namei.h. */
    int (*open)(struct inode *inode, struct file *f, const struct vfs_caller *c);
};

enum { MAY_EXEC = 1, MAY_WRITE = 2, MAY_READ = 4 };

struct inode {
    struct refcount ref;
    struct super_block *sb; /* referenced */
    const struct inode_ops *ops;
    uint64_t ino;
    struct mutex lock; /* "i_rwsem": directory entries, size changes, metadata */
    /* Metadata: written under lock, read without by stat and permission checks (each field is its own word). */
    _Atomic mode_t mode; /* type bits are immutable */
    _Atomic uid_t uid;
    _Atomic gid_t gid;
    dev_t rdev;
    atomic_uint nlink;
    atomic_llong size;
    uint64_t blocks; /* of 512 bytes */
    struct timespec atime, mtime, ctime, btime;
    void *priv; /* the filesystem's own */
    /* Things other modules hang on an inode; each manages its own pointer under `aux_lock`. */
    struct mutex aux_lock;
    struct file_locks *locks GUARDED_BY(aux_lock);    /* flock, POSIX and OFD locks, leases: vfs/locks.c */
    struct inotify_marks *marks GUARDED_BY(aux_lock); /* vfs/inotify.c */
    struct list_head mappings GUARDED_BY(aux_lock);   /* struct inode_mapping */
    void *sock GUARDED_BY(aux_lock);                  /* bound unix socket: sentry/socket/unix */
    void *pipe GUARDED_BY(aux_lock);                  /* FIFO: vfs/pipe */
    bool linkable;                                    /* made by O_TMPFILE without O_EXCL: linkat may give it its first name */
    atomic_int write_count; /* > 0: open for writing n times; < 0: denied (running executable): ETXTBSY */
};

/*
 * Someone who has mapped the file and must hear when pages go away (truncate, hole punch). The writer's
 * inode->lock may be held: the callback must not take one. */
struct inode_mapping {
    struct list_head node; /* in inode->mappings */
    void (*invalidate)(struct inode_mapping *m, uint64_t off, uint64_t len);
    bool writable; /* shared, and of a file open for writing: F_SEAL_WRITE is refused meanwhile; set before adding */
    int busy;      /* callbacks running; vfs/inode.c's own */
};
void inode_mapping_add(struct inode *inode, struct inode_mapping *m);
void inode_mapping_remove(struct inode *inode, struct inode_mapping *m); /* waits for a running callback */
void inode_mapping_invalidate(struct inode *inode, uint64_t off, uint64_t len);
bool inode_mapped_writable(struct inode *inode);

struct super_ops {
    void (*evict_inode)(struct inode *inode); /* the last reference is gone: free priv */
    int (*d_revalidate)(struct dentry *d);    /* 1: still true; 0: forget it. Only with SB_REVALIDATE */
    int (*statfs)(struct super_block *sb, struct statfs *out);
    void (*put_super)(struct super_block *sb);
    int (*sync_fs)(struct super_block *sb);
    void (*show_options)(struct super_block *sb, char *buf, size_t len); /* ",size=64k" for /proc/mounts */
};

enum {
    SB_RDONLY = 1,
    SB_REVALIDATE = 2,
    SB_NOCACHE_NEGATIVE = 4,
    SB_KERNEL = 8,         /* internal: pipes, sockets, anon inodes; path names are the dentry's name alone */
    SB_OPENS_SPECIAL = 64, /* its FIFOs, sockets and devices are opened by inode_ops.open, not by special_open() */
    SB_NOATIME = 16,       /* the filesystem keeps access times itself */
    SB_HOSTTIMES = 32,     /* the host sets mtime and ctime on write; the VFS does not */
};

struct super_block {
    struct refcount ref;  /* users: mounts, layers of an overlay, who makes it; the last put tears the tree down */
    struct refcount weak; /* the memory: inodes and the users together */
    const struct super_ops *ops;
    const char *fstype; /* "tmpfs"; static */
    const char *origin; /* where on the host's file system its root is, for /proc/PID/mountinfo; borrowed. NULL: nowhere else */
    unsigned long magic;
    unsigned int flags;       /* SB_* */
    dev_t dev;                /* an anonymous device number, unique */
    struct dentry *root;      /* referenced; dropped by the last unmount */
    struct mutex rename_lock; /* serialises cross-directory renames */
    atomic_ullong next_ino;
    unsigned int max_name; /* 255 */
    unsigned int blksize;  /* st_blksize; 0: 4096 */
    uint64_t max_bytes;    /* largest file; 0: INT64_MAX */
    void *priv;
    struct memfile *mf;     /* for those that keep data in memory */
    struct dcache *dcache;  /* vfs/dcache.c */
    atomic_uint nr_watches; /* inotify watches on inodes of it: lets events on unwatched trees cost one load */
};

struct dentry {
    struct refcount ref;
    struct super_block *sb;
    struct dentry *parent; /* self for a root; referenced */
    struct inode *inode;   /* referenced; NULL: negative */
    char *name;            /* of name_len bytes, terminated; points at short_name or is owned */
    unsigned int name_len;
    uint32_t hash;
    bool hashed;            /* findable; false after unlink */
    unsigned int nr_mounts; /* > 0: something is mounted here in some namespace */
    atomic_uint checked;    /* for d_revalidate: when the filesystem last looked */
    struct dentry *hash_next;
    struct list_head child; /* in parent->children */
    struct list_head children;
    struct list_head lru; /* unreferenced dentries that are kept for the next walk */
    bool pinned;          /* has a reference of its own, because the dentry is the only place where the name is kept */
    uint64_t cookie;      /* readdir position in the parent; children are in order of it */
    uint64_t next_cookie; /* of the next child */
    void *priv;
    char short_name[40];
};

/* Superblocks and inodes. */
int must_check super_create(const char *fstype, const struct super_ops *ops, unsigned long magic, struct super_block **out);
struct super_block *super_get(struct super_block *sb);
void super_put(struct super_block *sb);
/* A new inode with one reference, current times, nlink 1; NULL when out of memory. ino 0 takes the next number. */
struct inode *inode_create(struct super_block *sb, const struct inode_ops *ops, uint64_t ino, mode_t mode, uid_t uid,
                           gid_t gid);
struct inode *inode_get(struct inode *inode);
void inode_put(struct inode *inode);
/* Owner and mode of a new file as Linux sets them: fsuid, fsgid or the set-group-ID directory's group. `mode` already had umask
 * applied. */
void inode_init_owner(struct inode *inode, const struct inode *dir, mode_t mode, const struct vfs_caller *c);
void inode_touch(struct inode *inode, bool mtime, bool ctime); /* sets to now */
int generic_permission(struct inode *inode, const struct cred *cred, int mask);
int inode_permission(struct inode *inode, const struct cred *cred, int mask); /* 0, -EACCES, -EROFS... */
int generic_setattr(struct inode *inode, const struct iattr *attr);

/* A running executable cannot be opened for writing, nor the other way round: 0 or -ETXTBSY. */
int must_check inode_deny_write(struct inode *inode);
void inode_allow_write(struct inode *inode);

/* Dentries. */
struct dentry *dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
struct dentry *dentry_create_root(struct inode *inode);         /* consumes the inode reference; NULL when out of memory */
void dentry_instantiate(struct dentry *d, struct inode *inode); /* consumes the inode reference */
/*
 * The child `name`, from the cache or the filesystem, referenced; negative if it does not exist. Takes dir->inode->lock when it
 * has to ask.
 */
int must_check dentry_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out);
void dentry_unhash(struct dentry *d); /* removed from its directory: no walk finds it again */

/* As dentry_lookup(), for one who holds dir->inode->lock. */
int must_check dentry_lookup_locked(struct dentry *dir, const char *name, size_t len, struct dentry **out);
/* The parent, referenced (itself for a root). */
struct dentry *dentry_get_parent(struct dentry *d);
/* Copies the name (truncated to len - 1); stable against renames. */
void dentry_copy_name(struct dentry *d, char *buf, size_t len);
/* Keeps a dentry in the cache although nobody uses it / lets it go. Both idempotent. */
void dentry_pin(struct dentry *d);
void dentry_unpin(struct dentry *d);
static inline struct inode *dentry_inode(const struct dentry *d)
{
    return __atomic_load_n(&d->inode, __ATOMIC_ACQUIRE);
}

/*
 * Ready-made pieces for filesystems whose tree lives in the dentry cache itself (tmpfs, proc, dev): vfs/libfs.c. Their names
 * are pinned dentries; what is not there does not exist.
 */
int simple_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
int simple_lookup(struct inode *dir, struct dentry *d); /* leaves it negative */
bool simple_empty(struct dentry *d);                    /* no positive children */
/*
 * Adds a pinned child to `dir`, for trees that the sentry builds. Consumes the inode reference, also on failure. Returns the
 * dentry, not referenced for the caller (the pin keeps it), or NULL (-ENOMEM, or the name exists).
 */
struct dentry *simple_add_child(struct dentry *dir, const char *name, struct inode *inode);
/* Removes what simple_add_child() added, with all below it. */
void simple_remove_child(struct dentry *d);

/*
 * FIFOs, sockets, character and block devices behave the same on every filesystem: the VFS opens them here and never asks
 * inode_ops.open. Devices go to device_open() (vfs/fs_type.h), FIFOs to whoever registered at boot, sockets are -ENXIO.
 */
int special_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
void fifo_open_register(int (*fn)(struct inode *inode, struct file *f, const struct vfs_caller *c));

ssize_t generic_getxattr_none(struct inode *inode, const char *name, void *buf, size_t size);

#endif
