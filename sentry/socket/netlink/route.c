/* NETLINK_ROUTE: who answers which request, what requests are made of, and notifications of changes. */
#include "sentry/kernel/task.h"
#include "sentry/socket/netlink/rtnl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void rtnl_parse_nested(const char *data, size_t len, const char *attr[RTNL_ATTRS], size_t attr_len[RTNL_ATTRS])
{
    while (len >= NLA_HDRLEN) {
        struct nlattr a;
        uint16_t type;

        memcpy(&a, data, sizeof(a));
        if (a.nla_len < NLA_HDRLEN || a.nla_len > len)
            return;
        type = a.nla_type & NLA_TYPE_MASK;
        if (type < RTNL_ATTRS) {
            attr[type] = data + NLA_HDRLEN;
            attr_len[type] = a.nla_len - NLA_HDRLEN;
        }
        if (NLA_ALIGN(a.nla_len) >= len)
            return;
        data += NLA_ALIGN(a.nla_len);
        len -= NLA_ALIGN(a.nla_len);
    }
}

int rtnl_parse(struct rtnl_request *q, size_t fixed)
{
    if (q->len < fixed)
        return -EINVAL;
    if (q->len > NLMSG_ALIGN(fixed))
        rtnl_parse_nested(q->body + NLMSG_ALIGN(fixed), q->len - NLMSG_ALIGN(fixed), q->attr, q->attr_len);
    return 0;
}

uint32_t rtnl_u32(const struct rtnl_request *q, int type, uint32_t otherwise)
{
    uint32_t v;

    if (!q->attr[type] || q->attr_len[type] < sizeof(v))
        return otherwise;
    memcpy(&v, q->attr[type], sizeof(v));
    return v;
}

bool rtnl_addr(const struct rtnl_request *q, int type, int family, struct in6_addr *out)
{
    be32 v4;

    *out = addr_any(family);
    if (!q->attr[type] || q->attr_len[type] < (family == AF_INET ? sizeof(v4) : sizeof(*out)))
        return false;
    if (family == AF_INET6) {
        memcpy(out, q->attr[type], sizeof(*out));
    } else {
        memcpy(&v4, q->attr[type], sizeof(v4));
        *out = addr_from_v4(v4);
    }
    return true;
}

void nl_attr_addr(struct nl_reply *r, uint16_t type, const struct in6_addr *a)
{
    if (addr_is_v4(a))
        nl_attr(r, type, &a->s6_addr[12], 4);
    else
        nl_attr(r, type, a, sizeof(*a));
}

static int get(struct rtnl_request *q, struct nl_reply *out) NETSTACK_LOCKED
{
    switch (q->type) {
    case RTM_GETLINK:
        return rtnl_get_link(q, out);
    case RTM_GETADDR:
        return rtnl_get_addr(q, out);
    case RTM_GETROUTE:
        return rtnl_get_route(q, out);
    case RTM_GETNEIGH:
        return rtnl_get_neigh(q, out);
    case RTM_GETRULE:
        return rtnl_get_rule(q, out);
    case RTM_GETQDISC:
    case RTM_GETTCLASS:
    case RTM_GETTFILTER:
    case RTM_GETNETCONF:
    case RTM_GETNEXTHOP:
        return q->flags & NLM_F_DUMP ? 1 : -EOPNOTSUPP;
    default:
        return -EOPNOTSUPP;
    }
}

static int change(struct rtnl_request *q) NETSTACK_LOCKED
{
    switch (q->type) {
    case RTM_NEWLINK:
    case RTM_SETLINK:
    case RTM_DELLINK:
        return rtnl_change_link(q);
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return rtnl_change_addr(q);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return rtnl_change_route(q);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        return rtnl_change_neigh(q);
    case RTM_NEWRULE:
    case RTM_DELRULE:
        return rtnl_change_rule(q);
    default:
        return -EOPNOTSUPP;
    }
}

int rtnetlink_request(struct task *t, const struct nlmsghdr *h, const void *body, size_t n, struct nl_reply *out)
{
    struct netstack *s = t->k->net->stack;
    struct rtnl_request q = {
        .s = s, .type = h->nlmsg_type, .flags = h->nlmsg_flags, .uid = t->cred->euid, .body = body, .len = n};
    bool getting;
    int r;

    if (h->nlmsg_type > RTM_MAX)
        return -EOPNOTSUPP;
    /* Each object has four types: NEW, DEL, GET, SET. */
    getting = (h->nlmsg_type & 3) == 2;
    if (!getting && !cred_has_cap(t->cred, CAP_NET_ADMIN))
        return -EPERM;
    if (n < sizeof(struct rtgenmsg))
        return 0; /* too short to mean anything, as Linux sees it */
    /* NLM_F_DUMP is two bits, one of which means other things elsewhere. */
    if (getting && (q.flags & NLM_F_DUMP) != NLM_F_DUMP)
        q.flags &= (uint16_t)~NLM_F_DUMP;
    netstack_lock(s);
    r = getting ? get(&q, out) : change(&q);
    netstack_unlock(s);
    return r;
}

/* Which group hears of it, and what. */
static unsigned int describe(struct nl_reply *r, enum netstack_event event, const void *object) NETSTACK_LOCKED
{
    const struct route *rt = object;
    const struct nic_addr *a = object;
    const struct route_rule *rule = object;

    switch (event) {
    case NETSTACK_LINK_NEW:
    case NETSTACK_LINK_DEL:
        rtnl_put_link(r, event == NETSTACK_LINK_NEW ? RTM_NEWLINK : RTM_DELLINK, 0, object);
        return RTNLGRP_LINK;
    case NETSTACK_ADDR_NEW:
    case NETSTACK_ADDR_DEL:
        rtnl_put_addr(r, event == NETSTACK_ADDR_NEW ? RTM_NEWADDR : RTM_DELADDR, 0, a);
        return addr_is_v4(&a->addr) ? RTNLGRP_IPV4_IFADDR : RTNLGRP_IPV6_IFADDR;
    case NETSTACK_ROUTE_NEW:
    case NETSTACK_ROUTE_DEL:
        rtnl_put_route(r, event == NETSTACK_ROUTE_NEW ? RTM_NEWROUTE : RTM_DELROUTE, 0, rt);
        return addr_is_v4(&rt->dst) ? RTNLGRP_IPV4_ROUTE : RTNLGRP_IPV6_ROUTE;
    case NETSTACK_NEIGH_NEW:
    case NETSTACK_NEIGH_DEL:
        rtnl_put_neigh(r, event == NETSTACK_NEIGH_NEW ? RTM_NEWNEIGH : RTM_DELNEIGH, 0, object);
        return RTNLGRP_NEIGH;
    case NETSTACK_RULE_NEW:
    case NETSTACK_RULE_DEL:
        rtnl_put_rule(r, event == NETSTACK_RULE_NEW ? RTM_NEWRULE : RTM_DELRULE, 0, rule);
        return rule->family == AF_INET ? RTNLGRP_IPV4_RULE : RTNLGRP_IPV6_RULE;
    }
    return 0;
}

void netlink_notify(struct net *net, enum netstack_event event, const void *object) NO_THREAD_SAFETY_ANALYSIS
{
    struct nl_reply r = {.buf = NULL};
    unsigned int group;

    /* Mostly nobody listens. */
    if (atomic_load_explicit(&net->netlink_members, memory_order_relaxed) == 0)
        return;
    group = describe(&r, event, object);
    if (group && !r.failed)
        netlink_multicast(net, NETLINK_ROUTE, group, r.buf, r.len);
    free(r.buf);
}
