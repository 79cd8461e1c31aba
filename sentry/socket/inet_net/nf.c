#include "sentry/socket/inet_net/nf.h"

#include "netstack/netfilter.h"
#include "sentry/fs/pseudofs.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <errno.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdlib.h>

/* The largest table that can be set; nf_ipt.c has its own limits. */
#define VALUE_MAX (5 << 20)
/* Answers are handed out in pieces that fit the buffers of libmnl's users. */
#define CHUNK 8192

#define K_SO_ORIGINAL_DST 80

bool net_is_nf_option(const struct socket *s, int level, int name)
{
    if ((s->family != AF_INET && s->family != AF_INET6) || s->net->host)
        return false;
    if (s->type == SOCK_STREAM)
        return (level == SOL_IP || level == SOL_IPV6) && name == K_SO_ORIGINAL_DST;
    return s->type == SOCK_RAW && level == (s->family == AF_INET ? SOL_IP : SOL_IPV6) && name >= IPT_BASE_CTL &&
           name <= IP6T_SO_GET_REVISION_TARGET;
}

/* The counters of the table that was replaced go where the request says. */
static int give_counters(struct task *t, const void *val, struct xt_counters *old, size_t n)
{
    const struct ipt_replace *r = val; /* struct ip6t_replace begins alike */
    uintptr_t at;

    memcpy(&at, &r->counters, sizeof(at));
    return n && copy_out(t, (guest_addr){at}, old, n * sizeof(*old)) ? -EFAULT : 0;
}

int net_nf_setsockopt(struct socket *s, struct task *t, int level, int name, guest_addr val, int len)
{
    struct xt_counters *old;
    size_t nr_old;
    char *buf;
    int r;

    if (!cred_has_cap(t->cred, CAP_NET_ADMIN))
        return -EPERM;
    if (len > VALUE_MAX)
        return -ENOMEM;
    buf = malloc((size_t)len + 1);
    if (!buf)
        return -ENOMEM;
    r = copy_in(t, buf, val, (size_t)len) ? -EFAULT : 0;
    if (!r) {
        netstack_lock(s->net->stack);
        r = nf_ipt_set(s->net->stack, s->family, name, buf, (size_t)len, &old, &nr_old);
        netstack_unlock(s->net->stack);
        /* The table is in force, whatever becomes of the counters, as in Linux. */
        if (!r && old)
            r = give_counters(t, buf, old, nr_old);
        free(old);
    }
    free(buf);
    return r;
}

static int original_dst(struct socket *s, struct task *t, guest_addr val, guest_addr at_len, int len)
{
    struct inet_sock *i = inet_of(s);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sock_addr local, peer;
    struct in6_addr from, to, dst;
    be16 fport, tport, dport;
    socklen_t n = s->family == AF_INET ? sizeof(in) : sizeof(in6);
    bool found;

    if (len < (int)n)
        return -EINVAL;
    if (s->ops->getname(s, false, &local) || s->ops->getname(s, true, &peer))
        return -ENOTCONN;
    to = local.sa.sa_family == AF_INET ? addr_from_v4(local.in.sin_addr.s_addr) : local.in6.sin6_addr;
    from = peer.sa.sa_family == AF_INET ? addr_from_v4(peer.in.sin_addr.s_addr) : peer.in6.sin6_addr;
    tport = local.sa.sa_family == AF_INET ? local.in.sin_port : local.in6.sin6_port;
    fport = peer.sa.sa_family == AF_INET ? peer.in.sin_port : peer.in6.sin6_port;
    netstack_lock(inet_stack_of(i));
    found = nf_original_dst(inet_stack_of(i), IPPROTO_TCP, &to, tport, &from, fport, &dst, &dport);
    netstack_unlock(inet_stack_of(i));
    if (!found)
        return -ENOENT;
    in.sin_port = in6.sin6_port = dport;
    in.sin_addr.s_addr = addr_v4(&dst);
    in6.sin6_addr = dst;
    if (copy_out(t, val, s->family == AF_INET ? (void *)&in : (void *)&in6, n) || copy_out(t, at_len, &n, sizeof(n)))
        return -EFAULT;
    return 0;
}

int net_nf_getsockopt(struct socket *s, struct task *t, int level, int name, guest_addr val, guest_addr at_len)
{
    size_t n;
    char *buf;
    int len, r;

    if (copy_in(t, &len, at_len, sizeof(len)))
        return -EFAULT;
    if (len < 0)
        return -EINVAL;
    if (s->type == SOCK_STREAM)
        return original_dst(s, t, val, at_len, len);
    if (!cred_has_cap(t->cred, CAP_NET_ADMIN))
        return -EPERM;
    if (len > VALUE_MAX)
        return -ENOMEM;
    n = (size_t)len;
    buf = malloc(n + 1);
    if (!buf)
        return -ENOMEM;
    r = copy_in(t, buf, val, n) ? -EFAULT : 0;
    if (!r) {
        netstack_lock(s->net->stack);
        r = nf_ipt_get(s->net->stack, s->family, name, buf, &n);
        netstack_unlock(s->net->stack);
    }
    len = (int)n;
    if (!r && (copy_out(t, val, buf, n) || copy_out(t, at_len, &len, sizeof(len))))
        r = -EFAULT;
    free(buf);
    return r;
}

/* Answers as they come, under the stack's lock; they are queued when it has been dropped. */
struct gather {
    char *buf;
    size_t len, room;
    bool failed;
};

static void gather(void *arg, const void *msg, size_t len)
{
    struct gather *g = arg;
    size_t n = NLMSG_ALIGN(len);

    if (g->len + n > g->room && !g->failed) {
        size_t room = (g->len + n) * 2;
        char *buf = realloc(g->buf, room);

        if (buf) {
            g->buf = buf;
            g->room = room;
        } else {
            g->failed = true;
        }
    }
    if (g->failed)
        return;
    memset(g->buf + g->len, 0, n);
    memcpy(g->buf + g->len, msg, len);
    g->len += n;
}

static size_t message_len(const char *at)
{
    struct nlmsghdr h;

    memcpy(&h, at, sizeof(h));
    return NLMSG_ALIGN(h.nlmsg_len);
}

void net_nf_receive(struct netlink_sock *n, struct task *t, const void *data, size_t len)
{
    struct gather g = {0};
    size_t start = 0;

    if (!cred_has_cap(t->cred, CAP_NET_ADMIN)) {
        struct {
            struct nlmsghdr h;
            struct nlmsgerr e;
        } m = {.h = {sizeof(m), NLMSG_ERROR, 0, 0, n->port}, .e.error = -EPERM};

        if (len < sizeof(m.e.msg))
            return;
        memcpy(&m.e.msg, data, sizeof(m.e.msg));
        m.h.nlmsg_seq = m.e.msg.nlmsg_seq;
        if (netlink_queue(n, &m, sizeof(m)))
            sock_set_error(&n->s, ENOBUFS);
        return;
    }
    netstack_lock(n->s.net->stack);
    nf_tables_receive(n->s.net->stack, data, len, n->port, gather, &g);
    netstack_unlock(n->s.net->stack);
    for (size_t at = 0; at < g.len; at += message_len(g.buf + at)) {
        if (at > start && at + message_len(g.buf + at) - start > CHUNK) {
            g.failed |= netlink_queue(n, g.buf + start, at - start) < 0;
            start = at;
        }
    }
    if (g.len > start)
        g.failed |= netlink_queue(n, g.buf + start, g.len - start) < 0;
    if (g.failed)
        sock_set_error(&n->s, ENOBUFS);
    free(g.buf);
}

void net_show_tables(struct net *net, struct seq *s, bool v6)
{
    const char *name;

    netstack_lock(net->stack);
    for (unsigned int i = 0; (name = nf_ipt_table_name(net->stack, v6 ? AF_INET6 : AF_INET, i)); i++)
        seq_printf(s, "%s\n", name);
    netstack_unlock(net->stack);
}

static int show_connection(const char *line, void *arg)
{
    seq_puts(arg, line);
    return 0;
}

void net_show_conntrack(struct net *net, struct seq *s)
{
    netstack_lock(net->stack);
    (void)nf_conntrack_for_each(net->stack, show_connection, s);
    netstack_unlock(net->stack);
}
