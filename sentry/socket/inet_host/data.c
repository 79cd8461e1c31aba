/*
 * Sending to and receiving from sockets of the host's. Streams move bytes in place, between the host's kernel and the guest's
 * pages; datagrams by way of a buffer, since they must go in one piece. Ancillary data to the host is built anew from what was
 * understood of the guest's; what the host gives is copied.
 */
#include "sentry/socket/inet_host/inet_host.h"
#include "sentry/socket/scm.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

/* Flags that mean the same to the host. Whether to wait is ours to know, and so is SIGPIPE. */
#define SEND_FLAGS (MSG_OOB | MSG_DONTROUTE | MSG_MORE | MSG_CONFIRM | MSG_EOR)
#define RECV_FLAGS (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE)

#define INLINE_DATAGRAM 2048
#define MAX_DATAGRAM    (1 << 18) /* more than any has: netlink's are the longest */
#define CONTROL_SPACE   1024
#define MAX_STEP        (4 << 20) /* of a stream, in one call */

/* --- ancillary data --- */

struct control {
    size_t len;
    union {
        char buf[CONTROL_SPACE];
        struct cmsghdr align;
    };
};

/* There is room for all that scm_parse() understands. */
static void put(struct control *c, int level, int type, const void *data, size_t n)
{
    struct cmsghdr h = {.cmsg_len = CMSG_LEN(n), .cmsg_level = level, .cmsg_type = type};

    memcpy(c->buf + c->len, &h, sizeof(h));
    memcpy(c->buf + c->len + CMSG_LEN(0), data, n);
    c->len += CMSG_SPACE(n);
}

static void build_control(struct control *c, const struct socket *s, const struct scm *scm)
{
    bool v4 = s->family == AF_INET;

    memset(c, 0, sizeof(*c));
    if (!scm)
        return;
    if (v4 && (scm->has_src || scm->oif)) {
        struct in_pktinfo info = {.ipi_ifindex = scm->oif};

        if (scm->has_src)
            memcpy(&info.ipi_spec_dst, &scm->src.s6_addr[12], sizeof(info.ipi_spec_dst));
        put(c, SOL_IP, IP_PKTINFO, &info, sizeof(info));
    } else if (s->family == AF_INET6 && (scm->has_src || scm->oif)) {
        struct in6_pktinfo info = {.ipi6_ifindex = (unsigned int)scm->oif};

        if (scm->has_src)
            info.ipi6_addr = scm->src;
        put(c, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    if (scm->has_ttl)
        put(c, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TTL : IPV6_HOPLIMIT, &scm->ttl, sizeof(scm->ttl));
    if (scm->has_tos)
        put(c, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &scm->tos, sizeof(scm->tos));
    if (scm->timestamping)
        put(c, SOL_SOCKET, SO_TIMESTAMPING, &scm->timestamping, sizeof(scm->timestamping));
    if (scm->has_mark)
        put(c, SOL_SOCKET, SO_MARK, &scm->mark, sizeof(scm->mark));
    if (scm->gso_size)
        put(c, SOL_UDP, UDP_SEGMENT, &scm->gso_size, sizeof(scm->gso_size));
}

/* What the host has put into `mh`, to the guest. */
static void give_control(struct cmsg_writer *w, struct msghdr *mh)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(mh); h; h = CMSG_NXTHDR(mh, h)) {
        if (h->cmsg_len < CMSG_LEN(0) || (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS))
            continue; /* descriptors do not come by these families */
        cmsg_put(w, h->cmsg_level, h->cmsg_type, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0));
    }
    if (mh->msg_flags & MSG_CTRUNC)
        w->out_flags |= MSG_CTRUNC;
}

/* --- one message or piece --- */

struct transfer {
    int fd, flags;
    struct msghdr mh;
};

static ssize_t do_send(void *arg, const struct iovec *iov, int nr)
{
    struct transfer *t = arg;
    ssize_t n;

    t->mh.msg_iov = (struct iovec *)iov;
    t->mh.msg_iovlen = (size_t)nr;
    do
        n = sendmsg(t->fd, &t->mh, t->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t do_recv(void *arg, const struct iovec *iov, int nr)
{
    struct transfer *t = arg;
    ssize_t n;

    t->mh.msg_iov = (struct iovec *)iov;
    t->mh.msg_iovlen = (size_t)nr;
    do
        n = recvmsg(t->fd, &t->mh, t->flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* A buffer for a datagram of `n` bytes: `few` if that is enough. */
static char *datagram_buffer(char few[INLINE_DATAGRAM], size_t n)
{
    return n <= INLINE_DATAGRAM ? few : malloc(n);
}

static ssize_t send_datagram(struct transfer *t, struct uio *uio)
{
    size_t n = uio->resid < MAX_DATAGRAM ? uio->resid : MAX_DATAGRAM;
    char few[INLINE_DATAGRAM], *buf = datagram_buffer(few, n);
    struct iovec iov = {buf, n};
    struct uio saved = *uio;
    ssize_t r;

    if (!buf)
        return -ENOBUFS;
    r = n && uio_copy_from(uio, buf, n) != (ssize_t)n ? -EFAULT : do_send(t, &iov, 1);
    if (r < 0)
        *uio = saved;
    if (buf != few)
        free(buf);
    return r;
}

static ssize_t receive_datagram(struct transfer *t, struct uio *uio)
{
    size_t n = uio->resid < MAX_DATAGRAM ? uio->resid : MAX_DATAGRAM;
    char few[INLINE_DATAGRAM], *buf = datagram_buffer(few, n);
    struct iovec iov = {buf, n};
    ssize_t r;

    if (!buf)
        return -ENOBUFS;
    r = do_recv(t, &iov, 1);
    if (r > 0) {
        size_t got = (size_t)r < n ? (size_t)r : n;

        if (got && uio_copy_to(uio, buf, got) != (ssize_t)got)
            r = -EFAULT;
    }
    if (buf != few)
        free(buf);
    return r;
}

ssize_t host_sock_sendmsg(struct socket *s, struct task *task, struct sk_msg *m)
{
    struct host_sock *h = host_of(s);
    struct transfer t = {.fd = h->fd, .flags = (int)m->flags & SEND_FLAGS};
    struct control control;
    ssize_t r;

    if ((r = sock_take_error(s)) < 0)
        return r;
    if (m->flags & MSG_FASTOPEN) {
        net_host_refuse(s->net->host, REFUSED_FLAG, s->type, (int)m->flags, 0);
        return -EOPNOTSUPP;
    }
    if (m->name) {
        t.mh.msg_name = m->name->raw;
        t.mh.msg_namelen = m->name->len;
    }
    if (m->scm && m->scm->fds) /* the guest's are no descriptors of the host's */
        return -EINVAL;
    build_control(&control, s, m->scm);
    if (control.len) {
        t.mh.msg_control = control.buf;
        t.mh.msg_controllen = control.len;
    }
    for (int tries = 0;; tries++) {
        if (s->type == SOCK_STREAM)
            r = uio_with_iovec(m->uio, false, m->uio->resid < MAX_STEP ? m->uio->resid : MAX_STEP, do_send, &t);
        else
            r = send_datagram(&t, m->uio);
        if (r != -EAGAIN || tries)
            return r;
        /* Once more, for room may have come before we said that we wait for it. */
        host_watch_begin(&h->watch);
        atomic_store(&h->wants_out, true);
    }
}

ssize_t host_sock_recvmsg(struct socket *s, struct task *task, struct sk_msg *m)
{
    struct host_sock *h = host_of(s);
    struct transfer t = {.fd = h->fd, .flags = (int)m->flags & RECV_FLAGS};
    struct control control;
    ssize_t r = m->flags & MSG_ERRQUEUE ? 0 : sock_take_error(s); /* that came behind what was read */

    if (r < 0)
        return r;
    if (m->name) {
        t.mh.msg_name = m->name->raw;
        t.mh.msg_namelen = sizeof(m->name->ss);
    }
    /* Descriptors that a peer on the host sends are not taken: the kernel drops them, and says so. */
    if (m->cmsg && s->family != AF_UNIX) {
        t.mh.msg_control = control.buf;
        t.mh.msg_controllen = sizeof(control.buf);
    }
    if (s->type == SOCK_STREAM)
        r = uio_with_iovec(m->uio, true, m->uio->resid < MAX_STEP ? m->uio->resid : MAX_STEP, do_recv, &t);
    else
        r = receive_datagram(&t, m->uio);
    if (r < 0) {
        if (r == -EAGAIN)
            host_watch_begin(&h->watch);
        return r;
    }
    if (m->name)
        m->name->len = t.mh.msg_namelen < sizeof(m->name->ss) ? t.mh.msg_namelen : sizeof(m->name->ss);
    if (m->cmsg)
        give_control(m->cmsg, &t.mh);
    m->out_flags |= (unsigned int)t.mh.msg_flags & (MSG_TRUNC | MSG_OOB | MSG_ERRQUEUE | MSG_EOR);
    m->stop = t.mh.msg_flags & MSG_OOB;
    return r;
}
