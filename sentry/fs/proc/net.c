/*
 * /proc/net (a link to self/net). The socket layer writes its tables itself; those of protocols that the sandbox does not serve
 * are empty but for their headings, so that programs find what they parse.
 */
#include "sentry/fs/proc/proc.h"

#include "sentry/socket/net.h"

#define INET_HEADING "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"

#define NET_SHOW(name_, call_)                                                               \
    static int name_(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c) \
    {                                                                                        \
        call_;                                                                               \
        return 0;                                                                            \
    }

NET_SHOW(show_dev, net_show_dev(n->k->net, s))
NET_SHOW(show_netlink, net_show_netlink(n->k->net, s))
NET_SHOW(show_sockstat, net_show_sockstat(n->k->net, s))
NET_SHOW(show_tcp, net_show_tcp(n->k->net, s, false))
NET_SHOW(show_tcp6, net_show_tcp(n->k->net, s, true))
NET_SHOW(show_udp, net_show_udp(n->k->net, s, false))
NET_SHOW(show_udp6, net_show_udp(n->k->net, s, true))
NET_SHOW(show_unix, net_show_unix(n->k->net, s))

const struct pseudo_desc proc_net_rows[] = {
    PSEUDO_TEXT("arp", "IP address       HW type     Flags       HW address            Mask     Device\n"),
    PSEUDO_FILE("dev", 0444, show_dev),
    PSEUDO_TEXT("dev_mcast", ""),
    PSEUDO_TEXT("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
    PSEUDO_TEXT("igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"),
    PSEUDO_FILE("netlink", 0444, show_netlink),
    PSEUDO_TEXT("netstat", "TcpExt:\nTcpExt:\nIpExt:\nIpExt:\n"),
    PSEUDO_TEXT("packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
    PSEUDO_TEXT("protocols",
                "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi "
                "br ha uh gp em\n"),
    PSEUDO_TEXT("psched", "000003e8 00000040 000f4240 3b9aca00\n"),
    PSEUDO_TEXT("raw", INET_HEADING " ref pointer drops\n"),
    PSEUDO_TEXT("raw6", INET_HEADING " ref pointer drops\n"),
    PSEUDO_TEXT("route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
                         "                                                       \n"),
    PSEUDO_TEXT("ipv6_route", ""),
    PSEUDO_TEXT("snmp", "Ip: Forwarding DefaultTTL\nIp: 2 64\n"),
    PSEUDO_FILE("sockstat", 0444, show_sockstat),
    PSEUDO_FILE("tcp", 0444, show_tcp),
    PSEUDO_FILE("tcp6", 0444, show_tcp6),
    PSEUDO_FILE("udp", 0444, show_udp),
    PSEUDO_FILE("udp6", 0444, show_udp6),
    PSEUDO_FILE("unix", 0444, show_unix),
    PSEUDO_TEXT("wireless", ""),
    PSEUDO_END,
};
