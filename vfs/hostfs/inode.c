/* hostfs's inodes: identity, attributes and changing them. */
#include "vfs/file_internal.h"
#include "vfs/hostfs/hostfs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

int hostfs_stat_at(int dir_fd, const char *name, struct statx *st)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    return statx(dir_fd, name, flags, STATX_BASIC_STATS | STATX_BTIME, st) < 0 ? -errno : 0;
}

static struct timespec from_statx(struct statx_timestamp t)
{
    return (struct timespec){.tv_sec = t.tv_sec, .tv_nsec = t.tv_nsec};
}

void hostfs_apply_stat(struct inode *inode, const struct statx *st)
{
    inode->mode = (inode->mode & S_IFMT) | (st->stx_mode & 07777);
    inode->uid = st->stx_uid;
    inode->gid = st->stx_gid;
    atomic_store(&inode->nlink, st->stx_nlink);
    atomic_store(&inode->size, (long long)st->stx_size);
    inode_store(inode->blocks, st->stx_blocks);
    ts_store(&inode->atime, from_statx(st->stx_atime));
    ts_store(&inode->mtime, from_statx(st->stx_mtime));
    ts_store(&inode->ctime, from_statx(st->stx_ctime));
    ts_store(&inode->btime, from_statx(st->stx_mask & STATX_BTIME ? st->stx_btime : st->stx_ctime));
}

static const struct inode_ops *ops_of(mode_t mode)
{
    if (S_ISREG(mode))
        return &hostfs_file_inode_ops;
    if (S_ISDIR(mode))
        return &hostfs_dir_inode_ops;
    return S_ISLNK(mode) ? &hostfs_symlink_inode_ops : &hostfs_special_inode_ops;
}

static dev_t dev_of(const struct statx *st)
{
    return makedev(st->stx_dev_major, st->stx_dev_minor);
}

static unsigned int hash_slot(const struct hostfs_super *hs, dev_t dev, uint64_t ino)
{
    return (unsigned int)((ino * 0x9e3779b97f4a7c15ULL ^ dev * 0xc2b2ae3d27d4eb4fULL) >> 32) & hs->hash_mask;
}

static void hash_grow(struct hostfs_super *hs)
{
    unsigned int old_n = hs->hash_mask + 1, n = 4 * old_n;
    if (hs->nr_inodes <= 2 * old_n)
        return;
    struct hostfs_inode **grown = calloc(n, sizeof(*grown)), **old = hs->hash;
    if (!grown)
        return;
    hs->hash = grown;
    hs->hash_mask = n - 1;
    for (unsigned int i = 0; i < old_n; i++)
        for (struct hostfs_inode *hi = old[i], *next; hi; hi = next) {
            unsigned int slot = hash_slot(hs, hi->host_dev, hi->host_ino);
            next = hi->hash_next;
            hi->hash_next = grown[slot];
            grown[slot] = hi;
        }
    free(old);
}

static struct inode *find_inode(struct hostfs_super *hs, dev_t dev, uint64_t ino, mode_t type)
{
    struct hostfs_inode *hi = hs->hash[hash_slot(hs, dev, ino)];
    for (; hi; hi = hi->hash_next)
        if (hi->host_ino == ino && hi->host_dev == dev && (hi->inode->mode & S_IFMT) == type &&
            ref_get_unless_zero(&hi->inode->ref))
            return hi->inode;
    return NULL;
}

int hostfs_iget(struct super_block *sb, const struct statx *st, struct inode *dir, const char *name, struct inode **out)
{
    struct hostfs_super *hs = hostfs_sb(sb);
    dev_t dev = dev_of(st);

    /* Only files with several names can have an inode already, or a name that came back after a rename on the host. */
    mutex_lock(&hs->lock);
    struct inode *inode = find_inode(hs, dev, st->stx_ino, st->stx_mode & S_IFMT);
    mutex_unlock(&hs->lock);
    if (inode) {
        if (name)
            hostfs_add_name(inode, dir, name);
        hostfs_apply_stat(inode, st);
        *out = inode;
        return 0;
    }
    struct hostfs_inode *hi = calloc(1, sizeof(*hi));
    inode = hi ? inode_create(sb, ops_of(st->stx_mode), st->stx_ino, st->stx_mode, st->stx_uid, st->stx_gid) : NULL;
    if (!inode) {
        free(hi);
        return -ENOMEM;
    }
    hi->inode = inode;
    hi->host_dev = dev;
    hi->host_ino = st->stx_ino;
    for (int k = 0; k < HOST_FD_KINDS; k++) {
        hi->fds[k].fd = -1;
        list_init(&hi->fds[k].lru);
    }
    inode->priv = hi;
    if (name)
        hostfs_add_name(inode, dir, name);
    inode->rdev = makedev(st->stx_rdev_major, st->stx_rdev_minor);
    hostfs_apply_stat(inode, st);
    mutex_lock(&hs->lock);
    hs->nr_inodes++;
    hash_grow(hs);
    unsigned int slot = hash_slot(hs, hi->host_dev, hi->host_ino);
    hi->hash_next = hs->hash[slot];
    hs->hash[slot] = hi;
    mutex_unlock(&hs->lock);
    *out = inode;
    return 0;
}

void hostfs_evict(struct inode *inode)
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    struct hostfs_inode *hi = hostfs_i(inode);
    if (!hi)
        return;
    mutex_lock(&hs->lock);
    struct hostfs_inode **p = &hs->hash[hash_slot(hs, hi->host_dev, hi->host_ino)];
    while (*p != hi)
        p = &(*p)->hash_next;
    *p = hi->hash_next;
    hs->nr_inodes--;
    mutex_unlock(&hs->lock);
    hostfs_close_fds(hi);
    hostfs_free_names(hi);
    free(hi);
}

/* Attributes from whatever handle there is: its name, or the descriptor of the nameless. */
static int stat_inode(struct inode *inode, struct statx *st)
{
    struct hostfs_inode *hi = hostfs_i(inode);
    struct inode *parent;
    char name[256];
    int err = -ESTALE;

    if (hostfs_location(inode, &parent, name)) {
        int dir_fd = hostfs_get_fd(parent, HOST_FD_PATH);
        err = dir_fd;
        if (dir_fd >= 0) {
            err = hostfs_stat_at(dir_fd, name, st);
            hostfs_put_fd(parent, HOST_FD_PATH);
            if (err == 0 && (st->stx_ino != hi->host_ino || dev_of(st) != hi->host_dev))
                err = -ESTALE;
        }
        inode_put(parent);
        if (err == 0)
            return 0;
    }
    static const enum host_fd_kind others[] = {HOST_FD_PATH, HOST_FD_WRITE, HOST_FD_READ};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct hostfs_super *hs = hostfs_sb(inode->sb);
        mutex_lock(&hs->lock);
        bool open = hi->fds[others[i]].fd >= 0;
        mutex_unlock(&hs->lock);
        if (!open)
            continue;
        int fd = hostfs_get_fd(inode, others[i]);
        if (fd < 0)
            continue;
        err = hostfs_stat_at(fd, "", st);
        hostfs_put_fd(inode, others[i]);
        return err;
    }
    return err;
}

int hostfs_refresh(struct inode *inode)
{
    struct statx st;
    struct hostfs_inode *hi = hostfs_i(inode);
    atomic_store(&hi->stale, false);
    int err = stat_inode(inode, &st);
    if (err < 0)
        return err;
    hostfs_apply_stat(inode, &st);
    return 0;
}

int hostfs_getattr(struct inode *inode)
{
    struct hostfs_inode *hi = hostfs_i(inode);
    bool ask = hostfs_sb(inode->sb)->shared || atomic_load(&hi->always_stale) || atomic_load(&hi->stale);
    if (!ask)
        return 0;
    int err = hostfs_refresh(inode);
    return err == -ESTALE || err == -ENOENT ? 0 : err; /* gone meanwhile: the last that is known */
}

/* chmod without ever following a symlink: by a descriptor, since the old call by name would follow. */
static int host_chmod(struct inode *inode, mode_t mode)
{
    static const enum host_fd_kind data[] = {HOST_FD_READ, HOST_FD_WRITE};
    int fd = hostfs_get_fd(inode, HOST_FD_PATH);
    if (fd < 0)
        return fd;
    int err = syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH) < 0 ? -errno : 0;
    hostfs_put_fd(inode, HOST_FD_PATH);
    if (err != -ENOSYS)
        return err;
    for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
        fd = hostfs_get_fd(inode, data[i]);
        if (fd < 0)
            continue;
        err = fchmod(fd, mode) < 0 ? -errno : 0;
        hostfs_put_fd(inode, data[i]);
        return err;
    }
    /* A FIFO, socket or device, before Linux 6.6: only where nobody can put a symlink in its place. */
    struct inode *parent;
    char name[256];
    if (hostfs_sb(inode->sb)->shared || !hostfs_location(inode, &parent, name))
        return -EPERM;
    int dir_fd = hostfs_get_fd(parent, HOST_FD_PATH);
    err = dir_fd < 0 ? dir_fd : fchmodat(dir_fd, name, mode, 0) < 0 ? -errno : 0;
    if (dir_fd >= 0)
        hostfs_put_fd(parent, HOST_FD_PATH);
    inode_put(parent);
    return err;
}

static int host_truncate(struct inode *inode, loff_t size)
{
    int fd = hostfs_get_fd(inode, HOST_FD_WRITE);
    if (fd < 0)
        return fd;
    int err = ftruncate(fd, size) < 0 ? -errno : 0;
    hostfs_put_fd(inode, HOST_FD_WRITE);
    if (err == 0) {
        loff_t old = atomic_exchange(&inode->size, size);
        uint64_t end = ((uint64_t)size + 4095) & ~4095ULL;
        if (size < old)
            inode_mapping_invalidate(inode, end, UINT64_MAX - end);
    }
    return err;
}

static struct timespec time_arg(unsigned int valid, unsigned int set, unsigned int now, struct timespec t)
{
    if (valid & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    return valid & set ? t : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_by_path_fd(struct inode *inode, const struct iattr *attr)
{
    static const unsigned int times = ATTR_ATIME | ATTR_ATIME_NOW | ATTR_MTIME | ATTR_MTIME_NOW;
    int fd = hostfs_get_fd(inode, HOST_FD_PATH), err = 0;
    if (fd < 0)
        return fd;
    if (attr->valid & (ATTR_UID | ATTR_GID)) {
        uid_t uid = attr->valid & ATTR_UID ? attr->uid : (uid_t)-1;
        gid_t gid = attr->valid & ATTR_GID ? attr->gid : (gid_t)-1;
        if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
            err = -errno;
    }
    if (err == 0 && attr->valid & times) {
        struct timespec ts[2] = {time_arg(attr->valid, ATTR_ATIME, ATTR_ATIME_NOW, attr->atime),
                                 time_arg(attr->valid, ATTR_MTIME, ATTR_MTIME_NOW, attr->mtime)};
        if (utimensat(fd, "", ts, AT_EMPTY_PATH) < 0)
            err = -errno;
    }
    hostfs_put_fd(inode, HOST_FD_PATH);
    return err;
}

int hostfs_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    int err = 0;
    if (attr->valid & ATTR_SIZE)
        err = host_truncate(inode, attr->size);
    if (err == 0 && attr->valid & ~(unsigned int)(ATTR_SIZE | ATTR_MODE))
        err = change_by_path_fd(inode, attr);
    if (err == 0 && attr->valid & ATTR_MODE)
        err = host_chmod(inode, attr->mode & 07777);
    if (err == 0 && attr->valid == ATTR_SIZE)
        atomic_store(&hostfs_i(inode)->stale, true);
    else if (err == 0)
        err = hostfs_refresh(inode);
    return err;
}
