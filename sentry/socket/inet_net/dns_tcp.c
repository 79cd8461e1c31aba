/*
 * DNS over TCP to Docker's server at 127.0.0.11: connections of the sandbox to port 53 there are accepted by a listener of
 * ours, and relayed over sockets of the container's network namespace. There are few of these, made by the launcher, and used
 * again and again: the sentry's filter lets it connect their descriptors and no others (FILTER_CONNECTABLE), and they lead
 * nowhere else. Who finds none free waits in the listener's backlog.
 *
 * All of it runs on the event loop's thread. Whoever wakes a queue of ours posts the work there.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "sentry/host/filter.h"
#include "sentry/host/loop.h"
#include "sentry/host/watch.h"
#include "sentry/kernel/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER     4096
#define BACKLOG    64
#define IN_EVENTS  (POLLIN | POLLRDNORM | POLLRDHUP | POLLERR | POLLHUP)
#define ALL_EVENTS (IN_EVENTS | POLLOUT | POLLWRNORM)

/* Work for the loop that is posted at most once at a time. */
struct task_on_loop {
    struct host_work work;
    struct host_loop *loop;
    atomic_bool posted;
};

static void kick(struct task_on_loop *t)
{
    if (!atomic_exchange(&t->posted, true))
        host_loop_post(t->loop, &t->work);
}

struct direction {
    char buf[BUFFER];
    size_t at, len;
    bool eof, done; /* nothing more comes; the other side has been told */
};

/* A connection of the sandbox's, on one of the sockets. */
struct relay {
    struct task_on_loop task;
    struct net_dns_tcp *d;
    int fd;
    struct socket *s; /* our end of the connection inside; NULL: it is over, and this goes when its work has run */
    struct waitq host_wq;
    struct host_watch watch;
    struct waitq_entry inside, outside;
    struct direction up, down;
};

struct net_dns_tcp {
    struct task_on_loop task;
    struct inet_sock *listener; /* in no table: guests may have port 53 */
    struct waitq_entry wait;
    int fd[FILTER_CONNECTABLE]; /* -1: none */
    bool busy[FILTER_CONNECTABLE];
};

/* --- one connection --- */

static bool on_inside(struct waitq_entry *e, uint32_t events)
{
    kick(&container_of(e, struct relay, inside)->task);
    return true;
}

static bool on_outside(struct waitq_entry *e, uint32_t events)
{
    kick(&container_of(e, struct relay, outside)->task);
    return true;
}

static ssize_t move_inside(struct relay *r, void *buf, size_t n, bool send)
{
    struct iovec iov = {buf, n};
    struct uio uio;
    struct sk_msg m = {.uio = &uio, .flags = MSG_DONTWAIT | MSG_NOSIGNAL};

    uio_init_host(&uio, &iov, 1);
    return send ? r->s->ops->sendmsg(r->s, NULL, &m) : r->s->ops->recvmsg(r->s, NULL, &m);
}

static ssize_t move_outside(struct relay *r, void *buf, size_t n, bool send)
{
    struct iovec iov = {buf, n};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t done;

    do
        done = send ? sendmsg(r->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) : recvmsg(r->fd, &mh, MSG_DONTWAIT);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

typedef ssize_t move_fn(struct relay *r, void *buf, size_t n, bool send);

/* Until either side has to wait (0), or one is broken (-errno). */
static int pump(struct relay *r, struct direction *d, move_fn *from, move_fn *to)
{
    ssize_t n;

    while (!d->done) {
        if (d->len == 0 && !d->eof) {
            n = from(r, d->buf, sizeof(d->buf), false);
            if (n < 0)
                return n == -EAGAIN ? 0 : (int)n;
            d->at = 0;
            d->len = (size_t)n;
            d->eof = n == 0;
        }
        if (d->len == 0) {
            d->done = true;
            return to == move_outside ? (shutdown(r->fd, SHUT_WR) < 0 ? -errno : 0) : r->s->ops->shutdown(r->s, SHUT_WR);
        }
        n = to(r, d->buf + d->at, d->len, true);
        if (n < 0)
            return n == -EAGAIN ? 0 : (int)n;
        d->at += (size_t)n;
        d->len -= (size_t)n;
    }
    return 0;
}

/* Has the one inside closed its descriptor, so that nobody waits for an answer? */
static bool abandoned(struct relay *r)
{
    struct inet_sock *i = inet_of(r->s);
    bool dead;

    mutex_lock(&r->s->lock);
    dead = !i->peer || i->peer->dead;
    mutex_unlock(&r->s->lock);
    return dead;
}

static void finish(struct relay *r, bool broken)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    waitq_remove(&r->inside);
    host_watch_fini(&r->watch);
    waitq_remove(&r->outside);
    waitq_fini(&r->host_wq);
    (void)connect(r->fd, &none, sizeof(none)); /* ready for the next */
    if (broken) {
        r->s->linger = true; /* a reset */
        r->s->linger_secs = 0;
    }
    r->s->ops->release(r->s);
    socket_put(r->s);
    r->s = NULL;
    for (int i = 0; i < FILTER_CONNECTABLE; i++)
        if (r->d->fd[i] == r->fd)
            r->d->busy[i] = false;
    kick(&r->d->task);
}

static void relay_work(struct host_work *w)
{
    struct relay *r = container_of(w, struct relay, task.work);
    int up, down;

    atomic_store(&r->task.posted, false);
    if (r->s) {
        up = pump(r, &r->up, move_inside, move_outside);
        down = pump(r, &r->down, move_outside, move_inside);
        if (up == 0 && down == 0 && !(r->up.done && r->down.done) && !abandoned(r))
            return;
        finish(r, up < 0 || down < 0);
    }
    /* Nobody wakes us any more; somebody may have. */
    if (!atomic_load(&r->task.posted))
        free(r);
}

/* --- accepting --- */

static bool on_client(struct waitq_entry *e, uint32_t events)
{
    kick(&container_of(e, struct net_dns_tcp, wait)->task);
    return true;
}

static int start(struct net_dns_tcp *d, int slot, struct socket *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {htonl(0x7f00000b)}};
    struct relay *r;

    if (connect(d->fd[slot], (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        return -errno;
    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->task.work.fn = relay_work;
    r->task.loop = d->task.loop;
    r->d = d;
    r->fd = d->fd[slot];
    r->s = s;
    d->busy[slot] = true;
    waitq_init(&r->host_wq);
    r->inside = (struct waitq_entry){.mask = ALL_EVENTS, .wake = on_inside};
    r->outside = (struct waitq_entry){.mask = ALL_EVENTS, .wake = on_outside};
    waitq_add(&s->wq, &r->inside);
    waitq_add(&r->host_wq, &r->outside);
    host_watch_init(&r->watch, d->task.loop, r->fd, &r->host_wq);
    host_watch_begin(&r->watch);
    kick(&r->task);
    return 0;
}

static void accept_work(struct host_work *w)
{
    struct net_dns_tcp *d = container_of(w, struct net_dns_tcp, task.work);
    struct socket *s;

    atomic_store(&d->task.posted, false);
    for (int i = 0; i < FILTER_CONNECTABLE; i++) {
        if (d->fd[i] < 0 || d->busy[i])
            continue;
        if (d->listener->s.ops->accept(&d->listener->s, NULL, &s) < 0)
            return;
        if (start(d, i, s) < 0) {
            s->ops->release(s);
            socket_put(s);
        }
    }
}

struct inet_sock *net_dns_listener(struct net *net)
{
    return net->dns_tcp ? inet_of(socket_get(&net->dns_tcp->listener->s)) : NULL;
}

static struct inet_sock *make_listener(struct net *net)
{
    struct inet_sock *i = inet_alloc(net, &lo_tcp_ops, AF_INET, SOCK_STREAM, IPPROTO_TCP);

    if (!i)
        return NULL;
    i->s.reuseaddr = true; /* and so its connections keep nobody from port 53 */
    i->local = (struct inet_end){.addr = addr_from_v4(htonl(0x7f00000b)), .port = 53};
    i->backlog = BACKLOG;
    i->state = TCP_S_LISTEN;
    return i;
}

int net_dns_tcp_start(struct net *net, const int from[], const int to[])
{
    struct net_dns_tcp *d = calloc(1, sizeof(*d));
    int n = 0;

    if (!d)
        return -ENOMEM;
    for (int i = 0; i < FILTER_CONNECTABLE; i++) {
        d->fd[i] = -1;
        if (from[i] < 0)
            continue;
        if (dup3(from[i], to[i], O_CLOEXEC) >= 0) {
            d->fd[i] = to[i];
            n++;
        }
        close(from[i]);
    }
    d->listener = n ? make_listener(net) : NULL;
    if (!d->listener) {
        free(d);
        return n ? -ENOMEM : 0;
    }
    d->task.work.fn = accept_work;
    d->task.loop = net->k->loop;
    d->wait = (struct waitq_entry){.mask = IN_EVENTS, .wake = on_client};
    waitq_add(&d->listener->s.wq, &d->wait);
    net->dns_tcp = d;
    return 0;
}
