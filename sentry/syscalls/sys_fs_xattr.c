/* Extended attributes: twelve calls that differ in how they name the file. */
#include "sentry/syscalls/sys_fs.h"
#include "vfs/xattr.h"

#include <stdlib.h>
#include <sys/xattr.h>

#define XATTR_NAME_LEN   255
#define XATTR_SIZE_LIMIT 65536

enum by { BY_PATH, BY_LINK, BY_FD };

/* The file of argument 0. */
static int get_path(struct task *t, const struct syscall_args *a, enum by by, struct path *p)
{
    struct file *f;

    if (by != BY_FD)
        return path_resolve(t, AT_FDCWD, arg_addr(a, 0), by == BY_LINK ? AT_SYMLINK_NOFOLLOW : 0, p);
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    *p = f->path;
    path_get(p);
    file_put(f);
    return 0;
}

static int get_name(struct task *t, const struct syscall_args *a, char name[XATTR_NAME_LEN + 1])
{
    ssize_t n = copy_str_in(t, name, arg_addr(a, 1), XATTR_NAME_LEN + 1);

    if (n == -ENAMETOOLONG || n == 0)
        return -ERANGE;
    return n < 0 ? (int)n : 0;
}

static int64_t do_set(struct task *t, const struct syscall_args *a, enum by by)
{
    char name[XATTR_NAME_LEN + 1];
    size_t size = arg_size(a, 3);
    void *value;
    struct path p;
    int r;

    if (arg_int(a, 4) & ~(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    r = get_name(t, a, name);
    if (r)
        return r;
    if (size > XATTR_SIZE_LIMIT)
        return -E2BIG;
    value = malloc(size + 1);
    if (!value)
        return -ENOMEM;
    r = size && copy_in(t, value, arg_addr(a, 2), size) ? -EFAULT : get_path(t, a, by, &p);
    if (r == 0) {
        r = vfs_setxattr(task_caller(t), &p, name, value, size, arg_int(a, 4));
        path_put(&p);
    }
    free(value);
    return r;
}

/* get and list: fills a buffer of the guest's size and copies what came. `name` NULL: list. */
static int64_t do_read(struct task *t, const struct syscall_args *a, enum by by, const char *name, guest_addr out, size_t size)
{
    void *buf = NULL;
    struct path p;
    int64_t r = get_path(t, a, by, &p);

    if (r)
        return r;
    if (size > XATTR_SIZE_LIMIT)
        size = XATTR_SIZE_LIMIT;
    if (size && !(buf = malloc(size)))
        r = -ENOMEM;
    else
        r = name ? vfs_getxattr(task_caller(t), &p, name, buf, size) : vfs_listxattr(task_caller(t), &p, buf, size);
    if (r > 0 && size && copy_out(t, out, buf, (size_t)r))
        r = -EFAULT;
    path_put(&p);
    free(buf);
    return r;
}

static int64_t do_get(struct task *t, const struct syscall_args *a, enum by by)
{
    char name[XATTR_NAME_LEN + 1];
    int r = get_name(t, a, name);

    return r ? r : do_read(t, a, by, name, arg_addr(a, 2), arg_size(a, 3));
}

static int64_t do_list(struct task *t, const struct syscall_args *a, enum by by)
{
    return do_read(t, a, by, NULL, arg_addr(a, 1), arg_size(a, 2));
}

static int64_t do_remove(struct task *t, const struct syscall_args *a, enum by by)
{
    char name[XATTR_NAME_LEN + 1];
    struct path p;
    int r = get_name(t, a, name);

    if (r == 0)
        r = get_path(t, a, by, &p);
    if (r)
        return r;
    r = vfs_removexattr(task_caller(t), &p, name);
    path_put(&p);
    return r;
}

#define XATTR_CALL(name, fn, by)                                     \
    int64_t sys_##name(struct task *t, const struct syscall_args *a) \
    {                                                                \
        return fn(t, a, by);                                         \
    }
XATTR_CALL(setxattr, do_set, BY_PATH)
XATTR_CALL(lsetxattr, do_set, BY_LINK)
XATTR_CALL(fsetxattr, do_set, BY_FD)
XATTR_CALL(getxattr, do_get, BY_PATH)
XATTR_CALL(lgetxattr, do_get, BY_LINK)
XATTR_CALL(fgetxattr, do_get, BY_FD)
XATTR_CALL(listxattr, do_list, BY_PATH)
XATTR_CALL(llistxattr, do_list, BY_LINK)
XATTR_CALL(flistxattr, do_list, BY_FD)
XATTR_CALL(removexattr, do_remove, BY_PATH)
XATTR_CALL(lremovexattr, do_remove, BY_LINK)
XATTR_CALL(fremovexattr, do_remove, BY_FD)
