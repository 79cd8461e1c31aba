/*
 * Sockets over the network: what connects AF_INET sockets, the netstack, and the interfaces that the launcher has handed over.
 *
 * An AF_INET socket is a struct inet_sock (inet_loopback/inet.h), whose ports are in the tables there and whose peers inside of
 * the sandbox are served there without packets. As soon as a socket may speak with somebody else it gets an end in the
 * netstack besides: a TCP socket when it listens on an address that others can reach or connects to one that is not local, a
 * UDP endpoint when it is bound, connected or sends so. A listener accepts from both sides, a UDP socket receives from both.
 *
 * Locks: socket->lock -> the netstack's lock -> netlink_lock, wait queues. Callbacks of the netstack run under its lock and do
 * no more than wake a queue, note an error, or queue a notification for netlink sockets.
 */
#ifndef SENTRY_SOCKET_INET_NET_INET_NET_H
#define SENTRY_SOCKET_INET_NET_INET_NET_H

#include "netstack/endpoint.h"
#include "netstack/nic.h"
#include "netstack/stack.h"
#include "sentry/socket/inet_loopback/inet.h"

struct net;
struct net_config;
struct net_config_if;
struct net_rx;

/* stack.c: the stack of a network namespace, and the thread that drives its links and timers. */
int must_check net_stack_create(struct net *net);
void net_stack_destroy(struct net *net);
/* Starts the thread; before, timers stand still. */
int must_check net_rx_start(struct net *net);
/* A host descriptor that the thread serves: calls `readable` when it is, or may be. */
struct rx_source {
    void (*readable)(struct rx_source *s);
    bool link;              /* tasks may receive from it, too; one thread at a time does */
    struct rx_source *next; /* of links */
};
/* A frame has been sent by this thread. */
void net_sent(void);
int must_check net_rx_watch(struct net *net, struct rx_source *source, int fd);

/* link.c: an interface whose frames come and go by an AF_PACKET descriptor, which it takes over. */
int must_check link_create(struct net *net, const struct net_config_if *c, struct nic **out) EXCLUDES(netstack_held);

/* dns.c: Docker's DNS server, reached by a socket of the container's network namespace. */
int must_check net_dns_start(struct net *net, int fd);
bool net_dns_is_server(struct net *net, const struct inet_end *dst);
void net_dns_query(struct net *net, const struct inet_end *from, const void *data, size_t len);

/* dns_tcp.c: the same over TCP, by sockets that are moved to the descriptors `to` (FILTER_CONNECTABLE of them). */
int must_check net_dns_tcp_start(struct net *net, const int from[], const int to[]);
/* Who accepts connections to the server: referenced; NULL: nobody. */
struct inet_sock *net_dns_listener(struct net *net);

/* buf.c: buffers with room for the largest packet, with one reference. NULL: out of memory. */
#define NET_BUF_SIZE (PKT_MAX_LEN + 128)
struct pkt_buf *net_buf_alloc(void);

/* show.c: an interface's counters. Most of what lo carries is never a packet. */
struct rtnl_link_stats64 net_link_stats(struct net *net, const struct nic *nic) NETSTACK_LOCKED;

/* boot.c: interfaces, addresses and routes as the launcher found them. */
int must_check net_configure(struct net *net, const struct net_config *c, const int connectable[]);

/* May a datagram socket be bound to it: a multicast group, or a broadcast address of ours? */
bool net_addr_is_group(struct net *net, const struct in6_addr *a) EXCLUDES(netstack_held);

/*
 * tcp.c: what inet_loopback's operations do when the state is TCP_S_NET, or for the part of a listener that is outside. The
 * first four, `disconnect`, `shutdown` and `close` with s.lock held.
 */
int must_check net_tcp_connect(struct inet_sock *i, struct inet_end *dst, bool nonblock);
int must_check net_tcp_connect_again(struct inet_sock *i, bool nonblock);
int must_check net_tcp_listen(struct inet_sock *i, int backlog);
int must_check net_tcp_accept(struct inet_sock *listener, struct inet_sock **out);
void net_tcp_disconnect(struct inet_sock *i);
int net_tcp_shutdown(struct inet_sock *i, unsigned int mask);
void net_tcp_close(struct inet_sock *i);
bool net_tcp_is_connected(const struct inet_sock *i);
/* net.ipv4.tcp_congestion_control */
void net_tcp_default_congestion(struct net *net, char name[16]);
bool net_tcp_lingers(struct inet_sock *i);
int net_tcp_maxseg(struct inet_sock *i);
int net_tcp_state(const struct inet_sock *i);
uint32_t net_tcp_poll(struct inet_sock *i);
long net_tcp_ioctl(struct inet_sock *i, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
int net_tcp_take_error(struct socket *s);
void net_tcp_put_error(struct socket *s, int err);
/* tcp_data.c */
ssize_t net_tcp_sendmsg(struct inet_sock *i, struct sk_msg *m);
ssize_t net_tcp_recvmsg(struct inet_sock *i, struct sk_msg *m);

/* udp.c. With s.lock held, but for sending and receiving. */
int must_check net_udp_bound(struct inet_sock *i); /* it has got an address and a port */
int must_check net_udp_connect(struct inet_sock *i, struct inet_end *dst);
void net_udp_disconnect(struct inet_sock *i, bool inside); /* inside: its peer is one of the sandbox */
void net_udp_close(struct inet_sock *i);
/* Makes an endpoint for one that joins a group before it is bound; takes s.lock. */
int must_check net_udp_member(struct inet_sock *i);
ssize_t net_udp_sendmsg(struct inet_sock *i, struct sk_msg *m, const struct inet_end *dst);
/* The next datagram: what recvmsg(2) gives, -EAGAIN if there is none. s->read_lock is held. */
ssize_t net_udp_recvmsg(struct inet_sock *i, struct sk_msg *m);
bool net_udp_readable(struct inet_sock *i);
int net_udp_first_len(struct inet_sock *i); /* SIOCINQ */

/* raw.c: SOCK_RAW, and ping sockets. */
int must_check net_raw_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out);

/* option.c: from a socket to its end in the netstack. */
void net_so_changed(struct socket *s, int name);
/* An IP, IPv6, TCP or UDP option has been checked and kept, or is of this layer alone (-ENOPROTOOPT: it is not). */
void net_option_changed(struct inet_sock *i, int level, int name, int value);
int net_setsockopt(struct inet_sock *i, struct task *t, int level, int name, const void *val, socklen_t len);
int net_set_ip_options(struct inet_sock *i, const void *val, socklen_t len);
int net_getsockopt(struct inet_sock *i, int level, int name, void *val, socklen_t *len);
/* All options, to a new end. */
void net_tcp_push_options(struct inet_sock *i) NETSTACK_LOCKED;
void net_endpoint_push_options(struct inet_sock *i, struct endpoint *ep) NETSTACK_LOCKED;

static inline struct netstack *inet_stack_of(const struct inet_sock *i)
{
    return i->s.net->stack;
}

/* udp.c: wakes the socket that owns a UDP or raw endpoint, and hands it errors. */
extern const struct endpoint_cb net_dgram_cb;

/* errqueue.c: recvmsg(MSG_ERRQUEUE). */
ssize_t net_recv_error(struct inet_sock *i, struct endpoint *ep, struct sk_msg *m) EXCLUDES(netstack_held);
bool net_has_queued_error(struct inet_sock *i) EXCLUDES(netstack_held);
struct endpoint *net_endpoint(struct inet_sock *i); /* of a UDP or raw socket; NULL: none */

/* What ancillary data a received packet comes with. */
void net_put_control(struct inet_sock *i, struct cmsg_writer *w, const struct pkt *p);

/* Bytes between packets and a user's memory: how many, or -EFAULT. */
ssize_t net_copy_to(struct uio *uio, const struct pkt *p, size_t from, size_t len);
/* A packet with room for headers and a copy of the next `len` bytes. NULL with *err. */
struct pkt *net_copy_from(struct uio *uio, size_t len, int *err);
/* Goes back to where `saved` was, and on from there by `done` bytes. */
void net_uio_rewind(struct uio *uio, const struct uio *saved, size_t done);

#endif
