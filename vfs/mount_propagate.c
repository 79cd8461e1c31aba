/*
 * Mount propagation (mount_namespaces(7)).
 *
 * Mounts with the same non-zero peer_group are peers; a mount whose master_group is that number is a slave of the group. What
 * is mounted on a shared mount appears on all its peers and, transitively, on their slaves; what is unmounted disappears there.
 * The copies on peers form one new peer group, those on slaves are slaves of it.
 */
#include "vfs/mount_internal.h"

#include "vfs/dcache.h"

#include <sys/mount.h>

static atomic_int next_group = 1;

int mount_new_group(void)
{
    return atomic_fetch_add(&next_group, 1);
}

/* Whether what happens on a mount of group `from` reaches `m`; follows chains of slaves, `depth` bounds cycles. */
static bool receives(const struct mount *m, int from, int depth) REQUIRES(mount_lock)
{
    if (from == 0 || depth == 0)
        return false;
    if (m->peer_group == from || m->master_group == from)
        return true;
    if (m->master_group == 0)
        return false;
    const struct mount *master;
    list_for_each_entry(master, &all_mounts, all)
        if (master->peer_group == m->master_group && master != m && receives(master, from, depth - 1))
            return true;
    return false;
}

void mount_propagate_attach(struct mount *m)
{
    struct mount *on = m->parent, *x, *tmp;

    if (on->peer_group == 0)
        return;
    list_for_each_entry_safe(x, tmp, &all_mounts, all) {
        if (x == on || !x->ns || mount_is_ancestor(m, x) || !receives(x, on->peer_group, 8))
            continue;
        if (x->sb != on->sb || !dentry_is_below(m->mountpoint, x->root))
            continue;
        struct mount *copy = mount_clone_tree(m, m->root, true);
        if (!copy)
            return; /* out of memory: Linux fails the whole mount; a partial propagation is what we can offer here */
        if (x->peer_group != on->peer_group) {
            copy->master_group = m->peer_group;
            copy->peer_group = x->peer_group ? mount_new_group() : 0;
            copy->propagation = x->peer_group ? MS_SHARED : MS_SLAVE;
        }
        mount_graft(copy, x, m->mountpoint);
    }
}

void mount_propagate_detach(struct mount *m, struct list_head *dead)
{
    struct mount *on = m->parent, *x, *tmp;

    if (!on || on->peer_group == 0)
        return;
    list_for_each_entry_safe(x, tmp, &all_mounts, all) {
        if (x == on || !x->ns || !receives(x, on->peer_group, 8))
            continue;
        struct mount *copy = mount_find(x, m->mountpoint);
        if (!copy || copy->root != m->root || !list_empty(&copy->children) || ref_read(&copy->ref) > 1)
            continue;
        if (&tmp->all != &all_mounts && tmp == copy)
            tmp = list_entry(tmp->all.next, struct mount, all);
        mount_umount_tree(copy, dead);
    }
}
