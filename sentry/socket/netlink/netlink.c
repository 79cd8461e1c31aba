/* Netlink sockets: addresses, requests in, replies out. */
#include "sentry/socket/netlink/netlink.h"

#include "sentry/fs/pseudofs.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/inet_net/nf.h"
#include "sentry/socket/scm.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REQUEST 32768
/* Batches of netfilter's rules come whole. */
#define MAX_BATCH (4 << 20)

static struct netlink_sock *netlink_of(struct socket *s)
{
    return container_of(s, struct netlink_sock, s);
}

static bool port_taken(struct net *net, int protocol, uint32_t port) REQUIRES(&net->netlink_lock)
{
    struct netlink_sock *n;

    list_for_each_entry(n, &net->netlink_all, all_node) {
        if (n->port == port && n->s.protocol == protocol)
            return true;
    }
    return false;
}

/* The process's id is its first socket's port; more get numbers that no process has. */
static int bind_port(struct netlink_sock *n, struct task *t, uint32_t port)
{
    struct net *net = n->s.net;
    int r = 0;

    mutex_lock(&net->netlink_lock);
    if (n->port) {
        r = port && port != n->port ? -EINVAL : 0;
    } else if (port) {
        r = port_taken(net, n->s.protocol, port) ? -EADDRINUSE : 0;
    } else {
        port = (uint32_t)t->tg->tgid;
        while (port_taken(net, n->s.protocol, port))
            port = --net->netlink_port;
    }
    if (!r && !n->port)
        n->port = port;
    mutex_unlock(&net->netlink_lock);
    return r;
}

static int check_addr(const struct sock_addr *a)
{
    return a->len < sizeof(a->nl) || a->nl.nl_family != AF_NETLINK ? -EINVAL : 0;
}

static int netlink_bind(struct socket *s, struct task *t, const struct sock_addr *a)
{
    struct netlink_sock *n = netlink_of(s);
    int r = check_addr(a);

    if (!r)
        r = bind_port(n, t, a->nl.nl_pid);
    if (!r)
        n->groups = a->nl.nl_groups;
    if (!r && n->groups)
        atomic_fetch_add(&s->net->netlink_members, 1);
    return r;
}

static int netlink_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    struct netlink_sock *n = netlink_of(s);
    int r;

    if (a->len >= sizeof(sa_family_t) && a->sa.sa_family == AF_UNSPEC) {
        n->connected = false;
        return 0;
    }
    r = check_addr(a);
    if (!r && (a->nl.nl_groups || a->nl.nl_pid) && !cred_has_cap(t->cred, CAP_NET_ADMIN))
        r = -EPERM;
    if (!r)
        r = bind_port(n, t, 0);
    if (!r) {
        n->peer = a->nl;
        n->connected = true;
    }
    return r;
}

static int netlink_getname(struct socket *s, bool peer, struct sock_addr *out)
{
    struct netlink_sock *n = netlink_of(s);

    memset(out->raw, 0, sizeof(out->raw));
    out->len = sizeof(out->nl);
    out->nl.nl_family = AF_NETLINK;
    if (peer) {
        if (n->connected)
            out->nl = n->peer;
    } else {
        out->nl.nl_pid = n->port;
        out->nl.nl_groups = n->groups;
    }
    return 0;
}

static void *reserve(struct nl_reply *r, size_t n)
{
    size_t need = r->len + NLMSG_ALIGN(n);
    void *at;

    if (need > r->cap && !r->failed) {
        char *buf = realloc(r->buf, need * 2);

        if (buf) {
            r->buf = buf;
            r->cap = need * 2;
        } else {
            r->failed = true;
        }
    }
    if (r->failed)
        return NULL;
    at = r->buf + r->len;
    memset(at, 0, NLMSG_ALIGN(n));
    r->len = need;
    return at;
}

void nl_begin(struct nl_reply *r, uint16_t type, uint16_t flags, const void *body, size_t n)
{
    struct nlmsghdr *h;

    r->msg = r->len;
    h = reserve(r, NLMSG_HDRLEN + n);
    if (!h)
        return;
    *h = (struct nlmsghdr){.nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = r->seq, .nlmsg_pid = r->port};
    memcpy((char *)h + NLMSG_HDRLEN, body, n);
    h->nlmsg_len = (uint32_t)(NLMSG_HDRLEN + n);
}

void nl_attr(struct nl_reply *r, uint16_t type, const void *data, size_t n)
{
    struct nlattr a = {.nla_len = (uint16_t)(NLA_HDRLEN + n), .nla_type = type};
    char *at = reserve(r, NLA_HDRLEN + n);

    if (!at)
        return;
    memcpy(at, &a, sizeof(a));
    if (n)
        memcpy(at + NLA_HDRLEN, data, n);
}

void nl_attr_u32(struct nl_reply *r, uint16_t type, uint32_t v)
{
    nl_attr(r, type, &v, sizeof(v));
}

void nl_attr_str(struct nl_reply *r, uint16_t type, const char *s)
{
    nl_attr(r, type, s, strlen(s) + 1);
}

void nl_end(struct nl_reply *r)
{
    uint32_t n = (uint32_t)(r->len - r->msg);

    if (!r->failed && r->len - r->msg > NLMSG_HDRLEN)
        memcpy(r->buf + r->msg, &n, sizeof(n));
}

/* The acknowledgement, or the error with the request that it is about. */
static void put_error(struct nl_reply *r, const struct nlmsghdr *h, const char *body, size_t n, int err, bool cap)
{
    struct nlmsgerr e = {.error = err, .msg = *h};
    size_t msg = r->len;
    char *rest;

    nl_begin(r, NLMSG_ERROR, cap || !err ? NLM_F_CAPPED : 0, &e, sizeof(e));
    if (err && !cap && n) {
        rest = reserve(r, n);
        if (rest)
            memcpy(rest, body, n);
    }
    r->msg = msg;
    nl_end(r);
}

/* 0: answered; 1: and no acknowledgement is due, for the end of a dump is one; -errno. */
static int answer(struct netlink_sock *n, struct task *t, const struct nlmsghdr *h, const char *body, size_t len,
                  struct nl_reply *r)
{
    int what;

    if (h->nlmsg_type < NLMSG_MIN_TYPE)
        return 0;
    if (n->s.protocol == NETLINK_ROUTE)
        what = rtnetlink_request(t, h, body, len, r);
    else if (n->s.protocol == NETLINK_SOCK_DIAG)
        what = sock_diag_request(t, h, body, len, r);
    else
        return -EOPNOTSUPP;
    if (what == 1) {
        nl_begin(r, NLMSG_DONE, NLM_F_MULTI, &r->done, sizeof(r->done));
        nl_end(r);
    }
    return what;
}

static const struct socket_ops netlink_ops;

int netlink_queue(struct netlink_sock *n, const void *data, size_t len)
{
    struct skb *skb = skb_alloc(NULL, len);

    if (!skb)
        return -ENOBUFS;
    memcpy(skb->data, data, len);
    skb->len = (uint32_t)len;
    mutex_lock(&n->s.lock);
    skb_queue_tail(&n->s.rq, skb);
    mutex_unlock(&n->s.lock);
    waitq_wake(&n->s.wq, POLLIN | POLLRDNORM);
    return 0;
}

/* As much of a long answer as programs that read by pages have room for: whole messages, in one read. */
#define REPLY_PIECE 3840

static size_t piece_len(const char *buf, size_t len)
{
    size_t n = 0;

    while (len - n >= NLMSG_HDRLEN) {
        struct nlmsghdr h;
        size_t step;

        memcpy(&h, buf + n, sizeof(h));
        step = NLMSG_ALIGN(h.nlmsg_len);
        if (h.nlmsg_len < NLMSG_HDRLEN || step > len - n)
            return len;
        if (n && n + step > REPLY_PIECE)
            return n;
        n += step;
    }
    return n ? n : len;
}

static void queue_reply(struct netlink_sock *n, struct nl_reply *r)
{
    for (size_t at = 0, len; !r->failed && at < r->len; at += len) {
        len = piece_len(r->buf + at, r->len - at);
        if (netlink_queue(n, r->buf + at, len)) {
            sock_set_error(&n->s, ENOBUFS);
            break;
        }
    }
    free(r->buf);
}

int netlink_deliver(struct file *f, const void *data, size_t n)
{
    struct socket *s = file_socket(f);

    if (!s)
        return -ENOTSOCK;
    if (s->family != AF_NETLINK || s->ops != &netlink_ops)
        return -EINVAL;
    return n ? netlink_queue(netlink_of(s), data, n) : 0;
}

/* What may wait to be read; who does not keep up hears of it (ENOBUFS). */
static void queue_message(struct netlink_sock *n, const void *data, size_t len)
{
    struct skb *skb = skb_alloc(NULL, len);
    bool full = true;

    if (skb) {
        memcpy(skb->data, data, len);
        skb->len = (uint32_t)len;
        mutex_lock(&n->s.lock);
        full = atomic_load(&n->s.rq.bytes) + len > (size_t)n->s.rcvbuf;
        if (!full)
            skb_queue_tail(&n->s.rq, skb);
        mutex_unlock(&n->s.lock);
    }
    if (full) {
        skb_free(skb);
        if (!(n->flags & 1u << NETLINK_NO_ENOBUFS))
            sock_set_error(&n->s, ENOBUFS);
    }
    waitq_wake(&n->s.wq, full ? POLLERR : POLLIN | POLLRDNORM);
}

void netlink_multicast(struct net *net, int protocol, unsigned int group, const void *data, size_t len)
{
    struct netlink_sock *n;

    mutex_lock(&net->netlink_lock);
    list_for_each_entry(n, &net->netlink_all, all_node) {
        if (n->s.protocol == protocol && group <= 32 && n->groups & 1u << (group - 1))
            queue_message(n, data, len);
    }
    mutex_unlock(&net->netlink_lock);
}

/* Serves the requests of one message. */
static void serve(struct netlink_sock *n, struct task *t, const char *buf, size_t len)
{
    while (len >= NLMSG_HDRLEN) {
        struct nl_reply r = {.port = n->port};
        struct nlmsghdr h;
        size_t body, step;
        int err;

        memcpy(&h, buf, sizeof(h));
        if (h.nlmsg_len < NLMSG_HDRLEN || h.nlmsg_len > len)
            return;
        r.seq = h.nlmsg_seq;
        body = h.nlmsg_len - NLMSG_HDRLEN;
        if (h.nlmsg_flags & NLM_F_REQUEST) {
            err = answer(n, t, &h, buf + NLMSG_HDRLEN, body, &r);
            if (err < 0 || (h.nlmsg_flags & NLM_F_ACK && err == 0))
                put_error(&r, &h, buf + NLMSG_HDRLEN, body, err < 0 ? err : 0, n->flags & 1u << NETLINK_CAP_ACK);
            queue_reply(n, &r);
        }
        step = NLMSG_ALIGN(h.nlmsg_len);
        if (step > len)
            return;
        buf += step;
        len -= step;
    }
}

static ssize_t netlink_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct netlink_sock *n = netlink_of(s);
    struct sockaddr_nl to = n->connected ? n->peer : (struct sockaddr_nl){0};
    size_t len = m->uio->resid;
    char *buf;
    int r;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (m->name) {
        r = check_addr(m->name);
        if (r)
            return r;
        to = m->name->nl;
    }
    if ((to.nl_groups || to.nl_pid) && !cred_has_cap(t->cred, CAP_NET_ADMIN))
        return -EPERM;
    if (to.nl_pid)
        return -ECONNREFUSED;
    if (len > (s->protocol == NETLINK_NETFILTER ? MAX_BATCH : MAX_REQUEST))
        return -EMSGSIZE;
    r = bind_port(n, t, 0);
    if (r)
        return r;
    buf = malloc(len + 1);
    if (!buf)
        return -ENOBUFS;
    if (len && uio_copy_from(m->uio, buf, len) != (ssize_t)len) {
        free(buf);
        return -EFAULT;
    }
    if (s->protocol == NETLINK_NETFILTER)
        net_nf_receive(n, t, buf, len);
    else
        serve(n, t, buf, len);
    free(buf);
    return (ssize_t)len;
}

static ssize_t netlink_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct netlink_sock *nl = netlink_of(s);
    bool peek = m->flags & MSG_PEEK;
    struct ucred kernel = {0};
    struct nl_pktinfo info = {0};
    struct skb *skb;
    ssize_t r = -EAGAIN;
    size_t n;

    if (m->flags & MSG_OOB)
        return -EOPNOTSUPP;
    r = sock_take_error(s);
    if (r < 0)
        return r;
    r = -EAGAIN;
    mutex_lock(&s->read_lock);
    mutex_lock(&s->lock);
    skb = skb_peek(&s->rq);
    if (skb && !peek)
        skb_unlink(&s->rq, skb);
    mutex_unlock(&s->lock);
    if (skb) {
        n = skb->len < m->uio->resid ? skb->len : m->uio->resid;
        if (n < skb->len)
            m->out_flags |= MSG_TRUNC;
        r = m->flags & MSG_TRUNC ? (ssize_t)skb->len : (ssize_t)n;
        if (n && uio_copy_to(m->uio, skb->data, n) != (ssize_t)n)
            r = -EFAULT;
        if (m->name) {
            memset(m->name->raw, 0, sizeof(m->name->raw));
            m->name->len = sizeof(m->name->nl);
            m->name->nl.nl_family = AF_NETLINK;
        }
        if (nl->flags & 1u << NETLINK_PKTINFO)
            cmsg_put(m->cmsg, SOL_NETLINK, NETLINK_PKTINFO, &info, sizeof(info));
        if (s->passcred)
            cmsg_put(m->cmsg, SOL_SOCKET, SCM_CREDENTIALS, &kernel, sizeof(kernel));
        if (!peek)
            skb_free(skb);
    }
    mutex_unlock(&s->read_lock);
    return r;
}

static uint32_t netlink_poll(struct socket *s)
{
    uint32_t mask = POLLOUT | POLLWRNORM | POLLWRBAND;

    if (atomic_load(&s->rq.bytes))
        mask |= POLLIN | POLLRDNORM;
    if (atomic_load(&s->err))
        mask |= POLLERR;
    return mask;
}

static bool is_flag_option(int name)
{
    return name == NETLINK_PKTINFO || name == NETLINK_BROADCAST_ERROR || name == NETLINK_NO_ENOBUFS ||
           name == NETLINK_CAP_ACK || name == NETLINK_EXT_ACK || name == NETLINK_GET_STRICT_CHK ||
           name == NETLINK_LISTEN_ALL_NSID;
}

static int netlink_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len)
{
    struct netlink_sock *n = netlink_of(s);
    int v;

    if (level != SOL_NETLINK)
        return -ENOPROTOOPT;
    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    if (name == NETLINK_ADD_MEMBERSHIP || name == NETLINK_DROP_MEMBERSHIP) {
        if (v < 1 || v > 64)
            return -EINVAL;
        if (name == NETLINK_ADD_MEMBERSHIP)
            atomic_fetch_add(&s->net->netlink_members, 1);
        if (v <= 32 && name == NETLINK_ADD_MEMBERSHIP)
            n->groups |= 1u << (v - 1);
        else if (v <= 32)
            n->groups &= ~(1u << (v - 1));
        return 0;
    }
    if (!is_flag_option(name))
        return -ENOPROTOOPT;
    if (v)
        n->flags |= 1u << name;
    else
        n->flags &= ~(1u << name);
    return 0;
}

static int netlink_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct netlink_sock *n = netlink_of(s);

    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return sockopt_put_int(val, len, 0);
    if (level != SOL_NETLINK)
        return -ENOPROTOOPT;
    if (name == NETLINK_LIST_MEMBERSHIPS) {
        uint32_t groups = n->groups;

        if (*len >= sizeof(groups))
            memcpy(val, &groups, sizeof(groups));
        *len = sizeof(groups);
        return 0;
    }
    if (!is_flag_option(name))
        return -ENOPROTOOPT;
    return sockopt_put_int(val, len, n->flags >> name & 1);
}

static void netlink_release(struct socket *s)
{
    struct netlink_sock *n = netlink_of(s);

    mutex_lock(&s->net->netlink_lock);
    list_del_init(&n->all_node);
    mutex_unlock(&s->net->netlink_lock);
}

static void netlink_destroy(struct socket *s)
{
    socket_fini(s);
    free(netlink_of(s));
}

static const struct socket_ops netlink_ops = {
    .bind = netlink_bind,
    .connect = netlink_connect,
    .getname = netlink_getname,
    .sendmsg = netlink_sendmsg,
    .recvmsg = netlink_recvmsg,
    .poll = netlink_poll,
    .setsockopt = netlink_setsockopt,
    .getsockopt = netlink_getsockopt,
    .release = netlink_release,
    .destroy = netlink_destroy,
};

int netlink_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out)
{
    struct netlink_sock *n;

    if (type != SOCK_RAW && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    if (protocol != NETLINK_ROUTE && protocol != NETLINK_KOBJECT_UEVENT && protocol != NETLINK_NETFILTER &&
        protocol != NETLINK_SOCK_DIAG)
        return -EPROTONOSUPPORT;
    n = calloc(1, sizeof(*n));
    if (!n)
        return -ENOMEM;
    socket_init(&n->s, &netlink_ops, net, family, type, protocol);
    mutex_lock(&net->netlink_lock);
    list_add_tail(&n->all_node, &net->netlink_all);
    mutex_unlock(&net->netlink_lock);
    *out = &n->s;
    return 0;
}

void net_show_netlink(struct net *net, struct seq *s)
{
    struct netlink_sock *n;

    seq_puts(s, "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n");
    mutex_lock(&net->netlink_lock);
    list_for_each_entry(n, &net->netlink_all, all_node) {
        seq_printf(s, "%016lx %-3d %-10u %08x %-8d %-8d %-5d %-8u %-8u %-8llu\n", 0ul, n->s.protocol, n->port, n->groups, 0, 0,
                   0, ref_read(&n->s.ref) + 1, 0u, (unsigned long long)n->s.ino);
    }
    mutex_unlock(&net->netlink_lock);
}
