/* mount(2)'s other operations: bind, remount, move, propagation types, pivot_root, and copying a namespace. */
#include "vfs/inode_internal.h"
#include "vfs/mount_internal.h"

#include "vfs/dcache.h"
#include "vfs/fs_struct.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>

struct mount *mount_clone(struct mount *m, struct dentry *root)
{
    struct mount *copy = mount_alloc(m->sb, root, m->source, m->flags);
    if (!copy)
        return NULL;
    copy->propagation = m->propagation;
    copy->peer_group = m->peer_group;
    copy->master_group = m->master_group;
    if (copy->propagation == MS_UNBINDABLE)
        copy->propagation = MS_PRIVATE;
    return copy;
}

/* Frees a tree that was never attached: its nodes have parents but no namespace. */
static void free_unattached(struct mount *top) REQUIRES(mount_lock)
{
    struct list_head dead = LIST_HEAD_INIT(dead);
    mount_umount_tree(top, &dead);
    mutex_unlock(&mount_lock);
    mount_dispose(&dead);
    mutex_lock(&mount_lock);
}

/* Links a clone below another clone; the namespace comes when the top is grafted. */
static void link_clone(struct mount *copy, struct mount *parent, struct dentry *mountpoint) REQUIRES(mount_lock)
{
    copy->parent = mount_get(parent);
    copy->mountpoint = dentry_get(mountpoint);
    dentry_set_mounted(mountpoint, 1);
    list_add_tail(&copy->child, &parent->children);
}

static bool clone_children(struct mount *from, struct mount *to, bool all) REQUIRES(mount_lock)
{
    struct mount *m;
    list_for_each_entry(m, &from->children, child) {
        if ((m->propagation == MS_UNBINDABLE && !all) || !dentry_is_below(m->mountpoint, to->root))
            continue;
        struct mount *copy = mount_clone(m, m->root);
        if (!copy)
            return false;
        if (all)
            copy->propagation = m->propagation;
        link_clone(copy, to, m->mountpoint);
        if (!clone_children(m, copy, all)) /* as deep as mounts are nested: bounded by path length */
            return false;
    }
    return true;
}

struct mount *mount_clone_tree(struct mount *m, struct dentry *root, bool all)
{
    struct mount *top = mount_clone(m, root);
    if (!top)
        return NULL;
    if (!clone_children(m, top, all)) {
        free_unattached(top);
        return NULL;
    }
    return top;
}

int mount_bind(const struct path *from, const struct path *at, bool recursive, unsigned long flags)
{
    if (!from->mnt || !at->mnt || S_ISDIR(from->dentry->inode->mode) != S_ISDIR(at->dentry->inode->mode))
        return -ENOTDIR;
    int err = 0;
    mutex_lock(&mount_lock);
    struct mount *m = NULL;
    if (!from->mnt->ns || !at->mnt->ns || from->mnt->propagation == MS_UNBINDABLE)
        err = -EINVAL;
    else if (!(m = recursive ? mount_clone_tree(from->mnt, from->dentry, false) : mount_clone(from->mnt, from->dentry)))
        err = -ENOMEM;
    if (err == 0) {
        m->flags |= flags & ~(unsigned long)(MS_BIND | MS_REC);
        if (at->mnt->peer_group != 0 && m->peer_group == 0) {
            m->propagation = MS_SHARED;
            m->peer_group = mount_new_group();
        }
        mount_graft(m, at->mnt, at->dentry);
        mount_propagate_attach(m);
    }
    mutex_unlock(&mount_lock);
    return err;
}

int mount_remount(const struct path *at, unsigned long flags)
{
    if (!at->mnt || at->dentry != at->mnt->root)
        return -EINVAL;
    mutex_lock(&mount_lock);
    int err = at->mnt->ns ? 0 : -EINVAL;
    if (err == 0)
        __atomic_store_n(&at->mnt->flags, flags, __ATOMIC_RELAXED);
    mutex_unlock(&mount_lock);
    return err;
}

int mount_move(const struct path *from, const struct path *to)
{
    struct mount *m = from->mnt;
    struct path old = {0};
    int err = 0;

    if (!m || !to->mnt || from->dentry != m->root)
        return -EINVAL;
    if (S_ISDIR(from->dentry->inode->mode) != S_ISDIR(to->dentry->inode->mode))
        return -EINVAL;
    mutex_lock(&mount_lock);
    if (!m->ns || m->ns != to->mnt->ns || !m->parent || m->parent->peer_group != 0)
        err = -EINVAL;
    else if (mount_is_ancestor(m, to->mnt))
        err = -ELOOP;
    if (err == 0) {
        mount_ungraft(m, &old);
        mount_graft(m, to->mnt, to->dentry);
        mount_propagate_attach(m);
    }
    mutex_unlock(&mount_lock);
    path_put(&old);
    return err;
}

static void change_type(struct mount *m, unsigned long type) REQUIRES(mount_lock)
{
    switch (type) {
    case MS_SHARED:
        if (m->peer_group == 0)
            m->peer_group = mount_new_group();
        m->propagation = MS_SHARED;
        break;
    case MS_SLAVE:
        if (m->peer_group == 0)
            break; /* private mounts stay so */
        m->master_group = m->peer_group;
        m->peer_group = 0;
        m->propagation = MS_SLAVE;
        break;
    default:
        m->peer_group = m->master_group = 0;
        m->propagation = (int)type;
    }
}

int mount_set_propagation(const struct path *at, unsigned long flags)
{
    unsigned long type = flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE);

    if (!at->mnt || at->dentry != at->mnt->root || __builtin_popcountl(type) != 1 ||
        flags & ~(type | (unsigned long)(MS_REC | MS_SILENT)))
        return -EINVAL;
    mutex_lock(&mount_lock);
    int err = at->mnt->ns ? 0 : -EINVAL;
    for (struct mount *m = err == 0 ? at->mnt : NULL; m; m = flags & MS_REC ? mount_next(m, at->mnt) : NULL)
        change_type(m, type);
    mutex_unlock(&mount_lock);
    return err;
}

static bool shared_parent(const struct mount *m)
{
    return m->parent && m->parent->peer_group != 0;
}

/* Whether `p` lies in the tree of mounts and directories below `top`. */
static bool reachable(const struct path *p, const struct path *top) REQUIRES(mount_lock)
{
    struct mount *m = p->mnt;
    struct dentry *d = p->dentry;
    while (m != top->mnt) {
        if (!m->parent)
            return false;
        d = m->mountpoint;
        m = m->parent;
    }
    return dentry_is_below(d, top->dentry);
}

int vfs_pivot_root(const struct path *new_root, const struct path *put_old, struct fs_struct *fs)
{
    struct path root, old_new = {0}, old_root = {0};
    int err = 0;

    fs_get_root(fs, &root);
    mutex_lock(&mount_lock);
    struct mount *new_mnt = new_root->mnt, *root_mnt = root.mnt;
    if (!new_mnt->ns || new_mnt->ns != root_mnt->ns || put_old->mnt->ns != root_mnt->ns)
        err = -EINVAL;
    else if (shared_parent(new_mnt) || shared_parent(root_mnt) || put_old->mnt->peer_group != 0)
        err = -EINVAL;
    else if (new_mnt == root_mnt || put_old->mnt == root_mnt)
        err = -EBUSY;
    else if (root.dentry != root_mnt->root || new_root->dentry != new_mnt->root || !new_mnt->parent)
        err = -EINVAL;
    else if (!reachable(put_old, new_root) || !reachable(new_root, &root))
        err = -EINVAL;
    if (err == 0) {
        struct mount *above = root_mnt->parent;
        struct dentry *at = root_mnt->mountpoint;
        mount_ungraft(new_mnt, &old_new);
        mount_ungraft(root_mnt, &old_root);
        if (above)
            mount_graft(new_mnt, above, at);
        else
            new_mnt->ns->root = new_mnt;
        mount_graft(root_mnt, put_old->mnt, put_old->dentry);
    }
    mutex_unlock(&mount_lock);
    path_put(&old_new);
    path_put(&old_root);
    if (err == 0)
        fs_switch_root(fs, &root, new_root);
    path_put(&root);
    return err;
}

/* The copy of `m` in a cloned tree: both are walked in the same order. */
static struct mount *translate(struct mount *m, struct mount *old_top, struct mount *new_top) REQUIRES(mount_lock)
{
    struct mount *b = new_top;
    for (struct mount *a = old_top; a && b; a = mount_next(a, old_top), b = mount_next(b, new_top))
        if (a == m)
            return b;
    return NULL;
}

int mnt_namespace_dup(struct mnt_namespace *ns, struct fs_struct *fs, struct mnt_namespace **out)
{
    struct mnt_namespace *copy = calloc(1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    ref_init(&copy->ref);
    list_init(&copy->mounts);
    mutex_lock(&mount_lock);
    copy->root = mount_clone_tree(ns->root, ns->root->root, true);
    if (!copy->root) {
        mutex_unlock(&mount_lock);
        free(copy);
        return -ENOMEM;
    }
    for (struct mount *m = copy->root; m; m = mount_next(m, copy->root)) {
        m->ns = copy;
        list_add_tail(&m->node, &copy->mounts);
        list_add_tail(&m->all, &all_mounts);
    }
    mutex_unlock(&mount_lock);

    if (fs) {
        struct path root, cwd;
        fs_get_root(fs, &root);
        fs_get_cwd(fs, &cwd);
        mutex_lock(&mount_lock);
        struct mount *r = translate(root.mnt, ns->root, copy->root), *w = translate(cwd.mnt, ns->root, copy->root);
        if (r) {
            struct mount *old = root.mnt;
            root.mnt = mount_get(r);
            mount_put(old); /* the old tree holds it: never the last */
        }
        if (w) {
            struct mount *old = cwd.mnt;
            cwd.mnt = mount_get(w);
            mount_put(old);
        }
        mutex_unlock(&mount_lock);
        fs_set_root(fs, &root);
        fs_set_cwd(fs, &cwd);
        fs_set_ns(fs, copy);
        path_put(&root);
        path_put(&cwd);
    }
    *out = copy;
    return 0;
}
