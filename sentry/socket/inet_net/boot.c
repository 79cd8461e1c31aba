/* The stack as the launcher found the namespace: interfaces, addresses, routes, neighbours. */
#include "sentry/socket/inet_net/inet_net.h"

#include "lib/log.h"
#include "netstack/neigh.h"
#include "netstack/pcap.h"
#include "netstack/route.h"
#include "netstack/tcp.h"
#include "sentry/boot/net_config.h"
#include "sentry/host/filter.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/kernel.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <stdlib.h>
#include <unistd.h>

/* What cannot be set is said and left out: a container with half a network is better than none. */
static void complain(const char *what, const struct in6_addr *a, int err)
{
    log_warn("network: %s %s: %s", what, addr_text(a), strerror(-err));
}

static struct nic *find(struct net *net, const struct net_config *c, int host_index) NETSTACK_LOCKED
{
    for (uint32_t i = 0; i < c->nr_ifs; i++)
        if (c->ifs[i].index == host_index)
            return nic_by_name(net->stack, c->ifs[i].name);
    return NULL;
}

static void add_addr(struct net *net, const struct net_config *c, const struct net_config_addr *a) NETSTACK_LOCKED
{
    struct nic *nic = find(net, c, a->ifindex);
    struct nic_addr n = {.addr = a->addr,
                         .peer = a->peer,
                         .broadcast = a->broadcast,
                         .plen = a->plen,
                         .scope = a->scope,
                         .preferred_until = INT64_MAX,
                         .valid_until = INT64_MAX};
    int r;

    if (!nic)
        return;
    /* The host has made sure that nobody else has it: configure() has switched that off. */
    n.flags = (a->flags & (IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_HOMEADDRESS)) | IFA_F_PERMANENT;
    memcpy(n.label, a->label, sizeof(n.label));
    r = nic_addr_add(nic, &n);
    if (r < 0 && r != -EEXIST)
        complain("address", &a->addr, r);
}

static void add_route(struct net *net, const struct net_config *c, const struct net_config_route *r) NETSTACK_LOCKED
{
    struct route n = {.dst = r->dst,
                      .plen = r->plen,
                      .tos = r->tos,
                      .protocol = r->protocol,
                      .scope = r->scope,
                      .type = r->type,
                      .table = r->table,
                      .metric = r->metric,
                      .nic = find(net, c, r->ifindex),
                      .gateway = r->gateway,
                      .prefsrc = r->prefsrc,
                      .flags = r->flags,
                      .mtu = r->mtu,
                      .advmss = r->advmss,
                      .expires = INT64_MAX};
    int err = route_add(net->stack, &n, NLM_F_CREATE | NLM_F_APPEND);

    if (err < 0 && err != -EEXIST)
        complain("route to", &r->dst, err);
}

static int add_links(struct net *net, const struct net_config *c)
{
    for (uint32_t i = 0; i < c->nr_ifs; i++) {
        struct nic *nic;
        int r = link_create(net, &c->ifs[i], &nic);

        if (r < 0)
            return r;
        atomic_store(&net->has_links, true);
    }
    return 0;
}

static void configure(struct net *net, const struct net_config *c) NETSTACK_LOCKED
{
    net->stack->sysctl.ip_forward = c->forward4;
    net->stack->sysctl.ip6_forward = c->forward6;
    for (uint32_t i = 0; i < c->nr_ifs; i++) {
        struct nic *nic = find(net, c, c->ifs[i].index);
        int r;

        if (!nic)
            continue;
        nic->conf.dad_transmits = 0;
        nic->conf.disable_ipv6 = c->ifs[i].ipv6_disabled;
        nic_set_carrier(nic, true);
        r = nic_set_up(nic, true);
        if (r < 0)
            log_warn("network: %s: %s", c->ifs[i].name, strerror(-r));
    }
    for (uint32_t i = 0; i < c->nr_addrs; i++)
        add_addr(net, c, &c->addrs[i]);
    for (uint32_t i = 0; i < c->nr_ifs; i++) {
        struct nic *nic = find(net, c, c->ifs[i].index);

        if (nic)
            nic->conf.dad_transmits = 1;
    }
    /* A gateway must be reachable when its route is set: routes without one first. */
    for (uint32_t i = 0; i < c->nr_routes; i++)
        if (addr_is_any(&c->routes[i].gateway))
            add_route(net, c, &c->routes[i]);
    for (uint32_t i = 0; i < c->nr_routes; i++)
        if (!addr_is_any(&c->routes[i].gateway))
            add_route(net, c, &c->routes[i]);
    for (uint32_t i = 0; i < c->nr_neighs; i++) {
        struct nic *nic = find(net, c, c->neighs[i].ifindex);
        int r = nic ? neigh_set(nic, &c->neighs[i].addr, c->neighs[i].mac, NUD_PERMANENT, 0) : -ENODEV;

        if (r < 0)
            complain("neighbour", &c->neighs[i].addr, r);
    }
}

_Static_assert(NET_CONFIG_DNS_TCP == FILTER_CONNECTABLE, "a descriptor that may be connected for each");

int net_configure(struct net *net, const struct net_config *c, const int connectable[])
{
    int r = add_links(net, c);

    if (r < 0)
        return r;
    netstack_lock(net->stack);
    configure(net, c);
    netstack_unlock(net->stack);
    r = c->dns_udp >= 0 ? net_dns_start(net, c->dns_udp) : 0;
    return r < 0 ? r : net_dns_tcp_start(net, c->dns_tcp, connectable);
}

static int lo_up(struct net *net, const struct net_config *c) NETSTACK_LOCKED
{
    struct in6_addr lo4 = addr_from_v4(htonl(INADDR_LOOPBACK));
    int r;

    net->stack->sysctl.disable_ipv6 = c && c->disable6;
    net->stack->lo->conf.disable_ipv6 = c && c->lo_disable6;
    r = nic_set_up(net->stack->lo, true);
    if (r == 0 && !nic_addr_find(net->stack->lo, &lo4))
        r = nic_addr_add_plain(net->stack->lo, &lo4, 8);
    if (r == 0 && !net->stack->lo->conf.disable_ipv6 && !nic_addr_find(net->stack->lo, &in6addr_loopback))
        r = nic_addr_add_plain(net->stack->lo, &in6addr_loopback, 128);
    return r;
}

int net_start(struct net *net, const struct net_config *c, const int connectable[])
{
    int r;

    netstack_lock(net->stack);
    r = lo_up(net, c);
    netstack_unlock(net->stack);
    if (r == 0)
        r = net_rx_start(net);
    if (r == 0 && c)
        r = net_configure(net, c, connectable);
    return r;
}

void net_settings_changed(struct net *net)
{
    netstack_lock(net->stack);
    net->stack->sysctl.port_min = atomic_load(&net->port_min);
    net->stack->sysctl.port_max = atomic_load(&net->port_max);
    net->stack->sysctl.unprivileged_port = atomic_load(&net->unprivileged_port);
    netstack_unlock(net->stack);
}

/* --- capturing frames --- */

struct capture {
    struct list_head node; /* in net->captures */
    struct nic *nic;
    struct pcap *pcap;
    int fd;
};

/* The interface with that name; without one, the first that is not the loopback. */
static struct nic *capture_nic(struct net *net, const char *name) NETSTACK_LOCKED
{
    struct nic *nic;

    if (name)
        return nic_by_name(net->stack, name);
    list_for_each_entry(nic, &net->stack->nics, node) {
        if (nic != net->stack->lo)
            return nic;
    }
    return NULL;
}

static int start_pcap(struct net *net, const char *name, struct capture *c) NETSTACK_LOCKED
{
    struct capture *other;
    int r;

    c->nic = capture_nic(net, name);
    if (!c->nic)
        return -ENODEV;
    list_for_each_entry(other, &net->captures, node) {
        if (other->nic == c->nic)
            return -EBUSY;
    }
    r = pcap_start(c->nic, c->fd, 0, &c->pcap);
    if (r == 0)
        list_add_tail(&c->node, &net->captures);
    return r;
}

int net_pcap_start(struct net *net, const char *name, int fd)
{
    struct capture *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->fd = fd;
    netstack_lock(net->stack);
    r = start_pcap(net, name, c);
    netstack_unlock(net->stack);
    if (r < 0)
        free(c);
    return r;
}

void net_pcap_stop(struct net *net)
{
    netstack_lock(net->stack);
    while (!list_empty(&net->captures)) {
        struct capture *c = list_first_entry(&net->captures, struct capture, node);

        list_del_init(&c->node);
        pcap_stop(c->pcap);
        close(c->fd);
        free(c);
    }
    netstack_unlock(net->stack);
}

/* What connections that nobody holds any more have still to deliver: bytes, and how many of them. */
struct undelivered {
    uint64_t bytes;
    unsigned int connections;
};

static bool count_undelivered(void *ctx, const struct tcp_entry *e)
{
    struct undelivered *u = ctx;

    if (e->owner || (e->state != TCPS_FIN_WAIT1 && e->state != TCPS_CLOSING && e->state != TCPS_LAST_ACK))
        return true;
    u->connections++;
    u->bytes += e->wqueue;
    return true;
}

/* How long to wait for a peer that takes nothing, and in all. */
#define DRAIN_IDLE_NS  (1 * NET_SEC)
#define DRAIN_TOTAL_NS (10 * NET_SEC)
#define DRAIN_STEP_NS  2000000

void net_drain(struct net *net)
{
    int64_t start = kernel_monotonic_ns(), progress = start, now = start;
    struct undelivered u, last = {UINT64_MAX, UINT32_MAX};

    while (atomic_load(&net->has_links) && now - start < DRAIN_TOTAL_NS && now - progress < DRAIN_IDLE_NS) {
        u = (struct undelivered){0};
        netstack_lock(net->stack);
        tcp_for_each(net->stack, count_undelivered, &u);
        netstack_unlock(net->stack);
        if (u.connections == 0)
            return;
        now = kernel_monotonic_ns();
        if (u.bytes != last.bytes || u.connections != last.connections)
            progress = now;
        last = u;
        nanosleep(&(struct timespec){.tv_nsec = DRAIN_STEP_NS}, NULL);
    }
}
