/* Addresses: in and out of sockaddr, and which of them are lo's. */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/socket/inet_net/inet_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

/* Without sin6_scope_id, as in RFC 2133: the shortest that Linux takes. */
#define SIN6_MIN_LEN 24

static struct in6_addr mapped(struct in_addr v4)
{
    struct in6_addr a = {0};

    a.s6_addr[10] = a.s6_addr[11] = 0xff;
    memcpy(&a.s6_addr[12], &v4, sizeof(v4));
    return a;
}

bool inet_is_v4(const struct in6_addr *a)
{
    return IN6_IS_ADDR_V4MAPPED(a);
}

static uint32_t v4_of(const struct in6_addr *a)
{
    uint32_t v;

    memcpy(&v, &a->s6_addr[12], sizeof(v));
    return ntohl(v);
}

bool inet_is_any(const struct in6_addr *a)
{
    return inet_is_v4(a) ? v4_of(a) == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(a);
}

bool inet_is_loopback(const struct in6_addr *a)
{
    return inet_is_v4(a) ? v4_of(a) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(a);
}

bool inet_is_local(struct net *net, const struct in6_addr *a)
{
    bool local;

    if (inet_is_loopback(a))
        return true;
    if (!atomic_load_explicit(&net->has_links, memory_order_relaxed))
        return false;
    netstack_lock(net->stack);
    local = netstack_addr_is_local(net->stack, a);
    netstack_unlock(net->stack);
    return local;
}

int inet_addr_in(const struct inet_sock *i, const struct sock_addr *a, struct inet_end *out)
{
    if (a->len < sizeof(sa_family_t))
        return -EINVAL;
    if (a->sa.sa_family == AF_INET6 && i->s.family == AF_INET6) {
        if (a->len < SIN6_MIN_LEN)
            return -EINVAL;
        out->addr = a->in6.sin6_addr;
        out->port = ntohs(a->in6.sin6_port);
        out->scope = 0;
        if (a->len >= sizeof(a->in6) && (addr_is_linklocal(&out->addr) || addr_is_linklocal_multicast(&out->addr)))
            out->scope = (int)a->in6.sin6_scope_id;
        if (i->o.v6only && inet_is_v4(&out->addr))
            return -ENETUNREACH;
        return 0;
    }
    if (i->s.family == AF_INET6 && a->len < SIN6_MIN_LEN && a->sa.sa_family != AF_INET)
        return -EINVAL;
    if (a->len < sizeof(struct sockaddr_in))
        return -EINVAL;
    /* AF_INET names on AF_INET6 datagram sockets are the mapped ones. */
    if (a->sa.sa_family != AF_INET || (i->s.family == AF_INET6 && (i->o.v6only || i->s.type != SOCK_DGRAM)))
        return -EAFNOSUPPORT;
    out->addr = mapped(a->in.sin_addr);
    out->port = ntohs(a->in.sin_port);
    out->scope = 0;
    return 0;
}

void inet_addr_out(const struct inet_sock *i, const struct inet_end *e, struct sock_addr *out)
{
    memset(out->raw, 0, sizeof(out->raw));
    if (i->s.family == AF_INET) {
        out->len = sizeof(out->in);
        out->in.sin_family = AF_INET;
        out->in.sin_port = htons(e->port);
        memcpy(&out->in.sin_addr, &e->addr.s6_addr[12], sizeof(out->in.sin_addr));
        return;
    }
    out->len = sizeof(out->in6);
    out->in6.sin6_family = AF_INET6;
    out->in6.sin6_port = htons(e->port);
    out->in6.sin6_addr = e->addr;
    out->in6.sin6_scope_id = (uint32_t)e->scope;
}

int inet_getname(struct socket *s, bool peer, struct sock_addr *out)
{
    struct inet_sock *i = inet_of(s);
    struct inet_end e;
    bool connected;

    mutex_lock(&s->lock);
    e = peer ? i->remote : i->local;
    connected = i->state == TCP_S_ESTABLISHED || (i->state == TCP_S_NET && (i->accepted || net_tcp_is_connected(i)));
    if (peer)
        i->accepted = false;
    mutex_unlock(&s->lock);
    if (peer && (!connected || !e.port))
        return -ENOTCONN;
    inet_addr_out(i, &e, out);
    return 0;
}

int inet_route(const struct inet_sock *i, struct inet_end *dst, struct in6_addr *src)
{
    struct in6_addr lo4 = mapped((struct in_addr){htonl(INADDR_LOOPBACK)});
    bool v4 = inet_is_v4(&dst->addr) || i->s.family == AF_INET, chosen = !inet_is_any(&i->local.addr);

    if (inet_is_any(&dst->addr))
        dst->addr = v4 || inet_is_v4(&i->local.addr) ? lo4 : in6addr_loopback;
    if (inet_is_v4(&dst->addr) && v4_of(&dst->addr) == INADDR_BROADCAST && !i->s.broadcast)
        return -EACCES;
    v4 = inet_is_v4(&dst->addr);
    if (!inet_is_local(i->s.net, &dst->addr)) {
        if (!atomic_load(&i->s.net->has_links) || (chosen && i->s.type != SOCK_RAW && inet_is_v4(&i->local.addr) != v4))
            return -ENETUNREACH;
        return 1;
    }
    /* An IPv6 address has been chosen and the other end speaks IPv4, or the other way round. */
    if (chosen && inet_is_v4(&i->local.addr) != v4)
        return v4 ? -ENETUNREACH : -EINVAL;
    *src = chosen && !addr_is_multicast(&i->local.addr) ? i->local.addr
           : !inet_is_loopback(&dst->addr)              ? dst->addr
           : v4                                         ? lo4
                                                        : in6addr_loopback;
    return 0;
}
