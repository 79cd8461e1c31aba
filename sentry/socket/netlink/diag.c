/* NETLINK_SOCK_DIAG, which `ss` asks about sockets: who answers for which family. */
#include "sentry/socket/netlink/diag.h"

#include "sentry/kernel/task.h"

#include <errno.h>
#include <linux/sock_diag.h>

#ifndef SOCK_DESTROY
#define SOCK_DESTROY 21
#endif

void diag_put_meminfo(struct nl_reply *r, uint16_t type, const struct socket *s, uint32_t rmem, uint32_t wmem)
{
    uint32_t info[SK_MEMINFO_VARS] = {[SK_MEMINFO_RMEM_ALLOC] = rmem,  [SK_MEMINFO_RCVBUF] = (uint32_t)s->rcvbuf,
                                      [SK_MEMINFO_WMEM_ALLOC] = wmem,  [SK_MEMINFO_SNDBUF] = (uint32_t)s->sndbuf,
                                      [SK_MEMINFO_WMEM_QUEUED] = wmem, [SK_MEMINFO_DROPS] = atomic_load(&s->drops)};

    nl_attr(r, type, info, sizeof(info));
}

int sock_diag_request(struct task *t, const struct nlmsghdr *h, const char *body, size_t n, struct nl_reply *out)
{
    struct diag_request q = {.net = t->k->net,
                             .body = body,
                             .len = n,
                             .dump = (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP,
                             .admin = cred_has_cap(t->cred, CAP_NET_ADMIN)};
    int family;

    if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY && h->nlmsg_type != SOCK_DESTROY)
        return -EINVAL; /* TCPDIAG_GETSOCK, which nobody has used since Linux 3.3, included */
    if (n < sizeof(struct sock_diag_req))
        return -EINVAL;
    family = (uint8_t)body[0];
    if (family >= AF_MAX)
        return -EINVAL;
    if (h->nlmsg_type == SOCK_DESTROY)
        return family != AF_INET && family != AF_INET6 ? -EOPNOTSUPP : q.admin ? diag_inet_destroy(&q) : -EPERM;
    switch (family) {
    case AF_INET:
    case AF_INET6:
        return diag_inet(&q, out);
    case AF_UNIX:
        return diag_unix(&q, out);
    case AF_PACKET:
        return diag_packet(&q, out);
    case AF_NETLINK:
        return diag_netlink(&q, out);
    default:
        return -ENOENT;
    }
}
