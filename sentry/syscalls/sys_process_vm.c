/* process_vm_readv, process_vm_writev and kcmp: looking into another process. */
#include "sentry/kernel/ptrace_access.h"
#include "sentry/mm/mm.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <limits.h>
#include <linux/kcmp.h>
#include <stdlib.h>

/* A cursor over guest ranges. */
struct vm_cursor {
    const struct iovec *iov;
    size_t nr;
    size_t off; /* in iov[0] */
};

static void cursor_skip_empty(struct vm_cursor *c)
{
    while (c->nr && c->off == c->iov->iov_len) {
        c->iov++;
        c->nr--;
        c->off = 0;
    }
}

static guest_addr cursor_addr(const struct vm_cursor *c)
{
    return guest_addr_of((uint64_t)(uintptr_t)c->iov->iov_base + c->off);
}

/* At most to the end of the page, so that what is reported as copied is exact. */
static size_t cursor_room(const struct vm_cursor *c, size_t max)
{
    size_t left = c->iov->iov_len - c->off, page = GUEST_PAGE_SIZE - (cursor_addr(c).a & ~GUEST_PAGE_MASK);

    left = left < page ? left : page;
    return left < max ? left : max;
}

static int64_t process_vm_copy(struct mm *dst_mm, struct vm_cursor *dst, struct mm *src_mm, struct vm_cursor *src)
{
    char buf[GUEST_PAGE_SIZE];
    int64_t done = 0;

    for (;;) {
        size_t n;
        int err;

        cursor_skip_empty(dst);
        cursor_skip_empty(src);
        if (!dst->nr || !src->nr)
            return done;
        n = cursor_room(src, cursor_room(dst, sizeof(buf)));
        err = mm_copy_in(src_mm, buf, cursor_addr(src), n);
        if (!err)
            err = mm_copy_out(dst_mm, cursor_addr(dst), buf, n);
        if (err)
            return done ? done : err;
        dst->off += n;
        src->off += n;
        done += (int64_t)n;
    }
}

/* Fetches an iovec array: *out is to be freed. */
static int iovec_in(struct task *t, guest_addr at, uint64_t nr, struct iovec **out)
{
    struct iovec *iov;
    int64_t total = 0;
    int err;

    *out = NULL;
    if (nr > IOV_MAX)
        return -EINVAL;
    if (!nr)
        return 0;
    iov = malloc(nr * sizeof(*iov));
    if (!iov)
        return -ENOMEM;
    *out = iov;
    err = copy_in(t, iov, at, nr * sizeof(*iov));
    for (uint64_t i = 0; !err && i < nr; i++)
        if ((int64_t)iov[i].iov_len < 0 || __builtin_add_overflow(total, (int64_t)iov[i].iov_len, &total))
            err = -EINVAL;
    return err;
}

static int64_t process_vm_rw(struct task *t, const struct syscall_args *a, bool write)
{
    struct vm_cursor local = {.nr = a->v[2]}, remote = {.nr = a->v[4]};
    struct iovec *local_iov, *remote_iov = NULL;
    struct task *target = NULL;
    struct mm *mm = NULL;
    int64_t ret;

    if (a->v[5])
        return -EINVAL;
    ret = iovec_in(t, arg_addr(a, 1), local.nr, &local_iov);
    if (!ret)
        ret = iovec_in(t, arg_addr(a, 3), remote.nr, &remote_iov);
    if (ret)
        goto out;
    target = task_find(t->k, arg_int(a, 0));
    ret = -ESRCH;
    if (!target)
        goto out;
    ret = -EPERM;
    if (!ptrace_may_access(t, target, PTRACE_MODE_REALCREDS))
        goto out;
    mm = task_get_mm(target);
    ret = -ESRCH;
    if (!mm)
        goto out;
    local.iov = local_iov;
    remote.iov = remote_iov;
    ret = write ? process_vm_copy(mm, &remote, t->mm, &local) : process_vm_copy(t->mm, &local, mm, &remote);
out:
    if (mm)
        mm_put(mm);
    if (target)
        task_put(target);
    free(local_iov);
    free(remote_iov);
    return ret;
}

int64_t sys_process_vm_readv(struct task *t, const struct syscall_args *a)
{
    return process_vm_rw(t, a, false);
}

int64_t sys_process_vm_writev(struct task *t, const struct syscall_args *a)
{
    return process_vm_rw(t, a, true);
}

/* 0: the same; 1, 2: an order that is stable but tells nothing about our addresses. */
static int64_t kcmp_order(const struct kernel *k, const void *a, const void *b)
{
    const uint64_t cookie = (uint64_t)k->boot_monotonic_ns * 0x9e3779b97f4a7c15ULL;
    uint64_t x = ((uint64_t)(uintptr_t)a ^ cookie) * (cookie | 1), y = ((uint64_t)(uintptr_t)b ^ cookie) * (cookie | 1);

    return x == y ? 0 : x < y ? 1 : 2;
}

static int64_t kcmp_files(struct task *t, struct task *t1, struct task *t2, int fd1, int fd2)
{
    struct fdtable *ft1 = task_get_files(t1), *ft2 = task_get_files(t2);
    struct file *f1 = ft1 ? fd_get_raw(ft1, fd1) : NULL, *f2 = ft2 ? fd_get_raw(ft2, fd2) : NULL;
    int64_t ret = f1 && f2 ? kcmp_order(t->k, f1, f2) : -EBADF;

    if (f1)
        file_put(f1);
    if (f2)
        file_put(f2);
    if (ft1)
        fdtable_put(ft1, task_caller(t));
    if (ft2)
        fdtable_put(ft2, task_caller(t));
    return ret;
}

/* The object of `type` that a task uses; only compared. */
static const void *kcmp_object(struct task *t, int type)
{
    const void *p = NULL;

    mutex_lock(&t->tg->siglock);
    switch (type) {
    case KCMP_VM:
        p = t->mm;
        break;
    case KCMP_FILES:
        p = t->files;
        break;
    case KCMP_FS:
        p = t->fs;
        break;
    case KCMP_SIGHAND:
        p = t->tg->sighand;
        break;
    case KCMP_SYSVSEM:
        p = t->sem_undo;
        break;
    default: /* KCMP_IO: nobody has an I/O context */
        break;
    }
    mutex_unlock(&t->tg->siglock);
    return p;
}

static int64_t kcmp_tasks(struct task *t, struct task *t1, struct task *t2, const struct syscall_args *a)
{
    int type = arg_int(a, 2);

    if (!ptrace_may_access(t, t1, PTRACE_MODE_REALCREDS) || !ptrace_may_access(t, t2, PTRACE_MODE_REALCREDS))
        return -EPERM;
    if (type == KCMP_FILE)
        return kcmp_files(t, t1, t2, arg_int(a, 3), arg_int(a, 4));
    if (type < 0 || type > KCMP_SYSVSEM)
        return -EINVAL;
    return kcmp_order(t->k, kcmp_object(t1, type), kcmp_object(t2, type));
}

int64_t sys_kcmp(struct task *t, const struct syscall_args *a)
{
    struct task *t1 = task_find(t->k, arg_int(a, 0)), *t2 = task_find(t->k, arg_int(a, 1));
    int64_t ret = t1 && t2 ? kcmp_tasks(t, t1, t2, a) : -ESRCH;

    if (t1)
        task_put(t1);
    if (t2)
        task_put(t2);
    return ret;
}
