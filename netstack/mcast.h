/*
 * Multicast: memberships of endpoints with their source filters (RFC 3376, RFC 3678), what follows from them for each NIC, and
 * IGMPv3 (v2 when a v2 querier is heard) and MLDv2 that tell routers.
 */
#ifndef NETSTACK_MCAST_H
#define NETSTACK_MCAST_H

#include "netstack/nic.h"

#define MCAST_SOURCES_MAX 64 /* whatever the sysctl says */

struct endpoint;

/* An endpoint's membership in a group on an interface. mode: MCAST_EXCLUDE with no sources hears everybody. */
struct mcast_member {
    struct list_head node;
    struct list_head group_node; /* in mcast_group.members */
    struct in6_addr group;
    int ifindex;
    int mode; /* MCAST_EXCLUDE, MCAST_INCLUDE */
    unsigned int nr_sources;
    struct in6_addr sources[MCAST_SOURCES_MAX];
};

/* `ifindex` 0: by the route to the group, else by the default. Errors are those of setsockopt: -EADDRINUSE (already a member),
 * -ENODEV, -EADDRNOTAVAIL (no such membership), -ENOBUFS (too many), -EINVAL. */
int must_check mcast_join(struct endpoint *ep, const struct in6_addr *group, int ifindex) NETSTACK_LOCKED;
int mcast_leave(struct endpoint *ep, const struct in6_addr *group, int ifindex) NETSTACK_LOCKED;
int must_check mcast_join_source(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source,
                                 int ifindex) NETSTACK_LOCKED;
int mcast_leave_source(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source,
                       int ifindex) NETSTACK_LOCKED;
int must_check mcast_block(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source,
                           int ifindex) NETSTACK_LOCKED;
int mcast_unblock(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source,
                  int ifindex) NETSTACK_LOCKED;
int must_check mcast_set_filter(struct endpoint *ep, const struct in6_addr *group, int ifindex, int mode,
                                const struct in6_addr *sources, unsigned int n) NETSTACK_LOCKED;
/* The membership, or NULL; for IP_MSFILTER. */
struct mcast_member *mcast_find(struct endpoint *ep, const struct in6_addr *group, int ifindex) NETSTACK_LOCKED;
void mcast_leave_all(struct endpoint *ep) NETSTACK_LOCKED;

/* Does the endpoint want this packet (memberships, sources, IP_MULTICAST_ALL)? */
bool mcast_wanted(const struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source,
                  int ifindex) NETSTACK_LOCKED;

/* A group that a NIC hears: the sum of what endpoints and the stack itself want. */
struct mcast_group {
    struct list_head node;
    struct nic *nic;
    struct in6_addr group;
    struct list_head members; /* struct mcast_member */
    unsigned int own;         /* memberships of the stack itself, which hear everybody */
    int reports_left;         /* of a change */
    int64_t change_at;        /* when the next of them is due */
    int64_t report_at;        /* answer to a query; 0: none due */
};

/* The stack's own memberships (all-nodes, solicited-node...). */
void mcast_nic_join(struct nic *nic, const struct in6_addr *group) NETSTACK_LOCKED;
void mcast_nic_leave(struct nic *nic, const struct in6_addr *group) NETSTACK_LOCKED;
struct mcast_group *mcast_nic_find(struct nic *nic, const struct in6_addr *group) NETSTACK_LOCKED;
void mcast_nic_flush(struct nic *nic) NETSTACK_LOCKED;
void mcast_nic_up(struct nic *nic, bool up) NETSTACK_LOCKED;
/* Does anybody still want it? A group that nobody wants is kept until that has been told. */
static inline bool mcast_group_used(const struct mcast_group *g)
{
    return g->own || !list_empty(&g->members);
}
/* The Ethernet address of a group. */
void mcast_mac(const struct in6_addr *group, uint8_t *mac);

/* mcast_report.c: sends what is due and arms the NIC's timer for the rest. */
void mcast_work(struct nic *nic) NETSTACK_LOCKED;
void mcast_timer(struct net_timer *t);

void igmp_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED;
void mld_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED; /* data at the ICMPv6 header; not consumed */

#endif
