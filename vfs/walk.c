/*
 * Path resolution, as path_resolution(7) and openat2(2) have it.
 *
 * The name is consumed component by component. A symlink's target is put in front of what is left, which makes recursion
 * unnecessary; 40 of them are allowed. Each component costs one look-up in the dentry cache; the filesystem is asked only on a
 * miss.
 */
#include "vfs/walk.h"

#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/fs_struct.h"
#include "vfs/inode_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#define MAX_LINKS 40
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

int walk_init(struct walk *w, const struct vfs_caller *c, const struct path *dir, const char *name, uint64_t resolve)
{
    *w = (struct walk){.c = c, .resolve = resolve, .next = name};
    bool absolute = name[0] == '/';

    if (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) {
        if (dir) {
            w->root = *dir;
            path_get(&w->root);
        } else {
            fs_get_cwd(c->fs, &w->root);
        }
    } else {
        fs_get_root(c->fs, &w->root);
    }
    if (absolute && resolve & RESOLVE_BENEATH)
        return -EXDEV;
    if (absolute) {
        w->path = w->root;
        path_get(&w->path);
    } else if (dir) {
        w->path = *dir;
        path_get(&w->path);
    } else {
        fs_get_cwd(c->fs, &w->path);
    }
    return 0;
}

void walk_fini(struct walk *w)
{
    path_put(&w->path);
    path_put(&w->root);
    free(w->expanded);
    w->expanded = NULL;
}

static int cross_down(struct walk *w)
{
    struct mount *before = w->path.mnt;
    mount_follow_down(&w->path);
    return before != w->path.mnt && w->resolve & RESOLVE_NO_XDEV ? -EXDEV : 0;
}

static int step_dotdot(struct walk *w)
{
    for (;;) {
        if (w->path.mnt == w->root.mnt && w->path.dentry == w->root.dentry) {
            if (w->resolve & RESOLVE_BENEATH)
                return -EXDEV;
            break;
        }
        if (w->path.mnt && w->path.dentry != w->path.mnt->root) {
            struct dentry *parent = dentry_get_parent(w->path.dentry);
            dentry_put(w->path.dentry);
            w->path.dentry = parent;
            break;
        }
        if (!w->path.mnt || !mount_follow_up(&w->path))
            break;
        if (w->resolve & RESOLVE_NO_XDEV)
            return -EXDEV;
    }
    return cross_down(w);
}

/* Puts `target` in front of what is left of the name. */
static int expand(struct walk *w, const char *target, size_t len)
{
    size_t rest = strlen(w->next);
    char *name = malloc(len + rest + 1);
    if (!name)
        return -ENOMEM;
    memcpy(name, target, len);
    memcpy(name + len, w->next, rest + 1);
    free(w->expanded);
    w->expanded = name;
    w->next = name;
    return 0;
}

static int follow_link(struct walk *w, struct dentry *link)
{
    struct inode *inode = link->inode;
    char target[PATH_MAX];

    if (w->resolve & RESOLVE_NO_SYMLINKS || ++w->links > MAX_LINKS)
        return -ELOOP;
    if (w->path.mnt && w->path.mnt->flags & MS_NOSYMFOLLOW)
        return -ELOOP;
    if (inode->ops->get_link) {
        struct path to = {0};
        if (w->resolve & RESOLVE_NO_MAGICLINKS)
            return -ELOOP;
        int err = inode->ops->get_link(inode, w->c, &to);
        if (err < 0)
            return err;
        if (w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT) || (w->resolve & RESOLVE_NO_XDEV && to.mnt != w->path.mnt)) {
            path_put(&to);
            return -EXDEV;
        }
        path_put(&w->path);
        w->path = to;
        return 0;
    }
    if (!inode->ops->readlink)
        return -EINVAL;
    ssize_t n = inode->ops->readlink(inode, w->c, target, sizeof(target));
    if (n < 0)
        return (int)n;
    if (n == 0)
        return -ENOENT;
    if (n >= PATH_MAX)
        return -ENAMETOOLONG;
    struct path link_path = {w->path.mnt, link};
    path_accessed(&link_path);
    if (target[0] == '/') {
        if (w->resolve & RESOLVE_BENEATH)
            return -EXDEV;
        if (w->resolve & RESOLVE_NO_XDEV && w->root.mnt != w->path.mnt)
            return -EXDEV;
        path_put(&w->path);
        w->path = w->root;
        path_get(&w->path);
    }
    return expand(w, target, (size_t)n);
}

int walk_into(struct walk *w, struct dentry *child, bool follow)
{
    struct inode *inode = dentry_inode(child);

    if (follow && S_ISLNK(inode->mode)) {
        int err = follow_link(w, child);
        dentry_put(child);
        return err < 0 ? err : 1;
    }
    dentry_put(w->path.dentry);
    w->path.dentry = child;
    return likely(__atomic_load_n(&child->nr_mounts, __ATOMIC_RELAXED) == 0) ? 0 : cross_down(w);
}

static int step_norm(struct walk *w, const char *name, size_t len, bool follow)
{
    struct dentry *child;
    int err = dentry_lookup(w->path.dentry, name, len, &child);
    if (err < 0)
        return err;
    if (!dentry_inode(child)) {
        dentry_put(child);
        return -ENOENT;
    }
    return walk_into(w, child, follow);
}

static enum last_type classify(const char *name, size_t len)
{
    if (name[0] != '.' || len > 2)
        return LAST_NORM;
    if (len == 1)
        return LAST_DOT;
    return name[1] == '.' ? LAST_DOTDOT : LAST_NORM;
}

int walk_parent(struct walk *w)
{
    for (;;) {
        const char *p = w->next;
        w->trailing = *p == '/';
        while (*p == '/')
            p++;
        if (*p == 0) {
            w->last_type = LAST_ROOT;
            w->next = p;
            return 0;
        }
        struct inode *dir = w->path.dentry->inode;
        if (!S_ISDIR(dir->mode))
            return -ENOTDIR;
        int err = inode_permission(dir, w->c->cred, MAY_EXEC);
        if (err < 0)
            return err;
        const char *end = p;
        while (*end && *end != '/')
            end++;
        size_t len = (size_t)(end - p);
        if (len > w->path.dentry->sb->max_name)
            return -ENAMETOOLONG;
        const char *rest = end;
        while (*rest == '/')
            rest++;
        enum last_type type = classify(p, len);
        w->next = end;
        if (*rest == 0) {
            w->last = p;
            w->last_len = len;
            w->last_type = type;
            w->trailing = rest != end;
            return 0;
        }
        if (type == LAST_DOTDOT)
            err = step_dotdot(w);
        else if (type == LAST_NORM)
            err = step_norm(w, p, len, true);
        if (err < 0)
            return err;
    }
}

int walk_last(struct walk *w, bool follow)
{
    switch (w->last_type) {
    case LAST_DOTDOT:
        return step_dotdot(w);
    case LAST_NORM:
        return step_norm(w, w->last, w->last_len, follow);
    default:
        return 0;
    }
}

int vfs_lookup(const struct vfs_caller *c, const struct path *dir, const char *name, unsigned int lookup_flags,
               uint64_t resolve, struct path *out)
{
    struct walk w;

    if (name[0] == 0 && !(lookup_flags & LOOKUP_EMPTY))
        return -ENOENT;
    int err = walk_init(&w, c, dir, name, resolve);
    bool must_dir = lookup_flags & LOOKUP_DIRECTORY;
    while (err == 0) {
        err = walk_parent(&w);
        if (err < 0)
            break;
        must_dir |= w.trailing;
        err = walk_last(&w, lookup_flags & LOOKUP_FOLLOW || w.trailing);
        if (err <= 0)
            break;
        err = 0; /* a link: go on with its target */
    }
    if (err == 0 && must_dir && !S_ISDIR(w.path.dentry->inode->mode))
        err = -ENOTDIR;
    if (err == 0) {
        *out = w.path;
        w.path = (struct path){0};
    }
    walk_fini(&w);
    return err;
}
