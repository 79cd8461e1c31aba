/*
 * /proc/PID/{mounts,mountinfo,mountstats}, proc(5). The mounts are first collected with references, because their names are
 * found under the lock that guards the list.
 */
#include "sentry/fs/proc/proc.h"

#include "vfs/fs_struct.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#define ESCAPED " \t\n\\#"

struct mount_list {
    struct path *mounts; /* each the root of a mount; referenced */
    int *parents;        /* ids */
    size_t nr, cap;
};

static int collect(void *arg, struct mount *m)
{
    struct mount_list *l = arg;

    if (l->nr == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 32;
        struct path *mounts = realloc(l->mounts, cap * sizeof(*mounts));
        if (mounts)
            l->mounts = mounts;
        int *parents = realloc(l->parents, cap * sizeof(*parents));
        if (parents)
            l->parents = parents;
        if (!mounts || !parents)
            return -ENOMEM;
        l->cap = cap;
    }
    l->parents[l->nr] = m->parent ? m->parent->id : 0;
    l->mounts[l->nr] = (struct path){.mnt = m, .dentry = m->root};
    path_get(&l->mounts[l->nr]);
    l->nr++;
    return 0;
}

static void show_mount_flags(struct seq *s, unsigned long flags)
{
    static const struct {
        unsigned long flag;
        const char *text;
    } names[] = {
        {MS_NOSUID, ",nosuid"},   {MS_NODEV, ",nodev"},           {MS_NOEXEC, ",noexec"},
        {MS_NOATIME, ",noatime"}, {MS_NODIRATIME, ",nodiratime"}, {MS_RELATIME, ",relatime"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (flags & names[i].flag)
            seq_puts(s, names[i].text);
}

static void show_super_options(struct seq *s, struct super_block *sb)
{
    char buf[1024] = "";

    if (!sb->ops->show_options)
        return;
    sb->ops->show_options(sb, buf, sizeof(buf));
    buf[sizeof(buf) - 1] = 0;
    seq_puts(s, buf);
}

static const char *source_of(const struct mount *m)
{
    return m->source && *m->source ? m->source : "none";
}

static void show_mounts_line(struct seq *s, const struct path *p, int parent, const char *at)
{
    struct mount *m = p->mnt;

    seq_escape(s, source_of(m), ESCAPED);
    seq_putc(s, ' ');
    seq_escape(s, at, ESCAPED);
    seq_printf(s, " %s %s", m->sb->fstype, m->flags & MS_RDONLY || m->sb->flags & SB_RDONLY ? "ro" : "rw");
    show_mount_flags(s, m->flags);
    show_super_options(s, m->sb);
    seq_puts(s, " 0 0\n");
}

static void show_mountinfo_line(struct seq *s, const struct path *p, int parent, const char *at)
{
    struct mount *m = p->mnt;
    char root[PATH_MAX];

    if (dentry_path_name(m->root, root, sizeof(root)) < 0)
        strcpy(root, "/");
    seq_printf(s, "%d %d %u:%u ", m->id, parent, major(m->sb->dev), minor(m->sb->dev));
    if (m->sb->origin)
        seq_escape(s, m->sb->origin, ESCAPED);
    if (!m->sb->origin || root[1])
        seq_escape(s, root, ESCAPED);
    seq_putc(s, ' ');
    seq_escape(s, at, ESCAPED);
    seq_printf(s, " %s", m->flags & MS_RDONLY ? "ro" : "rw");
    show_mount_flags(s, m->flags);
    if (m->propagation & MS_SHARED)
        seq_printf(s, " shared:%d", m->peer_group);
    if (m->master_group)
        seq_printf(s, " master:%d", m->master_group);
    if (m->propagation & MS_UNBINDABLE)
        seq_puts(s, " unbindable");
    seq_printf(s, " - %s ", m->sb->fstype);
    seq_escape(s, source_of(m), ESCAPED);
    seq_puts(s, m->sb->flags & SB_RDONLY ? " ro" : " rw");
    show_super_options(s, m->sb);
    seq_putc(s, '\n');
}

static void show_mountstats_line(struct seq *s, const struct path *p, int parent, const char *at)
{
    seq_puts(s, "device ");
    seq_escape(s, source_of(p->mnt), ESCAPED);
    seq_puts(s, " mounted on ");
    seq_escape(s, at, ESCAPED);
    seq_printf(s, " with fstype %s\n", p->mnt->sb->fstype);
}

static int show_all(struct seq *s, const struct pseudo_node *n,
                    void (*line)(struct seq *s, const struct path *p, int parent, const char *at))
{
    struct task *t = proc_task(n);
    struct fs_struct *fs = t ? task_get_fs(t) : NULL;
    struct mount_list l = {0};
    struct mnt_namespace *ns;
    struct path root;
    char at[PATH_MAX];
    int r;

    if (t)
        task_put(t);
    if (!fs)
        return t ? -EINVAL : -ESRCH;
    mutex_lock(&fs->lock);
    ns = mnt_namespace_get(fs->ns);
    mutex_unlock(&fs->lock);
    fs_get_root(fs, &root);
    r = mnt_namespace_for_each(ns, collect, &l);
    for (size_t i = 0; i < l.nr; i++) {
        ssize_t len = r ? -1 : vfs_path_name(&l.mounts[i], &root, at, sizeof(at), false);
        if (len > 0 && at[0] == '/')
            line(s, &l.mounts[i], l.parents[i], at);
        path_put(&l.mounts[i]);
    }
    free(l.mounts);
    free(l.parents);
    path_put(&root);
    mnt_namespace_put(ns);
    fs_struct_put(fs);
    return r;
}

int proc_pid_mounts(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_all(s, n, show_mounts_line);
}

int proc_pid_mountinfo(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_all(s, n, show_mountinfo_line);
}

int proc_pid_mountstats(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_all(s, n, show_mountstats_line);
}
