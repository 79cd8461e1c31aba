#include "sentry/fs/pseudofs.h"

#include "vfs/cred.h"
#include "vfs/dcache.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define DYNAMIC_POS       0x10000 /* directory positions: . and .., the table's rows, then from here on the dynamic children */
#define PSEUDO_MAX_UNUSED 256     /* dentries kept of a file system's */

static const struct inode_ops pseudo_dir_iops, pseudo_file_iops, pseudo_link_iops, pseudo_magic_iops;

static struct pseudo_node *node_of(const struct inode *inode)
{
    return inode->priv;
}

/* Stable while the node exists, so that two walks to one place find the same number. */
static uint64_t node_ino(const struct pseudo_desc *desc, const struct pseudo_key *key)
{
    uint64_t parts[4] = {(uintptr_t)desc, key->id, key->generation, (uint64_t)key->sub};
    uint64_t h = 0x9e3779b97f4a7c15ULL;

    if (desc->ino)
        return desc->ino;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        h = (h ^ parts[i]) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    return (h >> 16) + 0x1000; /* 48 bits: fits where programs store it, and is clear of fixed numbers */
}

static struct inode *node_inode(struct super_block *sb, const struct pseudo_node *parent, const struct pseudo_desc *desc,
                                const struct pseudo_key *key)
{
    struct pseudo_node *n = calloc(1, sizeof(*n));
    const struct inode_ops *ops = S_ISDIR(desc->mode)    ? &pseudo_dir_iops
                                  : !S_ISLNK(desc->mode) ? &pseudo_file_iops
                                  : desc->get_link       ? &pseudo_magic_iops
                                                         : &pseudo_link_iops;
    struct inode *inode;

    if (!n)
        return NULL;
    n->desc = desc;
    n->k = parent->k;
    n->key = *key;
    n->sync = desc->sync ? desc->sync : parent->sync;
    inode = inode_create(sb, ops, node_ino(desc, key), desc->mode, 0, 0);
    if (!inode) {
        free(n);
        return NULL;
    }
    inode->priv = n;
    if (S_ISDIR(desc->mode)) {
        unsigned int links = 2;
        for (const struct pseudo_desc *d = desc->children; d && d->name; d++)
            links += S_ISDIR(d->mode);
        atomic_store(&inode->nlink, links);
    }
    return inode;
}

static int node_sync(struct inode *inode)
{
    struct pseudo_node *n = node_of(inode);

    return n->sync ? n->sync(n, inode) : 0;
}

/* Directories. */

static int pseudo_lookup(struct inode *dir, struct dentry *d)
{
    const struct pseudo_node *n = node_of(dir);
    struct pseudo_child child = {.key = n->key};
    struct inode *inode;
    int r;

    for (const struct pseudo_desc *row = n->desc->children; row && row->name && !child.desc; row++)
        if (strlen(row->name) == d->name_len && memcmp(row->name, d->name, d->name_len) == 0)
            child.desc = row;
    if (!child.desc) {
        if (!n->desc->lookup)
            return 0;
        r = n->desc->lookup(n, d->name, d->name_len, &child);
        if (r == -ENOENT)
            return 0;
        if (r)
            return r;
    }
    inode = node_inode(d->sb, n, child.desc, &child.key);
    if (!inode)
        return -ENOMEM;
    if (node_sync(inode)) {
        inode_put(inode);
        return 0;
    }
    dentry_instantiate(d, inode);
    return 0;
}

static bool emit_child(struct dir_context *dc, const char *name, const struct pseudo_desc *desc, const struct pseudo_key *key)
{
    return dc->emit(dc, name, strlen(name), node_ino(desc, key), IFTODT(desc->mode), dc->pos + 1);
}

static int pseudo_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc)
{
    const struct pseudo_node *n = node_of(f->inode);
    const struct pseudo_desc *rows = n->desc->children;
    loff_t nr = 0;

    if (node_sync(f->inode))
        return -ENOENT;
    while (rows && rows[nr].name)
        nr++;
    for (; dc->pos < 2; dc->pos++) {
        const struct dentry *d = f->path.dentry;
        uint64_t ino = dc->pos == 0 || !d->parent->inode ? f->inode->ino : d->parent->inode->ino;
        if (!dc->emit(dc, "..", dc->pos + 1, ino, DT_DIR, dc->pos + 1))
            return 0;
    }
    for (; dc->pos < 2 + nr; dc->pos++)
        if (!emit_child(dc, rows[dc->pos - 2].name, &rows[dc->pos - 2], &n->key))
            return 0;
    if (!n->desc->next)
        return 0;
    if (dc->pos < DYNAMIC_POS)
        dc->pos = DYNAMIC_POS;
    for (;; dc->pos++) {
        struct pseudo_child child = {.key = n->key};
        uint64_t pos = dc->pos - DYNAMIC_POS;
        if (!n->desc->next(n, &pos, &child))
            return 0;
        dc->pos = DYNAMIC_POS + pos;
        if (!emit_child(dc, child.name, child.desc, &child.key))
            return 0;
    }
}

static const struct file_ops pseudo_dir_ops = {.iterate = pseudo_iterate};

static int pseudo_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    const struct pseudo_node *n = node_of(inode);
    void *state = NULL;

    f->ops = &pseudo_dir_ops;
    return n->desc->open ? n->desc->open(n, c, &state) : 0;
}

/* Text files. */

struct text_file {
    struct mutex lock;
    bool built;     /* guarded by lock, like seq's text */
    struct seq seq; /* `state` is immutable after open */
};

static int text_build(struct text_file *tf, const struct pseudo_node *n, const struct vfs_caller *c)
{
    int r = 0;

    tf->seq.len = 0;
    tf->seq.failed = false;
    tf->built = false;
    if (n->desc->show)
        r = n->desc->show(&tf->seq, n, c);
    else if (n->desc->text)
        seq_puts(&tf->seq, n->desc->text);
    else
        r = -EINVAL; /* write-only */
    if (r)
        return r;
    if (tf->seq.failed)
        return -ENOMEM;
    tf->built = true;
    return 0;
}

static ssize_t text_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct text_file *tf = f->priv;
    ssize_t r = 0;

    if (*pos < 0)
        return -EINVAL;
    mutex_lock(&tf->lock);
    if (*pos == 0 || !tf->built)
        r = text_build(tf, node_of(f->inode), c);
    if (r == 0 && (size_t)*pos < tf->seq.len)
        r = uio_copy_to(uio, tf->seq.buf + *pos, tf->seq.len - *pos);
    mutex_unlock(&tf->lock);
    if (r > 0)
        *pos += r;
    return r;
}

static ssize_t text_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    const struct pseudo_node *n = node_of(f->inode);
    size_t want = uio->resid < PSEUDO_WRITE_MAX ? uio->resid : PSEUDO_WRITE_MAX;
    ssize_t r, got;
    char *buf;

    if (!n->desc->write)
        return -EIO;
    buf = malloc(want + 1);
    if (!buf)
        return -ENOMEM;
    got = want ? uio_copy_from(uio, buf, want) : 0;
    if (got < 0) {
        free(buf);
        return got;
    }
    buf[got] = 0;
    r = n->desc->write(n, c, buf, got, *pos);
    free(buf);
    if (r > 0)
        *pos += r;
    return r;
}

static long text_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    const struct pseudo_node *n = node_of(f->inode);

    return n->desc->ioctl ? n->desc->ioctl(((struct text_file *)f->priv)->seq.state, c, cmd, arg) : -ENOTTY;
}

static uint32_t text_poll(struct file *f)
{
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

static void text_release(struct file *f)
{
    struct text_file *tf = f->priv;
    const struct pseudo_node *n = node_of(f->inode);

    if (n->desc->close && tf->seq.state)
        n->desc->close(tf->seq.state);
    mutex_fini(&tf->lock);
    free(tf->seq.buf);
    free(tf);
}

static const struct file_ops text_ops = {
    .read = text_read,
    .write = text_write,
    .poll = text_poll,
    .ioctl = text_ioctl,
    .release = text_release,
};

/* The same for files that Linux gives no poll operation. */
static const struct file_ops unpolled_text_ops = {
    .read = text_read,
    .write = text_write,
    .ioctl = text_ioctl,
    .release = text_release,
};

static bool may_poll(const struct pseudo_node *n, const struct inode *inode)
{
    return inode->sb->magic != PROC_SUPER_MAGIC || n->key.id == 0 || n->desc->flags & PSEUDO_POLLED;
}

static int pseudo_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    const struct pseudo_node *n = node_of(inode);
    struct text_file *tf;
    int r;

    if (n->desc->open_raw)
        return n->desc->open_raw(n, f, c);
    tf = calloc(1, sizeof(*tf));
    if (!tf)
        return -ENOMEM;
    r = n->desc->open ? n->desc->open(n, c, &tf->seq.state) : 0;
    if (r) {
        free(tf);
        return r;
    }
    mutex_init(&tf->lock);
    f->ops = may_poll(n, inode) ? &text_ops : &unpolled_text_ops;
    f->priv = tf;
    f->mode |= FMODE_LSEEK | FMODE_PSEEK;
    return 0;
}

/* Symlinks. */

static ssize_t pseudo_readlink(struct inode *inode, const struct vfs_caller *c, char *buf, size_t len)
{
    const struct pseudo_node *n = node_of(inode);
    size_t have;

    if (n->desc->readlink)
        return n->desc->readlink(n, c, buf, len);
    have = strlen(n->desc->text);
    if (have > len)
        have = len;
    memcpy(buf, n->desc->text, have);
    return have;
}

static int pseudo_get_link(struct inode *inode, const struct vfs_caller *c, struct path *out)
{
    const struct pseudo_node *n = node_of(inode);

    return n->desc->get_link(n, c, out);
}

/* All kinds. */

static int pseudo_permission(struct inode *inode, const struct cred *cred, int mask)
{
    const struct pseudo_node *n = node_of(inode);
    int r = node_sync(inode);

    if (r)
        return r;
    if (n->desc->flags & PSEUDO_MODE_IS_LAW) {
        int shift = cred->fsuid == inode->uid ? 6 : cred_in_group(cred, inode->gid) ? 3 : 0;
        return (inode->mode >> shift & 7 & mask) == (unsigned int)mask ? 0 : -EACCES;
    }
    r = generic_permission(inode, cred, mask);
    return r && n->desc->permission ? n->desc->permission(n, cred) : r;
}

/* Truncation is accepted and means nothing (O_TRUNC is common); owners and modes are the kernel's. */
static int pseudo_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    if (attr->valid & (ATTR_MODE | ATTR_UID | ATTR_GID))
        return -EPERM;
    return 0;
}

static const struct inode_ops pseudo_dir_iops = {
    .lookup = pseudo_lookup,
    .getattr = node_sync,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
    .open = pseudo_dir_open,
};

static const struct inode_ops pseudo_file_iops = {
    .getattr = node_sync,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
    .open = pseudo_file_open,
};

static const struct inode_ops pseudo_link_iops = {
    .readlink = pseudo_readlink,
    .getattr = node_sync,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
};

static const struct inode_ops pseudo_magic_iops = {
    .readlink = pseudo_readlink,
    .get_link = pseudo_get_link,
    .getattr = node_sync,
    .setattr = pseudo_setattr,
    .permission = pseudo_permission,
};

static void pseudo_evict(struct inode *inode)
{
    free(inode->priv);
}

static int pseudo_revalidate(struct dentry *d)
{
    return !d->inode || node_sync(d->inode) == 0;
}

static int pseudo_statfs(struct super_block *sb, struct statfs *out)
{
    memset(out, 0, sizeof(*out));
    out->f_type = sb->magic;
    out->f_bsize = 4096;
    out->f_frsize = 4096;
    out->f_namelen = 255;
    return 0;
}

static const struct super_ops pseudo_super_ops = {
    .evict_inode = pseudo_evict,
    .d_revalidate = pseudo_revalidate,
    .statfs = pseudo_statfs,
};

int pseudofs_create(struct kernel *k, const char *fstype, unsigned long magic, const struct pseudo_desc *root,
                    struct super_block **out)
{
    const struct pseudo_node above = {.k = k};
    const struct pseudo_key key = {0};
    struct super_block *sb;
    struct inode *inode;
    int r = super_create(fstype, &pseudo_super_ops, magic, &sb);

    if (r)
        return r;
    sb->flags |= SB_REVALIDATE | SB_NOCACHE_NEGATIVE;
    /* They are quick to make again, and those of processes that have ended must not pile up. */
    sb->dcache->max_lru = PSEUDO_MAX_UNUSED;
    inode = node_inode(sb, &above, root, &key);
    sb->root = inode ? dentry_create_root(inode) : NULL;
    if (!sb->root) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    return 0;
}

int pseudo_parse_int(const char *buf, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(buf, &end, 0);
    if (end == buf || errno)
        return -EINVAL;
    while (isspace((unsigned char)*end))
        end++;
    if (*end || v < min || v > max)
        return -EINVAL;
    *out = v;
    return 0;
}

int64_t pseudo_parse_name(const char *name, size_t len)
{
    int64_t v = 0;

    if (len == 0 || len > 10 || (len > 1 && name[0] == '0'))
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9')
            return -1;
        v = v * 10 + (name[i] - '0');
    }
    return v <= INT32_MAX ? v : -1;
}
