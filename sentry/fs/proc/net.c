/*
 * /proc/net (a link to self/net). The socket layer writes its tables itself; those of what the sandbox does not have are empty
 * but for their headings, so that programs find what they parse.
 */
#include "sentry/fs/proc/proc.h"

#include "sentry/socket/net.h"

#include <netinet/in.h>

#define NET_SHOW(name_, call_)                                                               \
    static int name_(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c) \
    {                                                                                        \
        if (!net_host_show(n->k->net, n->desc->name, s))                                     \
            call_;                                                                           \
        return 0;                                                                            \
    }

NET_SHOW(show_dev, net_show_dev(n->k->net, s))
NET_SHOW(show_dev_mcast, net_show_dev_mcast(n->k->net, s))
NET_SHOW(show_protocols, net_show_protocols(n->k->net, s))
NET_SHOW(show_arp, net_show_arp(n->k->net, s))
NET_SHOW(show_if_inet6, net_show_if_inet6(n->k->net, s))
NET_SHOW(show_igmp, net_show_igmp(n->k->net, s, false))
NET_SHOW(show_igmp6, net_show_igmp(n->k->net, s, true))
NET_SHOW(show_tables, net_show_tables(n->k->net, s, false))
NET_SHOW(show_tables6, net_show_tables(n->k->net, s, true))
NET_SHOW(show_conntrack, net_show_conntrack(n->k->net, s))
NET_SHOW(show_ipv6_route, net_show_ipv6_route(n->k->net, s))
NET_SHOW(show_netstat, net_show_netstat(n->k->net, s))
NET_SHOW(show_packet, net_show_packet(n->k->net, s))
NET_SHOW(show_route, net_show_route(n->k->net, s))
NET_SHOW(show_snmp, net_show_snmp(n->k->net, s))
NET_SHOW(show_snmp6, net_show_snmp6(n->k->net, s))
NET_SHOW(show_netlink, net_show_netlink(n->k->net, s))
NET_SHOW(show_sockstat, net_show_sockstat(n->k->net, s, false))
NET_SHOW(show_sockstat6, net_show_sockstat(n->k->net, s, true))
NET_SHOW(show_tcp, net_show_inet(n->k->net, s, IPPROTO_TCP, false))
NET_SHOW(show_tcp6, net_show_inet(n->k->net, s, IPPROTO_TCP, true))
NET_SHOW(show_udp, net_show_inet(n->k->net, s, IPPROTO_UDP, false))
NET_SHOW(show_udp6, net_show_inet(n->k->net, s, IPPROTO_UDP, true))
NET_SHOW(show_udplite, net_show_inet(n->k->net, s, IPPROTO_UDPLITE, false))
NET_SHOW(show_udplite6, net_show_inet(n->k->net, s, IPPROTO_UDPLITE, true))
NET_SHOW(show_raw, net_show_inet(n->k->net, s, IPPROTO_RAW, false))
NET_SHOW(show_raw6, net_show_inet(n->k->net, s, IPPROTO_RAW, true))
NET_SHOW(show_icmp, net_show_inet(n->k->net, s, IPPROTO_ICMP, false))
NET_SHOW(show_icmp6, net_show_inet(n->k->net, s, IPPROTO_ICMP, true))
NET_SHOW(show_unix, net_show_unix(n->k->net, s))

const struct pseudo_desc proc_net_rows[] = {
    PSEUDO_FILE("arp", 0444, show_arp),
    PSEUDO_FILE("dev", 0444, show_dev),
    PSEUDO_FILE("dev_mcast", 0444, show_dev_mcast),
    PSEUDO_FILE("icmp", 0444, show_icmp),
    PSEUDO_FILE("icmp6", 0444, show_icmp6),
    PSEUDO_FILE("if_inet6", 0444, show_if_inet6),
    PSEUDO_FILE("igmp", 0444, show_igmp),
    PSEUDO_FILE("igmp6", 0444, show_igmp6),
    PSEUDO_FILE("ip_tables_names", 0440, show_tables),
    PSEUDO_FILE("ip6_tables_names", 0440, show_tables6),
    PSEUDO_FILE("netlink", 0444, show_netlink),
    PSEUDO_FILE("netstat", 0444, show_netstat),
    PSEUDO_FILE("nf_conntrack", 0440, show_conntrack),
    PSEUDO_FILE("packet", 0444, show_packet),
    PSEUDO_FILE("protocols", 0444, show_protocols),
    PSEUDO_TEXT("psched", "000003e8 00000040 000f4240 3b9aca00\n"),
    PSEUDO_FILE("raw", 0444, show_raw),
    PSEUDO_FILE("raw6", 0444, show_raw6),
    PSEUDO_FILE("route", 0444, show_route),
    PSEUDO_FILE("ipv6_route", 0444, show_ipv6_route),
    PSEUDO_FILE("snmp", 0444, show_snmp),
    PSEUDO_FILE("snmp6", 0444, show_snmp6),
    PSEUDO_FILE("sockstat", 0444, show_sockstat),
    PSEUDO_FILE("sockstat6", 0444, show_sockstat6),
    PSEUDO_FILE("tcp", 0444, show_tcp),
    PSEUDO_FILE("tcp6", 0444, show_tcp6),
    PSEUDO_FILE("udp", 0444, show_udp),
    PSEUDO_FILE("udp6", 0444, show_udp6),
    PSEUDO_FILE("udplite", 0444, show_udplite),
    PSEUDO_FILE("udplite6", 0444, show_udplite6),
    PSEUDO_FILE("unix", 0444, show_unix),
    PSEUDO_TEXT("wireless", ""),
    PSEUDO_END,
};
