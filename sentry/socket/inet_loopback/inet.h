/*
 * AF_INET and AF_INET6 inside the sandbox: TCP and UDP between local addresses (127.0.0.0/8, ::1, and those of the sandbox's
 * interfaces). No packets are made: a segment is a message in the receiver's queue, connections are two sockets that point at
 * each other, and ports are a table. Where other addresses can be reached, a socket gets an end in the netstack besides: see
 * inet_net/inet_net.h.
 *
 * IPv4 addresses are kept as mapped IPv6 ones throughout, ports in host order.
 *
 * Locks: socket->lock (two: by address) -> inet_table->lock. What decides conflicts and look-ups (the bound address and port,
 * the remote address, listening) is written under both, so that either suffices to read it.
 */
#ifndef SENTRY_SOCKET_INET_LOOPBACK_INET_H
#define SENTRY_SOCKET_INET_LOOPBACK_INET_H

#include "netstack/tcp.h"
#include "sentry/kernel/ktimer.h"
#include "sentry/socket/net.h"
#include "sentry/socket/scm.h"
#include "sentry/socket/socket.h"

struct raw_ep;
struct udp_ep;

/* One end: address and port. */
struct inet_end {
    struct in6_addr addr;
    uint16_t port; /* 0: none */
    int scope;     /* interface of a link-local address; 0: none */
};

/* TCP_S_NET: connecting or connected by `tp`, which knows the rest. */
enum tcp_state { TCP_S_CLOSE, TCP_S_LISTEN, TCP_S_SYN_SENT, TCP_S_ESTABLISHED, TCP_S_NET };

/* Options that are one integer; see option.c for which they are. */
struct inet_options {
    int ttl, tos, mc_ttl, mc_loop, mc_all, pktinfo, recvttl, recvtos, recverr, mtu_discover, freebind, recvorigdst, minttl,
        nodefrag, no_port, recvopts, retopts, recvfragsize, transparent, unicast_if, mc_if;
    int v6only, hops, mc_hops, mc_loop6, mc_all6, recvpktinfo, recvhoplimit, recvtclass, tclass, mtu_discover6, recverr6,
        recvfragsize6, oldpktinfo, oldhoplimit, flowinfo, dontfrag, autoflow, prefs, mc_if6, recvorigdst6, minhops, unicast_if6,
        freebind6, transparent6;
    int nodelay, cork, keepidle, keepintvl, keepcnt, syncnt, linger2, defer, clamp, quickack, user_timeout, notsent, fastopen,
        thin_lto, thin_dupack, maxseg, inq, save_syn;
    int udp_cork, cscov_send, cscov_recv;
};

struct inet_sock {
    struct socket s;
    struct inet_options o; /* s.lock */
    /* s.lock and the table's lock. */
    struct inet_end local, remote;
    enum tcp_state state;       /* UDP: ESTABLISHED when connected */
    struct list_head port_node; /* in the table while local.port is set */
    bool addr_chosen;           /* by bind(2), not for a connection */
    bool port_chosen;

    /* TCP; guarded by s.lock. */
    bool connecting;                   /* connect(2) has been called and has not said how it ended */
    bool dead;                         /* no descriptor any more */
    struct inet_sock *peer;            /* referenced */
    struct list_head accepts, pending; /* of accept_node: established; waiting for room in the backlog. Referenced */
    struct list_head accept_node;
    unsigned int nr_accepts, backlog;
    struct inet_sock *listener; /* a pending client's; referenced */
    uint64_t received, read;    /* bytes ever queued here, and taken */
    uint64_t mark;              /* where in `received` the urgent byte was */
    bool has_mark, has_urgent;
    uint8_t urgent;
    uint64_t sent;
    /* Sent with MSG_MORE or TCP_CORK, and kept for more to come: a stream's for 200 ms, a datagram until it is whole. s.lock */
    struct skb *corked;
    struct inet_end cork_dst; /* of a datagram, and from where */
    struct inet_end cork_src;
    struct ktimer cork_timer; /* TCP; see tcp_data.c */
    /* Ends in the netstack, NULL while there are none; changed under s.lock. */
    struct tcp_sock *tp; /* this and `udp`: once there, until release */
    struct udp_ep *udp;
    struct raw_ep *raw;     /* SOCK_RAW, ping: always there */
    char congestion[16];    /* TCP_CONGESTION */
    int bound_if;           /* SO_BINDTODEVICE; 0: none. This and the rest: the netstack's lock */
    struct in_addr mc_addr; /* IP_MULTICAST_IF */
    uint16_t gso_size;      /* UDP_SEGMENT */
    uint8_t ip_opts[40];    /* IP_OPTIONS */
    uint8_t ip_opt_len;
    bool gro;      /* UDP_GRO */
    bool accepted; /* by accept(2), which asks for its peer's name once, even if that has reset it meanwhile; s.lock */
    bool net_turn; /* a listener's next connection is rather one from outside */
};

static inline struct inet_sock *inet_of(struct socket *s)
{
    return container_of(s, struct inet_sock, s);
}

/* addr.c */
/* Reads an address given to a call: 0, -EINVAL, -EAFNOSUPPORT. */
int must_check inet_addr_in(const struct inet_sock *i, const struct sock_addr *a, struct inet_end *out);
void inet_addr_out(const struct inet_sock *i, const struct inet_end *e, struct sock_addr *out);
int inet_getname(struct socket *s, bool peer, struct sock_addr *out);
bool inet_is_any(const struct in6_addr *a);                    /* 0.0.0.0 or :: */
bool inet_is_local(struct net *net, const struct in6_addr *a); /* one of ours */
bool inet_is_loopback(const struct in6_addr *a);               /* one of lo's */
bool inet_is_v4(const struct in6_addr *a);
/*
 * Where a message to `dst` goes (the wildcard means lo) and from where: 0: to somebody here; 1: out, by the netstack, which
 * finds the way itself; -ENETUNREACH, -EACCES for broadcast.
 */
int must_check inet_route(const struct inet_sock *i, struct inet_end *dst, struct in6_addr *src);

/* table.c */
#define INET_BUCKETS 512
struct inet_table {
    struct mutex lock;
    struct list_head bucket[INET_BUCKETS] GUARDED_BY(lock); /* inet_sock.port_node, by port */
    unsigned int next_port GUARDED_BY(lock);
};
struct inet_table *inet_table_create(void);
void inet_table_destroy(struct inet_table *tb);
struct inet_table *inet_table_of(const struct inet_sock *i);
/* bind(2). */
int inet_bind(struct socket *s, struct task *t, const struct sock_addr *a);
/* A port for a socket that has none; `remote` for the pair to be unique. s.lock is held. 0, -EADDRNOTAVAIL, -EAGAIN */
int must_check inet_autobind(struct inet_sock *i, const struct inet_end *remote);
/* Enters a socket that was made for an accepted connection, on its listener's port. */
void inet_table_add(struct inet_sock *i);
void inet_table_remove(struct inet_sock *i);
/* Who listens there, or receives datagrams from `src` there: referenced, or NULL. */
struct inet_sock *inet_find_listener(struct inet_table *tb, const struct inet_end *dst, const struct inet_end *src);
struct inet_sock *inet_find_udp(struct inet_table *tb, const struct inet_end *dst, const struct inet_end *src,
                                const struct skb *skb);
/* SO_ATTACH_REUSEPORT_CBPF; returns what was there. */
struct bpf_prog *inet_table_set_program(struct inet_sock *i, struct bpf_prog *p);
/* listen(2): 0 or -EADDRINUSE. s.lock is held. */
int inet_set_listening(struct inet_sock *i, unsigned int backlog);
/* Changes what look-ups see. s.lock is held. */
void inet_set_remote(struct inet_sock *i, const struct inet_end *remote, const struct in6_addr *src, enum tcp_state state);

/* tcp.c, tcp_data.c, udp.c */
extern const struct socket_ops lo_tcp_ops, lo_udp_ops;
struct inet_sock *inet_alloc(struct net *net, const struct socket_ops *ops, int family, int type, int protocol);
void inet_destroy(struct socket *s);
/* shutdown(2) of UDP and raw sockets. */
int inet_dgram_shutdown(struct socket *s, int how);
/* poll(2) of them, but for what the socket has to read and to tell of itself. */
uint32_t inet_dgram_poll(struct socket *s, bool readable, bool has_error);
ssize_t lo_tcp_sendmsg(struct socket *s, struct task *t, struct sk_msg *m);
ssize_t lo_tcp_recvmsg(struct socket *s, struct task *t, struct sk_msg *m);
uint32_t lo_tcp_poll(struct socket *s);
long lo_tcp_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
void lo_tcp_wmem_freed(struct socket *s);
void lo_tcp_cork_init(struct inet_sock *i);
void lo_tcp_uncork(struct inet_sock *i);            /* sends what is kept */
int lo_tcp_kernel_state(const struct inet_sock *i); /* TCP_ESTABLISHED... as the kernel numbers them */

/* A datagram that comes from nowhere in the sandbox. */
void lo_udp_deliver_from(struct net *net, const struct inet_end *src, const struct inet_end *dst, const void *data, size_t len);
struct inet_sock *lo_tcp_make_server(struct inet_sock *listener); /* an accepted connection's, as the listener is set up */
void lo_tcp_unprepare(struct inet_sock *i);                       /* back to before connect(2); s.lock is held */

/*
 * show.c: calls fn for all sockets of a protocol (IPPROTO_ICMP: ping sockets, IPPROTO_RAW: all raw ones) that have a port,
 * until it returns false: under a lock of the socket or the stack's. An entry's owner is the struct inet_sock, its port for a
 * raw one the protocol.
 */
typedef bool inet_show_fn(void *ctx, const struct tcp_entry *e);
void inet_for_each(struct net *net, int protocol, inet_show_fn *fn, void *ctx);
uint64_t inet_drops(const struct inet_sock *i); /* datagrams that found the queue full */

/* option.c */
/* What is to be told of a connection inside; s.lock is held. */
void lo_tcp_info(const struct inet_sock *i, struct tcp_info_full *info);
void inet_options_init(struct inet_options *o);
/* Calls fn for each option of a level that differs from its default. */
void inet_options_changed(const struct inet_options *o, int level, void (*fn)(void *arg, int name, int value), void *arg);
int inet_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len);
int inet_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len);

#define INET_LO_INDEX 1
#define INET_LO_MTU   65536

#endif
