/*
 * Bytes of TCP connections over the network. They are copied without the stack's lock: into packets that are then given to it,
 * and out of packets that share its buffers. A few bytes go by way of a buffer on the stack.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/tcp.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <string.h>

/* Up to this many bytes are copied by way of memory of our own. */
#define FEW 4096
/* From here on a long buffer is better than the heap. */
#define MANY 16384
/* What is taken out of a user's memory, or given to it, with the lock dropped in between. */
#define CHUNK (256 * 1024)

#define SEND_FLAGS (MSG_OOB | MSG_MORE | MSG_EOR)

void net_uio_rewind(struct uio *uio, const struct uio *saved, size_t done)
{
    *uio = *saved;
    while (done > 0 && uio->nr_iov > 0) {
        size_t n = uio->iov->iov_len - uio->iov_off;

        if (n > done)
            n = done;
        uio->iov_off += n;
        uio->resid -= n;
        done -= n;
        if (uio->iov_off == uio->iov->iov_len && uio->nr_iov > 1) {
            uio->iov++;
            uio->nr_iov--;
            uio->iov_off = 0;
        } else if (n == 0) {
            break;
        }
    }
}

ssize_t net_copy_to(struct uio *uio, const struct pkt *p, size_t from, size_t len)
{
    struct iovec iov[PKT_MAX_FRAGS + 1];
    int n = pkt_iov(p, from, len, iov, ARRAY_SIZE(iov));
    ssize_t done = 0;

    for (int k = 0; k < n; k++) {
        ssize_t r = uio_copy_to(uio, iov[k].iov_base, iov[k].iov_len);

        if (r < 0)
            return done ? done : r;
        done += r;
        if ((size_t)r < iov[k].iov_len)
            break;
    }
    return done;
}

/* A copy in a long buffer. */
static struct pkt *copy_many(struct uio *uio, size_t len, int *err)
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, 0);
    struct pkt_buf *b = p ? net_buf_alloc() : NULL;

    *err = -ENOBUFS;
    if (b && uio_copy_from(uio, b->mem, len) != (ssize_t)len)
        *err = -EFAULT;
    else if (b && pkt_add_frag(p, b, 0, len))
        *err = 0;
    if (b)
        pkt_buf_put(b);
    if (*err == 0)
        return p;
    pkt_free(p);
    return NULL;
}

struct pkt *net_copy_from(struct uio *uio, size_t len, int *err)
{
    struct pkt *p;
    void *at;

    if (len > MANY && len <= NET_BUF_SIZE)
        return copy_many(uio, len, err);
    *err = -ENOBUFS;
    p = pkt_alloc(PKT_HEADROOM, len);
    if (!p)
        return NULL;
    at = pkt_put(p, len);
    if (len && uio_copy_from(uio, at, len) != (ssize_t)len) {
        *err = -EFAULT;
        pkt_free(p);
        return NULL;
    }
    return p;
}

static ssize_t send_few(struct inet_sock *i, struct sk_msg *m, int flags)
{
    struct netstack *stack = i->s.net->stack;
    struct uio saved = *m->uio;
    size_t n = m->uio->resid;
    char buf[FEW];
    ssize_t r;

    if (n && uio_copy_from(m->uio, buf, n) != (ssize_t)n) {
        net_uio_rewind(m->uio, &saved, 0);
        return -EFAULT;
    }
    netstack_lock(stack);
    r = tcp_send_bytes(i->tp, buf, n, flags);
    netstack_unlock(stack);
    if (r < (ssize_t)n)
        net_uio_rewind(m->uio, &saved, r < 0 ? 0 : (size_t)r);
    return r;
}

/* Fills `q` with packets of at most `goal` bytes, `n` in all. */
static int fill(struct uio *uio, size_t n, size_t goal, struct pkt_queue *q)
{
    while (n > 0) {
        size_t len = n < goal ? n : goal;
        int err;
        struct pkt *p = net_copy_from(uio, len, &err);

        if (!p)
            return q->n ? 0 : err;
        pkt_queue_add(q, p);
        n -= len;
    }
    return 0;
}

/* One turn of a long send. */
static ssize_t send_chunk(struct inet_sock *i, struct sk_msg *m, int flags)
{
    struct netstack *stack = i->s.net->stack;
    struct uio saved = *m->uio;
    struct pkt_queue q;
    ssize_t room, r;
    size_t n;
    uint32_t goal;
    int err;

    netstack_lock(stack);
    room = tcp_send_room(i->tp);
    goal = tcp_send_goal(i->tp);
    netstack_unlock(stack);
    if (room <= 0)
        return room ? room : -EAGAIN;
    n = (size_t)room < m->uio->resid ? (size_t)room : m->uio->resid;
    if (n > CHUNK)
        n = CHUNK;
    if (n < m->uio->resid)
        flags |= MSG_MORE; /* there is more right behind */
    pkt_queue_init(&q);
    err = fill(m->uio, n, goal ? goal : 1, &q);
    if (err < 0) {
        net_uio_rewind(m->uio, &saved, 0);
        return err;
    }
    netstack_lock(stack);
    r = tcp_send(i->tp, &q, flags);
    netstack_unlock(stack);
    pkt_queue_purge(&q);
    if (r < (ssize_t)n)
        net_uio_rewind(m->uio, &saved, r < 0 ? 0 : (size_t)r);
    return r;
}

ssize_t net_tcp_sendmsg(struct inet_sock *i, struct sk_msg *m)
{
    int flags = (int)m->flags & SEND_FLAGS;
    ssize_t done = 0, r;

    if (m->uio->resid <= FEW)
        return send_few(i, m, flags);
    do {
        r = m->uio->resid <= FEW ? send_few(i, m, flags) : send_chunk(i, m, flags);
        if (r > 0)
            done += r;
    } while (r > 0 && m->uio->resid > 0);
    if (r < 0 && done)
        sock_keep_error(&i->s, r);
    return done ? done : r;
}

static ssize_t recv_oob(struct inet_sock *i, struct sk_msg *m)
{
    struct netstack *stack = i->s.net->stack;
    uint8_t byte;
    ssize_t r;

    netstack_lock(stack);
    r = tcp_recv_oob(i->tp, &byte, m->flags & MSG_PEEK);
    netstack_unlock(stack);
    if (r != 1)
        return r;
    m->out_flags |= MSG_OOB;
    if (m->uio->resid == 0) {
        m->out_flags |= MSG_TRUNC;
        return 0;
    }
    if (m->flags & MSG_TRUNC)
        return 1;
    return uio_copy_to(m->uio, &byte, 1) == 1 ? 1 : -EFAULT;
}

static ssize_t recv_few(struct inet_sock *i, struct sk_msg *m)
{
    struct netstack *stack = i->s.net->stack;
    char buf[FEW];
    ssize_t r;

    netstack_lock(stack);
    r = tcp_recv_bytes(i->tp, buf, m->uio->resid, m->flags & MSG_PEEK);
    netstack_unlock(stack);
    if (r > 0 && uio_copy_to(m->uio, buf, (size_t)r) != r)
        return -EFAULT;
    return r;
}

static ssize_t consume(struct inet_sock *i, size_t n)
{
    struct netstack *stack = i->s.net->stack;

    netstack_lock(stack);
    n = tcp_recv_consume(i->tp, n);
    netstack_unlock(stack);
    return (ssize_t)n;
}

/* MSG_TRUNC on a stream: throw away. */
static ssize_t recv_discard(struct inet_sock *i, struct sk_msg *m, ssize_t n)
{
    m->uio->resid -= (size_t)n;
    return m->flags & MSG_PEEK ? n : consume(i, (size_t)n);
}

static ssize_t recv_many(struct inet_sock *i, struct sk_msg *m)
{
    struct netstack *stack = i->s.net->stack;
    size_t want = m->uio->resid < CHUNK ? m->uio->resid : CHUNK;
    struct pkt_queue q;
    ssize_t r, done = 0;
    struct pkt *p;

    pkt_queue_init(&q);
    netstack_lock(stack);
    r = tcp_recv_peek(i->tp, 0, want, &q);
    netstack_unlock(stack);
    if (r <= 0 || m->flags & MSG_TRUNC) {
        pkt_queue_purge(&q);
        return r <= 0 ? r : recv_discard(i, m, r);
    }
    while ((p = pkt_queue_take(&q))) {
        ssize_t n = net_copy_to(m->uio, p, 0, p->len);
        bool all = n == (ssize_t)p->len;

        pkt_free(p);
        if (n > 0)
            done += n;
        if (!all)
            break;
    }
    pkt_queue_purge(&q);
    if (done == 0)
        return -EFAULT;
    return m->flags & MSG_PEEK ? done : consume(i, (size_t)done);
}

static void put_inq(struct inet_sock *i, struct sk_msg *m)
{
    int n;

    if (likely(!i->o.inq || !m->cmsg))
        return;
    netstack_lock(i->s.net->stack);
    n = tcp_inq(i->tp);
    netstack_unlock(i->s.net->stack);
    cmsg_put(m->cmsg, IPPROTO_TCP, 36 /* TCP_CM_INQ */, &n, sizeof(n));
}

ssize_t net_tcp_recvmsg(struct inet_sock *i, struct sk_msg *m)
{
    ssize_t done = 0, r;

    if (unlikely(m->flags & MSG_OOB))
        return recv_oob(i, m);
    mutex_lock(&i->s.read_lock);
    if (m->uio->resid <= FEW && !(m->flags & MSG_TRUNC)) {
        done = r = recv_few(i, m);
    } else {
        do {
            r = recv_many(i, m);
            if (r > 0)
                done += r;
        } while (r > 0 && m->uio->resid > 0 && !(m->flags & MSG_PEEK));
    }
    mutex_unlock(&i->s.read_lock);
    if (done <= 0)
        return r;
    if (r < 0)
        sock_keep_error(&i->s, r);
    put_inq(i, m);
    cmsg_put_timestamp(m->cmsg, &i->s, sock_wants_stamp(&i->s) ? kernel_realtime_ns() : 0);
    return done;
}
