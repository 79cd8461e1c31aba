/* SOCK_DGRAM and SOCK_SEQPACKET: whole messages. */
#include "sentry/socket/unix/unix.h"

#include "sentry/socket/bpf.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* Room that Linux keeps back of SO_SNDBUF for its own. */
#define OVERHEAD 32

bool unix_dgram_full(const struct unix_sock *u)
{
    return u->s.rq.len > (unsigned int)atomic_load(&u->s.net->unix_max_dgram);
}

/* The link to `old`, which was ours, is cut: what it sent is lost, and it hears of it. */
static void disconnected(struct unix_sock *u, struct unix_sock *old)
{
    struct list_head queue;
    bool tell;

    mutex_lock(&u->s.lock);
    skb_queue_take(&u->s.rq, &queue);
    mutex_unlock(&u->s.lock);
    skb_free_list(&queue);
    waitq_wake(&u->peer_wait, POLLOUT);
    mutex_lock(&old->s.lock);
    tell = !old->dead && old->peer == u;
    if (tell)
        sock_set_error(&old->s, ECONNRESET);
    mutex_unlock(&old->s.lock);
    if (tell)
        waitq_wake(&old->s.wq, POLLERR);
}

static void set_peer(struct unix_sock *u, struct unix_sock *other)
{
    struct unix_sock *old;

    mutex_lock(&u->s.lock);
    old = u->peer;
    u->peer = other;
    u->state = other ? UNIX_ESTABLISHED : UNIX_CLOSE;
    mutex_unlock(&u->s.lock);
    unix_wait_for(u, NULL);
    if (old && old != other)
        disconnected(u, old);
    unix_put(old);
}

/* A socket with a peer takes messages of that one alone. */
static bool may_send_to(const struct unix_sock *u, const struct unix_sock *other)
{
    return !other->peer || other->peer == u;
}

int unix_dgram_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct unix_sock *u = unix_of(s), *other;
    bool allowed;
    int r;

    if (a->len < sizeof(sa_family_t))
        return -EINVAL;
    if (a->sa.sa_family == AF_UNSPEC) {
        set_peer(u, NULL);
        return 0;
    }
    r = unix_find(t, s->net, a, s->type, &other);
    if (r)
        return r;
    if (s->passcred && !u->addr)
        r = unix_autobind(u);
    if (!r) {
        mutex_lock(&other->s.lock);
        allowed = may_send_to(u, other);
        r = other->dead ? -ECONNREFUSED : allowed ? 0 : -EPERM;
        mutex_unlock(&other->s.lock);
    }
    if (r)
        unix_put(other);
    else
        set_peer(u, other);
    return r;
}

/* Where a message goes: referenced. */
static int destination(struct unix_sock *u, struct task *t, const struct sk_msg *m, struct unix_sock **out)
{
    if (m->name && u->s.type == SOCK_DGRAM)
        return unix_find(t, u->s.net, m->name, u->s.type, out);
    *out = unix_get_peer(u);
    return *out ? 0 : -ENOTCONN;
}

/* The receiver's filter does not want it: it is gone, and the sender is not told. */
#define FILTERED 1

/* With other->s.lock held. */
static int try_queue(struct unix_sock *u, struct unix_sock *other, struct skb *skb)
{
    if (other->dead)
        return u->s.type == SOCK_SEQPACKET ? -EPIPE : -ECONNREFUSED;
    if (!may_send_to(u, other) && u->s.type == SOCK_DGRAM)
        return -EPERM;
    if (atomic_load(&other->s.shutdown) & SHUT_MASK_RCV)
        return -EPIPE;
    if (other != u && other->peer != u && unix_dgram_full(other))
        return -EAGAIN;
    if (unlikely(other->s.filter)) {
        uint32_t keep = bpf_run(other->s.filter, &(struct bpf_data){.body = skb->data, .body_len = skb->len});

        if (keep == 0)
            return FILTERED;
        if (keep < skb->len)
            skb->len = keep;
    }
    if (unlikely(sock_wants_stamp(&other->s)))
        skb->realtime_ns = kernel_realtime_ns();
    if (skb->recursion > atomic_load(&other->recursion))
        atomic_store(&other->recursion, skb->recursion);
    skb_queue_tail(&other->s.rq, skb);
    return 0;
}

static int queue_for(struct unix_sock *u, struct unix_sock *other, struct skb *skb)
{
    int r = 0;

    /* Full: ask to be told, and look once more in case it was emptied in between. */
    for (int tries = 0; tries < 2; tries++) {
        mutex_lock(&other->s.lock);
        r = try_queue(u, other, skb);
        mutex_unlock(&other->s.lock);
        if (r != -EAGAIN)
            break;
        unix_wait_for(u, other);
    }
    if (r == FILTERED) {
        skb_free(skb);
        return 0;
    }
    if (r == 0)
        waitq_wake(&other->s.wq, POLLIN | POLLRDNORM);
    return r;
}

/* A connected socket that finds its peer gone is unconnected from then on. */
static void forget_peer(struct unix_sock *u, struct unix_sock *other)
{
    bool was;

    mutex_lock(&u->s.lock);
    was = u->peer == other;
    mutex_unlock(&u->s.lock);
    if (was)
        set_peer(u, NULL);
}

static int make_message(struct unix_sock *u, struct task *t, struct sk_msg *m, struct skb **out)
{
    size_t n = m->uio->resid;
    struct skb *skb;
    int r;

    if (n > (size_t)u->s.sndbuf - OVERHEAD)
        return -EMSGSIZE;
    r = sock_take_error(&u->s);
    if (r)
        return r;
    if (atomic_load(&u->s.shutdown) & SHUT_MASK_SEND)
        return -EPIPE;
    if (!sock_may_send(&u->s))
        return -EAGAIN;
    skb = skb_alloc(&u->s, n);
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

static ssize_t unix_dgram_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct unix_sock *u = unix_of(s), *other;
    struct uio start = *m->uio;
    struct skb *skb = NULL;
    size_t n = m->uio->resid;
    int r;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (s->type == SOCK_SEQPACKET && u->state != UNIX_ESTABLISHED)
        return -ENOTCONN;
    r = destination(u, t, m, &other);
    if (r)
        return r;
    if (s->passcred && !u->addr)
        r = unix_autobind(u);
    if (!r)
        r = make_message(u, t, m, &skb);
    if (!r)
        r = unix_scm_attach(u, t, m, skb);
    if (!r)
        r = queue_for(u, other, skb);
    if (r) {
        /* To be tried again as if nothing had happened. */
        if (skb && m->scm && !m->scm->fds && skb->fds) {
            unix_fds_landed(skb->fds);
            m->scm->fds = skb->fds;
            skb->fds = NULL;
        }
        skb_free(skb);
        *m->uio = start;
        if (r == -ECONNREFUSED && !m->name)
            forget_peer(u, other);
    }
    unix_put(other);
    return r ? r : (ssize_t)n;
}

/* The next message: taken, or for a peek left and not to be freed. NULL with *r. */
static struct skb *take_message(struct unix_sock *u, const struct sk_msg *m, ssize_t *r)
{
    struct skb *skb;

    mutex_lock(&u->s.lock);
    skb = skb_peek(&u->s.rq);
    if (skb && !(m->flags & MSG_PEEK)) {
        skb_unlink(&u->s.rq, skb);
    } else if (!skb) {
        *r = sock_take_error(&u->s);
        if (*r == 0)
            *r = -EAGAIN;
        /* The end of what can be received; a datagram socket says so only to who would wait. */
        if (*r == -EAGAIN && atomic_load(&u->s.shutdown) & SHUT_MASK_RCV &&
            (u->s.type == SOCK_SEQPACKET || !(m->flags & MSG_DONTWAIT)))
            *r = 0;
    }
    mutex_unlock(&u->s.lock);
    return skb;
}

static ssize_t unix_dgram_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct unix_sock *u = unix_of(s);
    bool peek = m->flags & MSG_PEEK;
    struct scm_fds *fds = NULL;
    struct ucred cred = {0};
    int64_t realtime_ns = 0;
    struct skb *skb;
    ssize_t r = 0;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (s->type == SOCK_SEQPACKET && u->state != UNIX_ESTABLISHED)
        return -ENOTCONN;
    if (m->name)
        m->name->len = 0;
    mutex_lock(&s->read_lock);
    skb = take_message(u, m, &r);
    if (skb) {
        size_t n = skb->len < m->uio->resid ? skb->len : m->uio->resid;

        if (n < skb->len)
            m->out_flags |= MSG_TRUNC;
        if (m->name)
            unix_name_out(skb->unix_from, m->name);
        r = m->flags & MSG_TRUNC ? (ssize_t)skb->len : (ssize_t)n;
        if (n && uio_copy_to(m->uio, skb->data, n) != (ssize_t)n)
            r = -EFAULT;
        cred = skb->cred;
        realtime_ns = skb->realtime_ns;
        fds = skb->fds;
        if (peek)
            fds = fds ? unix_fds_dup(s->net, fds) : NULL;
        else
            skb->fds = NULL;
    }
    mutex_unlock(&s->read_lock);
    if (!skb)
        return r;
    if (!peek) {
        if (fds)
            atomic_store(&u->recursion, 0);
        waitq_wake(&u->peer_wait, POLLOUT);
        skb_free(skb);
    }
    unix_scm_recv(u, m, &cred, fds, realtime_ns);
    return r;
}

const struct socket_ops unix_dgram_ops = {
    .bind = unix_bind,
    .connect = unix_dgram_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .pair = unix_pair,
    .getname = unix_getname,
    .sendmsg = unix_dgram_sendmsg,
    .recvmsg = unix_dgram_recvmsg,
    .shutdown = unix_shutdown,
    .poll = unix_poll,
    .setsockopt = unix_setsockopt,
    .getsockopt = unix_getsockopt,
    .ioctl = unix_ioctl,
    .release = unix_release,
    .destroy = unix_destroy,
};

const struct socket_ops unix_seqpacket_ops = {
    .bind = unix_bind,
    .connect = unix_stream_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .pair = unix_pair,
    .getname = unix_getname,
    .sendmsg = unix_dgram_sendmsg,
    .recvmsg = unix_dgram_recvmsg,
    .shutdown = unix_shutdown,
    .poll = unix_poll,
    .setsockopt = unix_setsockopt,
    .getsockopt = unix_getsockopt,
    .ioctl = unix_ioctl,
    .release = unix_release,
    .destroy = unix_destroy,
};
