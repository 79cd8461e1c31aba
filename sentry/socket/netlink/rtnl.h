/*
 * NETLINK_ROUTE in parts: links, addresses, routes, neighbours and rules of the netstack, as messages. Everything here runs
 * under the stack's lock.
 */
#ifndef SENTRY_SOCKET_NETLINK_RTNL_H
#define SENTRY_SOCKET_NETLINK_RTNL_H

#include "netstack/neigh.h"
#include "netstack/route.h"
#include "sentry/socket/netlink/netlink.h"

/* A request: its header's type and flags, its body, and its attributes by type. */
#define RTNL_ATTRS 64
struct rtnl_request {
    struct netstack *s;
    uint16_t type, flags;
    uint32_t uid; /* of who asks */
    const char *body;
    size_t len;
    const char *attr[RTNL_ATTRS]; /* payload; NULL: absent */
    size_t attr_len[RTNL_ATTRS];
};
/* Finds the attributes behind a fixed part of `fixed` bytes. -EINVAL: too short. */
int must_check rtnl_parse(struct rtnl_request *q, size_t fixed);
/* The same for nested attributes. */
void rtnl_parse_nested(const char *data, size_t len, const char *attr[RTNL_ATTRS], size_t attr_len[RTNL_ATTRS]);
uint32_t rtnl_u32(const struct rtnl_request *q, int type, uint32_t otherwise);
/* An address of `family`; false: absent or too short, and *out is the family's any. */
bool rtnl_addr(const struct rtnl_request *q, int type, int family, struct in6_addr *out);
void nl_attr_addr(struct nl_reply *r, uint16_t type, const struct in6_addr *a);

/* Messages about one object. */
void rtnl_put_link(struct nl_reply *r, uint16_t type, uint16_t flags, const struct nic *nic) NETSTACK_LOCKED;
void rtnl_put_addr(struct nl_reply *r, uint16_t type, uint16_t flags, const struct nic_addr *a) NETSTACK_LOCKED;
void rtnl_put_route(struct nl_reply *r, uint16_t type, uint16_t flags, const struct route *rt) NETSTACK_LOCKED;
void rtnl_put_neigh(struct nl_reply *r, uint16_t type, uint16_t flags, const struct neigh *n) NETSTACK_LOCKED;
void rtnl_put_rule(struct nl_reply *r, uint16_t type, uint16_t flags, const struct route_rule *rule) NETSTACK_LOCKED;

/* Requests: 0 answered, 1 a dump, -errno. */
int rtnl_get_link(struct rtnl_request *q, struct nl_reply *r) NETSTACK_LOCKED;
int rtnl_change_link(struct rtnl_request *q) NETSTACK_LOCKED;
int rtnl_get_addr(struct rtnl_request *q, struct nl_reply *r) NETSTACK_LOCKED;
int rtnl_change_addr(struct rtnl_request *q) NETSTACK_LOCKED;
int rtnl_get_route(struct rtnl_request *q, struct nl_reply *r) NETSTACK_LOCKED;
int rtnl_change_route(struct rtnl_request *q) NETSTACK_LOCKED;
int rtnl_get_neigh(struct rtnl_request *q, struct nl_reply *r) NETSTACK_LOCKED;
int rtnl_change_neigh(struct rtnl_request *q) NETSTACK_LOCKED;
int rtnl_get_rule(struct rtnl_request *q, struct nl_reply *r) NETSTACK_LOCKED;
int rtnl_change_rule(struct rtnl_request *q) NETSTACK_LOCKED;

#endif
