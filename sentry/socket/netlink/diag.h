/* NETLINK_SOCK_DIAG in parts, one a family of sockets. Each: 0 answered, 1 a dump, -errno. */
#ifndef SENTRY_SOCKET_NETLINK_DIAG_H
#define SENTRY_SOCKET_NETLINK_DIAG_H

#include "netstack/tcp.h"
#include "sentry/socket/netlink/netlink.h"

struct diag_request {
    struct net *net;
    const char *body;
    size_t len;
    bool dump, admin; /* admin: who asks has CAP_NET_ADMIN */
};

int diag_inet(const struct diag_request *q, struct nl_reply *r);
int diag_inet_destroy(const struct diag_request *q);
int diag_unix(const struct diag_request *q, struct nl_reply *r);
int diag_packet(const struct diag_request *q, struct nl_reply *r);
int diag_netlink(const struct diag_request *q, struct nl_reply *r);

/* sk_meminfo: what a socket's queues hold and may hold. */
void diag_put_meminfo(struct nl_reply *r, uint16_t type, const struct socket *s, uint32_t rmem, uint32_t wmem);
/* The cookie that getsockopt(SO_COOKIE) tells. */
static inline void diag_cookie(uint32_t out[2], uint64_t cookie)
{
    out[0] = (uint32_t)cookie;
    out[1] = (uint32_t)(cookie >> 32);
}
/* Is the cookie that was asked for this one, or none? */
static inline bool diag_cookie_matches(const uint32_t asked[2], uint64_t cookie)
{
    return (asked[0] == UINT32_MAX && asked[1] == UINT32_MAX) ||
           (asked[0] == (uint32_t)cookie && asked[1] == (uint32_t)(cookie >> 32));
}

/* diag_filter.c: INET_DIAG_REQ_BYTECODE, by which `ss sport = :80` asks for less. */
int must_check diag_filter_check(const char *code, size_t len); /* -EINVAL: it would not end or leave its bounds */
bool diag_filter_run(const char *code, size_t len, const struct tcp_entry *e, uint32_t mark);

#endif
