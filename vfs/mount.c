/* The mount tree: look-up, attaching, detaching, namespaces. Binding, moving and pivoting are in mount_ops.c. */
#include "vfs/inode_internal.h"
#include "vfs/mount_internal.h"

#include "vfs/dcache.h"
#include "vfs/inotify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

struct mutex mount_lock = MUTEX_INIT;
struct list_head all_mounts = LIST_HEAD_INIT(all_mounts);
static atomic_int next_mount_id = 20;

struct mount *mount_alloc(struct super_block *sb, struct dentry *root, const char *source, unsigned long flags)
{
    struct mount *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->source = strdup(source ? source : "none");
    if (!m->source) {
        free(m);
        return NULL;
    }
    ref_init(&m->ref);
    m->sb = super_get(sb);
    m->root = dentry_get(root);
    m->flags = flags;
    m->id = atomic_fetch_add(&next_mount_id, 1);
    m->propagation = MS_PRIVATE;
    list_init(&m->node);
    list_init(&m->children);
    list_init(&m->child);
    list_init(&m->all);
    return m;
}

struct mount *mount_get(struct mount *m)
{
    ref_get(&m->ref);
    return m;
}

void mount_put(struct mount *m)
{
    if (!m || !ref_put(&m->ref))
        return;
    dentry_put(m->root);
    super_put(m->sb);
    free(m->source);
    free(m);
}

struct path *path_get(struct path *p)
{
    if (p->mnt)
        ref_get(&p->mnt->ref);
    if (p->dentry)
        dentry_get(p->dentry);
    return p;
}

void path_put(struct path *p)
{
    if (p->dentry)
        dentry_put(p->dentry);
    if (p->mnt)
        mount_put(p->mnt);
    p->dentry = NULL;
    p->mnt = NULL;
}

struct mount *mount_find(const struct mount *parent, const struct dentry *d)
{
    struct mount *m, *found = NULL;
    list_for_each_entry(m, &parent->children, child)
        if (m->mountpoint == d)
            found = m;
    return found;
}

void mount_follow_down(struct path *p)
{
    while (p->mnt && unlikely(__atomic_load_n(&p->dentry->nr_mounts, __ATOMIC_RELAXED) > 0)) {
        mutex_lock(&mount_lock);
        struct mount *m = mount_find(p->mnt, p->dentry);
        struct path next = {0};
        if (m) {
            next = (struct path){mount_get(m), dentry_get(m->root)};
            m->crossings++;
        }
        mutex_unlock(&mount_lock);
        if (!m)
            return;
        path_put(p);
        *p = next;
    }
}

bool mount_follow_up(struct path *p)
{
    struct path up = {0};
    mutex_lock(&mount_lock);
    if (p->mnt->parent)
        up = (struct path){mount_get(p->mnt->parent), dentry_get(p->mnt->mountpoint)};
    mutex_unlock(&mount_lock);
    if (!up.mnt)
        return false;
    path_put(p);
    *p = up;
    return true;
}

bool mount_is_mountpoint(const struct path *p)
{
    if (__atomic_load_n(&p->dentry->nr_mounts, __ATOMIC_RELAXED) == 0)
        return false;
    mutex_lock(&mount_lock);
    bool found = mount_find(p->mnt, p->dentry) != NULL;
    mutex_unlock(&mount_lock);
    return found;
}

int mount_want_write(const struct mount *mnt)
{
    if (!mnt)
        return 0;
    return __atomic_load_n(&mnt->flags, __ATOMIC_RELAXED) & MS_RDONLY || mnt->sb->flags & SB_RDONLY ? -EROFS : 0;
}

struct mount *mount_next(struct mount *m, struct mount *top)
{
    if (!list_empty(&m->children))
        return list_first_entry(&m->children, struct mount, child);
    for (; m != top; m = m->parent)
        if (m->child.next != &m->parent->children)
            return list_entry(m->child.next, struct mount, child);
    return NULL;
}

bool mount_is_ancestor(const struct mount *top, const struct mount *m)
{
    for (; m; m = m->parent)
        if (m == top)
            return true;
    return false;
}

void mount_graft(struct mount *m, struct mount *parent, struct dentry *mountpoint)
{
    m->parent = mount_get(parent);
    m->mountpoint = dentry_get(mountpoint);
    dentry_set_mounted(mountpoint, 1);
    list_add_tail(&m->child, &parent->children);
    for (struct mount *i = m; i; i = mount_next(i, m)) {
        i->ns = parent->ns;
        list_del_init(&i->node);
        list_add_tail(&i->node, &parent->ns->mounts);
        if (list_empty(&i->all))
            list_add_tail(&i->all, &all_mounts);
    }
}

void mount_ungraft(struct mount *m, struct path *old)
{
    *old = (struct path){m->parent, m->mountpoint};
    if (m->mountpoint)
        dentry_set_mounted(m->mountpoint, -1);
    m->parent = NULL;
    m->mountpoint = NULL;
    list_del_init(&m->child);
}

/*
 * Detached mounts go to `dead` through `node`. Each still holds the tree's reference and its mount point, which mount_dispose()
 * drops: that may free superblocks, so not under the lock.
 */
void mount_umount_tree(struct mount *top, struct list_head *dead)
{
    for (struct mount *m = top; m;) {
        /* Leaves first, so that the walk stays valid. */
        while (!list_empty(&m->children))
            m = list_first_entry(&m->children, struct mount, child);
        struct mount *parent = m == top ? NULL : m->parent;
        if (m->mountpoint)
            dentry_set_mounted(m->mountpoint, -1);
        list_del_init(&m->child);
        list_del_init(&m->all);
        list_del_init(&m->node);
        m->ns = NULL;
        list_add_tail(&m->node, dead);
        m = parent;
    }
}

void mount_dispose(struct list_head *dead)
{
    struct mount *m, *tmp;
    list_for_each_entry_safe(m, tmp, dead, node) {
        list_del_init(&m->node);
        mutex_lock(&mount_lock);
        struct path old = {m->parent, m->mountpoint};
        m->parent = NULL;
        m->mountpoint = NULL;
        mutex_unlock(&mount_lock);
        path_put(&old);
        mount_put(m);
    }
}

static int check_mountpoint(struct dentry *root, const struct path *at)
{
    if (!at->mnt || S_ISDIR(root->inode->mode) != S_ISDIR(at->dentry->inode->mode))
        return -ENOTDIR;
    return at->dentry->hashed || at->dentry->parent == at->dentry ? 0 : -ENOENT;
}

int mount_attach(struct super_block *sb, struct dentry *root, const struct path *at, const char *source, unsigned long flags)
{
    if (!root)
        root = sb->root;
    int err = check_mountpoint(root, at);
    if (err < 0)
        return err;
    struct mount *m = mount_alloc(sb, root, source, flags);
    if (!m)
        return -ENOMEM;
    mutex_lock(&mount_lock);
    if (!at->mnt->ns)
        err = -EINVAL;
    else if (at->mnt->sb == sb && at->dentry == at->mnt->root && at->mnt->root == root)
        err = -EBUSY; /* the same thing twice on top of itself */
    else
        mount_graft(m, at->mnt, at->dentry);
    if (err == 0 && at->mnt->peer_group != 0) {
        m->propagation = MS_SHARED;
        m->peer_group = mount_new_group();
    }
    if (err == 0)
        mount_propagate_attach(m);
    mutex_unlock(&mount_lock);
    if (err < 0)
        mount_put(m);
    return err;
}

int mount_detach(const struct path *at, int umount_flags)
{
    struct list_head dead = LIST_HEAD_INIT(dead);
    struct mount *m = at->mnt;
    int err = 0;

    if (!m || at->dentry != m->root)
        return -EINVAL;
    mutex_lock(&mount_lock);
    /* MNT_EXPIRE's second call does it, if nobody but its own walk has come by since the first. */
    bool expires = umount_flags & MNT_EXPIRE, marked = m->expires_at != 0 && m->crossings == m->expires_at + 1;
    if (!m->ns || !m->parent)
        err = m->ns && m->ns->root == m ? -EBUSY : -EINVAL;
    else if (!(umount_flags & MNT_DETACH) && (!list_empty(&m->children) || ref_read(&m->ref) > 2))
        err = -EBUSY; /* beyond the tree's reference and that of `at` */
    if (err == 0 && expires && !marked) {
        m->expires_at = m->crossings;
        err = -EAGAIN;
    }
    if (err == 0) {
        mount_propagate_detach(m, &dead);
        mount_umount_tree(m, &dead);
    }
    mutex_unlock(&mount_lock);
    if (err == 0 && ref_read(&m->sb->ref) <= 2)
        inotify_unmount(m->sb);
    mount_dispose(&dead);
    return err;
}

int mnt_namespace_create(struct super_block *root_sb, const char *source, unsigned long flags, struct mnt_namespace **out)
{
    struct mnt_namespace *ns = calloc(1, sizeof(*ns));
    struct mount *m = mount_alloc(root_sb, root_sb->root, source, flags);
    if (!ns || !m) {
        free(ns);
        mount_put(m);
        return -ENOMEM;
    }
    ref_init(&ns->ref);
    list_init(&ns->mounts);
    mutex_lock(&mount_lock);
    ns->root = m;
    m->ns = ns;
    list_add_tail(&m->node, &ns->mounts);
    list_add_tail(&m->all, &all_mounts);
    mutex_unlock(&mount_lock);
    *out = ns;
    return 0;
}

struct mnt_namespace *mnt_namespace_get(struct mnt_namespace *ns)
{
    ref_get(&ns->ref);
    return ns;
}

void mnt_namespace_put(struct mnt_namespace *ns)
{
    struct list_head dead = LIST_HEAD_INIT(dead);
    if (!ns || !ref_put(&ns->ref))
        return;
    mutex_lock(&mount_lock);
    mount_umount_tree(ns->root, &dead);
    mutex_unlock(&mount_lock);
    mount_dispose(&dead);
    free(ns);
}

void mnt_namespace_root(struct mnt_namespace *ns, struct path *out)
{
    mutex_lock(&mount_lock);
    *out = (struct path){mount_get(ns->root), dentry_get(ns->root->root)};
    mutex_unlock(&mount_lock);
    mount_follow_down(out);
}

int mnt_namespace_for_each(struct mnt_namespace *ns, int (*fn)(void *arg, struct mount *m), void *arg)
{
    struct mount *m;
    int r = 0;
    mutex_lock(&mount_lock);
    list_for_each_entry(m, &ns->mounts, node) {
        r = fn(arg, m);
        if (r != 0)
            break;
    }
    mutex_unlock(&mount_lock);
    return r;
}
