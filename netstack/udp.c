/* UDP and UDP-Lite endpoints: binding, connecting, sending. udp_input.c receives. */
#include "netstack/udp.h"

#include "netstack/csum.h"
#include "netstack/udp_internal.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Linux's UDP_MAX_SEGMENTS. */
#define SEGMENTS_MAX 128

int udp_create(struct netstack *s)
{
    int r;

    s->udp = calloc(1, sizeof(*s->udp));
    if (!s->udp)
        return -ENOMEM;
    r = port_table_create(s, &s->udp->udp);
    if (!r)
        r = port_table_create(s, &s->udp->lite);
    if (r) {
        udp_destroy(s);
        return r;
    }
    ip_register_proto(s, &udp_proto);
    ip_register_proto(s, &udplite_proto);
    return 0;
}

void udp_destroy(struct netstack *s)
{
    if (!s->udp)
        return;
    port_table_destroy(s->udp->udp);
    port_table_destroy(s->udp->lite);
    free(s->udp);
    s->udp = NULL;
}

struct port_table *udp_table(struct netstack *s, int proto)
{
    return proto == IPPROTO_UDPLITE ? s->udp->lite : s->udp->udp;
}

static struct port_table *table_of(struct udp_ep *u)
{
    return udp_table(u->ep.stack, u->ep.proto);
}

void udp_ep_init(struct udp_ep *u, struct netstack *s, const struct endpoint_cb *cb, void *owner, int family, int proto)
{
    memset(u, 0, sizeof(*u));
    endpoint_init(&u->ep, s, cb, owner, family, proto);
    u->bound_addr = u->ep.laddr;
    u->rcvbuf = s->sysctl.udp_rmem_default;
    pkt_queue_init(&u->rq);
}

void udp_ep_fini(struct udp_ep *u)
{
    port_unbind(table_of(u), &u->ep);
    pkt_queue_purge(&u->rq);
    endpoint_fini(&u->ep);
}

int udp_bind(struct udp_ep *u, const struct in6_addr *addr, be16 port, int scope_if)
{
    int r;

    if (u->ep.bucket)
        return -EINVAL;
    r = endpoint_check_laddr(&u->ep, addr, scope_if);
    if (r)
        return r;
    r = port_bind(table_of(u), &u->ep, addr, port);
    if (r)
        return r;
    if (scope_if && addr_is_linklocal(addr))
        u->ep.bound_if = scope_if;
    u->bound_addr = *addr;
    u->port_auto = !port;
    return 0;
}

static int autobind(struct udp_ep *u) NETSTACK_LOCKED
{
    int r;

    if (u->ep.bucket)
        return 0;
    r = port_bind(table_of(u), &u->ep, &u->ep.laddr, 0);
    if (r)
        return -EAGAIN; /* as Linux says when ports run out here */
    u->port_auto = true;
    return 0;
}

int udp_disconnect(struct udp_ep *u)
{
    struct port_table *t = table_of(u);

    port_disconnect(t, &u->ep);
    u->ep.laddr = u->bound_addr;
    u->ep.raddr = addr_any(u->ep.family);
    u->ep.rport = 0;
    if (u->port_auto)
        port_unbind(t, &u->ep);
    return 0;
}

/* Linux: an address that says "here" means the loopback one. */
static struct in6_addr or_loopback(const struct in6_addr *addr)
{
    if (!addr_is_any(addr))
        return *addr;
    return addr_is_v4(addr) ? addr_from_v4(htonl(INADDR_LOOPBACK)) : in6addr_loopback;
}

int udp_connect(struct udp_ep *u, const struct in6_addr *addr, be16 port, int scope_if)
{
    struct endpoint *ep = &u->ep;
    struct port_table *t = table_of(u);
    struct in6_addr dst = or_loopback(addr);
    struct ip_flow f;
    int r;

    if (ep->family == AF_INET6 && ep->v6only && addr_is_v4(&dst))
        return -ENETUNREACH;
    if (addr_is_linklocal(&dst) && !ep->bound_if && !scope_if)
        return -EINVAL;
    if (ep->connected) {
        port_disconnect(t, ep);
        ep->laddr = u->bound_addr;
    }
    ep->raddr = addr_any(ep->family);
    ep->rport = 0;
    endpoint_flow(ep, &dst, &f);
    if (scope_if && !addr_is_v4(&dst))
        f.oif = scope_if;
    f.dport = port;
    r = ip_route(ep->stack, &f);
    if (r)
        return r;
    if (f.rt.type == RTN_BROADCAST && !ep->broadcast)
        return -EACCES;
    r = autobind(u);
    if (r)
        return r;
    if (addr_is_any(&ep->laddr) || addr_is_multicast(&ep->laddr))
        ep->laddr = f.src;
    ep->raddr = dst;
    ep->rport = port;
    f.sport = ep->lport;
    if (scope_if && addr_is_linklocal(&dst))
        ep->bound_if = scope_if;
    ep->flow = f;
    return port_connect(t, ep);
}

/* Options of one message over those of the endpoint. */
static void apply(struct udp_ep *u, const struct udp_send *how, struct ip_flow *f)
{
    if (!addr_is_any(&how->src))
        f->src = how->src;
    if (how->oif)
        f->oif = how->oif;
    if (how->ttl >= 0)
        f->ttl = how->ttl;
    if (how->tos >= 0)
        f->tos = how->tos;
    if (how->opt_len) {
        f->opts = how->opts;
        f->opt_len = how->opt_len;
    }
    if (how->flowlabel)
        f->flowlabel = how->flowlabel;
    f->dontroute |= how->dontroute;
}

static bool plain(const struct udp_send *how)
{
    return !how->has_dst && addr_is_any(&how->src) && !how->oif && how->ttl < 0 && how->tos < 0 && !how->opt_len &&
           !how->flowlabel && !how->dontroute;
}

static int add_header(struct udp_ep *u, const struct ip_flow *f, struct pkt *p)
{
    bool lite = u->ep.proto == IPPROTO_UDPLITE, v4 = addr_is_v4(&f->dst);
    uint32_t len = p->len + sizeof(struct udphdr), cover = len;
    struct udphdr *uh = pkt_push(p, sizeof(*uh));

    if (!uh)
        return -ENOBUFS;
    *uh = (struct udphdr){.source = u->ep.lport, .dest = f->dport, .len = htons(len)};
    if (lite) {
        if (u->lite_send_cov && u->lite_send_cov < len)
            cover = u->lite_send_cov < 8 ? 8 : u->lite_send_cov;
        uh->len = htons(cover == len ? 0 : cover);
        uh->check = csum_finish(pkt_csum(p, 0, cover, ip_flow_pseudo(f, len)));
        uh->check = uh->check ? uh->check : 0xffff;
        return 0;
    }
    if ((v4 ? u->no_check : u->no_check6_tx) && p->gso == PKT_GSO_NONE)
        return 0;
    uh->check = csum_fold16(ip_flow_pseudo(f, len));
    pkt_csum_request(p, offsetof(struct udphdr, check));
    return 0;
}

static int check_size(struct udp_ep *u, const struct ip_flow *f, struct pkt *p, uint16_t gso_size)
{
    uint32_t hdr = ip_flow_hdr_len(f) + sizeof(struct udphdr);

    if (p->len + sizeof(struct udphdr) + (addr_is_v4(&f->dst) ? ip_flow_hdr_len(f) : f->ext_len) > 65535)
        return -EMSGSIZE;
    if (gso_size && p->len > gso_size) {
        uint32_t segs = (p->len + gso_size - 1) / gso_size;

        if (gso_size + hdr > f->rt.mtu || segs > SEGMENTS_MAX || u->no_check || u->ep.proto != IPPROTO_UDP)
            return -EINVAL;
        p->gso = PKT_GSO_UDP;
        p->gso_size = gso_size;
        p->gso_segs = segs;
    }
    return 0;
}

int udp_send(struct udp_ep *u, const struct udp_send *how, struct pkt *p)
{
    struct endpoint *ep = &u->ep;
    struct netstack *s = ep->stack;
    bool cached = ep->connected && plain(how), lite = ep->proto == IPPROTO_UDPLITE, v4;
    struct in6_addr dst = how->has_dst ? or_loopback(&how->dst) : ep->raddr;
    be16 dport = how->has_dst ? how->dport : ep->rport;
    struct ip_flow own, *f = &own;
    int r;

    r = -EPIPE;
    if (u->tx_shutdown)
        goto fail;
    r = -EDESTADDRREQ;
    if (!how->has_dst && !ep->rport)
        goto fail;
    r = -EINVAL;
    if (!dport)
        goto fail;
    r = -ENETUNREACH;
    v4 = addr_is_v4(&dst);
    if (v4 && ep->family == AF_INET6 && ep->v6only)
        goto fail;
    r = autobind(u);
    if (r)
        goto fail;
    if (cached) {
        /* Options may have changed since it was connected; the way is kept while none of them bears on it. */
        endpoint_flow(ep, &dst, &own);
        own.dport = dport;
        f = &ep->flow;
        if (own.mark == f->mark && own.oif == f->oif && own.tos == f->tos && own.dontroute == f->dontroute)
            own.rt = f->rt;
        *f = own;
    } else {
        endpoint_flow(ep, &dst, f);
        apply(u, how, f);
        f->dport = dport;
    }
    r = ip_route(s, f);
    if (r)
        goto fail;
    r = -EACCES;
    if (f->rt.type == RTN_BROADCAST && !ep->broadcast)
        goto fail;
    r = check_size(u, f, p, how->gso_size ? how->gso_size : u->gso_size);
    if (r) {
        if (r == -EMSGSIZE)
            endpoint_local_error(ep, EMSGSIZE, f->rt.mtu, &dst, dport);
        goto fail;
    }
    if (how->confirm)
        neigh_confirm(f->rt.nic, &f->rt.nexthop);
    uint32_t wire = p->len + sizeof(struct udphdr) + ip_flow_hdr_len(f), segs = p->gso_segs;
    if (p->gso == PKT_GSO_NONE && wire > f->rt.mtu && (f->pmtudisc == IP_PMTUDISC_DO || (f->dontfrag && !v4))) {
        r = -EMSGSIZE;
        endpoint_local_error(ep, EMSGSIZE, f->rt.mtu, &dst, dport);
        goto fail;
    }
    r = add_header(u, f, p);
    if (r)
        goto fail;
    UDP_COUNT_N(s, v4, lite, OutDatagrams, segs);
    r = ip_output(s, f, p);
    if (r == -EMSGSIZE)
        endpoint_local_error(ep, EMSGSIZE, f->rt.mtu, &dst, dport);
    return r;
fail:
    pkt_free(p);
    return r;
}

struct pkt *udp_recv(struct udp_ep *u, bool peek)
{
    return peek ? pkt_queue_head(&u->rq) : pkt_queue_take(&u->rq);
}
