/* Descriptors and addresses of sockets, between guests and the socket layer: what the system calls share. */
#ifndef SENTRY_SOCKET_SOCK_USER_H
#define SENTRY_SOCKET_SOCK_USER_H

#include "sentry/socket/socket.h"

/* The socket at `fd`, whose file is referenced in *f: 0, -EBADF, -ENOTSOCK. */
int must_check socket_fd_get(struct task *t, int fd, struct file **f, struct socket **s);
/* An address from the guest: -EINVAL for impossible lengths, -EFAULT. */
int must_check sock_addr_in(struct task *t, guest_addr at, int len, struct sock_addr *out);
/* To the guest: as much as the length at `at_len` allows, then the true length there. */
int must_check sock_addr_out(struct task *t, const struct sock_addr *a, guest_addr at, guest_addr at_len);

#endif
