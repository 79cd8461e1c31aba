/* hostfs's directories: finding, making and removing names. */
#include "lib/hostproc.h"
#include "vfs/hostfs/hostfs_internal.h"
#include "vfs/permission.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Which look is recent enough: changes with hostfs_expire(), and every 16 seconds. */
static unsigned int period(struct super_block *sb)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return atomic_load_explicit(&hostfs_sb(sb)->expired, memory_order_relaxed) << 16 |
           ((unsigned int)(now.tv_sec >> 4) & 0xffff);
}

void hostfs_expire(struct super_block *sb)
{
    atomic_fetch_add(&hostfs_sb(sb)->expired, 1);
}

static int hostfs_lookup(struct inode *dir, struct dentry *d)
{
    struct statx st;
    struct inode *inode;
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    int err = hostfs_stat_at(dir_fd, d->name, &st);
    hostfs_put_fd(dir, HOST_FD_PATH);
    atomic_store_explicit(&d->checked, period(dir->sb), memory_order_relaxed);
    if (err == -ENOENT)
        return 0;
    if (err == 0)
        err = hostfs_iget(dir->sb, &st, dir, d->name, &inode);
    if (err == 0)
        dentry_instantiate(d, inode);
    return err;
}

int hostfs_revalidate(struct dentry *d)
{
    bool shared = hostfs_sb(d->sb)->shared;
    unsigned int now = shared ? 0 : period(d->sb);
    struct statx st;
    char name[256];
    struct dentry *parent;
    struct inode *inode = dentry_inode(d);
    int valid = 1;

    if (!shared && atomic_load_explicit(&d->checked, memory_order_relaxed) == now)
        return 1;
    atomic_store_explicit(&d->checked, now, memory_order_relaxed);
    parent = dentry_get_parent(d);

    if (parent != d) {
        dentry_copy_name(d, name, sizeof(name));
        int dir_fd = hostfs_get_fd(parent->inode, HOST_FD_PATH);
        int err = dir_fd < 0 ? dir_fd : hostfs_stat_at(dir_fd, name, &st);
        if (dir_fd >= 0)
            hostfs_put_fd(parent->inode, HOST_FD_PATH);
        if (!inode) {
            valid = err == -ENOENT;
        } else if (err < 0 || st.stx_ino != hostfs_i(inode)->host_ino || (st.stx_mode & S_IFMT) != (inode->mode & S_IFMT)) {
            valid = 0;
        } else if (shared) {
            hostfs_apply_stat(inode, &st);
        }
    }
    dentry_put(parent);
    return valid;
}

/*
 * After a host call has made `name`: its inode, with the owner and mode that the caller's new file is to have. Where the sentry
 * may not change owners (rootless), files belong to whom the host says.
 */
static int finish_new(struct inode *dir, int dir_fd, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    struct statx st;
    struct inode *inode;
    int err = hostfs_stat_at(dir_fd, d->name, &st);
    if (err == 0)
        err = hostfs_iget(dir->sb, &st, dir, d->name, &inode);
    if (err < 0)
        return err;
    struct iattr attr = {.uid = c->cred->fsuid, .gid = c->cred->fsgid, .mode = mode & 07777};
    bool setgid_dir = dir->mode & S_ISGID;
    if (setgid_dir) {
        attr.gid = dir->gid;
        if (S_ISDIR(mode))
            attr.mode |= S_ISGID;
    }
    if (st.stx_uid != attr.uid)
        attr.valid |= ATTR_UID;
    if (st.stx_gid != attr.gid)
        attr.valid |= ATTR_GID;
    if ((st.stx_mode & 07777) != attr.mode && !S_ISLNK(mode))
        attr.valid |= ATTR_MODE;
    if (attr.valid & (ATTR_UID | ATTR_GID) && attr.mode & (S_ISUID | S_ISGID) && !S_ISLNK(mode))
        attr.valid |= ATTR_MODE; /* chown takes them away */
    if (attr.valid)
        (void)!hostfs_setattr(inode, &attr, c);
    atomic_store(&hostfs_i(dir)->stale, true);
    dentry_instantiate(d, inode);
    return 0;
}

static int hostfs_create_file(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    int fd = hostfs_openat(hostfs_sb(dir->sb), dir_fd, d->name, O_CREAT | O_EXCL | O_RDWR, mode & 07777);
    int err = fd < 0 ? fd : finish_new(dir, dir_fd, d, mode, c);
    hostfs_put_fd(dir, HOST_FD_PATH);
    if (fd >= 0 && err == 0)
        hostfs_adopt_fd(d->inode, HOST_FD_WRITE, fd, false);
    else if (fd >= 0)
        close(fd);
    return err;
}

static int hostfs_mkdir(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    int err = mkdirat(dir_fd, d->name, mode & 07777) < 0 ? -errno : finish_new(dir, dir_fd, d, mode, c);
    hostfs_put_fd(dir, HOST_FD_PATH);
    return err;
}

static int hostfs_mknod(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev, const struct vfs_caller *c)
{
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    int err = mknodat(dir_fd, d->name, mode, rdev) < 0 ? -errno : finish_new(dir, dir_fd, d, mode, c);
    hostfs_put_fd(dir, HOST_FD_PATH);
    return err;
}

static int hostfs_symlink(struct inode *dir, struct dentry *d, const char *target, const struct vfs_caller *c)
{
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    int err = symlinkat(target, dir_fd, d->name) < 0 ? -errno : finish_new(dir, dir_fd, d, S_IFLNK | 0777, c);
    hostfs_put_fd(dir, HOST_FD_PATH);
    return err;
}

/* A file that O_TMPFILE made has no name to link from. */
static int link_nameless(struct inode *target, int dir_fd, const char *name)
{
    int fd = hostfs_get_fd(target, HOST_FD_WRITE);
    if (fd < 0)
        return fd;
    int err = linkat(fd, "", dir_fd, name, AT_EMPTY_PATH) < 0 ? -errno : 0;
    if (err == -ENOENT) /* no CAP_DAC_READ_SEARCH: the documented detour */
        err = hostproc_link(fd, dir_fd, name);
    hostfs_put_fd(target, HOST_FD_WRITE);
    return err;
}

static int hostfs_link(struct inode *dir, struct dentry *d, struct inode *target, const struct vfs_caller *c)
{
    struct inode *parent;
    char name[256];
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH), err;
    if (dir_fd < 0)
        return dir_fd;
    if (hostfs_location(target, &parent, name)) {
        int from_fd = hostfs_get_fd(parent, HOST_FD_PATH);
        err = from_fd < 0 ? from_fd : linkat(from_fd, name, dir_fd, d->name, 0) < 0 ? -errno : 0;
        if (from_fd >= 0)
            hostfs_put_fd(parent, HOST_FD_PATH);
        inode_put(parent);
    } else {
        err = link_nameless(target, dir_fd, d->name);
    }
    hostfs_put_fd(dir, HOST_FD_PATH);
    if (err < 0)
        return err;
    hostfs_add_name(target, dir, d->name);
    dentry_instantiate(d, inode_get(target));
    atomic_store(&hostfs_i(dir)->stale, true);
    atomic_store(&hostfs_i(target)->stale, true);
    atomic_fetch_add(&target->nlink, 1);
    return 0;
}

static int remove_name(struct inode *dir, struct dentry *d, int flags)
{
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    hostfs_prepare_unlink(dir, d);
    int err = unlinkat(dir_fd, d->name, flags) < 0 ? -errno : 0;
    hostfs_put_fd(dir, HOST_FD_PATH);
    if (err < 0)
        return err;
    hostfs_finish_unlink(dir, d);
    atomic_store(&hostfs_i(dir)->stale, true);
    return 0;
}

static int hostfs_unlink(struct inode *dir, struct dentry *d)
{
    int err = remove_name(dir, d, 0);
    if (err == 0 && atomic_load(&d->inode->nlink) > 0)
        atomic_fetch_sub(&d->inode->nlink, 1);
    return err;
}

static int hostfs_rmdir(struct inode *dir, struct dentry *d)
{
    return remove_name(dir, d, AT_REMOVEDIR);
}

static int hostfs_rename(struct inode *old_dir, struct dentry *od, struct inode *new_dir, struct dentry *nd, unsigned int flags,
                         const struct vfs_caller *c)
{
    int from = hostfs_get_fd(old_dir, HOST_FD_PATH), to = hostfs_get_fd(new_dir, HOST_FD_PATH);
    int err = from < 0 ? from : to < 0 ? to : 0;
    bool replaces = nd->inode && flags == 0;

    if (err == 0 && replaces)
        hostfs_prepare_unlink(new_dir, nd);
    if (err == 0 && syscall(SYS_renameat2, from, od->name, to, nd->name, flags) < 0)
        err = -errno;
    if (from >= 0)
        hostfs_put_fd(old_dir, HOST_FD_PATH);
    if (to >= 0)
        hostfs_put_fd(new_dir, HOST_FD_PATH);
    if (err < 0)
        return err;
    if (replaces) {
        hostfs_finish_unlink(new_dir, nd);
        if (!S_ISDIR(nd->inode->mode) && atomic_load(&nd->inode->nlink) > 0)
            atomic_fetch_sub(&nd->inode->nlink, 1);
    } else if (nd->inode) {
        hostfs_drop_name(nd->inode, new_dir, nd->name);
        hostfs_add_name(nd->inode, old_dir, od->name);
        atomic_store(&hostfs_i(nd->inode)->stale, true);
    }
    hostfs_drop_name(od->inode, old_dir, od->name);
    hostfs_add_name(od->inode, new_dir, nd->name);
    atomic_store(&hostfs_i(od->inode)->stale, true);
    atomic_store(&hostfs_i(old_dir)->stale, true);
    atomic_store(&hostfs_i(new_dir)->stale, true);
    return 0;
}

static int hostfs_tmpfile(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    struct statx st;
    struct inode *inode;
    int dir_fd = hostfs_get_fd(dir, HOST_FD_PATH);
    if (dir_fd < 0)
        return dir_fd;
    int fd = hostfs_openat(hostfs_sb(dir->sb), dir_fd, ".", O_TMPFILE | O_RDWR, mode & 07777);
    hostfs_put_fd(dir, HOST_FD_PATH);
    if (fd < 0)
        return fd;
    int err = hostfs_stat_at(fd, "", &st);
    if (err == 0)
        err = hostfs_iget(dir->sb, &st, NULL, NULL, &inode);
    if (err < 0) {
        close(fd);
        return err;
    }
    hostfs_adopt_fd(inode, HOST_FD_WRITE, fd, true);
    if (st.stx_uid != c->cred->fsuid || st.stx_gid != c->cred->fsgid)
        if (fchown(fd, c->cred->fsuid, c->cred->fsgid) == 0)
            atomic_store(&hostfs_i(inode)->stale, true);
    dentry_instantiate(d, inode);
    return 0;
}

static ssize_t hostfs_readlink(struct inode *inode, const struct vfs_caller *c, char *buf, size_t len)
{
    struct inode *parent;
    char name[256];
    ssize_t n;

    if (hostfs_location(inode, &parent, name)) {
        int dir_fd = hostfs_get_fd(parent, HOST_FD_PATH);
        n = dir_fd < 0 ? dir_fd : readlinkat(dir_fd, name, buf, len);
        if (dir_fd >= 0) {
            n = n < 0 ? -errno : n;
            hostfs_put_fd(parent, HOST_FD_PATH);
        }
        inode_put(parent);
        return n;
    }
    int fd = hostfs_get_fd(inode, HOST_FD_PATH);
    if (fd < 0)
        return fd;
    n = readlinkat(fd, "", buf, len);
    n = n < 0 ? -errno : n;
    hostfs_put_fd(inode, HOST_FD_PATH);
    return n;
}

#define COMMON_OPS .getattr = hostfs_getattr, .setattr = hostfs_setattr
#define XATTR_OPS \
    .getxattr = hostfs_getxattr, .setxattr = hostfs_setxattr, .listxattr = hostfs_listxattr, .removexattr = hostfs_removexattr

const struct inode_ops hostfs_dir_inode_ops = {
    COMMON_OPS,
    XATTR_OPS,
    .lookup = hostfs_lookup,
    .create = hostfs_create_file,
    .mkdir = hostfs_mkdir,
    .mknod = hostfs_mknod,
    .symlink = hostfs_symlink,
    .link = hostfs_link,
    .unlink = hostfs_unlink,
    .rmdir = hostfs_rmdir,
    .rename = hostfs_rename,
    .tmpfile = hostfs_tmpfile,
    .open = hostfs_dir_open,
};
const struct inode_ops hostfs_file_inode_ops = {COMMON_OPS, XATTR_OPS, .open = hostfs_file_open};
const struct inode_ops hostfs_symlink_inode_ops = {COMMON_OPS, .readlink = hostfs_readlink};
const struct inode_ops hostfs_special_inode_ops = {COMMON_OPS};
