/*
 * Mounts and mount namespaces. A mount grafts a subtree of a superblock onto a dentry of its parent mount. The namespace's lock
 * guards the tree; a mount itself is referenced by paths that lead through it, and a lazily unmounted one lives until they are
 * gone.
 */
#ifndef VFS_MOUNT_H
#define VFS_MOUNT_H

#include "vfs/inode.h"

struct mnt_namespace;

struct mount {
    struct refcount ref;
    struct mnt_namespace *ns;  /* NULL once detached */
    struct mount *parent;      /* NULL for the namespace's root */
    struct dentry *mountpoint; /* in the parent */
    struct dentry *root;       /* of what is mounted */
    struct super_block *sb;
    unsigned long flags; /* MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME ... of this mount */
    int id;
    int propagation;  /* MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE */
    int peer_group;   /* of a shared mount; 0: none */
    int master_group; /* the peer group that a slave receives from; 0: none. A mount may be shared and a slave */
    unsigned int crossings, expires_at;     /* walks that came in, and their number when MNT_EXPIRE marked it; mount_lock */
    char *source;                           /* as /proc/mounts shows it; owned */
    struct list_head node, children, child; /* node: in the namespace, parents before children */
    struct list_head all;                   /* every mount of every namespace, for propagation */
};

int must_check mnt_namespace_create(struct super_block *root_sb, const char *source, unsigned long flags,
                                    struct mnt_namespace **out);
struct mnt_namespace *mnt_namespace_get(struct mnt_namespace *ns);
void mnt_namespace_put(struct mnt_namespace *ns);
int must_check mnt_namespace_dup(struct mnt_namespace *ns, struct fs_struct *fs, struct mnt_namespace **out);
void mnt_namespace_root(struct mnt_namespace *ns, struct path *out); /* topmost mount on "/"; referenced */

struct path *path_get(struct path *p);
void path_put(struct path *p); /* also clears it; fine on an empty one */

/* Mounts `sb` (its root, or `root` for a bind of a subtree) at `at`. */
int must_check mount_attach(struct super_block *sb, struct dentry *root, const struct path *at, const char *source,
                            unsigned long flags);
int must_check mount_bind(const struct path *from, const struct path *at, bool recursive, unsigned long flags);
int must_check mount_detach(const struct path *at, int umount_flags);
int must_check mount_remount(const struct path *at, unsigned long flags);
int must_check mount_move(const struct path *from, const struct path *to);
int must_check mount_set_propagation(const struct path *at, unsigned long flags);
int must_check vfs_pivot_root(const struct path *new_root, const struct path *put_old, struct fs_struct *fs);

/* Writing through a mount: 0 or -EROFS. */
int must_check mount_want_write(const struct mount *mnt);
/* Goes from a mount point to the root of what is mounted there, as often as that is so. */
void mount_follow_down(struct path *p);
/* From the root of a mount to its mount point; false at the top of the tree. */
bool mount_follow_up(struct path *p);
/* Whether something is mounted on the dentry of `p` in its mount. */
bool mount_is_mountpoint(const struct path *p);

/* Calls `fn` for each mount in order, under the namespace's lock, for /proc/PID/mounts and mountinfo. Stops when fn returns
 * non-zero. */
int mnt_namespace_for_each(struct mnt_namespace *ns, int (*fn)(void *arg, struct mount *m), void *arg);

#endif
