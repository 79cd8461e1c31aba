/* Receiving UDP: checking, finding who it is for, queueing; and ICMP errors about what was sent. */
#include "netstack/csum.h"
#include "netstack/icmp.h"
#include "netstack/udp_internal.h"

#include <errno.h>
#include <netinet/udp.h>
#include <sys/epoll.h>

static bool is_v4(const struct pkt *p)
{
    return addr_is_v4(&p->ip.dst);
}

static void enqueue(struct udp_ep *u, struct pkt *p)
{
    struct netstack *s = u->ep.stack;
    bool v4 = is_v4(p), lite = u->ep.proto == IPPROTO_UDPLITE;

    if (u->rq.memory + p->truesize > u->rcvbuf && u->rq.n > 0) {
        u->drops++;
        UDP_COUNT(s, v4, lite, RcvbufErrors);
        UDP_COUNT(s, v4, lite, InErrors);
        pkt_free(p);
        return;
    }
    u->rx_packets++;
    u->rx_bytes += p->len;
    UDP_COUNT_N(s, v4, lite, InDatagrams, p->gso_segs);
    pkt_queue_add(&u->rq, p);
    u->ep.cb->ready(&u->ep, EPOLLIN);
}

/* A train of datagrams for somebody who did not ask for trains. */
static void enqueue_split(struct udp_ep *u, struct pkt *p)
{
    size_t step = p->gso_size, len = p->len;

    for (size_t off = 0; step && off < len; off += step) {
        struct pkt *c = pkt_slice(p, off, len - off < step ? len - off : step, 0);

        if (!c)
            break;
        c->ip = p->ip;
        c->udp = p->udp;
        enqueue(u, c);
    }
    pkt_free(p);
}

/* Data at the UDP header, whose checksum was verified. Consumes. */
static void deliver(struct udp_ep *u, struct pkt *p)
{
    const struct endpoint *ep = &u->ep;
    uint8_t min = is_v4(p) ? ep->min_ttl : ep->min_hops;
    uint32_t keep;

    if (u->rx_shutdown || p->ip.ttl < min)
        goto drop;
    /* A filter sees the UDP header; what it cuts counts from there. */
    keep = ep->cb->filter ? ep->cb->filter(&u->ep, p) : UINT32_MAX;
    if (keep == 0)
        goto drop;
    if (keep < p->len)
        pkt_trim(p, keep < sizeof(struct udphdr) ? sizeof(struct udphdr) : keep);
    pkt_pull(p, sizeof(struct udphdr));
    if (p->gso == PKT_GSO_UDP && !u->gro)
        enqueue_split(u, p);
    else
        enqueue(u, p);
    return;
drop:
    pkt_free(p);
}

struct group_delivery {
    struct pkt *p;
    bool any;
};

static void to_member(struct endpoint *ep, void *arg) NO_THREAD_SAFETY_ANALYSIS
{
    struct group_delivery *d = arg;
    struct pkt *c;

    if (d->p->ip.type == RTN_MULTICAST && !mcast_wanted(ep, &d->p->ip.dst, &d->p->ip.src, d->p->iif))
        return;
    c = pkt_clone(d->p);
    if (!c)
        return;
    d->any = true;
    deliver(container_of(ep, struct udp_ep, ep), c);
}

/* UDP-Lite: the part of the datagram that the checksum covers. 0: malformed. */
static uint32_t coverage(const struct pkt *p, const struct udphdr *uh)
{
    uint32_t n = ntohs(uh->len);

    if (n == 0)
        return p->len;
    return n >= 8 && n <= p->len ? n : 0;
}

static bool csum_ok(struct pkt *p, const struct udphdr *uh, bool lite)
{
    uint32_t cover;

    if (!lite)
        return uh->check == 0 || ip_csum_ok(p);
    cover = coverage(p, uh);
    if (!cover || !uh->check)
        return false;
    if (p->csum != PKT_CSUM_NONE)
        return true;
    return csum_fold16(pkt_csum(p, 0, cover, csum_pseudo(&p->ip.src, &p->ip.dst, p->ip.proto, p->len))) == 0xffff;
}

static void input(struct netstack *s, struct pkt *p, bool lite) NETSTACK_LOCKED
{
    struct port_table *t = lite ? s->udp->lite : s->udp->udp;
    const struct udphdr *uh;
    bool v4 = is_v4(p);
    struct endpoint *ep;
    uint32_t len;

    if (!pkt_need(p, sizeof(*uh)))
        goto malformed;
    uh = (const struct udphdr *)p->data;
    if (!lite) {
        len = ntohs(uh->len);
        if (len < sizeof(*uh) || len > p->len)
            goto malformed;
        if (len < p->len) {
            pkt_trim(p, len);
            if (p->csum == PKT_CSUM_VERIFIED)
                p->csum = PKT_CSUM_NONE;
        }
    }
    p->udp.sport = uh->source;
    p->udp.dport = uh->dest;
    if (!csum_ok(p, uh, lite)) {
        UDP_COUNT(s, v4, lite, InCsumErrors);
        goto malformed;
    }
    if (p->ip.type != RTN_LOCAL) {
        struct group_delivery d = {.p = p};

        port_for_each_match(t, &p->ip.dst, p->udp.dport, &p->ip.src, p->udp.sport, p->nic, to_member, &d);
        if (!d.any && !lite) {
            if (v4)
                MIB_INC(s, UdpIgnoredMulti);
            else
                MIB_INC(s, Udp6IgnoredMulti);
        }
        pkt_free(p);
        return;
    }
    ep = port_lookup(t, &p->ip.dst, p->udp.dport, &p->ip.src, p->udp.sport, p->nic);
    if (!ep) {
        UDP_COUNT(s, v4, lite, NoPorts);
        icmp_send_port_unreach(s, p);
        pkt_free(p);
        return;
    }
    struct udp_ep *u = container_of(ep, struct udp_ep, ep);
    /* IPv6 demands a checksum (RFC 8200, 8.1) unless the socket waives it (RFC 6935). */
    if (!v4 && !uh->check && p->csum == PKT_CSUM_NONE && !u->no_check6_rx) {
        UDP_COUNT(s, v4, lite, InCsumErrors);
        goto malformed;
    }
    if (lite && u->lite_recv_cov && coverage(p, uh) < p->len && coverage(p, uh) < u->lite_recv_cov)
        goto malformed;
    deliver(u, p);
    return;
malformed:
    UDP_COUNT(s, v4, lite, InErrors);
    pkt_free(p);
}

static void error(struct netstack *s, struct pkt *p, const struct icmp_error *e, struct port_table *t) NETSTACK_LOCKED
{
    const struct udphdr *uh = (const struct udphdr *)p->data;
    be16 sport = uh->source, dport = uh->dest;
    struct endpoint *ep = port_lookup(t, &p->ip.src, sport, &p->ip.dst, dport, p->nic);

    if (!ep)
        return;
    pkt_pull(p, sizeof(*uh));
    endpoint_icmp_error(ep, p, e, dport);
}

static void udp_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED
{
    input(s, p, false);
}

static void udplite_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED
{
    input(s, p, true);
}

static void udp_error(struct netstack *s, struct pkt *p, const struct icmp_error *e) NETSTACK_LOCKED
{
    error(s, p, e, s->udp->udp);
}

static void udplite_error(struct netstack *s, struct pkt *p, const struct icmp_error *e) NETSTACK_LOCKED
{
    error(s, p, e, s->udp->lite);
}

const struct ip_proto udp_proto = {.proto = IPPROTO_UDP, .input = udp_input, .error = udp_error};
const struct ip_proto udplite_proto = {.proto = IPPROTO_UDPLITE, .input = udplite_input, .error = udplite_error};
