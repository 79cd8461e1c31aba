/*
 * Telling routers of groups: IGMPv3 (RFC 3376) and MLDv2 (RFC 3810), which are the same but for the layout of messages; IGMPv2
 * and MLDv1 while such a querier is about. A change of a group is told twice, as its whole new filter; queries are answered
 * after a random time, all groups of a NIC at once or one.
 */
#include "netstack/csum.h"
#include "netstack/icmp.h"
#include "netstack/mcast.h"
#include "netstack/nic_internal.h"

#include <linux/if_addr.h>
#include <linux/igmp.h>
#include <stdlib.h>

#define RECORD_MAX_SOURCES 80 /* so that a record fits any link */
#define OLD_QUERIER_TIME   (400 * NET_SEC)

enum { IS_INCLUDE = 1, IS_EXCLUDE = 2, TO_INCLUDE = 3, TO_EXCLUDE = 4 };

/* Groups that are never reported: those every node is in, and those that do not leave it. */
static bool unreported(const struct in6_addr *group)
{
    if (addr_is_v4(group))
        return addr_v4(group) == htonl(INADDR_ALLHOSTS_GROUP);
    return (group->s6_addr[1] & 0xf) <= 1 ||
           (group->s6_addr[1] == 2 && group->s6_addr32[3] == htonl(1) && !group->s6_addr32[1] && !group->s6_addr32[2] &&
            group->s6_addr[0] == 0xff && !group->s6_addr16[1]);
}

/* The filter of a NIC for a group: from those of all members (RFC 3376, 3.2). True: exclude mode. */
static bool merged_filter(const struct mcast_group *g, struct in6_addr *sources, unsigned int *n)
{
    const struct mcast_member *m, *first = NULL;
    bool exclude = g->own > 0;

    *n = 0;
    list_for_each_entry(m, &g->members, group_node) {
        if (m->mode == MCAST_EXCLUDE) {
            exclude = true;
            first = first ? first : m;
        }
    }
    if (exclude) {
        /* What is blocked by all who exclude, and wanted by none who includes. With members of both kinds nothing is said to be
         * blocked, which is always true enough: what nobody wants is dropped here. */
        bool alone = !g->own && first;
        list_for_each_entry(m, &g->members, group_node)
            alone = alone && m == first;
        for (unsigned int i = 0; alone && i < first->nr_sources; i++)
            sources[(*n)++] = first->sources[i];
        return true;
    }
    list_for_each_entry(m, &g->members, group_node) {
        for (unsigned int i = 0; i < m->nr_sources && *n < RECORD_MAX_SOURCES; i++) {
            bool known = false;
            for (unsigned int j = 0; j < *n && !known; j++)
                known = addr_equal(&sources[j], &m->sources[i]);
            if (!known)
                sources[(*n)++] = m->sources[i];
        }
    }
    return false;
}

struct report {
    struct nic *nic;
    bool v4;
    struct pkt *p;
    unsigned int records;
};

static void send_igmp(struct nic *nic, const struct in6_addr *dst, struct pkt *p) NETSTACK_LOCKED
{
    static const uint8_t router_alert[4] = {0x94, 4, 0, 0};
    struct in6_addr src = addr_from_v4(0);
    struct ip_flow f = {.dst = *dst, .proto = IPPROTO_IGMP, .ttl = 1, .tos = 0xc0, .opts = router_alert, .opt_len = 4};
    uint8_t *h = p->data;
    be16 sum;

    (void)nic_source(nic, dst, RT_SCOPE_LINK, &src);
    f.src = src;
    f.oif = nic->index;
    f.pmtudisc = IP_PMTUDISC_DONT;
    f.rt = (struct route_result){
        .nic = nic, .nexthop = *dst, .src = src, .mtu = nic->mtu, .type = RTN_MULTICAST, .gen = nic->stack->route_gen};
    memset(h + 2, 0, 2);
    sum = csum_finish(csum_partial(h, p->len, 0));
    memcpy(h + 2, &sum, 2);
    p->nf_skip = true;
    (void)ip_output(nic->stack, &f, p);
}

static void send_mld(struct nic *nic, const struct in6_addr *dst, struct pkt *p) NETSTACK_LOCKED
{
    static const uint8_t router_alert[8] = {0, 0, 5, 2, 0, 0, 1, 0};
    struct netstack *s = nic->stack;
    struct in6_addr src = in6addr_any;
    struct ip_flow f = {.dst = *dst, .proto = IPPROTO_ICMPV6, .ttl = 1, .oif = nic->index, .ext = router_alert, .ext_len = 8};
    struct icmp6hdr *h = (struct icmp6hdr *)p->data;
    struct nic_addr *a;

    /* The source must be link-local, or none while that is being checked (RFC 3590). */
    list_for_each_entry(a, &nic->addrs, node)
        if (addr_is_linklocal(&a->addr) && !(a->flags & IFA_F_TENTATIVE))
            src = a->addr;
    f.src = src;
    f.ext_first = IPPROTO_HOPOPTS;
    f.rt = (struct route_result){
        .nic = nic, .nexthop = *dst, .src = src, .mtu = nic->mtu, .type = RTN_MULTICAST, .gen = s->route_gen};
    h->icmp6_cksum = 0;
    h->icmp6_cksum = csum_finish(pkt_csum(p, 0, p->len, ip_flow_pseudo(&f, p->len)));
    p->nf_skip = true;
    MIB_INC(s, Icmp6OutMsgs);
    s->mib.Icmp6OutType[h->icmp6_type]++;
    if (h->icmp6_type == ICMPV6_MLD2_REPORT)
        MIB_INC(s, Icmp6OutMLDv2Reports);
    (void)ip_output(s, &f, p);
}

static void report_flush(struct report *r) NETSTACK_LOCKED
{
    struct in6_addr routers4 = addr_from_v4(htonl(0xe0000016)), routers6 = {.s6_addr = {0xff, 2, [15] = 0x16}};
    be16 n = htons(r->records);

    if (!r->p)
        return;
    memcpy(r->p->data + 6, &n, 2);
    if (r->v4)
        send_igmp(r->nic, &routers4, r->p);
    else
        send_mld(r->nic, &routers6, r->p);
    r->p = NULL;
    r->records = 0;
}

static void report_add(struct report *r, uint8_t type, const struct in6_addr *group, const struct in6_addr *sources,
                       unsigned int n) NETSTACK_LOCKED
{
    size_t alen = r->v4 ? 4 : 16, need = 4 + alen * (n + 1), room = r->nic->mtu - 60;
    uint8_t *b;

    if (r->p && r->p->len + need > room)
        report_flush(r);
    if (!r->p) {
        r->p = pkt_alloc(PKT_HEADROOM, need + 8 > room ? need + 8 : room);
        if (!r->p)
            return;
        b = pkt_put(r->p, 8);
        memset(b, 0, 8);
        b[0] = r->v4 ? IGMPV3_HOST_MEMBERSHIP_REPORT : ICMPV6_MLD2_REPORT;
    }
    b = pkt_put(r->p, need);
    b[0] = type;
    b[1] = 0;
    b[2] = n >> 8;
    b[3] = n;
    memcpy(b + 4, &group->s6_addr[16 - alen], alen);
    for (unsigned int i = 0; i < n; i++)
        memcpy(b + 4 + alen * (i + 1), &sources[i].s6_addr[16 - alen], alen);
    r->records++;
}

/* IGMPv2 and MLDv1: one message a group. */
static void old_report(struct nic *nic, const struct in6_addr *group, bool leave) NETSTACK_LOCKED
{
    struct in6_addr routers4 = addr_from_v4(htonl(INADDR_ALLRTRS_GROUP)), routers6 = {.s6_addr = {0xff, 2, [15] = 2}};
    bool v4 = addr_is_v4(group);
    size_t len = v4 ? 8 : 24;
    struct pkt *p = pkt_alloc(PKT_HEADROOM, len);
    uint8_t *b;

    if (!p)
        return;
    b = pkt_put(p, len);
    memset(b, 0, len);
    if (v4) {
        b[0] = leave ? IGMP_HOST_LEAVE_MESSAGE : IGMPV2_HOST_MEMBERSHIP_REPORT;
        memcpy(b + 4, &group->s6_addr[12], 4);
        send_igmp(nic, leave ? &routers4 : group, p);
    } else {
        b[0] = leave ? ICMPV6_MGM_REDUCTION : ICMPV6_MGM_REPORT;
        memcpy(b + 8, group, 16);
        send_mld(nic, leave ? &routers6 : group, p);
    }
}

static void tell(struct nic *nic, struct mcast_group *g, struct report *r, bool change) NETSTACK_LOCKED
{
    struct in6_addr sources[MCAST_SOURCES_MAX > RECORD_MAX_SOURCES ? MCAST_SOURCES_MAX : RECORD_MAX_SOURCES];
    unsigned int n;
    bool exclude;

    if (nic->mc_old_until[!r->v4] > netstack_now(nic->stack)) {
        old_report(nic, &g->group, !mcast_group_used(g));
        return;
    }
    exclude = merged_filter(g, sources, &n);
    report_add(r, change ? (exclude ? TO_EXCLUDE : TO_INCLUDE) : (exclude ? IS_EXCLUDE : IS_INCLUDE), &g->group, sources, n);
}

static bool reports_on(const struct nic *nic, bool v4)
{
    return (nic->flags & IFF_UP) && !(nic->features & NIC_LOOPBACK) && (v4 || !nic->conf.disable_ipv6);
}

void mcast_work(struct nic *nic)
{
    struct netstack *s = nic->stack;
    int64_t now = netstack_now(s), next = INT64_MAX;
    struct mcast_group *g, *tmp;

    for (int family = 0; family < 2; family++) {
        struct report r = {.nic = nic, .v4 = family == 0};
        bool general = nic->mc_general_at[family] && nic->mc_general_at[family] <= now;

        if (general)
            nic->mc_general_at[family] = 0;
        else if (nic->mc_general_at[family] && nic->mc_general_at[family] < next)
            next = nic->mc_general_at[family];
        list_for_each_entry_safe(g, tmp, &nic->groups, node) {
            bool silent = unreported(&g->group) || !reports_on(nic, r.v4);

            if (addr_is_v4(&g->group) != r.v4)
                continue;
            if (silent)
                g->reports_left = 0;
            if (g->reports_left && g->change_at <= now) {
                tell(nic, g, &r, true);
                g->reports_left--;
                g->change_at = now + netstack_random32(s) % NET_SEC + 1;
            }
            if (mcast_group_used(g) && !silent && (general || (g->report_at && g->report_at <= now)))
                tell(nic, g, &r, false);
            if (g->report_at <= now)
                g->report_at = 0;
            if (!mcast_group_used(g) && !g->reports_left) {
                list_del_init(&g->node);
                free(g);
                continue;
            }
            if (g->reports_left && g->change_at < next)
                next = g->change_at;
            if (g->report_at && g->report_at < next)
                next = g->report_at;
        }
        report_flush(&r);
    }
    if (next != INT64_MAX)
        net_timer_arm(s, &nic->mcast_timer, next);
}

void mcast_timer(struct net_timer *t) NETSTACK_LOCKED
{
    mcast_work(container_of(t, struct nic, mcast_timer));
}

/* A query of any version. `group` any: general. `delay`: ns that the answer may take. */
static void query(struct nic *nic, const struct in6_addr *group, int64_t delay, bool v4) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    int64_t at = netstack_now(s) + (delay > 0 ? netstack_random32(s) % 1024 * delay / 1024 : 0) + 1;
    struct mcast_group *g;

    if (addr_is_any(group)) {
        if (!nic->mc_general_at[!v4] || nic->mc_general_at[!v4] > at)
            nic->mc_general_at[!v4] = at;
    } else {
        g = mcast_nic_find(nic, group);
        if (!g || unreported(group))
            return;
        if (!g->report_at || g->report_at > at)
            g->report_at = at;
    }
    mcast_work(nic);
}

/* The floating-point code of times in queries: RFC 3376, 4.1.1 (8 bits) and RFC 3810, 5.1.3 (16 bits). */
static int64_t code_value(unsigned int code, unsigned int mant_bits)
{
    unsigned int top = 1u << (mant_bits + 3);

    if (code < top)
        return code;
    return (int64_t)((code & ((1u << mant_bits) - 1)) | 1u << mant_bits) << ((code >> mant_bits & 7) + 3);
}

void igmp_input(struct netstack *s, struct pkt *p)
{
    struct nic *nic = p->nic;
    struct in6_addr group;
    be32 v4;

    if (p->len < 8 || !pkt_need(p, 8) || csum_fold16(pkt_csum(p, 0, p->len, 0)) != 0xffff ||
        p->data[0] != IGMP_HOST_MEMBERSHIP_QUERY || (nic->features & NIC_LOOPBACK))
        return;
    memcpy(&v4, p->data + 4, 4);
    group = addr_from_v4(v4);
    if (v4 && !addr_is_multicast(&group))
        return;
    if (p->len < 12) { /* version 1 (code 0: up to ten seconds) or 2 */
        nic->mc_old_until[0] = netstack_now(s) + OLD_QUERIER_TIME;
        query(nic, &group, p->data[1] ? p->data[1] * NET_SEC / 10 : 10 * NET_SEC, true);
    } else {
        query(nic, &group, code_value(p->data[1], 4) * NET_SEC / 10, true);
    }
}

void mld_input(struct netstack *s, struct pkt *p)
{
    struct nic *nic = p->nic;
    struct in6_addr group;
    unsigned int code;

    if (p->len < 24 || !pkt_need(p, 24) || p->ip.ttl != 1 || !addr_is_linklocal(&p->ip.src) || (nic->features & NIC_LOOPBACK))
        return;
    memcpy(&group, p->data + 8, 16);
    code = p->data[4] << 8 | p->data[5];
    if (!addr_is_any(&group) && !addr_is_multicast(&group))
        return;
    if (p->len < 28) {
        nic->mc_old_until[1] = netstack_now(s) + OLD_QUERIER_TIME;
        query(nic, &group, code * NET_MSEC, false);
    } else {
        query(nic, &group, code_value(code, 12) * NET_MSEC, false);
    }
}
