/* Looking at files: the stat family, statx, statfs, access. */
#include "sentry/syscalls/sys_fs.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define BASIC_STATS STATX_BASIC_STATS

static void stat_from_statx(const struct statx *x, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_dev = makedev(x->stx_dev_major, x->stx_dev_minor);
    st->st_ino = x->stx_ino;
    st->st_nlink = x->stx_nlink;
    st->st_mode = x->stx_mode;
    st->st_uid = x->stx_uid;
    st->st_gid = x->stx_gid;
    st->st_rdev = makedev(x->stx_rdev_major, x->stx_rdev_minor);
    st->st_size = (off_t)x->stx_size;
    st->st_blksize = x->stx_blksize;
    st->st_blocks = (blkcnt_t)x->stx_blocks;
    st->st_atim = (struct timespec){x->stx_atime.tv_sec, x->stx_atime.tv_nsec};
    st->st_mtim = (struct timespec){x->stx_mtime.tv_sec, x->stx_mtime.tv_nsec};
    st->st_ctim = (struct timespec){x->stx_ctime.tv_sec, x->stx_ctime.tv_nsec};
}

static int64_t put_stat(struct task *t, const struct path *p, guest_addr out)
{
    struct statx x;
    struct stat st;
    int r = vfs_getattr(p, BASIC_STATS, &x);

    if (r)
        return r;
    stat_from_statx(&x, &st);
    return copy_out(t, out, &st, sizeof(st));
}

static int64_t do_stat(struct task *t, int dirfd, guest_addr name, int flags, guest_addr out)
{
    struct path p;
    int64_t r = path_resolve(t, dirfd, name, flags, &p);

    if (r)
        return r;
    r = put_stat(t, &p, out);
    path_put(&p);
    return r;
}

int64_t sys_stat(struct task *t, const struct syscall_args *a)
{
    return do_stat(t, AT_FDCWD, arg_addr(a, 0), 0, arg_addr(a, 1));
}

int64_t sys_lstat(struct task *t, const struct syscall_args *a)
{
    return do_stat(t, AT_FDCWD, arg_addr(a, 0), AT_SYMLINK_NOFOLLOW, arg_addr(a, 1));
}

int64_t sys_fstat(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get_raw(t->files, arg_int(a, 0));
    int64_t r;

    if (!f)
        return -EBADF;
    r = put_stat(t, &f->path, arg_addr(a, 1));
    file_put(f);
    return r;
}

/* glibc's fstat() comes as newfstatat(fd, "", AT_EMPTY_PATH): no need for a path walk. */
static bool is_empty_string(struct task *t, guest_addr name)
{
    char c;

    return guest_is_null(name) || (copy_in(t, &c, name, 1) == 0 && c == 0);
}

int64_t sys_newfstatat(struct task *t, const struct syscall_args *a)
{
    const int valid = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC;
    int flags = arg_int(a, 3);

    if (flags & ~valid)
        return -EINVAL;
    if ((flags & AT_EMPTY_PATH) && arg_int(a, 0) >= 0 && is_empty_string(t, arg_addr(a, 1))) {
        struct syscall_args fstat_args = {{a->v[0], a->v[2]}};

        return sys_fstat(t, &fstat_args);
    }
    return do_stat(t, arg_int(a, 0), arg_addr(a, 1), flags, arg_addr(a, 2));
}

int64_t sys_statx(struct task *t, const struct syscall_args *a)
{
    const int valid = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
    int flags = arg_int(a, 2);
    unsigned int mask = arg_uint(a, 3);
    struct file *f = NULL;
    struct statx x;
    struct path p;
    int64_t r;

    if ((mask & STATX__RESERVED) || (flags & ~valid) || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
        return -EINVAL;
    if ((flags & AT_EMPTY_PATH) && arg_int(a, 0) >= 0 && is_empty_string(t, arg_addr(a, 1))) {
        f = fd_get_raw(t->files, arg_int(a, 0));
        if (!f)
            return -EBADF;
        r = vfs_getattr(&f->path, mask, &x);
        file_put(f);
    } else {
        r = path_resolve(t, arg_int(a, 0), arg_addr(a, 1), flags, &p);
        if (r)
            return r;
        r = vfs_getattr(&p, mask, &x);
        path_put(&p);
    }
    return r ? r : copy_out(t, arg_addr(a, 4), &x, sizeof(x));
}

static int64_t put_statfs(struct task *t, const struct path *p, guest_addr out)
{
    struct statfs s;
    int r;

    memset(&s, 0, sizeof(s));
    r = vfs_statfs(p, &s);
    return r ? r : copy_out(t, out, &s, sizeof(s));
}

int64_t sys_statfs(struct task *t, const struct syscall_args *a)
{
    struct path p;
    int64_t r = path_resolve(t, AT_FDCWD, arg_addr(a, 0), 0, &p);

    if (r)
        return r;
    r = put_statfs(t, &p, arg_addr(a, 1));
    path_put(&p);
    return r;
}

int64_t sys_fstatfs(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get_raw(t->files, arg_int(a, 0));
    int64_t r;

    if (!f)
        return -EBADF;
    r = put_statfs(t, &f->path, arg_addr(a, 1));
    file_put(f);
    return r;
}

/* access(2) asks for the real ids, and for root with the permitted capabilities. */
static int check_access(struct task *t, const struct path *p, int mode, bool effective)
{
    const struct cred *c = t->cred;
    struct vfs_caller caller = t->caller;
    struct cred *real;
    int r;

    if (effective || (c->uid == c->fsuid && c->gid == c->fsgid))
        return vfs_access(&caller, p, mode);
    real = cred_dup(c);
    if (!real)
        return -ENOMEM;
    real->fsuid = c->uid;
    real->fsgid = c->gid;
    real->cap_effective = c->uid == 0 ? c->cap_permitted : 0;
    caller.cred = real;
    r = vfs_access(&caller, p, mode);
    cred_put(real);
    return r;
}

static int64_t do_access(struct task *t, int dirfd, guest_addr name, int mode, int flags)
{
    struct path p;
    int r;

    if ((mode & ~7) || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
        return -EINVAL;
    r = path_resolve(t, dirfd, name, flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), &p);
    if (r)
        return r;
    r = mode == 0 ? 0 : check_access(t, &p, mode, flags & AT_EACCESS);
    path_put(&p);
    return r;
}

int64_t sys_access(struct task *t, const struct syscall_args *a)
{
    return do_access(t, AT_FDCWD, arg_addr(a, 0), arg_int(a, 1), 0);
}

int64_t sys_faccessat(struct task *t, const struct syscall_args *a)
{
    return do_access(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2), 0);
}

int64_t sys_faccessat2(struct task *t, const struct syscall_args *a)
{
    return do_access(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 2), arg_int(a, 3));
}
