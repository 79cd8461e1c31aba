/*
 * IP of both families: sending, and what transports hang themselves into.
 */
#ifndef NETSTACK_IP_H
#define NETSTACK_IP_H

#include "netstack/route.h"

/* How a packet is to travel. Transports keep one per endpoint or connection; ip_route() fills in what is open. */
struct ip_flow {
    struct in6_addr dst, src; /* src any: chosen by ip_route() */
    uint8_t proto;
    uint8_t ttl;      /* 0: the default (1 for multicast) */
    uint8_t tos;      /* or traffic class */
    uint8_t pmtudisc; /* IP_PMTUDISC_*; IPV6_PMTUDISC_* have the same values */
    be32 flowlabel;   /* IPv6, 20 bits */
    uint32_t mark, priority, uid;
    int oif;           /* 0: any */
    be16 sport, dport; /* for rules and conntrack only */
    bool nonlocal_src; /* src need not be ours: IP_TRANSPARENT, IP_FREEBIND */
    bool mc_local;     /* multicast: only to our own members (a TTL of 0) */
    bool mc_loop;      /* multicast: our own members get a copy */
    bool dontroute;    /* only to neighbours (SO_DONTROUTE, MSG_DONTROUTE) */
    bool dontfrag;     /* IPV6_DONTFRAG */
    uint8_t opt_len;   /* IPv4 options, a multiple of 4; a source route's last hop is in dst */
    const uint8_t *opts;
    uint16_t ext_len;  /* IPv6 extension headers, complete but for the last next-header byte */
    uint8_t ext_first; /* type of the first; */
    uint16_t ext_last; /* offset of the last one's next-header byte in `ext` */
    const uint8_t *ext;
    struct route_result rt; /* cached: looked up again when no longer valid */
};

/* Finds the way, if that is not done yet, and with it src. As route_lookup(). */
int must_check ip_route(struct netstack *s, struct ip_flow *f) NETSTACK_LOCKED;
/* The largest packet of the flow's path, and the bytes of IP headers (options included) in it. After ip_route(). */
static inline uint32_t ip_flow_mtu(const struct ip_flow *f)
{
    return f->rt.mtu;
}
static inline uint32_t ip_flow_hdr_len(const struct ip_flow *f)
{
    return addr_is_v4(&f->dst) ? 20 + f->opt_len : 40 + f->ext_len;
}

/*
 * Sends a packet whose data begins at the transport header: routes, prepends the IP header, runs the hooks, fragments, finds
 * the neighbour. Consumes the packet. GSO packets may be longer than the MTU, their segments must not. 0, -EMSGSIZE (must not
 * be fragmented), -ENETUNREACH..., -EPERM (a hook dropped it), -ENOBUFS.
 */
int ip_output(struct netstack *s, struct ip_flow *f, struct pkt *p) NETSTACK_LOCKED;
/* The same for a packet that begins with a complete IP header (IP_HDRINCL): length, identification 0 and checksum are filled
 * in. */
int ip_output_raw(struct netstack *s, struct ip_flow *f, struct pkt *p) NETSTACK_LOCKED;

/* An ICMP error that a router or the peer sent about a packet of ours. */
struct icmp_error {
    uint8_t type, code;       /* of ICMP or ICMPv6 */
    bool hard;                /* ends connections: port, protocol unreachable and the like */
    int err;                  /* positive errno that Linux makes of it */
    uint32_t info;            /* the MTU of "packet too big", else 0 */
    struct in6_addr offender; /* who says so */
};

struct ip_proto {
    uint8_t proto;
    /* A packet for us: data begins at the transport header, l3 and l4 are set, p->ip is complete, p->len is what IP says. Owns
     * it. */
    void (*input)(struct netstack *s, struct pkt *p);
    /* An error about a packet of ours: data begins at its transport header, of which at least 8 bytes are there and linear;
     * p->ip describes the packet that we sent (src is ours). Does not own it. */
    void (*error)(struct netstack *s, struct pkt *p, const struct icmp_error *e);
};
/* `proto` lives as long as the stack. */
void ip_register_proto(struct netstack *s, const struct ip_proto *proto) NETSTACK_LOCKED;

/* Sends an ICMP error about a received packet (l3 set), as far as rules and rate limits allow. `p` is not consumed. type and
 * code are ICMP's or ICMPv6's as the packet's family demands. */
void icmp_send_error(struct netstack *s, struct pkt *p, uint8_t type, uint8_t code, uint32_t info) NETSTACK_LOCKED;
/* Port unreachable, of either family. */
void icmp_send_port_unreach(struct netstack *s, struct pkt *p) NETSTACK_LOCKED;

/* Is the transport checksum right? Sets PKT_CSUM_VERIFIED. Data begins at the transport header. */
bool ip_csum_ok(struct pkt *p);
/* The pseudo-header's sum of an outgoing packet, for a checksum field with PKT_CSUM_PARTIAL: csum_fold16() of it. */

/* eth input */
void ipv4_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED;
void ipv6_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED;

uint32_t csum_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t proto, uint32_t len);
static inline uint32_t ip_flow_pseudo(const struct ip_flow *f, uint32_t len)
{
    return csum_pseudo(&f->src, &f->dst, f->proto, len);
}

#endif
