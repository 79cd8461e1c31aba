/*
 * Docker's DNS server of user-defined networks. The container's resolv.conf says 127.0.0.11, where dockerd listens in the
 * container's network namespace, behind its iptables rules. Queries that a program sends there, and that nobody in the sandbox
 * receives, go out by a socket of that namespace which the launcher has made, and answers come back as from 127.0.0.11. Only
 * UDP: a truncated answer is as much as a program gets.
 *
 * Many programs share that socket, so each query gets an identifier of our own while it is under way. The oldest is forgotten
 * when too many are.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "sentry/boot/net_config.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DNS_PORT    53
#define DNS_PENDING 256 /* a power of two */
#define DNS_MAX     4096

struct pending {
    bool used;
    uint16_t theirs, ours;
    struct inet_end from;
};

struct net_dns {
    struct rx_source source;
    struct net *net;
    int fd;
    struct mutex lock;
    uint16_t next GUARDED_BY(lock);
    struct pending pending[DNS_PENDING] GUARDED_BY(lock); /* by the lower bits of `ours` */
};

static struct in6_addr server_addr(void)
{
    return addr_from_v4(htonl(0x7f00000b));
}

bool net_dns_is_server(struct net *net, const struct inet_end *dst)
{
    struct in6_addr a = server_addr();

    return net->dns && dst->port == DNS_PORT && addr_equal(&dst->addr, &a);
}

void net_dns_query(struct net *net, const struct inet_end *from, const void *data, size_t len)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT), .sin_addr = {htonl(0x7f00000b)}};
    struct net_dns *d = net->dns;
    char buf[DNS_MAX];
    struct iovec iov = {buf, len};
    struct msghdr mh = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1};
    struct pending *p;

    if (len < 12 || len > sizeof(buf))
        return; /* no DNS message */
    memcpy(buf, data, len);
    mutex_lock(&d->lock);
    /* Not to be guessed by who can only send, as in any resolver. */
    d->next = (uint16_t)((netstack_random32(net->stack) & ~(DNS_PENDING - 1U)) | ((d->next + 1U) & (DNS_PENDING - 1U)));
    p = &d->pending[d->next & (DNS_PENDING - 1)];
    *p = (struct pending){.used = true, .ours = d->next, .from = *from};
    memcpy(&p->theirs, buf, sizeof(p->theirs));
    memcpy(buf, &p->ours, sizeof(p->ours));
    mutex_unlock(&d->lock);
    /* Lost, if it cannot be sent: whoever asks asks again. */
    while (sendmsg(d->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* Who asked, and the identifier that it knows. False: nobody did. */
static bool claim(struct net_dns *d, char *buf, struct inet_end *to)
{
    struct pending *p;
    uint16_t id;
    bool found;

    memcpy(&id, buf, sizeof(id));
    mutex_lock(&d->lock);
    p = &d->pending[id & (DNS_PENDING - 1)];
    found = p->used && p->ours == id;
    if (found) {
        *to = p->from;
        memcpy(buf, &p->theirs, sizeof(p->theirs));
        p->used = false;
    }
    mutex_unlock(&d->lock);
    return found;
}

static void on_readable(struct rx_source *source)
{
    struct net_dns *d = container_of(source, struct net_dns, source);
    struct inet_end server = {.addr = server_addr(), .port = DNS_PORT}, to;
    char buf[DNS_MAX];
    struct iovec iov = {buf, sizeof(buf)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    while ((n = recvmsg(d->fd, &mh, MSG_DONTWAIT)) >= 0) {
        if (n >= 12 && claim(d, buf, &to))
            lo_udp_deliver_from(d->net, &server, &to, buf, (size_t)n);
    }
}

int net_dns_start(struct net *net, int fd)
{
    struct net_dns *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->net = net;
    d->fd = fd;
    d->source.readable = on_readable;
    mutex_init(&d->lock);
    r = net_rx_watch(net, &d->source, fd);
    if (r < 0) {
        free(d);
        return r;
    }
    net->dns = d;
    return 0;
}
