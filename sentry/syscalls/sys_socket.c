/* socket, socketpair, bind, listen, accept, accept4, connect, getsockname, getpeername, shutdown, setsockopt, getsockopt. */
#include "sentry/socket/inet_net/nf.h"
#include "sentry/socket/net.h"
#include "sentry/socket/sock_user.h"
#include "sentry/socket/socket.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/file.h"

#include <fcntl.h>
#include <string.h>

/* The longest option value that any of ours has. */
#define MAX_OPTION 1024

static int install(struct task *t, struct file *f, int flags)
{
    return fd_install(t->files, f, 0, flags & SOCK_CLOEXEC, task_rlimit(t, RLIMIT_NOFILE));
}

static int open_flags(int sock_flags)
{
    return sock_flags & SOCK_NONBLOCK ? O_NONBLOCK : 0;
}

static int64_t make_socket(struct task *t, int family, int type, int protocol, struct file **out)
{
    int flags = type & ~0xf;
    struct socket *s;
    int r;

    if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
        return -EINVAL;
    r = socket_create(t, family, type & 0xf, protocol, &s);
    return r ? r : socket_make_file(t, s, open_flags(flags), out);
}

int64_t sys_socket(struct task *t, const struct syscall_args *a)
{
    struct file *f;
    int64_t r = make_socket(t, arg_int(a, 0), arg_int(a, 1), arg_int(a, 2), &f);

    if (r)
        return r;
    r = install(t, f, arg_int(a, 1));
    file_put(f);
    return r;
}

int64_t sys_socketpair(struct task *t, const struct syscall_args *a)
{
    int family = arg_int(a, 0), type = arg_int(a, 1), protocol = arg_int(a, 2), fd[2] = {-1, -1};
    struct file *f[2] = {NULL, NULL};
    struct socket *s[2];
    int64_t r = make_socket(t, family, type, protocol, &f[0]);

    if (!r)
        r = make_socket(t, family, type, protocol, &f[1]);
    if (!r) {
        s[0] = file_socket(f[0]);
        s[1] = file_socket(f[1]);
        r = s[0]->ops->pair ? s[0]->ops->pair(s[0], s[1], t) : -EOPNOTSUPP;
    }
    for (int i = 0; i < 2 && r >= 0; i++)
        r = fd[i] = install(t, f[i], type);
    if (r >= 0)
        r = copy_out(t, arg_addr(a, 3), fd, sizeof(fd));
    for (int i = 0; i < 2; i++) {
        if (r && fd[i] >= 0)
            fd_close(t->files, task_caller(t), fd[i]);
        file_put(f[i]);
    }
    return r;
}

int64_t sys_bind(struct task *t, const struct syscall_args *a)
{
    struct sock_addr addr;
    struct socket *s;
    struct file *f;
    int64_t r = socket_fd_get(t, arg_int(a, 0), &f, &s);

    if (r)
        return r;
    r = sock_addr_in(t, arg_addr(a, 1), arg_int(a, 2), &addr);
    if (!r)
        r = s->ops->bind(s, t, &addr);
    file_put(f);
    return r;
}

int64_t sys_connect(struct task *t, const struct syscall_args *a)
{
    struct sock_addr addr;
    struct socket *s;
    struct file *f;
    int64_t r = socket_fd_get(t, arg_int(a, 0), &f, &s);

    if (r)
        return r;
    r = sock_addr_in(t, arg_addr(a, 1), arg_int(a, 2), &addr);
    if (!r)
        r = socket_connect(t, f, &addr);
    file_put(f);
    return r;
}

int64_t sys_listen(struct task *t, const struct syscall_args *a)
{
    int backlog = arg_int(a, 1), max;
    struct socket *s;
    struct file *f;
    int64_t r = socket_fd_get(t, arg_int(a, 0), &f, &s);

    if (r)
        return r;
    max = atomic_load(&s->net->somaxconn);
    if ((unsigned int)backlog > (unsigned int)max)
        backlog = max;
    r = s->ops->listen ? s->ops->listen(s, t, backlog) : -EOPNOTSUPP;
    file_put(f);
    return r;
}

static int64_t do_accept(struct task *t, const struct syscall_args *a, int flags)
{
    struct file *f, *conn_file = NULL;
    struct socket *s, *conn;
    struct sock_addr addr = {.len = 0};
    int64_t r, fd = -1;

    if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
        return -EINVAL;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    r = s->ops->accept ? socket_accept(t, f, &conn) : -EOPNOTSUPP;
    if (r) {
        file_put(f);
        return r;
    }
    r = socket_make_file(t, conn, open_flags(flags), &conn_file);
    if (!r && a->v[1]) {
        if (conn->ops->getname(conn, true, &addr))
            r = -ECONNABORTED; /* it has gone already */
        else
            r = sock_addr_out(t, &addr, arg_addr(a, 1), arg_addr(a, 2));
    }
    if (!r)
        r = fd = install(t, conn_file, flags);
    file_put(conn_file);
    file_put(f);
    return fd >= 0 ? fd : r;
}

int64_t sys_accept(struct task *t, const struct syscall_args *a)
{
    return do_accept(t, a, 0);
}

int64_t sys_accept4(struct task *t, const struct syscall_args *a)
{
    return do_accept(t, a, arg_int(a, 3));
}

static int64_t get_name(struct task *t, const struct syscall_args *a, bool peer)
{
    struct sock_addr addr;
    struct socket *s;
    struct file *f;
    int64_t r = socket_fd_get(t, arg_int(a, 0), &f, &s);

    if (r)
        return r;
    r = s->ops->getname(s, peer, &addr);
    if (!r)
        r = sock_addr_out(t, &addr, arg_addr(a, 1), arg_addr(a, 2));
    file_put(f);
    return r;
}

int64_t sys_getsockname(struct task *t, const struct syscall_args *a)
{
    return get_name(t, a, false);
}

int64_t sys_getpeername(struct task *t, const struct syscall_args *a)
{
    return get_name(t, a, true);
}

int64_t sys_shutdown(struct task *t, const struct syscall_args *a)
{
    int how = arg_int(a, 1);
    struct socket *s;
    struct file *f;
    int64_t r = socket_fd_get(t, arg_int(a, 0), &f, &s);

    if (r)
        return r;
    if (how < SHUT_RD || how > SHUT_RDWR)
        r = -EINVAL;
    else
        r = s->ops->shutdown ? s->ops->shutdown(s, how) : -EOPNOTSUPP;
    file_put(f);
    return r;
}

int64_t sys_setsockopt(struct task *t, const struct syscall_args *a)
{
    char val[MAX_OPTION] = {0};
    int len = arg_int(a, 4);
    struct socket *s;
    struct file *f;
    int64_t r;

    if (len < 0)
        return -EINVAL;
    r = socket_fd_get(t, arg_int(a, 0), &f, &s);
    if (r)
        return r;
    if (net_is_nf_option(s, arg_int(a, 1), arg_int(a, 2))) {
        r = net_nf_setsockopt(s, t, arg_int(a, 1), arg_int(a, 2), arg_addr(a, 3), len);
        file_put(f);
        return r;
    }
    if (len > MAX_OPTION)
        len = MAX_OPTION;
    if (copy_in(t, val, arg_addr(a, 3), (size_t)len))
        r = -EFAULT;
    else
        r = socket_setopt(s, t, arg_int(a, 1), arg_int(a, 2), val, (socklen_t)len);
    file_put(f);
    return r;
}

int64_t sys_getsockopt(struct task *t, const struct syscall_args *a)
{
    guest_addr at_len = arg_addr(a, 4);
    char val[MAX_OPTION] = {0};
    struct socket *s;
    struct file *f;
    socklen_t n;
    int len;
    int64_t r = socket_fd_get(t, arg_int(a, 0), &f, &s);

    if (r)
        return r;
    if (net_is_nf_option(s, arg_int(a, 1), arg_int(a, 2))) {
        r = net_nf_getsockopt(s, t, arg_int(a, 1), arg_int(a, 2), arg_addr(a, 3), at_len);
    } else if (arg_int(a, 1) == SOL_SOCKET && arg_int(a, 2) == SO_GET_FILTER) {
        r = socket_get_filter(s, t, arg_addr(a, 3), at_len);
    } else if (copy_in(t, &len, at_len, sizeof(len))) {
        r = -EFAULT;
    } else if (len < 0) {
        r = -EINVAL;
    } else {
        n = len > MAX_OPTION ? MAX_OPTION : (socklen_t)len;
        /* PACKET_HDRLEN is asked with a number. */
        if (s->family == AF_PACKET && n >= sizeof(int) && copy_in(t, val, arg_addr(a, 3), sizeof(int)))
            n = 0;
        r = socket_getopt(s, t, arg_int(a, 1), arg_int(a, 2), val, &n);
        if (!r && ((n && copy_out(t, arg_addr(a, 3), val, n)) || copy_out(t, at_len, &n, sizeof(n))))
            r = -EFAULT;
        else if (r == -ERANGE && copy_out(t, at_len, &n, sizeof(n)))
            r = -EFAULT;
    }
    file_put(f);
    return r;
}
