/*
 * What the launcher has read from the container's network namespace and hands to the sentry: interfaces with the descriptors
 * by which their frames come and go, addresses, routes and permanent neighbours. Plain data without pointers, since it also
 * travels as bytes over the control socket, between two ends that are the same program.
 */
#ifndef SENTRY_BOOT_NET_CONFIG_H
#define SENTRY_BOOT_NET_CONFIG_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { NET_CONFIG_IFS = 16, NET_CONFIG_ADDRS = 128, NET_CONFIG_ROUTES = 256, NET_CONFIG_NEIGHS = 128, NET_CONFIG_DNS_TCP = 4 };

/* IPv4 addresses are mapped ones; prefix lengths count from the IPv4 address. */
struct net_config_if {
    char name[IFNAMSIZ];
    int index;
    uint32_t mtu, tx_queue_len;
    uint8_t mac[6];
    int fd;            /* AF_PACKET, bound, with PACKET_VNET_HDR; non-blocking */
    int ipv6_disabled; /* net.ipv6.conf.NAME.disable_ipv6, as it was */
};

struct net_config_addr {
    int ifindex;
    struct in6_addr addr, peer, broadcast; /* broadcast unspecified: none */
    uint8_t plen, scope;
    uint32_t flags; /* IFA_F_* */
    char label[IFNAMSIZ];
};

struct net_config_route {
    struct in6_addr dst, gateway, prefsrc; /* unspecified, of any family: none */
    uint8_t plen, tos, protocol, scope, type;
    int ifindex; /* 0: none, as of unreachable routes */
    uint32_t table, metric, flags, mtu, advmss;
};

struct net_config_neigh {
    int ifindex;
    struct in6_addr addr;
    uint8_t mac[6];
};

struct net_config {
    uint32_t size; /* of this struct, as a check */
    uint32_t nr_ifs, nr_addrs, nr_routes, nr_neighs;
    int forward4, forward6;          /* net.ipv4.ip_forward and its like, as they were */
    int dns_udp;                     /* a UDP socket of the namespace, for Docker's DNS at 127.0.0.11; -1: nobody is there */
    int dns_tcp[NET_CONFIG_DNS_TCP]; /* TCP sockets of the namespace, for the same; -1: none */
    int port_min, port_max;          /* net.ipv4.ip_local_port_range, where Docker's DNS is */
    int lock;                   /* says that the namespace's interfaces are a sandbox's, for as long as it is open; -1: none */
    bool disable6, lo_disable6; /* net.ipv6.conf.default and lo */
    struct net_config_if ifs[NET_CONFIG_IFS];
    struct net_config_addr addrs[NET_CONFIG_ADDRS];
    struct net_config_route routes[NET_CONFIG_ROUTES];
    struct net_config_neigh neighs[NET_CONFIG_NEIGHS];
};

/* One without interfaces. */
static inline void net_config_init(struct net_config *c)
{
    *c = (struct net_config){.size = sizeof(*c), .dns_udp = -1, .lock = -1};
    for (int i = 0; i < NET_CONFIG_DNS_TCP; i++)
        c->dns_tcp[i] = -1;
}

/* Its descriptors, in a fixed order, for passing them along: at most this many. */
#define NET_CONFIG_FDS (NET_CONFIG_IFS + 2 + NET_CONFIG_DNS_TCP)
/* Collects pointers to those that are open; their number. */
static inline int net_config_fds(struct net_config *c, int *at[NET_CONFIG_FDS])
{
    int n = 0;

    for (uint32_t i = 0; i < c->nr_ifs && i < NET_CONFIG_IFS; i++)
        if (c->ifs[i].fd >= 0)
            at[n++] = &c->ifs[i].fd;
    if (c->dns_udp >= 0)
        at[n++] = &c->dns_udp;
    for (int i = 0; i < NET_CONFIG_DNS_TCP; i++)
        if (c->dns_tcp[i] >= 0)
            at[n++] = &c->dns_tcp[i];
    if (c->lock >= 0)
        at[n++] = &c->lock;
    return n;
}

#endif
