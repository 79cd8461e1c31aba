/* Raw IP endpoints (SOCK_RAW), and ping ones (SOCK_DGRAM with IPPROTO_ICMP or ICMPV6). */
#ifndef NETSTACK_RAW_H
#define NETSTACK_RAW_H

#include "netstack/endpoint.h"

#include <linux/icmp.h>
#include <linux/icmpv6.h>

struct raw_ep {
    struct endpoint ep;
    struct list_head node;
    struct pkt_queue rq; /* AF_INET: data begins at the IP header; AF_INET6: at the payload; ping: at the ICMP header */
    uint32_t rcvbuf;
    uint64_t drops;
    bool ping; /* lport is the identifier of its echo requests */
    bool hdrincl;
    uint32_t icmp_filter;     /* ICMP_FILTER: a bit set drops the type */
    uint32_t icmp6_filter[8]; /* ICMPV6_FILTER */
    int csum_offset;          /* IPV6_CHECKSUM; -1: none */
    bool rx_shutdown, tx_shutdown;
};

struct raw_send {
    struct in6_addr dst;
    bool has_dst;
    struct in6_addr src;
    int oif, ttl, tos; /* ttl, tos -1: not given */
    be32 flowlabel;
    bool dontroute;
    uint8_t opt_len;
    const uint8_t *opts;
};
#define RAW_SEND_INIT        \
    {                        \
        .ttl = -1, .tos = -1 \
    }

/* proto: 0..255; IPPROTO_RAW only sends, with its own header. */
void raw_ep_init(struct raw_ep *r, struct netstack *s, const struct endpoint_cb *cb, void *owner, int family, int proto,
                 bool ping) NETSTACK_LOCKED;
void raw_ep_fini(struct raw_ep *r) NETSTACK_LOCKED;
int must_check raw_bind(struct raw_ep *r, const struct in6_addr *addr, be16 ping_id, int scope_if) NETSTACK_LOCKED;
int must_check raw_connect(struct raw_ep *r, const struct in6_addr *addr, int scope_if) NETSTACK_LOCKED;
int raw_disconnect(struct raw_ep *r) NETSTACK_LOCKED;
/* Consumes the packet, which begins at the payload (with hdrincl: at the IP header; ping: at the ICMP header). */
int raw_send(struct raw_ep *r, const struct raw_send *how, struct pkt *p) NETSTACK_LOCKED;
struct pkt *raw_recv(struct raw_ep *r, bool peek) NETSTACK_LOCKED;

/* From IP: gives copies to all who want them; p is not consumed. True: somebody got it. Data begins at the transport header. */
bool raw_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED;
/* ICMP errors about packets of ours, whatever the protocol. */
void raw_error(struct netstack *s, struct pkt *p, const struct icmp_error *e) NETSTACK_LOCKED;

#endif
