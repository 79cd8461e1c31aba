#include "sentry/socket/sock_user.h"

#include "sentry/kernel/task.h"
#include "vfs/file.h"

#include <errno.h>
#include <string.h>

int socket_fd_get(struct task *t, int fd, struct file **f, struct socket **s)
{
    *f = fd_get(t->files, fd);
    if (!*f)
        return -EBADF;
    *s = file_socket(*f);
    if (likely(*s))
        return 0;
    file_put(*f);
    return -ENOTSOCK;
}

int sock_addr_in(struct task *t, guest_addr at, int len, struct sock_addr *out)
{
    if (len < 0 || (size_t)len > sizeof(out->ss))
        return -EINVAL;
    memset(out->raw, 0, sizeof(out->raw));
    out->len = (socklen_t)len;
    return len && copy_in(t, out->raw, at, (size_t)len) ? -EFAULT : 0;
}

int sock_addr_out(struct task *t, const struct sock_addr *a, guest_addr at, guest_addr at_len)
{
    int room, n;

    if (copy_in(t, &room, at_len, sizeof(room)))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    n = (int)a->len < room ? (int)a->len : room;
    if (n && copy_out(t, at, a->raw, (size_t)n))
        return -EFAULT;
    return copy_out(t, at_len, &a->len, sizeof(a->len));
}
