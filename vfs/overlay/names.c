/* Overlay directories: finding, making, removing and renaming names over the layers. */
#include "vfs/overlay/overlay_internal.h"

#include "vfs/dcache.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

/* A positive entry of a real directory, referenced, or NULL; whiteouts are entries too. */
static int real_entry(struct dentry *dir, const char *name, struct dentry **out)
{
    struct dentry *d;
    int err = dentry_lookup(dir, name, strlen(name), &d);
    *out = NULL;
    if (err < 0)
        return err;
    if (d->inode)
        *out = d;
    else
        dentry_put(d);
    return 0;
}

struct found {
    struct dentry *upper;
    struct dentry **lower;
    unsigned int nr_lower;
};

static void found_fini(struct found *f)
{
    if (f->upper)
        dentry_put(f->upper);
    for (unsigned int i = 0; i < f->nr_lower; i++)
        dentry_put(f->lower[i]);
    free(f->lower);
}

/* Collects what the lower layers of `dir` have under `name`, below `f->upper` if that is a directory. */
static int find_lower(struct inode *dir, const char *name, struct found *f)
{
    struct ovl_inode *oi = ovl_i(dir);

    for (unsigned int i = 0; i < oi->nr_lower; i++) {
        struct dentry *d;
        int err = real_entry(oi->lower[i], name, &d);
        if (err < 0)
            return err;
        if (!d)
            continue;
        bool merging = f->upper || f->nr_lower > 0, is_dir = S_ISDIR(d->inode->mode);
        if (ovl_is_whiteout(d->inode) || (merging && !is_dir)) {
            dentry_put(d);
            return 0;
        }
        /* Asking for the attribute costs a host call or two, so only now that there is something it would hide. */
        if (merging) {
            struct dentry *above = f->nr_lower ? f->lower[f->nr_lower - 1] : f->upper;
            if (ovl_xattr_is(above, OVL_XATTR_OPAQUE, 'y')) {
                dentry_put(d);
                return 0;
            }
        }
        if (!f->lower && !(f->lower = calloc(is_dir ? oi->nr_lower - i : 1, sizeof(*f->lower)))) {
            dentry_put(d);
            return -ENOMEM;
        }
        f->lower[f->nr_lower++] = d;
        if (!is_dir)
            return 0;
    }
    return 0;
}

static int ovl_lookup(struct inode *dir, struct dentry *d)
{
    struct found f = {0};
    struct dentry *upper_dir = ovl_upper(dir);
    struct inode *inode;
    int err = upper_dir ? real_entry(upper_dir, d->name, &f.upper) : 0;

    if (err == 0 && f.upper && ovl_is_whiteout(f.upper->inode)) {
        found_fini(&f);
        return 0;
    }
    if (err == 0 && (!f.upper || S_ISDIR(f.upper->inode->mode)))
        err = find_lower(dir, d->name, &f);
    if (err < 0 || (!f.upper && f.nr_lower == 0)) {
        found_fini(&f);
        return err;
    }
    err = ovl_iget(dir->sb, f.upper, f.lower, f.nr_lower, dir, d->name, &inode);
    if (err == 0)
        dentry_instantiate(d, inode);
    return err;
}

struct dentry *ovl_lower_entry(struct inode *dir, const char *name)
{
    struct found f = {0};
    struct dentry *first = NULL;
    if (find_lower(dir, name, &f) == 0 && f.nr_lower > 0)
        first = dentry_get(f.lower[0]);
    found_fini(&f);
    return first;
}

static bool hidden_below(struct inode *dir, const char *name)
{
    struct dentry *d = ovl_lower_entry(dir, name);
    if (d)
        dentry_put(d);
    return d != NULL;
}

/* Takes a whiteout out of the way of a new name. *was: there was one. */
static int remove_whiteout(struct inode *dir, const char *name, bool *was)
{
    struct dentry *upper_dir = ovl_upper(dir), *d;
    int err = real_entry(upper_dir, name, &d);
    *was = false;
    if (err < 0 || !d)
        return err;
    *was = ovl_is_whiteout(d->inode);
    dentry_put(d);
    return *was ? dop_remove(upper_dir, name) : 0;
}

static int put_whiteout(struct inode *dir, const char *name)
{
    struct dop_new n = {.mode = S_IFCHR, .rdev = 0};
    struct dentry *d;
    int err = dop_create(ovl_upper(dir), name, &n, &ovl_sb(dir->sb)->caller, &d);
    if (err == 0)
        dentry_put(d);
    return err;
}

static void set_opaque(struct dentry *upper)
{
    struct inode *inode = upper->inode;
    if (!inode->ops->setxattr)
        return;
    mutex_lock(&inode->lock);
    (void)!inode->ops->setxattr(inode, OVL_XATTR_OPAQUE, "y", 1, 0);
    mutex_unlock(&inode->lock);
}

static void dir_changed(struct inode *dir)
{
    ovl_sync_attr(dir);
}

static int make(struct inode *dir, struct dentry *d, const struct dop_new *n, const struct vfs_caller *c)
{
    struct dentry *upper;
    struct inode *inode;
    bool was_whiteout;

    int err = ovl_copy_up(dir);
    if (err == 0)
        err = remove_whiteout(dir, d->name, &was_whiteout);
    if (err < 0)
        return err;
    err = dop_create(ovl_upper(dir), d->name, n, c, &upper);
    if (err < 0) {
        if (was_whiteout)
            (void)!put_whiteout(dir, d->name);
        return err;
    }
    if (was_whiteout && S_ISDIR(n->mode))
        set_opaque(upper);
    err = ovl_iget(dir->sb, upper, NULL, 0, dir, d->name, &inode);
    if (err < 0)
        return err;
    dentry_instantiate(d, inode);
    dir_changed(dir);
    return 0;
}

static int ovl_create(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    return make(dir, d, &(struct dop_new){.mode = mode}, c);
}

static int ovl_mkdir(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    return make(dir, d, &(struct dop_new){.mode = mode}, c);
}

static int ovl_mknod(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev, const struct vfs_caller *c)
{
    if (S_ISCHR(mode) && rdev == 0)
        return -EPERM; /* would read as "deleted" */
    return make(dir, d, &(struct dop_new){.mode = mode, .rdev = rdev}, c);
}

static int ovl_symlink(struct inode *dir, struct dentry *d, const char *target, const struct vfs_caller *c)
{
    return make(dir, d, &(struct dop_new){.mode = S_IFLNK | 0777, .target = target}, c);
}

static int ovl_link(struct inode *dir, struct dentry *d, struct inode *target, const struct vfs_caller *c)
{
    struct dentry *upper;
    bool was_whiteout;

    int err = ovl_copy_up(target);
    if (err == 0)
        err = ovl_copy_up(dir);
    if (err == 0)
        err = remove_whiteout(dir, d->name, &was_whiteout);
    if (err < 0)
        return err;
    err = dop_link(ovl_upper(dir), d->name, ovl_upper(target)->inode, c, &upper);
    if (err < 0) {
        if (was_whiteout)
            (void)!put_whiteout(dir, d->name);
        return err;
    }
    dentry_put(upper);
    dentry_instantiate(d, inode_get(target));
    ovl_sync_attr(target);
    dir_changed(dir);
    return 0;
}

/* Removes what `d` is from the upper tree, if it is there, and hides what is below. */
static int remove_name(struct inode *dir, struct dentry *d)
{
    int err = ovl_copy_up(dir);
    if (err < 0)
        return err;
    bool hide = hidden_below(dir, d->name);
    struct dentry *upper = ovl_upper(d->inode), *there = NULL;
    /* A file that was copied up under one of several names is there only under that one. */
    if (upper) {
        err = real_entry(ovl_upper(dir), d->name, &there);
        if (err == 0 && there) {
            dentry_put(there);
            err = dop_remove(ovl_upper(dir), d->name);
        }
    }
    if (err == 0 && hide)
        err = put_whiteout(dir, d->name);
    if (err == 0) {
        if (!S_ISDIR(d->inode->mode) && upper)
            ovl_sync_attr(d->inode);
        else if (!S_ISDIR(d->inode->mode))
            atomic_store(&d->inode->nlink, 0);
        dir_changed(dir);
    }
    return err;
}

static int ovl_unlink(struct inode *dir, struct dentry *d)
{
    return remove_name(dir, d);
}

static int ovl_rmdir(struct inode *dir, struct dentry *d)
{
    int err = ovl_check_empty(d->inode, true);
    return err < 0 ? err : remove_name(dir, d);
}

static bool may_move(const struct inode *inode)
{
    return !S_ISDIR(inode->mode) || ovl_i(inode)->nr_lower == 0;
}

/* Makes room at the new name for an object to be renamed to it. */
static int prepare_target(struct inode *new_dir, struct dentry *nd, bool moving_dir)
{
    bool was_whiteout;
    struct inode *target = nd->inode;

    if (!target)
        return moving_dir ? remove_whiteout(new_dir, nd->name, &was_whiteout) : 0; /* files replace whiteouts */
    if (!S_ISDIR(target->mode))
        return 0;
    int err = ovl_check_empty(target, true);
    if (err == 0 && ovl_upper(target))
        err = dop_remove(ovl_upper(new_dir), nd->name);
    return err;
}

static int ovl_rename(struct inode *old_dir, struct dentry *od, struct inode *new_dir, struct dentry *nd, unsigned int flags,
                      const struct vfs_caller *c)
{
    bool exchange = flags & RENAME_EXCHANGE, is_dir = S_ISDIR(od->inode->mode);

    if (!may_move(od->inode) || (exchange && !may_move(nd->inode)))
        return -EXDEV;
    int err = ovl_copy_up(od->inode);
    if (err == 0 && exchange)
        err = ovl_copy_up(nd->inode);
    if (err == 0)
        err = ovl_copy_up(old_dir);
    if (err == 0)
        err = ovl_copy_up(new_dir);
    if (err < 0)
        return err;
    bool hide_old = !exchange && hidden_below(old_dir, od->name), hide_new = hidden_below(new_dir, nd->name);
    if (!exchange)
        err = prepare_target(new_dir, nd, is_dir);
    if (err == 0 && is_dir && hide_new)
        set_opaque(ovl_upper(od->inode));
    if (err == 0 && exchange && S_ISDIR(nd->inode->mode) && hidden_below(old_dir, od->name))
        set_opaque(ovl_upper(nd->inode));
    if (err == 0)
        err = dop_rename(ovl_upper(old_dir), od->name, ovl_upper(new_dir), nd->name, flags, c);
    if (err == 0 && hide_old)
        err = put_whiteout(old_dir, od->name);
    if (err < 0)
        return err;
    ovl_set_location(od->inode, new_dir, nd->name);
    if (exchange)
        ovl_set_location(nd->inode, old_dir, od->name);
    ovl_sync_attr(od->inode);
    if (nd->inode && !S_ISDIR(nd->inode->mode)) {
        if (ovl_upper(nd->inode))
            ovl_sync_attr(nd->inode);
        else
            atomic_store(&nd->inode->nlink, 0);
    }
    dir_changed(old_dir);
    dir_changed(new_dir);
    return 0;
}

static int ovl_tmpfile(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    struct inode *inode;
    int err = ovl_copy_up(dir);
    if (err < 0)
        return err;
    struct dentry *upper_dir = ovl_upper(dir);
    if (!upper_dir->inode->ops->tmpfile)
        return -EOPNOTSUPP;
    struct dentry *upper = dentry_alloc(upper_dir->sb, upper_dir, d->name, d->name_len);
    if (!upper)
        return -ENOMEM;
    mutex_lock(&upper_dir->inode->lock);
    err = upper_dir->inode->ops->tmpfile(upper_dir->inode, upper, mode, c);
    mutex_unlock(&upper_dir->inode->lock);
    if (err < 0) {
        dentry_put(upper);
        return err;
    }
    err = ovl_iget(dir->sb, upper, NULL, 0, NULL, NULL, &inode);
    if (err < 0)
        return err;
    dentry_instantiate(d, inode);
    return 0;
}

static ssize_t ovl_readlink(struct inode *inode, const struct vfs_caller *c, char *buf, size_t len)
{
    struct inode *real = ovl_real(inode)->inode;
    return real->ops->readlink ? real->ops->readlink(real, c, buf, len) : -EINVAL;
}

/* The overlay's own attributes are not for the guest. */
static bool is_private(const char *name)
{
    return strncmp(name, OVL_XATTR_PREFIX, strlen(OVL_XATTR_PREFIX)) == 0;
}

static ssize_t ovl_getxattr(struct inode *inode, const char *name, void *buf, size_t size)
{
    struct inode *real = ovl_real(inode)->inode;
    if (is_private(name))
        return -ENODATA;
    return real->ops->getxattr ? real->ops->getxattr(real, name, buf, size) : -EOPNOTSUPP;
}

static int ovl_setxattr(struct inode *inode, const char *name, const void *value, size_t size, int flags)
{
    if (is_private(name))
        return -EOPNOTSUPP;
    int err = ovl_copy_up(inode);
    if (err < 0)
        return err;
    struct inode *real = ovl_upper(inode)->inode;
    if (!real->ops->setxattr)
        return -EOPNOTSUPP;
    mutex_lock(&real->lock);
    err = real->ops->setxattr(real, name, value, size, flags);
    mutex_unlock(&real->lock);
    ovl_sync_attr(inode);
    return err;
}

static int ovl_removexattr(struct inode *inode, const char *name)
{
    if (is_private(name))
        return -ENODATA;
    if (!ovl_upper(inode)) {
        ssize_t n = ovl_getxattr(inode, name, NULL, 0);
        if (n < 0)
            return (int)n;
    }
    int err = ovl_copy_up(inode);
    if (err < 0)
        return err;
    struct inode *real = ovl_upper(inode)->inode;
    if (!real->ops->removexattr)
        return -EOPNOTSUPP;
    mutex_lock(&real->lock);
    err = real->ops->removexattr(real, name);
    mutex_unlock(&real->lock);
    ovl_sync_attr(inode);
    return err;
}

static ssize_t ovl_listxattr(struct inode *inode, char *buf, size_t size)
{
    struct inode *real = ovl_real(inode)->inode;
    if (!real->ops->listxattr)
        return 0;
    ssize_t need = real->ops->listxattr(real, NULL, 0);
    char *all = need > 0 ? malloc((size_t)need) : NULL;
    if (need > 0 && !all)
        return -ENOMEM;
    ssize_t n = need > 0 ? real->ops->listxattr(real, all, (size_t)need) : need;
    size_t kept = 0;
    for (char *s = all; n > 0 && s < all + n; s += strlen(s) + 1) {
        size_t len = strlen(s) + 1;
        if (is_private(s))
            continue;
        if (size > 0 && kept + len > size) {
            n = -ERANGE;
            break;
        }
        if (size > 0)
            memcpy(buf + kept, s, len);
        kept += len;
    }
    free(all);
    return n < 0 ? n : (ssize_t)kept;
}

#define COMMON_OPS                                                                                      \
    .getattr = ovl_getattr, .setattr = ovl_setattr, .getxattr = ovl_getxattr, .setxattr = ovl_setxattr, \
    .listxattr = ovl_listxattr, .removexattr = ovl_removexattr

const struct inode_ops ovl_dir_inode_ops = {
    COMMON_OPS,         .lookup = ovl_lookup,   .create = ovl_create,   .mkdir = ovl_mkdir,
    .mknod = ovl_mknod, .symlink = ovl_symlink, .link = ovl_link,       .unlink = ovl_unlink,
    .rmdir = ovl_rmdir, .rename = ovl_rename,   .tmpfile = ovl_tmpfile, .open = ovl_dir_open,
};
const struct inode_ops ovl_file_inode_ops = {COMMON_OPS, .open = ovl_file_open};
const struct inode_ops ovl_symlink_inode_ops = {COMMON_OPS, .readlink = ovl_readlink};
const struct inode_ops ovl_special_inode_ops = {COMMON_OPS};
