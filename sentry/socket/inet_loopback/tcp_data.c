/* TCP streams: bytes from one socket's memory to the other's queue, the urgent byte, readiness. */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/errqueue.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

/* Writable: a third of the buffer is free, as in Linux. */
static bool has_room(struct socket *s)
{
    return (uint64_t)atomic_load(&s->wmem) * 3 <= (uint64_t)(unsigned int)s->sndbuf * 2;
}

void lo_tcp_wmem_freed(struct socket *s)
{
    if (atomic_load(&s->nospace) && has_room(s) && atomic_exchange(&s->nospace, false))
        waitq_wake(&s->wq, POLLOUT | POLLWRNORM);
}

static struct inet_sock *get_peer(struct inet_sock *i)
{
    struct inet_sock *peer;

    mutex_lock(&i->s.lock);
    peer = i->peer;
    if (peer)
        socket_get(&peer->s);
    mutex_unlock(&i->s.lock);
    return peer;
}

/* The other side's descriptor is gone: what we sent is answered by a reset, which the next call hears of. */
static void reset_by_peer(struct inet_sock *i)
{
    mutex_lock(&i->s.lock);
    sock_set_error(&i->s, EPIPE);
    atomic_store(&i->s.shutdown, SHUT_MASK_BOTH);
    mutex_unlock(&i->s.lock);
    waitq_wake(&i->s.wq, POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP);
}

static void deliver(struct inet_sock *i, struct inet_sock *peer, struct skb *skb, bool urgent)
{
    size_t n = skb->len;
    uint32_t events = POLLIN | POLLRDNORM;

    mutex_lock(&peer->s.lock);
    if (unlikely(peer->dead)) {
        mutex_unlock(&peer->s.lock);
        skb_free(skb);
        reset_by_peer(i);
        return;
    }
    if (unlikely(sock_wants_stamp(&peer->s)))
        skb->realtime_ns = kernel_realtime_ns();
    i->sent += n;
    if (unlikely(urgent)) {
        /* The last byte sent is the urgent one; out of line it is not part of the stream. */
        events |= POLLPRI;
        peer->has_mark = true;
        peer->urgent = (uint8_t)skb->data[n - 1];
        if (!peer->s.oobinline) {
            peer->has_urgent = true;
            n = --skb->len;
        }
        peer->mark = peer->received + n - (peer->s.oobinline ? 1 : 0);
    }
    peer->received += n;
    if (likely(n))
        skb_queue_tail(&peer->s.rq, skb);
    mutex_unlock(&peer->s.lock);
    if (unlikely(!n))
        skb_free(skb);
    waitq_wake(&peer->s.wq, events);
}

/* What MSG_MORE keeps back is sent when there is no more to come, or after this. */
#define CORK_NS 200000000

static struct skb *take_corked(struct inet_sock *i)
{
    struct skb *skb;

    mutex_lock(&i->s.lock);
    skb = i->corked;
    i->corked = NULL;
    mutex_unlock(&i->s.lock);
    return skb;
}

void lo_tcp_uncork(struct inet_sock *i)
{
    struct skb *skb = take_corked(i);
    struct inet_sock *peer;

    if (!skb)
        return;
    peer = get_peer(i);
    if (!peer) {
        skb_free(skb);
        return;
    }
    deliver(i, peer, skb, false);
    socket_put(&peer->s);
}

static void cork_timeout(struct ktimer *kt)
{
    lo_tcp_uncork(container_of(kt, struct inet_sock, cork_timer));
}

void lo_tcp_cork_init(struct inet_sock *i)
{
    ktimer_init(&i->cork_timer, i->s.net->k->loop, cork_timeout);
}

/* Adds to what is kept, and sends it if it is full or this is the end. */
static ssize_t send_corked(struct inet_sock *i, struct inet_sock *peer, struct sk_msg *m, bool more)
{
    struct skb *skb = take_corked(i);
    size_t n;
    ssize_t r;

    if (!skb) {
        if (!sock_may_send(&i->s))
            return -EAGAIN;
        skb = skb_alloc(&i->s, SKB_STREAM_MAX);
        if (!skb)
            return -ENOBUFS;
    }
    n = SKB_STREAM_MAX - skb->len < m->uio->resid ? SKB_STREAM_MAX - skb->len : m->uio->resid;
    r = uio_copy_from(m->uio, skb->data + skb->len, n);
    if (r > 0)
        skb->len += (uint32_t)r;
    if (more && skb->len < SKB_STREAM_MAX && m->uio->resid == 0) {
        mutex_lock(&i->s.lock);
        if (!i->corked) {
            i->corked = skb;
            skb = NULL;
        }
        mutex_unlock(&i->s.lock);
        if (!skb)
            ktimer_set(&i->cork_timer, kernel_monotonic_ns() + CORK_NS);
    }
    if (skb && skb->len)
        deliver(i, peer, skb, false);
    else if (skb)
        skb_free(skb);
    return r ? r : -EFAULT;
}

static ssize_t send_piece(struct inet_sock *i, struct inet_sock *peer, struct sk_msg *m)
{
    size_t n = m->uio->resid < SKB_STREAM_MAX ? m->uio->resid : SKB_STREAM_MAX;
    bool last = n == m->uio->resid;
    bool more = m->flags & MSG_MORE || i->o.cork;
    struct skb *skb;
    ssize_t r;

    if (unlikely(more || i->corked) && !(m->flags & MSG_OOB))
        return send_corked(i, peer, m, more);
    if (!sock_may_send(&i->s))
        return -EAGAIN;
    skb = skb_alloc(&i->s, n);
    if (!skb)
        return -ENOBUFS;
    r = uio_copy_from(m->uio, skb->data, n);
    if (r <= 0) {
        skb_free(skb);
        return r ? r : -EFAULT;
    }
    skb->len = (uint32_t)r;
    deliver(i, peer, skb, last && m->flags & MSG_OOB);
    atomic_fetch_add_explicit(&i->s.net->lo_bytes, (unsigned long long)r, memory_order_relaxed);
    atomic_fetch_add_explicit(&i->s.net->lo_packets, 1, memory_order_relaxed);
    return r;
}

ssize_t lo_tcp_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct inet_sock *i = inet_of(s), *peer;
    ssize_t done = 0, r = 0;

    if (unlikely(m->flags & MSG_FASTOPEN))
        return -EOPNOTSUPP;
    if (i->state == TCP_S_NET)
        return net_tcp_sendmsg(i, m);
    if (i->state == TCP_S_SYN_SENT)
        return -EAGAIN;
    r = sock_take_error(s);
    if (r)
        return r;
    if (i->state != TCP_S_ESTABLISHED || atomic_load_explicit(&s->shutdown, memory_order_relaxed) & SHUT_MASK_SEND)
        return -EPIPE;
    peer = get_peer(i);
    if (!peer)
        return -EPIPE;
    while (m->uio->resid > 0) {
        r = send_piece(i, peer, m);
        if (r < 0)
            break;
        done += r;
    }
    socket_put(&peer->s);
    return done ? done : r;
}

static ssize_t recv_urgent(struct inet_sock *i, struct sk_msg *m)
{
    uint8_t byte;
    bool has;

    if (i->state != TCP_S_ESTABLISHED)
        return -ENOTCONN;
    mutex_lock(&i->s.lock);
    has = i->has_urgent;
    byte = i->urgent;
    if (!(m->flags & MSG_PEEK))
        i->has_urgent = false;
    mutex_unlock(&i->s.lock);
    if (i->s.oobinline || !has)
        return -EINVAL;
    m->out_flags |= MSG_OOB;
    if (m->uio->resid == 0) {
        m->out_flags |= MSG_TRUNC;
        return 0;
    }
    if (m->flags & MSG_TRUNC)
        return 1;
    return uio_copy_to(m->uio, &byte, 1) == 1 ? 1 : -EFAULT;
}

/* Where a read is. A peek walks on without taking. */
struct tcp_read {
    struct inet_sock *i;
    struct sk_msg *m;
    struct skb *skb;
    uint64_t at; /* position in the stream */
    int64_t realtime_ns;
    bool peek;
};

/* The next message and how much of it may be read: up to the urgent mark. NULL with *r. */
static struct skb *next_message(struct tcp_read *tr, size_t *n, ssize_t *r, bool first)
{
    struct inet_sock *i = tr->i;
    struct skb *skb;

    mutex_lock(&i->s.lock);
    skb = tr->peek && tr->skb ? skb_next(&i->s.rq, tr->skb) : skb_peek(&i->s.rq);
    if (skb) {
        *n = skb->len < tr->m->uio->resid ? skb->len : tr->m->uio->resid;
        if (unlikely(i->has_mark && i->mark >= tr->at)) {
            /* Reads stop at the mark; the next one begins there and goes on. */
            if (i->mark == tr->at && first && !tr->peek)
                i->has_mark = false;
            else if (i->mark - tr->at < *n)
                *n = (size_t)(i->mark - tr->at);
        }
    } else {
        *r = sock_take_error(&i->s);
        if (*r == 0)
            *r = atomic_load(&i->s.shutdown) & SHUT_MASK_RCV ? 0 : i->state == TCP_S_ESTABLISHED ? -EAGAIN : -ENOTCONN;
    }
    mutex_unlock(&i->s.lock);
    return skb;
}

static ssize_t read_message(struct tcp_read *tr, size_t n)
{
    struct inet_sock *i = tr->i;
    struct skb *skb = tr->skb, *used = NULL;
    ssize_t r = (ssize_t)n;

    /* MSG_TRUNC on a stream: throw away. */
    if (!(tr->m->flags & MSG_TRUNC))
        r = uio_copy_to(tr->m->uio, skb->data + skb->off, n);
    else
        tr->m->uio->resid -= n;
    if (r <= 0)
        return r ? r : -EFAULT;
    tr->realtime_ns = skb->realtime_ns;
    tr->at += (uint64_t)r;
    if (tr->peek)
        return r;
    mutex_lock(&i->s.lock);
    i->read += (uint64_t)r;
    if (skb->len == (size_t)r) {
        skb_unlink(&i->s.rq, skb);
        used = skb;
    } else {
        skb_pull(&i->s.rq, skb, (size_t)r);
    }
    mutex_unlock(&i->s.lock);
    skb_free(used);
    return r;
}

ssize_t lo_tcp_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct tcp_read tr = {.i = inet_of(s), .m = m, .peek = m->flags & MSG_PEEK};
    ssize_t done = 0, r = 0;
    size_t n = 0;

    if (m->name)
        m->name->len = 0;
    if (unlikely(m->flags & MSG_ERRQUEUE))
        return sock_errqueue_recv(s, m);
    if (tr.i->state == TCP_S_NET)
        return net_tcp_recvmsg(tr.i, m);
    if (tr.i->state == TCP_S_SYN_SENT)
        return -EAGAIN;
    if (tr.i->state == TCP_S_LISTEN || (tr.i->state == TCP_S_CLOSE && !atomic_load(&s->err)))
        return -ENOTCONN;
    if (unlikely(m->flags & MSG_OOB))
        return recv_urgent(tr.i, m);
    mutex_lock(&s->read_lock);
    tr.at = tr.i->read;
    while (m->uio->resid > 0) {
        struct skb *skb = next_message(&tr, &n, &r, done == 0);

        if (!skb)
            break;
        if (n == 0) {
            m->stop = true;
            break;
        }
        tr.skb = skb;
        r = read_message(&tr, n);
        if (r < 0)
            break;
        done += r;
    }
    mutex_unlock(&s->read_lock);
    if (done)
        cmsg_put_timestamp(m->cmsg, s, tr.realtime_ns);
    if (done && r < 0)
        sock_keep_error(s, r);
    return done ? done : r;
}

uint32_t lo_tcp_poll(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    unsigned int shut = atomic_load(&s->shutdown);
    enum tcp_state state;
    uint32_t mask = 0;

    if (unlikely(sock_errqueue_has(s)))
        mask = s->select_err_queue ? POLLERR | POLLPRI : POLLERR;
    if (i->state == TCP_S_NET)
        return net_tcp_poll(i) | mask;
    mutex_lock(&s->lock);
    state = i->state;
    if (state == TCP_S_LISTEN) {
        mask = i->nr_accepts ? POLLIN | POLLRDNORM : 0;
        if (!mask && i->tp)
            mask = net_tcp_poll(i);
        mutex_unlock(&s->lock);
        return mask;
    }
    if (s->rq.len && (int)atomic_load(&s->rq.bytes) >= (s->rcvlowat < s->rcvbuf ? s->rcvlowat : s->rcvbuf))
        mask |= POLLIN | POLLRDNORM;
    if (i->has_urgent || (i->has_mark && s->oobinline && i->mark >= i->read))
        mask |= POLLPRI;
    mutex_unlock(&s->lock);
    if (shut == SHUT_MASK_BOTH || state == TCP_S_CLOSE)
        mask |= POLLHUP;
    if (shut & SHUT_MASK_RCV)
        mask |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (atomic_load(&s->err))
        mask |= POLLERR;
    if (state == TCP_S_CLOSE)
        return mask | POLLOUT | POLLWRNORM;
    if (state == TCP_S_ESTABLISHED) {
        if (shut & SHUT_MASK_SEND)
            mask |= POLLOUT | POLLWRNORM;
        else if (has_room(s))
            mask |= POLLOUT | POLLWRNORM;
        else {
            atomic_store(&s->nospace, true);
            if (has_room(s))
                mask |= POLLOUT | POLLWRNORM;
        }
    }
    return mask;
}

long lo_tcp_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct inet_sock *i = inet_of(s);
    int n;

    if (i->state == TCP_S_NET)
        return net_tcp_ioctl(i, c, cmd, arg);
    switch (cmd) {
    case SIOCINQ:
        if (i->state == TCP_S_LISTEN)
            return -EINVAL;
        n = (int)atomic_load(&s->rq.bytes);
        break;
    case SIOCOUTQ:
        if (i->state == TCP_S_LISTEN)
            return -EINVAL;
        n = 0; /* all that was sent has arrived */
        break;
    case SIOCATMARK:
        mutex_lock(&s->lock);
        n = i->has_mark && i->mark == i->read;
        mutex_unlock(&s->lock);
        break;
    default:
        return -ENOTTY;
    }
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}
