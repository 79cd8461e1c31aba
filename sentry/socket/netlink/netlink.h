/*
 * AF_NETLINK: sockets by which programs ask the kernel about itself, and hear of changes. NETLINK_ROUTE (route.c),
 * NETLINK_SOCK_DIAG (diag.c) and NETLINK_NETFILTER (inet_net/nf.c) are answered; NETLINK_KOBJECT_UEVENT can be opened and stays
 * silent.
 */
#ifndef SENTRY_SOCKET_NETLINK_NETLINK_H
#define SENTRY_SOCKET_NETLINK_NETLINK_H

#include "netstack/stack.h"
#include "sentry/socket/net.h"
#include "sentry/socket/socket.h"

#include <linux/netlink.h>
#include <stdatomic.h>

struct netlink_sock {
    struct socket s;
    struct list_head all_node; /* net->netlink_lock, inside which s.lock may be taken */
    atomic_uint port;          /* 0: not bound; changed under netlink_lock */
    atomic_uint groups;        /* joined: bit per group */
    struct sockaddr_nl peer;   /* of connect(2) */
    bool connected;
    atomic_uint flags; /* bit per NETLINK_* option that is a truth value */
};

/* A reply being built: messages one after another in `buf`. */
struct nl_reply {
    char *buf;
    size_t len, cap;
    bool failed;        /* out of memory */
    uint32_t port, seq; /* of the request */
    int done;           /* 0, or the -errno by which a dump ends */
    size_t msg;         /* where the current message begins */
};

void nl_begin(struct nl_reply *r, uint16_t type, uint16_t flags, const void *body, size_t n);
void nl_attr(struct nl_reply *r, uint16_t type, const void *data, size_t n);
void nl_attr_u32(struct nl_reply *r, uint16_t type, uint32_t v);
void nl_attr_str(struct nl_reply *r, uint16_t type, const char *s);
void nl_end(struct nl_reply *r);

/*
 * Answers one request of NETLINK_ROUTE, whose body is `n` bytes. 0: answered in `out`; 1: a dump, to be ended by NLMSG_DONE;
 * -errno.
 */
int rtnetlink_request(struct task *t, const struct nlmsghdr *h, const void *body, size_t n, struct nl_reply *out);

/* The same for NETLINK_SOCK_DIAG. */
int sock_diag_request(struct task *t, const struct nlmsghdr *h, const char *body, size_t n, struct nl_reply *out);

/* A message for all sockets of a protocol that have joined a group. May be called under the stack's lock. */
void netlink_multicast(struct net *net, int protocol, unsigned int group, const void *data, size_t n);
/* Something in the netstack has changed: tells the sockets that have joined the group. Under the stack's lock. */
void netlink_notify(struct net *net, enum netstack_event event, const void *object);

/* Queues what answers the socket's own request: however much that is. -ENOBUFS: out of memory. */
int must_check netlink_queue(struct netlink_sock *n, const void *data, size_t len);
/* Puts one message into the receive queue of a netlink socket. -ENOTSOCK or -EINVAL if `f` is none, -ENOBUFS. */
int netlink_deliver(struct file *f, const void *data, size_t n);

#endif
