/*
 * What TCP, UDP and raw endpoints have in common, and the tables that find them by address and port.
 *
 * An endpoint is embedded in its protocol's, which is embedded in, or points by `owner` to, a socket. All under the stack's
 * lock.
 */
#ifndef NETSTACK_ENDPOINT_H
#define NETSTACK_ENDPOINT_H

#include "netstack/ip.h"
#include "netstack/mcast.h"

struct endpoint;

struct endpoint_cb {
    /* Something changed: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLPRI. Under the lock: no calls back. */
    void (*ready)(struct endpoint *ep, uint32_t events);
    /* An error to be kept as SO_ERROR (positive). */
    void (*error)(struct endpoint *ep, int err);
    /* A socket filter: how many bytes of the packet (from data on) to keep; 0 drops it. NULL: no filter. */
    uint32_t (*filter)(struct endpoint *ep, const struct pkt *p);
};

struct endpoint {
    struct netstack *stack;
    const struct endpoint_cb *cb;
    void *owner;
    struct list_head conn_node;   /* in port_table.conn when connected */
    struct list_head listen_node; /* in port_table.listen when bound and not connected */
    struct list_head bind_node;   /* in its bucket when it has a port */
    struct port_bucket *bucket;

    int family; /* of the socket: AF_INET, AF_INET6 */
    int proto;
    struct in6_addr laddr, raddr; /* any of the family when open; :: of an AF_INET6 socket hears IPv4 too unless v6only */
    be16 lport, rport;
    int bound_if;   /* SO_BINDTODEVICE; 0: none */
    int unicast_if; /* IP_UNICAST_IF */
    uint32_t uid;   /* owner of the socket */
    uint32_t mark, priority;
    struct ip_flow flow; /* of a connected one: kept for its cached route */

    /* Options, set by the socket layer as it likes. */
    bool v6only, reuseaddr, reuseport, freebind, transparent, broadcast, dontroute;
    bool recverr4, recverr6, mc_all4, mc_all6, mc_loop4, mc_loop6;
    uint8_t ttl, hop_limit;  /* 0: default */
    uint8_t mc_ttl, mc_hops; /* 1 */
    uint8_t tos, tclass;
    uint8_t pmtudisc4, pmtudisc6; /* IP_PMTUDISC_WANT */
    uint8_t min_ttl, min_hops;
    bool dontfrag6, flowlabel_send;
    be32 flowlabel;
    int mc_if4, mc_if6;       /* interface index for multicast; 0: by route */
    struct in6_addr mc_addr4; /* IP_MULTICAST_IF's address: source of multicast; any: unset */
    uint8_t opt_len;          /* IP_OPTIONS */
    uint8_t opts[40];
    uint8_t *ext6; /* IPV6_RTHDR, HOPOPTS, DSTOPTS joined as struct ip_flow wants them; freed with the endpoint */
    uint16_t ext6_len, ext6_last;
    uint8_t ext6_first;

    /* For the port table. */
    bool connected; /* in conn */
    bool listening; /* TCP: reuseaddr does not let another bind beside a listener */
    bool autobound; /* port chosen by the stack: may be shared by connections to other peers */
    bool inherits;  /* an accepted connection: its port is its listener's */
    uint32_t seq;   /* order of binding */

    struct list_head mcast; /* struct mcast_member */
    int nr_mcast;
    struct pkt_queue errq; /* MSG_ERRQUEUE; the data is the payload, see pkt->err */
};

/* Defaults of everything; `family` as the socket's. */
void endpoint_init(struct endpoint *ep, struct netstack *s, const struct endpoint_cb *cb, void *owner, int family, int proto);
/* Leaves tables and groups, frees queues. */
void endpoint_fini(struct endpoint *ep) NETSTACK_LOCKED;

/* Fills a flow from the endpoint's options for packets to `dst`. */
void endpoint_flow(struct endpoint *ep, const struct in6_addr *dst, struct ip_flow *f) NETSTACK_LOCKED;
/* Puts an entry into the error queue (`payload` may be NULL; it is cloned from its data on) and says EPOLLERR. */
void endpoint_queue_error(struct endpoint *ep, const struct sock_extended_err *ee, const struct in6_addr *offender,
                          const struct in6_addr *dst, be16 port, struct pkt *payload) NETSTACK_LOCKED;
/* Deals with an ICMP error as UDP and raw do: error queue when IP_RECVERR is on, SO_ERROR when it is or when it is hard and the
 * endpoint is connected. p->ip.dst is where the packet was going. Data begins at the payload. */
void endpoint_icmp_error(struct endpoint *ep, struct pkt *p, const struct icmp_error *e, be16 dport) NETSTACK_LOCKED;
/* An error that the stack itself found on sending (EMSGSIZE): into the error queue if asked for. */
void endpoint_local_error(struct endpoint *ep, int err, uint32_t info, const struct in6_addr *dst, be16 port) NETSTACK_LOCKED;

/* May a socket have this local address: ours, any, multicast, broadcast; freebind. -EADDRNOTAVAIL, -EAFNOSUPPORT. */
int must_check endpoint_check_laddr(struct endpoint *ep, const struct in6_addr *addr, int scope_if) NETSTACK_LOCKED;

/* One per protocol. */
struct port_table;
int must_check port_table_create(struct netstack *s, struct port_table **out);
void port_table_destroy(struct port_table *t); /* must be empty */

/*
 * Gives the endpoint a local port and address. `port` 0: one that is free. Rules for sharing a port are Linux's: different
 * addresses or devices; all with SO_REUSEADDR and none listening (datagrams: that is all); all with SO_REUSEPORT and one uid.
 * -EADDRINUSE. Does not check that the address exists (endpoint_check_laddr) nor that the port is privileged.
 */
int must_check port_bind(struct port_table *t, struct endpoint *ep, const struct in6_addr *addr, be16 port) NETSTACK_LOCKED;
/* May this be bound without harm? As port_bind but changes nothing; for listen(), which has stricter rules (ep->listening set).
 */
bool port_bind_ok(struct port_table *t, struct endpoint *ep) NETSTACK_LOCKED;
/* Enters a connection: laddr, raddr, rport are set; lport 0 chooses one such that the four are unique. -EADDRNOTAVAIL. */
int must_check port_connect(struct port_table *t, struct endpoint *ep) NETSTACK_LOCKED;
/* Enters an accepted connection, which shares its listener's port. -EADDRNOTAVAIL: the four are taken. */
int must_check port_accept(struct port_table *t, struct endpoint *ep, struct endpoint *listener) NETSTACK_LOCKED;
/* Back to only bound. */
void port_disconnect(struct port_table *t, struct endpoint *ep) NETSTACK_LOCKED;
/* Gives up the port, connected or bound. */
void port_unbind(struct port_table *t, struct endpoint *ep) NETSTACK_LOCKED;
/* `to` takes the place of `from` in all tables (TIME_WAIT's small stand-in). Both have the same addresses. */
void port_replace(struct port_table *t, struct endpoint *from, struct endpoint *to) NETSTACK_LOCKED;

/* Who gets a packet from raddr:rport to laddr:lport that came by `nic`: the connection, else who is bound best; of several
 * SO_REUSEPORT ones, chosen by a hash of the four. NULL: nobody. */
struct endpoint *port_lookup(struct port_table *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr,
                             be16 rport, const struct nic *nic) NETSTACK_LOCKED;
struct endpoint *port_lookup_connected(struct port_table *t, const struct in6_addr *laddr, be16 lport,
                                       const struct in6_addr *raddr, be16 rport, const struct nic *nic) NETSTACK_LOCKED;
/* Calls fn for all endpoints that hear packets so addressed (multicast, broadcast); fn must not unbind. */
void port_for_each_match(struct port_table *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr,
                         be16 rport, const struct nic *nic, void (*fn)(struct endpoint *ep, void *arg),
                         void *arg) NETSTACK_LOCKED;

#endif
