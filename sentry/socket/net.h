/*
 * What all sockets of a sandbox share: its network namespace, as long as there is one.
 */
#ifndef SENTRY_SOCKET_NET_H
#define SENTRY_SOCKET_NET_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "lib/list.h"
#include "lib/lock.h"

#include <linux/if_link.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct file;
struct inet_table;
struct kernel;
struct net_config;
struct net_dns;
struct net_dns_tcp;
struct net_host;
struct net_rx;
struct netstack;
struct seq;
struct vfs_caller;

#define UNIX_HASH 256

struct net {
    struct kernel *k;

    /* AF_UNIX. */
    struct mutex unix_lock; /* guards names and the list of sockets; a leaf but for nothing */
    struct list_head unix_names[UNIX_HASH] GUARDED_BY(unix_lock); /* abstract names: unix_sock.name_node */
    struct list_head unix_all GUARDED_BY(unix_lock);              /* unix_sock.all_node */
    unsigned int unix_autobind GUARDED_BY(unix_lock);
    atomic_int unix_max_dgram; /* net.unix.max_dgram_qlen */
    struct mutex gc_lock;      /* guards what is in flight: see unix/gc.c. Order: gc_lock -> socket->lock */
    struct list_head inflight GUARDED_BY(gc_lock);
    atomic_uint nr_inflight_fds, nr_inflight_sockets;
    atomic_bool gc_running;

    /* AF_INET, AF_INET6 */
    struct inet_table *tcp, *udp, *udplite;
    atomic_int port_min, port_max; /* net.ipv4.ip_local_port_range */
    atomic_int unprivileged_port;  /* net.ipv4.ip_unprivileged_port_start */
    atomic_int somaxconn;
    atomic_int rmem_max, wmem_max, rmem_default, wmem_default; /* net.core */
    atomic_ullong lo_bytes, lo_packets;
    struct netstack *stack;
    atomic_bool has_links;       /* there are other addresses to reach than our own */
    struct net_dns *dns;         /* NULL: Docker runs none for us */
    struct net_dns_tcp *dns_tcp; /* likewise */
    struct list_head captures;   /* of frames, under way; the stack's lock */
    struct net_rx *rx;           /* the thread that drives the stack */
    struct net_host *host;       /* --network=host: where Internet sockets come from; NULL: the netstack */

    /* AF_NETLINK */
    struct mutex netlink_lock;
    struct list_head netlink_all GUARDED_BY(netlink_lock);
    uint32_t netlink_port GUARDED_BY(netlink_lock);
    atomic_int netlink_members; /* sockets that have ever joined a group */
};

int must_check net_create(struct kernel *k, struct net **out);
void net_destroy(struct net *net);
/* Before init starts: what the launcher has found (NULL: nothing), whose descriptors become ours; `connectable`: see
 * sentry/host/filter.h. */
int must_check net_start(struct net *net, const struct net_config *c, const int connectable[]);
/* --network=host: before net_start(), with the socket to the broker (sentry/boot/net_broker.h), which becomes ours. */
int must_check net_host_start(struct net *net, int broker);
/*
 * A file for a socket of the host's that the container is given, which is made non-blocking, and taken over unless the answer
 * is -EAFNOSUPPORT: it is of another family than unix and Internet.
 */
int must_check net_host_donated(struct net *net, int fd, struct file **out);
/* One of /proc/net's tables as the host has it. False: ours is the one to show. */
bool net_host_show(struct net *net, const char *name, struct seq *s);
/* netdev_ioctl(), answered by the host. */
long net_host_ioctl(struct net *net, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
/*
 * Writes the frames of an interface (NULL: the first that is not the loopback) to `fd`, which is taken over on success, until
 * stopped. -ENODEV: there is none; -EBUSY: they are being written already.
 */
int must_check net_pcap_start(struct net *net, const char *name, int fd);
void net_pcap_stop(struct net *net);
/* Settings in this struct or in the netstack's have been written: both know them afterwards. */
void net_settings_changed(struct net *net);
/* At the sandbox's end: gives what has been sent some time to arrive. */
void net_drain(struct net *net);

/* An interface as /sys shows it. */
struct net_device {
    int index;
    char name[IFNAMSIZ];
    uint32_t mtu, tx_queue_len;
    uint8_t mac[6];
    uint16_t type;      /* ARPHRD_* */
    unsigned int flags; /* IFF_* */
    bool carrier;
    struct rtnl_link_stats64 stats;
};
/* The one with the lowest index from `index` on. False: there is none. */
bool net_device_from(struct net *net, int index, struct net_device *out);

/* /proc/net: the whole text, headings included. */
void net_show_unix(struct net *net, struct seq *s);
void net_show_inet(struct net *net, struct seq *s, int protocol, bool v6); /* tcp, udp, udplite, raw, icmp */
void net_show_netlink(struct net *net, struct seq *s);
void net_show_dev(struct net *net, struct seq *s);
void net_show_if_inet6(struct net *net, struct seq *s);
void net_show_route(struct net *net, struct seq *s);
void net_show_ipv6_route(struct net *net, struct seq *s);
void net_show_arp(struct net *net, struct seq *s);
void net_show_dev_mcast(struct net *net, struct seq *s);
void net_show_protocols(struct net *net, struct seq *s);
void net_show_igmp(struct net *net, struct seq *s, bool v6);
void net_show_snmp(struct net *net, struct seq *s);
void net_show_snmp6(struct net *net, struct seq *s);
void net_show_netstat(struct net *net, struct seq *s);
void net_show_packet(struct net *net, struct seq *s);
void net_show_sockstat(struct net *net, struct seq *s, bool v6);
void net_show_tables(struct net *net, struct seq *s, bool v6); /* of iptables-legacy */
void net_show_conntrack(struct net *net, struct seq *s);

#endif
