/*
 * UDP: a datagram goes into the queue of whoever is bound where it is sent to, or is dropped when that is full. If nobody is
 * there a connected sender hears ECONNREFUSED in its next call, as by ICMP.
 */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAX_PAYLOAD_V4 (65535 - 20 - 8)
#define MAX_PAYLOAD_V6 (65535 - 8)
/* What a queued message costs of SO_RCVBUF beside its bytes. */
#define QUEUE_COST 256

static int udp_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct inet_sock *i = inet_of(s);
    struct in6_addr src, any = in6addr_any;
    struct inet_end dst;
    int r;

    if (a->len < sizeof(sa_family_t))
        return -EINVAL;
    mutex_lock(&s->lock);
    if (a->sa.sa_family == AF_UNSPEC) {
        if (i->state == TCP_S_ESTABLISHED && !i->port_chosen)
            inet_table_remove(i);
        inet_set_remote(i, NULL, i->addr_chosen ? NULL : &any, TCP_S_CLOSE);
        mutex_unlock(&s->lock);
        return 0;
    }
    r = inet_addr_in(i, a, &dst);
    if (!r)
        r = inet_route(i, &dst, &src);
    if (!r)
        r = inet_autobind(i, NULL);
    if (!r)
        inet_set_remote(i, &dst, &src, TCP_S_ESTABLISHED);
    mutex_unlock(&s->lock);
    return r;
}

/* The two ends of a datagram. Binds the sender if need be. */
static int udp_ends(struct inet_sock *i, const struct sk_msg *m, struct inet_end *src, struct inet_end *dst)
{
    int r = 0;

    mutex_lock(&i->s.lock);
    if (m->name) {
        r = inet_addr_in(i, m->name, dst);
        if (!r && dst->port == 0)
            r = -EINVAL;
    } else if (i->state == TCP_S_ESTABLISHED) {
        *dst = i->remote;
    } else {
        r = -EDESTADDRREQ;
    }
    if (!r)
        r = inet_route(i, dst, &src->addr);
    if (!r && m->scm && m->scm->has_src && inet_is_local(&m->scm->src) && inet_is_v4(&m->scm->src) == inet_is_v4(&dst->addr))
        src->addr = m->scm->src;
    if (!r)
        r = inet_autobind(i, NULL);
    src->port = i->local.port;
    mutex_unlock(&i->s.lock);
    return r;
}

static struct sockaddr_in6 as_sockaddr(const struct inet_end *e)
{
    return (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = e->addr, .sin6_port = e->port};
}

static void deliver(struct inet_sock *to, struct skb *skb)
{
    struct socket *s = &to->s;
    bool full;

    mutex_lock(&s->lock);
    full = atomic_load(&s->rq.bytes) + (size_t)s->rq.len * QUEUE_COST > (size_t)s->rcvbuf;
    if (!full) {
        if (s->timestamp || s->timestamp_ns)
            skb->realtime_ns = kernel_realtime_ns();
        skb_queue_tail(&s->rq, skb);
    }
    mutex_unlock(&s->lock);
    if (full)
        skb_free(skb);
    else
        waitq_wake(&s->wq, POLLIN | POLLRDNORM);
}

static void refused(struct inet_sock *i)
{
    if (i->state != TCP_S_ESTABLISHED && !i->o.recverr && !i->o.recverr6)
        return;
    sock_set_error(&i->s, ECONNREFUSED);
    waitq_wake(&i->s.wq, POLLERR);
}

/* A datagram in parts: the first says where it goes. *out gets the whole one, or NULL if more is to come. */
static int add_corked(struct inet_sock *i, struct sk_msg *m, bool more, struct inet_end *src, struct inet_end *dst,
                      struct skb **out)
{
    struct skb *skb;
    size_t n = m->uio->resid, max;

    mutex_lock(&i->s.lock);
    skb = i->corked;
    i->corked = NULL;
    if (skb) {
        *src = i->cork_src;
        *dst = i->cork_dst;
    }
    mutex_unlock(&i->s.lock);
    if (!skb) {
        skb = skb_alloc(NULL, SKB_STREAM_MAX);
        if (!skb)
            return -ENOBUFS;
    }
    max = inet_is_v4(&dst->addr) ? MAX_PAYLOAD_V4 : MAX_PAYLOAD_V6;
    if (skb->len + n > max || (n && uio_copy_from(m->uio, skb->data + skb->len, n) != (ssize_t)n)) {
        skb_free(skb);
        return n > max ? -EMSGSIZE : -EFAULT;
    }
    skb->len += (uint32_t)n;
    *out = skb;
    if (!more)
        return 0;
    mutex_lock(&i->s.lock);
    if (!i->corked) {
        i->corked = skb;
        i->cork_src = *src;
        i->cork_dst = *dst;
        *out = NULL;
    }
    mutex_unlock(&i->s.lock);
    return 0;
}

static int make_message(struct sk_msg *m, struct skb **out)
{
    size_t n = m->uio->resid;
    struct skb *skb = skb_alloc(NULL, n);

    if (!skb)
        return -ENOBUFS;
    if (n && uio_copy_from(m->uio, skb->data, n) != (ssize_t)n) {
        skb_free(skb);
        return -EFAULT;
    }
    skb->len = (uint32_t)n;
    *out = skb;
    return 0;
}

static ssize_t udp_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s), *to;
    struct inet_end src, dst;
    size_t n = m->uio->resid;
    struct skb *skb;
    bool more;
    int r;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (n > 0xffff)
        return -EMSGSIZE;
    r = udp_ends(i, m, &src, &dst);
    if (r)
        return r;
    if (n > (inet_is_v4(&dst.addr) ? MAX_PAYLOAD_V4 : MAX_PAYLOAD_V6))
        return -EMSGSIZE;
    r = sock_take_error(s);
    if (r)
        return r;
    if (atomic_load(&s->shutdown) & SHUT_MASK_SEND)
        return -EPIPE;
    more = m->flags & MSG_MORE || i->o.udp_cork;
    r = more || i->corked ? add_corked(i, m, more, &src, &dst, &skb) : make_message(m, &skb);
    if (r || !skb)
        return r ? r : (ssize_t)n;
    skb->from = as_sockaddr(&src);
    skb->to = as_sockaddr(&dst);
    skb->ttl = (uint8_t)(m->scm && m->scm->has_ttl && m->scm->ttl >= 0 ? m->scm->ttl
                         : inet_is_v4(&dst.addr)                       ? i->o.ttl
                                                                       : i->o.hops);
    skb->tos = (uint8_t)(m->scm && m->scm->has_tos && m->scm->tos >= 0 ? m->scm->tos
                         : inet_is_v4(&dst.addr)                       ? i->o.tos
                                                                       : i->o.tclass);
    to = inet_find_udp(inet_table_of(i), &dst, &src);
    if (!to) {
        skb_free(skb);
        refused(i);
        return (ssize_t)n;
    }
    atomic_fetch_add_explicit(&s->net->lo_bytes, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->net->lo_packets, 1, memory_order_relaxed);
    deliver(to, skb);
    socket_put(&to->s);
    return (ssize_t)n;
}

static void put_control(struct inet_sock *i, struct cmsg_writer *w, const struct skb *skb)
{
    bool v4 = inet_is_v4(&skb->to.sin6_addr);
    int v;

    if (!w)
        return;
    cmsg_put_timestamp(w, &i->s, skb->realtime_ns);
    if (v4 && i->o.pktinfo) {
        struct in_pktinfo info = {.ipi_ifindex = INET_LO_INDEX};

        memcpy(&info.ipi_addr, &skb->to.sin6_addr.s6_addr[12], sizeof(info.ipi_addr));
        info.ipi_spec_dst = info.ipi_addr;
        cmsg_put(w, SOL_IP, IP_PKTINFO, &info, sizeof(info));
    }
    if (i->o.recvpktinfo) {
        struct in6_pktinfo info = {.ipi6_addr = skb->to.sin6_addr, .ipi6_ifindex = INET_LO_INDEX};
        cmsg_put(w, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    v = skb->ttl;
    if (v4 && i->o.recvttl)
        cmsg_put(w, SOL_IP, IP_TTL, &v, sizeof(v));
    if (!v4 && i->o.recvhoplimit)
        cmsg_put(w, SOL_IPV6, IPV6_HOPLIMIT, &v, sizeof(v));
    v = skb->tos;
    if (v4 && i->o.recvtos)
        cmsg_put(w, SOL_IP, IP_TOS, &skb->tos, sizeof(skb->tos));
    if (!v4 && i->o.recvtclass)
        cmsg_put(w, SOL_IPV6, IPV6_TCLASS, &v, sizeof(v));
    if (v4 && i->o.recvorigdst) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(skb->to.sin6_port)};

        memcpy(&sin.sin_addr, &skb->to.sin6_addr.s6_addr[12], sizeof(sin.sin_addr));
        cmsg_put(w, SOL_IP, IP_RECVORIGDSTADDR, &sin, sizeof(sin));
    }
}

static struct skb *take_message(struct inet_sock *i, const struct sk_msg *m, ssize_t *r)
{
    struct skb *skb;

    mutex_lock(&i->s.lock);
    *r = sock_take_error(&i->s);
    skb = *r ? NULL : skb_peek(&i->s.rq);
    if (skb && !(m->flags & MSG_PEEK))
        skb_unlink(&i->s.rq, skb);
    else if (!skb && *r == 0)
        *r = atomic_load(&i->s.shutdown) & SHUT_MASK_RCV && !(m->flags & MSG_DONTWAIT) ? 0 : -EAGAIN;
    mutex_unlock(&i->s.lock);
    return skb;
}

static ssize_t udp_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s);
    struct skb *skb;
    ssize_t r;
    size_t n;

    if (m->name)
        m->name->len = 0;
    if (m->flags & MSG_ERRQUEUE)
        return -EAGAIN;
    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    mutex_lock(&s->read_lock);
    skb = take_message(i, m, &r);
    if (skb) {
        struct inet_end from = {skb->from.sin6_addr, skb->from.sin6_port};

        n = skb->len < m->uio->resid ? skb->len : m->uio->resid;
        if (n < skb->len)
            m->out_flags |= MSG_TRUNC;
        if (m->name)
            inet_addr_out(i, &from, m->name);
        r = m->flags & MSG_TRUNC ? (ssize_t)skb->len : (ssize_t)n;
        if (n && uio_copy_to(m->uio, skb->data, n) != (ssize_t)n)
            r = -EFAULT;
        put_control(i, m->cmsg, skb);
        if (!(m->flags & MSG_PEEK))
            skb_free(skb);
    }
    mutex_unlock(&s->read_lock);
    return r;
}

static int udp_shutdown(struct socket *s, int how)
{
    struct inet_sock *i = inet_of(s);
    int r;

    mutex_lock(&s->lock);
    r = i->state == TCP_S_ESTABLISHED ? 0 : -ENOTCONN;
    atomic_fetch_or(&s->shutdown, (unsigned int)how + 1);
    mutex_unlock(&s->lock);
    waitq_wake(&s->wq, POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    return r;
}

static uint32_t udp_poll(struct socket *s)
{
    unsigned int shut = atomic_load(&s->shutdown);
    uint32_t mask = POLLOUT | POLLWRNORM | POLLWRBAND;

    mutex_lock(&s->lock);
    if (s->rq.len)
        mask |= POLLIN | POLLRDNORM;
    mutex_unlock(&s->lock);
    if (atomic_load(&s->err))
        mask |= POLLERR;
    if (shut == SHUT_MASK_BOTH)
        mask |= POLLHUP;
    if (shut & SHUT_MASK_RCV)
        mask |= POLLIN | POLLRDNORM | POLLRDHUP;
    return mask;
}

static long udp_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    int n = 0;

    switch (cmd) {
    case SIOCINQ:
        mutex_lock(&s->lock);
        if (skb_peek(&s->rq))
            n = (int)skb_peek(&s->rq)->len;
        mutex_unlock(&s->lock);
        break;
    case SIOCOUTQ:
        break;
    default:
        return -ENOTTY;
    }
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static void udp_release(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    struct list_head queue;
    struct skb *corked;

    mutex_lock(&s->lock);
    i->dead = true;
    inet_table_remove(i);
    inet_set_remote(i, NULL, NULL, TCP_S_CLOSE);
    skb_queue_take(&s->rq, &queue);
    corked = i->corked;
    i->corked = NULL;
    mutex_unlock(&s->lock);
    skb_free_list(&queue);
    skb_free(corked);
}

const struct socket_ops udp_ops = {
    .bind = inet_bind,
    .connect = udp_connect,
    .getname = inet_getname,
    .sendmsg = udp_sendmsg,
    .recvmsg = udp_recvmsg,
    .shutdown = udp_shutdown,
    .poll = udp_poll,
    .setsockopt = inet_setsockopt,
    .getsockopt = inet_getsockopt,
    .ioctl = udp_ioctl,
    .release = udp_release,
    .destroy = inet_destroy,
};
