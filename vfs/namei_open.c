/* open(2): resolving, creating and opening, with all that O_* flags ask for. */
#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/fs_struct.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/locks.h"
#include "vfs/permission.h"
#include "vfs/walk.h"

#include <errno.h>
#include <sys/mount.h>

#define OPEN_ONLY_FLAGS (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)

/* MAY_* that the access mode asks for. Mode 3 is "neither, but check both", for ioctl-only opens. */
static int access_mask(int flags)
{
    static const int masks[4] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE};
    return masks[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static unsigned int access_fmode(int flags)
{
    static const unsigned int modes[4] = {FMODE_READ, FMODE_WRITE, FMODE_READ | FMODE_WRITE, 0};
    return modes[flags & O_ACCMODE];
}

static bool is_special(mode_t mode)
{
    return S_ISCHR(mode) || S_ISBLK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
}

static int may_open(const struct vfs_caller *c, const struct path *p, int flags)
{
    struct inode *inode = p->dentry->inode;
    mode_t mode = inode->mode;
    int mask = access_mask(flags);

    if (S_ISLNK(mode))
        return -ELOOP;
    if (S_ISDIR(mode) && mask & MAY_WRITE)
        return -EISDIR;
    if ((S_ISCHR(mode) || S_ISBLK(mode)) && p->mnt && p->mnt->flags & MS_NODEV)
        return -EACCES;
    if (mask & MAY_WRITE && !is_special(mode)) {
        int err = mount_want_write(p->mnt);
        if (err < 0)
            return err;
    }
    int err = inode_permission(inode, c->cred, mask);
    if (err < 0)
        return err;
    if (flags & O_NOATIME && !inode_owner_or_capable(inode, c->cred))
        return -EPERM;
    return 0;
}

static const struct file_ops path_file_ops; /* O_PATH files can do nothing */

static int open_path_only(const struct path *p, int flags, struct file **out)
{
    struct file *f = file_alloc(flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW), FMODE_PATH);
    if (!f)
        return -ENOMEM;
    f->path = *p;
    path_get(&f->path);
    f->inode = inode_get(p->dentry->inode);
    f->ops = &path_file_ops;
    *out = f;
    return 0;
}

static int truncate_on_open(const struct vfs_caller *c, struct file *f)
{
    struct inode *inode = f->inode;
    struct iattr attr = {.valid = ATTR_SIZE, .size = 0};

    mutex_lock(&inode->lock);
    int err = inode_drop_privileges_locked(inode, c);
    if (err == 0)
        err = setattr_locked(inode, &attr, c);
    mutex_unlock(&inode->lock);
    if (err == 0)
        notify_file(f, IN_MODIFY);
    return err;
}

/* Opens `p`, whose permissions have been checked. */
static int open_checked(const struct vfs_caller *c, const struct path *p, int flags, struct file **out)
{
    struct inode *inode = p->dentry->inode;
    mode_t mode = inode->mode;
    unsigned int fmode = access_fmode(flags);

    if (!S_ISFIFO(mode) && !S_ISSOCK(mode))
        fmode |= FMODE_LSEEK | FMODE_PSEEK;
    if (S_ISREG(mode)) {
        int err = lease_break(inode, fmode & FMODE_WRITE || flags & O_TRUNC);
        if (err < 0)
            return err;
    }
    struct file *f = file_alloc(flags & ~(OPEN_ONLY_FLAGS & ~O_NOCTTY), fmode); /* O_NOCTTY matters to terminals */
    if (!f)
        return -ENOMEM;
    f->path = *p;
    path_get(&f->path);
    f->inode = inode_get(inode);

    int err = 0;
    if (fmode & FMODE_WRITE && !is_special(mode)) {
        err = inode_get_write(inode);
        f->counts_write = err == 0;
    }
    if (err == 0) {
        if (is_special(mode) && !(inode->sb->flags & SB_OPENS_SPECIAL))
            err = special_open(inode, f, c);
        else
            err = inode->ops->open ? inode->ops->open(inode, f, c) : -ENXIO;
    }
    atomic_fetch_and(&f->flags, ~O_NOCTTY);
    if (err == -EAGAIN && S_ISFIFO(mode)) {
        *out = f;
        return err;
    }
    if (err == 0 && flags & O_TRUNC && S_ISREG(mode))
        err = truncate_on_open(c, f);
    if (err < 0) {
        if (f->ops && !f->ops->release)
            f->ops = NULL;
        file_put(f);
        return err;
    }
    notify_file(f, IN_OPEN);
    *out = f;
    return 0;
}

int vfs_open_path(const struct vfs_caller *c, const struct path *p, int flags, struct file **out)
{
    *out = NULL;
    if (flags & O_PATH)
        return open_path_only(p, flags, out);
    if (flags & O_DIRECTORY && !S_ISDIR(p->dentry->inode->mode))
        return -ENOTDIR;
    int err = may_open(c, p, flags);
    return err < 0 ? err : open_checked(c, p, flags, out);
}

int vfs_open_exec(const struct vfs_caller *c, const struct path *p, struct file **out)
{
    struct inode *inode = p->dentry->inode;

    *out = NULL;
    if (S_ISLNK(inode->mode)) /* execveat(AT_SYMLINK_NOFOLLOW) */
        return -ELOOP;
    if (!S_ISREG(inode->mode) || (p->mnt && p->mnt->flags & MS_NOEXEC))
        return -EACCES;
    int err = inode_permission(inode, c->cred, MAY_EXEC);
    if (err == 0)
        err = open_checked(c, p, O_RDONLY | KERNEL_O_LARGEFILE, out);
    if (err == 0)
        (*out)->mode |= FMODE_EXEC;
    return err;
}

/*
 * The O_CREAT case at the last component, under the directory's lock. 0: made, w->path is the new file; 1: somebody else made
 * it first, look again.
 */
static int create_last(struct walk *w, mode_t mode) NO_THREAD_SAFETY_ANALYSIS
{
    struct dentry *parent = w->path.dentry, *d;
    struct inode *dir = parent->inode;

    mutex_lock(&dir->lock);
    int err = inode_dead(dir) ? -ENOENT : dentry_lookup_locked(parent, w->last, w->last_len, &d);
    if (err < 0) {
        mutex_unlock(&dir->lock);
        return err;
    }
    if (d->inode) {
        mutex_unlock(&dir->lock);
        dentry_put(d);
        return 1;
    }
    err = mount_want_write(w->path.mnt);
    if (err == 0)
        err = may_create(dir, w->c->cred);
    if (err == 0)
        err = dir->ops->create ? dir->ops->create(dir, d, S_IFREG | (mode & ~fs_umask(w->c->fs)), w->c) : -EACCES;
    if (err == 0) {
        dentry_add(d);
        notify_name(dir, IN_CREATE, 0, d->name);
    }
    mutex_unlock(&dir->lock);
    if (err < 0) {
        dentry_put(d);
        return err;
    }
    w->path.dentry = d;
    dentry_put(parent);
    return 0;
}

/* Resolves for O_CREAT: 0 with *created, 1 to walk on, or -errno. */
static int open_creating(struct walk *w, const struct open_how *how, bool *created)
{
    struct dentry *d;

    /* A magic link has led straight to a file, or this is "/", which the caller refuses. */
    if (w->last_type == LAST_ROOT)
        return 0;
    if (w->last_type != LAST_NORM || w->trailing)
        return -EISDIR;
    for (;;) {
        int err = dentry_lookup(w->path.dentry, w->last, w->last_len, &d);
        if (err < 0)
            return err;
        struct inode *inode = dentry_inode(d);
        if (inode) {
            bool link = S_ISLNK(inode->mode);
            if (how->flags & O_EXCL || (link && how->flags & O_NOFOLLOW)) {
                dentry_put(d);
                return how->flags & O_EXCL ? -EEXIST : -ELOOP;
            }
            return walk_into(w, d, true);
        }
        dentry_put(d);
        err = create_last(w, (mode_t)how->mode & 07777);
        if (err <= 0) {
            *created = err == 0;
            return err;
        }
    }
}

static int open_tmpfile(struct walk *w, const struct open_how *how, struct file **out) NO_THREAD_SAFETY_ANALYSIS
{
    struct inode *dir = w->path.dentry->inode;
    struct path p = {.mnt = w->path.mnt};

    if (!S_ISDIR(dir->mode))
        return -ENOTDIR;
    if ((how->flags & O_ACCMODE) == O_RDONLY)
        return -EINVAL;
    int err = inode_permission(dir, w->c->cred, MAY_WRITE | MAY_EXEC);
    if (err == 0)
        err = mount_want_write(w->path.mnt);
    if (err < 0)
        return err;
    if (!dir->ops->tmpfile)
        return -EOPNOTSUPP;
    p.dentry = dentry_alloc(dir->sb, w->path.dentry, "#tmpfile", 8);
    if (!p.dentry)
        return -ENOMEM;
    mutex_lock(&dir->lock);
    err = inode_dead(dir) ? -ENOENT
                          : dir->ops->tmpfile(dir, p.dentry, S_IFREG | ((mode_t)how->mode & 07777 & ~fs_umask(w->c->fs)), w->c);
    mutex_unlock(&dir->lock);
    if (err == 0) {
        p.dentry->inode->linkable = !(how->flags & O_EXCL);
        err = open_checked(w->c, &p, (int)how->flags & ~(O_TMPFILE | O_EXCL | O_CREAT), out);
    }
    dentry_put(p.dentry);
    if (err == 0)
        atomic_fetch_or(&(*out)->flags, O_TMPFILE & ~O_DIRECTORY);
    return err;
}

/* The walk of open(2). On success w->path is what to open. */
static int resolve_for_open(struct walk *w, const struct open_how *how, bool *created)
{
    bool must_dir = how->flags & O_DIRECTORY;
    int err;

    do {
        err = walk_parent(w);
        if (err < 0)
            return err;
        must_dir |= w->trailing;
        if (how->flags & O_CREAT && (how->flags & O_TMPFILE) != O_TMPFILE)
            err = open_creating(w, how, created);
        else
            err = walk_last(w, !(how->flags & O_NOFOLLOW) || w->trailing);
        if (err < 0)
            return err;
    } while (err > 0);

    mode_t mode = w->path.dentry->inode->mode;
    if (must_dir && !S_ISDIR(mode) && !(how->flags & O_CREAT && !(how->flags & O_DIRECTORY)))
        return -ENOTDIR;
    if (how->flags & O_CREAT && S_ISDIR(mode))
        return -EISDIR;
    return 0;
}

int vfs_open(const struct vfs_caller *c, const struct path *dir, const char *name, const struct open_how *how,
             struct file **out)
{
    struct walk w;
    bool created = false, tmpfile = (how->flags & O_TMPFILE) == O_TMPFILE && !(how->flags & O_PATH);
    int flags = (int)how->flags;

    *out = NULL;
    if (name[0] == 0)
        return -ENOENT;
    struct open_how h = *how;
    if (flags & O_PATH)
        h.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (tmpfile)
        h.flags &= ~(uint64_t)O_CREAT;
    int err = walk_init(&w, c, dir, name, how->resolve);
    if (err == 0)
        err = resolve_for_open(&w, &h, &created);
    if (err == 0) {
        if (tmpfile)
            err = open_tmpfile(&w, &h, out);
        else if (created) /* whatever the new file's mode says: its maker has the access asked for */
            err = open_checked(c, &w.path, flags & ~(O_CREAT | O_EXCL | O_TRUNC), out);
        else
            err = vfs_open_path(c, &w.path, flags, out);
    }
    if (err == 0 && created)
        (*out)->created = true;
    walk_fini(&w);
    return err;
}
