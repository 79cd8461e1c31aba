/* Directories: getdents, getcwd, chdir, chroot. */
#include "sentry/syscalls/sys_fs.h"
#include "vfs/fs_struct.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

/* Entries are collected here before they go to the guest in one copy. */
#define DENTS_BUFFER 65536UL

struct dent_sink {
    struct dir_context dc;
    bool old_form; /* struct linux_dirent: the type is the last byte */
    char *buf;
    size_t len, room;
    bool too_small; /* the very first entry did not fit */
};

static void put64(char *at, uint64_t v)
{
    memcpy(at, &v, sizeof(v));
}

/* u64 ino, u64 next, u16 reclen, then [type,] name, NUL [, padding, type]. */
static bool emit_dent(struct dir_context *dc, const char *name, size_t len, uint64_t ino, unsigned int type, loff_t next)
{
    struct dent_sink *s = container_of(dc, struct dent_sink, dc);
    size_t head = s->old_form ? 18 : 19, reclen = (head + len + 1 + (s->old_form ? 1 : 0) + 7) & ~7UL;
    uint16_t reclen16 = (uint16_t)reclen;
    char *at = s->buf + s->len;

    if (reclen > s->room - s->len) {
        s->too_small = s->len == 0;
        return false;
    }
    memset(at, 0, reclen);
    put64(at, ino);
    put64(at + 8, (uint64_t)next);
    memcpy(at + 16, &reclen16, sizeof(reclen16));
    if (s->old_form)
        at[reclen - 1] = (char)type;
    else
        at[18] = (char)type;
    memcpy(at + head, name, len);
    s->len += reclen;
    return true;
}

static int64_t do_getdents(struct task *t, const struct syscall_args *a, bool old_form)
{
    struct dent_sink s = {.dc.emit = emit_dent, .old_form = old_form};
    struct file *f = fd_get(t->files, arg_int(a, 0));
    size_t count = arg_uint(a, 2);
    int64_t r;

    if (!f)
        return -EBADF;
    s.room = count < DENTS_BUFFER ? count : DENTS_BUFFER;
    s.buf = malloc(s.room + 1);
    if (!s.buf) {
        file_put(f);
        return -ENOMEM;
    }
    mutex_lock(&f->pos_lock);
    s.dc.pos = f->pos;
    r = vfs_iterate(f, task_caller(t), &s.dc);
    if (s.len > 0)
        r = copy_out(t, arg_addr(a, 1), s.buf, s.len) ? -EFAULT : (int64_t)s.len;
    else if (r == 0 && s.too_small)
        r = -EINVAL;
    if (r >= 0)
        f->pos = s.dc.pos;
    mutex_unlock(&f->pos_lock);
    free(s.buf);
    file_put(f);
    return r;
}

int64_t sys_getdents(struct task *t, const struct syscall_args *a)
{
    return do_getdents(t, a, true);
}

int64_t sys_getdents64(struct task *t, const struct syscall_args *a)
{
    return do_getdents(t, a, false);
}

int64_t sys_getcwd(struct task *t, const struct syscall_args *a)
{
    char buf[PATH_MAX];
    struct path cwd, root;
    ssize_t n;

    fs_get_cwd(t->fs, &cwd);
    fs_get_root(t->fs, &root);
    n = cwd.dentry->hashed || cwd.dentry->parent == cwd.dentry ? vfs_path_name(&cwd, &root, buf, sizeof(buf), false) : -ENOENT;
    path_put(&cwd);
    path_put(&root);
    if (n < 0)
        return n;
    if ((size_t)n + 1 > arg_size(a, 1))
        return -ERANGE;
    return copy_out(t, arg_addr(a, 0), buf, (size_t)n + 1) ? -EFAULT : n + 1;
}

/* A directory that the caller may search becomes its cwd. Consumes the path's reference. */
static int64_t change_cwd(struct task *t, struct path *p)
{
    int r = S_ISDIR(p->dentry->inode->mode) ? inode_permission(p->dentry->inode, t->cred, MAY_EXEC) : -ENOTDIR;

    if (r == 0)
        fs_set_cwd(t->fs, p);
    path_put(p);
    return r;
}

int64_t sys_chdir(struct task *t, const struct syscall_args *a)
{
    struct path p;
    int r = path_resolve(t, AT_FDCWD, arg_addr(a, 0), 0, &p);

    return r ? r : change_cwd(t, &p);
}

int64_t sys_fchdir(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get_raw(t->files, arg_int(a, 0));
    struct path p;

    if (!f)
        return -EBADF;
    p = f->path;
    path_get(&p);
    file_put(f);
    return change_cwd(t, &p);
}

int64_t sys_chroot(struct task *t, const struct syscall_args *a)
{
    struct path p;
    int r = path_resolve(t, AT_FDCWD, arg_addr(a, 0), 0, &p);

    if (r)
        return r;
    r = S_ISDIR(p.dentry->inode->mode) ? inode_permission(p.dentry->inode, t->cred, MAY_EXEC) : -ENOTDIR;
    if (r == 0 && !cred_has_cap(t->cred, CAP_SYS_CHROOT))
        r = -EPERM;
    if (r == 0)
        fs_set_root(t->fs, &p);
    path_put(&p);
    return r;
}

int64_t sys_umask(struct task *t, const struct syscall_args *a)
{
    return fs_set_umask(t->fs, (mode_t)(a->v[0] & 0777));
}
