/*
 * UDP: a datagram goes into the queue of whoever is bound where it is sent to, or is dropped when that is full. If nobody is
 * there a connected sender hears ECONNREFUSED in its next call, as by ICMP.
 */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"
#include "sentry/socket/errqueue.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <errno.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAX_PAYLOAD_V4 (65535 - 20 - 8)
#define MAX_PAYLOAD_V6 (65535 - 8)
/* What a queued message costs of SO_RCVBUF beside its bytes. */
#define QUEUE_COST 256

static int lo_udp_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
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
        net_udp_disconnect(i, false);
        mutex_unlock(&s->lock);
        return 0;
    }
    r = inet_addr_in(i, a, &dst);
    if (!r)
        r = inet_route(i, &dst, &src);
    if (r == 1) {
        r = net_udp_connect(i, &dst);
        mutex_unlock(&s->lock);
        return r;
    }
    if (!r)
        r = inet_autobind(i, NULL);
    if (!r) {
        inet_set_remote(i, &dst, &src, TCP_S_ESTABLISHED);
        net_udp_disconnect(i, true);
    }
    mutex_unlock(&s->lock);
    return r;
}

/* The two ends of a datagram. Binds the sender if need be. 1: it goes out, by the netstack, which knows from where. */
static int lo_udp_ends(struct inet_sock *i, const struct sk_msg *m, struct inet_end *src, struct inet_end *dst)
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
    if (!r && m->scm && m->scm->has_src && inet_is_local(i->s.net, &m->scm->src) &&
        inet_is_v4(&m->scm->src) == inet_is_v4(&dst->addr))
        src->addr = m->scm->src;
    if (!r)
        r = inet_autobind(i, NULL);
    else if (r == 1)
        src->addr = i->local.addr;
    src->port = i->local.port;
    mutex_unlock(&i->s.lock);
    return r;
}

static struct sockaddr_in6 as_sockaddr(const struct inet_end *e)
{
    return (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = e->addr, .sin6_port = e->port};
}

/* The receiver's program looks at the datagram from its header on, which it may cut, too. */
static bool filter(struct socket *s, struct skb *skb)
{
    uint16_t head[4] = {htons(skb->from.sin6_port), htons(skb->to.sin6_port), htons((uint16_t)(sizeof(head) + skb->len)), 0};
    struct bpf_data d = {.head = head,
                         .head_len = sizeof(head),
                         .body = skb->data,
                         .body_len = skb->len,
                         .protocol = inet_is_v4(&skb->to.sin6_addr) ? ETH_P_IP : ETH_P_IPV6,
                         .ifindex = INET_LO_INDEX};
    uint32_t keep = bpf_run(s->filter, &d);

    if (keep == 0)
        return false;
    if (keep < sizeof(head) + skb->len)
        skb->len = keep < sizeof(head) ? 0 : keep - (uint32_t)sizeof(head);
    return true;
}

static void deliver(struct inet_sock *to, struct skb *skb)
{
    struct socket *s = &to->s;
    bool full;

    mutex_lock(&s->lock);
    if (unlikely(s->filter) && !filter(s, skb)) {
        mutex_unlock(&s->lock);
        skb_free(skb);
        return;
    }
    full = atomic_load(&s->rq.bytes) + (size_t)s->rq.len * QUEUE_COST > (size_t)s->rcvbuf;
    if (!full) {
        if (sock_wants_stamp(s))
            skb->realtime_ns = kernel_realtime_ns();
        skb_queue_tail(&s->rq, skb);
    }
    mutex_unlock(&s->lock);
    if (full) {
        atomic_fetch_add(&s->drops, 1);
        skb_free(skb);
    } else {
        waitq_wake(&s->wq, POLLIN | POLLRDNORM);
    }
}

/* As when ICMP says that the port is closed. */
static void refused(struct inet_sock *i, const struct skb *skb)
{
    bool v4 = inet_is_v4(&skb->to.sin6_addr);
    struct sock_errinfo info = {.ee = {.ee_errno = ECONNREFUSED,
                                       .ee_origin = v4 ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6,
                                       .ee_type = v4 ? ICMP_DEST_UNREACH : ICMPV6_DEST_UNREACH,
                                       .ee_code = v4 ? ICMP_PORT_UNREACH : ICMPV6_PORT_UNREACH},
                                .offender = &skb->to,
                                .dst = &skb->to,
                                .data = skb->data,
                                .len = skb->len};

    if (v4 && i->s.family == AF_INET ? i->o.recverr : i->o.recverr6) {
        sock_errqueue_add(&i->s, &info);
    } else if (i->state == TCP_S_ESTABLISHED) {
        sock_set_error(&i->s, ECONNREFUSED);
        waitq_wake(&i->s.wq, POLLERR);
    }
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

/* What was collected goes out in one datagram; this call's part of it were `n` bytes. */
static ssize_t send_corked_out(struct inet_sock *i, struct sk_msg *m, const struct inet_end *dst, struct skb *skb, size_t n)
{
    struct iovec iov = {skb->data, skb->len};
    struct sk_msg whole = *m;
    struct uio uio;
    ssize_t r;

    uio_init_host(&uio, &iov, 1);
    whole.uio = &uio;
    r = net_udp_sendmsg(i, &whole, dst);
    skb_free(skb);
    return r < 0 ? r : (ssize_t)n;
}

static ssize_t lo_udp_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s), *to;
    struct inet_end src, dst;
    size_t n = m->uio->resid;
    struct skb *skb;
    bool more, out;
    int r;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (n > 0xffff)
        return -EMSGSIZE;
    r = lo_udp_ends(i, m, &src, &dst);
    if (r < 0)
        return r;
    out = r == 1;
    if (n > (inet_is_v4(&dst.addr) ? MAX_PAYLOAD_V4 : MAX_PAYLOAD_V6))
        return -EMSGSIZE;
    r = sock_take_error(s);
    if (r)
        return r;
    if (atomic_load(&s->shutdown) & SHUT_MASK_SEND)
        return -EPIPE;
    more = m->flags & MSG_MORE || i->o.udp_cork;
    if (out && !more && !i->corked)
        return net_udp_sendmsg(i, m, &dst);
    r = more || i->corked ? add_corked(i, m, more, &src, &dst, &skb) : make_message(m, &skb);
    if (r || !skb)
        return r ? r : (ssize_t)n;
    if (out)
        return send_corked_out(i, m, &dst, skb, n);
    skb->from = as_sockaddr(&src);
    skb->to = as_sockaddr(&dst);
    skb->ttl = (uint8_t)(m->scm && m->scm->has_ttl && m->scm->ttl >= 0 ? m->scm->ttl
                         : inet_is_v4(&dst.addr)                       ? i->o.ttl
                                                                       : i->o.hops);
    skb->tos = (uint8_t)(m->scm && m->scm->has_tos && m->scm->tos >= 0 ? m->scm->tos
                         : inet_is_v4(&dst.addr)                       ? i->o.tos
                                                                       : i->o.tclass);
    to = inet_find_udp(inet_table_of(i), &dst, &src, skb);
    if (!to) {
        if (net_dns_is_server(s->net, &dst))
            net_dns_query(s->net, &src, skb->data, skb->len);
        else
            refused(i, skb);
        skb_free(skb);
        return (ssize_t)n;
    }
    atomic_fetch_add_explicit(&s->net->lo_bytes, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->net->lo_packets, 1, memory_order_relaxed);
    deliver(to, skb);
    socket_put(&to->s);
    return (ssize_t)n;
}

void lo_udp_deliver_from(struct net *net, const struct inet_end *src, const struct inet_end *dst, const void *data, size_t len)
{
    struct inet_sock *to = inet_find_udp(net->udp, dst, src, NULL);
    struct skb *skb = to ? skb_alloc(NULL, len) : NULL;

    if (skb) {
        memcpy(skb->data, data, len);
        skb->len = (uint32_t)len;
        skb->from = as_sockaddr(src);
        skb->to = as_sockaddr(dst);
        skb->ttl = 64;
        deliver(to, skb);
    }
    if (to)
        socket_put(&to->s);
}

static void put_control(struct inet_sock *i, struct cmsg_writer *w, const struct skb *skb)
{
    bool v4 = inet_is_v4(&skb->to.sin6_addr);
    int v;

    if (!w)
        return;
    cmsg_put_timestamp(w, &i->s, skb->realtime_ns);
    cmsg_put_drops(w, &i->s, inet_drops(i));
    if (v4 && i->o.pktinfo) {
        struct in_pktinfo info = {.ipi_ifindex = INET_LO_INDEX};

        memcpy(&info.ipi_addr, &skb->to.sin6_addr.s6_addr[12], sizeof(info.ipi_addr));
        info.ipi_spec_dst = info.ipi_addr;
        cmsg_put(w, SOL_IP, IP_PKTINFO, &info, sizeof(info));
    }
    if (i->o.recvpktinfo || i->o.oldpktinfo) {
        struct in6_pktinfo info = {.ipi6_addr = skb->to.sin6_addr, .ipi6_ifindex = INET_LO_INDEX};

        if (i->o.recvpktinfo)
            cmsg_put(w, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
        if (i->o.oldpktinfo)
            cmsg_put(w, SOL_IPV6, IPV6_2292PKTINFO, &info, sizeof(info));
    }
    v = skb->ttl;
    if (v4 && i->o.recvttl)
        cmsg_put(w, SOL_IP, IP_TTL, &v, sizeof(v));
    if (!v4 && i->o.recvhoplimit)
        cmsg_put(w, SOL_IPV6, IPV6_HOPLIMIT, &v, sizeof(v));
    if (!v4 && i->o.oldhoplimit)
        cmsg_put(w, SOL_IPV6, IPV6_2292HOPLIMIT, &v, sizeof(v));
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

static ssize_t lo_udp_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s);
    struct skb *skb;
    ssize_t r;
    size_t n;

    if (m->name)
        m->name->len = 0;
    if (m->flags & MSG_ERRQUEUE)
        return sock_errqueue_has(s) || !i->udp ? sock_errqueue_recv(s, m) : net_recv_error(i, net_endpoint(i), m);
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
    } else if (i->udp && (r == -EAGAIN || r == 0)) {
        ssize_t outside = net_udp_recvmsg(i, m);

        if (outside != -EAGAIN)
            r = outside;
    }
    mutex_unlock(&s->read_lock);
    return r;
}

int inet_dgram_shutdown(struct socket *s, int how)
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

uint32_t inet_dgram_poll(struct socket *s, bool readable, bool has_error)
{
    unsigned int shut = atomic_load(&s->shutdown);
    uint32_t mask = POLLOUT | POLLWRNORM | POLLWRBAND;

    if (readable)
        mask |= POLLIN | POLLRDNORM;
    if (has_error || sock_errqueue_has(s))
        mask |= s->select_err_queue ? POLLERR | POLLPRI : POLLERR;
    if (atomic_load(&s->err))
        mask |= POLLERR;
    if (shut == SHUT_MASK_BOTH)
        mask |= POLLHUP;
    if (shut & SHUT_MASK_RCV)
        mask |= POLLIN | POLLRDNORM | POLLRDHUP;
    return mask;
}

static uint32_t lo_udp_poll(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    bool readable;

    mutex_lock(&s->lock);
    readable = s->rq.len || (i->udp && net_udp_readable(i));
    mutex_unlock(&s->lock);
    return inet_dgram_poll(s, readable, net_has_queued_error(i));
}

static long lo_udp_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    int n = 0;

    switch (cmd) {
    case SIOCINQ:
        mutex_lock(&s->lock);
        if (skb_peek(&s->rq))
            n = (int)skb_peek(&s->rq)->len;
        mutex_unlock(&s->lock);
        if (n == 0 && inet_of(s)->udp)
            n = net_udp_first_len(inet_of(s));
        break;
    case SIOCOUTQ:
        break;
    default:
        return -ENOTTY;
    }
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static void lo_udp_release(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    struct list_head queue;
    struct skb *corked;

    mutex_lock(&s->lock);
    i->dead = true;
    net_udp_close(i);
    inet_table_remove(i);
    inet_set_remote(i, NULL, NULL, TCP_S_CLOSE);
    skb_queue_take(&s->rq, &queue);
    corked = i->corked;
    i->corked = NULL;
    mutex_unlock(&s->lock);
    skb_free_list(&queue);
    skb_free(corked);
}

const struct socket_ops lo_udp_ops = {
    .bind = inet_bind,
    .connect = lo_udp_connect,
    .getname = inet_getname,
    .sendmsg = lo_udp_sendmsg,
    .recvmsg = lo_udp_recvmsg,
    .shutdown = inet_dgram_shutdown,
    .poll = lo_udp_poll,
    .setsockopt = inet_setsockopt,
    .getsockopt = inet_getsockopt,
    .ioctl = lo_udp_ioctl,
    .so_changed = net_so_changed,
    .release = lo_udp_release,
    .destroy = inet_destroy,
};
