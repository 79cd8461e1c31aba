/*
 * TCP connections without TCP: connecting, listening, accepting, closing. Bytes are in tcp_data.c.
 *
 * A connection is made the moment a client calls connect(2), if the listener's backlog has room: the server's socket is
 * created, the two point at each other, and it waits to be accepted. Otherwise the client waits in the listener's `pending`
 * list, as it would by repeating its SYN. A client that does not wait is told EINPROGRESS even when all is done, as Linux does
 * on loopback.
 */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define ALL_EVENTS (POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLWRBAND | POLLHUP | POLLRDHUP | POLLERR)
/* What may be under way in one direction: enough to keep two threads busy, little enough to stay in their caches. */
#define TCP_SNDBUF (512 * 1024)
#define TCP_RCVBUF 131072

struct inet_sock *inet_alloc(struct net *net, const struct socket_ops *ops, int family, int type, int protocol)
{
    struct inet_sock *i = calloc(1, sizeof(*i));

    if (!i)
        return NULL;
    socket_init(&i->s, ops, net, family, type, protocol);
    inet_options_init(&i->o);
    i->o.v6only = family == AF_INET6 && __atomic_load_n(&net->stack->sysctl.bindv6only, __ATOMIC_RELAXED);
    list_init(&i->port_node);
    list_init(&i->accepts);
    list_init(&i->pending);
    list_init(&i->accept_node);
    if (type == SOCK_STREAM) {
        lo_tcp_cork_init(i);
        net_tcp_default_congestion(net, i->congestion);
        i->s.sndbuf = TCP_SNDBUF;
        i->s.rcvbuf = TCP_RCVBUF;
    }
    return i;
}

void inet_destroy(struct socket *s)
{
    socket_fini(s);
    free(inet_of(s));
}

int inet_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out)
{
    struct inet_sock *i;

    if (protocol < 0 || protocol >= IPPROTO_MAX)
        return protocol == IPPROTO_MPTCP ? -EPROTONOSUPPORT : -EINVAL;
    switch (type) {
    case SOCK_STREAM:
        if (protocol && protocol != IPPROTO_TCP)
            return -EPROTONOSUPPORT;
        i = inet_alloc(net, &lo_tcp_ops, family, type, IPPROTO_TCP);
        break;
    case SOCK_DGRAM:
        if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
            return net_raw_create(t, net, family, type, protocol, out);
        if (protocol && protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE)
            return -EPROTONOSUPPORT;
        i = inet_alloc(net, &lo_udp_ops, family, type, protocol ? protocol : IPPROTO_UDP);
        break;
    case SOCK_RAW:
        return net_raw_create(t, net, family, type, protocol, out);
    default:
        return -ESOCKTNOSUPPORT;
    }
    if (!i)
        return -ENOMEM;
    *out = &i->s;
    return 0;
}

static void inet_put(struct inet_sock *i)
{
    if (i)
        socket_put(&i->s);
}

static void wake_all(struct inet_sock *i)
{
    waitq_wake(&i->s.wq, ALL_EVENTS);
}

int lo_tcp_kernel_state(const struct inet_sock *i)
{
    unsigned int shut = atomic_load(&i->s.shutdown);

    switch (i->state) {
    case TCP_S_NET:
        return net_tcp_state(i);
    case TCP_S_LISTEN:
        return TCP_LISTEN;
    case TCP_S_SYN_SENT:
        return TCP_SYN_SENT;
    case TCP_S_ESTABLISHED:
        if (shut == SHUT_MASK_BOTH)
            return TCP_CLOSE;
        return shut & SHUT_MASK_SEND ? TCP_FIN_WAIT2 : shut & SHUT_MASK_RCV ? TCP_CLOSE_WAIT : TCP_ESTABLISHED;
    default:
        return TCP_CLOSE;
    }
}

/* The server's end, as the listener was set up. */
struct inet_sock *lo_tcp_make_server(struct inet_sock *listener)
{
    struct socket *l = &listener->s;
    struct inet_sock *conn = inet_alloc(l->net, &lo_tcp_ops, l->family, SOCK_STREAM, IPPROTO_TCP);

    if (!conn)
        return NULL;
    conn->o = listener->o;
    conn->s.sndbuf = l->sndbuf;
    conn->s.rcvbuf = l->rcvbuf;
    conn->s.sndbuf_set = l->sndbuf_set;
    conn->s.rcvlowat = l->rcvlowat;
    conn->s.reuseaddr = l->reuseaddr;
    conn->s.reuseport = l->reuseport;
    conn->s.keepalive = l->keepalive;
    conn->s.oobinline = l->oobinline;
    conn->s.linger = l->linger;
    conn->s.linger_secs = l->linger_secs;
    conn->s.priority = l->priority;
    conn->s.uid = l->uid;
    conn->s.rcvtimeo = l->rcvtimeo;
    conn->s.sndtimeo = l->sndtimeo;
    conn->s.mark = l->mark;
    conn->s.zerocopy = l->zerocopy;
    conn->s.timestamp = l->timestamp;
    conn->s.timestamp_ns = l->timestamp_ns;
    conn->s.timestamp_new = l->timestamp_new;
    conn->s.timestamping = l->timestamping;
    conn->s.lock_filter = l->lock_filter;
    conn->s.filter = bpf_prog_get(l->filter);
    return conn;
}

/* Both are locked, the client has its addresses, and there is room. 0 or -ENOMEM. */
static int establish(struct inet_sock *client, struct inet_sock *listener)
{
    struct inet_sock *conn = lo_tcp_make_server(listener);

    if (!conn)
        return -ENOMEM;
    conn->local = client->remote;
    conn->remote = client->local;
    conn->state = TCP_S_ESTABLISHED;
    conn->peer = inet_of(socket_get(&client->s));
    client->peer = inet_of(socket_get(&conn->s));
    inet_table_add(conn);
    inet_set_remote(client, &(struct inet_end){client->remote.addr, client->remote.port}, NULL, TCP_S_ESTABLISHED);
    list_add_tail(&conn->accept_node, &listener->accepts);
    listener->nr_accepts++;
    return 0;
}

/* The client waits no longer: it was accepted, refused, or gave up. s.lock of the client is held; the result is to be put. */
static struct inet_sock *stop_pending(struct inet_sock *client)
{
    struct inet_sock *listener = client->listener;

    client->listener = NULL;
    return listener;
}

/* After connect(2) has begun: what it returns now. s.lock held. */
static int connect_result(struct inet_sock *i, bool nonblock)
{
    int r;

    if (i->state == TCP_S_SYN_SENT)
        return nonblock ? -EALREADY : -EAGAIN;
    i->connecting = false;
    if (i->state == TCP_S_ESTABLISHED)
        return 0;
    r = sock_take_error(&i->s);
    return r ? r : -ECONNABORTED;
}

/* Finds the way and takes a port. s.lock held. 1: the way leads out. */
static int prepare(struct inet_sock *i, struct inet_end *dst)
{
    struct in6_addr src;
    int r;

    if (i->state == TCP_S_LISTEN)
        return -EISCONN;
    r = inet_route(i, dst, &src);
    if (r < 0)
        return r;
    if (r == 1) {
        sock_set_error(&i->s, 0);
        return 1;
    }
    r = inet_autobind(i, dst);
    if (r)
        return r;
    sock_set_error(&i->s, 0);
    inet_set_remote(i, dst, &src, TCP_S_SYN_SENT);
    return 0;
}

/* Back to where it was, after a refusal. s.lock held. */
void lo_tcp_unprepare(struct inet_sock *i)
{
    struct in6_addr any = in6addr_any;

    if (!i->port_chosen)
        inet_table_remove(i);
    inet_set_remote(i, NULL, i->addr_chosen ? NULL : &any, TCP_S_CLOSE);
}

static int refuse(struct inet_sock *i, int err, bool nonblock)
{
    lo_tcp_unprepare(i);
    if (!nonblock)
        return -err;
    sock_set_error(&i->s, err);
    i->connecting = true;
    return -EINPROGRESS;
}

/* Client and listener are locked. */
static int connect_to(struct inet_sock *i, struct inet_sock *listener, bool nonblock)
{
    int r;

    if (listener->state != TCP_S_LISTEN || listener->dead)
        return refuse(i, ECONNREFUSED, nonblock);
    if (listener->nr_accepts > listener->backlog) {
        i->connecting = true;
        i->listener = inet_of(socket_get(&listener->s));
        socket_get(&i->s);
        list_add_tail(&i->accept_node, &listener->pending);
        return nonblock ? -EINPROGRESS : -EAGAIN;
    }
    r = establish(i, listener);
    if (r) {
        lo_tcp_unprepare(i);
        return r;
    }
    i->connecting = nonblock;
    waitq_wake(&listener->s.wq, POLLIN | POLLRDNORM);
    return nonblock ? -EINPROGRESS : 0;
}

static void lo_tcp_disconnect(struct inet_sock *i);

/* connect(2) on a socket that is not free for it: what that says. 1: go on. s.lock held. */
static int connect_again(struct inet_sock *i, bool nonblock)
{
    if (i->state == TCP_S_NET)
        return net_tcp_connect_again(i, nonblock);
    if (i->connecting || i->state == TCP_S_SYN_SENT)
        return connect_result(i, nonblock);
    return i->state == TCP_S_CLOSE ? 1 : -EISCONN;
}

static int lo_tcp_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct inet_sock *i = inet_of(s), *listener;
    struct inet_end dst;
    int r;

    if (a->len < sizeof(sa_family_t))
        return -EINVAL;
    if (a->sa.sa_family == AF_UNSPEC) {
        lo_tcp_disconnect(i);
        return 0;
    }
    mutex_lock(&s->lock);
    r = connect_again(i, nonblock);
    mutex_unlock(&s->lock);
    if (r <= 0)
        return r;
    r = inet_addr_in(i, a, &dst);
    if (r)
        return r;
    mutex_lock(&s->lock);
    r = i->state == TCP_S_CLOSE ? prepare(i, &dst) : -EISCONN;
    if (r == 1) {
        r = net_tcp_connect(i, &dst, nonblock);
        mutex_unlock(&s->lock);
        return r;
    }
    mutex_unlock(&s->lock);
    if (r)
        return r;
    listener = net_dns_is_server(s->net, &dst) ? net_dns_listener(s->net) : NULL;
    if (!listener)
        listener = inet_find_listener(s->net->tcp, &dst, &i->local);
    if (!listener) {
        mutex_lock(&s->lock);
        r = refuse(i, ECONNREFUSED, nonblock);
        mutex_unlock(&s->lock);
    } else {
        sock_lock_two(s, &listener->s);
        r = connect_to(i, listener, nonblock);
        sock_unlock_two(s, &listener->s);
        inet_put(listener);
    }
    if (r != -EAGAIN)
        wake_all(i);
    return r;
}

static int lo_tcp_listen(struct socket *s, struct task *t, int backlog)
{
    struct inet_sock *i = inet_of(s);
    int r = -EINVAL;

    mutex_lock(&s->lock);
    if ((i->state == TCP_S_CLOSE || i->state == TCP_S_LISTEN) && !i->connecting) {
        r = inet_autobind(i, NULL);
        if (r == -EAGAIN)
            r = -EADDRINUSE;
        if (!r)
            r = inet_set_listening(i, (unsigned int)backlog);
        if (!r)
            r = net_tcp_listen(i, backlog);
    }
    mutex_unlock(&s->lock);
    return r;
}

/* The first client that waits for room, and is still there: its list's reference is the caller's. */
static struct inet_sock *take_pending(struct inet_sock *listener)
{
    struct inet_sock *client = NULL;

    mutex_lock(&listener->s.lock);
    if (!list_empty(&listener->pending) && listener->nr_accepts <= listener->backlog) {
        client = list_first_entry(&listener->pending, struct inet_sock, accept_node);
        list_del_init(&client->accept_node);
    }
    mutex_unlock(&listener->s.lock);
    return client;
}

/* There is room: clients that wait get their connections. */
static void admit(struct inet_sock *listener)
{
    struct inet_sock *client;

    while ((client = take_pending(listener))) {
        struct inet_sock *was = NULL;

        sock_lock_two(&client->s, &listener->s);
        if (client->state == TCP_S_SYN_SENT && client->listener == listener) {
            was = stop_pending(client);
            if (establish(client, listener)) {
                sock_set_error(&client->s, ETIMEDOUT);
                lo_tcp_unprepare(client);
            }
        }
        sock_unlock_two(&client->s, &listener->s);
        wake_all(client);
        waitq_wake(&listener->s.wq, POLLIN | POLLRDNORM);
        inet_put(was);
        inet_put(client);
    }
}

static int lo_tcp_accept(struct socket *s, struct task *t, struct socket **out)
{
    struct inet_sock *i = inet_of(s), *conn = NULL;
    bool waiting = false;
    int r = -EAGAIN;

    mutex_lock(&s->lock);
    if (i->state != TCP_S_LISTEN) {
        r = -EINVAL;
    } else if (i->tp && (i->net_turn || list_empty(&i->accepts)) && (r = net_tcp_accept(i, &conn)) == 0) {
        /* One from outside; those from inside are next. */
        i->net_turn = false;
    } else if (!list_empty(&i->accepts)) {
        i->net_turn = true;
        conn = list_first_entry(&i->accepts, struct inet_sock, accept_node);
        list_del_init(&conn->accept_node);
        i->nr_accepts--;
        waiting = !list_empty(&i->pending);
        r = 0;
    }
    mutex_unlock(&s->lock);
    if (waiting)
        admit(i);
    if (conn)
        *out = &conn->s;
    return r;
}

/* What the other side sees when we go: the end of the stream, or a reset. Consumes the reference. */
static void leave_peer(struct inet_sock *peer, bool reset)
{
    mutex_lock(&peer->s.lock);
    if (reset) {
        /* In CLOSE_WAIT a reset is what a write after the end gets. */
        sock_set_error(&peer->s, atomic_load(&peer->s.shutdown) & SHUT_MASK_RCV ? EPIPE : ECONNRESET);
        atomic_store(&peer->s.shutdown, SHUT_MASK_BOTH);
    } else {
        atomic_fetch_or(&peer->s.shutdown, SHUT_MASK_RCV);
    }
    mutex_unlock(&peer->s.lock);
    wake_all(peer);
    inet_put(peer);
}

/* Takes everything that hangs on a socket away from it. */
struct leftovers {
    struct list_head queue, accepts;
    struct inet_sock *peer, *listener;
    bool unread;
};

static void strip(struct inet_sock *i, struct leftovers *lo)
{
    list_init(&lo->accepts);
    lo->peer = i->peer;
    i->peer = NULL;
    lo->unread = i->s.rq.len > 0;
    skb_queue_take(&i->s.rq, &lo->queue);
    list_splice_tail_init(&i->accepts, &lo->accepts);
    i->nr_accepts = 0;
    lo->listener = stop_pending(i);
    i->connecting = false;
}

static void lo_tcp_end(struct inet_sock *i);

/* Clients that wait for room in the backlog of a listener that is no more. None come after them: its state says so. */
static void refuse_pending(struct inet_sock *listener)
{
    for (;;) {
        struct inet_sock *client = NULL, *was;

        mutex_lock(&listener->s.lock);
        if (!list_empty(&listener->pending)) {
            client = list_first_entry(&listener->pending, struct inet_sock, accept_node);
            list_del_init(&client->accept_node);
        }
        mutex_unlock(&listener->s.lock);
        if (!client)
            break;
        mutex_lock(&client->s.lock);
        was = stop_pending(client);
        if (client->state == TCP_S_SYN_SENT) {
            sock_set_error(&client->s, ECONNREFUSED);
            lo_tcp_unprepare(client);
        }
        mutex_unlock(&client->s.lock);
        wake_all(client);
        inet_put(was);
        inet_put(client);
    }
}

static void dispose(struct inet_sock *i, struct leftovers *lo, bool reset)
{
    struct inet_sock *j, *next;

    if (lo->peer)
        leave_peer(lo->peer, reset || lo->unread);
    if (lo->listener) {
        bool listed;

        mutex_lock(&lo->listener->s.lock);
        listed = !list_empty(&i->accept_node);
        list_del_init(&i->accept_node);
        mutex_unlock(&lo->listener->s.lock);
        inet_put(lo->listener);
        if (listed)
            inet_put(i);
    }
    list_for_each_entry_safe(j, next, &lo->accepts, accept_node) {
        list_del_init(&j->accept_node);
        j->s.linger = true; /* nobody will read it: a reset */
        j->s.linger_secs = 0;
        lo_tcp_end(j);
        inet_put(j);
    }
    refuse_pending(i);
    skb_free_list(&lo->queue);
}

static void lo_tcp_end(struct inet_sock *i)
{
    struct leftovers lo;
    bool reset;

    mutex_lock(&i->s.lock);
    i->dead = true;
    reset = i->s.linger && i->s.linger_secs == 0;
    net_tcp_close(i);
    strip(i, &lo);
    inet_table_remove(i);
    inet_set_remote(i, NULL, NULL, TCP_S_CLOSE);
    atomic_store(&i->s.shutdown, SHUT_MASK_BOTH);
    mutex_unlock(&i->s.lock);
    dispose(i, &lo, reset);
}

/* Inside, what has been sent has arrived, but for what is more than the other side has room for: Linux would still have that.
 */
static bool lo_tcp_lingers(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    bool r = false;

    lo_tcp_uncork(i);
    mutex_lock(&s->lock);
    atomic_store(&s->nospace, true);
    if (i->state == TCP_S_NET)
        r = net_tcp_lingers(i);
    else if (i->state == TCP_S_ESTABLISHED && i->peer && s->rq.len == 0)
        r = atomic_load(&i->peer->s.rq.bytes) > (size_t)i->peer->s.rcvbuf && !(atomic_load(&s->shutdown) & SHUT_MASK_RCV);
    mutex_unlock(&s->lock);
    return r;
}

static void lo_tcp_release(struct socket *s)
{
    struct inet_sock *i = inet_of(s);

    ktimer_cancel_sync(&i->cork_timer);
    lo_tcp_uncork(i);
    lo_tcp_end(i);
}

/* connect(AF_UNSPEC): the socket can be used anew. */
static void lo_tcp_disconnect(struct inet_sock *i)
{
    struct leftovers lo;

    mutex_lock(&i->s.read_lock);
    mutex_lock(&i->s.lock);
    sock_set_error(&i->s, i->state == TCP_S_ESTABLISHED ? ECONNRESET : 0);
    net_tcp_disconnect(i);
    strip(i, &lo);
    lo_tcp_unprepare(i);
    atomic_store(&i->s.shutdown, 0);
    i->received = i->read = 0;
    i->has_mark = i->has_urgent = false;
    mutex_unlock(&i->s.lock);
    mutex_unlock(&i->s.read_lock);
    dispose(i, &lo, true);
    wake_all(i);
}

static int lo_tcp_shutdown(struct socket *s, int how)
{
    struct inet_sock *i = inet_of(s), *peer = NULL;
    unsigned int mask = (unsigned int)how + 1;
    enum tcp_state state;

    if (mask & SHUT_MASK_SEND)
        lo_tcp_uncork(i);
    mutex_lock(&s->lock);
    state = i->state;
    if (state == TCP_S_NET) {
        int r = net_tcp_shutdown(i, mask);

        mutex_unlock(&s->lock);
        wake_all(i);
        return r;
    }
    if (state == TCP_S_ESTABLISHED || state == TCP_S_CLOSE)
        atomic_fetch_or(&s->shutdown, mask);
    if (state == TCP_S_ESTABLISHED && mask & SHUT_MASK_SEND && i->peer)
        peer = inet_of(socket_get(&i->peer->s));
    mutex_unlock(&s->lock);
    switch (state) {
    case TCP_S_CLOSE:
        wake_all(i); /* some wait for just that */
        return -ENOTCONN;
    case TCP_S_LISTEN:
        if (!(mask & SHUT_MASK_RCV))
            return 0;
        lo_tcp_disconnect(i);
        return 0;
    case TCP_S_SYN_SENT:
        lo_tcp_disconnect(i);
        return 0;
    default:
        break;
    }
    if (peer)
        leave_peer(peer, false);
    wake_all(i);
    return 0;
}

const struct socket_ops lo_tcp_ops = {
    .bind = inet_bind,
    .connect = lo_tcp_connect,
    .listen = lo_tcp_listen,
    .accept = lo_tcp_accept,
    .getname = inet_getname,
    .sendmsg = lo_tcp_sendmsg,
    .recvmsg = lo_tcp_recvmsg,
    .shutdown = lo_tcp_shutdown,
    .poll = lo_tcp_poll,
    .setsockopt = inet_setsockopt,
    .getsockopt = inet_getsockopt,
    .ioctl = lo_tcp_ioctl,
    .so_changed = net_so_changed,
    .take_error = net_tcp_take_error,
    .put_error = net_tcp_put_error,
    .wmem_freed = lo_tcp_wmem_freed,
    .lingers = lo_tcp_lingers,
    .release = lo_tcp_release,
    .destroy = inet_destroy,
};
