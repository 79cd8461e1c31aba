/* The sentry's side of the broker, and what came with its greeting. */
#include "lib/log.h"
#include "sentry/fs/pseudofs.h"
#include "sentry/socket/inet_host/inet_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELLO_FDS (NET_BROKER_NR_FILES + 1)

/* One message and up to `max` descriptors: how many came, or -errno; -ENETDOWN when the broker has gone. */
static int receive(int sock, void *data, size_t len, int *fds, size_t max)
{
    union {
        char buf[CMSG_SPACE(sizeof(int) * HELLO_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {data, len};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = CMSG_SPACE(sizeof(int) * max)};
    struct cmsghdr *h;
    ssize_t n;
    size_t got;

    do
        n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)len)
        return -ENETDOWN;
    h = CMSG_FIRSTHDR(&mh);
    if (!h || h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
        return 0;
    got = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(h), got * sizeof(int));
    return (int)got;
}

static int send_request(int sock, const struct net_broker_request *q, int fd)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {(void *)q, sizeof(*q)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *h;

        mh.msg_control = control.buf;
        mh.msg_controllen = sizeof(control.buf);
        h = CMSG_FIRSTHDR(&mh);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof(fd));
    }
    do
        n = sendmsg(sock, &mh, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -ENETDOWN : 0;
}

/* Sends a request with `with` (-1: nothing) and waits for its answer, which may bring a descriptor in *made. */
static int call(struct net_host *h, const struct net_broker_request *q, int with, int *made)
{
    struct net_broker_reply reply = {0};
    int r;

    *made = -1;
    mutex_lock(&h->lock);
    r = send_request(h->broker, q, with);
    if (r == 0)
        r = receive(h->broker, &reply, sizeof(reply), made, 1);
    mutex_unlock(&h->lock);
    return r < 0 ? r : reply.result;
}

int net_host_socket(struct net_host *h, int family, int type, int protocol)
{
    struct net_broker_request q = {.what = NET_BROKER_SOCKET, .family = family, .type = type, .protocol = protocol};
    int fd, r = call(h, &q, -1, &fd);

    return r < 0 ? r : fd >= 0 ? fd : -ENETDOWN;
}

int net_host_bind(struct net_host *h, int fd, const struct sock_addr *a)
{
    struct net_broker_request q = {.what = NET_BROKER_BIND, .addr_len = a->len};
    int none, r;

    memcpy(q.addr, a->raw, a->len);
    r = call(h, &q, fd, &none);
    return r;
}

void net_host_refuse(struct net_host *h, enum net_host_refusal what, int a, int b, int c)
{
    static const char *const names[] = {[REFUSED_SOCKET] = "socket",
                                        [REFUSED_OPTION] = "socket option",
                                        [REFUSED_IOCTL] = "ioctl of a socket",
                                        [REFUSED_FLAG] = "message flags"};
    unsigned long long bit = 1ULL << what;

    if (!h) /* of a donated socket */
        return;

    if (!(atomic_fetch_or(&h->refused, bit) & bit))
        log_warn("--network=host: %s (%d, %#x, %d) refused, and further ones without a word", names[what], a, (unsigned int)b,
                 c);
}

static int greet(struct net_host *h, struct net *net, int broker)
{
    struct net_broker_hello hello;
    int fds[HELLO_FDS], n = receive(broker, &hello, sizeof(hello), fds, HELLO_FDS), at = 1;

    if (n < 1 || hello.size != sizeof(hello))
        return -ENETDOWN;
    h->ctl = fds[0];
    for (int i = 0; i < NET_BROKER_NR_FILES; i++)
        h->file[i] = hello.files >> i & 1 && at < n ? fds[at++] : -1;
    atomic_store(&net->port_min, hello.port_min);
    atomic_store(&net->port_max, hello.port_max);
    atomic_store(&net->unprivileged_port, hello.unprivileged_port);
    atomic_store(&net->somaxconn, hello.somaxconn);
    return 0;
}

int net_host_start(struct net *net, int broker)
{
    struct net_host *h = calloc(1, sizeof(*h));
    int r = h ? greet(h, net, broker) : -ENOMEM;

    if (r < 0) {
        close(broker);
        free(h);
        return r;
    }
    mutex_init(&h->lock);
    mutex_init(&h->file_lock);
    mutex_lock(&h->lock);
    h->broker = broker;
    mutex_unlock(&h->lock);
    net->host = h;
    return 0;
}

/* As much of a table as a reader may make us keep. */
#define MAX_TABLE (16 << 20)

bool net_host_show(struct net *net, const char *name, struct seq *s)
{
    struct net_host *h = net->host;
    char buf[16384];
    loff_t at = 0;
    ssize_t n;
    int fd = -1;

    if (!h)
        return false;
    for (size_t i = 0; i < NET_BROKER_NR_FILES; i++)
        if (strcmp(net_broker_files[i], name) == 0)
            fd = h->file[i];
    if (fd < 0)
        return false;
    mutex_lock(&h->file_lock);
    while (at < MAX_TABLE && (n = pread(fd, buf, sizeof(buf), at)) > 0) {
        seq_write(s, buf, (size_t)n);
        at += n;
    }
    mutex_unlock(&h->file_lock);
    return true;
}
