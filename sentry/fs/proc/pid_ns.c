/*
 * /proc/PID/ns: links to namespaces, namespaces(7), and the files (nsfs) behind them. Only mount namespaces come in more than
 * one here; the others are the sandbox's. Numbers are those that Linux gives to the initial namespaces.
 */
#include "sentry/fs/proc/proc.h"

#include "sentry/fs/fs.h"
#include "vfs/dcache.h"
#include "vfs/fs_struct.h"
#include "vfs/mount.h"

#include <errno.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

struct ns_type {
    const char *name; /* as in the link's text */
    int flag;         /* CLONE_NEW* */
    uint64_t ino;
};

static const struct ns_type ns_cgroup = {"cgroup", CLONE_NEWCGROUP, 4026531835}, ns_ipc = {"ipc", CLONE_NEWIPC, 4026531839},
                            ns_mnt = {"mnt", CLONE_NEWNS, 4026531841}, ns_net = {"net", CLONE_NEWNET, 4026531840},
                            ns_pid = {"pid", CLONE_NEWPID, 4026531836}, ns_time = {"time", 0x80, 4026531834},
                            ns_user = {"user", CLONE_NEWUSER, 4026531837}, ns_uts = {"uts", CLONE_NEWUTS, 4026531838};

static const struct inode_ops nsfs_iops;

static long nsfs_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    const struct ns_type *type = f->inode->priv;

    switch (cmd) {
    case NS_GET_NSTYPE:
        return type->flag;
    case NS_GET_USERNS:
        return -EPERM; /* the owner lies outside of what the caller may see */
    case NS_GET_PARENT:
        return type == &ns_user || type == &ns_pid ? -EPERM : -EINVAL;
    case NS_GET_OWNER_UID: {
        uid_t uid = 0;
        return type == &ns_user ? c->uaccess->copy_out(c, arg, &uid, sizeof(uid)) : -EINVAL;
    }
    default:
        return -ENOTTY;
    }
}

static const struct file_ops nsfs_fops = {.ioctl = nsfs_ioctl};

static int nsfs_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    f->ops = &nsfs_fops;
    return 0;
}

static const struct inode_ops nsfs_iops = {.open = nsfs_open};
static const struct super_ops nsfs_super_ops = {.evict_inode = NULL};

int proc_nsfs_init(struct kernel *k)
{
    int r = super_create("nsfs", &nsfs_super_ops, NSFS_MAGIC, &k->nsfs);

    if (r == 0)
        k->nsfs->flags |= SB_KERNEL;
    return r;
}

int nsfs_file_type(const struct file *f)
{
    return f->ops == &nsfs_fops ? ((const struct ns_type *)f->inode->priv)->flag : 0;
}

/* The number of the task's namespace of this type. */
static int ns_ino(const struct pseudo_node *n, const struct vfs_caller *c, uint64_t *ino)
{
    const struct ns_type *type = n->desc->arg;
    struct task *t = proc_task(n);
    struct fs_struct *fs;

    if (!t)
        return -ENOENT;
    if (!proc_may_access(c, t)) {
        task_put(t);
        return -EACCES;
    }
    *ino = type->ino;
    fs = type == &ns_mnt ? task_get_fs(t) : NULL;
    if (fs) {
        uintptr_t ns;
        mutex_lock(&fs->lock);
        ns = (uintptr_t)fs->ns;
        mutex_unlock(&fs->lock);
        if (ns != (uintptr_t)n->k->mnt_ns)
            *ino = 0xf1000000 | ((ns >> 4 ^ ns >> 28) & 0xffffff);
        fs_struct_put(fs);
    }
    task_put(t);
    return 0;
}

static ssize_t ns_readlink(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len)
{
    const struct ns_type *type = n->desc->arg;
    char text[48];
    uint64_t ino;
    int r = ns_ino(n, c, &ino);

    if (r)
        return r;
    r = snprintf(text, sizeof(text), "%s:[%llu]", type->name, (unsigned long long)ino);
    if ((size_t)r > len)
        r = len;
    memcpy(buf, text, r);
    return r;
}

static int ns_get_link(const struct pseudo_node *n, const struct vfs_caller *c, struct path *out)
{
    const struct ns_type *type = n->desc->arg;
    struct inode *inode;
    char text[48];
    uint64_t ino;
    int r = ns_ino(n, c, &ino);

    if (r)
        return r;
    snprintf(text, sizeof(text), "%s:[%llu]", type->name, (unsigned long long)ino);
    inode = inode_create(n->k->nsfs, &nsfs_iops, ino, S_IFREG | 0444, 0, 0);
    if (!inode)
        return -ENOMEM;
    inode->priv = (void *)type;
    *out = (struct path){.dentry = dentry_create_detached(n->k->nsfs, text, inode)};
    return out->dentry ? 0 : -ENOMEM;
}

#define NS_ROW(name_, type_)                                                                                       \
    {                                                                                                              \
        .name = (name_), .mode = S_IFLNK | 0777, .readlink = ns_readlink, .get_link = ns_get_link, .arg = &(type_) \
    }

const struct pseudo_desc proc_ns_rows[] = {
    NS_ROW("cgroup", ns_cgroup),
    NS_ROW("ipc", ns_ipc),
    NS_ROW("mnt", ns_mnt),
    NS_ROW("net", ns_net),
    NS_ROW("pid", ns_pid),
    NS_ROW("pid_for_children", ns_pid),
    NS_ROW("time", ns_time),
    NS_ROW("time_for_children", ns_time),
    NS_ROW("user", ns_user),
    NS_ROW("uts", ns_uts),
    PSEUDO_END,
};
