/*
 * Superblocks: the life of a mounted filesystem.
 *
 * `ref` counts users (mounts, overlay layers, the creator). When it reaches zero the tree is taken down: unused dentries,
 * pinned ones, then the root. Inodes that are still open elsewhere keep the memory through `weak`, and put_super runs when that
 * too has reached zero, so a filesystem's private data outlives its last inode.
 */
#include "vfs/dcache.h"
#include "vfs/inode_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

/* Anonymous device numbers, major 0, as Linux hands them out. Only uniqueness matters. */
static atomic_uint next_dev_minor = 32;

int super_create(const char *fstype, const struct super_ops *ops, unsigned long magic, struct super_block **out)
{
    struct super_block *sb = calloc(1, sizeof(*sb));
    if (!sb)
        return -ENOMEM;
    sb->dcache = dcache_create();
    if (!sb->dcache) {
        free(sb);
        return -ENOMEM;
    }
    ref_init(&sb->ref);
    ref_init(&sb->weak);
    sb->ops = ops;
    sb->fstype = fstype;
    sb->magic = magic;
    sb->dev = makedev(0, atomic_fetch_add(&next_dev_minor, 1));
    sb->max_name = 255;
    mutex_init(&sb->rename_lock);
    atomic_init(&sb->next_ino, 1);
    *out = sb;
    return 0;
}

struct super_block *super_get(struct super_block *sb)
{
    ref_get(&sb->ref);
    return sb;
}

void super_put_weak(struct super_block *sb)
{
    if (!ref_put(&sb->weak))
        return;
    if (sb->ops && sb->ops->put_super)
        sb->ops->put_super(sb);
    dcache_destroy(sb->dcache);
    mutex_fini(&sb->rename_lock);
    free(sb);
}

void super_put(struct super_block *sb)
{
    if (!ref_put(&sb->ref))
        return;
    dcache_shutdown(sb);
    if (sb->root) {
        dentry_put(sb->root);
        sb->root = NULL;
    }
    super_put_weak(sb);
}
