/* inotify: the calls; events are made in vfs/inotify.c. */
#include "sentry/syscalls/sys_fs.h"
#include "vfs/inotify.h"

#include <sys/inotify.h>

static int64_t do_init(struct task *t, int flags)
{
    struct file *f;
    int r;

    if (flags & ~(IN_CLOEXEC | IN_NONBLOCK))
        return -EINVAL;
    r = inotify_create(flags & IN_NONBLOCK, t->cred->uid, &f);
    return r ? r : fd_return(t, f, flags & IN_CLOEXEC);
}

int64_t sys_inotify_init(struct task *t, const struct syscall_args *a)
{
    return do_init(t, 0);
}

int64_t sys_inotify_init1(struct task *t, const struct syscall_args *a)
{
    return do_init(t, arg_int(a, 0));
}

static int64_t add_watch(struct task *t, struct file *f, guest_addr name, uint32_t mask)
{
    struct path_arg arg;
    struct path p;
    int r = path_arg_get(&arg, t, AT_FDCWD, name);

    if (r)
        return r;
    r = vfs_lookup(task_caller(t), arg.dir, arg.name,
                   (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) | (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0), 0, &p);
    path_arg_put(&arg);
    if (r)
        return r;
    r = inode_permission(p.dentry->inode, t->cred, MAY_READ);
    if (r == 0)
        r = inotify_add_watch_path(f, p.dentry->inode, mask);
    path_put(&p);
    return r;
}

int64_t sys_inotify_add_watch(struct task *t, const struct syscall_args *a)
{
    uint32_t mask = arg_uint(a, 2);
    struct file *f;
    int64_t r;

    if (!(mask & (IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED)))
        return -EINVAL;
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    if (((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE)) || !file_is_inotify(f))
        r = -EINVAL;
    else
        r = add_watch(t, f, arg_addr(a, 1), mask);
    file_put(f);
    return r;
}

int64_t sys_inotify_rm_watch(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int64_t r;

    if (!f)
        return -EBADF;
    r = file_is_inotify(f) ? inotify_rm_watch_wd(f, arg_int(a, 1)) : -EINVAL;
    file_put(f);
    return r;
}
