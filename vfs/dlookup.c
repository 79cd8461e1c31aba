/* Looking up one name below a dentry: the cache first, then the filesystem. */
#include "vfs/dcache.h"

#include <errno.h>

/* A cached dentry of a tree that others change: whether it still says the truth. Drops it when not. */
static struct dentry *revalidate(struct dentry *d)
{
    if (likely(!(d->sb->flags & SB_REVALIDATE)) || !d->sb->ops->d_revalidate || d->sb->ops->d_revalidate(d) > 0)
        return d;
    dentry_unhash(d);
    dentry_put(d);
    return NULL;
}

static struct dentry *find_valid(struct dentry *dir, const char *name, size_t len)
{
    struct dentry *d = dcache_find(dir, name, len, dcache_hash(dir, name, len));
    return d ? revalidate(d) : NULL;
}

int dentry_lookup_locked(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
    struct inode *inode = dir->inode;
    struct dentry *d = find_valid(dir, name, len);
    if (d) {
        *out = d;
        return 0;
    }
    if (!inode->ops->lookup)
        return -ENOTDIR;
    d = dentry_alloc(dir->sb, dir, name, len);
    if (!d)
        return -ENOMEM;
    int err = inode->ops->lookup(inode, d);
    if (err < 0) {
        dentry_put(d);
        return err;
    }
    if (d->inode || !(dir->sb->flags & SB_NOCACHE_NEGATIVE))
        dentry_add(d);
    *out = d;
    return 0;
}

int dentry_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
    struct inode *inode = dir->inode;
    struct dentry *d = find_valid(dir, name, len);
    if (likely(d != NULL)) {
        *out = d;
        return 0;
    }
    mutex_lock(&inode->lock);
    int err = dentry_lookup_locked(dir, name, len, out);
    mutex_unlock(&inode->lock);
    return err;
}
