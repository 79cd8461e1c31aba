/* What ICMP and ICMPv6 have in common: sending errors and their limits, and telling transports of those that come in. */
#include "netstack/icmp.h"

#include "netstack/icmp_internal.h"
#include "netstack/ip_internal.h"
#include "netstack/raw.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>

/* Errors to peers are limited by a bucket for each, found by a hash: peers that collide share one. */
#define PEER_BUCKETS 256
#define PEER_BURST   6
#define GLOBAL_BURST 50

struct token_bucket {
    int64_t last;
    int64_t credit; /* ns for peers, messages * NET_SEC for all */
};

struct icmp_state {
    struct token_bucket all, peer[PEER_BUCKETS];
};

int icmp_create(struct netstack *s)
{
    s->icmp = calloc(1, sizeof(*s->icmp));
    if (!s->icmp)
        return -ENOMEM;
    s->icmp->all.credit = GLOBAL_BURST * NET_SEC;
    ip_register_proto(s, &icmp4_proto);
    ip_register_proto(s, &icmp6_proto);
    ip_register_proto(s, &igmp_proto);
    return 0;
}

void icmp_destroy(struct netstack *s)
{
    free(s->icmp);
    s->icmp = NULL;
}

static bool allow_all(struct netstack *s, int64_t now)
{
    struct token_bucket *b = &s->icmp->all;

    b->credit += (now - b->last < NET_SEC ? now - b->last : NET_SEC) * s->sysctl.icmp_msgs_per_sec;
    b->last = now;
    if (b->credit > GLOBAL_BURST * NET_SEC)
        b->credit = GLOBAL_BURST * NET_SEC;
    if (b->credit < NET_SEC)
        return false;
    b->credit -= NET_SEC;
    return true;
}

static bool allow_peer(struct netstack *s, const struct in6_addr *peer, int64_t now)
{
    struct token_bucket *b = &s->icmp->peer[netstack_hash(s, peer, sizeof(*peer)) % PEER_BUCKETS];
    int64_t cost = s->sysctl.icmp_ratelimit * NET_MSEC;

    if (!cost)
        return true;
    b->credit += b->last ? now - b->last : cost * PEER_BURST; /* a new peer's bucket is full */
    b->last = now;
    if (b->credit > cost * PEER_BURST)
        b->credit = cost * PEER_BURST;
    if (b->credit < cost)
        return false;
    b->credit -= cost;
    return true;
}

static bool limited(struct netstack *s, const struct in6_addr *peer, bool v4) NETSTACK_LOCKED
{
    int64_t now = netstack_now(s);

    if (route_addr_type(s, peer, NULL) == RTN_LOCAL) /* ourselves */
        return false;
    if (!allow_peer(s, peer, now)) {
        if (v4)
            MIB_INC(s, IcmpOutRateLimitHost);
        else
            MIB_INC(s, Icmp6OutRateLimitHost);
        return true;
    }
    if (!allow_all(s, now)) {
        MIB_INC(s, IcmpOutRateLimitGlobal);
        return true;
    }
    return false;
}

/* Is the packet at l3 one that must not be answered with an error: an error itself, a later fragment? */
static bool unanswerable(const struct pkt *p)
{
    size_t hdr, back = pkt_offset(p) - p->l3, avail = p->lin + back;
    const uint8_t *h = pkt_l3(p);
    uint8_t next;

    if (addr_is_v4(&p->ip.dst)) {
        const struct iphdr *ip = pkt_l3(p);

        hdr = ip->ihl * 4;
        if (ip->frag_off & htons(IP_OFFMASK))
            return true;
        if (ip->protocol != IPPROTO_ICMP || avail <= hdr)
            return false;
        return h[hdr] != ICMP_ECHO && h[hdr] != ICMP_ECHOREPLY && h[hdr] != ICMP_TIMESTAMP && h[hdr] != ICMP_TIMESTAMPREPLY;
    }
    next = h[6];
    hdr = 40;
    while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT) {
        if (avail < hdr + 8)
            return false;
        if (next == IPPROTO_FRAGMENT && (((h[hdr + 2] << 8) | h[hdr + 3]) & 0xfff8))
            return true;
        size_t len = next == IPPROTO_FRAGMENT ? 8 : (h[hdr + 1] + 1) * 8;
        next = h[hdr];
        hdr += len;
    }
    return next == IPPROTO_ICMPV6 && avail > hdr && !(h[hdr] & ICMPV6_INFOMSG_MASK);
}

void icmp_send_error(struct netstack *s, struct pkt *p, uint8_t type, uint8_t code, uint32_t info)
{
    bool v4 = addr_is_v4(&p->ip.dst);
    size_t back = pkt_offset(p) - p->l3, quote = p->len + back, most;
    struct ip_flow f = {.dst = p->ip.src, .proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6};
    struct icmphdr *h;
    struct pkt *c, *e;
    bool group_ok = !v4 && (type == ICMPV6_PKT_TOOBIG || (type == ICMPV6_PARAMPROB && code == ICMPV6_UNK_OPTION));

    if (p->l3 > pkt_offset(p) || unanswerable(p) || addr_is_any(&p->ip.src) || addr_is_multicast(&p->ip.src))
        return;
    if (!group_ok && (p->type == PACKET_BROADCAST || p->type == PACKET_MULTICAST || p->type == PACKET_LOOPBACK ||
                      addr_is_multicast(&p->ip.dst) || route_addr_type(s, &p->ip.dst, NULL) == RTN_BROADCAST))
        return;
    if (route_addr_type(s, &p->ip.src, NULL) == RTN_BROADCAST || limited(s, &p->ip.src, v4))
        return;
    f.src = addr_any(v4 ? AF_INET : AF_INET6);
    if (p->ip.type == RTN_LOCAL && p->type != PACKET_OUTGOING)
        f.src = p->ip.dst;
    if (!v4 && addr_is_linklocal(&f.dst) && p->nic)
        f.oif = p->nic->index;
    f.tos = v4 ? (p->ip.tos & 0x1c) | 0xc0 : 0;
    f.mark = 0;
    if (ip_route(s, &f))
        return;
    most = (v4 ? 576 : 1280) - ip_flow_hdr_len(&f) - sizeof(*h);
    if (quote > most)
        quote = most;
    c = pkt_clone(p);
    if (!c)
        return;
    if (!pkt_push(c, back)) {
        pkt_free(c);
        return;
    }
    e = pkt_alloc(PKT_HEADROOM, sizeof(*h) + quote);
    if (e) {
        h = pkt_put(e, sizeof(*h) + quote);
        *h = (struct icmphdr){.type = type, .code = code};
        h->un.gateway = v4 ? (type == ICMP_PARAMETERPROB ? htonl(info) : info) : htonl(info);
        pkt_copy_out(c, 0, h + 1, quote);
        h->checksum = csum_finish(csum_partial(h, e->len, v4 ? 0 : ip_flow_pseudo(&f, e->len)));
        icmp_count_out(s, v4, type);
        (void)ip_output(s, &f, e);
    }
    pkt_free(c);
}

void icmp_send_port_unreach(struct netstack *s, struct pkt *p)
{
    if (addr_is_v4(&p->ip.dst))
        icmp_send_error(s, p, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
    else
        icmp_send_error(s, p, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0);
}

/* Finds the transport header of a quoted packet, data at its IP header. False: not enough of it there. */
static bool parse_quoted(struct pkt *c)
{
    uint8_t next;

    memset(&c->ip, 0, sizeof(c->ip));
    if (!pkt_need(c, 20))
        return false;
    pkt_set_l3(c);
    if (c->data[0] >> 4 == 4) {
        size_t hdr = (c->data[0] & 15) * 4;

        if (hdr < 20 || !pkt_need(c, hdr + 8))
            return false;
        if (((struct iphdr *)c->data)->frag_off & htons(IP_OFFMASK))
            return false;
        ipv4_parse(c);
        pkt_pull(c, hdr);
    } else {
        if (!pkt_need(c, 40))
            return false;
        ipv6_parse(c);
        next = c->data[6];
        pkt_pull(c, 40);
        for (int n = 0;
             next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT; n++) {
            size_t len;

            if (n == 8 || !pkt_need(c, 8))
                return false;
            if (next == IPPROTO_FRAGMENT && (((c->data[2] << 8) | c->data[3]) & 0xfff8))
                return false;
            len = next == IPPROTO_FRAGMENT ? 8 : (c->data[1] + 1) * 8;
            next = c->data[0];
            if (!pkt_need(c, len))
                return false;
            pkt_pull(c, len);
        }
        c->ip.proto = next;
        if (!pkt_need(c, 8))
            return false;
    }
    c->ip.inner = 1;
    pkt_set_l4(c);
    return true;
}

void icmp_error_input(struct netstack *s, struct pkt *p, struct icmp_error *e)
{
    const struct ip_proto *proto;
    struct pkt *c = pkt_clone(p);
    bool v4 = addr_is_v4(&p->ip.dst);

    if (!c)
        return;
    e->offender = p->ip.src;
    pkt_pull(c, sizeof(struct icmphdr));
    /* It is about a packet of ours, of the same family, or it is a lie. */
    if (!parse_quoted(c) || addr_is_v4(&c->ip.dst) != v4 || route_addr_type(s, &c->ip.src, NULL) != RTN_LOCAL) {
        if (v4)
            MIB_INC(s, IcmpInErrors);
        else
            MIB_INC(s, Icmp6InErrors);
        pkt_free(c);
        return;
    }
    if (e->err == EMSGSIZE) {
        if (!e->info && v4) {
            /* A router from before RFC 1191: the next lower of the usual sizes. */
            static const uint16_t plateau[] = {32000, 17914, 8166, 4352, 2002, 1492, 576, 296, 68};
            uint32_t sent = ntohs(((struct iphdr *)pkt_l3(c))->tot_len);

            e->info = 68;
            for (size_t i = 0; i < ARRAY_SIZE(plateau); i++)
                if (plateau[i] < sent) {
                    e->info = plateau[i];
                    break;
                }
        }
        (void)route_pmtu_update(s, &c->ip.dst, e->info);
    }
    raw_error(s, c, e);
    proto = s->proto[c->ip.proto];
    if (proto && proto->error)
        proto->error(s, c, e);
    pkt_free(c);
}

void icmp_echo_reply(struct netstack *s, struct pkt *p)
{
    bool v4 = addr_is_v4(&p->ip.dst);
    struct ip_flow f = {.dst = p->ip.src,
                        .src = p->ip.type == RTN_LOCAL ? p->ip.dst : addr_any(v4 ? AF_INET : AF_INET6),
                        .proto = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
                        .tos = p->ip.tos,
                        .mark = 0,
                        .pmtudisc = IP_PMTUDISC_DONT};
    struct icmphdr *h, req = *(struct icmphdr *)p->data;
    struct pkt *r;

    if (!v4 && (addr_is_linklocal(&f.dst) || p->ip.type != RTN_LOCAL))
        f.oif = p->iif;
    f.flowlabel = 0;
    if (ip_route(s, &f))
        return;
    r = pkt_slice(p, sizeof(*h), p->len - sizeof(*h), PKT_HEADROOM);
    if (!r)
        return;
    pkt_forget(r); /* an answer: the other direction of the connection */
    h = pkt_push(r, sizeof(*h));
    if (!h) {
        pkt_free(r);
        return;
    }
    *h = req;
    h->type = v4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY;
    h->checksum = 0;
    h->checksum = csum_finish(pkt_csum(r, 0, r->len, v4 ? 0 : ip_flow_pseudo(&f, r->len)));
    icmp_count_out(s, v4, h->type);
    (void)ip_output(s, &f, r);
}
