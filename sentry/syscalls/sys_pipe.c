/* pipe, pipe2, eventfd, eventfd2. */
#include "sentry/syscalls/syscalls.h"
#include "vfs/eventfd.h"
#include "vfs/file.h"
#include "vfs/pipe.h"

#include <fcntl.h>
#include <sys/eventfd.h>

/* Gives both files descriptors and tells the guest, or neither. */
static int64_t install_pair(struct task *t, struct file *f[2], bool cloexec, guest_addr at)
{
    uint64_t limit = task_rlimit(t, RLIMIT_NOFILE);
    int fd[2];
    int err;

    fd[0] = fd_install(t->files, f[0], 0, cloexec, limit);
    if (fd[0] < 0)
        return fd[0];
    fd[1] = fd_install(t->files, f[1], 0, cloexec, limit);
    err = fd[1] < 0 ? fd[1] : copy_out(t, at, fd, sizeof(fd));
    if (err) {
        fd_close(t->files, task_caller(t), fd[0]);
        if (fd[1] >= 0)
            fd_close(t->files, task_caller(t), fd[1]);
    }
    return err;
}

static int64_t do_pipe(struct task *t, guest_addr at, int flags)
{
    struct file *f[2];
    int64_t r;

    if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
        return -EINVAL;
    r = pipe_create(task_caller(t), flags & (O_NONBLOCK | O_DIRECT), f);
    if (r)
        return r;
    r = install_pair(t, f, flags & O_CLOEXEC, at);
    file_put(f[0]);
    file_put(f[1]);
    return r;
}

int64_t sys_pipe(struct task *t, const struct syscall_args *a)
{
    return do_pipe(t, arg_addr(a, 0), 0);
}

int64_t sys_pipe2(struct task *t, const struct syscall_args *a)
{
    return do_pipe(t, arg_addr(a, 0), arg_int(a, 1));
}

static int64_t do_eventfd(struct task *t, unsigned int count, int flags)
{
    struct file *f;
    int r;

    if (flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE))
        return -EINVAL;
    r = eventfd_create(count, flags & EFD_SEMAPHORE, flags & EFD_NONBLOCK, &f);
    if (r)
        return r;
    r = fd_install(t->files, f, 0, flags & EFD_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return r;
}

int64_t sys_eventfd(struct task *t, const struct syscall_args *a)
{
    return do_eventfd(t, arg_uint(a, 0), 0);
}

int64_t sys_eventfd2(struct task *t, const struct syscall_args *a)
{
    return do_eventfd(t, arg_uint(a, 0), arg_int(a, 1));
}
