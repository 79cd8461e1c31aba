/*
 * Neighbours: which link address an IP address on a link has. The state machine is RFC 4861's, for ARP as for NDP.
 */
#ifndef NETSTACK_NEIGH_H
#define NETSTACK_NEIGH_H

#include "netstack/nic.h"

#include <linux/neighbour.h>

#define NEIGH_MAX 1024 /* per stack; the oldest that nobody uses goes first */

struct neigh {
    struct list_head node, lru;
    struct nic *nic;
    struct in6_addr addr;
    uint8_t mac[6];
    uint16_t state; /* NUD_* */
    uint8_t flags;  /* NTF_ROUTER, NTF_PROXY */
    uint8_t probes;
    int64_t used, confirmed, updated; /* ns */
    struct net_timer timer;
    struct pkt_queue queue; /* waiting for the address */
};

int must_check neigh_create_table(struct netstack *s) NETSTACK_LOCKED;
void neigh_destroy_table(struct netstack *s);

/* Sends an IP packet to the neighbour `addr` on `nic`: at once if its link address is known, else when it is. When it turns out
 * that there is none, ICMP says "host unreachable" to the sender. */
void neigh_output(struct nic *nic, const struct in6_addr *addr, struct pkt *p) NETSTACK_LOCKED;
/* The transport has proof that the neighbour hears us (an acknowledgement that advances). */
void neigh_confirm(struct nic *nic, const struct in6_addr *addr) NETSTACK_LOCKED;

/* What ARP or NDP heard. `mac` NULL: no link address given. */
enum {
    NEIGH_OVERRIDE = 1,
    NEIGH_SOLICITED = 2,
    NEIGH_ROUTER = 4,
    NEIGH_HAS_ROUTER = 8,
    NEIGH_CREATE = 16,
    NEIGH_GRATUITOUS = 32
};
void neigh_heard(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac, unsigned int flags) NETSTACK_LOCKED;

struct neigh *neigh_find(struct nic *nic, const struct in6_addr *addr) NETSTACK_LOCKED;
/* For rtnetlink and SIOCSARP. state: NUD_PERMANENT, NUD_REACHABLE, ... `mac` may be NULL for states without address. -ENOSPC.
 */
int must_check neigh_set(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac, uint16_t state,
                         uint8_t flags) NETSTACK_LOCKED;
int neigh_del(struct nic *nic, const struct in6_addr *addr) NETSTACK_LOCKED; /* -ENOENT */
int neigh_for_each(struct netstack *s, int family, int (*fn)(const struct neigh *n, void *arg), void *arg) NETSTACK_LOCKED;
/* All of a NIC's, permanent ones too if it goes away. */
void neigh_flush_nic(struct nic *nic, bool permanent) NETSTACK_LOCKED;

/* arp.c */
void arp_input(struct nic *nic, struct pkt *p) NETSTACK_LOCKED;
void arp_solicit(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac) NETSTACK_LOCKED; /* mac NULL: broadcast */

#endif
