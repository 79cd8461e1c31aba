/* IPv6: checking what comes in, extension headers, headers of what goes out, fragments. */
#include "netstack/icmp.h"
#include "netstack/ip_frag.h"
#include "netstack/ip_internal.h"
#include "netstack/mcast.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_packet.h>

/* More extension headers than this are nobody's packet. */
#define EXT_MAX 16

void ipv6_parse(struct pkt *p)
{
    const struct ip6_hdr *ip = pkt_l3(p);

    p->ip.src = ip->ip6_src;
    p->ip.dst = ip->ip6_dst;
    p->ip.flowinfo = ip->ip6_flow & htonl(0x0fffffff);
    p->ip.tos = ntohl(ip->ip6_flow) >> 20;
    p->ip.ttl = ip->ip6_hlim;
}

static void param_problem(struct netstack *s, struct pkt *p, uint8_t code, size_t offset) NETSTACK_LOCKED
{
    MIB_INC(s, Ip6InHdrErrors);
    icmp_send_error(s, p, ICMPV6_PARAMPROB, code, offset);
    pkt_free(p);
}

/* Options of a hop-by-hop or destination header at data (`len` bytes, linear). False: the packet is gone. */
static bool check_options(struct netstack *s, struct pkt *p, size_t len) NETSTACK_LOCKED
{
    const uint8_t *o = p->data;

    for (size_t i = 2; i < len;) {
        size_t at = pkt_offset(p) - p->l3 + i;

        if (o[i] == 0) { /* Pad1 */
            i++;
            continue;
        }
        if (len - i < 2 || o[i + 1] > len - i - 2) {
            param_problem(s, p, ICMPV6_HDR_FIELD, at);
            return false;
        }
        /* PadN, router alert and the home address are known; of others, the top bits say what is to be done. */
        if (o[i] != 1 && o[i] != 5 && o[i] != 0xc9) {
            switch (o[i] >> 6) {
            case 0:
                break;
            case 3:
                if (addr_is_multicast(&p->ip.dst)) {
                    pkt_free(p);
                    return false;
                }
                /* fallthrough */
            case 2:
                param_problem(s, p, ICMPV6_UNK_OPTION, at);
                return false;
            default:
                pkt_free(p);
                return false;
            }
        }
        i += 2 + o[i + 1];
    }
    return true;
}

static struct pkt *reassemble(struct nic *nic, struct pkt *p, uint8_t *next) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    const struct ip6_frag *fh = (const struct ip6_frag *)p->data;
    uint16_t off = ntohs(fh->ip6f_offlg);
    struct frag_info fi = {.src = p->ip.src,
                           .dst = p->ip.dst,
                           .id = fh->ip6f_ident,
                           .next = fh->ip6f_nxt,
                           .offset = off & 0xfff8,
                           .more = off & 1,
                           .size = p->len + (pkt_offset(p) - p->l3)};
    struct ip_info info = p->ip;
    uint16_t frag_max;
    struct ip6_hdr *ip;
    size_t hdr;

    pkt_pull(p, sizeof(*fh));
    if (fi.offset == 0 && !fi.more) { /* an atomic fragment: whole by itself (RFC 6946) */
        *next = fi.next;
        return p;
    }
    if (fi.more && p->len % 8) {
        param_problem(s, p, ICMPV6_HDR_FIELD, offsetof(struct ip6_hdr, ip6_plen));
        return NULL;
    }
    p = frag_add(nic, p, &fi, next, &frag_max);
    if (!p)
        return NULL;
    /* The headers before the fragment header stay in front, in case an ICMP error is sent about this. */
    hdr = pkt_offset(p) - p->l3;
    ip = pkt_l3(p);
    if (p->len + hdr - 40 > 65535) {
        MIB_INC(s, Ip6ReasmFails);
        pkt_free(p);
        return NULL;
    }
    ip->ip6_plen = htons(p->len + hdr - 40);
    info.frag_max = frag_max;
    p->ip = info;
    return p;
}

/* Walks the extension headers of a packet for us, data at the first of them, and delivers what is behind. */
static void deliver(struct nic *nic, struct pkt *p, uint8_t next) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    size_t next_at = offsetof(struct ip6_hdr, ip6_nxt); /* where the number of the header at data stands */

    for (int n = 0; n < EXT_MAX; n++) {
        size_t len;

        switch (next) {
        case IPPROTO_HOPOPTS:
            if (n > 0) {
                param_problem(s, p, ICMPV6_UNK_NEXTHDR, next_at);
                return;
            }
            /* fallthrough */
        case IPPROTO_DSTOPTS:
        case IPPROTO_ROUTING:
            if (!pkt_need(p, 8))
                goto truncated;
            len = (p->data[1] + 1) * 8;
            if (!pkt_need(p, len))
                goto truncated;
            if (next == IPPROTO_ROUTING) {
                /* With segments left it would be for us to pass on: we never do (RFC 5095 and Linux's default). */
                if (p->data[3] != 0) {
                    param_problem(s, p, ICMPV6_HDR_FIELD, pkt_offset(p) - p->l3 + 2);
                    return;
                }
            } else if (!check_options(s, p, len)) {
                return;
            }
            next_at = pkt_offset(p) - p->l3;
            next = p->data[0];
            pkt_pull(p, len);
            continue;
        case IPPROTO_FRAGMENT:
            if (!pkt_need(p, sizeof(struct ip6_frag)))
                goto truncated;
            next_at = pkt_offset(p) - p->l3;
            p = reassemble(nic, p, &next);
            if (!p)
                return;
            continue;
        case IPPROTO_NONE:
            pkt_free(p);
            return;
        default:
            p->ip.proto = next;
            p->ip.ext_len = pkt_offset(p) - p->l3 - 40;
            ip_deliver(s, p);
            return;
        }
    }
truncated:
    MIB_INC(s, Ip6InHdrErrors);
    pkt_free(p);
}

static bool martian(struct nic *nic, const struct pkt *p)
{
    const struct in6_addr *src = &p->ip.src, *dst = &p->ip.dst;

    if (addr_is_multicast(src) || (addr_is_any(dst) && !addr_is_v4(dst)) || addr_is_v4(src) || addr_is_v4(dst))
        return true;
    if (addr_is_multicast(dst) && (dst->s6_addr[1] & 0xf) == 0)
        return true;
    if ((nic->features & NIC_LOOPBACK) || p->type == PACKET_LOOPBACK)
        return false;
    return addr_is_loopback(src) || addr_is_loopback(dst) || (addr_is_multicast(dst) && (dst->s6_addr[1] & 0xf) == 1);
}

/* An address that is still being checked for duplicates is not in use. */
static bool usable(struct nic *nic, const struct in6_addr *dst) NETSTACK_LOCKED
{
    struct nic_addr *a = netstack_addr_find(nic->stack, dst, NULL, true);

    return !a || !(a->flags & IFA_F_TENTATIVE) || (a->flags & IFA_F_OPTIMISTIC);
}

void ipv6_input(struct nic *nic, struct pkt *p)
{
    struct netstack *s = nic->stack;
    const struct ip6_hdr *ip;
    uint8_t next;
    size_t len;

    MIB_ADD(s, Ip6InReceives, p->gso_segs);
    MIB_ADD(s, Ip6InOctets, p->len);
    if (nic->conf.disable_ipv6)
        goto drop;
    if (!pkt_need(p, sizeof(*ip)))
        goto header_error;
    ip = (const struct ip6_hdr *)p->data;
    len = ntohs(ip->ip6_plen);
    if (ip->ip6_vfc >> 4 != 6)
        goto header_error;
    if (len > p->len - sizeof(*ip)) {
        MIB_INC(s, Ip6InTruncatedPkts);
        goto header_error;
    }
    if (len + sizeof(*ip) < p->len)
        pkt_trim(p, len + sizeof(*ip));
    pkt_set_l3(p);
    p->l4 = p->l3 + sizeof(*ip);
    memset(&p->ip, 0, sizeof(p->ip));
    ipv6_parse(p);
    p->ip.proto = ip->ip6_nxt;
    if (martian(nic, p)) {
        MIB_INC(s, Ip6InAddrErrors);
        goto drop;
    }
    if (!ip_hook(s, NF_INET_PRE_ROUTING, p, nic, NULL))
        return;
    ipv6_parse(p);
    p->ip.type = route_addr_type(s, &p->ip.dst, nic);
    if (p->ip.type == RTN_MULTICAST) {
        MIB_INC(s, Ip6InMcastPkts);
        MIB_ADD(s, Ip6InMcastOctets, p->len);
        if (!mcast_nic_find(nic, &p->ip.dst) && !(nic->features & NIC_LOOPBACK))
            goto drop;
    } else if (p->ip.type != RTN_LOCAL) {
        ip_forward(nic, p);
        return;
    } else if (!usable(nic, &p->ip.dst)) {
        goto drop;
    }
    if (!ip_hook(s, NF_INET_LOCAL_IN, p, nic, NULL))
        return;
    next = ((const struct ip6_hdr *)pkt_l3(p))->ip6_nxt;
    pkt_pull(p, sizeof(*ip));
    deliver(nic, p, next);
    return;
header_error:
    MIB_INC(s, Ip6InHdrErrors);
drop:
    pkt_free(p);
}

int ipv6_output(struct netstack *s, struct ip_flow *f, struct pkt *p)
{
    bool multicast = addr_is_multicast(&f->dst), dontfrag;
    struct ip6_hdr *ip;
    uint8_t next = f->proto;

    if (p->len + f->ext_len > 65535) {
        pkt_free(p);
        return -EMSGSIZE;
    }
    pkt_set_l4(p);
    if (f->ext_len) {
        uint8_t *ext = pkt_push(p, f->ext_len);
        if (!ext)
            goto nobufs;
        memcpy(ext, f->ext, f->ext_len);
        ext[f->ext_last] = f->proto;
        next = f->ext_first;
    }
    ip = pkt_push(p, sizeof(*ip));
    if (!ip)
        goto nobufs;
    pkt_set_l3(p);
    ip->ip6_flow = htonl(6u << 28 | (uint32_t)f->tos << 20) | (f->flowlabel & htonl(0xfffff));
    ip->ip6_plen = htons(p->len - sizeof(*ip));
    ip->ip6_nxt = next;
    ip->ip6_hlim = f->ttl ? f->ttl : multicast ? 1 : f->rt.hoplimit ? f->rt.hoplimit : f->rt.nic->conf.hop_limit;
    ip->ip6_src = f->src;
    ip->ip6_dst = f->dst;
    ipv6_parse(p);
    p->ip.proto = f->proto;
    p->ip.ext_len = f->ext_len;
    MIB_INC(s, Ip6OutRequests);
    MIB_ADD(s, Ip6OutOctets, p->len);
    if (multicast) {
        MIB_INC(s, Ip6OutMcastPkts);
        MIB_ADD(s, Ip6OutMcastOctets, p->len);
    }
    dontfrag = f->dontfrag || f->pmtudisc == IP_PMTUDISC_DO || f->pmtudisc == IP_PMTUDISC_PROBE;
    if (f->pmtudisc == IP_PMTUDISC_PROBE || f->pmtudisc == IP_PMTUDISC_INTERFACE || f->pmtudisc == IP_PMTUDISC_OMIT) {
        struct ip_flow direct = *f;
        direct.rt.mtu = f->rt.nic->mtu;
        return ip_output_routed(s, &direct, p, dontfrag || f->pmtudisc == IP_PMTUDISC_INTERFACE);
    }
    return ip_output_routed(s, f, p, dontfrag);
nobufs:
    pkt_free(p);
    return -ENOBUFS;
}

/* Bytes from the IP header on that go into every fragment: up to and with a routing header (RFC 8200, 4.5). `*nextp`: where the
 * number of the first header behind them stands. */
static size_t unfragmentable(const struct pkt *p, size_t *nextp)
{
    const uint8_t *h = pkt_l3(p);
    size_t len = 40, limit = p->l4 - p->l3;
    uint8_t next = h[6];

    *nextp = 6;
    while (len < limit && (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS)) {
        size_t n = (h[len + 1] + 1) * 8;

        /* Destination options stay in front only before a routing header. */
        if (next == IPPROTO_DSTOPTS && h[len] != IPPROTO_ROUTING)
            break;
        *nextp = len;
        next = h[len];
        len += n;
    }
    return len;
}

int ipv6_fragment(struct netstack *s, const struct route_result *rt, struct pkt *p)
{
    size_t nextp, hdr, mtu = rt->mtu, step, done = 0, total;
    uint32_t id = netstack_random32(s);
    uint8_t next;

    if (p->len <= mtu) {
        ip_to_link(s, rt, p);
        return 0;
    }
    hdr = unfragmentable(p, &nextp);
    step = mtu > hdr + 16 ? (mtu - hdr - sizeof(struct ip6_frag)) & ~7u : 0;
    if (!step || !pkt_csum_complete(p) || !pkt_need(p, hdr))
        goto fail;
    total = p->len - hdr;
    next = ((uint8_t *)pkt_l3(p))[nextp];
    while (done < total) {
        size_t n = total - done < step ? total - done : step;
        struct pkt *f = pkt_slice(p, hdr + done, n, PKT_HEADROOM);
        struct ip6_frag *fh = f ? pkt_push(f, sizeof(*fh)) : NULL;
        uint8_t *h = fh ? pkt_push(f, hdr) : NULL;

        if (!h) {
            pkt_free(f);
            goto fail;
        }
        memcpy(h, pkt_l3(p), hdr);
        h[nextp] = IPPROTO_FRAGMENT;
        fh = (struct ip6_frag *)(h + hdr);
        *fh = (struct ip6_frag){next, 0, htons(done | (done + n < total)), id};
        pkt_set_l3(f);
        f->l4 = f->l3 + hdr + sizeof(*fh);
        f->ip = p->ip;
        ((struct ip6_hdr *)h)->ip6_plen = htons(f->len - 40);
        done += n;
        MIB_INC(s, Ip6FragCreates);
        ip_to_link(s, rt, f);
    }
    MIB_INC(s, Ip6FragOKs);
    pkt_free(p);
    return 0;
fail:
    MIB_INC(s, Ip6FragFails);
    pkt_free(p);
    return -ENOBUFS;
}
