#include "netstack/raw.h"

#include "netstack/csum.h"
#include "netstack/ip_internal.h"

#include <errno.h>
#include <sys/epoll.h>

void raw_ep_init(struct raw_ep *r, struct netstack *s, const struct endpoint_cb *cb, void *owner, int family, int proto,
                 bool ping)
{
    memset(r, 0, sizeof(*r));
    endpoint_init(&r->ep, s, cb, owner, family, proto);
    r->rcvbuf = 212992;
    r->ping = ping;
    r->hdrincl = proto == IPPROTO_RAW;
    r->csum_offset = proto == IPPROTO_ICMPV6 && family == AF_INET6 ? 2 : -1;
    pkt_queue_init(&r->rq);
    list_add_tail(&r->node, &s->raw_eps);
}

void raw_ep_fini(struct raw_ep *r)
{
    list_del_init(&r->node);
    pkt_queue_purge(&r->rq);
    endpoint_fini(&r->ep);
}

static bool id_taken(struct raw_ep *r, be16 id)
{
    struct raw_ep *o;

    list_for_each_entry(o, &r->ep.stack->raw_eps, node)
        if (o != r && o->ping && o->ep.family == r->ep.family && o->ep.lport == id)
            return true;
    return false;
}

static int choose_id(struct raw_ep *r)
{
    uint16_t at = netstack_random32(r->ep.stack);

    for (uint32_t i = 0; i < 65536; i++, at++)
        if (at && !id_taken(r, htons(at))) {
            r->ep.lport = htons(at);
            return 0;
        }
    return -EADDRINUSE;
}

int raw_bind(struct raw_ep *r, const struct in6_addr *addr, be16 ping_id, int scope_if)
{
    int err = endpoint_check_laddr(&r->ep, addr, scope_if);

    if (err)
        return err;
    if (r->ping) {
        if (ping_id && id_taken(r, ping_id))
            return -EADDRINUSE;
        if (!ping_id) {
            err = choose_id(r);
            if (err)
                return err;
        } else {
            r->ep.lport = ping_id;
        }
    }
    r->ep.laddr = *addr;
    if (scope_if && addr_is_linklocal(addr))
        r->ep.bound_if = scope_if;
    return 0;
}

int raw_connect(struct raw_ep *r, const struct in6_addr *addr, int scope_if)
{
    struct ip_flow f;
    int err;

    if (addr_is_linklocal(addr) && !scope_if && !r->ep.bound_if)
        return -EINVAL;
    endpoint_flow(&r->ep, addr, &f);
    if (scope_if)
        f.oif = scope_if;
    err = ip_route(r->ep.stack, &f);
    if (err)
        return err;
    if (f.rt.type == RTN_BROADCAST && !r->ep.broadcast)
        return -EACCES;
    if (r->ping && !r->ep.lport) {
        err = choose_id(r);
        if (err)
            return err;
    }
    if (addr_is_any(&r->ep.laddr))
        r->ep.laddr = f.src;
    if (scope_if && addr_is_linklocal(addr))
        r->ep.bound_if = scope_if;
    r->ep.raddr = f.dst;
    r->ep.connected = true;
    return 0;
}

int raw_disconnect(struct raw_ep *r)
{
    r->ep.raddr = r->ep.laddr = addr_any(r->ep.family);
    r->ep.connected = false;
    return 0;
}

/* The ICMP header of an echo request: the identifier is ours, the checksum too. */
static int finish_ping(struct raw_ep *r, const struct ip_flow *f, struct pkt *p)
{
    bool v4 = addr_is_v4(&f->dst);
    struct icmphdr *h;
    int err;

    if (!pkt_writable(p, sizeof(*h)))
        return -EINVAL;
    h = (struct icmphdr *)p->data;
    if (h->type != (v4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST) || h->code)
        return -EINVAL;
    if (!r->ep.lport) {
        err = choose_id(r);
        if (err)
            return err;
    }
    h->un.echo.id = r->ep.lport;
    h->checksum = 0;
    h->checksum = csum_finish(pkt_csum(p, 0, p->len, v4 ? 0 : ip_flow_pseudo(f, p->len)));
    return 0;
}

static int finish_csum(struct raw_ep *r, const struct ip_flow *f, struct pkt *p)
{
    be16 sum = 0;

    if (r->csum_offset < 0 || r->ep.family != AF_INET6)
        return 0;
    if (!pkt_writable(p, r->csum_offset + 2))
        return -EINVAL;
    memcpy(p->data + r->csum_offset, &sum, 2);
    sum = csum_finish(pkt_csum(p, 0, p->len, ip_flow_pseudo(f, p->len)));
    memcpy(p->data + r->csum_offset, &sum, 2);
    return 0;
}

int raw_send(struct raw_ep *r, const struct raw_send *how, struct pkt *p)
{
    struct netstack *s = r->ep.stack;
    struct in6_addr dst = how->has_dst ? how->dst : r->ep.raddr;
    struct ip_flow f;
    int err = -EDESTADDRREQ;

    if (r->tx_shutdown) {
        err = -EPIPE;
        goto fail;
    }
    if (!how->has_dst && !r->ep.connected)
        goto fail;
    err = -EMSGSIZE;
    if (p->len > 65535)
        goto fail;
    endpoint_flow(&r->ep, &dst, &f);
    f.sport = f.dport = 0;
    if (!addr_is_any(&how->src))
        f.src = how->src;
    if (how->oif)
        f.oif = how->oif;
    if (how->ttl >= 0)
        f.ttl = how->ttl;
    if (how->tos >= 0)
        f.tos = how->tos;
    if (how->flowlabel)
        f.flowlabel = how->flowlabel;
    f.dontroute |= how->dontroute;
    if (how->opt_len) {
        f.opts = how->opts;
        f.opt_len = how->opt_len;
    }
    if (r->hdrincl) {
        f.nonlocal_src = true;
        f.opt_len = 0;
    }
    err = ip_route(s, &f);
    if (err)
        goto fail;
    err = -EACCES;
    if (f.rt.type == RTN_BROADCAST && !r->ep.broadcast)
        goto fail;
    if (r->hdrincl)
        return ip_output_raw(s, &f, p);
    err = r->ping ? finish_ping(r, &f, p) : finish_csum(r, &f, p);
    if (err)
        goto fail;
    err = ip_output(s, &f, p);
    if (err == -EMSGSIZE)
        endpoint_local_error(&r->ep, EMSGSIZE, f.rt.mtu, &dst, 0);
    return err;
fail:
    pkt_free(p);
    return err;
}

struct pkt *raw_recv(struct raw_ep *r, bool peek)
{
    return peek ? pkt_queue_head(&r->rq) : pkt_queue_take(&r->rq);
}

static bool addrs_match(const struct raw_ep *r, const struct in6_addr *local, const struct in6_addr *remote, int iif)
{
    const struct endpoint *ep = &r->ep;

    return (addr_is_any(&ep->laddr) || addr_equal(&ep->laddr, local)) && (!ep->connected || addr_equal(&ep->raddr, remote)) &&
           (!ep->bound_if || ep->bound_if == iif);
}

static bool filtered(const struct raw_ep *r, const struct pkt *p)
{
    uint8_t type = p->lin ? p->data[0] : 0;

    if (r->ep.proto == IPPROTO_ICMP && r->ep.family == AF_INET)
        return type < 32 && (r->icmp_filter >> type & 1);
    if (r->ep.proto == IPPROTO_ICMPV6 && r->ep.family == AF_INET6)
        return r->icmp6_filter[type >> 5] >> (type & 31) & 1;
    return false;
}

static bool wants(struct raw_ep *r, const struct pkt *p) NETSTACK_LOCKED
{
    bool v4 = addr_is_v4(&p->ip.dst);

    if (r->rx_shutdown || (r->ep.family == AF_INET) != v4 || r->ep.proto != p->ip.proto || r->ep.proto == IPPROTO_RAW)
        return false;
    if (!addrs_match(r, &p->ip.dst, &p->ip.src, p->iif))
        return false;
    if (p->ip.type == RTN_MULTICAST && !mcast_wanted(&r->ep, &p->ip.dst, &p->ip.src, p->iif))
        return false;
    if (r->ping)
        return p->lin >= 8 && p->data[0] == (v4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY) &&
               ((const struct icmphdr *)p->data)->un.echo.id == r->ep.lport && r->ep.lport;
    return !filtered(r, p);
}

static bool csum_wrong(const struct raw_ep *r, const struct pkt *p)
{
    if (p->csum != PKT_CSUM_NONE)
        return false;
    if (r->ping && r->ep.family == AF_INET)
        return csum_fold16(pkt_csum(p, 0, p->len, 0)) != 0xffff;
    if (r->csum_offset < 0 || r->ep.family != AF_INET6)
        return false;
    return csum_fold16(pkt_csum(p, 0, p->len, csum_pseudo(&p->ip.src, &p->ip.dst, p->ip.proto, p->len))) != 0xffff;
}

bool raw_input(struct netstack *s, struct pkt *p)
{
    size_t back = pkt_offset(p) - p->l3;
    bool any = false;
    struct raw_ep *r;

    if (list_empty(&s->raw_eps))
        return false;
    (void)pkt_need(p, p->len < 8 ? p->len : 8);
    list_for_each_entry(r, &s->raw_eps, node) {
        struct pkt *c;
        uint32_t keep;

        if (!wants(r, p) || csum_wrong(r, p))
            continue;
        any = true;
        c = r->rq.memory < r->rcvbuf ? pkt_clone(p) : NULL;
        if (!c) {
            r->drops++;
            continue;
        }
        /* IPv4 raw sockets see the IP header (raw(7)). The header is there already; pushing makes no room but for writing. */
        if (r->ep.family == AF_INET && !r->ping) {
            c->data -= back;
            c->lin += back;
            c->len += back;
        }
        keep = r->ep.cb->filter ? r->ep.cb->filter(&r->ep, c) : UINT32_MAX;
        if (!keep) {
            pkt_free(c);
            continue;
        }
        pkt_trim(c, keep < c->len ? keep : c->len);
        pkt_queue_add(&r->rq, c);
        r->ep.cb->ready(&r->ep, EPOLLIN);
    }
    return any;
}

void raw_error(struct netstack *s, struct pkt *p, const struct icmp_error *e)
{
    bool v4 = addr_is_v4(&p->ip.dst);
    struct raw_ep *r;

    list_for_each_entry(r, &s->raw_eps, node) {
        struct pkt *c;

        if ((r->ep.family == AF_INET) != v4 || r->ep.proto != p->ip.proto || !addrs_match(r, &p->ip.src, &p->ip.dst, p->iif))
            continue;
        if (r->ping && (p->lin < 8 || ((const struct icmphdr *)p->data)->un.echo.id != r->ep.lport))
            continue;
        c = pkt_clone(p);
        if (!c)
            continue;
        endpoint_icmp_error(&r->ep, c, e, 0);
        pkt_free(c);
    }
}
