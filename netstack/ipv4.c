/* IPv4: checking what comes in, headers of what goes out, fragments. */
#include "netstack/icmp.h"
#include "netstack/ip_frag.h"
#include "netstack/ip_internal.h"
#include "netstack/mcast.h"

#include <errno.h>
#include <linux/if_packet.h>

void ipv4_parse(struct pkt *p)
{
    const struct iphdr *ip = pkt_l3(p);

    p->ip.src = addr_from_v4(ip->saddr);
    p->ip.dst = addr_from_v4(ip->daddr);
    p->ip.proto = ip->protocol;
    p->ip.ttl = ip->ttl;
    p->ip.tos = ip->tos;
    p->ip.opt_len = ip->ihl * 4 - 20;
}

int ipv4_options_check(const uint8_t *opts, size_t len, bool *source_route)
{
    *source_route = false;
    for (size_t i = 0; i < len;) {
        size_t n;

        if (opts[i] == IPOPT_END)
            break;
        if (opts[i] == IPOPT_NOOP) {
            i++;
            continue;
        }
        if (len - i < 2 || opts[i + 1] < 2 || opts[i + 1] > len - i)
            return 20 + i;
        n = opts[i + 1];
        switch (opts[i]) {
        case IPOPT_LSRR:
        case IPOPT_SSRR:
            *source_route = true;
            /* fallthrough */
        case IPOPT_RR:
            if (n < 3 || opts[i + 2] < 4)
                return 20 + i + 2;
            break;
        case IPOPT_TS:
            if (n < 4 || opts[i + 2] < 5)
                return 20 + i + 2;
            break;
        default:
            break;
        }
        i += n;
    }
    return -1;
}

/* Addresses that must not be on the wire (RFC 1122 3.2.1.3), and ours as somebody else's. */
static bool martian(struct nic *nic, const struct pkt *p, int type) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    const struct in6_addr *src = &p->ip.src;
    bool lo = nic->features & NIC_LOOPBACK;

    if (addr_is_multicast(src) || addr_is_limited_broadcast(src))
        return true;
    if (addr_is_any(src))
        return type != RTN_BROADCAST && type != RTN_MULTICAST;
    if (lo || p->type == PACKET_LOOPBACK)
        return false;
    if (addr_is_loopback(src) || addr_is_loopback(&p->ip.dst))
        return true;
    return !nic->conf.accept_local && !s->sysctl.accept_local && route_addr_type(s, src, NULL) != RTN_UNICAST;
}

/* Strict (1): the way back leads over the same link. Loose (2): there is a way back. */
static bool reverse_path_ok(struct nic *nic, const struct pkt *p) NETSTACK_LOCKED
{
    int filter = nic->conf.rp_filter > nic->stack->sysctl.rp_filter ? nic->conf.rp_filter : nic->stack->sysctl.rp_filter;
    struct route_key k = {.dst = p->ip.src, .src = p->ip.dst, .mark = p->mark, .src_any_ok = true};
    struct route_result r;

    if (filter <= 0 || (nic->features & NIC_LOOPBACK) || addr_is_any(&p->ip.src) || p->type == PACKET_LOOPBACK)
        return true;
    if (route_lookup(nic->stack, &k, &r))
        return false;
    return filter == 2 || r.nic == nic;
}

/* Takes a fragment; the whole datagram, data at its IP header, when it was the last that was missing. */
static struct pkt *reassemble(struct nic *nic, struct pkt *p) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    const struct iphdr *ip = pkt_l3(p);
    struct frag_info fi = {.src = p->ip.src,
                           .dst = p->ip.dst,
                           .id = ip->id,
                           .proto = ip->protocol,
                           .offset = (ntohs(ip->frag_off) & IP_OFFMASK) * 8,
                           .more = ip->frag_off & htons(IP_MF),
                           .dontfrag = ip->frag_off & htons(IP_DF),
                           .size = p->len};
    struct ip_info info = p->ip;
    uint16_t frag_max;
    uint8_t next;
    struct iphdr *whole;
    size_t hdr;

    pkt_pull(p, ip->ihl * 4);
    p = frag_add(nic, p, &fi, &next, &frag_max);
    if (!p)
        return NULL;
    hdr = pkt_offset(p) - p->l3;
    if (p->len + hdr > 65535 || !pkt_push(p, hdr)) {
        MIB_INC(s, IpReasmFails);
        pkt_free(p);
        return NULL;
    }
    whole = pkt_l3(p);
    whole->tot_len = htons(p->len);
    whole->frag_off = 0;
    ipv4_header_csum(whole);
    p->l4 = p->l3 + hdr;
    info.opt_len = whole->ihl * 4 - 20;
    info.frag_max = frag_max;
    p->ip = info;
    return p;
}

static bool is_fragment(const struct pkt *p)
{
    return ((const struct iphdr *)pkt_l3(p))->frag_off & htons(IP_MF | IP_OFFMASK);
}

static void deliver(struct nic *nic, struct pkt *p) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;

    if (is_fragment(p)) {
        p = reassemble(nic, p);
        if (!p)
            return;
    }
    if (!ip_hook(s, NF_INET_LOCAL_IN, p, nic, NULL))
        return;
    pkt_pull(p, 20 + p->ip.opt_len);
    ip_deliver(s, p);
}

void ipv4_input(struct nic *nic, struct pkt *p)
{
    struct netstack *s = nic->stack;
    const struct iphdr *ip;
    size_t hdr, len;
    bool source_route;
    int bad;

    MIB_ADD(s, IpInReceives, p->gso_segs);
    MIB_ADD(s, IpExtInOctets, p->len);
    if (!pkt_need(p, sizeof(*ip)))
        goto header_error;
    ip = (const struct iphdr *)p->data;
    hdr = ip->ihl * 4;
    if (ip->version != 4 || hdr < 20 || !pkt_need(p, hdr))
        goto header_error;
    ip = (const struct iphdr *)p->data;
    if (csum_fold16(csum_partial(ip, hdr, 0)) != 0xffff) {
        MIB_INC(s, IpExtInCsumErrors);
        goto header_error;
    }
    len = ntohs(ip->tot_len);
    if (len < hdr || len > p->len) {
        MIB_INC(s, IpExtInTruncatedPkts);
        goto header_error;
    }
    if (len < p->len)
        pkt_trim(p, len);
    pkt_set_l3(p);
    p->l4 = p->l3 + hdr;
    memset(&p->ip, 0, sizeof(p->ip));
    ipv4_parse(p);
    if (hdr > 20) {
        bad = ipv4_options_check(p->data + 20, hdr - 20, &source_route);
        if (bad >= 0) {
            icmp_send_error(s, p, ICMP_PARAMETERPROB, 0, (uint32_t)bad << 24);
            goto header_error;
        }
        if (source_route && !nic->conf.accept_source_route)
            goto drop;
    }
    /* Who tracks connections must see whole packets. */
    if (s->hook[NF_INET_PRE_ROUTING] && is_fragment(p)) {
        p = reassemble(nic, p);
        if (!p)
            return;
    }
    if (!ip_hook(s, NF_INET_PRE_ROUTING, p, nic, NULL))
        return;
    ipv4_parse(p);
    p->ip.type = route_addr_type(s, &p->ip.dst, nic);
    if (martian(nic, p, p->ip.type)) {
        MIB_INC(s, IpInAddrErrors);
        goto drop;
    }
    if (!reverse_path_ok(nic, p)) {
        MIB_INC(s, TcpExtIPReversePathFilter);
        goto drop;
    }
    switch (p->ip.type) {
    case RTN_MULTICAST:
        MIB_INC(s, IpExtInMcastPkts);
        MIB_ADD(s, IpExtInMcastOctets, p->len);
        if (!mcast_nic_find(nic, &p->ip.dst) && !(nic->features & NIC_LOOPBACK))
            goto drop;
        deliver(nic, p);
        break;
    case RTN_BROADCAST:
        MIB_INC(s, IpExtInBcastPkts);
        MIB_ADD(s, IpExtInBcastOctets, p->len);
        deliver(nic, p);
        break;
    case RTN_LOCAL:
        deliver(nic, p);
        break;
    default:
        ip_forward(nic, p);
    }
    return;
header_error:
    MIB_INC(s, IpInHdrErrors);
drop:
    pkt_free(p);
}

int ipv4_output(struct netstack *s, struct ip_flow *f, struct pkt *p)
{
    size_t hdr = 20 + f->opt_len;
    struct iphdr *ip;
    bool multicast = addr_is_multicast(&f->dst), df;

    if (p->len + hdr > 65535) {
        pkt_free(p);
        return -EMSGSIZE;
    }
    pkt_set_l4(p);
    ip = pkt_push(p, hdr);
    if (!ip) {
        pkt_free(p);
        return -ENOBUFS;
    }
    pkt_set_l3(p);
    df = f->pmtudisc == IP_PMTUDISC_DO || f->pmtudisc == IP_PMTUDISC_PROBE ||
         (f->pmtudisc == IP_PMTUDISC_WANT && !(f->rt.mtu_locked && f->rt.mtu <= s->sysctl.min_pmtu) &&
          (ip_wire_len(p) <= f->rt.mtu));
    *ip = (struct iphdr){.version = 4,
                         .ihl = hdr / 4,
                         .tos = f->tos,
                         .tot_len = htons(p->len),
                         .frag_off = df ? htons(IP_DF) : 0,
                         .ttl = f->ttl           ? f->ttl
                                : multicast      ? 1
                                : f->rt.hoplimit ? f->rt.hoplimit
                                                 : s->sysctl.ip_default_ttl,
                         .protocol = f->proto,
                         .saddr = addr_v4(&f->src),
                         .daddr = addr_v4(&f->dst)};
    if (!df || p->gso != PKT_GSO_NONE)
        ip->id = htons(ip_next_id(s, &f->src, &f->dst, p->gso_segs));
    if (f->opt_len)
        memcpy(ip + 1, f->opts, f->opt_len);
    ipv4_header_csum(ip);
    ipv4_parse(p);
    MIB_INC(s, IpOutRequests);
    MIB_ADD(s, IpExtOutOctets, p->len);
    if (multicast) {
        MIB_INC(s, IpExtOutMcastPkts);
        MIB_ADD(s, IpExtOutMcastOctets, p->len);
    } else if (f->rt.type == RTN_BROADCAST) {
        MIB_INC(s, IpExtOutBcastPkts);
        MIB_ADD(s, IpExtOutBcastOctets, p->len);
    }
    if (f->pmtudisc == IP_PMTUDISC_PROBE || f->pmtudisc == IP_PMTUDISC_INTERFACE || f->pmtudisc == IP_PMTUDISC_OMIT) {
        /* What was learnt about the path does not count, only the link does. */
        struct ip_flow direct = *f;
        direct.rt.mtu = f->rt.nic->mtu < 65535 ? f->rt.nic->mtu : 65535;
        return ip_output_routed(s, &direct, p, df || f->pmtudisc == IP_PMTUDISC_INTERFACE);
    }
    return ip_output_routed(s, f, p, df);
}

/* The options that go into every fragment (RFC 791: the copied flag); others become no-ops. */
static void blank_uncopied(uint8_t *opts, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n;

        if (opts[i] == IPOPT_END)
            return;
        if (opts[i] == IPOPT_NOOP) {
            i++;
            continue;
        }
        n = len - i >= 2 ? opts[i + 1] : 0;
        if (n < 2 || n > len - i)
            return;
        if (!IPOPT_COPIED(opts[i]))
            memset(opts + i, IPOPT_NOOP, n);
        i += n;
    }
}

int ipv4_fragment(struct netstack *s, const struct route_result *rt, struct pkt *p)
{
    struct iphdr *ip = pkt_l3(p);
    size_t hdr = ip->ihl * 4, mtu = rt->mtu, step = mtu > hdr + 8 ? (mtu - hdr) & ~7u : 0, done = 0, total = p->len - hdr;
    uint16_t first = ntohs(ip->frag_off);
    uint8_t header[60];

    if (p->len <= mtu) {
        ip_to_link(s, rt, p);
        return 0;
    }
    if (!step || (first & IP_DF) || !pkt_csum_complete(p))
        goto fail;
    memcpy(header, pkt_l3(p), hdr);
    while (done < total) {
        size_t n = total - done < step ? total - done : step;
        struct pkt *f = pkt_slice(p, hdr + done, n, PKT_HEADROOM);
        struct iphdr *fip;

        if (!f || !(fip = pkt_push(f, hdr))) {
            pkt_free(f);
            goto fail;
        }
        memcpy(fip, header, hdr);
        pkt_set_l3(f);
        f->l4 = f->l3 + hdr;
        f->ip = p->ip;
        fip->tot_len = htons(f->len);
        /* A fragment may be cut again: what follows it then still follows. */
        fip->frag_off = htons(((first & IP_OFFMASK) + done / 8) | (done + n < total ? IP_MF : first & IP_MF));
        ipv4_header_csum(fip);
        if (!done)
            blank_uncopied(header + 20, hdr - 20);
        done += n;
        MIB_INC(s, IpFragCreates);
        ip_to_link(s, rt, f);
    }
    MIB_INC(s, IpFragOKs);
    pkt_free(p);
    return 0;
fail:
    MIB_INC(s, IpFragFails);
    pkt_free(p);
    return -ENOBUFS;
}

int ip_output_raw(struct netstack *s, struct ip_flow *f, struct pkt *p)
{
    struct iphdr *ip;
    bool v4 = addr_is_v4(&f->dst);
    int r = ip_route(s, f);
    size_t hdr;

    if (r)
        goto drop;
    r = -EMSGSIZE;
    if (p->len > f->rt.mtu)
        goto drop;
    r = -EINVAL;
    if (!pkt_writable(p, v4 ? 20 : 40))
        goto drop;
    pkt_set_l3(p);
    if (v4) {
        ip = pkt_l3(p);
        hdr = ip->ihl * 4;
        if (hdr < 20 || !pkt_writable(p, hdr))
            goto drop;
        ip = pkt_l3(p);
        ip->tot_len = htons(p->len);
        if (!ip->saddr)
            ip->saddr = addr_v4(&f->src);
        if (!ip->id)
            ip->id = htons(ip_next_id(s, &f->src, &f->dst, 1));
        ipv4_header_csum(ip);
        p->l4 = p->l3 + hdr;
        ipv4_parse(p);
        MIB_INC(s, IpOutRequests);
        MIB_ADD(s, IpExtOutOctets, p->len);
    } else {
        p->l4 = p->l3 + 40;
        ipv6_parse(p);
        MIB_INC(s, Ip6OutRequests);
    }
    p->mark = f->mark;
    p->priority = f->priority;
    p->iif = 0;
    p->nic = f->rt.nic;
    p->type = PACKET_OUTGOING;
    return ip_output_routed(s, f, p, true);
drop:
    pkt_free(p);
    return r;
}
