/* Matches of iptables rules, by the names and layouts of the kernel's headers. A rule with any other is refused. */
#include "netstack/nf.h"

#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_iprange.h>
#include <linux/netfilter/xt_limit.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_pkttype.h>
#include <linux/netfilter/xt_state.h>
#include <linux/netfilter/xt_statistic.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <netinet/tcp.h>

static bool in_range(uint16_t min, uint16_t max, be16 port, bool invert)
{
    return (ntohs(port) >= min && ntohs(port) <= max) != invert;
}

static bool tcp_option(const struct nf_ctx *c, const struct tcphdr *th, uint8_t option, bool invert)
{
    uint8_t buf[40];
    size_t n = th->doff > 5 ? th->doff * 4 - 20 : 0;
    const uint8_t *o = n ? nf_bytes(c->p, c->thoff + 20, n, buf) : NULL;

    for (size_t i = 0; o && i < n;) {
        if (o[i] == option)
            return !invert;
        i += o[i] < 2 || i + 1 >= n || o[i + 1] < 2 ? 1 : o[i + 1];
    }
    return invert;
}

static bool tcp_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_tcp *m = data;
    uint8_t buf[20];
    const struct tcphdr *th = c->fragment ? NULL : nf_bytes(c->p, c->thoff, 20, buf);

    if (!th)
        return false;
    return in_range(m->spts[0], m->spts[1], th->source, m->invflags & XT_TCP_INV_SRCPT) &&
           in_range(m->dpts[0], m->dpts[1], th->dest, m->invflags & XT_TCP_INV_DSTPT) &&
           ((((const uint8_t *)th)[13] & m->flg_mask) == m->flg_cmp) != !!(m->invflags & XT_TCP_INV_FLAGS) &&
           (!m->option || tcp_option(c, th, m->option, m->invflags & XT_TCP_INV_OPTION));
}

static bool udp_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_udp *m = data;
    uint8_t buf[8];
    const be16 *ports = c->fragment ? NULL : nf_bytes(c->p, c->thoff, 8, buf);

    return ports && in_range(m->spts[0], m->spts[1], ports[0], m->invflags & XT_UDP_INV_SRCPT) &&
           in_range(m->dpts[0], m->dpts[1], ports[1], m->invflags & XT_UDP_INV_DSTPT);
}

static bool icmp_match(const struct nf_ctx *c, const void *data)
{
    const struct ipt_icmp *m = data; /* struct ip6t_icmp is the same */
    uint8_t buf[2];
    const uint8_t *h = c->fragment ? NULL : nf_bytes(c->p, c->thoff, 2, buf);

    if (!h)
        return false;
    return ((m->type == 0xff && c->v4) || (h[0] == m->type && h[1] >= m->code[0] && h[1] <= m->code[1])) !=
           !!(m->invflags & IPT_ICMP_INV);
}

static bool multiport_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_multiport_v1 *m = data;
    uint8_t buf[4];
    const be16 *ports = c->fragment ? NULL : nf_bytes(c->p, c->thoff, 4, buf);

    if (!ports)
        return false;
    for (unsigned int i = 0; i < m->count && i < XT_MULTI_PORTS; i++) {
        uint16_t lo = m->ports[i], hi = lo, s = ntohs(ports[0]), d = ntohs(ports[1]);

        if (m->pflags[i] && i + 1 < XT_MULTI_PORTS)
            hi = m->ports[++i];
        if ((m->flags != XT_MULTIPORT_DESTINATION && s >= lo && s <= hi) ||
            (m->flags != XT_MULTIPORT_SOURCE && d >= lo && d <= hi))
            return !m->invert;
    }
    return m->invert;
}

static unsigned int state_bit(const struct nf_ctx *c)
{
    if (c->p->nfct)
        return XT_CONNTRACK_STATE_BIT(c->p->nf_ctinfo);
    return c->p->nf_skip ? XT_CONNTRACK_STATE_UNTRACKED : XT_CONNTRACK_STATE_INVALID;
}

static bool state_match(const struct nf_ctx *c, const void *data)
{
    return state_bit(c) & ((const struct xt_state_info *)data)->statemask;
}

static bool masked_equal(const struct in6_addr *a, const union nf_inet_addr *addr, const union nf_inet_addr *mask, bool v4)
{
    if (v4)
        return ((addr_v4(a) ^ addr->ip) & mask->ip) == 0;
    for (int i = 0; i < 4; i++)
        if ((a->s6_addr32[i] ^ addr->ip6[i]) & mask->ip6[i])
            return false;
    return true;
}

static bool port_in(be16 port, uint16_t lo, uint16_t hi)
{
    return ntohs(port) >= lo && ntohs(port) <= hi;
}

/* Does what the rule says of something agree with what it is? Flags say what is asked, inversions what is denied. */
#define ASKED(m, flag, is) (!((m)->match_flags & (flag)) || (is) != !!((m)->invert_flags & (flag)))

static bool conntrack_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_conntrack_mtinfo3 *m = data;
    const struct nf_conn *ct = c->p->nfct;
    unsigned int state = state_bit(c);

    if (ct && (ct->status & IPS_SRC_NAT))
        state |= XT_CONNTRACK_STATE_SNAT;
    if (ct && (ct->status & IPS_DST_NAT))
        state |= XT_CONNTRACK_STATE_DNAT;
    if (!ASKED(m, XT_CONNTRACK_STATE, (state & m->state_mask) != 0))
        return false;
    if (!ct)
        return m->match_flags & XT_CONNTRACK_STATE;
    const struct nf_tuple *o = &ct->tuple[0].t, *r = &ct->tuple[1].t;
    int64_t left = (ct->timer.expires - netstack_now(c->s)) / NET_SEC;

    return ASKED(m, XT_CONNTRACK_DIRECTION, ct_dir(c->p) == 0) &&
           ASKED(m, XT_CONNTRACK_ORIGSRC, masked_equal(&o->src, &m->origsrc_addr, &m->origsrc_mask, c->v4)) &&
           ASKED(m, XT_CONNTRACK_ORIGDST, masked_equal(&o->dst, &m->origdst_addr, &m->origdst_mask, c->v4)) &&
           ASKED(m, XT_CONNTRACK_REPLSRC, masked_equal(&r->src, &m->replsrc_addr, &m->replsrc_mask, c->v4)) &&
           ASKED(m, XT_CONNTRACK_REPLDST, masked_equal(&r->dst, &m->repldst_addr, &m->repldst_mask, c->v4)) &&
           ASKED(m, XT_CONNTRACK_PROTO, o->proto == m->l4proto) &&
           ASKED(m, XT_CONNTRACK_ORIGSRC_PORT, port_in(o->sport, m->origsrc_port, m->origsrc_port_high)) &&
           ASKED(m, XT_CONNTRACK_ORIGDST_PORT, port_in(o->dport, m->origdst_port, m->origdst_port_high)) &&
           ASKED(m, XT_CONNTRACK_REPLSRC_PORT, port_in(r->sport, m->replsrc_port, m->replsrc_port_high)) &&
           ASKED(m, XT_CONNTRACK_REPLDST_PORT, port_in(r->dport, m->repldst_port, m->repldst_port_high)) &&
           ASKED(m, XT_CONNTRACK_STATUS, (ct->status & m->status_mask) != 0) &&
           ASKED(m, XT_CONNTRACK_EXPIRES, left >= m->expires_min && left <= m->expires_max);
}

/* RTN_* of an address as the bits of the match (XT_ADDRTYPE_*); the device may be told. */
static bool type_in(const struct nf_ctx *c, const struct in6_addr *a, const struct nic *nic, uint16_t mask) NETSTACK_LOCKED
{
    int type = addr_is_any(a) ? RTN_UNSPEC : route_addr_type(c->s, a, NULL);

    /* Limited to a device: local only if it is that device's. */
    if (nic && type == RTN_LOCAL && !netstack_addr_find(c->s, a, (struct nic *)nic, true))
        type = RTN_UNICAST;
    return mask & (1u << type);
}

static bool addrtype_match(const struct nf_ctx *c, const void *data) NO_THREAD_SAFETY_ANALYSIS
{
    const struct xt_addrtype_info_v1 *m = data;
    const struct nic *nic = m->flags & XT_ADDRTYPE_LIMIT_IFACE_IN    ? c->in
                            : m->flags & XT_ADDRTYPE_LIMIT_IFACE_OUT ? c->out
                                                                     : NULL;
    struct nf_tuple t;

    memset(&t, 0, sizeof(t));
    (void)ct_tuple_of(c->p, 0, &t);
    return (!m->source || type_in(c, &t.src, nic, m->source) != !!(m->flags & XT_ADDRTYPE_INVERT_SOURCE)) &&
           (!m->dest || type_in(c, &t.dst, nic, m->dest) != !!(m->flags & XT_ADDRTYPE_INVERT_DEST));
}

static bool addrtype0_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_addrtype_info *m = data;
    struct xt_addrtype_info_v1 v1 = {.source = m->source, .dest = m->dest};

    v1.flags = (m->invert_source ? XT_ADDRTYPE_INVERT_SOURCE : 0) | (m->invert_dest ? XT_ADDRTYPE_INVERT_DEST : 0);
    return addrtype_match(c, &v1);
}

static bool comment_match(const struct nf_ctx *c, const void *data)
{
    return true;
}

static bool mark_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_mark_mtinfo1 *m = data;

    return ((c->p->mark & m->mask) == m->mark) != !!m->invert;
}

static bool connmark_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_mark_mtinfo1 *m = data; /* struct xt_connmark_mtinfo1 is the same */
    const struct nf_conn *ct = c->p->nfct;

    return ct && ((ct->mark & m->mask) == m->mark) != !!m->invert;
}

/* A token bucket kept in the rule's own data, in the fields that the kernel uses for it. */
static bool limit_match(const struct nf_ctx *c, void *data)
{
    struct xt_rateinfo *m = data;
    /* avg is in 1/10000 s a packet. */
    int64_t now = netstack_now(c->s) / (NET_SEC / XT_LIMIT_SCALE);
    uint64_t most = (uint64_t)m->avg * (m->burst ? m->burst : 1), credit;

    if (!m->cost) {
        m->cost = m->avg ? m->avg : 1;
        credit = most;
    } else {
        credit = m->credit + (uint64_t)(now - (int64_t)m->prev);
    }
    m->prev = now;
    if (credit > most)
        credit = most;
    if (credit > UINT32_MAX)
        credit = UINT32_MAX;
    m->credit = credit;
    if (m->credit < m->cost)
        return false;
    m->credit -= m->cost;
    return true;
}

static bool pkttype_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_pkttype_info *m = data;

    return (c->p->type == m->pkttype) != !!m->invert;
}

static bool addr_between(const struct in6_addr *a, const union nf_inet_addr *lo, const union nf_inet_addr *hi, bool v4)
{
    if (v4)
        return ntohl(addr_v4(a)) >= ntohl(lo->ip) && ntohl(addr_v4(a)) <= ntohl(hi->ip);
    return memcmp(a, &lo->in6, 16) >= 0 && memcmp(a, &hi->in6, 16) <= 0;
}

static bool iprange_match(const struct nf_ctx *c, const void *data)
{
    const struct xt_iprange_mtinfo *m = data;
    struct nf_tuple t;

    memset(&t, 0, sizeof(t));
    (void)ct_tuple_of(c->p, 0, &t);
    return (!(m->flags & IPRANGE_SRC) ||
            addr_between(&t.src, &m->src_min, &m->src_max, c->v4) != !!(m->flags & IPRANGE_SRC_INV)) &&
           (!(m->flags & IPRANGE_DST) ||
            addr_between(&t.dst, &m->dst_min, &m->dst_max, c->v4) != !!(m->flags & IPRANGE_DST_INV));
}

static bool statistic_match(const struct nf_ctx *c, void *data)
{
    struct xt_statistic_info *m = data;
    bool hit = false;

    if (m->mode == XT_STATISTIC_MODE_RANDOM)
        hit = (netstack_random32(c->s) & 0x7fffffff) < m->u.random.probability;
    else if (m->u.nth.count++ >= m->u.nth.every) {
        m->u.nth.count = 0;
        hit = true;
    }
    return hit != !!(m->flags & XT_STATISTIC_INVERT);
}

static bool multiport_check(const void *data)
{
    const struct xt_multiport_v1 *m = data;

    return m->count <= XT_MULTI_PORTS && m->flags <= XT_MULTIPORT_EITHER;
}

static const struct xt_match_ops matches[] = {
    {.name = "tcp", .size = sizeof(struct xt_tcp), .proto = IPPROTO_TCP, .match = tcp_match},
    {.name = "udp", .size = sizeof(struct xt_udp), .proto = IPPROTO_UDP, .match = udp_match},
    {.name = "udplite", .size = sizeof(struct xt_udp), .proto = IPPROTO_UDPLITE, .match = udp_match},
    {.name = "icmp", .family = AF_INET, .size = sizeof(struct ipt_icmp), .proto = IPPROTO_ICMP, .match = icmp_match},
    {.name = "icmp6", .family = AF_INET6, .size = sizeof(struct ip6t_icmp), .proto = IPPROTO_ICMPV6, .match = icmp_match},
    {.name = "multiport",
     .revision = 1,
     .size = sizeof(struct xt_multiport_v1),
     .match = multiport_match,
     .check = multiport_check},
    {.name = "state", .size = sizeof(struct xt_state_info), .match = state_match},
    {.name = "conntrack", .revision = 3, .size = sizeof(struct xt_conntrack_mtinfo3), .match = conntrack_match},
    {.name = "addrtype", .revision = 0, .family = AF_INET, .size = sizeof(struct xt_addrtype_info), .match = addrtype0_match},
    {.name = "addrtype", .revision = 1, .size = sizeof(struct xt_addrtype_info_v1), .match = addrtype_match},
    {.name = "comment", .size = sizeof(struct xt_comment_info), .match = comment_match},
    {.name = "mark", .revision = 1, .size = sizeof(struct xt_mark_mtinfo1), .match = mark_match},
    {.name = "connmark", .revision = 1, .size = sizeof(struct xt_mark_mtinfo1), .match = connmark_match},
    {.name = "limit", .size = sizeof(struct xt_rateinfo), .match_state = limit_match},
    {.name = "pkttype", .size = sizeof(struct xt_pkttype_info), .match = pkttype_match},
    {.name = "iprange", .revision = 1, .size = sizeof(struct xt_iprange_mtinfo), .match = iprange_match},
    {.name = "statistic", .size = sizeof(struct xt_statistic_info), .match_state = statistic_match},
};

const struct xt_match_ops *xt_match_find(const char *name, int revision, int family)
{
    for (size_t i = 0; i < ARRAY_SIZE(matches); i++)
        if (matches[i].revision == revision && (!matches[i].family || matches[i].family == family) &&
            !strcmp(matches[i].name, name))
            return &matches[i];
    return NULL;
}

static int match_revision(const char *name, int family)
{
    int best = -1;

    for (size_t i = 0; i < ARRAY_SIZE(matches); i++)
        if (!strcmp(matches[i].name, name) && (!matches[i].family || matches[i].family == family) && matches[i].revision > best)
            best = matches[i].revision;
    return best;
}

int xt_revision(const char *name, int family, bool target)
{
    return target ? xt_target_revision(name, family) : match_revision(name, family);
}
