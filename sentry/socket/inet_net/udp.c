/* UDP over the network: a socket's endpoint in the netstack, beside its queue for datagrams of the sandbox. */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/udp.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"

#include <errno.h>
#include <linux/udp.h>
#include <poll.h>
#include <stdlib.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* How often a port that is free for us but not for the netstack is given up for another. */
#define PORT_TRIES 16

static void on_ready(struct endpoint *ep, uint32_t events)
{
    struct inet_sock *i = ep->owner;

    waitq_wake(&i->s.wq, events);
}

static void on_error(struct endpoint *ep, int err)
{
    struct inet_sock *i = ep->owner;

    sock_set_error(&i->s, err);
    waitq_wake(&i->s.wq, POLLERR);
}

static uint32_t on_packet(struct endpoint *ep, const struct pkt *p)
{
    const struct inet_sock *i = ep->owner;

    return likely(!i->s.filter) ? UINT32_MAX : bpf_run_pkt(i->s.filter, p);
}

const struct endpoint_cb net_dgram_cb = {.ready = on_ready, .error = on_error, .filter = on_packet};

static int make(struct inet_sock *i)
{
    struct udp_ep *u;

    if (i->udp)
        return 0;
    u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    netstack_lock(inet_stack_of(i));
    udp_ep_init(u, inet_stack_of(i), &net_dgram_cb, i, i->s.family, i->s.protocol);
    net_endpoint_push_options(i, &u->ep);
    u->rcvbuf = (uint32_t)i->s.rcvbuf;
    u->gso_size = i->gso_size;
    u->gro = i->gro;
    i->udp = u;
    netstack_unlock(inet_stack_of(i));
    return 0;
}

/* The endpoint of a socket that has a port, and has it too. s.lock is held. */
static int ensure(struct inet_sock *i)
{
    struct in6_addr addr = inet_is_any(&i->local.addr) ? addr_any(i->s.family) : i->local.addr;
    int r = make(i);

    if (r < 0)
        return r;
    netstack_lock(inet_stack_of(i));
    if (!i->udp->ep.lport)
        r = udp_bind(i->udp, &addr, htons(i->local.port), i->local.scope);
    netstack_unlock(inet_stack_of(i));
    return r;
}

int net_udp_member(struct inet_sock *i)
{
    int r;

    mutex_lock(&i->s.lock);
    r = make(i);
    mutex_unlock(&i->s.lock);
    return r;
}

/* The same for one that may not have a port yet. */
static int ensure_bound(struct inet_sock *i)
{
    bool mine = !i->local.port;
    int r = -EAGAIN;

    for (int tries = 0; tries < PORT_TRIES; tries++) {
        r = inet_autobind(i, NULL);
        if (r < 0)
            return r;
        r = ensure(i);
        if (r != -EADDRINUSE || !mine)
            break;
        inet_table_remove(i);
    }
    return r;
}

int net_udp_bound(struct inet_sock *i)
{
    if (!atomic_load(&i->s.net->has_links) || inet_is_loopback(&i->local.addr))
        return 0;
    return ensure(i);
}

int net_udp_connect(struct inet_sock *i, struct inet_end *dst)
{
    struct in6_addr src;
    int r = ensure_bound(i);

    if (r < 0)
        return r;
    netstack_lock(inet_stack_of(i));
    i->udp->rx_shutdown = false;
    r = udp_connect(i->udp, &dst->addr, htons(dst->port), dst->scope);
    src = i->udp->ep.laddr;
    netstack_unlock(inet_stack_of(i));
    if (r == 0)
        inet_set_remote(i, dst, &src, TCP_S_ESTABLISHED);
    return r;
}

void net_udp_disconnect(struct inet_sock *i, bool inside)
{
    struct pkt *p;

    if (!i->udp)
        return;
    netstack_lock(inet_stack_of(i));
    udp_disconnect(i->udp);
    i->udp->rx_shutdown = inside;
    while (inside && (p = udp_recv(i->udp, false)))
        pkt_free(p);
    netstack_unlock(inet_stack_of(i));
}

void net_udp_close(struct inet_sock *i)
{
    if (!i->udp)
        return;
    netstack_lock(inet_stack_of(i));
    udp_ep_fini(i->udp);
    netstack_unlock(inet_stack_of(i));
    free(i->udp);
    i->udp = NULL;
}

ssize_t net_udp_sendmsg(struct inet_sock *i, struct sk_msg *m, const struct inet_end *dst)
{
    struct udp_send how = UDP_SEND_INIT;
    size_t n = m->uio->resid;
    struct pkt *p;
    int r;

    mutex_lock(&i->s.lock);
    r = ensure_bound(i);
    mutex_unlock(&i->s.lock);
    if (r < 0)
        return r;
    p = net_copy_from(m->uio, n, &r);
    if (!p)
        return r;
    if (m->name) {
        how.has_dst = true;
        how.dst = dst->addr;
        how.dport = htons(dst->port);
        how.oif = dst->scope;
    }
    if (m->scm) {
        if (m->scm->has_src)
            how.src = m->scm->src;
        if (m->scm->oif)
            how.oif = m->scm->oif;
        if (m->scm->has_ttl)
            how.ttl = m->scm->ttl;
        if (m->scm->has_tos)
            how.tos = m->scm->tos;
        how.gso_size = m->scm->gso_size;
    }
    how.dontroute = m->flags & MSG_DONTROUTE;
    how.confirm = m->flags & MSG_CONFIRM;
    netstack_lock(inet_stack_of(i));
    r = udp_send(i->udp, &how, p);
    netstack_unlock(inet_stack_of(i));
    return r < 0 ? r : (ssize_t)n;
}

void net_put_control(struct inet_sock *i, struct cmsg_writer *w, const struct pkt *p)
{
    bool v4 = addr_is_v4(&p->ip.dst);
    int v;

    if (!w)
        return;
    cmsg_put_timestamp(w, &i->s, p->tstamp ? p->tstamp : sock_wants_stamp(&i->s) ? kernel_realtime_ns() : 0);
    cmsg_put_drops(w, &i->s, inet_drops(i));
    if (v4 && i->o.pktinfo) {
        struct in_pktinfo info = {.ipi_ifindex = p->iif, .ipi_addr = {addr_v4(&p->ip.dst)}};

        info.ipi_spec_dst = info.ipi_addr;
        if (p->ip.type != RTN_LOCAL && p->nic) {
            struct nic_addr *a;

            /* Of a group or a broadcast: the address to answer from. */
            netstack_lock(i->s.net->stack);
            a = list_empty(&p->nic->addrs) ? NULL : list_first_entry(&p->nic->addrs, struct nic_addr, node);
            if (a && addr_is_v4(&a->addr))
                info.ipi_spec_dst.s_addr = addr_v4(&a->addr);
            netstack_unlock(i->s.net->stack);
        }
        cmsg_put(w, SOL_IP, IP_PKTINFO, &info, sizeof(info));
    }
    if (i->o.recvpktinfo && i->s.family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_addr = p->ip.dst, .ipi6_ifindex = (unsigned int)p->iif};

        cmsg_put(w, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    if (i->o.oldpktinfo && i->s.family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_addr = p->ip.dst, .ipi6_ifindex = (unsigned int)p->iif};

        cmsg_put(w, SOL_IPV6, IPV6_2292PKTINFO, &info, sizeof(info));
    }
    if (!v4 && i->o.flowinfo && p->ip.flowinfo)
        cmsg_put(w, SOL_IPV6, 11 /* IPV6_FLOWINFO */, &p->ip.flowinfo, sizeof(p->ip.flowinfo));
    v = p->ip.ttl;
    if (v4 && i->o.recvttl)
        cmsg_put(w, SOL_IP, IP_TTL, &v, sizeof(v));
    if (!v4 && i->o.recvhoplimit)
        cmsg_put(w, SOL_IPV6, IPV6_HOPLIMIT, &v, sizeof(v));
    if (!v4 && i->o.oldhoplimit)
        cmsg_put(w, SOL_IPV6, IPV6_2292HOPLIMIT, &v, sizeof(v));
    v = p->ip.frag_max;
    if (v && v4 && i->o.recvfragsize)
        cmsg_put(w, SOL_IP, IP_RECVFRAGSIZE, &v, sizeof(v));
    if (v && !v4 && i->o.recvfragsize6)
        cmsg_put(w, SOL_IPV6, IPV6_RECVFRAGSIZE, &v, sizeof(v));
    v = p->ip.tos;
    if (v4 && i->o.recvtos)
        cmsg_put(w, SOL_IP, IP_TOS, &p->ip.tos, sizeof(p->ip.tos));
    if (!v4 && i->o.recvtclass)
        cmsg_put(w, SOL_IPV6, IPV6_TCLASS, &v, sizeof(v));
    if (v4 && i->o.recvorigdst) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {addr_v4(&p->ip.dst)}, .sin_port = p->udp.dport};

        cmsg_put(w, SOL_IP, IP_RECVORIGDSTADDR, &sin, sizeof(sin));
    }
}

ssize_t net_udp_recvmsg(struct inet_sock *i, struct sk_msg *m)
{
    bool peek = m->flags & MSG_PEEK;
    struct inet_end from = {.port = 0};
    struct pkt *p;
    ssize_t r;
    size_t n;

    netstack_lock(inet_stack_of(i));
    p = udp_recv(i->udp, peek);
    if (p && peek)
        p = pkt_clone(p);
    netstack_unlock(inet_stack_of(i));
    if (!p)
        return -EAGAIN;
    n = p->len < m->uio->resid ? p->len : m->uio->resid;
    if (n < p->len)
        m->out_flags |= MSG_TRUNC;
    if (m->name) {
        from.addr = p->ip.src;
        from.port = ntohs(p->udp.sport);
        from.scope = addr_is_linklocal(&p->ip.src) ? p->iif : 0;
        inet_addr_out(i, &from, m->name);
    }
    r = m->flags & MSG_TRUNC ? (ssize_t)p->len : (ssize_t)n;
    if (n && net_copy_to(m->uio, p, 0, n) != (ssize_t)n)
        r = -EFAULT;
    net_put_control(i, m->cmsg, p);
    if (i->udp->gro && p->gso_size && m->cmsg) {
        int size = p->gso_size;

        cmsg_put(m->cmsg, IPPROTO_UDP, UDP_GRO, &size, sizeof(size));
    }
    pkt_free(p);
    return r;
}

bool net_udp_readable(struct inet_sock *i)
{
    bool r;

    netstack_lock(inet_stack_of(i));
    r = i->udp->rq.n > 0;
    netstack_unlock(inet_stack_of(i));
    return r;
}

int net_udp_first_len(struct inet_sock *i)
{
    struct pkt *p;
    int n;

    netstack_lock(inet_stack_of(i));
    p = udp_recv(i->udp, true);
    n = p ? (int)p->len : 0;
    netstack_unlock(inet_stack_of(i));
    return n;
}
