/* What both families' IP have in common: transports, the way of a flow, and the last steps before the link. */
#include "netstack/ip.h"

#include "netstack/icmp.h"
#include "netstack/ip_internal.h"
#include "netstack/mcast.h"
#include "netstack/neigh.h"
#include "netstack/nic_internal.h"
#include "netstack/raw.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/if_ether.h>
#include <netinet/tcp.h>

void ip_register_proto(struct netstack *s, const struct ip_proto *proto)
{
    s->proto[proto->proto] = proto;
}

int ip_route(struct netstack *s, struct ip_flow *f)
{
    struct route_key k = {.dst = f->dst,
                          .src = f->src,
                          .oif = f->oif,
                          .mark = f->mark,
                          .uid = f->uid,
                          .tos = f->tos,
                          .proto = f->proto,
                          .sport = f->sport,
                          .dport = f->dport,
                          .src_any_ok = f->nonlocal_src};
    int r;

    if (route_valid(s, &f->rt))
        return 0;
    r = route_lookup(s, &k, &f->rt);
    if (r) {
        f->rt.nic = NULL;
        if (addr_is_v4(&f->dst))
            MIB_INC(s, IpOutNoRoutes);
        else
            MIB_INC(s, Ip6OutNoRoutes);
        return r;
    }
    if (f->dontroute && f->rt.gatewayed) {
        f->rt.nic = NULL;
        return -ENETUNREACH;
    }
    if (addr_is_any(&f->dst))
        f->dst = f->rt.nexthop; /* "this host" */
    f->src = f->rt.src;
    return 0;
}

uint16_t ip_next_id(struct netstack *s, const struct in6_addr *src, const struct in6_addr *dst, unsigned int n)
{
    be32 key[2] = {addr_v4(src), addr_v4(dst)};
    uint16_t *id = &s->ip_ids[netstack_hash(s, key, sizeof(key)) % ARRAY_SIZE(s->ip_ids)], was;

    if (!*id) /* begins anywhere: what others sent must not be countable */
        *id = netstack_random32(s);
    was = *id;
    *id += n;
    return was;
}

int ip_output(struct netstack *s, struct ip_flow *f, struct pkt *p)
{
    int r = ip_route(s, f);

    if (r) {
        pkt_free(p);
        return r;
    }
    p->mark = f->mark;
    p->priority = f->priority;
    p->iif = 0;
    p->nic = f->rt.nic;
    p->type = PACKET_OUTGOING;
    return addr_is_v4(&f->dst) ? ipv4_output(s, f, p) : ipv6_output(s, f, p);
}

/* Netfilter may have given the packet another destination or mark. */
static int reroute(struct netstack *s, struct ip_flow *f, struct pkt *p, const struct in6_addr *dst, uint32_t mark,
                   struct route_result *rt) NETSTACK_LOCKED
{
    struct route_key k = {.dst = p->ip.dst,
                          .src = p->ip.src,
                          .oif = f->oif,
                          .mark = p->mark,
                          .uid = f->uid,
                          .tos = f->tos,
                          .proto = f->proto,
                          .src_any_ok = true};

    if (addr_equal(&p->ip.dst, dst) && p->mark == mark)
        return 0;
    return route_lookup(s, &k, rt);
}

int ip_output_routed(struct netstack *s, struct ip_flow *f, struct pkt *p, bool dontfrag)
{
    struct route_result rt = f->rt;
    struct in6_addr dst = f->dst;
    uint32_t mark = p->mark;
    bool v4 = addr_is_v4(&f->dst);
    int r;

    if (s->hook[NF_INET_LOCAL_OUT]) {
        if (!ip_hook(s, NF_INET_LOCAL_OUT, p, NULL, rt.nic))
            return -EPERM;
        if (v4)
            ipv4_parse(p);
        else
            ipv6_parse(p);
        r = reroute(s, f, p, &dst, mark, &rt);
        if (r) {
            pkt_free(p);
            return r;
        }
    }
    if (rt.type == RTN_MULTICAST || rt.type == RTN_BROADCAST) {
        bool member = rt.type == RTN_BROADCAST || (f->mc_loop && mcast_nic_find(rt.nic, &f->dst));

        if (member && !(rt.nic->features & NIC_LOOPBACK))
            ip_loop_back(s, rt.nic, p);
        if (f->mc_local && rt.type == RTN_MULTICAST && !(rt.nic->features & NIC_LOOPBACK)) {
            pkt_free(p);
            return 0;
        }
    }
    return ip_finish(s, &rt, p, dontfrag);
}

void ip_loop_back(struct netstack *s, struct nic *nic, struct pkt *p)
{
    struct pkt *c = pkt_clone(p);
    bool ok = c;

    if (c && c->csum == PKT_CSUM_NONE)
        c->csum = PKT_CSUM_VERIFIED; /* we made it */
    if (ok && s->backlog.n < 1000) {
        c->nic = nic;
        c->iif = nic->index;
        c->type = PACKET_LOOPBACK;
        pkt_queue_add(&s->backlog, c);
    } else {
        pkt_free(c);
    }
}

size_t ip_wire_len(const struct pkt *p)
{
    size_t hdr;

    if (p->gso == PKT_GSO_NONE)
        return p->len;
    hdr = p->l4 - pkt_offset(p);
    /* What a link calls a train may lack the header that would say how its segments look. */
    if (hdr + sizeof(struct tcphdr) > p->lin)
        return p->len;
    if (p->gso == PKT_GSO_UDP)
        hdr += 8;
    else
        hdr += ((struct tcphdr *)pkt_l4(p))->doff * 4;
    return hdr + p->gso_size < p->len ? hdr + p->gso_size : p->len;
}

void ip_to_link(struct netstack *s, const struct route_result *rt, struct pkt *p)
{
    static const uint8_t broadcast[MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct nic *nic = rt->nic;
    uint8_t mac[MAC_LEN];

    p->nic = nic;
    if (addr_is_v4(&p->ip.dst))
        MIB_INC(s, IpOutTransmits);
    else
        MIB_INC(s, Ip6OutTransmits);
    if (rt->type == RTN_MULTICAST && !(nic->features & NIC_NO_ARP)) {
        mcast_mac(&p->ip.dst, mac);
        nic_xmit_to(nic, p, mac, htons(addr_is_v4(&p->ip.dst) ? ETHERTYPE_IP : ETHERTYPE_IPV6));
    } else if (rt->type == RTN_BROADCAST && !(nic->features & NIC_NO_ARP)) {
        nic_xmit_to(nic, p, broadcast, htons(ETHERTYPE_IP));
    } else {
        neigh_output(nic, &rt->nexthop, p);
    }
}

/* A GSO packet whose segments do not fit the link: cut here, and each again. */
static int segment_and_fragment(struct netstack *s, const struct route_result *rt, struct pkt *p) NETSTACK_LOCKED
{
    struct pkt_queue q;
    int r = 0;

    pkt_queue_init(&q);
    if (!gso_segment(p, false, &q))
        return -ENOBUFS;
    while ((p = pkt_queue_take(&q))) {
        int e = addr_is_v4(&p->ip.dst) ? ipv4_fragment(s, rt, p) : ipv6_fragment(s, rt, p);
        r = e ? e : r;
    }
    return r;
}

int ip_finish(struct netstack *s, const struct route_result *rt, struct pkt *p, bool dontfrag)
{
    bool v4 = addr_is_v4(&p->ip.dst);

    p->nic = rt->nic;
    if (!ip_hook(s, NF_INET_POST_ROUTING, p, NULL, rt->nic))
        return -EPERM;
    if (s->hook[NF_INET_POST_ROUTING]) { /* SNAT */
        if (v4)
            ipv4_parse(p);
        else
            ipv6_parse(p);
    }
    if (likely(ip_wire_len(p) <= rt->mtu)) {
        ip_to_link(s, rt, p);
        return 0;
    }
    if (dontfrag) {
        if (v4)
            MIB_INC(s, IpFragFails);
        else
            MIB_INC(s, Ip6FragFails);
        pkt_free(p);
        return -EMSGSIZE;
    }
    if (p->gso != PKT_GSO_NONE)
        return segment_and_fragment(s, rt, p);
    return v4 ? ipv4_fragment(s, rt, p) : ipv6_fragment(s, rt, p);
}

void ip_deliver(struct netstack *s, struct pkt *p)
{
    const struct ip_proto *proto = s->proto[p->ip.proto];
    bool raw, v4 = addr_is_v4(&p->ip.dst);

    pkt_set_l4(p);
    raw = raw_input(s, p);
    if (proto) {
        if (v4)
            MIB_INC(s, IpInDelivers);
        else
            MIB_INC(s, Ip6InDelivers);
        proto->input(s, p);
        return;
    }
    if (raw) {
        if (v4)
            MIB_INC(s, IpInDelivers);
        else
            MIB_INC(s, Ip6InDelivers);
    } else if (v4) {
        MIB_INC(s, IpInUnknownProtos);
        icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
    } else {
        MIB_INC(s, Ip6InUnknownProtos);
        icmp_send_error(s, p, ICMPV6_PARAMPROB, ICMPV6_UNK_NEXTHDR, 6);
    }
    pkt_free(p);
}

bool ip_csum_ok(struct pkt *p)
{
    if (p->csum != PKT_CSUM_NONE)
        return true;
    if (csum_fold16(pkt_csum(p, 0, p->len, csum_pseudo(&p->ip.src, &p->ip.dst, p->ip.proto, p->len))) != 0xffff)
        return false;
    p->csum = PKT_CSUM_VERIFIED;
    return true;
}
