/*
 * inotify(7): instances, watches, and the hooks by which the VFS tells what happens.
 *
 * A hook costs one load when nothing on the filesystem is watched.
 */
#ifndef VFS_INOTIFY_H
#define VFS_INOTIFY_H

#include "vfs/inode.h"

#include <sys/inotify.h>

struct dentry;
struct file;
struct inode;
struct path;

/* inotify_init1(2): `flags` O_NONBLOCK or 0. `uid` is charged for max_user_instances. */
int must_check inotify_create(int flags, uid_t uid, struct file **out);
/* Whether `f` is one: the two below are -EINVAL otherwise. */
bool file_is_inotify(const struct file *f);
int inotify_add_watch_path(struct file *f, struct inode *inode, uint32_t mask);
int inotify_rm_watch_wd(struct file *f, int wd);

/* Events. The first checks for watches so that callers need not. */
void notify_inode_slow(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name, bool unlinked);
void notify_dentry_slow(struct dentry *d, uint32_t mask);

/* Something happened to the file itself: its own watches hear it, and its directory's, with the name. */
static inline void notify_dentry(struct dentry *d, uint32_t mask)
{
    if (d && unlikely(atomic_load_explicit(&d->sb->nr_watches, memory_order_relaxed) > 0))
        notify_dentry_slow(d, mask);
}

static inline void notify_file(struct file *f, uint32_t mask)
{
    notify_dentry(f->path.dentry, mask);
}

/* A name in directory `dir` came or went. */
static inline void notify_name(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name)
{
    if (unlikely(atomic_load_explicit(&dir->sb->nr_watches, memory_order_relaxed) > 0))
        notify_inode_slow(dir, mask, cookie, name, false);
}

/* To the watches of the inode alone, without a name. */
static inline void notify_inode(struct inode *inode, uint32_t mask)
{
    if (unlikely(atomic_load_explicit(&inode->sb->nr_watches, memory_order_relaxed) > 0))
        notify_inode_slow(inode, mask, 0, NULL, false);
}

uint32_t notify_next_cookie(void);
void inotify_inode_deleted(struct inode *inode); /* its last name and last user are gone */
void inotify_inode_gone(struct inode *inode);    /* the inode is being freed */
/* The filesystem was unmounted: IN_UNMOUNT to all its watches. */
void inotify_unmount(struct super_block *sb);

#endif
