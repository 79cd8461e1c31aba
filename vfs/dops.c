/* See dops.h. */
#include "vfs/dops.h"
#include "vfs/inode_internal.h"

#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/permission.h"

#include <errno.h>
#include <string.h>

void dop_lock_two(struct dentry *a, struct dentry *b) NO_THREAD_SAFETY_ANALYSIS
{
    if (a->inode == b->inode) {
        mutex_lock(&a->inode->lock);
        return;
    }
    mutex_lock(&a->sb->rename_lock);
    bool a_first = dentry_is_below(b, a) || (!dentry_is_below(a, b) && (uintptr_t)a->inode < (uintptr_t)b->inode);
    mutex_lock(a_first ? &a->inode->lock : &b->inode->lock);
    mutex_lock(a_first ? &b->inode->lock : &a->inode->lock);
}

void dop_unlock_two(struct dentry *a, struct dentry *b) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_unlock(&a->inode->lock);
    if (a->inode == b->inode)
        return;
    mutex_unlock(&b->inode->lock);
    mutex_unlock(&a->sb->rename_lock);
}

static int create_one(struct inode *dir, struct dentry *d, const struct dop_new *n, const struct vfs_caller *c)
{
    switch (n->mode & S_IFMT) {
    case S_IFREG:
        return dir->ops->create ? dir->ops->create(dir, d, n->mode, c) : -EPERM;
    case S_IFDIR:
        return dir->ops->mkdir ? dir->ops->mkdir(dir, d, n->mode, c) : -EPERM;
    case S_IFLNK:
        return dir->ops->symlink ? dir->ops->symlink(dir, d, n->target, c) : -EPERM;
    default:
        return dir->ops->mknod ? dir->ops->mknod(dir, d, n->mode, n->rdev, c) : -EPERM;
    }
}

int dop_create(struct dentry *dir, const char *name, const struct dop_new *n, const struct vfs_caller *c, struct dentry **out)
{
    struct dentry *d;
    mutex_lock(&dir->inode->lock);
    int err = inode_dead(dir->inode) ? -ENOENT : dentry_lookup_locked(dir, name, strlen(name), &d);
    if (err == 0) {
        err = d->inode ? -EEXIST : create_one(dir->inode, d, n, c);
        if (err == 0)
            dentry_add(d);
        else
            dentry_put(d);
    }
    mutex_unlock(&dir->inode->lock);
    if (err == 0)
        *out = d;
    return err;
}

int dop_link(struct dentry *dir, const char *name, struct inode *target, const struct vfs_caller *c, struct dentry **out)
{
    struct dentry *d;
    mutex_lock(&dir->inode->lock);
    int err = inode_dead(dir->inode) ? -ENOENT : dentry_lookup_locked(dir, name, strlen(name), &d);
    if (err == 0) {
        err = d->inode ? -EEXIST : dir->inode->ops->link ? dir->inode->ops->link(dir->inode, d, target, c) : -EPERM;
        if (err == 0)
            dentry_add(d);
        else
            dentry_put(d);
    }
    mutex_unlock(&dir->inode->lock);
    if (err == 0)
        *out = d;
    return err;
}

static int remove_dir(struct inode *dir, struct dentry *d)
{
    struct inode *victim = d->inode;
    mutex_lock(&victim->lock);
    int err = dir->ops->rmdir ? dir->ops->rmdir(dir, d) : -EPERM;
    if (err == 0)
        atomic_store(&victim->nlink, 0);
    mutex_unlock(&victim->lock);
    if (err == 0)
        dentry_forget_children(d);
    return err;
}

int dop_remove(struct dentry *dir, const char *name)
{
    struct dentry *d;
    mutex_lock(&dir->inode->lock);
    int err = dentry_lookup_locked(dir, name, strlen(name), &d);
    if (err == 0) {
        if (!d->inode)
            err = -ENOENT;
        else if (S_ISDIR(d->inode->mode))
            err = remove_dir(dir->inode, d);
        else
            err = dir->inode->ops->unlink ? dir->inode->ops->unlink(dir->inode, d) : -EPERM;
        if (err == 0)
            dentry_unhash(d);
        dentry_put(d);
    }
    mutex_unlock(&dir->inode->lock);
    return err;
}

static int rename_locked(struct dentry *old_dir, struct dentry *od, struct dentry *new_dir, struct dentry *nd,
                         unsigned int flags, const struct vfs_caller *c)
{
    struct inode *target = nd->inode;
    bool replaces_dir = target && S_ISDIR(target->mode) && flags == 0;

    if (!od->inode)
        return -ENOENT;
    if (od->inode == target)
        return 0;
    if (!old_dir->inode->ops->rename)
        return -EPERM;
    int err = old_dir->inode->ops->rename(old_dir->inode, od, new_dir->inode, nd, flags, c);
    if (err < 0)
        return err;
    if (replaces_dir) {
        atomic_store(&target->nlink, 0);
        dentry_forget_children(nd);
    }
    dentry_move(od, nd, flags != 0);
    return 0;
}

int dop_rename(struct dentry *old_dir, const char *old_name, struct dentry *new_dir, const char *new_name, unsigned int flags,
               const struct vfs_caller *c)
{
    struct dentry *od = NULL, *nd = NULL;
    dop_lock_two(old_dir, new_dir);
    int err = dentry_lookup_locked(old_dir, old_name, strlen(old_name), &od);
    if (err == 0)
        err = dentry_lookup_locked(new_dir, new_name, strlen(new_name), &nd);
    if (err == 0)
        err = rename_locked(old_dir, od, new_dir, nd, flags, c);
    dop_unlock_two(old_dir, new_dir);
    if (od)
        dentry_put(od);
    if (nd)
        dentry_put(nd);
    return err;
}

int dop_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    struct iattr a = *attr;
    mutex_lock(&inode->lock);
    int err = setattr_locked(inode, &a, c);
    mutex_unlock(&inode->lock);
    return err;
}

int dop_open(struct dentry *d, int flags, unsigned int fmode, const struct vfs_caller *c, struct file **out)
{
    struct inode *inode = d->inode;
    struct file *f = file_alloc(flags, fmode);
    if (!f)
        return -ENOMEM;
    f->path.dentry = dentry_get(d);
    f->inode = inode_get(inode);
    int err = inode->ops->open ? inode->ops->open(inode, f, c) : -ENXIO;
    if (err < 0) {
        f->ops = NULL;
        file_put(f);
        return err;
    }
    *out = f;
    return 0;
}
