/* Overlay inodes: making them from real dentries, keeping one a real object, attributes. */
#include "vfs/overlay/overlay_internal.h"

#include "vfs/file_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The layer in the high bits: real numbers are far smaller. The topmost lower layer's numbers show as they are. */
uint64_t ovl_ino(const struct ovl_super *os, const struct dentry *real)
{
    uint64_t ino = real->inode->ino;
    if (real->sb == os->upper)
        return ino | 1ULL << 62;
    for (unsigned int i = 0; i < os->nr_lower; i++)
        if (real->sb == os->lower[i])
            return ino | (uint64_t)i << 48;
    return ino;
}

bool ovl_xattr_is(struct dentry *real, const char *name, char value)
{
    char c = 0;
    return real->inode->ops->getxattr && real->inode->ops->getxattr(real->inode, name, &c, 1) == 1 && c == value;
}

/* A copied-up object keeps the number it had below, which copy_up.c left in an attribute. */
static uint64_t ino_of(struct ovl_super *os, struct dentry *upper, struct dentry *lower)
{
    uint64_t origin;
    if (!upper)
        return ovl_ino(os, lower);
    if (lower && S_ISDIR(upper->inode->mode))
        return ovl_ino(os, lower);
    if (upper->inode->ops->getxattr &&
        upper->inode->ops->getxattr(upper->inode, OVL_XATTR_ORIGIN, &origin, sizeof(origin)) == (ssize_t)sizeof(origin))
        return origin;
    return ovl_ino(os, upper);
}

void ovl_sync_attr(struct inode *inode)
{
    const struct ovl_inode *oi = ovl_i(inode);
    const struct inode *real = ovl_real(inode)->inode;
    bool merged = S_ISDIR(inode->mode) && oi->nr_lower + (ovl_upper(inode) != NULL) > 1;

    inode->mode = real->mode;
    inode->uid = real->uid;
    inode->gid = real->gid;
    if (!S_ISDIR(inode->mode) || atomic_load(&inode->nlink) != 0)
        atomic_store(&inode->nlink, merged ? 1 : atomic_load(&real->nlink));
    atomic_store(&inode->size, atomic_load(&real->size));
    inode_store(inode->blocks, inode_load(real->blocks));
    ts_store(&inode->atime, ts_load(&real->atime));
    ts_store(&inode->mtime, ts_load(&real->mtime));
    ts_store(&inode->ctime, ts_load(&real->ctime));
    ts_store(&inode->btime, ts_load(&real->btime));
}

static const struct inode_ops *ops_of(mode_t mode)
{
    if (S_ISREG(mode))
        return &ovl_file_inode_ops;
    if (S_ISDIR(mode))
        return &ovl_dir_inode_ops;
    return S_ISLNK(mode) ? &ovl_symlink_inode_ops : &ovl_special_inode_ops;
}

static unsigned int slot_of(const struct ovl_super *os, const struct inode *key)
{
    return (unsigned int)(((uintptr_t)key >> 4) * 0x9e3779b97f4a7c15ULL >> 32) & os->hash_mask;
}

static void hash_insert(struct ovl_super *os, struct ovl_inode *oi, const struct inode *key)
{
    unsigned int slot = slot_of(os, key);
    oi->key = key;
    oi->hash_next = os->hash[slot];
    os->hash[slot] = oi;
}

static void hash_remove(struct ovl_super *os, struct ovl_inode *oi)
{
    if (!oi->key)
        return;
    struct ovl_inode **p = &os->hash[slot_of(os, oi->key)];
    while (*p != oi)
        p = &(*p)->hash_next;
    *p = oi->hash_next;
    oi->key = NULL;
}

void ovl_rehash(struct inode *inode, const struct inode *key)
{
    struct ovl_super *os = ovl_sb(inode->sb);
    mutex_lock(&os->lock);
    hash_remove(os, ovl_i(inode));
    hash_insert(os, ovl_i(inode), key);
    mutex_unlock(&os->lock);
}

static void hash_grow(struct ovl_super *os)
{
    unsigned int old_n = os->hash_mask + 1, n = 4 * old_n;
    if (os->nr_inodes <= 2 * old_n)
        return;
    struct ovl_inode **grown = calloc(n, sizeof(*grown)), **old = os->hash;
    if (!grown)
        return;
    os->hash = grown;
    os->hash_mask = n - 1;
    for (unsigned int i = 0; i < old_n; i++)
        for (struct ovl_inode *oi = old[i], *next; oi; oi = next) {
            next = oi->hash_next;
            hash_insert(os, oi, oi->key);
        }
    free(old);
}

static void put_dentries(struct dentry *upper, struct dentry **lower, unsigned int nr_lower)
{
    if (upper)
        dentry_put(upper);
    for (unsigned int i = 0; i < nr_lower; i++)
        dentry_put(lower[i]);
    free(lower);
}

static struct inode *find_inode(struct ovl_super *os, const struct inode *key)
{
    for (struct ovl_inode *oi = os->hash[slot_of(os, key)]; oi; oi = oi->hash_next)
        if (oi->key == key && ref_get_unless_zero(&oi->inode->ref))
            return oi->inode;
    return NULL;
}

int ovl_iget(struct super_block *sb, struct dentry *upper, struct dentry **lower, unsigned int nr_lower, struct inode *parent,
             const char *name, struct inode **out)
{
    struct ovl_super *os = ovl_sb(sb);
    struct dentry *real = upper ? upper : lower[0];
    mode_t mode = real->inode->mode;
    /* Names of one lower file are separate objects here: copying one up must not change the others. */
    bool shared = upper || S_ISDIR(mode) || atomic_load(&real->inode->nlink) <= 1;

    if (shared) {
        mutex_lock(&os->lock);
        struct inode *found = find_inode(os, real->inode);
        mutex_unlock(&os->lock);
        if (found) {
            put_dentries(upper, lower, nr_lower);
            *out = found;
            return 0;
        }
    }
    struct ovl_inode *oi = calloc(1, sizeof(*oi));
    char *copy = name ? strdup(name) : NULL;
    struct inode *inode = NULL;
    if (oi && (copy || !name))
        inode = inode_create(sb, ops_of(mode), ino_of(os, upper, nr_lower ? lower[0] : NULL), mode, 0, 0);
    if (!inode) {
        free(oi);
        free(copy);
        put_dentries(upper, lower, nr_lower);
        return -ENOMEM;
    }
    oi->inode = inode;
    oi->upper = upper;
    oi->lower = lower;
    oi->nr_lower = nr_lower;
    oi->parent = parent ? inode_get(parent) : NULL;
    oi->name = copy;
    mutex_init(&oi->copy_lock);
    inode->priv = oi;
    inode->rdev = real->inode->rdev;
    ovl_sync_attr(inode);
    mutex_lock(&os->lock);
    os->nr_inodes++;
    hash_grow(os);
    if (shared)
        hash_insert(os, oi, real->inode);
    mutex_unlock(&os->lock);
    *out = inode;
    return 0;
}

void ovl_evict(struct inode *inode)
{
    struct ovl_super *os = ovl_sb(inode->sb);
    struct ovl_inode *oi = ovl_i(inode);
    if (!oi)
        return;
    mutex_lock(&os->lock);
    hash_remove(os, oi);
    os->nr_inodes--;
    mutex_unlock(&os->lock);
    put_dentries(oi->upper, oi->lower, oi->nr_lower);
    inode_put(oi->parent);
    mutex_fini(&oi->copy_lock);
    free(oi->name);
    free(oi);
}

void ovl_set_location(struct inode *inode, struct inode *parent, const char *name)
{
    struct ovl_super *os = ovl_sb(inode->sb);
    struct ovl_inode *oi = ovl_i(inode);
    char *copy = strdup(name);
    if (!copy)
        return; /* only what is not copied up needs its location, and that never moves */
    mutex_lock(&os->lock);
    struct inode *old_parent = oi->parent;
    char *old_name = oi->name;
    oi->parent = inode_get(parent);
    oi->name = copy;
    mutex_unlock(&os->lock);
    inode_put(old_parent);
    free(old_name);
}

int ovl_getattr(struct inode *inode)
{
    struct inode *real = ovl_real(inode)->inode;
    int err = real->ops->getattr ? real->ops->getattr(real) : 0;
    if (err == 0)
        ovl_sync_attr(inode);
    return err;
}

int ovl_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    int err = ovl_copy_up(inode);
    if (err < 0)
        return err;
    loff_t old_size = atomic_load(&inode->size);
    err = dop_setattr(ovl_upper(inode)->inode, attr, c);
    if (err < 0)
        return err;
    ovl_sync_attr(inode);
    if (attr->valid & ATTR_SIZE && attr->size < old_size) {
        uint64_t end = ((uint64_t)attr->size + 4095) & ~4095ULL;
        inode_mapping_invalidate(inode, end, UINT64_MAX - end);
    }
    return 0;
}
