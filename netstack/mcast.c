#include "netstack/mcast.h"

#include "netstack/endpoint.h"
#include "netstack/nic_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Groups a NIC hears at most: what a guest may make us remember. */
#define GROUPS_MAX 4096

void mcast_mac(const struct in6_addr *group, uint8_t *mac)
{
    if (addr_is_v4(group)) {
        memcpy(mac, (uint8_t[]){1, 0, 0x5e, group->s6_addr[13] & 0x7f, group->s6_addr[14], group->s6_addr[15]}, MAC_LEN);
    } else {
        mac[0] = mac[1] = 0x33;
        memcpy(mac + 2, &group->s6_addr[12], 4);
    }
}

struct mcast_group *mcast_nic_find(struct nic *nic, const struct in6_addr *group)
{
    struct mcast_group *g;

    list_for_each_entry(g, &nic->groups, node)
        if (addr_equal(&g->group, group) && mcast_group_used(g))
            return g;
    return NULL;
}

static void group_changed(struct mcast_group *g) NETSTACK_LOCKED
{
    g->reports_left = 2; /* the robustness variable */
    g->change_at = netstack_now(g->nic->stack);
    mcast_work(g->nic);
}

static struct mcast_group *group_get(struct nic *nic, const struct in6_addr *group)
{
    struct mcast_group *g;
    int n = 0;

    list_for_each_entry(g, &nic->groups, node) {
        n++;
        if (addr_equal(&g->group, group))
            return g;
    }
    g = n < GROUPS_MAX ? calloc(1, sizeof(*g)) : NULL;
    if (!g)
        return NULL;
    g->nic = nic;
    g->group = *group;
    list_init(&g->members);
    list_add_tail(&g->node, &nic->groups);
    return g;
}

void mcast_nic_join(struct nic *nic, const struct in6_addr *group)
{
    struct mcast_group *g = group_get(nic, group);

    if (!g)
        return;
    if (g->own++ == 0)
        group_changed(g);
}

void mcast_nic_leave(struct nic *nic, const struct in6_addr *group)
{
    struct mcast_group *g = mcast_nic_find(nic, group);

    if (g && g->own && --g->own == 0)
        group_changed(g);
}

void mcast_nic_flush(struct nic *nic)
{
    struct mcast_group *g, *tmp;
    struct mcast_member *m, *mt;

    list_for_each_entry_safe(g, tmp, &nic->groups, node) {
        list_for_each_entry_safe(m, mt, &g->members, group_node)
            list_del_init(&m->group_node);
        list_del_init(&g->node);
        free(g);
    }
}

void mcast_nic_up(struct nic *nic, bool up)
{
    struct in6_addr all4 = addr_from_v4(htonl(INADDR_ALLHOSTS_GROUP)), all6 = {.s6_addr = {0xff, 2, [15] = 1}};
    struct mcast_group *g;

    if (up) {
        net_timer_init(&nic->mcast_timer, mcast_timer);
        mcast_nic_join(nic, &all4);
        mcast_nic_join(nic, &all6);
        list_for_each_entry(g, &nic->groups, node) {
            g->reports_left = 2;
            g->change_at = netstack_now(nic->stack);
        }
        mcast_work(nic);
    } else {
        mcast_nic_leave(nic, &all4);
        mcast_nic_leave(nic, &all6);
        net_timer_cancel(nic->stack, &nic->mcast_timer);
    }
}

static struct nic *choose_nic(struct endpoint *ep, const struct in6_addr *group, int ifindex) NETSTACK_LOCKED
{
    struct netstack *s = ep->stack;
    struct route_key k = {.dst = *group};
    struct route_result r;
    struct nic *nic;

    if (ifindex)
        return nic_by_index(s, ifindex);
    if (!route_lookup(s, &k, &r))
        return r.nic;
    /* Linux needs a route here; a container with one link and none means that link. */
    list_for_each_entry(nic, &s->nics, node)
        if (!(nic->features & NIC_LOOPBACK) && (nic->flags & IFF_UP))
            return nic;
    return NULL;
}

struct mcast_member *mcast_find(struct endpoint *ep, const struct in6_addr *group, int ifindex)
{
    struct mcast_member *m;

    list_for_each_entry(m, &ep->mcast, node)
        if (addr_equal(&m->group, group) && (!ifindex || m->ifindex == ifindex))
            return m;
    return NULL;
}

static int source_index(const struct mcast_member *m, const struct in6_addr *source)
{
    for (unsigned int i = 0; i < m->nr_sources; i++)
        if (addr_equal(&m->sources[i], source))
            return i;
    return -1;
}

static void member_changed(struct endpoint *ep, struct mcast_member *m) NETSTACK_LOCKED
{
    struct nic *nic = nic_by_index(ep->stack, m->ifindex);
    struct mcast_group *g = nic && !list_empty(&m->group_node) ? mcast_nic_find(nic, &m->group) : NULL;

    if (g)
        group_changed(g);
}

static int join(struct endpoint *ep, const struct in6_addr *group, int ifindex, int mode,
                struct mcast_member **out) NETSTACK_LOCKED
{
    struct mcast_member *m;
    struct mcast_group *g;
    struct nic *nic;

    if (!addr_is_multicast(group))
        return -EINVAL;
    nic = choose_nic(ep, group, ifindex);
    if (!nic)
        return -ENODEV;
    if (mcast_find(ep, group, nic->index))
        return -EADDRINUSE;
    if (ep->nr_mcast >= ep->stack->sysctl.igmp_max_memberships && addr_is_v4(group))
        return -ENOBUFS;
    if (ep->nr_mcast >= 1024)
        return -ENOBUFS;
    m = calloc(1, sizeof(*m));
    g = m ? group_get(nic, group) : NULL;
    if (!g) {
        free(m);
        return -ENOBUFS;
    }
    m->group = *group;
    m->ifindex = nic->index;
    m->mode = mode;
    list_add_tail(&m->node, &ep->mcast);
    list_add_tail(&m->group_node, &g->members);
    ep->nr_mcast++;
    *out = m;
    return 0;
}

int mcast_join(struct endpoint *ep, const struct in6_addr *group, int ifindex)
{
    struct mcast_member *m;
    int r = join(ep, group, ifindex, MCAST_EXCLUDE, &m);

    if (!r)
        member_changed(ep, m);
    return r;
}

static void drop(struct endpoint *ep, struct mcast_member *m) NETSTACK_LOCKED
{
    struct nic *nic = nic_by_index(ep->stack, m->ifindex);
    struct mcast_group *g = nic && !list_empty(&m->group_node) ? mcast_nic_find(nic, &m->group) : NULL;

    list_del_init(&m->node);
    list_del_init(&m->group_node);
    ep->nr_mcast--;
    free(m);
    if (g)
        group_changed(g);
}

int mcast_leave(struct endpoint *ep, const struct in6_addr *group, int ifindex)
{
    struct mcast_member *m = mcast_find(ep, group, ifindex);

    if (!m)
        return -EADDRNOTAVAIL;
    drop(ep, m);
    return 0;
}

void mcast_leave_all(struct endpoint *ep)
{
    struct mcast_member *m, *tmp;

    list_for_each_entry_safe(m, tmp, &ep->mcast, node)
        drop(ep, m);
}

static unsigned int max_sources(const struct endpoint *ep)
{
    int n = ep->stack->sysctl.igmp_max_msf;

    return n < 0 ? 0 : n > MCAST_SOURCES_MAX ? MCAST_SOURCES_MAX : n;
}

static int add_source(struct endpoint *ep, struct mcast_member *m, const struct in6_addr *source) NETSTACK_LOCKED
{
    if (m->nr_sources >= max_sources(ep))
        return -ENOBUFS;
    m->sources[m->nr_sources++] = *source;
    member_changed(ep, m);
    return 0;
}

static void del_source(struct endpoint *ep, struct mcast_member *m, int i) NETSTACK_LOCKED
{
    m->sources[i] = m->sources[--m->nr_sources];
    member_changed(ep, m);
}

int mcast_join_source(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source, int ifindex)
{
    struct mcast_member *m = mcast_find(ep, group, ifindex);
    int r;

    if (!m) {
        r = join(ep, group, ifindex, MCAST_INCLUDE, &m);
        if (r)
            return r;
    } else if (m->mode != MCAST_INCLUDE) {
        return -EINVAL;
    } else if (source_index(m, source) >= 0) {
        return -EADDRNOTAVAIL;
    }
    return add_source(ep, m, source);
}

int mcast_leave_source(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source, int ifindex)
{
    struct mcast_member *m = mcast_find(ep, group, ifindex);
    int i;

    if (!m)
        return -EINVAL;
    if (m->mode != MCAST_INCLUDE)
        return -EINVAL;
    i = source_index(m, source);
    if (i < 0)
        return -EADDRNOTAVAIL;
    if (m->nr_sources == 1)
        drop(ep, m);
    else
        del_source(ep, m, i);
    return 0;
}

int mcast_block(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source, int ifindex)
{
    struct mcast_member *m = mcast_find(ep, group, ifindex);

    if (!m || m->mode != MCAST_EXCLUDE)
        return -EINVAL;
    if (source_index(m, source) >= 0)
        return -EADDRNOTAVAIL;
    return add_source(ep, m, source);
}

int mcast_unblock(struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source, int ifindex)
{
    struct mcast_member *m = mcast_find(ep, group, ifindex);
    int i;

    if (!m || m->mode != MCAST_EXCLUDE)
        return -EINVAL;
    i = source_index(m, source);
    if (i < 0)
        return -EADDRNOTAVAIL;
    del_source(ep, m, i);
    return 0;
}

int mcast_set_filter(struct endpoint *ep, const struct in6_addr *group, int ifindex, int mode, const struct in6_addr *sources,
                     unsigned int n)
{
    struct mcast_member *m = mcast_find(ep, group, ifindex);

    if (mode != MCAST_INCLUDE && mode != MCAST_EXCLUDE)
        return -EINVAL;
    if (!m)
        return -EINVAL;
    if (n > max_sources(ep))
        return -ENOBUFS;
    if (mode == MCAST_INCLUDE && n == 0) {
        drop(ep, m);
        return 0;
    }
    m->mode = mode;
    m->nr_sources = n;
    memcpy(m->sources, sources, n * sizeof(*sources));
    member_changed(ep, m);
    return 0;
}

bool mcast_wanted(const struct endpoint *ep, const struct in6_addr *group, const struct in6_addr *source, int ifindex)
{
    struct mcast_member *m;

    list_for_each_entry(m, &ep->mcast, node)
        if (addr_equal(&m->group, group) && m->ifindex == ifindex)
            return (source_index(m, source) >= 0) == (m->mode == MCAST_INCLUDE);
    return addr_is_v4(group) ? ep->mc_all4 : ep->mc_all6;
}
