/* hostfs superblocks. */
#include "lib/hostproc.h"
#include "vfs/hostfs/hostfs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define HASH_BUCKETS 256

static int hostfs_statfs(struct super_block *sb, struct statfs *out)
{
    return fstatfs(hostfs_sb(sb)->root_fd, out) < 0 ? -errno : 0;
}

static void hostfs_put_super(struct super_block *sb)
{
    struct hostfs_super *hs = hostfs_sb(sb);
    if (hs->root_fd >= 0)
        close(hs->root_fd);
    mutex_fini(&hs->lock);
    free(hs->hash);
    free(hs);
}

static int hostfs_sync(struct super_block *sb)
{
    struct hostfs_super *hs = hostfs_sb(sb);
    if (hs->readonly || !S_ISDIR(sb->root->inode->mode))
        return 0;
    int fd = hostfs_get_fd(sb->root->inode, HOST_FD_READ);
    if (fd < 0)
        return fd;
    int err = syncfs(fd) < 0 ? -errno : 0;
    hostfs_put_fd(sb->root->inode, HOST_FD_READ);
    return err;
}

static const struct super_ops hostfs_super_ops = {
    .evict_inode = hostfs_evict,
    .d_revalidate = hostfs_revalidate,
    .statfs = hostfs_statfs,
    .put_super = hostfs_put_super,
    .sync_fs = hostfs_sync,
};

/* Descriptors worth keeping open: part of what the process may have, since guest files pin more of them. */
static unsigned int fd_budget(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur == RLIM_INFINITY)
        return 4096;
    rlim_t n = rl.rlim_cur / 4;
    return n < 16 ? 16 : n > 4096 ? 4096 : (unsigned int)n;
}

/* A donated file has no directory to be opened from: its data descriptors are made now and kept. */
static int open_root_file(struct inode *inode, int fd, bool readonly)
{
    int rd = hostproc_reopen(fd, O_RDONLY | O_NONBLOCK);
    if (rd < 0 && readonly)
        return rd;
    if (rd >= 0)
        hostfs_adopt_fd(inode, HOST_FD_READ, rd, true);
    if (readonly)
        return 0;
    int wr = hostproc_reopen(fd, (rd >= 0 ? O_RDWR : O_WRONLY) | O_NONBLOCK);
    if (wr >= 0)
        hostfs_adopt_fd(inode, HOST_FD_WRITE, wr, true);
    return rd < 0 && wr < 0 ? wr : 0;
}

static int make_root(struct super_block *sb)
{
    struct hostfs_super *hs = hostfs_sb(sb);
    struct statx st;
    struct inode *root;

    int err = hostfs_stat_at(hs->root_fd, "", &st);
    if (err == 0)
        err = hostfs_iget(sb, &st, NULL, NULL, &root);
    if (err < 0)
        return err;
    int fd = fcntl(hs->root_fd, F_DUPFD_CLOEXEC, 3);
    if (fd >= 0)
        hostfs_adopt_fd(root, HOST_FD_PATH, fd, true);
    else
        err = -errno;
    if (err == 0 && S_ISREG(root->mode))
        err = open_root_file(root, hs->root_fd, hs->readonly);
    sb->root = dentry_create_root(root);
    if (!sb->root)
        return -ENOMEM;
    return err;
}

int hostfs_create(int root_fd, const struct hostfs_options *opt, struct super_block **out)
{
    struct hostfs_super *hs = calloc(1, sizeof(*hs));
    struct super_block *sb;
    struct statfs sfs;

    if (!hs)
        return -ENOMEM;
    mutex_init(&hs->lock);
    list_init(&hs->lru);
    hs->readonly = opt->readonly;
    hs->shared = opt->shared;
    hs->max_lru = fd_budget();
    hs->hash = calloc(HASH_BUCKETS, sizeof(*hs->hash));
    hs->hash_mask = HASH_BUCKETS - 1;
    hs->root_fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
    int err = hs->root_fd < 0 ? -errno : 0;
    if (err == 0 && (!hs->hash || fstatfs(root_fd, &sfs) < 0))
        err = hs->hash ? -errno : -ENOMEM;
    if (err == 0)
        err = super_create("hostfs", &hostfs_super_ops, (unsigned long)sfs.f_type, &sb);
    if (err < 0) {
        if (hs->root_fd >= 0)
            close(hs->root_fd);
        free(hs->hash);
        free(hs);
        return err;
    }
    sb->priv = hs;
    sb->origin = opt->origin;
    sb->flags = SB_NOATIME | SB_HOSTTIMES | SB_REVALIDATE | (opt->readonly ? SB_RDONLY : 0);
    umask(0); /* modes of new files are the guest's business alone */
    err = make_root(sb);
    if (err < 0) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}
