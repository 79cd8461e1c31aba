/*
 * Private to vfs/mount*.c. One lock guards all mount trees, because propagation crosses namespaces; it is taken only where a
 * walk meets a mount point. Order: mount_lock -> dcache->lock.
 */
#ifndef VFS_MOUNT_INTERNAL_H
#define VFS_MOUNT_INTERNAL_H

#include "vfs/mount.h"

struct mnt_namespace {
    struct refcount ref;
    struct mount *root;      /* guarded by mount_lock; holds the tree's reference */
    struct list_head mounts; /* guarded by mount_lock */
};

extern struct mutex mount_lock;
extern struct list_head all_mounts GUARDED_BY(mount_lock);

/* An unattached mount with one reference; NULL when out of memory. */
struct mount *mount_alloc(struct super_block *sb, struct dentry *root, const char *source, unsigned long flags);
struct mount *mount_get(struct mount *m);
void mount_put(struct mount *m);
/* The mount on top of (parent, dentry), not referenced; NULL. */
struct mount *mount_find(const struct mount *parent, const struct dentry *d) REQUIRES(mount_lock);
/* Links `m`, whose one reference passes to the tree, and its children below `at`. */
void mount_graft(struct mount *m, struct mount *parent, struct dentry *mountpoint) REQUIRES(mount_lock);
/* Unlinks one mount from its parent, keeping it in its namespace; the mount point goes to *old, to be put without the lock. */
void mount_ungraft(struct mount *m, struct path *old) REQUIRES(mount_lock);
/* A copy of `m` with another root, unattached; propagation as bind does it. */
struct mount *mount_clone(struct mount *m, struct dentry *root) REQUIRES(mount_lock);
/* The same for the tree below `root` of `m`. `all`: also unbindable ones (for a new namespace). NULL when out of memory. */
struct mount *mount_clone_tree(struct mount *m, struct dentry *root, bool all) REQUIRES(mount_lock);
/* Detaches `m` and all below it. The dropped paths are collected for mount_dispose(), to be called without the lock. */
void mount_umount_tree(struct mount *m, struct list_head *dead) REQUIRES(mount_lock);
void mount_dispose(struct list_head *dead);
/* Next of a preorder walk of the tree below `top`; NULL at the end. */
struct mount *mount_next(struct mount *m, struct mount *top) REQUIRES(mount_lock);
bool mount_is_ancestor(const struct mount *top, const struct mount *m) REQUIRES(mount_lock);

int mount_new_group(void);
/* `m` has just been grafted on a shared mount: copies of it appear on all that receive from that. */
void mount_propagate_attach(struct mount *m) REQUIRES(mount_lock);
/* `m` is about to be detached: so are its copies that are not busy. */
void mount_propagate_detach(struct mount *m, struct list_head *dead) REQUIRES(mount_lock);

#endif
