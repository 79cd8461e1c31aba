/* SOCK_STREAM: connecting, and bytes in pieces. */
#include "sentry/socket/unix/unix.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* The two ends of a new connection, both locked with the listener: see unix_stream_connect(). */
static void join_ends(struct unix_sock *u, struct unix_sock *listener, struct unix_sock *conn, struct task *t)
{
    conn->peer = unix_of(socket_get(&u->s));
    conn->state = UNIX_ESTABLISHED;
    if (listener->addr) {
        ref_get(&listener->addr->ref);
        conn->addr = listener->addr;
    }
    unix_cred_of(t, &conn->peercred);
    conn->has_peercred = true;
    conn->peer_groups = cred_get(t->cred);
    conn->s.uid = listener->s.uid;

    u->peer = unix_of(socket_get(&conn->s));
    u->state = UNIX_ESTABLISHED;
    u->peercred = listener->peercred;
    u->has_peercred = true;
    if (u->peer_groups)
        cred_put(u->peer_groups);
    u->peer_groups = listener->peer_groups ? cred_get(listener->peer_groups) : NULL;

    list_add_tail(&conn->accept_node, &listener->accepts);
    listener->nr_accepts++;
}

/* With both locked. 0, -EAGAIN: the listener's queue is full. */
static int try_connect(struct unix_sock *u, struct unix_sock *listener, struct unix_sock *conn, struct task *t)
{
    if (listener->dead || listener->state != UNIX_LISTEN || atomic_load(&listener->s.shutdown) & SHUT_MASK_RCV)
        return -ECONNREFUSED;
    if (u->state == UNIX_ESTABLISHED)
        return -EISCONN;
    if (u->state != UNIX_CLOSE || u == listener || u->dead)
        return -EINVAL;
    if (listener->nr_accepts > listener->backlog)
        return -EAGAIN;
    join_ends(u, listener, conn, t);
    return 0;
}

int unix_stream_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct unix_sock *u = unix_of(s), *listener, *conn;
    int r = unix_find(t, s->net, a, s->type, &listener);

    if (r)
        return r;
    if (s->passcred && !u->addr) {
        r = unix_autobind(u);
        if (r)
            goto out;
    }
    conn = unix_alloc(s->net, s->type);
    if (!conn) {
        r = -ENOMEM;
        goto out;
    }
    /* Full: ask to be told, and look once more in case it was emptied in between. */
    for (int tries = 0; tries < 2; tries++) {
        sock_lock_two(s, &listener->s);
        r = try_connect(u, listener, conn, t);
        sock_unlock_two(s, &listener->s);
        if (r != -EAGAIN || nonblock)
            break;
        unix_wait_for(u, listener);
    }
    if (r)
        unix_put(conn); /* nobody has seen it */
    else
        waitq_wake(&listener->s.wq, POLLIN | POLLRDNORM);
    if (r != -EAGAIN)
        unix_wait_for(u, NULL);
out:
    unix_put(listener);
    return r;
}

/* One piece, from memory to the peer's queue. Bytes or -errno. */
static ssize_t send_piece(struct unix_sock *u, struct unix_sock *peer, struct task *t, struct sk_msg *m)
{
    size_t max = (size_t)u->s.sndbuf / 2, n = m->uio->resid;
    struct skb *skb;
    ssize_t r;

    if (!sock_may_send(&u->s))
        return -EAGAIN;
    if (max > SKB_STREAM_MAX)
        max = SKB_STREAM_MAX;
    if (n > max)
        n = max;
    skb = skb_alloc(&u->s, n);
    if (!skb)
        return -ENOBUFS;
    r = uio_copy_from(m->uio, skb->data, n);
    if (r <= 0) {
        skb_free(skb);
        return r ? r : -EFAULT;
    }
    skb->len = (uint32_t)r;
    int err = unix_scm_attach(u, t, m, skb);
    if (err) {
        skb_free(skb);
        return err;
    }
    mutex_lock(&peer->s.lock);
    if (unlikely(peer->dead || atomic_load_explicit(&peer->s.shutdown, memory_order_relaxed) & SHUT_MASK_RCV)) {
        mutex_unlock(&peer->s.lock);
        skb_free(skb);
        return -EPIPE;
    }
    if (unlikely(sock_wants_stamp(&peer->s)))
        skb->realtime_ns = kernel_realtime_ns();
    if (skb->recursion > atomic_load(&peer->recursion))
        atomic_store(&peer->recursion, skb->recursion);
    skb_queue_tail(&peer->s.rq, skb);
    mutex_unlock(&peer->s.lock);
    waitq_wake(&peer->s.wq, POLLIN | POLLRDNORM);
    return r;
}

static ssize_t unix_stream_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct unix_sock *u = unix_of(s), *peer;
    ssize_t done = 0, r = 0;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (m->name)
        return u->state == UNIX_ESTABLISHED ? -EISCONN : -EOPNOTSUPP;
    if (atomic_load_explicit(&s->shutdown, memory_order_relaxed) & SHUT_MASK_SEND)
        return -EPIPE;
    peer = unix_get_peer(u);
    if (!peer)
        return -ENOTCONN;
    while (m->uio->resid > 0) {
        r = send_piece(u, peer, t, m);
        if (r < 0)
            break;
        done += r;
    }
    unix_put(peer);
    return done ? done : r;
}

/* Where a read is in the queue. A peek walks on without taking. */
struct stream_read {
    struct unix_sock *u;
    struct sk_msg *m;
    struct skb *skb;     /* the current message; stays while read_lock is held */
    struct ucred cred;   /* of what has been read */
    struct scm_fds *fds; /* taken from a message; owned */
    int64_t realtime_ns;
    bool has_cred, peek;
};

static bool same_cred(const struct ucred *a, const struct ucred *b)
{
    return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/* The next message to read from; NULL with *r: 0 at the end, -EAGAIN, -errno. */
static struct skb *next_message(struct stream_read *sr, ssize_t *r)
{
    struct unix_sock *u = sr->u;
    struct skb *skb;

    mutex_lock(&u->s.lock);
    skb = sr->peek && sr->skb ? skb_next(&u->s.rq, sr->skb) : skb_peek(&u->s.rq);
    if (!skb) {
        *r = sock_take_error(&u->s);
        if (*r == 0)
            *r = atomic_load(&u->s.shutdown) & SHUT_MASK_RCV ? 0 : -EAGAIN;
    }
    mutex_unlock(&u->s.lock);
    return skb;
}

/* Copies from the current message and takes what was copied. Bytes or -errno. */
static ssize_t read_message(struct stream_read *sr)
{
    struct unix_sock *u = sr->u;
    struct skb *skb = sr->skb, *used = NULL;
    size_t n = skb->len < sr->m->uio->resid ? skb->len : sr->m->uio->resid;
    ssize_t r = uio_copy_to(sr->m->uio, skb->data + skb->off, n);

    if (r <= 0)
        return r ? r : -EFAULT;
    if (!sr->has_cred) {
        sr->cred = skb->cred;
        sr->has_cred = true;
        sr->realtime_ns = skb->realtime_ns;
        if (sr->m->name)
            unix_name_out(skb->unix_from, sr->m->name);
    }
    if (sr->peek) {
        if (skb->fds)
            sr->fds = unix_fds_dup(u->s.net, skb->fds);
        return r;
    }
    mutex_lock(&u->s.lock);
    sr->fds = skb->fds;
    skb->fds = NULL;
    if (skb->len == (size_t)r) {
        skb_unlink(&u->s.rq, skb);
        used = skb;
    } else {
        skb_pull(&u->s.rq, skb, (size_t)r);
    }
    mutex_unlock(&u->s.lock);
    if (sr->fds)
        atomic_store(&u->recursion, 0);
    skb_free(used);
    return r;
}

static ssize_t unix_stream_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct stream_read sr = {.u = unix_of(s), .m = m, .peek = m->flags & MSG_PEEK};
    ssize_t done = 0, r = 0;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    /* A socket whose peer is gone still has what was sent; one that never had a peer has nothing. */
    if (sr.u->state != UNIX_ESTABLISHED)
        return -EINVAL;
    if (m->name)
        m->name->len = 0;
    mutex_lock(&s->read_lock);
    while (m->uio->resid > 0) {
        struct skb *skb = next_message(&sr, &r);

        if (!skb)
            break;
        /* Bytes of different senders are not joined when the reader wants to know who sent them. */
        if (sr.has_cred && s->passcred && !same_cred(&sr.cred, &skb->cred)) {
            m->stop = true;
            break;
        }
        sr.skb = skb;
        r = read_message(&sr);
        if (r < 0)
            break;
        done += r;
        if (sr.fds) {
            m->stop = true;
            break;
        }
    }
    mutex_unlock(&s->read_lock);
    if (sr.has_cred)
        unix_scm_recv(sr.u, m, &sr.cred, sr.fds, sr.realtime_ns);
    return done ? done : r;
}

const struct socket_ops unix_stream_ops = {
    .bind = unix_bind,
    .connect = unix_stream_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .pair = unix_pair,
    .getname = unix_getname,
    .sendmsg = unix_stream_sendmsg,
    .recvmsg = unix_stream_recvmsg,
    .shutdown = unix_shutdown,
    .poll = unix_poll,
    .setsockopt = unix_setsockopt,
    .getsockopt = unix_getsockopt,
    .ioctl = unix_ioctl,
    .release = unix_release,
    .destroy = unix_destroy,
};
