/* Addresses and neighbours: `ip addr`, `ip neigh`. */
#include "sentry/socket/netlink/rtnl.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <string.h>

#define NSEC_PER_SEC 1000000000LL

/* Seconds from now, as cacheinfo has it: for ever is all ones. */
static uint32_t seconds_left(int64_t now, int64_t until)
{
    return until == INT64_MAX ? UINT32_MAX : until <= now ? 0 : (uint32_t)((until - now) / NSEC_PER_SEC);
}

void rtnl_put_addr(struct nl_reply *r, uint16_t type, uint16_t flags, const struct nic_addr *a)
{
    bool v4 = addr_is_v4(&a->addr);
    int64_t now = netstack_now(a->nic->stack);
    struct ifaddrmsg msg = {.ifa_family = v4 ? AF_INET : AF_INET6,
                            .ifa_prefixlen = a->plen,
                            .ifa_flags = (uint8_t)a->flags,
                            .ifa_scope = a->scope,
                            .ifa_index = (uint32_t)a->nic->index};
    struct ifa_cacheinfo life = {.ifa_prefered = seconds_left(now, a->preferred_until),
                                 .ifa_valid = seconds_left(now, a->valid_until),
                                 .cstamp = (uint32_t)(a->created / 10000000),
                                 .tstamp = (uint32_t)(a->updated / 10000000)};

    nl_begin(r, type, flags, &msg, sizeof(msg));
    nl_attr_addr(r, IFA_ADDRESS, &a->peer);
    if (v4 || !addr_equal(&a->addr, &a->peer))
        nl_attr_addr(r, IFA_LOCAL, &a->addr);
    if (v4 && !addr_is_any(&a->broadcast))
        nl_attr_addr(r, IFA_BROADCAST, &a->broadcast);
    if (v4)
        nl_attr_str(r, IFA_LABEL, a->label[0] ? a->label : a->nic->name);
    nl_attr_u32(r, IFA_FLAGS, a->flags);
    nl_attr(r, IFA_CACHEINFO, &life, sizeof(life));
    nl_end(r);
}

int rtnl_get_addr(struct rtnl_request *q, struct nl_reply *r)
{
    uint8_t family = q->len ? (uint8_t)q->body[0] : AF_UNSPEC;
    struct ifaddrmsg msg = {0};
    struct nic_addr *a;
    struct nic *nic;

    if (!(q->flags & NLM_F_DUMP))
        return -EOPNOTSUPP;
    if (q->len >= sizeof(msg))
        memcpy(&msg, q->body, sizeof(msg));
    for (int pass = 0; pass < 2; pass++) {
        if (family != AF_UNSPEC && family != (pass ? AF_INET6 : AF_INET))
            continue;
        list_for_each_entry(nic, &q->s->nics, node) {
            if (msg.ifa_index && (int)msg.ifa_index != nic->index)
                continue;
            list_for_each_entry(a, &nic->addrs, node) {
                if (addr_is_v4(&a->addr) == !pass)
                    rtnl_put_addr(r, RTM_NEWADDR, NLM_F_MULTI, a);
            }
        }
    }
    return 1;
}

static int64_t until(struct netstack *s, uint32_t seconds)
{
    return seconds == UINT32_MAX ? INT64_MAX : netstack_now(s) + seconds * NSEC_PER_SEC;
}

int rtnl_change_addr(struct rtnl_request *q)
{
    struct nic_addr a = {.preferred_until = INT64_MAX, .valid_until = INT64_MAX};
    struct ifaddrmsg msg;
    struct nic *nic;
    int family, r = rtnl_parse(q, sizeof(msg));
    bool have;

    if (r < 0)
        return r;
    memcpy(&msg, q->body, sizeof(msg));
    family = msg.ifa_family;
    if (family != AF_INET && family != AF_INET6)
        return -EAFNOSUPPORT;
    nic = nic_by_index(q->s, (int)msg.ifa_index);
    if (!nic)
        return -ENODEV;
    have = rtnl_addr(q, IFA_LOCAL, family, &a.addr);
    if (!rtnl_addr(q, IFA_ADDRESS, family, &a.peer))
        a.peer = a.addr;
    else if (!have)
        a.addr = a.peer;
    if (!have && !q->attr[IFA_ADDRESS])
        return q->type == RTM_DELADDR ? -EADDRNOTAVAIL : -EINVAL;
    if (msg.ifa_prefixlen > (family == AF_INET ? 32 : 128))
        return -EINVAL;
    if (q->type == RTM_DELADDR)
        return nic_addr_del(nic, &a.addr, msg.ifa_prefixlen);
    rtnl_addr(q, IFA_BROADCAST, family, &a.broadcast);
    a.plen = msg.ifa_prefixlen;
    a.scope = msg.ifa_scope;
    a.flags = rtnl_u32(q, IFA_FLAGS, msg.ifa_flags) | IFA_F_PERMANENT;
    a.metric = rtnl_u32(q, IFA_RT_PRIORITY, 0);
    if (q->attr[IFA_LABEL])
        memcpy(a.label, q->attr[IFA_LABEL], q->attr_len[IFA_LABEL] < IFNAMSIZ ? q->attr_len[IFA_LABEL] : IFNAMSIZ - 1);
    if (q->attr[IFA_CACHEINFO] && q->attr_len[IFA_CACHEINFO] >= sizeof(struct ifa_cacheinfo)) {
        struct ifa_cacheinfo life;

        memcpy(&life, q->attr[IFA_CACHEINFO], sizeof(life));
        if (!life.ifa_valid || life.ifa_prefered > life.ifa_valid)
            return -EINVAL;
        a.preferred_until = until(q->s, life.ifa_prefered);
        a.valid_until = until(q->s, life.ifa_valid);
        if (a.valid_until != INT64_MAX)
            a.flags &= ~(uint32_t)IFA_F_PERMANENT;
    }
    if (q->flags & NLM_F_REPLACE && nic_addr_find(nic, &a.addr))
        nic_addr_del(nic, &a.addr, a.plen);
    return nic_addr_add(nic, &a);
}

void rtnl_put_neigh(struct nl_reply *r, uint16_t type, uint16_t flags, const struct neigh *n)
{
    struct ndmsg msg = {.ndm_family = (uint8_t)addr_family(&n->addr),
                        .ndm_ifindex = n->nic->index,
                        .ndm_state = n->state,
                        .ndm_flags = n->flags,
                        .ndm_type = RTN_UNICAST};
    int64_t now = netstack_now(n->nic->stack);
    struct nda_cacheinfo ci = {.ndm_confirmed = (uint32_t)((now - n->confirmed) / 10000000),
                               .ndm_used = (uint32_t)((now - n->used) / 10000000),
                               .ndm_updated = (uint32_t)((now - n->updated) / 10000000)};

    nl_begin(r, type, flags, &msg, sizeof(msg));
    nl_attr_addr(r, NDA_DST, &n->addr);
    if (n->state & (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY))
        nl_attr(r, NDA_LLADDR, n->mac, sizeof(n->mac));
    nl_attr(r, NDA_CACHEINFO, &ci, sizeof(ci));
    nl_attr_u32(r, NDA_PROBES, n->probes);
    nl_end(r);
}

struct neigh_dump {
    struct nl_reply *r;
    int ifindex;
};

static int dump_neigh(const struct neigh *n, void *arg) NETSTACK_LOCKED
{
    struct neigh_dump *d = arg;

    if (!d->ifindex || d->ifindex == n->nic->index)
        rtnl_put_neigh(d->r, RTM_NEWNEIGH, NLM_F_MULTI, n);
    return 0;
}

/* `ip neigh get` */
static int get_one_neigh(struct rtnl_request *q, struct nl_reply *r) NETSTACK_LOCKED
{
    struct in6_addr addr;
    struct neigh *n;
    struct ndmsg msg;
    struct nic *nic;
    int err = rtnl_parse(q, sizeof(msg));

    if (err < 0)
        return err;
    memcpy(&msg, q->body, sizeof(msg));
    if ((msg.ndm_family != AF_INET && msg.ndm_family != AF_INET6) || !rtnl_addr(q, NDA_DST, msg.ndm_family, &addr))
        return -EINVAL;
    nic = nic_by_index(q->s, msg.ndm_ifindex);
    if (!nic)
        return -ENODEV;
    n = neigh_find(nic, &addr);
    if (!n)
        return -ENOENT;
    rtnl_put_neigh(r, RTM_NEWNEIGH, 0, n);
    return 0;
}

int rtnl_get_neigh(struct rtnl_request *q, struct nl_reply *r)
{
    struct neigh_dump d = {.r = r};
    struct ndmsg msg = {0};

    if (!(q->flags & NLM_F_DUMP))
        return get_one_neigh(q, r);
    if (q->len >= sizeof(msg)) {
        memcpy(&msg, q->body, sizeof(msg));
        d.ifindex = msg.ndm_ifindex;
    }
    neigh_for_each(q->s, msg.ndm_family, dump_neigh, &d);
    return 1;
}

int rtnl_change_neigh(struct rtnl_request *q)
{
    const uint8_t *mac = NULL;
    struct in6_addr addr;
    struct neigh *old;
    struct ndmsg msg;
    struct nic *nic;
    int r = rtnl_parse(q, sizeof(msg));

    if (r < 0)
        return r;
    memcpy(&msg, q->body, sizeof(msg));
    if (msg.ndm_family != AF_INET && msg.ndm_family != AF_INET6)
        return -EAFNOSUPPORT;
    nic = nic_by_index(q->s, msg.ndm_ifindex);
    if (!nic)
        return -ENODEV;
    if (!rtnl_addr(q, NDA_DST, msg.ndm_family, &addr))
        return -EINVAL;
    if (q->type == RTM_DELNEIGH)
        return neigh_del(nic, &addr);
    if (q->attr[NDA_LLADDR]) {
        if (q->attr_len[NDA_LLADDR] < sizeof(nic->mac))
            return -EINVAL;
        mac = (const uint8_t *)q->attr[NDA_LLADDR];
    }
    old = neigh_find(nic, &addr);
    if (old && q->flags & NLM_F_EXCL)
        return -EEXIST;
    if (!old && !(q->flags & NLM_F_CREATE))
        return -ENOENT;
    return neigh_set(nic, &addr, mac, msg.ndm_state, msg.ndm_flags);
}
