/*
 * Address translation. The first packet of a connection decides, by changing the reply's tuple; from then on each packet's new
 * addresses are the other direction's, inverted.
 */
#include "netstack/nf.h"

#include "netstack/icmp.h"

#include <netinet/tcp.h>
#include <netinet/udp.h>

static bool has_ports(uint8_t proto)
{
    return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE;
}

static struct in6_addr range_addr(const union nf_inet_addr *a, bool v4)
{
    return v4 ? addr_from_v4(a->ip) : a->in6;
}

/* An address of the range, always the same for a peer. */
static struct in6_addr choose_addr(struct nf_ctx *c, const struct nf_nat_range2 *r, const struct nf_tuple *t)
{
    struct in6_addr min = range_addr(&r->min_addr, c->v4), max = range_addr(&r->max_addr, c->v4);
    uint32_t lo = ntohl(min.s6_addr32[3]), n = ntohl(max.s6_addr32[3]) - lo + 1;

    if (addr_equal(&min, &max) || n == 0)
        return min;
    min.s6_addr32[3] = htonl(lo + netstack_hash(c->s, &t->src, sizeof(t->src)) % n);
    return min;
}

static bool taken(struct netstack *s, const struct nf_tuple *t) NETSTACK_LOCKED
{
    struct nf_tuple reply = ct_invert(t);
    int dir;

    return ct_find(s, &reply, &dir);
}

/* Finds a port such that the translated connection is unlike every other. */
static bool choose_port(struct nf_ctx *c, const struct nf_nat_range2 *r, bool src, struct nf_tuple *t) NETSTACK_LOCKED
{
    bool icmp = t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6, given = r->flags & NF_NAT_RANGE_PROTO_SPECIFIED;
    be16 *port = src || icmp ? &t->sport : &t->dport;
    uint32_t now = ntohs(*port), min, n;

    if (!has_ports(t->proto) && !icmp)
        return !taken(c->s, t);
    if (given && !icmp) {
        min = ntohs(r->min_proto.all);
        n = ntohs(r->max_proto.all) - min + 1;
        if (ntohs(r->max_proto.all) < min)
            return false;
        if (n == 1 || (now >= min && now < min + n)) {
            if (n == 1)
                *port = htons(min);
            if (!src || !taken(c->s, t))
                return true;
        }
    } else {
        if (!(r->flags & NF_NAT_RANGE_PROTO_RANDOM_ALL) && !taken(c->s, t))
            return true;
        if (!src) /* a service's port is not for us to choose */
            return !taken(c->s, t);
        min = now < 512 && !icmp ? 1 : now < 1024 && !icmp ? 600 : 1024;
        n = (now < 512 && !icmp ? 512 : now < 1024 && !icmp ? 1024 : 65536) - min;
    }
    uint32_t at = netstack_random32(c->s) % n;
    for (uint32_t i = 0; i < n && i < 512; i++) {
        *port = htons(min + (at + i) % n);
        if (!taken(c->s, t))
            return true;
    }
    return false;
}

int nat_setup(struct nf_ctx *c, struct nf_conn *ct, const struct nf_nat_range2 *range, bool src)
{
    struct nf_tuple now = ct_invert(&ct->tuple[1].t), new = now;
    uint32_t done = src ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE;

    if ((ct->status & done) || ct_confirmed(ct)) /* decided; its tuples are in the table */
        return NF_ACCEPT;
    if (range->flags & NF_NAT_RANGE_MAP_IPS)
        *(src ? &new.src : &new.dst) = choose_addr(c, range, &now);
    /* Even what nobody translates must not look like another's translation: then its port changes. */
    if ((range->flags || src) && !choose_port(c, range, src, &new))
        return NF_DROP;
    if (memcmp(&new.src, &now.src, sizeof(new.src)) || memcmp(&new.dst, &now.dst, sizeof(new.dst)) || new.sport != now.sport ||
        new.dport != now.dport) {
        ct->tuple[1].t = ct_invert(&new);
        ct->status |= src ? IPS_SRC_NAT : IPS_DST_NAT;
    }
    ct->status |= done;
    return NF_ACCEPT;
}

int nat_masquerade(struct nf_ctx *c, const struct nf_nat_range2 *range)
{
    struct nf_nat_range2 r = *range;
    struct nf_conn *ct = c->p->nfct;
    struct in6_addr src;

    if (!ct || !c->out || !nic_source(c->out, &c->p->ip.dst, RT_SCOPE_UNIVERSE, &src) || addr_is_v4(&src) != c->v4)
        return NF_DROP;
    r.flags |= NF_NAT_RANGE_MAP_IPS;
    if (c->v4)
        r.min_addr.ip = r.max_addr.ip = addr_v4(&src);
    else
        r.min_addr.in6 = r.max_addr.in6 = src;
    ct->nat_ifindex = c->out->index;
    return nat_setup(c, ct, &r, true);
}

int nat_redirect(struct nf_ctx *c, const struct nf_nat_range2 *range)
{
    struct nf_nat_range2 r = *range;
    struct nf_conn *ct = c->p->nfct;
    struct in6_addr dst;

    if (!ct)
        return NF_DROP;
    if (c->hook == NF_INET_LOCAL_OUT)
        dst = c->v4 ? addr_from_v4(htonl(INADDR_LOOPBACK)) : in6addr_loopback;
    else if (!c->in || !nic_source(c->in, &c->p->ip.src, RT_SCOPE_UNIVERSE, &dst))
        return NF_DROP;
    r.flags |= NF_NAT_RANGE_MAP_IPS;
    if (c->v4)
        r.min_addr.ip = r.max_addr.ip = addr_v4(&dst);
    else
        r.min_addr.in6 = r.max_addr.in6 = dst;
    return nat_setup(c, ct, &r, false);
}

/* Mends the transport checksum at `field` for an address (`len` bytes) or port that changes. */
static void mend_csum(struct pkt *p, be16 *field, const void *from, const void *to, size_t len, bool pseudo)
{
    uint32_t diff = csum_add(~csum_partial(from, len, 0), csum_partial(to, len, 0));

    if (p->csum == PKT_CSUM_PARTIAL) {
        /* Only the pseudo-header is summed yet, and not inverted. */
        if (pseudo)
            *field = csum_fold16(csum_add(*field, diff));
        return;
    }
    *field = csum_finish(csum_add((uint16_t) ~*field, diff));
}

/* Where the transport checksum is in a header of this protocol; 0: nowhere. */
static size_t csum_field(uint8_t proto)
{
    switch (proto) {
    case IPPROTO_TCP:
        return offsetof(struct tcphdr, check);
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
        return offsetof(struct udphdr, check);
    case IPPROTO_ICMPV6:
        return 2;
    default:
        return 0;
    }
}

/*
 * Rewrites addresses and ports of the packet whose IP header is at `off` from data and whose transport header, of which `have`
 * bytes are writable, is at `l4`. `outer`: the packet itself, with its checksums; else one that an ICMP error quotes.
 */
static void rewrite(struct pkt *p, size_t off, size_t l4, size_t have, uint8_t proto, const struct nf_tuple *to, bool src,
                    bool outer)
{
    struct iphdr *ip = (struct iphdr *)(p->data + off);
    bool v4 = ip->version == 4, icmp = proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
    const struct in6_addr *addr = src ? &to->src : &to->dst;
    size_t alen = v4 ? 4 : 16, field = csum_field(proto), port_at = icmp ? 4 : src ? 0 : 2;
    void *at = (char *)ip + (v4 ? (src ? 12 : 16) : (src ? 8 : 24));
    const void *new = v4 ? &addr->s6_addr[12] : addr->s6_addr;
    be16 port = icmp || src ? to->sport : to->dport, *sum = NULL, was;
    uint8_t *h = p->data + l4;

    if (field && have >= field + 2 && outer) {
        sum = (be16 *)(h + field);
        if ((proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE) && !*sum && p->csum != PKT_CSUM_PARTIAL)
            sum = NULL;
    }
    if (sum)
        mend_csum(p, sum, at, new, alen, true);
    if (v4) {
        be32 a, b;
        be16 check = ip->check;

        memcpy(&a, at, 4);
        memcpy(&b, new, 4);
        csum_replace4(&check, a, b);
        ip->check = check;
    }
    memcpy(at, new, alen);
    if ((!has_ports(proto) && !icmp) || have < port_at + 2)
        return;
    memcpy(&was, h + port_at, 2);
    if (was == port)
        return;
    if (sum)
        mend_csum(p, sum, &was, &port, 2, false);
    else if (icmp && outer && proto == IPPROTO_ICMP && have >= 8)
        csum_replace2((be16 *)(h + 2), was, port);
    memcpy(h + port_at, &port, 2);
    if (sum && !*sum && p->csum != PKT_CSUM_PARTIAL && proto != IPPROTO_TCP)
        *sum = 0xffff;
}

/* The packet that an ICMP error quotes is one of the other direction, after translation: it is turned back too. */
static bool rewrite_quoted(struct nf_ctx *c, const struct nf_tuple *target, bool src)
{
    struct pkt *p = c->p;
    size_t inner = c->thoff + 8, l4, have, base = c->v4 ? 20 : 40;
    struct nf_tuple back = ct_invert(target), quoted;
    uint8_t *h;

    if (!pkt_writable(p, inner + base < p->len ? (inner + base + 60 < p->len ? inner + base + 60 : p->len) : p->len) ||
        inner + base > p->len)
        return false;
    if (!ct_tuple_of(p, inner, &quoted))
        return true;
    l4 = inner + (c->v4 ? ((struct iphdr *)(p->data + inner))->ihl * 4u : 40);
    have = l4 < p->lin ? p->lin - l4 : 0;
    rewrite(p, inner, l4, have, quoted.proto, &back, !src, false);
    h = p->data + c->thoff;
    memset(h + 2, 0, 2);
    be16 sum;
    if (c->v4) {
        sum = csum_finish(pkt_csum(p, c->thoff, p->len - c->thoff, 0));
    } else {
        struct in6_addr a, b;
        memcpy(&a, p->data + 8, 16);
        memcpy(&b, p->data + 24, 16);
        sum = csum_finish(pkt_csum(p, c->thoff, p->len - c->thoff, csum_pseudo(&a, &b, IPPROTO_ICMPV6, p->len - c->thoff)));
    }
    memcpy(h + 2, &sum, 2);
    p->csum = PKT_CSUM_NONE;
    return true;
}

bool nat_packet(struct nf_ctx *c)
{
    struct pkt *p = c->p;
    struct nf_conn *ct = p->nfct;
    bool src = nat_hook_is_src(c->hook), quoted = p->nf_ctinfo == IP_CT_RELATED || p->nf_ctinfo == IP_CT_RELATED_REPLY;
    int dir = ct_dir(p);
    uint32_t bit = src ? IPS_SRC_NAT : IPS_DST_NAT;
    struct nf_tuple target;
    size_t need;

    if (dir)
        bit ^= IPS_NAT_MASK;
    if (!(ct->status & bit))
        return true;
    target = ct_invert(&ct->tuple[!dir].t);
    need = c->thoff + (c->proto == IPPROTO_TCP ? 20 : 8);
    if (need > p->len)
        need = p->len;
    if (!pkt_writable(p, need))
        return false;
    if (quoted) {
        /* The error itself has only addresses to change. */
        rewrite(p, 0, c->thoff, 0, c->proto, &target, src, true);
        return rewrite_quoted(c, &target, src);
    }
    rewrite(p, 0, c->thoff, need - c->thoff, c->proto, &target, src, true);
    return true;
}
