/*
 * Network interfaces and their addresses.
 *
 * Frames given to ops->xmit and to nic_input() begin with their link header: 14 bytes of Ethernet, on loopback too.
 */
#ifndef NETSTACK_NIC_H
#define NETSTACK_NIC_H

#include "netstack/stack.h"

#include <linux/if_link.h>
#include <net/if.h>

struct mcast_group;

#define NIC_MTU_MIN  68
#define NIC_MTU_MAX  65536
#define NIC_HDR_LEN  14
#define NIC_MAX      256  /* per stack */
#define NIC_ADDR_MAX 1024 /* per NIC */

struct nic_ops {
    /* Sends or queues a frame, which is the NIC's now. Under the lock; must not block: what cannot be sent is dropped and
     * counted (stats.tx_dropped). */
    void (*xmit)(struct nic *nic, struct pkt *p);
    /*
     * Called when the lock has been dropped, without it, if anything was given to xmit: the time for one system call for many
     * frames. One thread at a time is in here; it goes on until it finds nothing queued, and says nic_sent_all() under the same
     * hold of the lock. NULL: xmit does it.
     */
    void (*send)(struct nic *nic);
    /* May refuse a change (-EINVAL). NULL: any is fine. */
    int (*set_mtu)(struct nic *nic, uint32_t mtu);
    /* Somebody wants to hear all frames, or no longer. NULL: it hears them anyway. */
    void (*set_promisc)(struct nic *nic, bool on);
    /* The driver's part of nic_destroy(); frees the memory that `nic` is in. NULL: free(nic). */
    void (*destroy)(struct nic *nic);
};

enum nic_feature {
    NIC_CSUM = 1, /* takes PKT_CSUM_PARTIAL, any protocol */
    NIC_TSO4 = 2, /* takes PKT_GSO_TCPV4 */
    NIC_TSO6 = 4,
    NIC_USO = 8,     /* takes PKT_GSO_UDP */
    NIC_NO_ARP = 16, /* no neighbours to find: loopback, point-to-point */
    NIC_LOOPBACK = 32,
};

/* Settings of /proc/sys/net/ipv[46]/{conf,neigh}/NIC. */
struct nic_conf {
    int forwarding4, forwarding6; /* copies of the stack's when the NIC is made, set with them */
    int rp_filter, accept_local, proxy_arp, arp_ignore, accept_source_route;
    int disable_ipv6, accept_ra, autoconf, dad_transmits, hop_limit, rtr_solicits, mtu6;
    int64_t base_reachable, retrans;              /* ns */
    int ucast_solicit, mcast_solicit, unres_qlen; /* packets */
};

/* An address of a NIC. `flags`: IFA_F_PERMANENT, _TENTATIVE, _DEPRECATED, _DADFAILED, _NODAD, _MANAGETEMPADDR, _SECONDARY... */
struct nic_addr {
    struct list_head node;
    struct nic *nic;
    struct in6_addr addr, peer; /* peer: the other end of a point-to-point address, else equal to addr */
    struct in6_addr broadcast;  /* IPv4; any: none */
    uint8_t plen;               /* 0..32 in IPv4 */
    uint8_t scope;              /* RT_SCOPE_* */
    uint32_t flags;
    uint32_t metric;                      /* of its prefix route; 0: default */
    int64_t preferred_until, valid_until; /* ns of now; INT64_MAX: for ever */
    int64_t created, updated;
    char label[IFNAMSIZ]; /* IPv4 */
    int dad_left;
    struct net_timer timer; /* duplicate detection */
};

/* Somebody who looks at all frames of a NIC: packet endpoints, pcap. */
struct nic_tap {
    struct list_head node;
    /* The frame begins with its link header; it is the NIC's: clone it to keep it. */
    void (*fn)(struct nic_tap *tap, struct nic *nic, struct pkt *p, bool outgoing);
};

struct nic {
    struct list_head node;
    struct netstack *stack;
    const struct nic_ops *ops;
    char name[IFNAMSIZ];
    int index;
    uint32_t mtu;
    uint8_t mac[6];
    uint16_t arp_type;  /* ARPHRD_ETHER, ARPHRD_LOOPBACK */
    unsigned int flags; /* IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_PROMISC, IFF_ALLMULTI...; IFF_RUNNING and
                         * IFF_LOWER_UP follow `carrier` */
    bool carrier;
    unsigned int features;  /* enum nic_feature */
    uint32_t gso_max;       /* longest GSO packet that it takes: 65536 */
    uint32_t tx_queue_len;  /* as shown */
    int promisc;            /* how many want it */
    struct list_head addrs; /* struct nic_addr: IPv4 in order of adding, then IPv6 */
    int nr_addrs;
    struct list_head taps;
    struct list_head groups; /* struct mcast_group: what is heard, see mcast.h */
    struct nic_conf conf;
    bool sending;            /* somebody is in ops->send, or will be */
    struct nic *next_sender; /* in netstack.senders */
    struct net_timer rs_timer, ra_timer, mcast_timer;
    int rs_left;
    int64_t mc_general_at[2]; /* answers to general queries, IGMP and MLD, are due; 0: none */
    int64_t mc_old_until[2];  /* a querier of IGMPv2 (MLDv1) was heard: speak so */
    struct in6_addr token;    /* interface identifier for SLAAC */
    struct rtnl_link_stats64 stats;
    void *driver; /* the driver's own */
};

/* conf.disable_ipv6 has changed: drops the addresses, or gives those that an interface has by itself. */
void nic_switch_ipv6(struct nic *nic) NETSTACK_LOCKED;
/* Fills in the common part of `nic`, whose name (may hold "%d"), mac, mtu, arp_type and features the caller has set, and adds
 * it to the stack, down. -EEXIST, -EINVAL (a bad name), -ENOSPC (too many). On failure the caller still owns the memory. */
int must_check nic_add(struct netstack *s, struct nic *nic, const struct nic_ops *ops) NETSTACK_LOCKED;
/* Takes it out of the stack, with its addresses, routes and neighbours, and destroys it. */
void nic_destroy(struct nic *nic) NETSTACK_LOCKED;
struct nic *nic_by_index(struct netstack *s, int index) NETSTACK_LOCKED;
struct nic *nic_by_name(struct netstack *s, const char *name) NETSTACK_LOCKED;

/* Nothing is queued in the driver. */
void nic_sent_all(struct nic *nic) NETSTACK_LOCKED;

/* A frame has arrived. The packet is the stack's now. PKT_CSUM_PARTIAL and GSO are fine whatever the features. */
void nic_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED;
/* Sends a frame whose link header is in place: taps, segmentation and checksums in software if the NIC cannot, ops->xmit. */
void nic_xmit(struct nic *nic, struct pkt *p) NETSTACK_LOCKED;
/* Puts an Ethernet header before an IP packet and sends it. `dst`: 6 bytes. */
void nic_xmit_to(struct nic *nic, struct pkt *p, const uint8_t *dst, be16 protocol) NETSTACK_LOCKED;

/* Up: an IPv6 link-local address is made (if IPv6 is on and it is an Ethernet), routes of the prefixes appear. Down: they, IPv6
 * addresses and neighbours go. */
int must_check nic_set_up(struct nic *nic, bool up) NETSTACK_LOCKED;
void nic_set_carrier(struct nic *nic, bool on) NETSTACK_LOCKED;
int must_check nic_set_mtu(struct nic *nic, uint32_t mtu) NETSTACK_LOCKED;       /* -EINVAL */
int must_check nic_set_mac(struct nic *nic, const uint8_t *mac) NETSTACK_LOCKED; /* -EADDRNOTAVAIL: not unicast */
int must_check nic_set_name(struct nic *nic, const char *name) NETSTACK_LOCKED;
/* Counts: each true needs a false. */
void nic_set_promisc(struct nic *nic, bool on) NETSTACK_LOCKED;
unsigned int nic_flags(const struct nic *nic); /* as SIOCGIFFLAGS and rtnetlink show them */

/* Adds an address: its local and broadcast routes, and the prefix's unless IFA_F_NOPREFIXROUTE; IPv6 ones are tentative until
 * checked, unless IFA_F_NODAD. `a` is a template: addr, plen and whatever else is not zero. -EEXIST, -EINVAL, -ENOSPC, -ENOMEM.
 */
int must_check nic_addr_add(struct nic *nic, const struct nic_addr *a) NETSTACK_LOCKED;
/* Short form. */
int must_check nic_addr_add_plain(struct nic *nic, const struct in6_addr *addr, unsigned int plen) NETSTACK_LOCKED;
int nic_addr_del(struct nic *nic, const struct in6_addr *addr, int plen) NETSTACK_LOCKED; /* plen -1: any. -EADDRNOTAVAIL */
struct nic_addr *nic_addr_find(struct nic *nic, const struct in6_addr *addr) NETSTACK_LOCKED;
/* The same on any NIC; `nic` not NULL: on that, as link-local addresses need. Not tentative ones unless asked. */
struct nic_addr *netstack_addr_find(struct netstack *s, const struct in6_addr *addr, struct nic *nic,
                                    bool tentative) NETSTACK_LOCKED;
/* Does the stack answer to it: an address of a NIC, 127/8, or what a local route says? For bind(). */
bool netstack_addr_is_local(struct netstack *s, const struct in6_addr *addr) NETSTACK_LOCKED;
/* An address to be the source of packets to `dst` that leave by `nic` (RFC 6724 for IPv6). False: there is none. */
bool nic_source(struct nic *nic, const struct in6_addr *dst, int scope, struct in6_addr *out) NETSTACK_LOCKED;

void nic_tap_add(struct nic *nic, struct nic_tap *tap) NETSTACK_LOCKED;
void nic_tap_del(struct nic_tap *tap) NETSTACK_LOCKED;

#endif
