/*
 * --network=host: Internet sockets that are sockets of the host's kernel, in the container's network namespace.
 *
 * A guest's socket is a struct host_sock that stands on one descriptor. The sentry cannot make it, but gets it from the broker
 * (sentry/boot/net_broker.h), and then does to it what the guest does to its own: each operation is one call of the host's, on
 * copies of what the guest gave. Calls that may wait are tried without waiting, and again when the event loop has heard of the
 * descriptor's readiness. What the guest may use is bounded here (kinds of sockets, options, flags, ancillary data, ioctls),
 * and what the sentry may use is bounded once more by its filter of system calls.
 *
 * Sockets that the container was given (--preserve-fds, $LISTEN_FDS) are of the same kind, with any network: then there is no
 * net_host, and those of AF_UNIX are among them, without descriptors or credentials as messages.
 *
 * NETLINK_ROUTE sockets are forwarded as well, so that guests see the interfaces there are: the host's kernel refuses changes,
 * for the sentry has no power over the namespace. Packet sockets and netfilter are refused. AF_UNIX is the sandbox's own.
 */
#ifndef SENTRY_SOCKET_INET_HOST_INET_HOST_H
#define SENTRY_SOCKET_INET_HOST_INET_HOST_H

#include "sentry/boot/net_broker.h"
#include "sentry/host/watch.h"
#include "sentry/socket/net.h"
#include "sentry/socket/socket.h"

struct net_host {
    struct mutex lock; /* one request at a time */
    int broker GUARDED_BY(lock);
    int ctl;                       /* a socket of the namespace, for ioctls */
    int file[NET_BROKER_NR_FILES]; /* -1: not there */
    struct mutex file_lock;        /* one reader at a time */
    atomic_ullong refused;         /* a bit per kind of refusal that has been logged */
};

struct host_sock {
    struct socket s;
    int fd;
    struct waitq ready; /* woken by the event loop; see sock.c */
    struct waitq_entry relay;
    struct host_watch watch;
    atomic_bool wants_out; /* a writer was told to wait */
    struct sock_addr peer; /* of an accepted one: for accept(2), which asks for it even if the peer has gone; len 0: asked */
};

static inline struct host_sock *host_of(struct socket *s)
{
    return container_of(s, struct host_sock, s);
}

/* broker.c: a new socket of the host's, or -errno. */
int must_check net_host_socket(struct net_host *h, int family, int type, int protocol);
/* bind(2) by somebody who may bind to any port. */
int must_check net_host_bind(struct net_host *h, int fd, const struct sock_addr *a);
/* Says once that something of a kind was refused. */
enum net_host_refusal { REFUSED_SOCKET, REFUSED_OPTION, REFUSED_IOCTL, REFUSED_FLAG };
void net_host_refuse(struct net_host *h, enum net_host_refusal what, int a, int b, int c);

/* sock.c: whether sockets of a family are the host's, or refused, when there is a net_host; and its create function. */
bool net_host_serves(int family, int protocol);
int must_check net_host_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out);

/* data.c */
ssize_t host_sock_sendmsg(struct socket *s, struct task *t, struct sk_msg *m);
ssize_t host_sock_recvmsg(struct socket *s, struct task *t, struct sk_msg *m);

/* option.c */
int host_sock_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len);
int host_sock_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len);
long host_sock_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);

#endif
