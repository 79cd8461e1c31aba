/* Routes and rules: `ip route`, `ip rule`. */
#include "sentry/socket/netlink/rtnl.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <string.h>

#define K_RTCF_LOCAL 0x80000000u

static uint8_t table_byte(uint32_t table)
{
    return table < 256 ? (uint8_t)table : RT_TABLE_COMPAT;
}

static void put_metrics(struct nl_reply *r, const struct route *rt)
{
    const uint32_t values[][2] = {
        {RTAX_MTU, rt->mtu}, {RTAX_WINDOW, rt->window}, {RTAX_ADVMSS, rt->advmss}, {RTAX_HOPLIMIT, rt->hoplimit}};
    struct {
        struct nlattr a;
        uint32_t v;
    } nest[4];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        if (!values[i][1])
            continue;
        nest[n].a = (struct nlattr){.nla_len = sizeof(nest[n]), .nla_type = (uint16_t)values[i][0]};
        nest[n++].v = values[i][1];
    }
    if (n)
        nl_attr(r, RTA_METRICS, nest, n * sizeof(nest[0]));
}

/* The answer to "how do I get there" says who asked. */
#define NO_UID UINT32_MAX

static void put_route(struct nl_reply *r, uint16_t type, uint16_t flags, const struct route *rt, uint32_t uid)
{
    bool v4 = addr_is_v4(&rt->dst);
    struct rta_cacheinfo ci = {0};
    uint8_t pref = rt->pref;
    struct rtmsg msg = {.rtm_family = v4 ? AF_INET : AF_INET6,
                        .rtm_dst_len = rt->plen,
                        .rtm_tos = rt->tos,
                        .rtm_table = table_byte(rt->table),
                        .rtm_protocol = rt->protocol,
                        .rtm_scope = v4 ? rt->scope : RT_SCOPE_UNIVERSE,
                        .rtm_type = rt->type,
                        .rtm_flags = rt->flags};

    nl_begin(r, type, flags, &msg, sizeof(msg));
    nl_attr_u32(r, RTA_TABLE, rt->table);
    if (rt->plen)
        nl_attr_addr(r, RTA_DST, &rt->dst);
    if (!addr_is_any(&rt->prefsrc))
        nl_attr_addr(r, RTA_PREFSRC, &rt->prefsrc);
    if (rt->metric || !v4)
        nl_attr_u32(r, RTA_PRIORITY, rt->metric);
    if (!addr_is_any(&rt->gateway))
        nl_attr_addr(r, RTA_GATEWAY, &rt->gateway);
    if (rt->nic)
        nl_attr_u32(r, RTA_OIF, (uint32_t)rt->nic->index);
    put_metrics(r, rt);
    if (uid != NO_UID)
        nl_attr_u32(r, RTA_UID, uid);
    if (!v4 || rt->flags & RTM_F_CLONED)
        nl_attr(r, RTA_CACHEINFO, &ci, sizeof(ci));
    if (!v4) {
        nl_attr(r, RTA_PREF, &pref, 1);
    }
    nl_end(r);
}

void rtnl_put_route(struct nl_reply *r, uint16_t type, uint16_t flags, const struct route *rt)
{
    put_route(r, type, flags, rt, NO_UID);
}

struct route_dump {
    struct nl_reply *r;
    uint32_t table;
    int oif;
};

static int dump_route(const struct route *rt, void *arg) NETSTACK_LOCKED
{
    struct route_dump *d = arg;

    if ((!d->table || d->table == rt->table) && (!d->oif || (rt->nic && rt->nic->index == d->oif)))
        rtnl_put_route(d->r, RTM_NEWROUTE, NLM_F_MULTI, rt);
    return 0;
}

/* "How do I get to this address?" */
static int lookup(struct rtnl_request *q, const struct rtmsg *msg, struct nl_reply *r) NETSTACK_LOCKED
{
    struct route_key key = {.oif = (int)rtnl_u32(q, RTA_OIF, 0), .mark = rtnl_u32(q, RTA_MARK, 0), .tos = msg->rtm_tos};
    bool v4 = msg->rtm_family == AF_INET;
    struct route_result res;
    struct route rt;
    int err;

    if (msg->rtm_family != AF_INET && msg->rtm_family != AF_INET6)
        return -EINVAL;
    if (!rtnl_addr(q, RTA_DST, msg->rtm_family, &key.dst))
        return -EINVAL;
    rtnl_addr(q, RTA_SRC, msg->rtm_family, &key.src);
    err = route_lookup(q->s, &key, &res);
    if (err < 0)
        return err;
    /* IPv4's answer is an entry of a cache that Linux no longer has; IPv6's is the route. */
    rt = (struct route){.dst = key.dst,
                        .plen = v4 ? 32 : 128,
                        .table = res.table && !(v4 && res.table == RT_TABLE_LOCAL) ? res.table : RT_TABLE_MAIN,
                        .protocol = !v4 && res.type == RTN_LOCAL ? RTPROT_KERNEL : RTPROT_UNSPEC,
                        .scope = RT_SCOPE_UNIVERSE,
                        .type = res.type,
                        .nic = res.nic,
                        .prefsrc = res.src,
                        .flags = v4 ? RTM_F_CLONED | (res.type == RTN_LOCAL ? K_RTCF_LOCAL : 0) : 0,
                        .expires = INT64_MAX};
    if (res.gatewayed)
        rt.gateway = res.nexthop;
    put_route(r, RTM_NEWROUTE, 0, &rt, v4 ? rtnl_u32(q, RTA_UID, q->uid) : NO_UID);
    return 0;
}

int rtnl_get_route(struct rtnl_request *q, struct nl_reply *r)
{
    struct route_dump d = {.r = r};
    struct rtmsg msg = {0};
    int err;

    if (!(q->flags & NLM_F_DUMP)) {
        err = rtnl_parse(q, sizeof(msg));
        if (err < 0)
            return err;
        memcpy(&msg, q->body, sizeof(msg));
        return lookup(q, &msg, r);
    }
    if (q->len >= sizeof(msg) && rtnl_parse(q, sizeof(msg)) == 0) {
        memcpy(&msg, q->body, sizeof(msg));
        d.table = rtnl_u32(q, RTA_TABLE, msg.rtm_table);
        d.oif = (int)rtnl_u32(q, RTA_OIF, 0);
        /* The cache has nothing of its own to show. */
        if (msg.rtm_flags & RTM_F_CLONED)
            return 1;
    }
    route_for_each(q->s, q->len ? (uint8_t)q->body[0] : AF_UNSPEC, dump_route, &d);
    return 1;
}

static void parse_metrics(const struct rtnl_request *q, struct route *rt)
{
    const char *attr[RTNL_ATTRS] = {NULL};
    size_t len[RTNL_ATTRS] = {0};
    struct {
        int type;
        uint32_t *to;
    } known[] = {{RTAX_MTU, &rt->mtu}, {RTAX_WINDOW, &rt->window}, {RTAX_ADVMSS, &rt->advmss}, {RTAX_HOPLIMIT, &rt->hoplimit}};

    if (!q->attr[RTA_METRICS])
        return;
    rtnl_parse_nested(q->attr[RTA_METRICS], q->attr_len[RTA_METRICS], attr, len);
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (attr[known[i].type] && len[known[i].type] >= sizeof(uint32_t))
            memcpy(known[i].to, attr[known[i].type], sizeof(uint32_t));
}

int rtnl_change_route(struct rtnl_request *q)
{
    struct route rt = {.expires = INT64_MAX};
    struct rtmsg msg;
    int family, oif, r = rtnl_parse(q, sizeof(msg));

    if (r < 0)
        return r;
    memcpy(&msg, q->body, sizeof(msg));
    family = msg.rtm_family;
    if (family != AF_INET && family != AF_INET6)
        return -EAFNOSUPPORT;
    if (msg.rtm_dst_len > (family == AF_INET ? 32 : 128) || msg.rtm_src_len)
        return -EINVAL;
    if (q->attr[RTA_MULTIPATH])
        return -EOPNOTSUPP;
    rtnl_addr(q, RTA_DST, family, &rt.dst);
    rtnl_addr(q, RTA_GATEWAY, family, &rt.gateway);
    rtnl_addr(q, RTA_PREFSRC, family, &rt.prefsrc);
    rt.plen = msg.rtm_dst_len;
    rt.tos = msg.rtm_tos;
    rt.protocol = msg.rtm_protocol;
    rt.scope = msg.rtm_scope;
    rt.type = msg.rtm_type;
    rt.table = rtnl_u32(q, RTA_TABLE, msg.rtm_table);
    rt.metric = rtnl_u32(q, RTA_PRIORITY, 0);
    rt.flags = msg.rtm_flags & RTNH_F_ONLINK;
    if (!rt.table)
        rt.table = RT_TABLE_MAIN;
    parse_metrics(q, &rt);
    oif = (int)rtnl_u32(q, RTA_OIF, 0);
    if (oif && !(rt.nic = nic_by_index(q->s, oif)))
        return -ENODEV;
    return q->type == RTM_DELROUTE ? route_del(q->s, &rt) : route_add(q->s, &rt, q->flags);
}

void rtnl_put_rule(struct nl_reply *r, uint16_t type, uint16_t flags, const struct route_rule *rule)
{
    struct fib_rule_hdr h = {.family = (uint8_t)rule->family,
                             .dst_len = rule->dst_plen,
                             .src_len = rule->src_plen,
                             .tos = rule->tos,
                             .table = table_byte(rule->table),
                             .action = rule->action,
                             .flags = rule->invert ? FIB_RULE_INVERT : 0};

    nl_begin(r, type, flags, &h, sizeof(h));
    nl_attr_u32(r, FRA_TABLE, rule->table);
    nl_attr_u32(r, FRA_SUPPRESS_PREFIXLEN, rule->suppress ? (uint32_t)rule->suppress_prefixlen : UINT32_MAX);
    nl_attr(r, FRA_PROTOCOL, &rule->protocol, 1);
    if (rule->priority)
        nl_attr_u32(r, FRA_PRIORITY, rule->priority);
    if (rule->src_plen)
        nl_attr_addr(r, FRA_SRC, &rule->src);
    if (rule->dst_plen)
        nl_attr_addr(r, FRA_DST, &rule->dst);
    if (rule->iif[0])
        nl_attr_str(r, FRA_IIFNAME, rule->iif);
    if (rule->oif[0])
        nl_attr_str(r, FRA_OIFNAME, rule->oif);
    if (rule->mark || rule->mark_mask) {
        nl_attr_u32(r, FRA_FWMARK, rule->mark);
        nl_attr_u32(r, FRA_FWMASK, rule->mark_mask);
    }
    if (rule->uid_range) {
        struct fib_rule_uid_range range = {rule->uid_min, rule->uid_max};

        nl_attr(r, FRA_UID_RANGE, &range, sizeof(range));
    }
    if (rule->goto_priority)
        nl_attr_u32(r, FRA_GOTO, rule->goto_priority);
    nl_end(r);
}

static int dump_rule(const struct route_rule *rule, void *arg) NETSTACK_LOCKED
{
    rtnl_put_rule(arg, RTM_NEWRULE, NLM_F_MULTI, rule);
    return 0;
}

int rtnl_get_rule(struct rtnl_request *q, struct nl_reply *r)
{
    if (!(q->flags & NLM_F_DUMP))
        return -EOPNOTSUPP;
    route_rule_for_each(q->s, q->len ? (uint8_t)q->body[0] : AF_UNSPEC, dump_rule, r);
    return 1;
}

static void copy_name(const struct rtnl_request *q, int type, char name[IFNAMSIZ])
{
    if (q->attr[type])
        memcpy(name, q->attr[type], q->attr_len[type] < IFNAMSIZ ? q->attr_len[type] : IFNAMSIZ - 1);
}

int rtnl_change_rule(struct rtnl_request *q)
{
    struct route_rule rule = {.suppress_prefixlen = -1};
    struct fib_rule_hdr h;
    int r = rtnl_parse(q, sizeof(h));

    if (r < 0)
        return r;
    memcpy(&h, q->body, sizeof(h));
    if (h.family != AF_INET && h.family != AF_INET6)
        return -EAFNOSUPPORT;
    rule.family = h.family;
    rule.src_plen = h.src_len;
    rule.dst_plen = h.dst_len;
    rule.tos = h.tos;
    rule.action = h.action;
    rule.invert = h.flags & FIB_RULE_INVERT;
    rule.table = rtnl_u32(q, FRA_TABLE, h.table);
    rule.priority = rtnl_u32(q, FRA_PRIORITY, 0);
    rtnl_addr(q, FRA_SRC, h.family, &rule.src);
    rtnl_addr(q, FRA_DST, h.family, &rule.dst);
    copy_name(q, FRA_IIFNAME, rule.iif);
    copy_name(q, FRA_OIFNAME, rule.oif);
    rule.mark = rtnl_u32(q, FRA_FWMARK, 0);
    rule.mark_mask = rtnl_u32(q, FRA_FWMASK, rule.mark ? UINT32_MAX : 0);
    rule.goto_priority = rtnl_u32(q, FRA_GOTO, 0);
    if (q->attr[FRA_PROTOCOL] && q->attr_len[FRA_PROTOCOL] >= 1)
        rule.protocol = (uint8_t)q->attr[FRA_PROTOCOL][0];
    if (q->attr[FRA_SUPPRESS_PREFIXLEN]) {
        rule.suppress_prefixlen = (int)rtnl_u32(q, FRA_SUPPRESS_PREFIXLEN, 0);
        rule.suppress = rule.suppress_prefixlen >= 0;
    }
    if (q->attr[FRA_UID_RANGE] && q->attr_len[FRA_UID_RANGE] >= sizeof(struct fib_rule_uid_range)) {
        struct fib_rule_uid_range range;

        memcpy(&range, q->attr[FRA_UID_RANGE], sizeof(range));
        rule.uid_range = true;
        rule.uid_min = range.start;
        rule.uid_max = range.end;
    }
    return q->type == RTM_DELRULE ? route_rule_del(q->s, &rule) : route_rule_add(q->s, &rule, q->flags);
}
