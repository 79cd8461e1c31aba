/* Unix sockets of all types: their life, listening, names, shutting down, and ancillary data. */
#include "sentry/socket/unix/unix.h"

#include "sentry/kernel/task.h"
#include "vfs/inode.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define ALL_EVENTS (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLWRBAND | POLLHUP | POLLRDHUP | POLLERR)

void unix_cred_of(struct task *t, struct ucred *out)
{
    *out = (struct ucred){.pid = t->tg->tgid, .uid = t->cred->euid, .gid = t->cred->egid};
}

static const struct socket_ops *ops_of_type(int type)
{
    switch (type) {
    case SOCK_STREAM:
        return &unix_stream_ops;
    case SOCK_SEQPACKET:
        return &unix_seqpacket_ops;
    default:
        return &unix_dgram_ops;
    }
}

/* Somebody we wait for has room: so have we. */
static bool room_elsewhere(struct waitq_entry *entry, uint32_t events)
{
    struct unix_sock *u = container_of(entry, struct unix_sock, wait_entry);

    waitq_wake(&u->s.wq, POLLOUT | POLLWRNORM | POLLWRBAND);
    return true;
}

struct unix_sock *unix_alloc(struct net *net, int type)
{
    struct unix_sock *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    socket_init(&u->s, ops_of_type(type), net, AF_UNIX, type, 0);
    list_init(&u->accepts);
    list_init(&u->accept_node);
    list_init(&u->name_node);
    list_init(&u->inflight_node);
    waitq_init(&u->peer_wait);
    mutex_init(&u->wait_lock);
    list_init(&u->wait_entry.node);
    u->wait_entry.mask = POLLOUT;
    u->wait_entry.wake = room_elsewhere;
    mutex_lock(&net->unix_lock);
    list_add_tail(&u->all_node, &net->unix_all);
    mutex_unlock(&net->unix_lock);
    return u;
}

int unix_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out)
{
    struct unix_sock *u;

    if (protocol && protocol != AF_UNIX)
        return -EPROTONOSUPPORT;
    if (type == SOCK_RAW)
        type = SOCK_DGRAM; /* as BSD has it */
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
        return -ESOCKTNOSUPPORT;
    u = unix_alloc(net, type);
    if (!u)
        return -ENOMEM;
    *out = &u->s;
    return 0;
}

void unix_put(struct unix_sock *u)
{
    if (u)
        socket_put(&u->s);
}

void unix_destroy(struct socket *s)
{
    struct unix_sock *u = unix_of(s);
    struct net *net = s->net;

    mutex_lock(&net->unix_lock);
    list_del_init(&u->all_node);
    list_del_init(&u->name_node);
    mutex_unlock(&net->unix_lock);
    unix_addr_put(u->addr);
    if (u->peer_groups)
        cred_put(u->peer_groups);
    waitq_fini(&u->peer_wait);
    mutex_fini(&u->wait_lock);
    socket_fini(s);
    free(u);
}

struct unix_sock *unix_get_peer(struct unix_sock *u)
{
    struct unix_sock *peer;

    mutex_lock(&u->s.lock);
    peer = u->peer;
    if (peer)
        socket_get(&peer->s);
    mutex_unlock(&u->s.lock);
    return peer;
}

void unix_wait_for(struct unix_sock *u, struct unix_sock *other)
{
    struct unix_sock *old;

    mutex_lock(&u->wait_lock);
    old = u->waits_for;
    if (old == other) {
        old = NULL;
    } else {
        waitq_remove(&u->wait_entry);
        u->waits_for = other;
        if (other) {
            socket_get(&other->s);
            waitq_add(&other->peer_wait, &u->wait_entry);
        }
    }
    mutex_unlock(&u->wait_lock);
    unix_put(old);
}

void unix_wake_all(struct unix_sock *u)
{
    waitq_wake(&u->s.wq, ALL_EVENTS);
}

/* `peer`, whose reference is consumed, has lost its other end. */
static void hang_up(struct unix_sock *peer, bool unread)
{
    mutex_lock(&peer->s.lock);
    atomic_store(&peer->s.shutdown, SHUT_MASK_BOTH);
    if (unread)
        sock_set_error(&peer->s, ECONNRESET);
    mutex_unlock(&peer->s.lock);
    unix_wake_all(peer);
    unix_put(peer);
}

static void end(struct unix_sock *u, bool embryo)
{
    struct list_head queue, accepts;
    struct unix_sock *peer, *conn, *next;
    bool unread;

    mutex_lock(&u->s.lock);
    u->dead = true;
    u->state = UNIX_CLOSE;
    atomic_store(&u->s.shutdown, SHUT_MASK_BOTH);
    peer = u->peer;
    u->peer = NULL;
    unread = u->s.rq.len > 0;
    skb_queue_take(&u->s.rq, &queue);
    list_init(&accepts);
    list_splice_tail_init(&u->accepts, &accepts);
    u->nr_accepts = 0;
    mutex_unlock(&u->s.lock);

    unix_unbind(u);
    unix_wait_for(u, NULL);
    waitq_wake(&u->peer_wait, ALL_EVENTS);
    if (peer && unix_is_dgram(u))
        unix_put(peer);
    else if (peer)
        hang_up(peer, unread || embryo);
    list_for_each_entry_safe(conn, next, &accepts, accept_node) {
        list_del_init(&conn->accept_node);
        end(conn, true);
        unix_put(conn);
    }
    skb_free_list(&queue);
}

void unix_release(struct socket *s)
{
    struct net *net = s->net;

    end(unix_of(s), false);
    if (atomic_load(&net->nr_inflight_sockets))
        unix_gc(net);
}

int unix_listen(struct socket *s, struct task *t, int backlog)
{
    struct unix_sock *u = unix_of(s);
    unsigned int old;
    int r = 0;

    if (unix_is_dgram(u))
        return -EOPNOTSUPP;
    mutex_lock(&s->lock);
    if (!u->addr || (u->state != UNIX_CLOSE && u->state != UNIX_LISTEN)) {
        r = -EINVAL;
    } else {
        old = u->backlog;
        u->backlog = (unsigned int)backlog;
        u->state = UNIX_LISTEN;
        unix_cred_of(t, &u->peercred);
        u->has_peercred = true;
        if (u->peer_groups)
            cred_put(u->peer_groups);
        u->peer_groups = cred_get(t->cred);
        if (u->backlog > old)
            waitq_wake(&u->peer_wait, POLLOUT);
    }
    mutex_unlock(&s->lock);
    return r;
}

int unix_accept(struct socket *s, struct task *t, struct socket **out)
{
    struct unix_sock *u = unix_of(s), *conn = NULL;
    int r = -EAGAIN;

    if (unix_is_dgram(u))
        return -EOPNOTSUPP;
    mutex_lock(&s->lock);
    if (u->state != UNIX_LISTEN || atomic_load(&s->shutdown) & SHUT_MASK_RCV) {
        r = -EINVAL;
    } else if (!list_empty(&u->accepts)) {
        conn = list_first_entry(&u->accepts, struct unix_sock, accept_node);
        list_del_init(&conn->accept_node);
        u->nr_accepts--;
        r = 0;
    }
    mutex_unlock(&s->lock);
    if (r)
        return r;
    waitq_wake(&u->peer_wait, POLLOUT);
    mutex_lock(&conn->s.lock);
    conn->dead = false;
    conn->s.passcred = s->passcred;
    mutex_unlock(&conn->s.lock);
    *out = &conn->s;
    return 0;
}

int unix_pair(struct socket *sa, struct socket *sb, struct task *t)
{
    struct unix_sock *a = unix_of(sa), *b = unix_of(sb);

    sock_lock_two(sa, sb);
    a->peer = unix_of(socket_get(sb));
    b->peer = unix_of(socket_get(sa));
    unix_cred_of(t, &a->peercred);
    b->peercred = a->peercred;
    a->has_peercred = b->has_peercred = true;
    a->peer_groups = cred_get(t->cred);
    b->peer_groups = cred_get(t->cred);
    a->state = b->state = UNIX_ESTABLISHED;
    sock_unlock_two(sa, sb);
    return 0;
}

void unix_name_out(struct unix_addr *addr, struct sock_addr *out)
{
    if (addr) {
        out->len = addr->len;
        memcpy(&out->un, &addr->un, addr->len < sizeof(addr->un) ? addr->len : sizeof(addr->un));
        if (addr->len > sizeof(addr->un))
            out->raw[sizeof(addr->un)] = 0;
    } else {
        out->len = offsetof(struct sockaddr_un, sun_path);
        out->un.sun_family = AF_UNIX;
    }
}

int unix_getname(struct socket *s, bool peer, struct sock_addr *out)
{
    struct unix_sock *u = unix_of(s), *of = u;

    if (peer) {
        of = unix_get_peer(u);
        if (!of)
            return -ENOTCONN;
    }
    mutex_lock(&of->s.lock);
    unix_name_out(of->addr, out);
    mutex_unlock(&of->s.lock);
    if (peer)
        unix_put(of);
    return 0;
}

int unix_shutdown(struct socket *s, int how)
{
    struct unix_sock *u = unix_of(s), *peer = NULL;
    unsigned int mask = (unsigned int)how + 1,
                 other = (mask & SHUT_MASK_RCV ? SHUT_MASK_SEND : 0u) | (mask & SHUT_MASK_SEND ? SHUT_MASK_RCV : 0u);

    mutex_lock(&s->lock);
    atomic_fetch_or(&s->shutdown, mask);
    if (u->peer && !unix_is_dgram(u))
        peer = unix_of(socket_get(&u->peer->s));
    mutex_unlock(&s->lock);
    if (peer) {
        mutex_lock(&peer->s.lock);
        atomic_fetch_or(&peer->s.shutdown, other);
        mutex_unlock(&peer->s.lock);
        unix_wake_all(peer);
        unix_put(peer);
    }
    unix_wake_all(u);
    waitq_wake(&u->peer_wait, POLLOUT);
    return 0;
}

int unix_scm_attach(struct unix_sock *u, struct task *t, struct sk_msg *m, struct skb *skb)
{
    int recursion = 0, r;

    if (m->scm)
        skb->cred = m->scm->cred;
    else
        unix_cred_of(t, &skb->cred);
    if (u->addr) {
        ref_get(&u->addr->ref);
        skb->unix_from = u->addr;
    }
    if (!m->scm || !m->scm->fds)
        return 0;
    r = unix_fds_takeoff(u->s.net, t, m->scm->fds, &recursion);
    if (r)
        return r;
    skb->fds = m->scm->fds;
    skb->recursion = recursion;
    m->scm->fds = NULL;
    return 0;
}

void unix_scm_recv(struct unix_sock *u, struct sk_msg *m, const struct ucred *cred, struct scm_fds *fds, int64_t realtime_ns)
{
    cmsg_put_timestamp(m->cmsg, &u->s, realtime_ns);
    if (u->s.passcred && cred)
        cmsg_put(m->cmsg, SOL_SOCKET, SCM_CREDENTIALS, cred, sizeof(*cred));
    if (!fds)
        return;
    cmsg_put_fds(m->cmsg, fds);
    scm_fds_free(fds);
}
