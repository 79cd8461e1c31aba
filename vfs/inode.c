/* Inodes: creation and the end, ownership, timestamps, generic attribute changes, and who has the file mapped. */
#include "vfs/inode.h"

#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/locks.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

struct inode *inode_create(struct super_block *sb, const struct inode_ops *ops, uint64_t ino, mode_t mode, uid_t uid, gid_t gid)
{
    struct inode *inode = calloc(1, sizeof(*inode));
    if (!inode)
        return NULL;
    ref_init(&inode->ref);
    ref_get(&sb->weak);
    inode->sb = sb;
    inode->ops = ops;
    inode->ino = ino ? ino : atomic_fetch_add(&sb->next_ino, 1);
    inode->mode = mode;
    inode->uid = uid;
    inode->gid = gid;
    atomic_init(&inode->nlink, 1);
    mutex_init(&inode->lock);
    mutex_init(&inode->aux_lock);
    mutex_lock(&inode->aux_lock);
    list_init(&inode->mappings);
    mutex_unlock(&inode->aux_lock);
    inode->atime = inode->mtime = inode->ctime = inode->btime = vfs_now();
    return inode;
}

struct inode *inode_get(struct inode *inode)
{
    ref_get(&inode->ref);
    return inode;
}

void inode_put(struct inode *inode)
{
    if (!inode || !ref_put(&inode->ref))
        return;
    struct super_block *sb = inode->sb;
    inotify_inode_gone(inode);
    locks_inode_gone(inode);
    if (sb->ops && sb->ops->evict_inode)
        sb->ops->evict_inode(inode);
    mutex_fini(&inode->lock);
    mutex_fini(&inode->aux_lock);
    free(inode);
    super_put_weak(sb);
}

void inode_init_owner(struct inode *inode, const struct inode *dir, mode_t mode, const struct vfs_caller *c)
{
    inode->uid = c->cred->fsuid;
    inode->gid = c->cred->fsgid;
    if (dir && dir->mode & S_ISGID) {
        inode->gid = dir->gid;
        if (S_ISDIR(mode))
            mode |= S_ISGID;
        else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !cred_in_group(c->cred, inode->gid) &&
                 !cred_has_cap(c->cred, CAP_FSETID))
            mode &= ~(mode_t)S_ISGID;
    }
    inode->mode = mode;
}

void inode_touch(struct inode *inode, bool mtime, bool ctime)
{
    struct timespec now = vfs_now();
    if (mtime)
        ts_store(&inode->mtime, now);
    if (ctime)
        ts_store(&inode->ctime, now);
}

int generic_setattr(struct inode *inode, const struct iattr *attr)
{
    struct timespec now = vfs_now();
    if (attr->valid & ATTR_UID)
        inode->uid = attr->uid;
    if (attr->valid & ATTR_GID)
        inode->gid = attr->gid;
    if (attr->valid & ATTR_MODE)
        inode->mode = (inode->mode & S_IFMT) | (attr->mode & 07777);
    if (attr->valid & ATTR_ATIME_NOW)
        ts_store(&inode->atime, now);
    else if (attr->valid & ATTR_ATIME)
        ts_store(&inode->atime, attr->atime);
    if (attr->valid & ATTR_MTIME_NOW)
        ts_store(&inode->mtime, now);
    else if (attr->valid & ATTR_MTIME)
        ts_store(&inode->mtime, attr->mtime);
    if (attr->valid & ATTR_SIZE) {
        atomic_store(&inode->size, attr->size);
        ts_store(&inode->mtime, now);
    }
    ts_store(&inode->ctime, now);
    return 0;
}

ssize_t generic_getxattr_none(struct inode *inode, const char *name, void *buf, size_t size)
{
    return -ENODATA;
}

/*
 * Mappings. A callback takes locks of the memory manager, which itself adds and removes mappings under those locks, so no lock
 * is held around the callback; `busy` keeps the entry alive meanwhile.
 */
void inode_mapping_add(struct inode *inode, struct inode_mapping *m)
{
    m->busy = 0;
    mutex_lock(&inode->aux_lock);
    list_add_tail(&m->node, &inode->mappings);
    mutex_unlock(&inode->aux_lock);
}

void inode_mapping_remove(struct inode *inode, struct inode_mapping *m)
{
    mutex_lock(&inode->aux_lock);
    while (m->busy > 0) {
        mutex_unlock(&inode->aux_lock);
        sched_yield();
        mutex_lock(&inode->aux_lock);
    }
    list_del_init(&m->node);
    mutex_unlock(&inode->aux_lock);
}

void inode_mapping_invalidate(struct inode *inode, uint64_t off, uint64_t len)
{
    struct inode_mapping *m;
    mutex_lock(&inode->aux_lock);
    struct list_head *pos = inode->mappings.next;
    while (pos != &inode->mappings) {
        m = list_entry(pos, struct inode_mapping, node);
        m->busy++;
        mutex_unlock(&inode->aux_lock);
        m->invalidate(m, off, len);
        mutex_lock(&inode->aux_lock);
        pos = m->node.next;
        m->busy--;
    }
    mutex_unlock(&inode->aux_lock);
}

bool inode_mapped_writable(struct inode *inode)
{
    struct inode_mapping *m;
    bool found = false;
    mutex_lock(&inode->aux_lock);
    list_for_each_entry(m, &inode->mappings, node)
        found |= m->writable;
    mutex_unlock(&inode->aux_lock);
    return found;
}
