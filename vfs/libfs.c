/*
 * For filesystems whose names live in the dentry cache itself. The children of a directory are listed in the order in which
 * they appeared, by a cookie that only grows: a reader that goes on after a pause meets every name that was there all the time
 * exactly once, whatever was made and removed meanwhile.
 */
#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int simple_lookup(struct inode *dir, struct dentry *d)
{
    return 0;
}

bool simple_empty(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    struct dentry *child;
    bool empty = true;
    mutex_lock(&dc->lock);
    list_for_each_entry(child, &d->children, child)
        empty &= !child->hashed || !dentry_inode(child);
    mutex_unlock(&dc->lock);
    return empty;
}

/* Where the last getdents stopped: lets the next one go on without a search. Guarded by pos_lock. */
struct simple_dir {
    struct dentry *cursor; /* referenced, or NULL */
};

/* The first visible child whose cookie is at least `pos`, referenced; NULL at the end. `hint`: where to begin looking. */
static struct dentry *next_child(struct dentry *dir, struct dentry *hint, uint64_t pos)
{
    struct dcache *dc = dir->sb->dcache;
    struct dentry *found = NULL;

    mutex_lock(&dc->lock);
    struct list_head *n = dir->children.next;
    if (hint && hint->parent == dir && hint->hashed && hint->cookie <= pos)
        n = &hint->child;
    for (; n != &dir->children; n = n->next) {
        struct dentry *d = list_entry(n, struct dentry, child);
        if (d->cookie >= pos && d->hashed && dentry_inode(d)) {
            found = dentry_get(d);
            break;
        }
    }
    mutex_unlock(&dc->lock);
    return found;
}

static bool emit_dots(struct file *f, struct dir_context *dc)
{
    struct dentry *d = f->path.dentry;
    if (dc->pos == 0) {
        if (!dc->emit(dc, ".", 1, d->inode->ino, DT_DIR, 1))
            return false;
        dc->pos = 1;
    }
    if (dc->pos == 1) {
        struct dentry *parent = dentry_get_parent(d);
        bool ok = dc->emit(dc, "..", 2, parent->inode->ino, DT_DIR, 2);
        dentry_put(parent);
        if (!ok)
            return false;
        dc->pos = 2;
    }
    return true;
}

static int simple_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc)
{
    struct simple_dir *sd = f->priv;
    struct dentry *dir = f->path.dentry, *d;
    char name[256];

    if (!emit_dots(f, dc))
        return 0;
    while ((d = next_child(dir, sd->cursor, (uint64_t)dc->pos))) {
        struct inode *inode = dentry_inode(d);
        dentry_copy_name(d, name, sizeof(name));
        loff_t next = (loff_t)d->cookie + 1;
        bool ok = dc->emit(dc, name, strlen(name), inode->ino, IFTODT(inode->mode), next);
        if (sd->cursor)
            dentry_put(sd->cursor);
        sd->cursor = d;
        if (!ok)
            break;
        dc->pos = next;
    }
    return 0;
}

static loff_t simple_dir_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    if (whence == SEEK_CUR)
        off += f->pos;
    else if (whence != SEEK_SET)
        return -EINVAL;
    return file_set_pos(f, off);
}

static void simple_dir_release(struct file *f)
{
    struct simple_dir *sd = f->priv;
    if (sd->cursor)
        dentry_put(sd->cursor);
    free(sd);
}

static int simple_fsync(struct file *f, bool datasync)
{
    return 0;
}

static const struct file_ops simple_dir_ops = {
    .iterate = simple_iterate,
    .llseek = simple_dir_llseek,
    .fsync = simple_fsync,
    .release = simple_dir_release,
};

int simple_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    f->priv = calloc(1, sizeof(struct simple_dir));
    if (!f->priv)
        return -ENOMEM;
    f->ops = &simple_dir_ops;
    return 0;
}

struct dentry *simple_add_child(struct dentry *dir, const char *name, struct inode *inode)
{
    struct dentry *d;
    size_t len = strlen(name);

    mutex_lock(&dir->inode->lock);
    d = dcache_find(dir, name, len, dcache_hash(dir, name, len));
    if (d && d->inode) {
        dentry_put(d);
        d = NULL;
    } else if (d || (d = dentry_alloc(dir->sb, dir, name, len))) {
        dentry_instantiate(d, inode);
        dentry_add(d);
        dentry_pin(d);
        if (S_ISDIR(inode->mode))
            atomic_fetch_add(&dir->inode->nlink, 1);
        dentry_put(d);
        inode = NULL;
    }
    mutex_unlock(&dir->inode->lock);
    inode_put(inode);
    return d;
}

void simple_remove_child(struct dentry *d)
{
    struct dentry *child;
    while ((child = next_child(d, NULL, 0))) {
        simple_remove_child(child);
        dentry_put(child);
    }
    if (S_ISDIR(d->inode->mode))
        atomic_fetch_sub(&d->parent->inode->nlink, 1);
    atomic_store(&d->inode->nlink, 0);
    dentry_unhash(d);
    dentry_unpin(d);
}
