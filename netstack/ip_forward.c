/* Forwarding, both families: packets for others, as far as the stack is a router. */
#include "netstack/icmp.h"
#include "netstack/ip_internal.h"

#include <errno.h>
#include <linux/if_packet.h>

static void unreachable(struct netstack *s, struct pkt *p, bool v4, int err) NETSTACK_LOCKED
{
    if (v4)
        icmp_send_error(s, p, ICMP_DEST_UNREACH,
                        err == -EACCES         ? ICMP_PKT_FILTERED
                        : err == -EHOSTUNREACH ? ICMP_HOST_UNREACH
                                               : ICMP_NET_UNREACH,
                        0);
    else
        icmp_send_error(s, p, ICMPV6_DEST_UNREACH,
                        err == -EACCES         ? ICMPV6_ADM_PROHIBITED
                        : err == -EHOSTUNREACH ? ICMPV6_ADDR_UNREACH
                                               : ICMPV6_NOROUTE,
                        0);
}

static bool may_forward(struct nic *nic, const struct pkt *p, bool v4)
{
    struct netstack *s = nic->stack;

    if (p->type != PACKET_HOST)
        return false;
    if (v4)
        return s->sysctl.ip_forward || nic->conf.forwarding4;
    return (s->sysctl.ip6_forward || nic->conf.forwarding6) && !addr_is_any(&p->ip.src) && !addr_is_linklocal(&p->ip.dst) &&
           !addr_is_linklocal(&p->ip.src);
}

void ip_forward(struct nic *nic, struct pkt *p)
{
    struct netstack *s = nic->stack;
    bool v4 = addr_is_v4(&p->ip.dst), df;
    struct route_key k = {.dst = p->ip.dst,
                          .src = p->ip.src,
                          .iif = nic->index,
                          .mark = p->mark,
                          .tos = p->ip.tos,
                          .proto = p->ip.proto,
                          .src_any_ok = true};
    struct route_result rt;
    size_t hdr = v4 ? 20 + p->ip.opt_len : 40;
    int r;

    if (!may_forward(nic, p, v4)) {
        if (v4)
            MIB_INC(s, IpInAddrErrors);
        else
            MIB_INC(s, Ip6InAddrErrors);
        goto drop;
    }
    if (p->ip.ttl <= 1) {
        if (v4)
            MIB_INC(s, IpInHdrErrors);
        else
            MIB_INC(s, Ip6InHdrErrors);
        icmp_send_error(s, p, v4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEED, 0, 0);
        goto drop;
    }
    r = route_lookup(s, &k, &rt);
    if (!r && rt.type == RTN_LOCAL)
        r = -ENETUNREACH;
    if (r) {
        if (v4)
            MIB_INC(s, IpExtInNoRoutes);
        else
            MIB_INC(s, Ip6InNoRoutes);
        if (r != -EINVAL) /* a blackhole says nothing */
            unreachable(s, p, v4, r);
        goto drop;
    }
    if (p->gso != PKT_GSO_NONE)
        (void)pkt_need(p, hdr + 20); /* for ip_wire_len() */
    if (!v4)
        rt.mtu = rt.mtu < 1280 ? 1280 : rt.mtu;
    df = !v4 || (((struct iphdr *)pkt_l3(p))->frag_off & htons(IP_DF));
    if (df && ip_wire_len(p) > rt.mtu) {
        if (v4) {
            MIB_INC(s, IpFragFails);
            icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, htonl(rt.mtu));
        } else {
            MIB_INC(s, Ip6InTooBigErrors);
            icmp_send_error(s, p, ICMPV6_PKT_TOOBIG, 0, rt.mtu);
        }
        goto drop;
    }
    if (!pkt_writable(p, hdr))
        goto drop;
    if (v4) {
        struct iphdr *ip = pkt_l3(p);
        be16 old, new;

        memcpy(&old, &ip->ttl, 2);
        ip->ttl--;
        memcpy(&new, &ip->ttl, 2);
        be16 check = ip->check;
        csum_replace2(&check, old, new);
        ip->check = check;
        MIB_INC(s, IpForwDatagrams);
    } else {
        ((struct ip6_hdr *)pkt_l3(p))->ip6_hlim--;
        MIB_INC(s, Ip6OutForwDatagrams);
    }
    p->ip.ttl--;
    if (!ip_hook(s, NF_INET_FORWARD, p, nic, rt.nic))
        return;
    (void)ip_finish(s, &rt, p, df);
    return;
drop:
    pkt_free(p);
}
