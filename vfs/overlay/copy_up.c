/*
 * Copying up: the first change to an object that exists only in a lower tree makes a copy of it in the upper one, with its
 * data, owner, mode, times and attributes. The directories above it come first.
 */
#include "vfs/overlay/overlay_internal.h"

#include "vfs/file_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define COPY_BYTES (256 * 1024)

static bool all_zero(const char *buf, size_t n)
{
    return n == 0 || (buf[0] == 0 && memcmp(buf, buf + 1, n - 1) == 0);
}

static int copy_loop(struct file *from, struct file *to, char *buf, const struct vfs_caller *c, bool sparse)
{
    loff_t pos = 0;
    for (;;) {
        loff_t rpos = pos;
        ssize_t n = file_read_host(from, c, buf, COPY_BYTES, &rpos);
        if (n <= 0)
            return (int)n;
        loff_t wpos = pos;
        for (ssize_t done = 0; done < n && !(sparse && all_zero(buf, (size_t)n));) {
            ssize_t w = file_write_host(to, c, buf + done, (size_t)(n - done), &wpos);
            if (w <= 0)
                return w < 0 ? (int)w : -EIO;
            done += w;
        }
        pos += n;
    }
}

static int copy_data(struct dentry *lower, struct dentry *upper, const struct vfs_caller *c)
{
    struct file *from, *to;
    loff_t size = atomic_load(&lower->inode->size);
    if (size == 0)
        return 0;
    int err = dop_open(lower, O_RDONLY, FMODE_READ | FMODE_PSEEK, c, &from);
    if (err < 0)
        return err;
    err = dop_open(upper, O_RDWR, FMODE_READ | FMODE_WRITE | FMODE_PSEEK, c, &to);
    if (err < 0) {
        file_put(from);
        return err;
    }
    char *buf = malloc(COPY_BYTES);
    bool sparse = inode_load(lower->inode->blocks) * 512 < (uint64_t)size;
    err = buf ? copy_loop(from, to, buf, c, sparse) : -ENOMEM;
    if (err == 0 && sparse) {
        struct iattr attr = {.valid = ATTR_SIZE, .size = size};
        err = dop_setattr(upper->inode, &attr, c);
    }
    free(buf);
    file_put(from);
    file_put(to);
    return err;
}

/* As far as the upper filesystem takes them. */
static void copy_xattrs(struct inode *from, struct inode *to)
{
    char *value = NULL, *names = NULL;
    ssize_t n = from->ops->listxattr && to->ops->setxattr ? from->ops->listxattr(from, NULL, 0) : 0;
    if (n <= 0 || !(names = malloc((size_t)n)) || !(value = malloc(XATTR_SIZE_MAX)))
        goto out;
    n = from->ops->listxattr(from, names, (size_t)n);
    for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        if (strncmp(name, OVL_XATTR_PREFIX, strlen(OVL_XATTR_PREFIX)) == 0)
            continue;
        ssize_t size = from->ops->getxattr(from, name, value, XATTR_SIZE_MAX);
        if (size < 0)
            continue;
        mutex_lock(&to->lock);
        (void)!to->ops->setxattr(to, name, value, (size_t)size, 0);
        mutex_unlock(&to->lock);
    }
out:
    free(names);
    free(value);
}

static int copy_attributes(struct inode *inode, struct inode *from, struct inode *to, const struct vfs_caller *c)
{
    uint64_t origin = inode->ino;
    copy_xattrs(from, to);
    if (!S_ISDIR(from->mode) && to->ops->setxattr) {
        mutex_lock(&to->lock);
        (void)!to->ops->setxattr(to, OVL_XATTR_ORIGIN, &origin, sizeof(origin), 0);
        mutex_unlock(&to->lock);
    }
    struct iattr attr = {.valid = ATTR_UID | ATTR_GID | ATTR_ATIME | ATTR_MTIME,
                         .uid = from->uid,
                         .gid = from->gid,
                         .atime = ts_load(&from->atime),
                         .mtime = ts_load(&from->mtime)};
    if (!S_ISLNK(from->mode)) {
        attr.valid |= ATTR_MODE;
        attr.mode = from->mode & 07777;
    }
    int err = dop_setattr(to, &attr, c);
    /* In a rootless sandbox all files are the sentry's; the copy is as good as that allows. */
    return err == -EPERM ? 0 : err;
}

/* Makes the upper object for `inode`, whose directory is there already. Under copy_lock. */
static int copy_one(struct inode *inode, struct inode *parent, const char *name)
{
    struct ovl_super *os = ovl_sb(inode->sb);
    struct ovl_inode *oi = ovl_i(inode);
    struct dentry *lower = oi->lower[0], *upper;
    struct inode *real = lower->inode;
    char target[PATH_MAX];
    struct dop_new n = {.mode = real->mode, .rdev = real->rdev};

    if (real->ops->getattr)
        (void)!real->ops->getattr(real);
    if (S_ISLNK(real->mode)) {
        ssize_t len = real->ops->readlink(real, &os->caller, target, sizeof(target) - 1);
        if (len < 0)
            return (int)len;
        target[len] = 0;
        n.target = target;
    }
    struct dentry *dir = ovl_upper(parent);
    struct timespec atime = ts_load(&dir->inode->atime), mtime = ts_load(&dir->inode->mtime);
    int err = dop_create(dir, name, &n, &os->caller, &upper);
    if (err < 0)
        return err;
    if (S_ISREG(real->mode))
        err = copy_data(lower, upper, &os->caller);
    if (err == 0)
        err = copy_attributes(inode, real, upper->inode, &os->caller);
    /* The directory has not changed as far as anyone can see. */
    struct iattr times = {.valid = ATTR_ATIME | ATTR_MTIME, .atime = atime, .mtime = mtime};
    (void)!dop_setattr(dir->inode, &times, &os->caller);
    if (err < 0) {
        dentry_put(upper);
        (void)!dop_remove(dir, name);
        return err;
    }
    __atomic_store_n(&oi->upper, upper, __ATOMIC_RELEASE);
    ovl_rehash(inode, upper->inode);
    ovl_sync_attr(inode);
    return 0;
}

/* The nearest ancestor-or-self of `inode` whose directory is copied up; referenced, with its location. */
static struct inode *next_to_copy(struct inode *inode, struct inode **parent, char name[256])
{
    struct ovl_super *os = ovl_sb(inode->sb);
    struct inode *at = inode;
    mutex_lock(&os->lock);
    while (ovl_i(at)->parent && !ovl_upper(ovl_i(at)->parent))
        at = ovl_i(at)->parent;
    *parent = ovl_i(at)->parent ? inode_get(ovl_i(at)->parent) : NULL;
    if (*parent)
        strcpy(name, ovl_i(at)->name);
    inode_get(at);
    mutex_unlock(&os->lock);
    return at;
}

int ovl_copy_up(struct inode *inode)
{
    char name[256];
    int err = 0;

    while (err == 0 && !ovl_upper(inode)) {
        struct inode *parent, *at;
        if (!ovl_sb(inode->sb)->upper)
            return -EROFS;
        at = next_to_copy(inode, &parent, name);
        if (!parent) {
            err = -EROFS; /* a root without an upper */
        } else {
            mutex_lock(&ovl_i(at)->copy_lock);
            if (!ovl_upper(at))
                err = copy_one(at, parent, name);
            mutex_unlock(&ovl_i(at)->copy_lock);
        }
        inode_put(parent);
        inode_put(at);
    }
    return err;
}
