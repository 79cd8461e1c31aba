/* Making and removing names: mkdir, mknod, symlink, link, unlink, rmdir. Renaming is in namei_rename.c. */
#include "vfs/dcache.h"
#include "vfs/fs_struct.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/permission.h"
#include "vfs/walk.h"

#include <errno.h>
#include <fcntl.h>

/*
 * Walks to the directory of a new name and looks it up under the directory's lock, which is held on success. The caller ends
 * with create_end().
 */
static int create_begin(struct walk *w, const struct vfs_caller *c, const struct path *dir, const char *name, bool is_dir,
                        struct dentry **out) NO_THREAD_SAFETY_ANALYSIS
{
    struct dentry *d;

    if (name[0] == 0)
        return -ENOENT;
    int err = walk_init(w, c, dir, name, 0);
    if (err == 0)
        err = walk_parent(w);
    if (err == 0 && w->last_type != LAST_NORM)
        err = -EEXIST;
    if (err < 0) {
        walk_fini(w);
        return err;
    }
    struct inode *parent = w->path.dentry->inode;
    mutex_lock(&parent->lock);
    err = dentry_lookup_locked(w->path.dentry, w->last, w->last_len, &d);
    if (err == 0) {
        if (d->inode)
            err = -EEXIST;
        else if (w->trailing && !is_dir)
            err = -ENOENT;
        else if ((err = mount_want_write(w->path.mnt)) == 0)
            err = may_create(parent, c->cred);
        if (err < 0)
            dentry_put(d);
    }
    if (err < 0) {
        mutex_unlock(&parent->lock);
        walk_fini(w);
        return err;
    }
    *out = d;
    return 0;
}

static int create_end(struct walk *w, struct dentry *d, int err, struct path *made) NO_THREAD_SAFETY_ANALYSIS
{
    struct inode *parent = w->path.dentry->inode;
    if (err == 0) {
        dentry_add(d);
        /* Told under the lock, as long as the name is sure to be this. */
        notify_name(parent, IN_CREATE | (S_ISDIR(d->inode->mode) ? IN_ISDIR : 0), 0, d->name);
        if (made) {
            *made = (struct path){w->path.mnt, d};
            path_get(made);
        }
    }
    mutex_unlock(&parent->lock);
    dentry_put(d);
    walk_fini(w);
    return err;
}

int vfs_mkdir(const struct vfs_caller *c, const struct path *dir, const char *name, mode_t mode)
{
    struct walk w;
    struct dentry *d;
    int err = create_begin(&w, c, dir, name, true, &d);
    if (err < 0)
        return err;
    struct inode *parent = w.path.dentry->inode;
    mode = (mode & (0777 | S_ISVTX)) & ~fs_umask(c->fs);
    err = parent->ops->mkdir ? parent->ops->mkdir(parent, d, S_IFDIR | mode, c) : -EPERM;
    return create_end(&w, d, err, NULL);
}

static int mknod_at(const struct vfs_caller *c, const struct path *dir, const char *name, mode_t mode, dev_t dev,
                    struct path *made)
{
    struct walk w;
    struct dentry *d;
    int err = create_begin(&w, c, dir, name, false, &d);
    if (err < 0)
        return err;
    struct inode *parent = w.path.dentry->inode;
    mode = (mode & S_IFMT) | (mode & 07777 & ~fs_umask(c->fs));
    if ((S_ISCHR(mode) || S_ISBLK(mode)) && !(S_ISCHR(mode) && dev == 0) && !cred_has_cap(c->cred, CAP_MKNOD))
        err = -EPERM;
    else if (S_ISREG(mode))
        err = parent->ops->create ? parent->ops->create(parent, d, mode, c) : -EACCES;
    else
        err = parent->ops->mknod ? parent->ops->mknod(parent, d, mode, dev, c) : -EPERM;
    return create_end(&w, d, err, made);
}

int vfs_mknod(const struct vfs_caller *c, const struct path *dir, const char *name, mode_t mode, dev_t dev)
{
    switch (mode & S_IFMT) {
    case 0:
        mode |= S_IFREG;
        break;
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        break;
    case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
    return mknod_at(c, dir, name, mode, dev, NULL);
}

int vfs_bind_socket(const struct vfs_caller *c, const char *name, mode_t mode, struct path *out)
{
    return mknod_at(c, NULL, name, S_IFSOCK | (mode & 07777), 0, out);
}

int vfs_symlink(const struct vfs_caller *c, const char *target, const struct path *dir, const char *name)
{
    struct walk w;
    struct dentry *d;
    if (target[0] == 0)
        return -ENOENT;
    int err = create_begin(&w, c, dir, name, false, &d);
    if (err < 0)
        return err;
    struct inode *parent = w.path.dentry->inode;
    err = parent->ops->symlink ? parent->ops->symlink(parent, d, target, c) : -EPERM;
    return create_end(&w, d, err, NULL);
}

int vfs_link(const struct vfs_caller *c, const struct path *old_dir, const char *old_name, const struct path *new_dir,
             const char *new_name, int at_flags)
{
    struct path old;
    struct walk w;
    struct dentry *d;

    if (old_name[0] == 0 && at_flags & AT_EMPTY_PATH && !cred_has_cap(c->cred, CAP_DAC_READ_SEARCH))
        return -ENOENT;
    unsigned int how = (at_flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) | (at_flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    int err = vfs_lookup(c, old_dir, old_name, how, 0, &old);
    if (err < 0)
        return err;
    err = create_begin(&w, c, new_dir, new_name, false, &d);
    if (err < 0) {
        path_put(&old);
        return err;
    }
    struct inode *parent = w.path.dentry->inode, *inode = old.dentry->inode;
    if (old.mnt != w.path.mnt || inode->sb != parent->sb)
        err = -EXDEV;
    else if (S_ISDIR(inode->mode) || !parent->ops->link)
        err = -EPERM;
    else if (atomic_load(&inode->nlink) == 0 && !inode->linkable)
        err = -ENOENT;
    else
        err = parent->ops->link(parent, d, inode, c);
    if (err == 0) {
        inode->linkable = false;
        notify_inode(inode, IN_ATTRIB);
    }
    err = create_end(&w, d, err, NULL);
    path_put(&old);
    return err;
}

/* Walks to the directory of a name to be removed and looks it up under the directory's lock, held on success. */
static int remove_begin(struct walk *w, const struct vfs_caller *c, const struct path *dir, const char *name, bool want_dir,
                        struct dentry **out) NO_THREAD_SAFETY_ANALYSIS
{
    static const int not_a_name[2][4] = {
        {0, -EISDIR, -EISDIR, -EISDIR}, /* unlink of ".", "..", "/" */
        {0, -EINVAL, -ENOTEMPTY, -EBUSY},
    };
    struct dentry *d;

    if (name[0] == 0)
        return -ENOENT;
    int err = walk_init(w, c, dir, name, 0);
    if (err == 0)
        err = walk_parent(w);
    if (err == 0)
        err = not_a_name[want_dir][w->last_type];
    if (err < 0) {
        walk_fini(w);
        return err;
    }
    struct inode *parent = w->path.dentry->inode;
    mutex_lock(&parent->lock);
    err = dentry_lookup_locked(w->path.dentry, w->last, w->last_len, &d);
    if (err == 0) {
        struct inode *inode = d->inode;
        if (!inode)
            err = -ENOENT;
        else if (w->trailing && !want_dir)
            err = S_ISDIR(inode->mode) ? -EISDIR : -ENOTDIR;
        else if ((err = mount_want_write(w->path.mnt)) == 0 && (err = may_delete(parent, inode, c->cred, want_dir)) == 0 &&
                 __atomic_load_n(&d->nr_mounts, __ATOMIC_RELAXED) > 0)
            err = -EBUSY;
        if (err < 0)
            dentry_put(d);
    }
    if (err < 0) {
        mutex_unlock(&parent->lock);
        walk_fini(w);
        return err;
    }
    *out = d;
    return 0;
}

static int remove_end(struct walk *w, struct dentry *d, int err, uint32_t event) NO_THREAD_SAFETY_ANALYSIS
{
    struct inode *parent = w->path.dentry->inode;
    if (err == 0) {
        dentry_unhash(d);
        if (!(event & IN_ISDIR))
            notify_inode(d->inode, IN_ATTRIB); /* the link count */
        notify_name(parent, event, 0, d->name);
    }
    mutex_unlock(&parent->lock);
    dentry_put(d);
    walk_fini(w);
    return err;
}

int vfs_unlink(const struct vfs_caller *c, const struct path *dir, const char *name)
{
    struct walk w;
    struct dentry *d;
    int err = remove_begin(&w, c, dir, name, false, &d);
    if (err < 0)
        return err;
    struct inode *parent = w.path.dentry->inode;
    err = parent->ops->unlink ? parent->ops->unlink(parent, d) : -EPERM;
    return remove_end(&w, d, err, IN_DELETE);
}

int vfs_rmdir(const struct vfs_caller *c, const struct path *dir, const char *name)
{
    struct walk w;
    struct dentry *d;
    int err = remove_begin(&w, c, dir, name, true, &d);
    if (err < 0)
        return err;
    struct inode *parent = w.path.dentry->inode, *victim = d->inode;
    if (!parent->ops->rmdir) {
        err = -EPERM;
    } else {
        /* The victim's lock keeps others from making names in it between the check for emptiness and its death. */
        mutex_lock(&victim->lock);
        err = parent->ops->rmdir(parent, d);
        if (err == 0)
            atomic_store(&victim->nlink, 0);
        mutex_unlock(&victim->lock);
        if (err == 0)
            dentry_forget_children(d);
    }
    return remove_end(&w, d, err, IN_DELETE | IN_ISDIR);
}
