/* Counters of /proc/net/snmp, snmp6 and netstat; mib.def lists them. Guarded by the stack's lock. */
#ifndef NETSTACK_MIB_H
#define NETSTACK_MIB_H

#include <stddef.h>
#include <stdint.h>

#define MIB_IP(n)     uint64_t Ip##n;
#define MIB_ICMP(n)   uint64_t Icmp##n;
#define MIB_TCP(n)    uint64_t Tcp##n;
#define MIB_UDP(n)    uint64_t Udp##n;
#define MIB_UDPL(n)   uint64_t UdpLite##n;
#define MIB_IPEXT(n)  uint64_t IpExt##n;
#define MIB_TCPEXT(n) uint64_t TcpExt##n;
#define MIB_IP6(n)    uint64_t Ip6##n;
#define MIB_ICMP6(n)  uint64_t Icmp6##n;
#define MIB_UDP6(n)   uint64_t Udp6##n;
#define MIB_UDPL6(n)  uint64_t UdpLite6##n;
struct net_mib {
#include "netstack/mib.def"
    uint64_t IcmpInType[256], IcmpOutType[256], Icmp6InType[256], Icmp6OutType[256];
};
#undef MIB_IP
#undef MIB_ICMP
#undef MIB_TCP
#undef MIB_UDP
#undef MIB_UDPL
#undef MIB_IPEXT
#undef MIB_TCPEXT
#undef MIB_IP6
#undef MIB_ICMP6
#undef MIB_UDP6
#undef MIB_UDPL6

/* All of them, in the order of /proc/net/snmp, netstat, snmp6; group "Ip", "Icmp", ..., "TcpExt", "IpExt", "Ip6"... */
struct mib_entry {
    const char *group, *name;
    size_t offset; /* of the uint64_t in struct net_mib */
};
extern const struct mib_entry mib_table[];
extern const size_t mib_table_len;

#define MIB_INC(s, field)    ((s)->mib.field++)
#define MIB_ADD(s, field, n) ((s)->mib.field += (n))

#endif
