/*
 * Sockets of the host's: making them, names, connecting and accepting.
 *
 * Readiness: the event loop watches a descriptor with EPOLLET and reports all that it is ready for whenever anything about it
 * changes. Linux tells those who wait for room to send only when room has come after there was none; so a writer's events are
 * passed on only if somebody has found none since. That keeps guests' edge-triggered epolls from seeing edges that Linux would
 * not show.
 */
#include "lib/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/inet_host/inet_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_EVENTS (POLLOUT | POLLWRNORM | POLLWRBAND)
#define ALL_EVENTS (POLLIN | POLLRDNORM | POLLRDBAND | POLLPRI | POLLRDHUP | POLLERR | POLLHUP | OUT_EVENTS)

static const struct socket_ops host_ops;

/* On the event loop's thread. */
static bool relay(struct waitq_entry *entry, uint32_t events)
{
    struct host_sock *h = container_of(entry, struct host_sock, relay);

    if (events & OUT_EVENTS && !atomic_exchange(&h->wants_out, false))
        events &= ~(uint32_t)OUT_EVENTS;
    if (events & POLLIN)
        events |= POLLRDNORM;
    if (events)
        waitq_wake(&h->s.wq, events);
    return true;
}

/* Takes over `fd`. */
static int make(struct net *net, int family, int type, int protocol, int fd, struct socket **out)
{
    struct host_sock *h = calloc(1, sizeof(*h));

    if (!h) {
        close(fd);
        return -ENOMEM;
    }
    socket_init(&h->s, &host_ops, net, family, type, protocol);
    h->fd = fd;
    waitq_init(&h->ready);
    h->relay = (struct waitq_entry){.mask = ALL_EVENTS, .wake = relay};
    waitq_add(&h->ready, &h->relay);
    host_watch_init(&h->watch, net->k->loop, fd, &h->ready);
    *out = &h->s;
    return 0;
}

int net_host_donated(struct net *net, int fd, struct file **out)
{
    int family, type, protocol, flags = fcntl(fd, F_GETFL), r;
    socklen_t len = sizeof(int);
    struct socket *s;

    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
        return -EAFNOSUPPORT;
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return -EAFNOSUPPORT;
    /* For all who share it: there is no opening a socket anew. */
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -EAFNOSUPPORT;
    r = make(net, family, type, protocol, fd, &s);
    return r < 0 ? r : socket_make_file(NULL, s, flags & O_NONBLOCK, out);
}

bool net_host_serves(int family, int protocol)
{
    return family == AF_INET || family == AF_INET6 || family == AF_PACKET ||
           (family == AF_NETLINK && protocol != NETLINK_KOBJECT_UEVENT);
}

int net_host_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out)
{
    bool inet = family == AF_INET || family == AF_INET6;
    int fd;

    if (inet && (protocol < 0 || protocol >= IPPROTO_MAX))
        return protocol == IPPROTO_MPTCP ? -EPROTONOSUPPORT : -EINVAL;
    if (inet && type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_RAW)
        return -ESOCKTNOSUPPORT;
    if (type == SOCK_RAW && inet && !cred_has_cap(t->cred, CAP_NET_RAW))
        return -EPERM;
    fd = net_host_socket(net->host, family, type, protocol);
    if (fd == -EINVAL) { /* a kind that the broker does not make */
        net_host_refuse(net->host, REFUSED_SOCKET, family, type, protocol);
        return family == AF_PACKET || (inet && type == SOCK_RAW) ? -EPERM : -EPROTONOSUPPORT;
    }
    return fd < 0 ? fd : make(net, family, type, protocol, fd, out);
}

static int host_bind(struct socket *s, struct task *t, const struct sock_addr *a)
{
    struct host_sock *h = host_of(s);
    int r = bind(h->fd, &a->sa, a->len) < 0 ? -errno : 0;

    /* The sentry has no power over the namespace, the guest may. */
    if (r == -EACCES && s->net->host && s->family != AF_NETLINK && cred_has_cap(t->cred, CAP_NET_BIND_SERVICE))
        r = net_host_bind(s->net->host, h->fd, a);
    return r;
}

/* The host's kernel remembers what a connection that is under way was to be: to ask again is to ask how it goes. */
static int host_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct host_sock *h = host_of(s);
    int r;

    do
        r = connect(h->fd, &a->sa, a->len) < 0 ? -errno : 0;
    while (r == -EINTR);
    if (r != -EINPROGRESS && r != -EALREADY)
        return r;
    atomic_store(&h->wants_out, true);
    if (nonblock)
        return r;
    host_watch_begin(&h->watch);
    return -EAGAIN;
}

static int host_listen(struct socket *s, struct task *t, int backlog)
{
    return listen(host_of(s)->fd, backlog) < 0 ? -errno : 0;
}

static int host_accept(struct socket *s, struct task *t, struct socket **out)
{
    struct host_sock *h = host_of(s);
    struct sock_addr peer;
    socklen_t len;
    int fd, r;

    do {
        len = sizeof(peer.ss);
        fd = accept4(h->fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        r = -errno;
        if (r == -EAGAIN)
            host_watch_begin(&h->watch);
        return r;
    }
    r = make(s->net, s->family, s->type, s->protocol, fd, out);
    if (r < 0)
        return r;
    host_of(*out)->peer = peer;
    host_of(*out)->peer.len = len;
    return 0;
}

static int host_getname(struct socket *s, bool peer, struct sock_addr *out)
{
    struct host_sock *h = host_of(s);
    socklen_t len = sizeof(out->ss);
    int r = (peer ? getpeername(h->fd, &out->sa, &len) : getsockname(h->fd, &out->sa, &len)) < 0 ? -errno : 0;

    out->len = len < sizeof(out->ss) ? len : sizeof(out->ss);
    if (r == -ENOTCONN && h->peer.len) {
        *out = h->peer;
        r = 0;
    }
    if (peer)
        h->peer.len = 0;
    return r;
}

static int host_shutdown(struct socket *s, int how)
{
    int r = shutdown(host_of(s)->fd, how) < 0 ? -errno : 0;

    waitq_wake(&s->wq, ALL_EVENTS);
    return r;
}

static uint32_t host_poll(struct socket *s)
{
    struct host_sock *h = host_of(s);
    uint32_t events;

    host_watch_begin(&h->watch);
    events = host_ready(h->fd, ALL_EVENTS);
    if (!(events & POLLOUT) && !atomic_exchange(&h->wants_out, true))
        events |= host_ready(h->fd, OUT_EVENTS); /* said first and looked at again, against room that has just come */
    return atomic_load(&s->err) ? events | POLLERR : events;
}

/* Readers are woken as by the end of the connection; the descriptor stays until nobody uses it any more. */
static void host_release(struct socket *s)
{
}

static void host_destroy(struct socket *s)
{
    struct host_sock *h = host_of(s);

    host_watch_fini(&h->watch);
    waitq_remove(&h->relay);
    close(h->fd);
    waitq_fini(&h->ready);
    socket_fini(s);
    free(h);
}

static const struct socket_ops host_ops = {
    .own_options = true,
    .bind = host_bind,
    .connect = host_connect,
    .listen = host_listen,
    .accept = host_accept,
    .getname = host_getname,
    .sendmsg = host_sock_sendmsg,
    .recvmsg = host_sock_recvmsg,
    .shutdown = host_shutdown,
    .poll = host_poll,
    .setsockopt = host_sock_setsockopt,
    .getsockopt = host_sock_getsockopt,
    .ioctl = host_sock_ioctl,
    .release = host_release,
    .destroy = host_destroy,
};
