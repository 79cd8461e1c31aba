/*
 * Files without a name in any tree: eventfd and its like share one anonymous inode, pipes, sockets and memfds bring their own.
 * Each has a dentry of its own, so that /proc/PID/fd can show what it is.
 */
#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct inode_ops anon_inode_ops;

static int anon_statfs(struct super_block *sb, struct statfs *out)
{
    out->f_type = ANON_INODE_FS_MAGIC;
    out->f_bsize = out->f_frsize = 4096;
    out->f_namelen = 255;
    return 0;
}

static const struct super_ops anon_super_ops = {.statfs = anon_statfs};

static pthread_once_t anon_once = PTHREAD_ONCE_INIT;
static struct inode *anon_inode; /* made once, never freed */

static void anon_init(void)
{
    struct super_block *sb;
    if (super_create("anon_inodefs", &anon_super_ops, ANON_INODE_FS_MAGIC, &sb) < 0)
        return;
    sb->flags = SB_KERNEL;
    anon_inode = inode_create(sb, &anon_inode_ops, 0, 0600, 0, 0);
}

int file_create_on_inode(struct inode *inode, const char *name, const struct file_ops *ops, void *priv, int flags,
                         unsigned int fmode, struct file **out)
{
    struct dentry *d = dentry_create_detached(inode->sb, name, inode); /* consumes the inode */
    if (!d)
        return -ENOMEM;
    struct file *f = file_alloc(flags, fmode);
    if (!f) {
        dentry_put(d);
        return -ENOMEM;
    }
    f->path.dentry = d;
    f->inode = inode_get(inode);
    f->ops = ops;
    f->priv = priv;
    *out = f;
    return 0;
}

int file_create_anon(const char *name, const struct file_ops *ops, void *priv, int flags, unsigned int fmode, struct file **out)
{
    char full[64];
    pthread_once(&anon_once, anon_init);
    if (!anon_inode)
        return -ENOMEM;
    snprintf(full, sizeof(full), "anon_inode:%s", name);
    return file_create_on_inode(inode_get(anon_inode), full, ops, priv, flags, fmode, out);
}
