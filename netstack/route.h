/*
 * Routes of both families, rules that choose tables, and what has been learnt about paths (PMTU).
 *
 * Routes hang in one hash table by (table, family, prefix length, prefix); a look-up goes through the tables that the rules
 * name, in each from the longest prefix in use to the shortest. Tables are as in Linux: 255 local (kept by nic.c), 254 main,
 * 253 default, others as one likes.
 */
#ifndef NETSTACK_ROUTE_H
#define NETSTACK_ROUTE_H

#include "netstack/nic.h"

#include <linux/rtnetlink.h>

#define ROUTE_MAX 65536 /* per stack */
#define RULE_MAX  1024

struct route {
    struct list_head node; /* in its hash chain, by prefix, then metric */
    struct in6_addr dst;   /* the family is the address's: 0.0.0.0/0 is ::ffff:0.0.0.0 with plen 0 */
    uint8_t plen;
    uint8_t tos, protocol, scope, type; /* RTPROT_*, RT_SCOPE_*, RTN_* */
    uint32_t table, metric;
    struct nic *nic;                        /* NULL for RTN_UNREACHABLE and the like */
    struct in6_addr gateway, prefsrc;       /* any (of any family): none */
    uint32_t flags;                         /* RTNH_F_ONLINK, RTM_F_* are not stored */
    uint32_t mtu, advmss, hoplimit, window; /* metrics; 0: unset */
    uint8_t pref;                           /* IPv6 router preference */
    int64_t expires;                        /* ns; INT64_MAX: never */
};

struct route_rule {
    struct list_head node; /* by priority */
    int family;
    uint32_t priority, table;
    uint8_t action; /* FR_ACT_* */
    uint8_t tos, protocol;
    struct in6_addr src, dst;
    uint8_t src_plen, dst_plen;
    char iif[IFNAMSIZ], oif[IFNAMSIZ];
    uint32_t mark, mark_mask;
    bool invert, uid_range, suppress;
    uint32_t uid_min, uid_max;
    uint32_t goto_priority;
    int suppress_prefixlen; /* with `suppress` */
};

/* What is known of a packet that looks for its way. */
struct route_key {
    struct in6_addr dst, src; /* src any: to be chosen. The family is dst's */
    int oif, iif;             /* 0: any; iif of a packet that was received */
    uint32_t mark;
    uint32_t uid;
    uint8_t tos, proto;
    be16 sport, dport;
    bool src_any_ok; /* the source need not be an address of ours (transparent, raw with header) */
};

struct route_result {
    struct nic *nic;         /* where it leaves; for RTN_LOCAL the loopback NIC */
    struct nic *local_nic;   /* RTN_LOCAL: the NIC whose address it is */
    struct in6_addr nexthop; /* whose link address to ask for: the gateway, or dst itself */
    struct in6_addr src;
    uint32_t mtu;    /* of the path: the NIC's, the route's, what ICMP said */
    bool mtu_locked; /* from ICMP: do not ask for less */
    uint32_t advmss, hoplimit, table;
    uint8_t type; /* RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST */
    uint8_t scope, flags;
    bool gatewayed;
    uint32_t gen; /* of the stack when it was looked up */
};

/* Finds the way for a packet. -ENETUNREACH, -EHOSTUNREACH, -EACCES (prohibit), -EINVAL (blackhole, or a source that is none).
 */
int must_check route_lookup(struct netstack *s, const struct route_key *key, struct route_result *out) NETSTACK_LOCKED;
/* Is an earlier answer still good? */
static inline bool route_valid(const struct netstack *s, const struct route_result *r)
{
    return r->nic && r->gen == s->route_gen;
}
/* Forgets cached answers everywhere. */
static inline void route_changed(struct netstack *s)
{
    s->route_gen++;
}

/* What a destination is to us: RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, RTN_UNICAST. `nic`: that the packet came in by. */
int route_addr_type(struct netstack *s, const struct in6_addr *a, struct nic *nic) NETSTACK_LOCKED;

/* Adds a copy. `flags` are rtnetlink's: NLM_F_CREATE, _EXCL, _REPLACE, _APPEND. -EEXIST, -ENOENT, -EINVAL, -ENETUNREACH (the
 * gateway is not on a link), -ENODEV, -ENETDOWN, -ENOSPC. */
int must_check route_add(struct netstack *s, const struct route *r, unsigned int flags) NETSTACK_LOCKED;
/* Deletes the first route that matches what is not zero in `r` (dst, plen, table always). -ESRCH. */
int route_del(struct netstack *s, const struct route *r) NETSTACK_LOCKED;
/* Calls fn for all routes of a family (0: both) in order of table and prefix, until it returns other than 0, which is returned.
 * fn must not change routes. */
int route_for_each(struct netstack *s, int family, int (*fn)(const struct route *r, void *arg), void *arg) NETSTACK_LOCKED;
/* All routes over a NIC; called when it goes down or away, or loses a source address. */
void route_flush_nic(struct nic *nic, int family) NETSTACK_LOCKED;
void route_flush_src(struct nic *nic, const struct in6_addr *src) NETSTACK_LOCKED;

int must_check route_rule_add(struct netstack *s, const struct route_rule *r, unsigned int flags) NETSTACK_LOCKED;
int route_rule_del(struct netstack *s, const struct route_rule *r) NETSTACK_LOCKED; /* -ENOENT */
int route_rule_for_each(struct netstack *s, int family, int (*fn)(const struct route_rule *r, void *arg),
                        void *arg) NETSTACK_LOCKED;

/* ICMP said that packets to `dst` must not exceed `mtu`. Kept for mtu_expires, in a bounded cache. False: not believed, or
 * nothing new. */
bool route_pmtu_update(struct netstack *s, const struct in6_addr *dst, uint32_t mtu) NETSTACK_LOCKED;

int must_check fib_create(struct netstack *s) NETSTACK_LOCKED;
void fib_destroy(struct netstack *s);
/* A path MTU that ICMP taught, or 0. */
uint32_t route_pmtu(struct netstack *s, const struct in6_addr *dst) NETSTACK_LOCKED;

#endif
