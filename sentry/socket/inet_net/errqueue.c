/* recvmsg(MSG_ERRQUEUE) of UDP, raw and ping sockets: what ICMP said about packets that were sent, see ip(7). */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/raw.h"
#include "netstack/udp.h"

#include <errno.h>
#include <linux/errqueue.h>

struct endpoint *net_endpoint(struct inet_sock *i)
{
    return i->udp ? &i->udp->ep : i->raw ? &i->raw->ep : NULL;
}

bool net_has_queued_error(struct inet_sock *i)
{
    struct endpoint *ep = net_endpoint(i);
    bool r;

    if (!ep)
        return false;
    netstack_lock(ep->stack);
    r = ep->errq.n > 0;
    netstack_unlock(ep->stack);
    return r;
}

static void put_error(struct inet_sock *i, struct cmsg_writer *w, const struct pkt *p)
{
    struct {
        struct sock_extended_err ee;
        struct sockaddr_in offender;
    } e4 = {.ee = p->err.ee};
    struct {
        struct sock_extended_err ee;
        struct sockaddr_in6 offender;
    } e6 = {.ee = p->err.ee};

    if (!w)
        return;
    if (i->s.family == AF_INET) {
        if (p->err.ee.ee_origin == SO_EE_ORIGIN_ICMP) {
            e4.offender.sin_family = AF_INET;
            e4.offender.sin_addr.s_addr = addr_v4(&p->err.offender);
        }
        cmsg_put(w, SOL_IP, IP_RECVERR, &e4, sizeof(e4));
        return;
    }
    if (p->err.ee.ee_origin == SO_EE_ORIGIN_ICMP || p->err.ee.ee_origin == SO_EE_ORIGIN_ICMP6) {
        e6.offender.sin6_family = AF_INET6;
        e6.offender.sin6_addr = p->err.offender;
    }
    cmsg_put(w, SOL_IPV6, IPV6_RECVERR, &e6, sizeof(e6));
}

ssize_t net_recv_error(struct inet_sock *i, struct endpoint *ep, struct sk_msg *m)
{
    struct inet_end dst = {.port = 0};
    struct pkt *p, *next;
    ssize_t r;
    size_t n;

    netstack_lock(ep->stack);
    p = pkt_queue_take(&ep->errq);
    next = pkt_queue_head(&ep->errq);
    /* What is left in the queue goes on to say so; SO_ERROR tells of the first of them. */
    sock_set_error(&i->s, next ? (int)next->err.ee.ee_errno : 0);
    netstack_unlock(ep->stack);
    if (!p)
        return -EAGAIN;
    n = p->len < m->uio->resid ? p->len : m->uio->resid;
    if (n < p->len)
        m->out_flags |= MSG_TRUNC;
    m->out_flags |= MSG_ERRQUEUE;
    if (m->name) {
        dst.addr = p->err.dst;
        dst.port = ntohs(p->err.port);
        inet_addr_out(i, &dst, m->name);
    }
    r = (ssize_t)n;
    if (n && net_copy_to(m->uio, p, 0, n) != (ssize_t)n)
        r = -EFAULT;
    put_error(i, m->cmsg, p);
    pkt_free(p);
    return r;
}
