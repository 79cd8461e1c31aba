/*
 * Connection tracking. A connection is in the table by the tuples of both its directions; address translation changes the
 * reply's, so that what a packet is to be rewritten to can be read off the other direction. A new one belongs to its packet
 * until that has passed all hooks. The table is bounded: the oldest that have not been answered give way.
 */
#include "netstack/nf.h"

#include "netstack/icmp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void nf_conn_get(struct nf_conn *ct)
{
    ref_get(&ct->ref);
}

void nf_conn_put(struct nf_conn *ct)
{
    if (ref_put(&ct->ref))
        free(ct);
}

static struct list_head *bucket(struct netstack *s, const struct nf_tuple *t)
{
    struct {
        struct in6_addr src, dst;
        be16 sport, dport;
        uint32_t proto;
    } key = {t->src, t->dst, t->sport, t->dport, t->proto};

    return &s->nf->ct_hash[netstack_hash(s, &key, sizeof(key)) % NF_CT_BUCKETS];
}

static bool tuple_equal(const struct nf_tuple *a, const struct nf_tuple *b)
{
    return a->proto == b->proto && a->sport == b->sport && a->dport == b->dport && addr_equal(&a->src, &b->src) &&
           addr_equal(&a->dst, &b->dst);
}

struct nf_conn *ct_find(struct netstack *s, const struct nf_tuple *t, int *dir)
{
    struct nf_tuple_node *n;

    list_for_each_entry(n, bucket(s, t), node) {
        if (!tuple_equal(&n->t, t))
            continue;
        *dir = n->dir;
        return container_of(n - n->dir, struct nf_conn, tuple[0]);
    }
    return NULL;
}

/* The other direction's type of an ICMP message that asks; 0xff: it does not ask. */
static uint8_t icmp_inverse(uint8_t proto, uint8_t type)
{
    if (proto == IPPROTO_ICMP) {
        switch (type) {
        case ICMP_ECHO:
            return ICMP_ECHOREPLY;
        case ICMP_ECHOREPLY:
            return ICMP_ECHO;
        case ICMP_TIMESTAMP:
            return ICMP_TIMESTAMPREPLY;
        case ICMP_TIMESTAMPREPLY:
            return ICMP_TIMESTAMP;
        default:
            return 0xff;
        }
    }
    return type == ICMPV6_ECHO_REQUEST ? ICMPV6_ECHO_REPLY : type == ICMPV6_ECHO_REPLY ? ICMPV6_ECHO_REQUEST : 0xff;
}

struct nf_tuple ct_invert(const struct nf_tuple *t)
{
    struct nf_tuple r = {.src = t->dst, .dst = t->src, .sport = t->dport, .dport = t->sport, .proto = t->proto};

    if (t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6) {
        r.sport = t->sport;
        r.dport = htons(icmp_inverse(t->proto, ntohs(t->dport) >> 8) << 8);
    }
    return r;
}

bool ct_tuple_of(const struct pkt *p, size_t l3, struct nf_tuple *t)
{
    uint8_t buf[40], ports[8];
    const uint8_t *h = nf_bytes(p, l3, 20, buf), *l4;
    size_t off;

    if (!h)
        return false;
    memset(t, 0, sizeof(*t));
    if (h[0] >> 4 == 4) {
        const struct iphdr *ip = (const struct iphdr *)h;

        t->src = addr_from_v4(ip->saddr);
        t->dst = addr_from_v4(ip->daddr);
        t->proto = ip->protocol;
        off = l3 + ip->ihl * 4;
        if (ip->frag_off & htons(IP_OFFMASK))
            return false;
    } else {
        h = nf_bytes(p, l3, 40, buf);
        if (!h)
            return false;
        memcpy(&t->src, h + 8, 16);
        memcpy(&t->dst, h + 24, 16);
        t->proto = h[6];
        off = l3 + 40;
        for (int n = 0; n < 8 && (t->proto == IPPROTO_HOPOPTS || t->proto == IPPROTO_ROUTING || t->proto == IPPROTO_DSTOPTS);
             n++) {
            l4 = nf_bytes(p, off, 8, ports);
            if (!l4)
                return false;
            t->proto = l4[0];
            off += (l4[1] + 1) * 8;
        }
    }
    switch (t->proto) {
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
    case IPPROTO_SCTP:
        l4 = nf_bytes(p, off, 4, ports);
        if (!l4)
            return false;
        memcpy(&t->sport, l4, 2);
        memcpy(&t->dport, l4 + 2, 2);
        return true;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        l4 = nf_bytes(p, off, 8, ports);
        if (!l4)
            return false;
        memcpy(&t->sport, l4 + 4, 2);
        memcpy(&t->dport, l4, 2);
        return icmp_inverse(t->proto, l4[0]) != 0xff;
    default:
        return true;
    }
}

void ct_remove(struct nf_conn *ct)
{
    struct netstack *s = ct->stack;

    list_del_init(&ct->tuple[0].node);
    list_del_init(&ct->tuple[1].node);
    list_del_init(&ct->lru);
    net_timer_cancel(s, &ct->timer);
    ct->status |= IPS_DYING;
    s->nf->nr_ct--;
    nf_conn_put(ct);
}

static void expire(struct net_timer *t) NETSTACK_LOCKED
{
    ct_remove(container_of(t, struct nf_conn, timer));
}

static bool make_room(struct netstack *s) NETSTACK_LOCKED
{
    struct netfilter *nf = s->nf;
    struct nf_conn *ct;
    int looked = 0;

    if (nf->nr_ct < NF_CONNTRACK_MAX)
        return true;
    list_for_each_entry(ct, &nf->ct_lru, lru) {
        if (!(ct->status & IPS_ASSURED)) {
            ct_remove(ct);
            return true;
        }
        if (++looked > 64)
            break;
    }
    return false;
}

/* Is it an ICMP error about a packet of a known connection? */
static struct nf_conn *related(struct nf_ctx *c, int *dir) NETSTACK_LOCKED
{
    struct nf_tuple t, inverse;
    uint8_t buf[8];
    const uint8_t *h;

    if (c->proto != (c->v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
        return NULL;
    h = nf_bytes(c->p, c->thoff, 8, buf);
    if (!h)
        return NULL;
    if (c->v4 ? h[0] != ICMP_DEST_UNREACH && h[0] != ICMP_TIME_EXCEEDED && h[0] != ICMP_PARAMETERPROB &&
                    h[0] != ICMP_SOURCE_QUENCH
              : h[0] & ICMPV6_INFOMSG_MASK)
        return NULL;
    if (!ct_tuple_of(c->p, c->thoff + 8, &t))
        return NULL;
    inverse = ct_invert(&t);
    return ct_find(c->s, &inverse, dir);
}

static struct nf_conn *begin(struct nf_ctx *c, const struct nf_tuple *t) NETSTACK_LOCKED
{
    struct nf_conn *ct;

    if (!ct_may_begin(c) || !make_room(c->s))
        return NULL;
    ct = calloc(1, sizeof(*ct));
    if (!ct)
        return NULL;
    ref_init(&ct->ref);
    ct->stack = c->s;
    ct->tuple[0].t = *t;
    ct->tuple[1].t = ct_invert(t);
    for (int d = 0; d < 2; d++) {
        list_init(&ct->tuple[d].node);
        ct->tuple[d].dir = d;
    }
    list_init(&ct->lru);
    net_timer_init(&ct->timer, expire);
    return ct;
}

/* Neighbour and listener discovery belong to the link: tracking them would call them invalid, and rules would cut the link off.
 */
static bool link_business(const struct nf_ctx *c)
{
    uint8_t buf[1];
    const uint8_t *type = c->proto == IPPROTO_ICMPV6 ? nf_bytes(c->p, c->thoff, 1, buf) : NULL;

    return type && ((*type >= 130 && *type <= 137) || *type == ICMPV6_MLD2_REPORT);
}

void ct_in(struct nf_ctx *c)
{
    struct pkt *p = c->p;
    struct nf_conn *ct;
    struct nf_tuple t;
    int dir = 0;

    if (p->nfct || p->nf_skip || c->fragment)
        return;
    if (!c->v4 && link_business(c)) {
        p->nf_skip = true;
        return;
    }
    ct = related(c, &dir);
    if (ct) {
        nf_conn_get(ct);
        p->nfct = ct;
        p->nf_ctinfo = IP_CT_RELATED + (dir ? IP_CT_IS_REPLY : 0);
        return;
    }
    if (!ct_tuple_of(p, 0, &t))
        return;
    ct = ct_find(c->s, &t, &dir);
    if (ct)
        nf_conn_get(ct);
    else
        ct = begin(c, &t);
    if (!ct)
        return;
    if (!ct_track(c, ct, dir)) {
        nf_conn_put(ct);
        return;
    }
    p->nfct = ct;
    if (dir) {
        ct->status |= IPS_SEEN_REPLY;
        p->nf_ctinfo = IP_CT_ESTABLISHED_REPLY;
    } else {
        p->nf_ctinfo = ct->status & IPS_SEEN_REPLY ? IP_CT_ESTABLISHED : IP_CT_NEW;
    }
    ct->packets[dir] += p->gso_segs;
    ct->bytes[dir] += p->len;
}

bool ct_confirm(struct netstack *s, struct pkt *p)
{
    struct nf_conn *ct = p->nfct;
    int dir;

    if (!ct || ct_confirmed(ct))
        return true;
    if (ct_dir(p))
        return true;
    /* Another packet may have begun the same one meanwhile. */
    if (ct_find(s, &ct->tuple[0].t, &dir) || ct_find(s, &ct->tuple[1].t, &dir))
        return false;
    ct->status |= IPS_CONFIRMED;
    list_add(&ct->tuple[0].node, bucket(s, &ct->tuple[0].t));
    list_add(&ct->tuple[1].node, bucket(s, &ct->tuple[1].t));
    list_add_tail(&ct->lru, &s->nf->ct_lru);
    s->nf->nr_ct++;
    nf_conn_get(ct);
    net_timer_arm(s, &ct->timer, ct->timer.expires);
    return true;
}

unsigned int nf_conntrack_count(struct netstack *s)
{
    return s->nf ? s->nf->nr_ct : 0;
}

static int put_tuple(char *buf, size_t room, const struct nf_conn *ct, int d)
{
    const struct nf_tuple *t = &ct->tuple[d].t;

    if (t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6)
        return snprintf(buf, room, "src=%s dst=%s type=%u code=%u id=%u packets=%llu bytes=%llu ", addr_text(&t->src),
                        addr_text(&t->dst), ntohs(t->dport) >> 8, ntohs(t->dport) & 255, ntohs(t->sport),
                        (unsigned long long)ct->packets[d], (unsigned long long)ct->bytes[d]);
    return snprintf(buf, room, "src=%s dst=%s sport=%u dport=%u packets=%llu bytes=%llu ", addr_text(&t->src),
                    addr_text(&t->dst), ntohs(t->sport), ntohs(t->dport), (unsigned long long)ct->packets[d],
                    (unsigned long long)ct->bytes[d]);
}

int nf_conntrack_for_each(struct netstack *s, int (*fn)(const char *line, void *arg), void *arg)
{
    struct nf_conn *ct;
    char line[512];

    if (!s->nf)
        return 0;
    list_for_each_entry(ct, &s->nf->ct_lru, lru) {
        const struct nf_tuple *t = &ct->tuple[0].t;
        bool v4 = addr_is_v4(&t->src);
        const char *proto = t->proto == IPPROTO_TCP      ? "tcp"
                            : t->proto == IPPROTO_UDP    ? "udp"
                            : t->proto == IPPROTO_ICMP   ? "icmp"
                            : t->proto == IPPROTO_ICMPV6 ? "icmpv6"
                                                         : "unknown";
        int n = snprintf(line, sizeof(line), "%-8s %d %-8s %u %lld ", v4 ? "ipv4" : "ipv6", v4 ? 2 : 10, proto, t->proto,
                         (long long)((ct->timer.expires - netstack_now(s)) / NET_SEC));

        n += put_tuple(line + n, sizeof(line) - n, ct, 0);
        if (!(ct->status & IPS_SEEN_REPLY))
            n += snprintf(line + n, sizeof(line) - n, "[UNREPLIED] ");
        n += put_tuple(line + n, sizeof(line) - n, ct, 1);
        snprintf(line + n, sizeof(line) - n, "%smark=%u use=%u\n", ct->status & IPS_ASSURED ? "[ASSURED] " : "", ct->mark,
                 ref_read(&ct->ref));
        int r = fn(line, arg);
        if (r)
            return r;
    }
    return 0;
}

bool nf_original_dst(struct netstack *s, uint8_t proto, const struct in6_addr *local, be16 lport, const struct in6_addr *remote,
                     be16 rport, struct in6_addr *dst, be16 *dport)
{
    struct nf_tuple t = {.src = *local, .dst = *remote, .sport = lport, .dport = rport, .proto = proto};
    struct nf_conn *ct;
    int dir;

    ct = s->nf ? ct_find(s, &t, &dir) : NULL;
    if (!ct)
        return false;
    *dst = ct->tuple[0].t.dst;
    *dport = ct->tuple[0].t.dport;
    return true;
}
