/* Memory: mmap, brk, mprotect and their family. */
#include "sentry/kernel/pid.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/ptrace_access.h"
#include "sentry/mm/mm.h"
#include "sentry/syscalls/iov.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <sys/mman.h>

int64_t sys_mmap(struct task *t, const struct syscall_args *a)
{
    int prot = arg_int(a, 2), flags = arg_int(a, 3);
    struct mm_limits lim;
    struct file *f = NULL;
    int64_t r;

    if (a->v[5] & (GUEST_PAGE_SIZE - 1))
        return -EINVAL;
    if (!(flags & MAP_ANONYMOUS)) {
        f = fd_get(t->files, arg_int(a, 4));
        if (!f)
            return -EBADF;
    }
    task_mm_limits(t, &lim);
    r = mm_mmap(t->mm, &lim, a->v[0], a->v[1], prot, flags, f, a->v[5]);
    if (f)
        file_put(f);
    return r;
}

int64_t sys_munmap(struct task *t, const struct syscall_args *a)
{
    return mm_munmap(t->mm, a->v[0], a->v[1]);
}

int64_t sys_mprotect(struct task *t, const struct syscall_args *a)
{
    struct mm_limits lim;

    task_mm_limits(t, &lim);
    return mm_mprotect(t->mm, &lim, a->v[0], a->v[1], arg_int(a, 2));
}

int64_t sys_brk(struct task *t, const struct syscall_args *a)
{
    struct mm_limits lim;

    task_mm_limits(t, &lim);
    return mm_brk(t->mm, &lim, a->v[0]);
}

int64_t sys_mremap(struct task *t, const struct syscall_args *a)
{
    struct mm_limits lim;

    task_mm_limits(t, &lim);
    return mm_mremap(t->mm, &lim, a->v[0], a->v[1], a->v[2], arg_int(a, 3), a->v[4]);
}

int64_t sys_remap_file_pages(struct task *t, const struct syscall_args *a)
{
    struct mm_limits lim;

    task_mm_limits(t, &lim);
    return mm_remap_file_pages(t->mm, &lim, a->v[0], a->v[1], arg_int(a, 2), a->v[3], arg_int(a, 4));
}

int64_t sys_madvise(struct task *t, const struct syscall_args *a)
{
    return mm_madvise(t->mm, a->v[0], a->v[1], arg_int(a, 2));
}

int64_t sys_msync(struct task *t, const struct syscall_args *a)
{
    return mm_msync(t->mm, a->v[0], a->v[1], arg_int(a, 2));
}

int64_t sys_mincore(struct task *t, const struct syscall_args *a)
{
    return mm_mincore(t->mm, a->v[0], a->v[1], arg_addr(a, 2));
}

static int64_t lock(struct task *t, uint64_t addr, uint64_t len, int flags)
{
    struct mm_limits lim;

    task_mm_limits(t, &lim);
    return mm_mlock(t->mm, &lim, addr, len, flags);
}

int64_t sys_mlock(struct task *t, const struct syscall_args *a)
{
    return lock(t, a->v[0], a->v[1], 0);
}

int64_t sys_mlock2(struct task *t, const struct syscall_args *a)
{
    return lock(t, a->v[0], a->v[1], arg_int(a, 2));
}

int64_t sys_munlock(struct task *t, const struct syscall_args *a)
{
    return mm_munlock(t->mm, a->v[0], a->v[1]);
}

int64_t sys_mlockall(struct task *t, const struct syscall_args *a)
{
    struct mm_limits lim;

    task_mm_limits(t, &lim);
    return mm_mlockall(t->mm, &lim, arg_int(a, 0));
}

int64_t sys_munlockall(struct task *t, const struct syscall_args *a)
{
    return mm_munlockall(t->mm);
}

int64_t sys_mseal(struct task *t, const struct syscall_args *a)
{
    return mm_mseal(t->mm, a->v[0], a->v[1], a->v[2]);
}

/* Protection keys: as on a CPU without them, there are none to be had, and -1 means none. */
int64_t sys_pkey_alloc(struct task *t, const struct syscall_args *a)
{
    if (a->v[0] || (a->v[1] & ~3UL)) /* PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE */
        return -EINVAL;
    return -ENOSPC;
}

int64_t sys_pkey_free(struct task *t, const struct syscall_args *a)
{
    return -EINVAL;
}

int64_t sys_pkey_mprotect(struct task *t, const struct syscall_args *a)
{
    return arg_int(a, 3) == -1 ? sys_mprotect(t, a) : -EINVAL;
}

/* The address space behind a pidfd, if `t` may look into that process. */
static int mm_of_pidfd(struct task *t, int fd, struct mm **out)
{
    struct file *f = fd_get(t->files, fd);
    struct pid *pid = f ? pidfd_pid(f) : NULL;
    struct task *target = pid ? task_find(t->k, pid->nr) : NULL;
    int r = 0;

    if (!f || !pid)
        r = -EBADF;
    else if (!target)
        r = -ESRCH;
    else if (!ptrace_may_access(t, target, PTRACE_MODE_FSCREDS))
        r = -EPERM;
    else if (!(*out = task_get_mm(target)))
        r = -ESRCH;
    if (target)
        task_put(target);
    if (f)
        file_put(f);
    return r;
}

int64_t sys_process_madvise(struct task *t, const struct syscall_args *a)
{
    int advice = arg_int(a, 3);
    struct mm *mm = NULL;
    struct guest_iov v;
    int64_t done = 0, r;

    if (a->v[4])
        return -EINVAL;
    r = iov_fetch(t, arg_addr(a, 1), a->v[2], &v);
    if (r == 0)
        r = mm_of_pidfd(t, arg_int(a, 0), &mm);
    /* To others only advice that cannot change what they see. */
    if (r == 0 && mm != t->mm && advice != MADV_COLD && advice != MADV_PAGEOUT && advice != MADV_WILLNEED)
        r = -EINVAL;
    if (r == 0 && mm != t->mm && !cred_has_cap(t->cred, CAP_SYS_NICE))
        r = -EPERM;
    for (int i = 0; i < v.n && r == 0; i++) {
        r = mm_madvise(mm, (uint64_t)(uintptr_t)v.iov[i].iov_base, v.iov[i].iov_len, advice);
        if (r == 0)
            done += (int64_t)v.iov[i].iov_len;
    }
    if (mm)
        mm_put(mm);
    iov_fini(&v);
    return done ? done : r;
}
