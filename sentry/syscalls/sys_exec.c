/* execve, execveat. */
#include "sentry/kernel/exec.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"
#include "vfs/namei.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* Resolves (dfd, name) to an opened program. */
static int open_program(struct task *t, int dfd, const char *name, int flags, struct file **out)
{
    unsigned int lookup = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
    struct file *dir = NULL;
    struct path p;
    int r;

    if (name[0] != '/' && dfd != AT_FDCWD) {
        dir = fd_get_raw(t->files, dfd);
        if (!dir)
            return -EBADF;
    }
    r = vfs_lookup(&t->caller, dir ? &dir->path : NULL, name, lookup, 0, &p);
    if (!r) {
        r = vfs_open_exec(&t->caller, &p, out);
        path_put(&p);
    }
    if (dir)
        file_put(dir);
    return r;
}

/* The name that the program sees: an execveat(2) by descriptor has none of its own. */
static void shown_name(char *buf, size_t len, int dfd, const char *name)
{
    if (name[0] == '/' || dfd == AT_FDCWD)
        snprintf(buf, len, "%s", name);
    else if (!name[0])
        snprintf(buf, len, "/dev/fd/%d", dfd);
    else
        snprintf(buf, len, "/dev/fd/%d/%s", dfd, name);
}

static int64_t do_exec(struct task *t, int dfd, guest_addr name_at, guest_addr argv_at, guest_addr envp_at, int flags)
{
    struct string_block argv = {0}, envp = {0};
    char *name = malloc(PATH_MAX), *shown = malloc(PATH_MAX + 32);
    struct file *file = NULL;
    ssize_t n;
    int64_t r = -ENOMEM;

    if (!name || !shown)
        goto out;
    n = copy_str_in(t, name, name_at, PATH_MAX);
    r = n;
    if (n < 0)
        goto out;
    r = -ENOENT;
    if (n == 0 && !(flags & AT_EMPTY_PATH))
        goto out;
    r = open_program(t, dfd, name, flags, &file);
    if (r)
        goto out;
    shown_name(shown, PATH_MAX + 32, dfd, name);
    r = exec_copy_strings(t, argv_at, envp_at, &argv, &envp);
    if (!r)
        r = task_exec(t, file, shown, &argv, &envp);
out:
    if (file)
        file_put(file);
    string_block_fini(&argv);
    string_block_fini(&envp);
    free(name);
    free(shown);
    return r;
}

int64_t sys_execve(struct task *t, const struct syscall_args *a)
{
    return do_exec(t, AT_FDCWD, arg_addr(a, 0), arg_addr(a, 1), arg_addr(a, 2), 0);
}

int64_t sys_execveat(struct task *t, const struct syscall_args *a)
{
    int flags = arg_int(a, 4);

    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    return do_exec(t, arg_int(a, 0), arg_addr(a, 1), arg_addr(a, 2), arg_addr(a, 3), flags);
}
