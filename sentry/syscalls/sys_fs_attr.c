/* Changing attributes: chmod, chown, the utime family, truncate. */
#include "sentry/syscalls/sys_fs.h"

#include <sys/stat.h>
#include <sys/time.h>
#include <utime.h>

/* Applies `attr` to what (dirfd, name) names. */
static int64_t set_by_name(struct task *t, int dirfd, guest_addr name, int at_flags, const struct iattr *attr)
{
    struct path p;
    int r = path_resolve(t, dirfd, name, at_flags, &p);

    if (r)
        return r;
    r = vfs_setattr(task_caller(t), &p, attr);
    path_put(&p);
    return r;
}

static int64_t set_by_fd(struct task *t, int fd, const struct iattr *attr)
{
    struct file *f = fd_get(t->files, fd);
    int r;

    if (!f)
        return -EBADF;
    r = vfs_setattr(task_caller(t), &f->path, attr);
    file_put(f);
    return r;
}

static struct iattr mode_attr(uint64_t mode)
{
    return (struct iattr){.valid = ATTR_MODE, .mode = (mode_t)(mode & 07777)};
}

int64_t sys_chmod(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = mode_attr(a->v[1]);

    return set_by_name(t, AT_FDCWD, arg_addr(a, 0), 0, &attr);
}

int64_t sys_fchmod(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = mode_attr(a->v[1]);

    return set_by_fd(t, arg_int(a, 0), &attr);
}

int64_t sys_fchmodat(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = mode_attr(a->v[2]);

    return set_by_name(t, arg_int(a, 0), arg_addr(a, 1), 0, &attr);
}

int64_t sys_fchmodat2(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = mode_attr(a->v[2]);

    if (arg_int(a, 3) & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    return set_by_name(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 3), &attr);
}

/* -1 leaves an id alone. */
static struct iattr owner_attr(uint64_t uid, uint64_t gid)
{
    struct iattr attr = {.uid = (uid_t)uid, .gid = (gid_t)gid};

    if (attr.uid != (uid_t)-1)
        attr.valid |= ATTR_UID;
    if (attr.gid != (gid_t)-1)
        attr.valid |= ATTR_GID;
    return attr;
}

int64_t sys_chown(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = owner_attr(a->v[1], a->v[2]);

    return set_by_name(t, AT_FDCWD, arg_addr(a, 0), 0, &attr);
}

int64_t sys_lchown(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = owner_attr(a->v[1], a->v[2]);

    return set_by_name(t, AT_FDCWD, arg_addr(a, 0), AT_SYMLINK_NOFOLLOW, &attr);
}

int64_t sys_fchown(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = owner_attr(a->v[1], a->v[2]);

    return set_by_fd(t, arg_int(a, 0), &attr);
}

int64_t sys_fchownat(struct task *t, const struct syscall_args *a)
{
    struct iattr attr = owner_attr(a->v[2], a->v[3]);

    if (arg_int(a, 4) & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    return set_by_name(t, arg_int(a, 0), arg_addr(a, 1), arg_int(a, 4), &attr);
}

/* One time of utimensat: UTIME_NOW, UTIME_OMIT or a valid timespec. */
static int add_time(struct iattr *attr, const struct timespec *ts, unsigned int set, unsigned int now, struct timespec *out)
{
    if (ts->tv_nsec == UTIME_OMIT)
        return 0;
    if (ts->tv_nsec == UTIME_NOW) {
        attr->valid |= set | now;
        return 0;
    }
    if (ts->tv_nsec < 0 || ts->tv_nsec > 999999999)
        return -EINVAL;
    attr->valid |= set;
    *out = *ts;
    return 0;
}

/* `times` NULL: both now. A NULL name with a descriptor means the descriptor's file. */
static int64_t do_utimes(struct task *t, int dirfd, guest_addr name, const struct timespec *times, int flags)
{
    struct iattr attr = {.valid = ATTR_ATIME | ATTR_MTIME | ATTR_ATIME_NOW | ATTR_MTIME_NOW};
    int r;

    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if (times) {
        if (times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT)
            return 0;
        attr.valid = 0;
        r = add_time(&attr, &times[0], ATTR_ATIME, ATTR_ATIME_NOW, &attr.atime);
        if (r == 0)
            r = add_time(&attr, &times[1], ATTR_MTIME, ATTR_MTIME_NOW, &attr.mtime);
        if (r)
            return r;
    }
    if (guest_is_null(name) && dirfd != AT_FDCWD)
        return flags ? -EINVAL : set_by_fd(t, dirfd, &attr);
    return set_by_name(t, dirfd, name, flags, &attr);
}

int64_t sys_utimensat(struct task *t, const struct syscall_args *a)
{
    struct timespec ts[2];
    bool given = !guest_is_null(arg_addr(a, 2));

    if (given && copy_in(t, ts, arg_addr(a, 2), sizeof(ts)))
        return -EFAULT;
    return do_utimes(t, arg_int(a, 0), arg_addr(a, 1), given ? ts : NULL, arg_int(a, 3));
}

static int64_t utimes_tv(struct task *t, int dirfd, guest_addr name, guest_addr times)
{
    struct timeval tv[2];
    struct timespec ts[2];

    if (guest_is_null(times))
        return do_utimes(t, dirfd, name, NULL, 0);
    if (copy_in(t, tv, times, sizeof(tv)))
        return -EFAULT;
    for (int i = 0; i < 2; i++) {
        if (tv[i].tv_usec < 0 || tv[i].tv_usec > 999999)
            return -EINVAL;
        ts[i] = (struct timespec){tv[i].tv_sec, tv[i].tv_usec * 1000};
    }
    return do_utimes(t, dirfd, name, ts, 0);
}

int64_t sys_utimes(struct task *t, const struct syscall_args *a)
{
    return utimes_tv(t, AT_FDCWD, arg_addr(a, 0), arg_addr(a, 1));
}

int64_t sys_futimesat(struct task *t, const struct syscall_args *a)
{
    return utimes_tv(t, arg_int(a, 0), arg_addr(a, 1), arg_addr(a, 2));
}

int64_t sys_utime(struct task *t, const struct syscall_args *a)
{
    struct utimbuf u;
    struct timespec ts[2] = {0};

    if (guest_is_null(arg_addr(a, 1)))
        return do_utimes(t, AT_FDCWD, arg_addr(a, 0), NULL, 0);
    if (copy_in(t, &u, arg_addr(a, 1), sizeof(u)))
        return -EFAULT;
    ts[0].tv_sec = u.actime;
    ts[1].tv_sec = u.modtime;
    return do_utimes(t, AT_FDCWD, arg_addr(a, 0), ts, 0);
}

static int64_t file_too_big(struct task *t, int64_t r)
{
    ksiginfo info;

    if (r == -EFBIG && t->caller.fsize_limit != UINT64_MAX) {
        siginfo_user(&info, SIGXFSZ, SI_USER, t);
        signal_send_task(t, &info);
    }
    return r;
}

int64_t sys_truncate(struct task *t, const struct syscall_args *a)
{
    struct path p;
    int64_t r;

    if (arg_long(a, 1) < 0)
        return -EINVAL;
    r = path_resolve(t, AT_FDCWD, arg_addr(a, 0), 0, &p);
    if (r)
        return r;
    r = vfs_truncate(task_caller(t), &p, arg_long(a, 1));
    path_put(&p);
    return file_too_big(t, r);
}

int64_t sys_ftruncate(struct task *t, const struct syscall_args *a)
{
    struct file *f;
    int64_t r;

    if (arg_long(a, 1) < 0)
        return -EINVAL;
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    r = vfs_ftruncate(task_caller(t), f, arg_long(a, 1));
    file_put(f);
    return file_too_big(t, r);
}
