/* From a path back to its name: getcwd(2), /proc/PID/fd, /proc/PID/maps. */
#include "vfs/dcache.h"
#include "vfs/mount_internal.h"
#include "vfs/namei.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Puts "/name" before *start. False when it does not fit. */
static bool prepend(char *buf, char **start, const char *name, size_t len)
{
    if ((size_t)(*start - buf) < len + 1)
        return false;
    *start -= len;
    memcpy(*start, name, len);
    *--*start = '/';
    return true;
}

/* A chain of names from `p` up to `root` or the top. */
static int build(const struct path *p, const struct path *root, char *buf, char **start, bool *reached) REQUIRES(mount_lock)
{
    const struct mount *mnt = p->mnt;
    const struct dentry *d = p->dentry;

    for (;;) {
        struct dcache *dc = d->sb->dcache;
        bool fits = true;
        mutex_lock(&dc->lock);
        while (fits && !(root && d == root->dentry && mnt == root->mnt) && d != mnt->root && d->parent != d) {
            fits = prepend(buf, start, d->name, d->name_len);
            d = d->parent;
        }
        mutex_unlock(&dc->lock);
        if (!fits)
            return -ENAMETOOLONG;
        if (root && d == root->dentry && mnt == root->mnt) {
            *reached = true;
            return 0;
        }
        if (d != mnt->root || !mnt->parent) {
            *reached = !root && mnt->ns != NULL;
            return 0;
        }
        d = mnt->mountpoint;
        mnt = mnt->parent;
    }
}

static ssize_t kernel_name(struct dentry *d, char *buf, size_t len)
{
    dentry_copy_name(d, buf, len);
    return (ssize_t)strlen(buf);
}

ssize_t vfs_path_name(const struct path *p, const struct path *root, char *buf, size_t len, bool mark_deleted)
{
    if (!p->mnt || p->dentry->sb->flags & SB_KERNEL)
        return kernel_name(p->dentry, buf, len);

    static const char deleted[] = " (deleted)", unreachable[] = "(unreachable)";
    bool gone = !p->dentry->hashed && p->dentry->parent != p->dentry, reached = false;
    char *end = buf + len, *start = end;
    size_t tail = gone && mark_deleted ? sizeof(deleted) - 1 : 0;
    if (len < tail + 2)
        return -ENAMETOOLONG;
    *--start = 0;
    start -= tail;
    memcpy(start, deleted, tail);
    char *name_end = start;

    mutex_lock(&mount_lock);
    int err = build(p, root, buf, &start, &reached);
    mutex_unlock(&mount_lock);
    if (err < 0)
        return err;
    if (start == name_end && !prepend(buf, &start, "", 0))
        return -ENAMETOOLONG;
    if (!reached) {
        size_t n = sizeof(unreachable) - 1;
        if ((size_t)(start - buf) < n)
            return -ENAMETOOLONG;
        start -= n;
        memcpy(start, unreachable, n);
    }
    size_t total = (size_t)(end - start);
    memmove(buf, start, total);
    return (ssize_t)total - 1;
}

ssize_t dentry_path_name(struct dentry *d, char *buf, size_t len)
{
    struct dcache *dc = d->sb->dcache;
    char *end = buf + len, *start = end;
    bool fits = len >= 2;

    if (fits)
        *--start = 0;
    mutex_lock(&dc->lock);
    for (; fits && d->parent != d; d = d->parent)
        fits = prepend(buf, &start, d->name, d->name_len);
    mutex_unlock(&dc->lock);
    if (fits && start == end - 1)
        *--start = '/';
    if (!fits)
        return -ENAMETOOLONG;
    memmove(buf, start, (size_t)(end - start));
    return end - start - 1;
}
