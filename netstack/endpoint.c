#include "netstack/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Entries of an error queue; the oldest stay, as in Linux when the receive buffer is full. */
#define ERRQ_MAX 64

void endpoint_init(struct endpoint *ep, struct netstack *s, const struct endpoint_cb *cb, void *owner, int family, int proto)
{
    memset(ep, 0, sizeof(*ep));
    ep->stack = s;
    ep->cb = cb;
    ep->owner = owner;
    ep->family = family;
    ep->proto = proto;
    list_init(&ep->conn_node);
    list_init(&ep->listen_node);
    list_init(&ep->bind_node);
    list_init(&ep->mcast);
    pkt_queue_init(&ep->errq);
    ep->laddr = ep->raddr = addr_any(family);
    ep->v6only = s->sysctl.bindv6only;
    ep->mc_ttl = ep->mc_hops = 1;
    ep->mc_loop4 = ep->mc_loop6 = ep->mc_all4 = ep->mc_all6 = true;
    ep->pmtudisc4 = ep->pmtudisc6 = IP_PMTUDISC_WANT;
    ep->mc_addr4 = addr_from_v4(0);
}

void endpoint_fini(struct endpoint *ep)
{
    mcast_leave_all(ep);
    pkt_queue_purge(&ep->errq);
    free(ep->ext6);
    ep->ext6 = NULL;
}

void endpoint_flow(struct endpoint *ep, const struct in6_addr *dst, struct ip_flow *f)
{
    bool v4 = addr_is_v4(dst), group = addr_is_multicast(dst);

    *f = (struct ip_flow){
        .dst = *dst,
        .src = ep->laddr,
        .proto = ep->proto,
        .ttl = v4 ? ep->ttl : ep->hop_limit,
        .tos = v4 ? ep->tos : ep->tclass,
        .pmtudisc = v4 ? ep->pmtudisc4 : ep->pmtudisc6,
        .mark = ep->mark,
        .priority = ep->priority,
        .uid = ep->uid,
        .oif = ep->bound_if,
        .sport = ep->lport,
        .dport = ep->rport,
        .nonlocal_src = ep->transparent || ep->freebind || ep->stack->sysctl.ip_nonlocal_bind,
        .dontroute = ep->dontroute,
        .dontfrag = ep->dontfrag6,
        .flowlabel = ep->flowlabel,
    };
    if (v4) {
        f->opts = ep->opts;
        f->opt_len = ep->opt_len;
    } else if (ep->ext6_len) {
        f->ext = ep->ext6;
        f->ext_len = ep->ext6_len;
        f->ext_first = ep->ext6_first;
        f->ext_last = ep->ext6_last;
    }
    /* An address of the other family, or of none, is no source; nor is a group or a broadcast address that one is bound to. */
    if (addr_is_any(&f->src) || addr_is_v4(&f->src) != v4 || addr_is_multicast(&f->src) ||
        (v4 && !ep->connected && route_addr_type(ep->stack, &f->src, NULL) == RTN_BROADCAST))
        f->src = addr_any(v4 ? AF_INET : AF_INET6);
    if (group) {
        uint8_t ttl = v4 ? ep->mc_ttl : ep->mc_hops;

        f->ttl = ttl ? ttl : 1;
        f->mc_local = ttl == 0;
        f->mc_loop = v4 ? ep->mc_loop4 : ep->mc_loop6;
        if (!f->oif)
            f->oif = v4 ? ep->mc_if4 : ep->mc_if6;
        if (v4 && addr_is_any(&f->src) && !addr_is_any(&ep->mc_addr4))
            f->src = ep->mc_addr4;
    } else if (!f->oif && ep->unicast_if) {
        f->oif = ep->unicast_if;
    }
}

void endpoint_queue_error(struct endpoint *ep, const struct sock_extended_err *ee, const struct in6_addr *offender,
                          const struct in6_addr *dst, be16 port, struct pkt *payload)
{
    struct pkt *p;

    if (ep->errq.n >= ERRQ_MAX)
        return;
    p = payload ? pkt_clone(payload) : pkt_alloc(0, 0);
    if (!p)
        return;
    memset(p->cb, 0, sizeof(p->cb));
    p->err.ee = *ee;
    p->err.offender = *offender;
    p->err.dst = *dst;
    p->err.port = port;
    pkt_queue_add(&ep->errq, p);
    ep->cb->ready(ep, EPOLLERR);
}

void endpoint_icmp_error(struct endpoint *ep, struct pkt *p, const struct icmp_error *e, be16 dport)
{
    bool v4 = addr_is_v4(&p->ip.dst), recverr = v4 ? ep->recverr4 : ep->recverr6;
    uint8_t disc = v4 ? ep->pmtudisc4 : ep->pmtudisc6;
    struct sock_extended_err ee = {.ee_errno = e->err,
                                   .ee_origin = v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6,
                                   .ee_type = e->type,
                                   .ee_code = e->code,
                                   .ee_info = e->info};
    bool hard = e->hard;

    if (e->err == EMSGSIZE)
        hard = disc != IP_PMTUDISC_DONT && disc != IP_PMTUDISC_INTERFACE && disc != IP_PMTUDISC_OMIT;
    if (recverr)
        endpoint_queue_error(ep, &ee, &e->offender, &p->ip.dst, dport, p);
    else if (!hard || !ep->connected)
        return;
    ep->cb->error(ep, e->err);
    ep->cb->ready(ep, EPOLLERR);
}

void endpoint_local_error(struct endpoint *ep, int err, uint32_t info, const struct in6_addr *dst, be16 port)
{
    struct sock_extended_err ee = {.ee_errno = err, .ee_origin = SO_EE_ORIGIN_LOCAL, .ee_info = info};

    if (addr_is_v4(dst) ? ep->recverr4 : ep->recverr6)
        endpoint_queue_error(ep, &ee, &in6addr_any, dst, port, NULL);
}

int endpoint_check_laddr(struct endpoint *ep, const struct in6_addr *addr, int scope_if)
{
    struct netstack *s = ep->stack;
    struct nic *nic = scope_if ? nic_by_index(s, scope_if) : NULL;
    int type;

    if (ep->family == AF_INET6 && ep->v6only && addr_is_v4(addr))
        return -EINVAL;
    if (addr_is_any(addr))
        return 0;
    if (addr_is_linklocal(addr) && !ep->bound_if && !scope_if)
        return -EINVAL;
    if (scope_if && !nic)
        return -ENODEV;
    if (ep->freebind || ep->transparent || s->sysctl.ip_nonlocal_bind)
        return 0;
    if (!addr_is_v4(addr)) {
        if (addr_is_multicast(addr))
            return 0;
        return netstack_addr_find(s, addr, nic, false) ? 0 : -EADDRNOTAVAIL;
    }
    type = route_addr_type(s, addr, NULL);
    return type == RTN_LOCAL || type == RTN_MULTICAST || type == RTN_BROADCAST ? 0 : -EADDRNOTAVAIL;
}
