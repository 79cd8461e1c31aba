/* See fs_struct.h. */
#include "vfs/fs_struct.h"

#include "vfs/mount.h"

#include <stdlib.h>

struct fs_struct *fs_struct_create(struct mnt_namespace *ns)
{
    struct fs_struct *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return NULL;
    ref_init(&fs->ref);
    mutex_init(&fs->lock);
    mutex_lock(&fs->lock);
    fs->ns = mnt_namespace_get(ns);
    fs->umask = 022;
    mnt_namespace_root(ns, &fs->root);
    fs->cwd = fs->root;
    path_get(&fs->cwd);
    mutex_unlock(&fs->lock);
    return fs;
}

struct fs_struct *fs_struct_dup(struct fs_struct *fs) NO_THREAD_SAFETY_ANALYSIS /* the copy is private */
{
    struct fs_struct *copy = calloc(1, sizeof(*copy));
    if (!copy)
        return NULL;
    ref_init(&copy->ref);
    mutex_init(&copy->lock);
    mutex_lock(&fs->lock);
    copy->root = *path_get(&fs->root);
    copy->cwd = *path_get(&fs->cwd);
    copy->umask = fs->umask;
    copy->ns = mnt_namespace_get(fs->ns);
    mutex_unlock(&fs->lock);
    return copy;
}

struct fs_struct *fs_struct_get(struct fs_struct *fs)
{
    ref_get(&fs->ref);
    return fs;
}

void fs_struct_put(struct fs_struct *fs) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    if (!fs || !ref_put(&fs->ref))
        return;
    path_put(&fs->root);
    path_put(&fs->cwd);
    mnt_namespace_put(fs->ns);
    mutex_fini(&fs->lock);
    free(fs);
}

void fs_get_root(struct fs_struct *fs, struct path *out)
{
    mutex_lock(&fs->lock);
    *out = *path_get(&fs->root);
    mutex_unlock(&fs->lock);
}

void fs_get_cwd(struct fs_struct *fs, struct path *out)
{
    mutex_lock(&fs->lock);
    *out = *path_get(&fs->cwd);
    mutex_unlock(&fs->lock);
}

void fs_set_root(struct fs_struct *fs, const struct path *p)
{
    struct path new_root = *p;
    path_get(&new_root);
    mutex_lock(&fs->lock);
    struct path old = fs->root;
    fs->root = new_root;
    mutex_unlock(&fs->lock);
    path_put(&old);
}

void fs_set_cwd(struct fs_struct *fs, const struct path *p)
{
    struct path new_cwd = *p;
    path_get(&new_cwd);
    mutex_lock(&fs->lock);
    struct path old = fs->cwd;
    fs->cwd = new_cwd;
    mutex_unlock(&fs->lock);
    path_put(&old);
}

mode_t fs_umask(struct fs_struct *fs)
{
    mutex_lock(&fs->lock);
    mode_t m = fs->umask;
    mutex_unlock(&fs->lock);
    return m;
}

mode_t fs_set_umask(struct fs_struct *fs, mode_t mask)
{
    mutex_lock(&fs->lock);
    mode_t old = fs->umask;
    fs->umask = mask & 0777;
    mutex_unlock(&fs->lock);
    return old;
}

void fs_set_ns(struct fs_struct *fs, struct mnt_namespace *ns)
{
    mnt_namespace_get(ns);
    mutex_lock(&fs->lock);
    struct mnt_namespace *old = fs->ns;
    fs->ns = ns;
    mutex_unlock(&fs->lock);
    mnt_namespace_put(old);
}

void fs_switch_root(struct fs_struct *fs, const struct path *old_root, const struct path *new_root)
{
    struct path root, cwd;
    fs_get_root(fs, &root);
    fs_get_cwd(fs, &cwd);
    if (root.mnt == old_root->mnt && root.dentry == old_root->dentry)
        fs_set_root(fs, new_root);
    if (cwd.mnt == old_root->mnt && cwd.dentry == old_root->dentry)
        fs_set_cwd(fs, new_root);
    path_put(&root);
    path_put(&cwd);
}
