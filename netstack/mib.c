#include "netstack/mib.h"

#define ENTRY(group, name) {#group, #name, offsetof(struct net_mib, group##name)},
#define MIB_IP(n)          ENTRY(Ip, n)
#define MIB_ICMP(n)        ENTRY(Icmp, n)
#define MIB_TCP(n)         ENTRY(Tcp, n)
#define MIB_UDP(n)         ENTRY(Udp, n)
#define MIB_UDPL(n)        ENTRY(UdpLite, n)
#define MIB_IPEXT(n)       ENTRY(IpExt, n)
#define MIB_TCPEXT(n)      ENTRY(TcpExt, n)
#define MIB_IP6(n)         ENTRY(Ip6, n)
#define MIB_ICMP6(n)       ENTRY(Icmp6, n)
#define MIB_UDP6(n)        ENTRY(Udp6, n)
#define MIB_UDPL6(n)       ENTRY(UdpLite6, n)

const struct mib_entry mib_table[] = {
#include "netstack/mib.def"
};
const size_t mib_table_len = sizeof(mib_table) / sizeof(mib_table[0]);
