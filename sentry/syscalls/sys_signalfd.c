/* signalfd, signalfd4. */
#include "sentry/kernel/signalfd.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <sys/signalfd.h>

static int64_t do_signalfd(struct task *t, const struct syscall_args *a, int flags)
{
    int fd = arg_int(a, 0), r;
    struct file *f;
    ksigset mask;

    if (arg_size(a, 2) != sizeof(mask))
        return -EINVAL;
    if (copy_in(t, &mask, arg_addr(a, 1), sizeof(mask)))
        return -EFAULT;
    if (flags & ~(SFD_CLOEXEC | SFD_NONBLOCK))
        return -EINVAL;
    if (fd != -1) {
        f = fd_get(t->files, fd);
        if (!f)
            return -EBADF;
        r = signalfd_update(f, mask);
        file_put(f);
        return r ? r : fd;
    }
    r = signalfd_create(t, mask, flags & SFD_NONBLOCK, &f);
    if (r)
        return r;
    r = fd_install(t->files, f, 0, flags & SFD_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return r;
}

int64_t sys_signalfd(struct task *t, const struct syscall_args *a)
{
    return do_signalfd(t, a, 0);
}

int64_t sys_signalfd4(struct task *t, const struct syscall_args *a)
{
    return do_signalfd(t, a, arg_int(a, 3));
}
