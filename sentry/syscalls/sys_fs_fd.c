/* Descriptors: dup and its kin, fcntl, flock, ioctl. */
#include "sentry/syscalls/fasync.h"
#include "sentry/syscalls/sys_fs.h"
#include "vfs/locks.h"
#include "vfs/pipe.h"
#include "vfs/tmpfs/tmpfs.h"

#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027
#endif
#ifndef F_CREATED_QUERY
#define F_CREATED_QUERY 1028
#endif
/* As the ABI has it; glibc defines it as 0 on 64 bits. */
#define ABI_O_LARGEFILE 0100000
#ifndef LOCK_MAND
#define LOCK_MAND 32
#endif
/* What F_SETFL may change. */
#define SETFL_MASK (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)

int64_t sys_dup(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get_raw(t->files, arg_int(a, 0));

    return f ? fd_return(t, f, false) : -EBADF;
}

static int64_t dup_to(struct task *t, int from, int to, bool cloexec)
{
    struct file *f = fd_get_raw(t->files, from);
    int64_t r;

    if (!f)
        return -EBADF;
    r = fd_replace(t->files, task_caller(t), f, to, cloexec, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return r;
}

int64_t sys_dup2(struct task *t, const struct syscall_args *a)
{
    struct file *f;

    if (arg_int(a, 0) != arg_int(a, 1))
        return dup_to(t, arg_int(a, 0), arg_int(a, 1), false);
    f = fd_get_raw(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    file_put(f);
    return arg_int(a, 1);
}

int64_t sys_dup3(struct task *t, const struct syscall_args *a)
{
    if ((arg_int(a, 2) & ~O_CLOEXEC) || arg_int(a, 0) == arg_int(a, 1))
        return -EINVAL;
    return dup_to(t, arg_int(a, 0), arg_int(a, 1), arg_int(a, 2) & O_CLOEXEC);
}

/* One fcntl command on an open file. */
typedef int64_t fcntl_fn(struct task *t, struct file *f, int fd, uint64_t arg);

static int64_t do_dupfd(struct task *t, struct file *f, uint64_t arg, bool cloexec)
{
    if (arg > INT_MAX)
        return -EINVAL;
    return fd_install(t->files, f, (int)arg, cloexec, task_rlimit(t, RLIMIT_NOFILE));
}

static int64_t fcntl_dupfd(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_dupfd(t, f, arg, false);
}

static int64_t fcntl_dupfd_cloexec(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_dupfd(t, f, arg, true);
}

static int64_t fcntl_dupfd_query(struct task *t, struct file *f, int fd, uint64_t arg)
{
    struct file *other = fd_get_raw(t->files, (int)arg);
    bool same = other == f;

    if (!other)
        return -EBADF;
    file_put(other);
    return same;
}

static int64_t fcntl_created_query(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return f->created;
}

static int64_t fcntl_getfd(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return fd_get_cloexec(t->files, fd);
}

static int64_t fcntl_setfd(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return fd_set_cloexec(t->files, fd, arg & FD_CLOEXEC);
}

static int64_t fcntl_getfl(struct task *t, struct file *f, int fd, uint64_t arg)
{
    int flags = atomic_load(&f->flags);

    return flags & O_PATH ? flags : flags | ABI_O_LARGEFILE;
}

static int set_flags(struct task *t, struct file *f, int fd, int flags)
{
    int old = atomic_load(&f->flags), wanted = (old & ~SETFL_MASK) | (flags & SETFL_MASK);
    int r = f->ops->set_flags ? f->ops->set_flags(f, wanted) : 0;

    if (r == 0 && (wanted ^ old) & O_ASYNC)
        r = fasync_set(t, f, fd, wanted & O_ASYNC);
    if (r)
        return r;
    while (!atomic_compare_exchange_weak(&f->flags, &old, (old & ~SETFL_MASK) | (flags & SETFL_MASK)))
        ;
    return 0;
}

static int64_t fcntl_setfl(struct task *t, struct file *f, int fd, uint64_t arg)
{
    if ((arg & O_NOATIME) && !(atomic_load(&f->flags) & O_NOATIME) && t->cred->fsuid != f->inode->uid &&
        !cred_has_cap(t->cred, CAP_FOWNER))
        return -EPERM;
    return set_flags(t, f, fd, (int)arg);
}

/* Turns the guest's struct flock, relative to `whence`, into a range. */
static int get_lock(struct task *t, struct file *f, guest_addr at, struct flock *fl, struct lock_request *req)
{
    int64_t base;

    if (copy_in(t, fl, at, sizeof(*fl)))
        return -EFAULT;
    switch (fl->l_whence) {
    case SEEK_SET:
        base = 0;
        break;
    case SEEK_CUR:
        mutex_lock(&f->pos_lock);
        base = f->pos;
        mutex_unlock(&f->pos_lock);
        break;
    case SEEK_END:
        base = atomic_load(&f->inode->size);
        break;
    default:
        return -EINVAL;
    }
    if (fl->l_type != F_RDLCK && fl->l_type != F_WRLCK && fl->l_type != F_UNLCK)
        return -EINVAL;
    if (fl->l_start > INT64_MAX - base)
        return -EOVERFLOW;
    req->start = base + fl->l_start;
    if (req->start < 0)
        return -EINVAL;
    if (fl->l_len > 0) {
        if (fl->l_len - 1 > INT64_MAX - req->start)
            return -EOVERFLOW;
        req->end = req->start + fl->l_len - 1;
    } else if (fl->l_len < 0) {
        /* The bytes before the start. */
        if (fl->l_len < -req->start)
            return -EINVAL;
        req->end = req->start - 1;
        req->start += fl->l_len;
    } else {
        req->end = INT64_MAX;
    }
    req->type = fl->l_type;
    return 0;
}

static int64_t do_getlk(struct task *t, struct file *f, uint64_t arg, enum lock_kind kind)
{
    struct lock_request req = {.kind = kind, .tgid = kind == LOCK_KIND_OFD ? -1 : t->tg->tgid};
    struct flock fl;
    int r = get_lock(t, f, guest_addr_of(arg), &fl, &req);

    if (r)
        return r;
    if (fl.l_type == F_UNLCK || (kind == LOCK_KIND_OFD && fl.l_pid != 0))
        return -EINVAL;
    locks_test(f, &req);
    fl.l_type = (short)req.type;
    if (req.type != F_UNLCK) {
        fl.l_whence = SEEK_SET;
        fl.l_start = req.start;
        fl.l_len = req.end == INT64_MAX ? 0 : req.end - req.start + 1;
        fl.l_pid = req.tgid;
    }
    return copy_out(t, guest_addr_of(arg), &fl, sizeof(fl));
}

/* Waits for a lock that others hold. */
static int64_t wait_for_lock(struct task *t, struct file *f, const struct lock_request *req)
{
    struct waitq *wq = inode_locks_waitq(f->inode);
    struct task_wait w;
    int64_t r;

    if (!wq)
        return -ENOMEM;
    task_wait_begin(t, &w, wq, POLLIN);
    while ((r = locks_set(f, req)) == -EAGAIN) {
        if (req->kind == LOCK_KIND_POSIX) {
            r = locks_wait_begin(f, req);
            if (r)
                break;
        }
        r = task_block(t, TASK_NO_DEADLINE);
        if (req->kind == LOCK_KIND_POSIX)
            locks_wait_end(req->tgid);
        if (r)
            break;
    }
    task_wait_end(&w);
    return r;
}

static int64_t do_setlk(struct task *t, struct file *f, uint64_t arg, enum lock_kind kind, bool wait)
{
    struct lock_request req = {.kind = kind, .tgid = t->tg->tgid};
    struct flock fl;
    int64_t r = get_lock(t, f, guest_addr_of(arg), &fl, &req);

    if (r)
        return r;
    if (kind == LOCK_KIND_OFD && fl.l_pid != 0)
        return -EINVAL;
    if ((req.type == F_RDLCK && !(f->mode & FMODE_READ)) || (req.type == F_WRLCK && !(f->mode & FMODE_WRITE)))
        return -EBADF;
    r = locks_set(f, &req);
    return r == -EAGAIN && wait ? wait_for_lock(t, f, &req) : r;
}

static int64_t fcntl_getlk(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_getlk(t, f, arg, LOCK_KIND_POSIX);
}

static int64_t fcntl_setlk(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_setlk(t, f, arg, LOCK_KIND_POSIX, false);
}

static int64_t fcntl_setlkw(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_setlk(t, f, arg, LOCK_KIND_POSIX, true);
}

static int64_t fcntl_ofd_getlk(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_getlk(t, f, arg, LOCK_KIND_OFD);
}

static int64_t fcntl_ofd_setlk(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_setlk(t, f, arg, LOCK_KIND_OFD, false);
}

static int64_t fcntl_ofd_setlkw(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return do_setlk(t, f, arg, LOCK_KIND_OFD, true);
}

static int64_t set_owner(struct task *t, struct file *f, int type, int32_t pid)
{
    mutex_lock(&f->lock);
    f->owner.type = type;
    f->owner.pid = pid;
    f->owner.uid = t->cred->uid;
    f->owner.euid = t->cred->euid;
    mutex_unlock(&f->lock);
    return 0;
}

/* Negative numbers name process groups. */
static int64_t fcntl_setown(struct task *t, struct file *f, int fd, uint64_t arg)
{
    int32_t who = (int32_t)arg;
    struct tgroup *tg;

    if (who == INT32_MIN)
        return -EINVAL;
    if (who > 0) {
        tg = tgroup_find(t->k, who);
        if (!tg)
            return -ESRCH;
        tgroup_put(tg);
    }
    return set_owner(t, f, who < 0 ? F_OWNER_PGRP : F_OWNER_PID, who < 0 ? -who : who);
}

static int64_t fcntl_getown(struct task *t, struct file *f, int fd, uint64_t arg)
{
    int64_t r;

    mutex_lock(&f->lock);
    r = f->owner.type == F_OWNER_PGRP ? -(int64_t)f->owner.pid : f->owner.pid;
    mutex_unlock(&f->lock);
    return r;
}

static int64_t fcntl_setown_ex(struct task *t, struct file *f, int fd, uint64_t arg)
{
    struct f_owner_ex ex;
    struct task *who;

    if (copy_in(t, &ex, guest_addr_of(arg), sizeof(ex)))
        return -EFAULT;
    if (ex.type != F_OWNER_TID && ex.type != F_OWNER_PID && ex.type != F_OWNER_PGRP)
        return -EINVAL;
    if (ex.pid && ex.type != F_OWNER_PGRP) {
        who = task_find(t->k, ex.pid);
        if (!who)
            return -ESRCH;
        task_put(who);
    }
    return set_owner(t, f, (int)ex.type, ex.pid);
}

static int64_t fcntl_getown_ex(struct task *t, struct file *f, int fd, uint64_t arg)
{
    struct f_owner_ex ex;

    mutex_lock(&f->lock);
    ex.type = f->owner.pid ? (__typeof__(ex.type))f->owner.type : F_OWNER_PID;
    ex.pid = f->owner.pid;
    mutex_unlock(&f->lock);
    return copy_out(t, guest_addr_of(arg), &ex, sizeof(ex));
}

static int64_t fcntl_setsig(struct task *t, struct file *f, int fd, uint64_t arg)
{
    if (arg > KERNEL_NSIG)
        return -EINVAL;
    mutex_lock(&f->lock);
    f->owner.signo = (int)arg;
    mutex_unlock(&f->lock);
    return 0;
}

static int64_t fcntl_getsig(struct task *t, struct file *f, int fd, uint64_t arg)
{
    int signo;

    mutex_lock(&f->lock);
    signo = f->owner.signo;
    mutex_unlock(&f->lock);
    return signo;
}

static int64_t fcntl_setlease(struct task *t, struct file *f, int fd, uint64_t arg)
{
    int type = (int)arg;

    if (type != F_RDLCK && type != F_WRLCK && type != F_UNLCK)
        return -EINVAL;
    if (t->cred->fsuid != f->inode->uid && !cred_has_cap(t->cred, CAP_LEASE))
        return -EACCES;
    if (!S_ISREG(f->inode->mode))
        return -EINVAL;
    if (type != F_UNLCK) {
        /* The holder is who gets the signal when the lease is broken. */
        mutex_lock(&f->lock);
        if (!f->owner.pid) {
            f->owner.type = F_OWNER_PID;
            f->owner.pid = t->tg->tgid;
        }
        mutex_unlock(&f->lock);
    }
    return lease_set(f, type);
}

static int64_t fcntl_getlease(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return lease_get(f);
}

static int64_t fcntl_setpipe_sz(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return arg > UINT32_MAX ? -EINVAL : pipe_set_size(f, task_caller(t), (unsigned int)arg);
}

static int64_t fcntl_getpipe_sz(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return pipe_get_size(f);
}

static int64_t fcntl_add_seals(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return file_add_seals(f, (unsigned int)arg);
}

static int64_t fcntl_get_seals(struct task *t, struct file *f, int fd, uint64_t arg)
{
    return file_get_seals(f);
}

static const struct {
    int cmd;
    bool on_path; /* allowed on O_PATH descriptors */
    fcntl_fn *fn;
} fcntl_table[] = {
    {F_DUPFD, true, fcntl_dupfd},
    {F_DUPFD_CLOEXEC, true, fcntl_dupfd_cloexec},
    {F_DUPFD_QUERY, true, fcntl_dupfd_query},
    {F_CREATED_QUERY, true, fcntl_created_query},
    {F_GETFD, true, fcntl_getfd},
    {F_SETFD, true, fcntl_setfd},
    {F_GETFL, true, fcntl_getfl},
    {F_SETFL, false, fcntl_setfl},
    {F_GETLK, false, fcntl_getlk},
    {F_SETLK, false, fcntl_setlk},
    {F_SETLKW, false, fcntl_setlkw},
    {F_OFD_GETLK, false, fcntl_ofd_getlk},
    {F_OFD_SETLK, false, fcntl_ofd_setlk},
    {F_OFD_SETLKW, false, fcntl_ofd_setlkw},
    {F_SETOWN, false, fcntl_setown},
    {F_GETOWN, false, fcntl_getown},
    {F_SETOWN_EX, false, fcntl_setown_ex},
    {F_GETOWN_EX, false, fcntl_getown_ex},
    {F_SETSIG, false, fcntl_setsig},
    {F_GETSIG, false, fcntl_getsig},
    {F_SETLEASE, false, fcntl_setlease},
    {F_GETLEASE, false, fcntl_getlease},
    {F_SETPIPE_SZ, false, fcntl_setpipe_sz},
    {F_GETPIPE_SZ, false, fcntl_getpipe_sz},
    {F_ADD_SEALS, false, fcntl_add_seals},
    {F_GET_SEALS, false, fcntl_get_seals},
};

int64_t sys_fcntl(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get_raw(t->files, arg_int(a, 0));
    int64_t r = -EINVAL;

    if (!f)
        return -EBADF;
    for (size_t i = 0; i < ARRAY_SIZE(fcntl_table); i++)
        if (fcntl_table[i].cmd == arg_int(a, 1)) {
            r = (f->mode & FMODE_PATH) && !fcntl_table[i].on_path ? -EBADF : fcntl_table[i].fn(t, f, arg_int(a, 0), a->v[2]);
            break;
        }
    if (r == -EINVAL && (f->mode & FMODE_PATH))
        r = -EBADF;
    file_put(f);
    return r;
}

int64_t sys_flock(struct task *t, const struct syscall_args *a)
{
    static const int types[] = {[LOCK_SH] = F_RDLCK, [LOCK_EX] = F_WRLCK, [LOCK_UN] = F_UNLCK};
    int op = arg_int(a, 1), kind = op & ~LOCK_NB;
    struct lock_request req = {.kind = LOCK_KIND_FLOCK, .end = INT64_MAX, .tgid = t->tg->tgid};
    struct file *f;
    int64_t r;

    if (op & LOCK_MAND)
        return 0; /* mandatory locks are gone from Linux; the flag is accepted and does nothing */
    if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
        return -EINVAL;
    f = fd_get(t->files, arg_int(a, 0));
    if (!f)
        return -EBADF;
    req.type = types[kind];
    r = locks_set(f, &req);
    if (r == -EAGAIN && !(op & LOCK_NB))
        r = wait_for_lock(t, f, &req);
    file_put(f);
    return r;
}

static int64_t ioctl_set_flag(struct task *t, struct file *f, int fd, guest_addr arg, int flag)
{
    int on;

    if (copy_in(t, &on, arg, sizeof(on)))
        return -EFAULT;
    return set_flags(t, f, fd, on ? atomic_load(&f->flags) | flag : atomic_load(&f->flags) & ~flag);
}

/* FIONREAD of a regular file is what lies beyond the position. */
static int64_t ioctl_bytes_left(struct task *t, struct file *f, guest_addr arg)
{
    int64_t left;
    int v;

    mutex_lock(&f->pos_lock);
    left = atomic_load(&f->inode->size) - f->pos;
    mutex_unlock(&f->pos_lock);
    v = left > INT_MAX ? INT_MAX : (int)left;
    return copy_out(t, arg, &v, sizeof(v));
}

int64_t sys_ioctl(struct task *t, const struct syscall_args *a)
{
    struct file *f = fd_get(t->files, arg_int(a, 0));
    unsigned int cmd = arg_uint(a, 1);
    int64_t r;

    if (!f)
        return -EBADF;
    switch (cmd) { /* those that every file understands */
    case FIOCLEX:
    case FIONCLEX:
        r = fd_set_cloexec(t->files, arg_int(a, 0), cmd == FIOCLEX);
        break;
    case FIONBIO:
        r = ioctl_set_flag(t, f, arg_int(a, 0), arg_addr(a, 2), O_NONBLOCK);
        break;
    case FIOASYNC:
        r = ioctl_set_flag(t, f, arg_int(a, 0), arg_addr(a, 2), O_ASYNC);
        break;
    default:
        r = f->ops->ioctl ? f->ops->ioctl(f, task_caller(t), cmd, arg_addr(a, 2)) : -ENOTTY;
        if (r == -ENOTTY && cmd == FIONREAD && S_ISREG(f->inode->mode))
            r = ioctl_bytes_left(t, f, arg_addr(a, 2));
    }
    file_put(f);
    return r;
}
