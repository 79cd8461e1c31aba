/* What the files of the IP layer share. */
#ifndef NETSTACK_IP_INTERNAL_H
#define NETSTACK_IP_INTERNAL_H

#include "netstack/csum.h"
#include "netstack/ip.h"

#include <linux/netfilter.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

/* Gives a packet for us, data at the transport header and p->ip complete, to raw endpoints and its transport. */
void ip_deliver(struct netstack *s, struct pkt *p) NETSTACK_LOCKED;

/* The last part of the way: POSTROUTING, fragments, the neighbour. Data at the IP header. Consumes. 0 or -EMSGSIZE, -EPERM. */
int ip_finish(struct netstack *s, const struct route_result *rt, struct pkt *p, bool dontfrag) NETSTACK_LOCKED;
/* Length of the longest packet that will be on the wire: a segment's with its headers for GSO ones. */
size_t ip_wire_len(const struct pkt *p);
/* Hands a copy of a multicast or broadcast packet, data at the IP header, to ourselves, as received by `nic`. */
void ip_loop_back(struct netstack *s, struct nic *nic, struct pkt *p) NETSTACK_LOCKED;

/* Reads addresses and the like from the header at l3 into p->ip. */
void ipv4_parse(struct pkt *p);
void ipv6_parse(struct pkt *p);

/* Cut a packet that is too long, and send the pieces. Consume. */
int ipv4_fragment(struct netstack *s, const struct route_result *rt, struct pkt *p) NETSTACK_LOCKED;
int ipv6_fragment(struct netstack *s, const struct route_result *rt, struct pkt *p) NETSTACK_LOCKED;
/* To the link: neighbour, group or broadcast. Consumes. */
void ip_to_link(struct netstack *s, const struct route_result *rt, struct pkt *p) NETSTACK_LOCKED;

int ipv4_output(struct netstack *s, struct ip_flow *f, struct pkt *p) NETSTACK_LOCKED;
int ipv6_output(struct netstack *s, struct ip_flow *f, struct pkt *p) NETSTACK_LOCKED;
/* After LOCAL_OUT: multicast copies, and ip_finish. The hook may have changed addresses or mark: then the way is found anew. */
int ip_output_routed(struct netstack *s, struct ip_flow *f, struct pkt *p, bool dontfrag) NETSTACK_LOCKED;
uint16_t ip_next_id(struct netstack *s, const struct in6_addr *src, const struct in6_addr *dst, unsigned int n) NETSTACK_LOCKED;

/* A packet that is not for us. Consumes. */
void ip_forward(struct nic *nic, struct pkt *p) NETSTACK_LOCKED;

/* Checks IPv4 options of `len` bytes. -1: fine; else the offset in the header of what is wrong with them. */
int ipv4_options_check(const uint8_t *opts, size_t len, bool *source_route);

static inline void ipv4_header_csum(struct iphdr *ip)
{
    ip->check = 0;
    ip->check = csum_finish(csum_partial(ip, ip->ihl * 4, 0));
}

/* Runs a hook. False: the packet is gone. */
NETSTACK_LOCKED static inline bool ip_hook(struct netstack *s, int hook, struct pkt *p, struct nic *in, struct nic *out)
{
    if (!s->hook[hook])
        return true;
    switch (s->hook[hook](s, hook, p, in, out)) {
    case NF_STACK_ACCEPT:
        return true;
    case NF_STACK_DROP:
        pkt_free(p);
        return false;
    default:
        return false;
    }
}

#endif
