/*
 * --network=host: what the sentry and the broker say to each other. The broker (cmd/runsc-c/network/broker.c) is a process in
 * the container's network namespace that makes sockets and gives them away; the sentry can make none. Messages go over a socket
 * pair of type SOCK_SEQPACKET: a greeting by the broker, then a reply to each request.
 */
#ifndef SENTRY_BOOT_NET_BROKER_H
#define SENTRY_BOOT_NET_BROKER_H

#include <stdint.h>
#include <sys/socket.h>

/* Tables of the namespace, by their names in /proc/net. What is about processes of the sandbox (unix, netlink) is not here. */
static const char *const net_broker_files[] = {
    "arp",        "dev",     "dev_mcast", "icmp", "icmp6", "if_inet6", "igmp",     "igmp6",
    "ipv6_route", "netstat", "raw",       "raw6", "route", "snmp",     "snmp6",    "sockstat",
    "sockstat6",  "tcp",     "tcp6",      "udp",  "udp6",  "udplite",  "udplite6",
};
enum { NET_BROKER_NR_FILES = sizeof(net_broker_files) / sizeof(net_broker_files[0]) };

/*
 * The first message. Its descriptors: a socket to ask about interfaces by, then the files that are there (a bit each in
 * `files`, in the order above).
 */
struct net_broker_hello {
    uint32_t size; /* of this struct, as a check */
    uint32_t files;
    int32_t port_min, port_max, unprivileged_port, somaxconn; /* settings of the namespace */
};

enum net_broker_what {
    NET_BROKER_SOCKET = 1, /* of a kind in sentry/host/socket_kinds.def: the reply comes with it */
    NET_BROKER_BIND,       /* comes with a socket, to be bound to `addr`, whose port may be a privileged one */
};

struct net_broker_request {
    uint32_t what;
    int32_t family, type, protocol;
    uint32_t addr_len;
    char addr[sizeof(struct sockaddr_storage)];
};

struct net_broker_reply {
    int32_t result; /* 0 or -errno */
};

#endif
