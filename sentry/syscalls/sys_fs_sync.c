/* Making data durable, and telling what will be needed: the sync family, fallocate, fadvise, readahead. */
#include "sentry/syscalls/sys_fs.h"

static int64_t do_fsync(struct task *t, const struct syscall_args *a, bool datasync)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r;

    if (!f)
        return -EBADF;
    r = vfs_fsync(f, datasync);
    file_put(f);
    return r;
}

int64_t sys_fsync(struct task *t, const struct syscall_args *a)
{
    return do_fsync(t, a, false);
}

int64_t sys_fdatasync(struct task *t, const struct syscall_args *a)
{
    return do_fsync(t, a, true);
}

static int sync_mount(void *arg, struct mount *m)
{
    if (m->sb->ops->sync_fs)
        m->sb->ops->sync_fs(m->sb);
    return 0;
}

int64_t sys_sync(struct task *t, const struct syscall_args *a)
{
    mnt_namespace_for_each(t->k->mnt_ns, sync_mount, NULL);
    return 0;
}

int64_t sys_syncfs(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r = 0;

    if (!f)
        return -EBADF;
    if (f->inode->sb->ops->sync_fs)
        r = f->inode->sb->ops->sync_fs(f->inode->sb);
    file_put(f);
    return r;
}

int64_t sys_sync_file_range(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t off = arg_long(a, 1), n = arg_long(a, 2), r;

    if (!f)
        return -EBADF;
    if ((arg_uint(a, 3) & ~(unsigned int)(SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)) ||
        off < 0 || n < 0 || off > INT64_MAX - n)
        r = -EINVAL;
    else if (!S_ISREG(f->inode->mode) && !S_ISBLK(f->inode->mode) && !S_ISDIR(f->inode->mode))
        r = -ESPIPE;
    else
        r = arg_uint(a, 3) & SYNC_FILE_RANGE_WAIT_AFTER ? vfs_fsync(f, true) : 0;
    file_put(f);
    return r;
}

int64_t sys_fallocate(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r;

    if (!f)
        return -EBADF;
    r = vfs_fallocate(f, task_caller(t), arg_int(a, 1), arg_long(a, 2), arg_long(a, 3));
    file_put(f);
    if (r == -EFBIG && t->caller.fsize_limit != UINT64_MAX) {
        ksiginfo info;

        siginfo_user(&info, SIGXFSZ, SI_USER, t);
        signal_send_task(t, &info);
    }
    return r;
}

/* Advice may be ignored, but is checked. */
int64_t sys_fadvise64(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r = 0;

    if (!f)
        return -EBADF;
    if (S_ISFIFO(f->inode->mode))
        r = -ESPIPE;
    else if (arg_long(a, 2) < 0 || arg_int(a, 3) < POSIX_FADV_NORMAL || arg_int(a, 3) > POSIX_FADV_NOREUSE)
        r = -EINVAL;
    file_put(f);
    return r;
}

int64_t sys_readahead(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r = 0;

    if (!f)
        return -EBADF;
    if (!(f->mode & FMODE_READ))
        r = -EBADF;
    else if (!S_ISREG(f->inode->mode) && !S_ISBLK(f->inode->mode))
        r = -EINVAL;
    file_put(f);
    return r;
}
