/*
 * Raw IP sockets, and ping sockets (SOCK_DGRAM with IPPROTO_ICMP): all of it is the netstack's, loopback included. What
 * inet_loopback carries between sockets of the sandbox makes no packets, so raw sockets do not see it.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/raw.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/errqueue.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static int raw_sock_bind(struct socket *s, struct task *t, const struct sock_addr *a)
{
    struct inet_sock *i = inet_of(s);
    struct inet_end e;
    int r;

    mutex_lock(&s->lock);
    r = inet_addr_in(i, a, &e);
    if (r == 0) {
        if (inet_is_any(&e.addr))
            e.addr = addr_any(s->family);
        netstack_lock(inet_stack_of(i));
        r = raw_bind(i->raw, &e.addr, htons(e.port), e.scope);
        netstack_unlock(inet_stack_of(i));
    }
    mutex_unlock(&s->lock);
    return r;
}

static int raw_sock_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct inet_sock *i = inet_of(s);
    struct inet_end e;
    int r = 0;

    if (a->len < sizeof(sa_family_t))
        return -EINVAL;
    mutex_lock(&s->lock);
    if (a->sa.sa_family != AF_UNSPEC)
        r = inet_addr_in(i, a, &e);
    if (r == 0) {
        netstack_lock(inet_stack_of(i));
        r = a->sa.sa_family == AF_UNSPEC ? raw_disconnect(i->raw) : raw_connect(i->raw, &e.addr, e.scope);
        netstack_unlock(inet_stack_of(i));
    }
    if (r == 0) {
        i->state = a->sa.sa_family == AF_UNSPEC ? TCP_S_CLOSE : TCP_S_ESTABLISHED;
        i->remote = i->state == TCP_S_ESTABLISHED ? e : (struct inet_end){.port = 0};
    }
    mutex_unlock(&s->lock);
    return r;
}

static int raw_getname(struct socket *s, bool peer, struct sock_addr *out)
{
    struct inet_sock *i = inet_of(s);
    struct inet_end e = {.port = 0};

    mutex_lock(&s->lock);
    if (peer && i->state != TCP_S_ESTABLISHED) {
        mutex_unlock(&s->lock);
        return -ENOTCONN;
    }
    netstack_lock(inet_stack_of(i));
    e.addr = peer ? i->raw->ep.raddr : i->raw->ep.laddr;
    e.port = peer ? (i->raw->ping ? i->remote.port : 0) : i->raw->ping ? ntohs(i->raw->ep.lport) : (uint16_t)s->protocol;
    netstack_unlock(inet_stack_of(i));
    mutex_unlock(&s->lock);
    inet_addr_out(i, &e, out);
    return 0;
}

static ssize_t raw_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s);
    struct raw_send how = RAW_SEND_INIT;
    size_t n = m->uio->resid;
    struct inet_end dst;
    struct pkt *p;
    int r;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (n > 0xffff)
        return -EMSGSIZE;
    if (m->name) {
        r = inet_addr_in(i, m->name, &dst);
        if (r < 0)
            return r;
        how.has_dst = true;
        how.dst = dst.addr;
        how.oif = dst.scope;
    } else if (i->state != TCP_S_ESTABLISHED) {
        return -EDESTADDRREQ;
    }
    r = sock_take_error(s);
    if (r < 0)
        return r;
    if (m->scm) {
        if (m->scm->has_src)
            how.src = m->scm->src;
        if (m->scm->oif)
            how.oif = m->scm->oif;
        if (m->scm->has_ttl)
            how.ttl = m->scm->ttl;
        if (m->scm->has_tos)
            how.tos = m->scm->tos;
    }
    how.dontroute = m->flags & MSG_DONTROUTE;
    p = net_copy_from(m->uio, n, &r);
    if (!p)
        return r;
    netstack_lock(inet_stack_of(i));
    r = raw_send(i->raw, &how, p);
    netstack_unlock(inet_stack_of(i));
    return r < 0 ? r : (ssize_t)n;
}

static ssize_t raw_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s);
    struct inet_end from = {.port = 0};
    bool peek = m->flags & MSG_PEEK;
    struct pkt *p;
    ssize_t r;
    size_t n;

    if (m->name)
        m->name->len = 0;
    if (m->flags & MSG_ERRQUEUE)
        return sock_errqueue_has(s) ? sock_errqueue_recv(s, m) : net_recv_error(i, &i->raw->ep, m);
    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    r = sock_take_error(s);
    if (r < 0)
        return r;
    netstack_lock(inet_stack_of(i));
    p = raw_recv(i->raw, peek);
    if (p && peek)
        p = pkt_clone(p);
    netstack_unlock(inet_stack_of(i));
    if (!p)
        return atomic_load(&s->shutdown) & SHUT_MASK_RCV ? 0 : -EAGAIN;
    n = p->len < m->uio->resid ? p->len : m->uio->resid;
    if (n < p->len)
        m->out_flags |= MSG_TRUNC;
    if (m->name) {
        from.addr = p->ip.src;
        from.scope = addr_is_linklocal(&p->ip.src) ? p->iif : 0;
        inet_addr_out(i, &from, m->name);
    }
    r = m->flags & MSG_TRUNC ? (ssize_t)p->len : (ssize_t)n;
    if (n && net_copy_to(m->uio, p, 0, n) != (ssize_t)n)
        r = -EFAULT;
    net_put_control(i, m->cmsg, p);
    pkt_free(p);
    return r;
}

static uint32_t raw_poll(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    bool readable, has_error;

    netstack_lock(inet_stack_of(i));
    readable = i->raw->rq.n > 0;
    has_error = i->raw->ep.errq.n > 0;
    netstack_unlock(inet_stack_of(i));
    return inet_dgram_poll(s, readable, has_error);
}

static long raw_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct inet_sock *i = inet_of(s);
    struct pkt *p;
    int n = 0;

    if (cmd != SIOCINQ && cmd != SIOCOUTQ)
        return -ENOTTY;
    if (cmd == SIOCINQ) {
        netstack_lock(inet_stack_of(i));
        p = raw_recv(i->raw, true);
        n = p ? (int)p->len : 0;
        netstack_unlock(inet_stack_of(i));
    }
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static void raw_release(struct socket *s)
{
    struct inet_sock *i = inet_of(s);

    netstack_lock(inet_stack_of(i));
    raw_ep_fini(i->raw);
    netstack_unlock(inet_stack_of(i));
}

static void raw_destroy(struct socket *s)
{
    free(inet_of(s)->raw);
    inet_destroy(s);
}

static const struct socket_ops raw_ops = {
    .bind = raw_sock_bind,
    .connect = raw_sock_connect,
    .getname = raw_getname,
    .sendmsg = raw_sendmsg,
    .recvmsg = raw_recvmsg,
    .shutdown = inet_dgram_shutdown,
    .poll = raw_poll,
    .setsockopt = inet_setsockopt,
    .getsockopt = inet_getsockopt,
    .ioctl = raw_ioctl,
    .so_changed = net_so_changed,
    .release = raw_release,
    .destroy = raw_destroy,
};

/* net.ipv4.ping_group_range: who may have ping sockets. */
static bool may_ping(struct task *t, struct net *net)
{
    unsigned int min, max;
    const struct cred *c = t->cred;
    bool r;

    netstack_lock(net->stack);
    min = (unsigned int)net->stack->sysctl.ping_group_min;
    max = (unsigned int)net->stack->sysctl.ping_group_max;
    netstack_unlock(net->stack);
    r = c->egid >= min && c->egid <= max;
    for (size_t k = 0; !r && k < c->nr_groups; k++)
        r = c->groups[k] >= min && c->groups[k] <= max;
    return r;
}

int net_raw_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out)
{
    bool ping = type == SOCK_DGRAM;
    struct inet_sock *i;

    if (ping) {
        if (protocol != (family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6))
            return -EPROTONOSUPPORT;
        if (!may_ping(t, net))
            return -EACCES;
    } else {
        if (!cred_has_cap(t->cred, CAP_NET_RAW))
            return -EPERM;
        if (protocol == 0)
            return -EPROTONOSUPPORT;
    }
    if (protocol > 255)
        return -EINVAL;
    i = inet_alloc(net, &raw_ops, family, type, protocol);
    if (!i)
        return -ENOMEM;
    i->raw = calloc(1, sizeof(*i->raw));
    if (!i->raw) {
        inet_destroy(&i->s);
        return -ENOMEM;
    }
    netstack_lock(net->stack);
    raw_ep_init(i->raw, net->stack, &net_dgram_cb, i, family, protocol, ping);
    net_endpoint_push_options(i, &i->raw->ep);
    i->raw->rcvbuf = (uint32_t)i->s.rcvbuf;
    netstack_unlock(net->stack);
    *out = &i->s;
    return 0;
}
