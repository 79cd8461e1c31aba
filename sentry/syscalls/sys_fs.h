/* What the file system calls share: fetching path arguments and descriptors. */
#ifndef SENTRY_SYSCALLS_SYS_FS_H
#define SENTRY_SYSCALLS_SYS_FS_H

#include "sentry/syscalls/syscalls.h"
#include "vfs/namei.h"

#include <fcntl.h>
#include <limits.h>

/* A (dirfd, path) pair of arguments, fetched. */
struct path_arg {
    struct path base;       /* referenced; empty when the caller's cwd, or an absolute name, decides */
    const struct path *dir; /* what the VFS takes: &base or NULL */
    char name[PATH_MAX];
};

/* 0, -EFAULT, -ENAMETOOLONG, -EBADF. Afterwards path_arg_put(). */
int must_check path_arg_get(struct path_arg *p, struct task *t, int dirfd, guest_addr name);
void path_arg_put(struct path_arg *p);

/* For calls that act on what a path names: fetched and resolved. `at_flags`: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW are heeded. */
int must_check path_resolve(struct task *t, int dirfd, guest_addr name, int at_flags, struct path *out);

/* Installs `f` with the caller's descriptor limit and drops the caller's reference, in any case. */
int64_t fd_return(struct task *t, struct file *f, bool cloexec);

#endif
