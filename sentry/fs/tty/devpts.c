/*
 * devpts: the filesystem whose files are terminals. Each instance has a table of its own from numbers to terminals; a name
 * exists from the moment the master is opened until it is closed. Owner and mode live in the terminal, because inodes come and
 * go with the dentry cache.
 *
 * Lock order: inode->lock, pts->lock, tty->lock.
 */
#include "sentry/fs/fs.h"
#include "sentry/fs/pseudofs.h"
#include "sentry/fs/tty/tty_internal.h"
#include "vfs/cred.h"
#include "vfs/inode.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define MAX_TERMINALS 4096 /* kernel.pty.max */
#define INO_ROOT      1
#define INO_PTMX      2
#define INO_FIRST     3

struct devpts {
    struct kernel *k;
    bool has_uid, has_gid; /* options; immutable */
    uid_t uid;
    gid_t gid;
    mode_t mode, ptmx_mode;
    int max;
    struct mutex lock;
    struct tty **ttys GUARDED_BY(lock); /* referenced; NULL: free */
    int nr GUARDED_BY(lock);            /* length of the table */
};

static const struct inode_ops root_iops, slave_iops, ptmx_iops;
static const struct super_ops devpts_super_ops;

bool devpts_is(const struct super_block *sb)
{
    return sb->ops == &devpts_super_ops;
}

static struct devpts *pts_of(const struct super_block *sb)
{
    return sb->priv;
}

static struct tty *pts_find(struct devpts *pts, int64_t index)
{
    struct tty *tty = NULL;

    mutex_lock(&pts->lock);
    if (index >= 0 && index < pts->nr && pts->ttys[index])
        tty = tty_get(pts->ttys[index]);
    mutex_unlock(&pts->lock);
    return tty;
}

struct tty *devpts_inode_tty(struct inode *inode)
{
    struct tty *mine = inode->priv, *now;

    if (inode->ops != &slave_iops)
        return NULL;
    now = pts_find(pts_of(inode->sb), mine->index);
    if (now == mine)
        return now;
    tty_put(now);
    return NULL;
}

int devpts_new_tty(struct super_block *sb, uid_t uid, gid_t gid, struct tty **out)
{
    struct devpts *pts = pts_of(sb);
    struct tty *tty;
    int index = 0, r = 0;

    mutex_lock(&pts->lock);
    while (index < pts->nr && pts->ttys[index])
        index++;
    if (index >= pts->max) {
        r = -ENOSPC;
    } else if (index == pts->nr) {
        int nr = pts->nr ? pts->nr * 2 : 8;
        struct tty **grown = realloc(pts->ttys, nr * sizeof(*grown));
        if (grown) {
            memset(grown + pts->nr, 0, (nr - pts->nr) * sizeof(*grown));
            pts->ttys = grown;
            pts->nr = nr;
        } else {
            r = -ENOMEM;
        }
    }
    tty = r == 0 ? tty_create(pts->k, pts, index) : NULL;
    if (tty) {
        tty->mode = S_IFCHR | pts->mode;
        tty->uid = pts->has_uid ? pts->uid : uid;
        tty->gid = pts->has_gid ? pts->gid : gid;
        clock_gettime(CLOCK_REALTIME, &tty->ctime);
        tty->atime = tty->mtime = tty->ctime;
        pts->ttys[index] = tty_get(tty);
        *out = tty;
    } else if (r == 0) {
        r = -ENOMEM;
    }
    mutex_unlock(&pts->lock);
    return r;
}

void devpts_remove(struct tty *tty)
{
    struct devpts *pts = tty->pts;
    bool mine;

    mutex_lock(&pts->lock);
    mine = tty->index < pts->nr && pts->ttys[tty->index] == tty;
    if (mine)
        pts->ttys[tty->index] = NULL;
    mutex_unlock(&pts->lock);
    if (mine)
        tty_put(tty);
}

/* Slave inodes. */

static int slave_getattr(struct inode *inode)
{
    struct tty *tty = inode->priv;

    tty_lock(tty);
    inode->mode = tty->mode;
    inode->uid = tty->uid;
    inode->gid = tty->gid;
    inode->atime = tty->atime;
    inode->mtime = tty->mtime;
    inode->ctime = tty->ctime;
    tty_unlock(tty);
    return 0;
}

static int slave_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    struct iattr what = *attr;
    struct tty *tty = inode->priv;
    int r;

    what.valid &= ~ATTR_SIZE; /* O_TRUNC on a device means nothing */
    slave_getattr(inode);
    r = generic_setattr(inode, &what);
    if (r)
        return r;
    tty_lock(tty);
    tty->mode = inode->mode;
    tty->uid = inode->uid;
    tty->gid = inode->gid;
    tty->atime = inode->atime;
    tty->mtime = inode->mtime;
    tty->ctime = inode->ctime;
    tty_unlock(tty);
    return 0;
}

static int slave_permission(struct inode *inode, const struct cred *cred, int mask)
{
    slave_getattr(inode);
    return generic_permission(inode, cred, mask);
}

static const struct inode_ops slave_iops = {
    .getattr = slave_getattr,
    .setattr = slave_setattr,
    .permission = slave_permission,
};

static const struct inode_ops ptmx_iops = {.getattr = NULL};

/* The directory. */

static int root_lookup(struct inode *dir, struct dentry *d)
{
    struct devpts *pts = pts_of(dir->sb);
    int64_t index = pseudo_parse_name(d->name, d->name_len);
    struct inode *inode;
    struct tty *tty;

    if (strcmp(d->name, "ptmx") == 0) {
        inode = inode_create(dir->sb, &ptmx_iops, INO_PTMX, S_IFCHR | pts->ptmx_mode, 0, 0);
        if (!inode)
            return -ENOMEM;
        inode->rdev = makedev(5, 2);
        dentry_instantiate(d, inode);
        return 0;
    }
    tty = pts_find(pts, index);
    if (!tty)
        return 0;
    inode = inode_create(dir->sb, &slave_iops, INO_FIRST + index, S_IFCHR | 0600, 0, 0);
    if (!inode) {
        tty_put(tty);
        return -ENOMEM;
    }
    inode->priv = tty;
    inode->rdev = tty_rdev(tty);
    slave_getattr(inode);
    dentry_instantiate(d, inode);
    return 0;
}

/* Positions: ".", "..", "ptmx", then 3 + number. */
static int root_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc)
{
    static const char *const fixed[] = {".", "..", "ptmx"};
    struct devpts *pts = pts_of(f->inode->sb);

    for (;; dc->pos++) {
        char name[16];
        struct tty *tty = NULL;
        int nr, len;

        if (dc->pos < 3) {
            const char *n = fixed[dc->pos];
            bool ptmx = dc->pos == 2;
            if (!dc->emit(dc, n, strlen(n), ptmx ? INO_PTMX : INO_ROOT, ptmx ? DT_CHR : DT_DIR, dc->pos + 1))
                return 0;
            continue;
        }
        mutex_lock(&pts->lock);
        nr = pts->nr;
        mutex_unlock(&pts->lock);
        while (dc->pos - 3 < nr && !(tty = pts_find(pts, dc->pos - 3)))
            dc->pos++;
        if (!tty)
            return 0;
        tty_put(tty);
        len = snprintf(name, sizeof(name), "%d", (int)(dc->pos - 3));
        if (!dc->emit(dc, name, len, INO_FIRST + dc->pos - 3, DT_CHR, dc->pos + 1))
            return 0;
    }
}

static const struct file_ops root_fops = {.iterate = root_iterate};

static int root_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    f->ops = &root_fops;
    return 0;
}

static const struct inode_ops root_iops = {.lookup = root_lookup, .open = root_open};

/* The superblock. */

static void devpts_evict(struct inode *inode)
{
    if (inode->ops == &slave_iops)
        tty_put(inode->priv);
}

static int devpts_revalidate(struct dentry *d)
{
    struct tty *tty;

    if (!d->inode)
        return 0;
    if (d->inode->ops != &slave_iops)
        return 1;
    tty = devpts_inode_tty(d->inode);
    if (!tty)
        return 0;
    tty_put(tty);
    return 1;
}

static void devpts_put_super(struct super_block *sb)
{
    struct devpts *pts = pts_of(sb);

    if (!pts)
        return;
    for (int i = 0; i < pts->nr; i++)
        tty_put(pts->ttys[i]);
    free(pts->ttys);
    mutex_fini(&pts->lock);
    free(pts);
}

static int devpts_statfs(struct super_block *sb, struct statfs *out)
{
    memset(out, 0, sizeof(*out));
    out->f_type = sb->magic;
    out->f_bsize = out->f_frsize = 4096;
    out->f_namelen = 255;
    return 0;
}

static void devpts_show_options(struct super_block *sb, char *buf, size_t len)
{
    const struct devpts *pts = pts_of(sb);
    int n = 0;

    if (pts->has_uid)
        n += snprintf(buf + n, len - n, ",uid=%u", pts->uid);
    if (pts->has_gid && (size_t)n < len)
        n += snprintf(buf + n, len - n, ",gid=%u", pts->gid);
    if ((size_t)n < len)
        snprintf(buf + n, len - n, ",mode=%03o,ptmxmode=%03o", pts->mode, pts->ptmx_mode);
}

static const struct super_ops devpts_super_ops = {
    .evict_inode = devpts_evict,
    .d_revalidate = devpts_revalidate,
    .put_super = devpts_put_super,
    .statfs = devpts_statfs,
    .show_options = devpts_show_options,
};

static int parse_number(const char *text, int base, unsigned long max, unsigned long *out)
{
    char *end;

    errno = 0;
    *out = strtoul(text, &end, base);
    return end == text || *end || errno || *out > max ? -EINVAL : 0;
}

static int parse_option(struct devpts *pts, const char *opt)
{
    unsigned long v;
    int r = -EINVAL;

    if (strcmp(opt, "newinstance") == 0 || strcmp(opt, "rw") == 0 || *opt == 0)
        return 0;
    if (strncmp(opt, "uid=", 4) == 0) {
        r = parse_number(opt + 4, 10, UINT32_MAX - 1, &v);
        pts->uid = v;
        pts->has_uid = true;
    } else if (strncmp(opt, "gid=", 4) == 0) {
        r = parse_number(opt + 4, 10, UINT32_MAX - 1, &v);
        pts->gid = v;
        pts->has_gid = true;
    } else if (strncmp(opt, "mode=", 5) == 0) {
        r = parse_number(opt + 5, 8, 07777, &v);
        pts->mode = v;
    } else if (strncmp(opt, "ptmxmode=", 9) == 0) {
        r = parse_number(opt + 9, 8, 07777, &v);
        pts->ptmx_mode = v;
    } else if (strncmp(opt, "max=", 4) == 0) {
        r = parse_number(opt + 4, 10, 1 << 20, &v);
        pts->max = v < MAX_TERMINALS ? v : MAX_TERMINALS;
    }
    return r;
}

static int parse_options(struct devpts *pts, const char *options)
{
    char *copy = strdup(options), *save = NULL;
    int r = copy ? 0 : -ENOMEM;

    for (char *opt = copy ? strtok_r(copy, ",", &save) : NULL; opt && r == 0; opt = strtok_r(NULL, ",", &save))
        r = parse_option(pts, opt);
    free(copy);
    return r;
}

int devpts_create(struct kernel *k, const char *options, struct super_block **out)
{
    struct devpts *pts = calloc(1, sizeof(*pts));
    struct super_block *sb;
    struct inode *root;
    int r;

    if (!pts)
        return -ENOMEM;
    pts->k = k;
    pts->mode = 0600;
    pts->max = MAX_TERMINALS;
    mutex_init(&pts->lock);
    r = parse_options(pts, options);
    if (r == 0)
        r = super_create("devpts", &devpts_super_ops, DEVPTS_SUPER_MAGIC, &sb);
    if (r) {
        free(pts);
        return r;
    }
    sb->priv = pts;
    sb->flags |= SB_REVALIDATE | SB_NOCACHE_NEGATIVE;
    root = inode_create(sb, &root_iops, INO_ROOT, S_IFDIR | 0755, 0, 0);
    if (root)
        atomic_store(&root->nlink, 2);
    sb->root = root ? dentry_create_root(root) : NULL;
    if (!sb->root) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    return 0;
}
