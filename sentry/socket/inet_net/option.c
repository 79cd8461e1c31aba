/*
 * Socket options and the netstack. Values are checked and kept by inet_loopback/option.c and sockopt.c; here they go on to the
 * socket's ends, and here are those that exist only because there is a network: multicast, devices, TCP's insights.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/mcast.h"
#include "netstack/raw.h"
#include "netstack/tcp.h"
#include "netstack/udp.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <linux/icmp.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <string.h>

#define K_IP_UNICAST_IF    50
#define K_IPV6_UNICAST_IF  76
#define K_SO_BINDTODEVICE  25
#define K_SO_BINDTOIFINDEX 62
#define K_TCP_INFO         11
#define K_TCP_CONGESTION   13
#define K_ICMP_FILTER      1
#define K_ICMPV6_FILTER    1
#define K_IPV6_CHECKSUM    7
#define K_UDP_GRO          104
#define K_SOL_UDP          17
#define K_UDP_NO_CHECK6_TX 101
#define K_UDP_NO_CHECK6_RX 102
#define K_UDP_SEGMENT      103

static void push_tcp_option(void *arg, int name, int value) NETSTACK_LOCKED
{
    struct inet_sock *i = arg;

    /* What TCP does not know is this layer's, or means nothing to it. */
    if (tcp_set_option(i->tp, name, value) < 0)
        return;
}

static void push_tcp_so(struct inet_sock *i) NETSTACK_LOCKED
{
    struct socket *s = &i->s;

    tcp_set_so(i->tp, TCP_SO_KEEPALIVE, s->keepalive);
    tcp_set_so(i->tp, TCP_SO_OOBINLINE, s->oobinline);
    tcp_set_so(i->tp, TCP_SO_LINGER, s->linger ? s->linger_secs : -1);
    tcp_set_so(i->tp, TCP_SO_RCVLOWAT, s->rcvlowat);
    if (s->sndbuf_set)
        tcp_set_so(i->tp, TCP_SO_SNDBUF, s->sndbuf);
    if (s->rcvbuf_set)
        tcp_set_so(i->tp, TCP_SO_RCVBUF, s->rcvbuf);
}

void net_tcp_push_options(struct inet_sock *i)
{
    push_tcp_so(i);
    net_endpoint_push_options(i, tcp_ep(i->tp));
    inet_options_changed(&i->o, SOL_TCP, push_tcp_option, i);
    if (strcmp(i->congestion, tcp_congestion(i->tp)) != 0 && tcp_set_congestion(i->tp, i->congestion) < 0)
        strcpy(i->congestion, tcp_congestion(i->tp));
}

void net_endpoint_push_options(struct inet_sock *i, struct endpoint *ep)
{
    ep->reuseaddr = i->s.reuseaddr;
    ep->reuseport = i->s.reuseport;
    ep->broadcast = i->s.broadcast;
    ep->dontroute = i->s.dontroute;
    ep->uid = i->s.uid;
    ep->mark = (uint32_t)i->s.mark;
    ep->priority = (uint32_t)i->s.priority;
    ep->v6only = i->o.v6only;
    ep->freebind = i->o.freebind || i->o.freebind6;
    ep->transparent = i->o.transparent || i->o.transparent6;
    ep->recverr4 = i->o.recverr;
    ep->recverr6 = i->o.recverr6;
    ep->mc_all4 = i->o.mc_all;
    ep->mc_all6 = i->o.mc_all6;
    ep->mc_loop4 = i->o.mc_loop;
    ep->mc_loop6 = i->o.mc_loop6;
    ep->ttl = (uint8_t)(i->o.ttl == 64 ? 0 : i->o.ttl);
    ep->hop_limit = (uint8_t)(i->o.hops == 64 ? 0 : i->o.hops);
    ep->mc_ttl = (uint8_t)i->o.mc_ttl;
    ep->mc_hops = (uint8_t)i->o.mc_hops;
    ep->tos = (uint8_t)i->o.tos;
    ep->tclass = (uint8_t)i->o.tclass;
    ep->pmtudisc4 = (uint8_t)i->o.mtu_discover;
    ep->pmtudisc6 = (uint8_t)i->o.mtu_discover6;
    ep->min_ttl = (uint8_t)i->o.minttl;
    ep->min_hops = (uint8_t)i->o.minhops;
    ep->dontfrag6 = i->o.dontfrag;
    ep->mc_if4 = i->o.mc_if;
    ep->mc_if6 = i->o.mc_if6;
    ep->bound_if = i->bound_if;
    ep->opt_len = i->ip_opt_len;
    memcpy(ep->opts, i->ip_opts, sizeof(ep->opts));
    ep->unicast_if = i->s.family == AF_INET ? i->o.unicast_if : i->o.unicast_if6;
}

/* To TCP, which may have a connection that heeds them. */
static void push_ip(struct inet_sock *i) NETSTACK_LOCKED
{
    net_endpoint_push_options(i, tcp_ep(i->tp));
    tcp_options_changed(i->tp);
}

static void push_rcvbuf(struct inet_sock *i) NETSTACK_LOCKED
{
    if (i->udp)
        i->udp->rcvbuf = (uint32_t)i->s.rcvbuf;
    if (i->raw)
        i->raw->rcvbuf = (uint32_t)i->s.rcvbuf;
}

void net_so_changed(struct socket *s, int name)
{
    struct inet_sock *i = inet_of(s);
    struct endpoint *ep = net_endpoint(i);

    if (!i->tp && !ep)
        return;
    netstack_lock(inet_stack_of(i));
    if (i->tp) {
        push_tcp_so(i);
        push_ip(i);
    }
    if (ep) {
        net_endpoint_push_options(i, ep);
        push_rcvbuf(i);
    }
    netstack_unlock(inet_stack_of(i));
}

void net_option_changed(struct inet_sock *i, int level, int name, int value)
{
    struct endpoint *ep = net_endpoint(i);

    if (!i->tp && !ep)
        return;
    netstack_lock(inet_stack_of(i));
    if (i->tp && level == SOL_TCP && name == K_TCP_CONGESTION) {
        if (tcp_set_congestion(i->tp, i->congestion) < 0)
            strcpy(i->congestion, tcp_congestion(i->tp));
    } else if (i->tp && level == SOL_TCP) {
        push_tcp_option(i, name, value);
    } else if (i->tp) {
        push_ip(i);
    }
    if (ep)
        net_endpoint_push_options(i, ep);
    netstack_unlock(inet_stack_of(i));
}

bool net_addr_is_group(struct net *net, const struct in6_addr *a)
{
    int type;

    if (addr_is_multicast(a) || addr_is_limited_broadcast(a))
        return true;
    netstack_lock(net->stack);
    type = route_addr_type(net->stack, a, NULL);
    netstack_unlock(net->stack);
    return type == RTN_BROADCAST;
}

/* The interface that has an IPv4 address, for the ancient ways of naming one. 0: none. */
static int index_of_addr(struct netstack *s, be32 v4) NETSTACK_LOCKED
{
    struct in6_addr a = addr_from_v4(v4);
    struct nic_addr *na = v4 ? netstack_addr_find(s, &a, NULL, false) : NULL;

    return na ? na->nic->index : 0;
}

static struct in6_addr sockaddr_addr(const struct sockaddr_storage *ss)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
    const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

    return ss->ss_family == AF_INET6 ? in6->sin6_addr : addr_from_v4(in->sin_addr.s_addr);
}

/* IP_ADD_MEMBERSHIP and the like, whose argument is a struct ip_mreq or ip_mreqn. */
static int membership_v4(struct inet_sock *i, struct endpoint *ep, bool join, const void *val, socklen_t len) NETSTACK_LOCKED
{
    struct ip_mreqn mr = {.imr_ifindex = 0};
    struct in6_addr group;

    if (len < sizeof(struct ip_mreq))
        return -EINVAL;
    memcpy(&mr, val, len < sizeof(mr) ? sizeof(struct ip_mreq) : sizeof(mr));
    if (!mr.imr_ifindex && mr.imr_address.s_addr) {
        mr.imr_ifindex = index_of_addr(ep->stack, mr.imr_address.s_addr);
        if (!mr.imr_ifindex)
            return join ? -ENODEV : -EADDRNOTAVAIL;
    }
    group = addr_from_v4(mr.imr_multiaddr.s_addr);
    return join ? mcast_join(ep, &group, mr.imr_ifindex) : mcast_leave(ep, &group, mr.imr_ifindex);
}

static int source_v4(struct endpoint *ep, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    struct ip_mreq_source mr;
    struct in6_addr group, source;
    int index;

    if (len != sizeof(mr))
        return -EINVAL;
    memcpy(&mr, val, sizeof(mr));
    group = addr_from_v4(mr.imr_multiaddr.s_addr);
    source = addr_from_v4(mr.imr_sourceaddr.s_addr);
    index = index_of_addr(ep->stack, mr.imr_interface.s_addr);
    switch (name) {
    case IP_ADD_SOURCE_MEMBERSHIP:
        return mcast_join_source(ep, &group, &source, index);
    case IP_DROP_SOURCE_MEMBERSHIP:
        return mcast_leave_source(ep, &group, &source, index);
    case IP_BLOCK_SOURCE:
        return mcast_block(ep, &group, &source, index);
    default:
        return mcast_unblock(ep, &group, &source, index);
    }
}

/* The options of RFC 3678, the same for both families. */
static int group_any(struct endpoint *ep, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    struct group_source_req gsr = {0};
    struct in6_addr group, source;
    size_t need = name == MCAST_JOIN_GROUP || name == MCAST_LEAVE_GROUP ? sizeof(struct group_req) : sizeof(gsr);
    int index;

    if (len < need)
        return -EINVAL;
    memcpy(&gsr, val, need);
    index = (int)gsr.gsr_interface;
    group = sockaddr_addr(&gsr.gsr_group);
    source = sockaddr_addr(&gsr.gsr_source);
    switch (name) {
    case MCAST_JOIN_GROUP:
        return mcast_join(ep, &group, index);
    case MCAST_LEAVE_GROUP:
        return mcast_leave(ep, &group, index);
    case MCAST_JOIN_SOURCE_GROUP:
        return mcast_join_source(ep, &group, &source, index);
    case MCAST_LEAVE_SOURCE_GROUP:
        return mcast_leave_source(ep, &group, &source, index);
    case MCAST_BLOCK_SOURCE:
        return mcast_block(ep, &group, &source, index);
    default:
        return mcast_unblock(ep, &group, &source, index);
    }
}

static int membership_v6(struct endpoint *ep, bool join, const void *val, socklen_t len) NETSTACK_LOCKED
{
    struct ipv6_mreq mr;

    if (len < sizeof(mr))
        return -EINVAL;
    memcpy(&mr, val, sizeof(mr));
    return join ? mcast_join(ep, &mr.ipv6mr_multiaddr, (int)mr.ipv6mr_interface)
                : mcast_leave(ep, &mr.ipv6mr_multiaddr, (int)mr.ipv6mr_interface);
}

static int multicast_if(struct inet_sock *i, struct endpoint *ep, int level, const void *val, socklen_t len) NETSTACK_LOCKED
{
    struct ip_mreqn mr = {.imr_ifindex = 0};
    int v;

    if (level == SOL_IPV6) {
        if (sockopt_get_int(val, len, &v))
            return -EINVAL;
        if (v && !nic_by_index(inet_stack_of(i), v))
            return -ENODEV;
        i->o.mc_if6 = v;
        if (ep)
            ep->mc_if6 = v;
        return 0;
    }
    if (len < sizeof(struct in_addr))
        return -EINVAL;
    if (len >= sizeof(mr))
        memcpy(&mr, val, sizeof(mr));
    else if (len >= sizeof(struct ip_mreq))
        memcpy(&mr, val, sizeof(struct ip_mreq));
    else
        memcpy(&mr.imr_address, val, sizeof(mr.imr_address));
    v = mr.imr_ifindex ? mr.imr_ifindex : index_of_addr(inet_stack_of(i), mr.imr_address.s_addr);
    if ((mr.imr_ifindex || mr.imr_address.s_addr) && !nic_by_index(inet_stack_of(i), v))
        return -EADDRNOTAVAIL;
    i->o.mc_if = v;
    i->mc_addr = mr.imr_address;
    if (ep) {
        ep->mc_if4 = v;
        ep->mc_addr4 = addr_from_v4(mr.imr_address.s_addr);
    }
    return 0;
}

/* Of a datagram or raw socket, whose endpoint is made for it if need be. -ENOPROTOOPT: it is none of these. */
static int set_multicast(struct inet_sock *i, int level, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    struct endpoint *ep = net_endpoint(i);

    if ((level == SOL_IP && name == IP_MULTICAST_IF) || (level == SOL_IPV6 && name == IPV6_MULTICAST_IF))
        return multicast_if(i, ep, level, val, len);
    if (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP)
        return ep ? group_any(ep, name, val, len) : len < sizeof(struct group_req) ? -EINVAL : -ENODEV;
    if (level == SOL_IP) {
        switch (name) {
        case IP_ADD_MEMBERSHIP:
        case IP_DROP_MEMBERSHIP:
            if (ep)
                return membership_v4(i, ep, name == IP_ADD_MEMBERSHIP, val, len);
            return len < sizeof(struct ip_mreq) ? -EINVAL : name == IP_ADD_MEMBERSHIP ? -ENODEV : -EADDRNOTAVAIL;
        case IP_ADD_SOURCE_MEMBERSHIP:
        case IP_DROP_SOURCE_MEMBERSHIP:
        case IP_BLOCK_SOURCE:
        case IP_UNBLOCK_SOURCE:
            return ep ? source_v4(ep, name, val, len) : len != sizeof(struct ip_mreq_source) ? -EINVAL : -ENODEV;
        default:
            return -ENOPROTOOPT;
        }
    }
    switch (name) {
    case IPV6_JOIN_GROUP:
    case IPV6_LEAVE_GROUP:
        if (ep)
            return membership_v6(ep, name == IPV6_JOIN_GROUP, val, len);
        return len < sizeof(struct ipv6_mreq) ? -EINVAL : name == IPV6_JOIN_GROUP ? -ENODEV : -EADDRNOTAVAIL;
    case IPV6_JOIN_ANYCAST:
        return len < sizeof(struct ipv6_mreq) ? -EINVAL : -ENODEV;
    case IPV6_LEAVE_ANYCAST:
        return len < sizeof(struct ipv6_mreq) ? -EINVAL : -EADDRNOTAVAIL;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_unicast_if(struct inet_sock *i, int level, const void *val, socklen_t len) NETSTACK_LOCKED
{
    int v;

    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    v = (int)ntohl((uint32_t)v);
    if (v && !nic_by_index(inet_stack_of(i), v))
        return -EADDRNOTAVAIL;
    if (level == SOL_IP)
        i->o.unicast_if = v;
    else
        i->o.unicast_if6 = v;
    if (net_endpoint(i))
        net_endpoint(i)->unicast_if = v;
    return 0;
}

static int set_device(struct inet_sock *i, struct task *t, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    char ifname[IFNAMSIZ] = "";
    struct nic *nic = NULL;
    int v = 0;

    if (i->bound_if && !cred_has_cap(t->cred, CAP_NET_RAW))
        return -EPERM;
    if (name == K_SO_BINDTOIFINDEX) {
        if (sockopt_get_int(val, len, &v) || v < 0)
            return -EINVAL;
        nic = v ? nic_by_index(inet_stack_of(i), v) : NULL;
    } else {
        memcpy(ifname, val, len < IFNAMSIZ - 1 ? len : IFNAMSIZ - 1);
        nic = ifname[0] ? nic_by_name(inet_stack_of(i), ifname) : NULL;
    }
    if (!nic && (v || ifname[0]))
        return -ENODEV;
    i->bound_if = nic ? nic->index : 0;
    if (net_endpoint(i))
        net_endpoint(i)->bound_if = i->bound_if;
    if (i->tp)
        push_ip(i);
    return 0;
}

static int set_raw(struct inet_sock *i, int level, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    int v;

    if (level == SOL_RAW && name == K_ICMP_FILTER && i->s.protocol == IPPROTO_ICMP) {
        if (len < sizeof(i->raw->icmp_filter))
            return -EINVAL;
        memcpy(&i->raw->icmp_filter, val, sizeof(i->raw->icmp_filter));
        return 0;
    }
    if (level == SOL_ICMPV6 && name == K_ICMPV6_FILTER && i->s.protocol == IPPROTO_ICMPV6) {
        memcpy(i->raw->icmp6_filter, val, len < sizeof(i->raw->icmp6_filter) ? len : sizeof(i->raw->icmp6_filter));
        return 0;
    }
    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    if ((level == SOL_IPV6 || level == SOL_RAW) && name == K_IPV6_CHECKSUM && i->s.family == AF_INET6) {
        if (i->s.protocol == IPPROTO_ICMPV6)
            return level == SOL_IPV6 ? -EINVAL : 0;
        if (v > 0 && v & 1)
            return -EINVAL;
        i->raw->csum_offset = v < 0 ? -1 : v;
        return 0;
    }
    if (level == SOL_IP && name == IP_HDRINCL && i->s.type == SOCK_RAW) {
        i->raw->hdrincl = v != 0;
        return 0;
    }
    return -ENOPROTOOPT;
}

static int set_udp(struct inet_sock *i, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    int v;

    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    switch (name) {
    case K_UDP_SEGMENT:
        if (v < 0 || v > 0xffff)
            return -EINVAL;
        i->gso_size = (uint16_t)v;
        break;
    case K_UDP_GRO:
        i->gro = v != 0;
        break;
    case K_UDP_NO_CHECK6_TX:
    case K_UDP_NO_CHECK6_RX:
        break;
    default:
        return -ENOPROTOOPT;
    }
    if (i->udp) {
        i->udp->gso_size = i->gso_size;
        i->udp->gro = i->gro;
        if (name == K_UDP_NO_CHECK6_TX)
            i->udp->no_check6_tx = v != 0;
        if (name == K_UDP_NO_CHECK6_RX)
            i->udp->no_check6_rx = v != 0;
    }
    return 0;
}

static int set_locked(struct inet_sock *i, struct task *t, int level, int name, const void *val, socklen_t len) NETSTACK_LOCKED
{
    int r = -ENOPROTOOPT;

    if (level == SOL_SOCKET) {
        if (name == K_SO_BINDTODEVICE || name == K_SO_BINDTOIFINDEX)
            return set_device(i, t, name, val, len);
        return -ENOPROTOOPT;
    }
    if (level == K_SOL_UDP)
        return set_udp(i, name, val, len);
    if (i->raw)
        r = set_raw(i, level, name, val, len);
    if (r != -ENOPROTOOPT || (level != SOL_IP && level != SOL_IPV6))
        return r;
    if ((level == SOL_IP && name == K_IP_UNICAST_IF) || (level == SOL_IPV6 && name == K_IPV6_UNICAST_IF))
        return set_unicast_if(i, level, val, len);
    return set_multicast(i, level, name, val, len);
}

/* Options that say nothing of the way: source routes are of the past, and refused. */
static bool ip_options_are_good(const uint8_t *o, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (o[at] == IPOPT_END)
            return true;
        if (o[at] == IPOPT_NOOP) {
            at++;
            continue;
        }
        if (at + 1 >= len || o[at + 1] < 2 || o[at + 1] > len - at)
            return false;
        if (o[at] != IPOPT_RR && o[at] != IPOPT_TS && o[at] != IPOPT_RA)
            return false;
        if ((o[at] == IPOPT_RR && (o[at + 1] < 3 || o[at + 2] < 4)) ||
            (o[at] == IPOPT_TS && (o[at + 1] < 4 || o[at + 2] < 5)) || (o[at] == IPOPT_RA && o[at + 1] < 4))
            return false;
        at += o[at + 1];
    }
    return true;
}

int net_set_ip_options(struct inet_sock *i, const void *val, socklen_t len)
{
    if (len > sizeof(i->ip_opts) || !ip_options_are_good(val, len))
        return -EINVAL;
    mutex_lock(&i->s.lock);
    memset(i->ip_opts, 0, sizeof(i->ip_opts));
    memcpy(i->ip_opts, val, len);
    i->ip_opt_len = (uint8_t)((len + 3) & ~3u);
    mutex_unlock(&i->s.lock);
    net_option_changed(i, SOL_IP, IP_OPTIONS, 0);
    return 0;
}

int net_setsockopt(struct inet_sock *i, struct task *t, int level, int name, const void *val, socklen_t len)
{
    bool membership = (level == SOL_IP && name >= IP_ADD_MEMBERSHIP && name <= IP_DROP_SOURCE_MEMBERSHIP) ||
                      (level == SOL_IPV6 && (name == IPV6_JOIN_GROUP || name == IPV6_LEAVE_GROUP)) ||
                      (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP && (level == SOL_IP || level == SOL_IPV6));
    int r;

    /* A member has to have an endpoint, with or without a port. */
    if (membership && i->s.type == SOCK_DGRAM && !i->raw && atomic_load(&i->s.net->has_links)) {
        r = net_udp_member(i);
        if (r < 0)
            return r;
    }
    netstack_lock(inet_stack_of(i));
    r = set_locked(i, t, level, name, val, len);
    netstack_unlock(inet_stack_of(i));
    return r;
}

static int put_bytes(void *val, socklen_t *len, const void *from, socklen_t n)
{
    if (*len > n)
        *len = n;
    memcpy(val, from, *len);
    return 0;
}

static int get_tcp(struct inet_sock *i, int name, void *val, socklen_t *len) NETSTACK_LOCKED
{
    struct tcp_info_full info;
    const char *congestion;
    char text[16] = "";

    if (name == K_TCP_INFO) {
        tcp_get_info(i->tp, &info);
        return put_bytes(val, len, &info, sizeof(info));
    }
    if (name == K_TCP_CONGESTION) {
        congestion = tcp_congestion(i->tp);
        memcpy(text, congestion, strnlen(congestion, sizeof(text) - 1));
        return put_bytes(val, len, text, sizeof(text));
    }
    return -ENOPROTOOPT;
}

static int get_mtu(struct inet_sock *i) NETSTACK_LOCKED
{
    struct endpoint *ep = net_endpoint(i);

    if (i->state == TCP_S_NET)
        return tcp_path_mtu(i->tp);
    if (!ep || !ep->connected)
        return -ENOPROTOOPT; /* inside: the loopback's */
    return ip_route(ep->stack, &ep->flow) < 0 ? -ENOTCONN : (int)ip_flow_mtu(&ep->flow);
}

static int get_device(struct inet_sock *i, int name, void *val, socklen_t *len) NETSTACK_LOCKED
{
    struct nic *nic = i->bound_if ? nic_by_index(inet_stack_of(i), i->bound_if) : NULL;

    if (name == K_SO_BINDTOIFINDEX)
        return sockopt_put_int(val, len, i->bound_if);
    if (name != K_SO_BINDTODEVICE)
        return -ENOPROTOOPT;
    if (!nic) {
        *len = 0;
        return 0;
    }
    if (*len < IFNAMSIZ)
        return -EINVAL;
    return put_bytes(val, len, nic->name, (socklen_t)strlen(nic->name) + 1);
}

static int get_locked(struct inet_sock *i, int level, int name, void *val, socklen_t *len) NETSTACK_LOCKED
{
    int mtu;

    if (level == SOL_SOCKET)
        return get_device(i, name, val, len);
    if (level == SOL_TCP)
        return i->state == TCP_S_NET ? get_tcp(i, name, val, len) : -ENOPROTOOPT;
    if (level == K_SOL_UDP && name == K_UDP_SEGMENT)
        return sockopt_put_int(val, len, i->gso_size);
    if (level == K_SOL_UDP && name == K_UDP_GRO)
        return sockopt_put_int(val, len, i->gro);
    if ((level == SOL_IP && name == IP_MTU) || (level == SOL_IPV6 && name == IPV6_MTU)) {
        mtu = get_mtu(i);
        return mtu < 0 ? mtu : sockopt_put_int(val, len, mtu);
    }
    if (level == SOL_IP && name == IP_MULTICAST_IF)
        return put_bytes(val, len, &i->mc_addr, sizeof(i->mc_addr));
    if (level == SOL_IPV6 && name == IPV6_MULTICAST_IF)
        return sockopt_put_int(val, len, i->o.mc_if6);
    if (level == SOL_IP && name == K_IP_UNICAST_IF)
        return sockopt_put_int(val, len, (int)htonl((uint32_t)i->o.unicast_if));
    if (level == SOL_IPV6 && name == K_IPV6_UNICAST_IF)
        return sockopt_put_int(val, len, (int)htonl((uint32_t)i->o.unicast_if6));
    if (!i->raw)
        return -ENOPROTOOPT;
    if (level == SOL_RAW && name == K_ICMP_FILTER && i->s.protocol == IPPROTO_ICMP)
        return put_bytes(val, len, &i->raw->icmp_filter, sizeof(i->raw->icmp_filter));
    if (level == SOL_ICMPV6 && name == K_ICMPV6_FILTER && i->s.protocol == IPPROTO_ICMPV6)
        return put_bytes(val, len, i->raw->icmp6_filter, sizeof(i->raw->icmp6_filter));
    if (level == SOL_IP && name == IP_HDRINCL)
        return sockopt_put_int(val, len, i->raw->hdrincl);
    if ((level == SOL_IPV6 || level == SOL_RAW) && name == K_IPV6_CHECKSUM && i->s.family == AF_INET6)
        return sockopt_put_int(val, len, i->raw->csum_offset);
    return -ENOPROTOOPT;
}

int net_getsockopt(struct inet_sock *i, int level, int name, void *val, socklen_t *len)
{
    int r;

    netstack_lock(inet_stack_of(i));
    r = get_locked(i, level, name, val, len);
    netstack_unlock(inet_stack_of(i));
    return r;
}
