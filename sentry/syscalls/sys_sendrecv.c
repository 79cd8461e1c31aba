/* sendto, sendmsg, sendmmsg, recvfrom, recvmsg, recvmmsg. */
#include "sentry/kernel/clock.h"
#include "sentry/socket/scm.h"
#include "sentry/socket/sock_user.h"
#include "sentry/syscalls/iov.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* net.core.optmem_max: the most control data that a message may have. */
#define MAX_CONTROL       131072
#define INLINE_CONTROL    256
#define MAX_RW_COUNT      0x7ffff000u
#define MAX_MMSG          1024
#define K_MSG_CMSG_COMPAT 0x80000000u /* for 32-bit callers inside the kernel; forbidden from outside */

/* struct msghdr as the kernel has it. */
struct user_msghdr {
    uint64_t name;
    int32_t namelen;
    uint32_t pad;
    uint64_t iov, iovlen, control, controllen;
    uint32_t flags, pad2;
};

struct user_mmsghdr {
    struct user_msghdr hdr;
    uint32_t len, pad;
};

int64_t sys_sendto(struct task *t, const struct syscall_args *a)
{
    guest_addr to = arg_addr(a, 4);
    struct sock_addr addr;
    struct iovec iov;
    struct uio uio;
    struct sk_msg m = {.uio = &uio, .flags = arg_uint(a, 3)};
    struct socket *s;
    struct file *f;
    size_t n = arg_size(a, 2);
    int64_t r = mm_uio_init_one(&uio, t->mm, &iov, arg_addr(a, 1), n > MAX_RW_COUNT ? MAX_RW_COUNT : n);

    if (r)
        return r;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    if (!guest_is_null(to)) {
        r = sock_addr_in(t, to, arg_int(a, 5), &addr);
        m.name = &addr;
    }
    if (!r)
        r = socket_send(t, f, &m);
    file_put(f);
    return r;
}

int64_t sys_recvfrom(struct task *t, const struct syscall_args *a)
{
    guest_addr from = arg_addr(a, 4);
    struct sock_addr addr = {.len = 0};
    struct iovec iov;
    struct uio uio;
    struct sk_msg m = {.uio = &uio, .flags = arg_uint(a, 3)};
    struct socket *s;
    struct file *f;
    size_t n = arg_size(a, 2);
    int64_t r = mm_uio_init_one(&uio, t->mm, &iov, arg_addr(a, 1), n > MAX_RW_COUNT ? MAX_RW_COUNT : n);
    int err;

    if (r)
        return r;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    if (!guest_is_null(from))
        m.name = &addr;
    r = socket_recv(t, f, &m, TASK_NO_DEADLINE);
    if (r >= 0 && !guest_is_null(from)) {
        err = sock_addr_out(t, &addr, from, arg_addr(a, 5));
        r = err ? err : r;
    }
    file_put(f);
    return r;
}

static int fetch_header(struct task *t, guest_addr at, struct user_msghdr *h)
{
    if (copy_in(t, h, at, sizeof(*h)))
        return -EFAULT;
    if (h->name == 0)
        h->namelen = 0;
    if (h->namelen < 0)
        return -EINVAL;
    if ((size_t)h->namelen > sizeof(struct sockaddr_storage))
        h->namelen = sizeof(struct sockaddr_storage);
    return h->iovlen > IOV_MAX_SEGMENTS ? -EMSGSIZE : 0;
}

/* Control data into `scm`. */
static int fetch_control(struct task *t, const struct socket *s, const struct user_msghdr *h, struct scm *scm)
{
    char few[INLINE_CONTROL], *buf = few;
    int r;

    if (h->controllen > MAX_CONTROL)
        return -ENOBUFS;
    if (h->controllen > sizeof(few)) {
        buf = malloc(h->controllen);
        if (!buf)
            return -ENOBUFS;
    }
    r = copy_in(t, buf, guest_addr_of(h->control), h->controllen);
    if (!r)
        r = scm_parse(scm, t, s->family, buf, h->controllen);
    if (buf != few)
        free(buf);
    return r;
}

static int64_t send_one(struct task *t, struct file *f, struct socket *s, guest_addr at, unsigned int flags)
{
    struct sock_addr addr;
    struct user_msghdr h;
    struct guest_iov v;
    struct scm scm;
    struct uio uio;
    struct sk_msg m = {.uio = &uio, .flags = flags};
    int64_t r = fetch_header(t, at, &h);

    if (r)
        return r;
    r = iov_fetch(t, guest_addr_of(h.iov), h.iovlen, &v);
    if (!r)
        r = mm_uio_init(&uio, t->mm, v.iov, v.n);
    if (!r && h.namelen) {
        r = sock_addr_in(t, guest_addr_of(h.name), h.namelen, &addr);
        m.name = &addr;
    }
    if (!r && h.controllen) {
        scm_init(&scm, t);
        m.scm = &scm;
        r = fetch_control(t, s, &h, &scm);
    }
    if (!r)
        r = socket_send(t, f, &m);
    if (m.scm)
        scm_fini(m.scm);
    iov_fini(&v);
    return r;
}

int64_t sys_sendmsg(struct task *t, const struct syscall_args *a)
{
    struct socket *s;
    struct file *f;
    int64_t r;

    if (arg_uint(a, 2) & K_MSG_CMSG_COMPAT)
        return -EINVAL;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    r = send_one(t, f, s, arg_addr(a, 1), arg_uint(a, 2));
    file_put(f);
    return r;
}

int64_t sys_sendmmsg(struct task *t, const struct syscall_args *a)
{
    guest_addr at = arg_addr(a, 1);
    unsigned int n = arg_uint(a, 2), done = 0;
    struct socket *s;
    struct file *f;
    int64_t r;

    if (arg_uint(a, 3) & K_MSG_CMSG_COMPAT)
        return -EINVAL;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    if (n > MAX_MMSG)
        n = MAX_MMSG;
    while (done < n) {
        guest_addr here = guest_add(at, done * sizeof(struct user_mmsghdr));
        uint32_t len;

        r = send_one(t, f, s, here, arg_uint(a, 3));
        if (r < 0)
            break;
        len = (uint32_t)r;
        r = copy_out(t, guest_add(here, offsetof(struct user_mmsghdr, len)), &len, sizeof(len));
        if (r)
            break;
        done++;
    }
    file_put(f);
    return done ? done : r;
}

/* What recvmsg writes back besides the data. */
static int finish_receive(struct task *t, guest_addr at, const struct user_msghdr *h, const struct sk_msg *m)
{
    uint32_t flags = m->out_flags | m->cmsg->out_flags | (m->flags & MSG_CMSG_CLOEXEC);
    uint64_t controllen = m->cmsg->used;
    socklen_t n;

    if (h->name) {
        n = m->name->len < (socklen_t)h->namelen ? m->name->len : (socklen_t)h->namelen;
        if ((n && copy_out(t, guest_addr_of(h->name), m->name->raw, n)) ||
            copy_out(t, guest_add(at, offsetof(struct user_msghdr, namelen)), &m->name->len, sizeof(m->name->len)))
            return -EFAULT;
    }
    if (copy_out(t, guest_add(at, offsetof(struct user_msghdr, flags)), &flags, sizeof(flags)) ||
        copy_out(t, guest_add(at, offsetof(struct user_msghdr, controllen)), &controllen, sizeof(controllen)))
        return -EFAULT;
    return 0;
}

static int64_t receive_one(struct task *t, struct file *f, guest_addr at, unsigned int flags, int64_t deadline)
{
    struct sock_addr addr = {.len = 0};
    struct cmsg_writer cmsg = {.t = t, .cloexec = flags & MSG_CMSG_CLOEXEC};
    struct user_msghdr h;
    struct guest_iov v;
    struct uio uio;
    struct sk_msg m = {.uio = &uio, .flags = flags, .cmsg = &cmsg};
    int64_t r = fetch_header(t, at, &h);
    int err;

    if (r)
        return r;
    r = iov_fetch(t, guest_addr_of(h.iov), h.iovlen, &v);
    if (!r)
        r = mm_uio_init(&uio, t->mm, v.iov, v.n);
    if (!r) {
        if (h.name)
            m.name = &addr;
        cmsg.at = guest_addr_of(h.control);
        cmsg.left = h.control ? h.controllen : 0;
        r = socket_recv(t, f, &m, deadline);
    }
    if (r >= 0) {
        err = finish_receive(t, at, &h, &m);
        r = err ? err : r;
    }
    iov_fini(&v);
    return r;
}

int64_t sys_recvmsg(struct task *t, const struct syscall_args *a)
{
    struct socket *s;
    struct file *f;
    int64_t r;

    if (arg_uint(a, 2) & K_MSG_CMSG_COMPAT)
        return -EINVAL;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    r = receive_one(t, f, arg_addr(a, 1), arg_uint(a, 2), TASK_NO_DEADLINE);
    file_put(f);
    return r;
}

/* The timeout is looked at between messages only, as the manual page deplores. */
static int64_t receive_many(struct task *t, struct file *f, struct socket *s, const struct syscall_args *a, int64_t deadline)
{
    guest_addr at = arg_addr(a, 1);
    unsigned int n = arg_uint(a, 2), flags = arg_uint(a, 3), done = 0;
    int64_t r = sock_take_error(s);

    if (r)
        return r;
    if (n > MAX_MMSG)
        n = MAX_MMSG;
    while (done < n) {
        guest_addr here = guest_add(at, done * sizeof(struct user_mmsghdr));
        uint32_t len;

        r = receive_one(t, f, here, flags & ~(unsigned int)MSG_WAITFORONE, TASK_NO_DEADLINE);
        if (r < 0)
            break;
        len = (uint32_t)r;
        r = copy_out(t, guest_add(here, offsetof(struct user_mmsghdr, len)), &len, sizeof(len));
        if (r)
            break;
        done++;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if (deadline != TASK_NO_DEADLINE && kernel_monotonic_ns() >= deadline)
            break;
    }
    /* An error after some messages is kept for the next call. */
    if (done && r < 0 && r != -EAGAIN && r > -ERESTARTSYS)
        sock_set_error(s, (int)-r);
    return done ? done : r;
}

int64_t sys_recvmmsg(struct task *t, const struct syscall_args *a)
{
    guest_addr timeout = arg_addr(a, 4);
    int64_t deadline = TASK_NO_DEADLINE, ns, left, r;
    struct socket *s;
    struct file *f;

    if (arg_uint(a, 3) & K_MSG_CMSG_COMPAT)
        return -EINVAL;
    if (!guest_is_null(timeout)) {
        r = timespec_in(t, timeout, &ns);
        if (r)
            return r;
        deadline = time_add_saturating(kernel_monotonic_ns(), ns);
    }
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    r = receive_many(t, f, s, a, deadline);
    if (r > 0 && !guest_is_null(timeout)) {
        left = deadline - kernel_monotonic_ns();
        if (timespec_out(t, timeout, left < 0 ? 0 : left))
            r = -EFAULT;
    }
    file_put(f);
    return r;
}
