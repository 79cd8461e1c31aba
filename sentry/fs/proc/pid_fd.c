/* /proc/PID/fd and fdinfo. Their nodes' keys have the descriptor's number as `sub`. */
#include "sentry/fs/proc/proc.h"

#include "vfs/fdtable.h"
#include "vfs/fs_struct.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct pseudo_desc fd_link, fdinfo_file;

/* Our reference may turn out to be the last one, when the process exits meanwhile: the files are closed in its name. */
static void put_files(struct fdtable *files, const struct task *t)
{
    const struct vfs_caller owner = {.tgid = t->tg->tgid};

    fdtable_put(files, &owner);
}

/* The open file of a descriptor node, referenced; NULL. */
static struct file *node_file(const struct pseudo_node *n, bool *cloexec)
{
    struct task *t = proc_task(n);
    struct fdtable *files = t ? task_get_files(t) : NULL;
    struct file *f = NULL;

    if (files) {
        f = fd_get_raw(files, (int)n->key.sub);
        if (cloexec)
            *cloexec = fd_get_cloexec(files, (int)n->key.sub) == 1;
        put_files(files, t);
    }
    if (t)
        task_put(t);
    return f;
}

static int find_fd(const struct pseudo_node *dir, const char *name, size_t len, const struct pseudo_desc *desc,
                   struct pseudo_child *out)
{
    struct pseudo_node child = *dir;
    struct file *f;

    child.key.sub = pseudo_parse_name(name, len);
    f = child.key.sub >= 0 ? node_file(&child, NULL) : NULL;
    if (!f)
        return -ENOENT;
    file_put(f);
    out->desc = desc;
    out->key = child.key;
    return 0;
}

static bool next_fd(const struct pseudo_node *dir, uint64_t *pos, const struct pseudo_desc *desc, struct pseudo_child *out)
{
    struct task *t = proc_task(dir);
    struct fdtable *files = t ? task_get_files(t) : NULL;
    int fd = files && *pos <= INT_MAX ? fd_next_open(files, (int)*pos) : -1;

    if (files)
        put_files(files, t);
    if (t)
        task_put(t);
    if (fd < 0)
        return false;
    *pos = fd;
    out->desc = desc;
    out->key.sub = fd;
    snprintf(out->name, sizeof(out->name), "%d", fd);
    return true;
}

int proc_fd_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    return find_fd(dir, name, len, &fd_link, out);
}

bool proc_fd_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    return next_fd(dir, pos, &fd_link, out);
}

int proc_fdinfo_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    return find_fd(dir, name, len, &fdinfo_file, out);
}

bool proc_fdinfo_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    return next_fd(dir, pos, &fdinfo_file, out);
}

/* The link's permissions say how the file is open. */
static int fd_sync(const struct pseudo_node *n, struct inode *inode)
{
    struct file *f;
    int r = proc_pid_sync(n, inode);

    if (r)
        return r;
    f = node_file(n, NULL);
    if (!f)
        return -ENOENT;
    if (S_ISLNK(inode->mode)) {
        inode->mode = S_IFLNK;
        if (f->mode & (FMODE_READ | FMODE_PATH))
            inode->mode |= 0500;
        if (f->mode & (FMODE_WRITE | FMODE_PATH))
            inode->mode |= 0300;
        atomic_store(&inode->size, 64);
    }
    file_put(f);
    return 0;
}

static int fd_path(const struct pseudo_node *n, const struct vfs_caller *c, struct path *out)
{
    struct file *f;
    int r = proc_open_checked(n, c, NULL);

    if (r)
        return r == -ESRCH ? -ENOENT : r;
    f = node_file(n, NULL);
    if (!f)
        return -ENOENT;
    *out = f->path;
    path_get(out);
    file_put(f);
    return 0;
}

static ssize_t fd_readlink(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len)
{
    char name[PATH_MAX];
    struct path p, root;
    ssize_t r = fd_path(n, c, &p);

    if (r)
        return r;
    fs_get_root(c->fs, &root);
    r = vfs_path_name(&p, &root, name, sizeof(name), true);
    path_put(&root);
    path_put(&p);
    if (r < 0)
        return r;
    if ((size_t)r > len)
        r = len;
    memcpy(buf, name, r);
    return r;
}

static int fdinfo_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    bool cloexec = false;
    struct file *f = node_file(n, &cloexec);
    char extra[1024] = "";

    if (!f)
        return -ENOENT;
    seq_printf(s, "pos:\t%lld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%llu\n", (long long)__atomic_load_n(&f->pos, __ATOMIC_RELAXED),
               atomic_load(&f->flags) | (cloexec ? O_CLOEXEC : 0), f->path.mnt ? f->path.mnt->id : 15,
               (unsigned long long)f->inode->ino);
    if (f->ops && f->ops->show_fdinfo) {
        f->ops->show_fdinfo(f, extra, sizeof(extra));
        extra[sizeof(extra) - 1] = 0;
        seq_puts(s, extra);
    }
    file_put(f);
    return 0;
}

static const struct pseudo_desc fd_link = {
    .mode = S_IFLNK | 0700,
    .readlink = fd_readlink,
    .get_link = fd_path,
    .sync = fd_sync,
};

static const struct pseudo_desc fdinfo_file = {
    .mode = S_IFREG | 0444,
    .show = fdinfo_show,
    .sync = fd_sync,
};
