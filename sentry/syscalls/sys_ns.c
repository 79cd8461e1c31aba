/*
 * unshare and setns. A process may get its own descriptor table, directories, semaphore adjustments and mount namespace; other
 * namespaces are answered as by a kernel that was built without them.
 */
#include "sentry/fs/fs.h"
#include "sentry/kernel/ipc.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"
#include "vfs/fs_struct.h"

#include <linux/sched.h>

#define CLONE_NEWTIME_ 0x80UL
#define OTHER_NAMESPACES \
    (CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME_)
#define UNSHARE_FLAGS \
    (CLONE_THREAD | CLONE_FS | CLONE_NEWNS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_SYSVSEM | OTHER_NAMESPACES)

static bool is_alone(struct task *t)
{
    bool alone;

    mutex_lock(&t->tg->siglock);
    alone = t->tg->nr_live == 1;
    mutex_unlock(&t->tg->siglock);
    return alone;
}

static int64_t unshare_files(struct task *t)
{
    struct fdtable *own, *old = t->files;
    int r;

    if (!fdtable_is_shared(old))
        return 0;
    r = fdtable_dup(old, &own);
    if (r)
        return r;
    mutex_lock(&t->tg->siglock);
    t->files = own;
    mutex_unlock(&t->tg->siglock);
    fdtable_put(old, &t->caller);
    return 0;
}

static int64_t unshare_fs(struct task *t, bool new_mounts)
{
    struct fs_struct *own = fs_struct_dup(t->fs), *old = t->fs;
    int r = own ? 0 : -ENOMEM;

    if (!r && new_mounts)
        r = fs_unshare_mnt_ns(own);
    if (r) {
        if (own)
            fs_struct_put(own);
        return r;
    }
    mutex_lock(&t->tg->siglock);
    t->fs = own;
    mutex_unlock(&t->tg->siglock);
    t->caller.fs = own;
    fs_struct_put(old);
    return 0;
}

int64_t sys_unshare(struct task *t, const struct syscall_args *a)
{
    uint64_t flags = a->v[0];
    int64_t r = 0;

    if (flags & ~(uint64_t)UNSHARE_FLAGS)
        return -EINVAL;
    if (flags & CLONE_NEWUSER)
        flags |= CLONE_THREAD | CLONE_FS;
    if (flags & CLONE_VM)
        flags |= CLONE_SIGHAND;
    if (flags & CLONE_SIGHAND)
        flags |= CLONE_THREAD;
    if (flags & CLONE_NEWNS)
        flags |= CLONE_FS;
    if ((flags & CLONE_THREAD) && !is_alone(t))
        return -EINVAL;
    if ((flags & (CLONE_SIGHAND | CLONE_VM)) && ref_read(&t->tg->sighand->ref) > 1)
        return -EINVAL;
    if ((flags & (OTHER_NAMESPACES | CLONE_NEWNS)) && !cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (flags & OTHER_NAMESPACES)
        return -EINVAL;
    if (flags & CLONE_FS)
        r = unshare_fs(t, flags & CLONE_NEWNS);
    if (!r && (flags & CLONE_FILES))
        r = unshare_files(t);
    if (!r && (flags & CLONE_SYSVSEM))
        sem_undo_exit(t);
    return r;
}

int64_t sys_setns(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    int wanted = arg_int(a, 1);
    int type;
    bool pidfd;

    if (!f)
        return -EBADF;
    type = nsfs_file_type(f);
    pidfd = pidfd_pid(f) != NULL;
    file_put(f);
    if (pidfd ? !wanted || (wanted & ~(int)(OTHER_NAMESPACES | CLONE_NEWNS)) : !type || (wanted && wanted != type))
        return -EINVAL;
    if (!cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    /* Everybody is in the one namespace of each kind but the mounts', and those cannot be entered from outside. */
    return pidfd || type == CLONE_NEWNS || type == CLONE_NEWUSER ? -EINVAL : 0;
}
