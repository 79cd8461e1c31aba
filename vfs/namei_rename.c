/*
 * renameat2(2). The superblock's rename_lock, taken when two directories are involved, keeps ancestry from changing meanwhile.
 */
#include "vfs/dcache.h"
#include "vfs/dops.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/permission.h"
#include "vfs/walk.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>

struct rename {
    const struct vfs_caller *c;
    unsigned int flags;
    struct walk from, to;
    struct dentry *od, *nd; /* what the names are; referenced */
};

static bool mounted_on(const struct dentry *d)
{
    return __atomic_load_n(&d->nr_mounts, __ATOMIC_RELAXED) > 0;
}

/* What the names are allows it: existence, kinds, trailing slashes, loops. */
static int check_names(const struct rename *r)
{
    bool exchange = r->flags & RENAME_EXCHANGE;

    if (!r->od->inode)
        return -ENOENT;
    if (r->flags & RENAME_NOREPLACE && r->nd->inode)
        return -EEXIST;
    if (exchange) {
        if (!r->nd->inode)
            return -ENOENT;
        if (!S_ISDIR(r->nd->inode->mode) && r->to.trailing)
            return -ENOTDIR;
    }
    if (!S_ISDIR(r->od->inode->mode) && (r->from.trailing || (!exchange && r->to.trailing)))
        return -ENOTDIR;
    if (dentry_is_below(r->to.path.dentry, r->od))
        return -EINVAL; /* into itself */
    if (r->nd->inode && dentry_is_below(r->from.path.dentry, r->nd))
        return exchange ? -EINVAL : -ENOTEMPTY;
    return 0;
}

static int check_permissions(const struct rename *r)
{
    const struct cred *cred = r->c->cred;
    struct inode *old_dir = r->from.path.dentry->inode, *new_dir = r->to.path.dentry->inode;
    struct inode *inode = r->od->inode, *target = r->nd->inode;
    bool is_dir = S_ISDIR(inode->mode), exchange = r->flags & RENAME_EXCHANGE;

    int err = mount_want_write(r->from.path.mnt);
    if (err == 0)
        err = may_delete(old_dir, inode, cred, is_dir);
    if (err == 0) {
        if (!target)
            err = may_create(new_dir, cred);
        else
            err = may_delete(new_dir, target, cred, exchange ? S_ISDIR(target->mode) : is_dir);
    }
    if (err < 0)
        return err;
    /* A directory that moves has its ".." written. */
    if (old_dir != new_dir && is_dir)
        err = inode_permission(inode, cred, MAY_WRITE);
    if (err == 0 && old_dir != new_dir && exchange && S_ISDIR(target->mode))
        err = inode_permission(target, cred, MAY_WRITE);
    if (err < 0)
        return err;
    if (mounted_on(r->od) || mounted_on(r->nd))
        return -EBUSY;
    return old_dir->ops->rename ? 0 : -EPERM;
}

/* Leaves a whiteout (overlayfs's "this name is deleted") where the old name was. */
static void leave_whiteout(const struct rename *r, const char *old_name)
{
    struct dentry *dir = r->from.path.dentry, *d;
    if (dentry_lookup_locked(dir, old_name, strlen(old_name), &d) < 0)
        return;
    if (!d->inode && dir->inode->ops->mknod(dir->inode, d, S_IFCHR, 0, r->c) == 0)
        dentry_add(d);
    dentry_put(d);
}

static void notify_rename(const struct rename *r, const char *old_name, const char *new_name)
{
    struct inode *old_dir = r->from.path.dentry->inode, *new_dir = r->to.path.dentry->inode;
    struct inode *inode = r->od->inode;
    uint32_t dir = S_ISDIR(inode->mode) ? IN_ISDIR : 0, cookie = notify_next_cookie();

    notify_name(old_dir, IN_MOVED_FROM | dir, cookie, old_name);
    notify_name(new_dir, IN_MOVED_TO | dir, cookie, new_name);
    notify_inode(inode, IN_MOVE_SELF);
    if (r->flags & RENAME_EXCHANGE) {
        dir = S_ISDIR(r->nd->inode->mode) ? IN_ISDIR : 0;
        cookie = notify_next_cookie();
        notify_name(new_dir, IN_MOVED_FROM | dir, cookie, new_name);
        notify_name(old_dir, IN_MOVED_TO | dir, cookie, old_name);
        notify_inode(r->nd->inode, IN_MOVE_SELF);
    } else if (r->nd->inode && !S_ISDIR(r->nd->inode->mode)) {
        notify_inode(r->nd->inode, IN_ATTRIB);
    }
}

static int rename_locked(struct rename *r, char *old_name, char *new_name) NO_THREAD_SAFETY_ANALYSIS
{
    struct inode *old_dir = r->from.path.dentry->inode, *new_dir = r->to.path.dentry->inode;
    struct inode *target;

    int err = check_names(r);
    if (err < 0)
        return err;
    target = r->nd->inode;
    if (r->od->inode == target)
        return 1; /* two names of one file: nothing to do, says POSIX */
    err = check_permissions(r);
    if (err < 0)
        return err;
    if (r->flags & RENAME_WHITEOUT && !old_dir->ops->mknod)
        return -EINVAL;
    memcpy(old_name, r->od->name, r->od->name_len + 1);
    memcpy(new_name, r->nd->name, r->nd->name_len + 1);
    bool replaces_dir = target && S_ISDIR(target->mode) && !(r->flags & RENAME_EXCHANGE);
    if (replaces_dir)
        mutex_lock(&target->lock);
    err = old_dir->ops->rename(old_dir, r->od, new_dir, r->nd, r->flags & RENAME_EXCHANGE, r->c);
    if (err == 0 && replaces_dir)
        atomic_store(&target->nlink, 0);
    if (replaces_dir)
        mutex_unlock(&target->lock);
    if (err < 0)
        return err;
    if (replaces_dir)
        dentry_forget_children(r->nd);
    dentry_move(r->od, r->nd, r->flags & RENAME_EXCHANGE);
    if (r->flags & RENAME_WHITEOUT)
        leave_whiteout(r, old_name);
    return 0;
}

static int rename_walked(struct rename *r)
{
    char old_name[NAME_MAX + 1], new_name[NAME_MAX + 1];
    struct dentry *old_parent = r->from.path.dentry, *new_parent = r->to.path.dentry;

    if (r->from.path.mnt != r->to.path.mnt)
        return -EXDEV;
    if (r->from.last_type != LAST_NORM)
        return -EBUSY;
    if (r->to.last_type != LAST_NORM)
        return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;

    dop_lock_two(old_parent, new_parent);
    int err = dentry_lookup_locked(old_parent, r->from.last, r->from.last_len, &r->od);
    if (err == 0)
        err = dentry_lookup_locked(new_parent, r->to.last, r->to.last_len, &r->nd);
    if (err == 0)
        err = rename_locked(r, old_name, new_name);
    dop_unlock_two(old_parent, new_parent);
    if (err == 0)
        notify_rename(r, old_name, new_name);
    if (r->od)
        dentry_put(r->od);
    if (r->nd)
        dentry_put(r->nd);
    return err < 0 ? err : 0;
}

int vfs_rename(const struct vfs_caller *c, const struct path *old_dir, const char *old_name, const struct path *new_dir,
               const char *new_name, unsigned int flags)
{
    struct rename r = {.c = c, .flags = flags};

    if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
        (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) && flags & RENAME_EXCHANGE))
        return -EINVAL;
    if (flags & RENAME_WHITEOUT && !cred_has_cap(c->cred, CAP_MKNOD))
        return -EPERM;
    if (old_name[0] == 0 || new_name[0] == 0)
        return -ENOENT;
    int err = walk_init(&r.from, c, old_dir, old_name, 0);
    if (err == 0)
        err = walk_parent(&r.from);
    if (err == 0)
        err = walk_init(&r.to, c, new_dir, new_name, 0);
    if (err == 0)
        err = walk_parent(&r.to);
    if (err == 0)
        err = rename_walked(&r);
    walk_fini(&r.to);
    walk_fini(&r.from);
    return err;
}
