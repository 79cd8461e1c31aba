/* UDP and UDP-Lite endpoints. */
#ifndef NETSTACK_UDP_H
#define NETSTACK_UDP_H

#include "netstack/endpoint.h"

struct udp_ep {
    struct endpoint ep;
    struct pkt_queue rq;                       /* received: data begins at the payload; p->ip and p->udp say the rest */
    uint32_t rcvbuf;                           /* limit of rq.memory */
    uint64_t drops;                            /* SO_RXQ_OVFL */
    uint16_t gso_size;                         /* UDP_SEGMENT; 0: off */
    bool gro;                                  /* UDP_GRO: packets with gso_size set may be received whole */
    bool no_check, no_check6_rx, no_check6_tx; /* SO_NO_CHECK, UDP_NO_CHECK6_* */
    bool rx_shutdown, tx_shutdown;
    uint16_t lite_send_cov, lite_recv_cov; /* UDPLITE_*_CSCOV; 0: all */
    struct in6_addr bound_addr;            /* what bind() said: laddr when no longer connected */
    bool port_auto;                        /* the port was not asked for: gone when no longer connected */
    uint64_t rx_packets, rx_bytes;
};

/* How one message is sent, where it differs from the endpoint's options. */
struct udp_send {
    struct in6_addr dst; /* where to; ignored if !has_dst */
    be16 dport;
    bool has_dst;
    struct in6_addr src; /* IP_PKTINFO; any: not given */
    int oif;             /* ditto, or sin6_scope_id; 0: not given */
    int ttl, tos;        /* -1: not given */
    uint16_t gso_size;   /* UDP_SEGMENT; 0: not given */
    be32 flowlabel;
    bool dontroute, confirm;
    uint8_t opt_len;
    const uint8_t *opts;
};
#define UDP_SEND_INIT        \
    {                        \
        .ttl = -1, .tos = -1 \
    }

void udp_ep_init(struct udp_ep *u, struct netstack *s, const struct endpoint_cb *cb, void *owner, int family,
                 int proto) NETSTACK_LOCKED; /* proto: IPPROTO_UDP, IPPROTO_UDPLITE */
void udp_ep_fini(struct udp_ep *u) NETSTACK_LOCKED;

/* As the system calls: address checks included, privileged ports not. `scope_if`: sin6_scope_id. */
int must_check udp_bind(struct udp_ep *u, const struct in6_addr *addr, be16 port, int scope_if) NETSTACK_LOCKED;
int must_check udp_connect(struct udp_ep *u, const struct in6_addr *addr, be16 port, int scope_if) NETSTACK_LOCKED;
int udp_disconnect(struct udp_ep *u) NETSTACK_LOCKED;
/* Sends the payload, which is consumed even on failure: pkt_alloc(PKT_HEADROOM, ...) filled by the caller. 0, or errno of
 * sendmsg: -EDESTADDRREQ, -EMSGSIZE, -EACCES (broadcast), -ENETUNREACH, -EINVAL, -ENOBUFS... */
int udp_send(struct udp_ep *u, const struct udp_send *how, struct pkt *p) NETSTACK_LOCKED;
/* The first datagram: the caller owns it, or with `peek` gets it still queued, to be cloned. NULL: none. */
struct pkt *udp_recv(struct udp_ep *u, bool peek) NETSTACK_LOCKED;

/* The table of UDP or UDP-Lite, for listing. */
struct port_table *udp_table(struct netstack *s, int proto);

int must_check udp_create(struct netstack *s) NETSTACK_LOCKED;
void udp_destroy(struct netstack *s);

#endif
