/*
 * /proc/net (a link to self/net). Tables of protocols that the sandbox does not serve yet are empty but for their headings, so
 * that programs find what they parse.
 */
#include "sentry/fs/proc/proc.h"

#include "sentry/fs/fs.h"

#define INET_HEADING "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"

static int unix_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "Num       RefCount Protocol Flags    Type St Inode Path\n");
    if (n->k->show_unix_sockets)
        n->k->show_unix_sockets(n->k, s);
    return 0;
}

const struct pseudo_desc proc_net_rows[] = {
    PSEUDO_TEXT("arp", "IP address       HW type     Flags       HW address            Mask     Device\n"),
    PSEUDO_TEXT("dev",
                "Inter-|   Receive                                                |  Transmit\n"
                " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls "
                "carrier compressed\n"
                "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     "
                "0       0          0\n"),
    PSEUDO_TEXT("dev_mcast", ""),
    PSEUDO_TEXT("if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
    PSEUDO_TEXT("igmp", "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"),
    PSEUDO_TEXT("netlink", "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"),
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
    PSEUDO_TEXT("sockstat", "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nRAW: inuse 0\n"
                            "FRAG: inuse 0 memory 0\n"),
    PSEUDO_TEXT("tcp", INET_HEADING "                                                     \n"),
    PSEUDO_TEXT("tcp6",
                "  sl  local_address                         remote_address                        st tx_queue rx_queue tr "
                "tm->when retrnsmt   uid  timeout inode\n"),
    PSEUDO_TEXT("udp", INET_HEADING " ref pointer drops             \n"),
    PSEUDO_TEXT("udp6",
                "  sl  local_address                         remote_address                        st tx_queue rx_queue tr "
                "tm->when retrnsmt   uid  timeout inode ref pointer drops\n"),
    PSEUDO_FILE("unix", 0444, unix_show),
    PSEUDO_TEXT("wireless", ""),
    PSEUDO_END,
};
