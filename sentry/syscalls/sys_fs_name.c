/* Names: mkdir, rmdir, unlink, rename, link, symlink, readlink, mknod, and their *at forms. */
#include "sentry/syscalls/sys_fs.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int64_t do_mkdir(struct task *t, int dirfd, guest_addr name, mode_t mode)
{
    struct path_arg p;
    int r = path_arg_get(&p, t, dirfd, name);

    if (r)
        return r;
    r = vfs_mkdir(task_caller(t), p.dir, p.name, mode & 01777);
    path_arg_put(&p);
    return r;
}

int64_t sys_mkdir(struct task *t, const struct syscall_args *a)
{
    return do_mkdir(t, AT_FDCWD, arg_addr(a, 0), (mode_t)arg_uint(a, 1));
}

int64_t sys_mkdirat(struct task *t, const struct syscall_args *a)
{
    return do_mkdir(t, arg_int(a, 0), arg_addr(a, 1), (mode_t)arg_uint(a, 2));
}

static int64_t do_unlink(struct task *t, int dirfd, guest_addr name, bool dir)
{
    struct path_arg p;
    int r = path_arg_get(&p, t, dirfd, name);

    if (r)
        return r;
    r = dir ? vfs_rmdir(task_caller(t), p.dir, p.name) : vfs_unlink(task_caller(t), p.dir, p.name);
    path_arg_put(&p);
    return r;
}

int64_t sys_rmdir(struct task *t, const struct syscall_args *a)
{
    return do_unlink(t, AT_FDCWD, arg_addr(a, 0), true);
}

int64_t sys_unlink(struct task *t, const struct syscall_args *a)
{
    return do_unlink(t, AT_FDCWD, arg_addr(a, 0), false);
}

int64_t sys_unlinkat(struct task *t, const struct syscall_args *a)
{
    if (arg_int(a, 2) & ~AT_REMOVEDIR)
        return -EINVAL;
    return do_unlink(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2) & AT_REMOVEDIR);
}

static int64_t do_rename(struct task *t, int old_fd, guest_addr old_name, int new_fd, guest_addr new_name, unsigned int flags)
{
    struct path_arg from, to;
    int r = path_arg_get(&from, t, old_fd, old_name);

    if (r)
        return r;
    r = path_arg_get(&to, t, new_fd, new_name);
    if (r == 0) {
        r = vfs_rename(task_caller(t), from.dir, from.name, to.dir, to.name, flags);
        path_arg_put(&to);
    }
    path_arg_put(&from);
    return r;
}

int64_t sys_rename(struct task *t, const struct syscall_args *a)
{
    return do_rename(t, AT_FDCWD, arg_addr(a, 0), AT_FDCWD, arg_addr(a, 1), 0);
}

int64_t sys_renameat(struct task *t, const struct syscall_args *a)
{
    return do_rename(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2), arg_addr(a, 3), 0);
}

int64_t sys_renameat2(struct task *t, const struct syscall_args *a)
{
    unsigned int flags = arg_uint(a, 4);

    if ((flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) ||
        ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
        return -EINVAL;
    return do_rename(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2), arg_addr(a, 3), flags);
}

static int64_t do_link(struct task *t, int old_fd, guest_addr old_name, int new_fd, guest_addr new_name, int flags)
{
    struct path_arg from, to;
    int r;

    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    r = path_arg_get(&from, t, old_fd, old_name);
    if (r)
        return r;
    r = path_arg_get(&to, t, new_fd, new_name);
    if (r == 0) {
        r = vfs_link(task_caller(t), from.dir, from.name, to.dir, to.name, flags);
        path_arg_put(&to);
    }
    path_arg_put(&from);
    return r;
}

int64_t sys_link(struct task *t, const struct syscall_args *a)
{
    return do_link(t, AT_FDCWD, arg_addr(a, 0), AT_FDCWD, arg_addr(a, 1), 0);
}

int64_t sys_linkat(struct task *t, const struct syscall_args *a)
{
    return do_link(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2), arg_addr(a, 3), arg_int(a, 4));
}

static int64_t do_symlink(struct task *t, guest_addr target, int dirfd, guest_addr name)
{
    char to[PATH_MAX];
    struct path_arg p;
    ssize_t n = copy_str_in(t, to, target, sizeof(to));
    int r;

    if (n < 0)
        return n;
    r = path_arg_get(&p, t, dirfd, name);
    if (r)
        return r;
    r = n == 0 ? -ENOENT : vfs_symlink(task_caller(t), to, p.dir, p.name);
    path_arg_put(&p);
    return r;
}

int64_t sys_symlink(struct task *t, const struct syscall_args *a)
{
    return do_symlink(t, arg_addr(a, 0), AT_FDCWD, arg_addr(a, 1));
}

int64_t sys_symlinkat(struct task *t, const struct syscall_args *a)
{
    return do_symlink(t, arg_addr(a, 0), arg_int(a, 1), arg_addr(a, 2));
}

static int64_t do_readlink(struct task *t, int dirfd, guest_addr name, guest_addr buf, int size)
{
    char target[PATH_MAX];
    struct path_arg arg;
    struct path p;
    ssize_t n;
    int r;

    if (size <= 0)
        return -EINVAL;
    r = path_arg_get(&arg, t, dirfd, name);
    if (r)
        return r;
    r = vfs_lookup(task_caller(t), arg.dir, arg.name, LOOKUP_EMPTY, 0, &p);
    path_arg_put(&arg);
    if (r)
        return r;
    n = vfs_readlink(task_caller(t), &p, target, sizeof(target));
    path_put(&p);
    /* An empty name is fine for a descriptor of a symlink; of anything else it is no name at all. */
    if (n == -EINVAL && arg.name[0] == 0)
        n = -ENOENT;
    if (n > size)
        n = size;
    if (n > 0 && copy_out(t, buf, target, (size_t)n))
        return -EFAULT;
    return n;
}

int64_t sys_readlink(struct task *t, const struct syscall_args *a)
{
    return do_readlink(t, AT_FDCWD, arg_addr(a, 0), arg_addr(a, 1), arg_int(a, 2));
}

int64_t sys_readlinkat(struct task *t, const struct syscall_args *a)
{
    return do_readlink(t, arg_int(a, 0), arg_addr(a, 1), arg_addr(a, 2), arg_int(a, 3));
}

/* The 32-bit device number of the ABI. */
static dev_t decode_dev(uint32_t dev)
{
    return makedev((dev & 0xfff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xfff00));
}

static int64_t do_mknod(struct task *t, int dirfd, guest_addr name, mode_t mode, uint32_t dev)
{
    struct path_arg p;
    int r;

    switch (mode & S_IFMT) {
    case 0:
        mode |= S_IFREG;
        break;
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        break;
    case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
    r = path_arg_get(&p, t, dirfd, name);
    if (r)
        return r;
    r = vfs_mknod(task_caller(t), p.dir, p.name, mode & (S_IFMT | 07777), S_ISCHR(mode) || S_ISBLK(mode) ? decode_dev(dev) : 0);
    path_arg_put(&p);
    return r;
}

int64_t sys_mknod(struct task *t, const struct syscall_args *a)
{
    return do_mknod(t, AT_FDCWD, arg_addr(a, 0), (mode_t)arg_uint(a, 1), arg_uint(a, 2));
}

int64_t sys_mknodat(struct task *t, const struct syscall_args *a)
{
    return do_mknod(t, arg_int(a, 0), arg_addr(a, 1), (mode_t)arg_uint(a, 2), arg_uint(a, 3));
}
