/* Overlay superblocks. */
#include "vfs/overlay/overlay_internal.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>

#define HASH_BUCKETS 256

static int ovl_statfs(struct super_block *sb, struct statfs *out)
{
    struct ovl_super *os = ovl_sb(sb);
    struct super_block *real = os->upper ? os->upper : os->lower[0];
    int err = real->ops->statfs ? real->ops->statfs(real, out) : 0;
    out->f_type = OVERLAYFS_SUPER_MAGIC;
    return err;
}

static int ovl_sync_fs(struct super_block *sb)
{
    struct super_block *upper = ovl_sb(sb)->upper;
    return upper && upper->ops->sync_fs ? upper->ops->sync_fs(upper) : 0;
}

static void ovl_put_super(struct super_block *sb)
{
    struct ovl_super *os = ovl_sb(sb);
    if (!os)
        return;
    for (unsigned int i = 0; i < os->nr_lower; i++)
        super_put(os->lower[i]);
    if (os->upper)
        super_put(os->upper);
    cred_put(os->cred);
    mutex_fini(&os->lock);
    free(os->lower);
    free(os->hash);
    free(os);
}

static const struct super_ops ovl_super_ops = {
    .evict_inode = ovl_evict,
    .statfs = ovl_statfs,
    .put_super = ovl_put_super,
    .sync_fs = ovl_sync_fs,
};

static struct ovl_super *make_private(struct super_block *const *lowers, unsigned int n, struct super_block *upper)
{
    struct ovl_super *os = calloc(1, sizeof(*os));
    if (!os)
        return NULL;
    os->lower = calloc(n, sizeof(*os->lower));
    os->hash = calloc(HASH_BUCKETS, sizeof(*os->hash));
    os->hash_mask = HASH_BUCKETS - 1;
    os->cred = cred_create_root();
    mutex_init(&os->lock);
    if (!os->lower || !os->hash || !os->cred) {
        free(os->lower);
        free(os->hash);
        cred_put(os->cred);
        free(os);
        return NULL;
    }
    os->caller = (struct vfs_caller){.cred = os->cred, .fsize_limit = UINT64_MAX};
    for (unsigned int i = 0; i < n; i++)
        os->lower[i] = super_get(lowers[i]);
    os->nr_lower = n;
    os->upper = upper ? super_get(upper) : NULL;
    return os;
}

/* A fresh upper (the tmpfs of boot) has a root of its own making: it should look like the tree it covers. */
static void adopt_root_attributes(struct ovl_super *os)
{
    struct inode *from = os->lower[0]->root->inode, *to = os->upper->root->inode;
    if (os->upper->mf == NULL || atomic_load(&to->size) != 0)
        return; /* a directory of the host, or one that is in use: it is as it should be */
    struct iattr attr = {.valid = ATTR_UID | ATTR_GID | ATTR_MODE | ATTR_MTIME | ATTR_ATIME,
                         .uid = from->uid,
                         .gid = from->gid,
                         .mode = from->mode & 07777,
                         .atime = from->atime,
                         .mtime = from->mtime};
    (void)!dop_setattr(to, &attr, &os->caller);
}

int overlay_create(struct super_block *const *lowers, unsigned int nr_lowers, struct super_block *upper,
                   struct super_block **out)
{
    struct super_block *sb;
    struct inode *root;

    if (nr_lowers == 0 || nr_lowers > OVERLAY_MAX_LOWER)
        return -EINVAL;
    for (unsigned int i = 0; i < nr_lowers; i++)
        if (!S_ISDIR(lowers[i]->root->inode->mode))
            return -ENOTDIR;
    if (upper && !S_ISDIR(upper->root->inode->mode))
        return -ENOTDIR;
    int err = super_create("overlay", &ovl_super_ops, OVERLAYFS_SUPER_MAGIC, &sb);
    if (err < 0)
        return err;
    struct ovl_super *os = make_private(lowers, nr_lowers, upper);
    struct dentry **lower_roots = calloc(nr_lowers, sizeof(*lower_roots));
    sb->priv = os;
    if (!os || !lower_roots) {
        free(lower_roots);
        super_put(sb);
        return -ENOMEM;
    }
    sb->flags = SB_NOATIME | (upper ? 0 : SB_RDONLY);
    if (upper)
        adopt_root_attributes(os);
    for (unsigned int i = 0; i < nr_lowers; i++)
        lower_roots[i] = dentry_get(lowers[i]->root);
    err = ovl_iget(sb, upper ? dentry_get(upper->root) : NULL, lower_roots, nr_lowers, NULL, NULL, &root);
    if (err == 0) {
        sb->root = dentry_create_root(root);
        err = sb->root ? 0 : -ENOMEM;
    }
    if (err < 0) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}
