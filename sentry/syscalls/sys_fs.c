#include "sentry/syscalls/sys_fs.h"

int path_arg_get(struct path_arg *p, struct task *t, int dirfd, guest_addr name)
{
    ssize_t n = copy_str_in(t, p->name, name, sizeof(p->name));
    struct file *f;

    p->base = (struct path){0};
    p->dir = NULL;
    if (n < 0)
        return (int)n;
    if (dirfd == AT_FDCWD || p->name[0] == '/')
        return 0;
    f = fd_get_raw(t->files, dirfd);
    if (!f)
        return -EBADF;
    p->base = f->path;
    path_get(&p->base);
    p->dir = &p->base;
    file_put(f);
    return 0;
}

void path_arg_put(struct path_arg *p)
{
    if (p->dir)
        path_put(&p->base);
}

int path_resolve(struct task *t, int dirfd, guest_addr name, int at_flags, struct path *out)
{
    unsigned int flags = (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (at_flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    struct path_arg p;
    int r = path_arg_get(&p, t, dirfd, name);

    if (r)
        return r;
    r = vfs_lookup(task_caller(t), p.dir, p.name, flags, 0, out);
    path_arg_put(&p);
    return r;
}

int64_t fd_return(struct task *t, struct file *f, bool cloexec)
{
    int fd = fd_install(t->files, f, 0, cloexec, task_rlimit(t, RLIMIT_NOFILE));

    file_put(f);
    return fd;
}
