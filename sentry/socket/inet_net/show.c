/* /proc/net, as far as it is about the netstack. The formats are those of Linux, which programs parse by column. */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/neigh.h"
#include "netstack/packet.h"
#include "sentry/fs/pseudofs.h"
#include "sentry/kernel/clock.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/ipv6_route.h>
#include <linux/route.h>
#include <stdio.h>
#include <string.h>

struct rtnl_link_stats64 net_link_stats(struct net *net, const struct nic *nic)
{
    struct rtnl_link_stats64 st = nic->stats;

    if (nic == net->stack->lo) {
        st.rx_bytes += atomic_load(&net->lo_bytes);
        st.rx_packets += atomic_load(&net->lo_packets);
        st.tx_bytes += atomic_load(&net->lo_bytes);
        st.tx_packets += atomic_load(&net->lo_packets);
    }
    return st;
}

void net_show_dev(struct net *net, struct seq *s)
{
    struct nic *nic;

    seq_puts(s,
             "Inter-|   Receive                                                |  Transmit\n"
             " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
             "compressed\n");
    netstack_lock(net->stack);
    list_for_each_entry(nic, &net->stack->nics, node) {
        struct rtnl_link_stats64 st = net_link_stats(net, nic);

        seq_printf(s,
                   "%6s: %7llu %7llu %4llu %4llu %4llu %5llu %10llu %9llu %8llu %7llu %4llu %4llu %4llu %5llu %7llu %10llu\n",
                   nic->name, st.rx_bytes, st.rx_packets, st.rx_errors, st.rx_dropped, st.rx_fifo_errors, st.rx_frame_errors,
                   st.rx_compressed, st.multicast, st.tx_bytes, st.tx_packets, st.tx_errors, st.tx_dropped, st.tx_fifo_errors,
                   st.collisions, st.tx_carrier_errors, st.tx_compressed);
    }
    netstack_unlock(net->stack);
}

static void show_addr6(struct seq *s, const struct in6_addr *a)
{
    for (int i = 0; i < 16; i++)
        seq_printf(s, "%02x", a->s6_addr[i]);
}

bool net_device_from(struct net *net, int index, struct net_device *out)
{
    struct nic *nic, *best = NULL;

    netstack_lock(net->stack);
    list_for_each_entry(nic, &net->stack->nics, node) {
        if (nic->index >= index && (!best || nic->index < best->index))
            best = nic;
    }
    if (best) {
        *out = (struct net_device){.index = best->index,
                                   .mtu = best->mtu,
                                   .tx_queue_len = best == net->stack->lo ? 1000 : best->tx_queue_len,
                                   .type = best->arp_type,
                                   .flags = best->flags,
                                   .carrier = best->carrier,
                                   .stats = net_link_stats(net, best)};
        memcpy(out->name, best->name, sizeof(out->name));
        memcpy(out->mac, best->mac, sizeof(out->mac));
    }
    netstack_unlock(net->stack);
    return best != NULL;
}

void net_show_if_inet6(struct net *net, struct seq *s)
{
    struct nic_addr *a;
    struct nic *nic;

    netstack_lock(net->stack);
    list_for_each_entry(nic, &net->stack->nics, node) {
        list_for_each_entry(a, &nic->addrs, node) {
            /* The scope as IPv6 itself counts it. */
            int scope = addr_is_loopback(&a->addr) ? 0x10 : addr_is_linklocal(&a->addr) ? 0x20 : 0;

            if (addr_is_v4(&a->addr))
                continue;
            show_addr6(s, &a->addr);
            seq_printf(s, " %02x %02x %02x %02x %8s\n", nic->index, a->plen, scope, a->flags & 0xff, nic->name);
        }
    }
    netstack_unlock(net->stack);
}

static int show_route4(const struct route *r, void *arg)
{
    struct seq *s = arg;
    uint32_t mask = r->plen ? htonl(~0U << (32 - r->plen)) : 0;
    unsigned int flags = RTF_UP;
    size_t start = s->len;

    if (r->table != RT_TABLE_MAIN && r->table != RT_TABLE_DEFAULT)
        return 0;
    if (!addr_is_any(&r->gateway))
        flags |= RTF_GATEWAY;
    if (r->plen == 32)
        flags |= RTF_HOST;
    if (r->type == RTN_UNREACHABLE || r->type == RTN_PROHIBIT)
        flags |= RTF_REJECT;
    seq_printf(s, "%s\t%08X\t%08X\t%04X\t%d\t%u\t%d\t%08X\t%d\t%u\t%u", r->nic ? r->nic->name : "*", addr_v4(&r->dst),
               addr_is_any(&r->gateway) ? 0 : addr_v4(&r->gateway), flags, 0, 0, r->metric, mask,
               r->advmss ? r->advmss + 40 : 0, r->window, 0);
    seq_pad(s, start, 127);
    seq_putc(s, '\n');
    return 0;
}

void net_show_route(struct net *net, struct seq *s)
{
    size_t start = s->len;

    seq_puts(s, "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT");
    seq_pad(s, start, 127);
    seq_putc(s, '\n');
    netstack_lock(net->stack);
    route_for_each(net->stack, AF_INET, show_route4, s);
    netstack_unlock(net->stack);
}

static int show_route6(const struct route *r, void *arg)
{
    struct seq *s = arg;
    unsigned int flags = RTF_UP;
    struct in6_addr none = in6addr_any;

    if (!addr_is_any(&r->gateway))
        flags |= RTF_GATEWAY;
    if (r->plen == 128)
        flags |= RTF_HOST;
    if (r->type == RTN_LOCAL)
        flags |= RTF_NONEXTHOP | RTF_LOCAL;
    if (r->type == RTN_UNREACHABLE || r->type == RTN_PROHIBIT)
        flags |= RTF_REJECT;
    show_addr6(s, &r->dst);
    seq_printf(s, " %02x ", r->plen);
    show_addr6(s, &none);
    seq_puts(s, " 00 ");
    show_addr6(s, addr_is_any(&r->gateway) ? &none : &r->gateway);
    seq_printf(s, " %08x %08x %08x %08x %8s\n", r->metric, 1, 0, flags, r->nic ? r->nic->name : "lo");
    return 0;
}

void net_show_ipv6_route(struct net *net, struct seq *s)
{
    netstack_lock(net->stack);
    route_for_each(net->stack, AF_INET6, show_route6, s);
    netstack_unlock(net->stack);
}

static int show_neigh(const struct neigh *n, void *arg)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr a = {addr_v4(&n->addr)};
    bool valid = n->state & (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY);

    seq_printf(arg, "%-16s 0x%-10x0x%-10x%02x:%02x:%02x:%02x:%02x:%02x     *        %s\n",
               inet_ntop(AF_INET, &a, text, sizeof(text)), n->nic->arp_type,
               n->state & NUD_PERMANENT ? 6
               : valid                  ? 2
                                        : 0,
               n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5], n->nic->name);
    return 0;
}

void net_show_arp(struct net *net, struct seq *s)
{
    seq_puts(s, "IP address       HW type     Flags       HW address            Mask     Device\n");
    netstack_lock(net->stack);
    neigh_for_each(net->stack, AF_INET, show_neigh, s);
    netstack_unlock(net->stack);
}

/* The link addresses by which an interface hears of groups. */
void net_show_dev_mcast(struct net *net, struct seq *s)
{
    struct mcast_group *g;
    struct nic *nic;

    netstack_lock(net->stack);
    list_for_each_entry(nic, &net->stack->nics, node) {
        if (nic == net->stack->lo)
            continue;
        list_for_each_entry(g, &nic->groups, node) {
            const uint8_t *a = g->group.s6_addr + 12;

            if (addr_is_v4(&g->group))
                seq_printf(s, "%-4d %-15s %-5d %-5d 01005e%02x%02x%02x\n", nic->index, nic->name, 1, 0, a[1] & 0x7f, a[2],
                           a[3]);
            else
                seq_printf(s, "%-4d %-15s %-5d %-5d 3333%02x%02x%02x%02x\n", nic->index, nic->name, 1, 0, a[0], a[1], a[2],
                           a[3]);
        }
    }
    netstack_unlock(net->stack);
}

void net_show_igmp(struct net *net, struct seq *s, bool v6)
{
    struct mcast_group *g;
    struct nic *nic;
    unsigned int n;

    if (!v6)
        seq_puts(s, "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    netstack_lock(net->stack);
    list_for_each_entry(nic, &net->stack->nics, node) {
        n = 0;
        list_for_each_entry(g, &nic->groups, node)
            n += addr_is_v4(&g->group);
        if (!v6 && nic->flags & IFF_MULTICAST)
            seq_printf(s, "%d\t%-10s: %5u %7s\n", nic->index, nic->name, n, "V3");
        list_for_each_entry(g, &nic->groups, node) {
            if (addr_is_v4(&g->group) == v6)
                continue;
            if (v6) {
                seq_printf(s, "%-4d %-15s ", nic->index, nic->name);
                show_addr6(s, &g->group);
                seq_printf(s, " %5u %08X %u\n", 1, 0x4, 0);
            } else {
                seq_printf(s, "\t\t\t\t%08X %5u %d:%08X\t\t%d\n", addr_v4(&g->group), 1, 0, 0, 0);
            }
        }
    }
    netstack_unlock(net->stack);
}

static uint64_t counter(struct net *net, const struct mib_entry *e)
{
    return *(const uint64_t *)((const char *)&net->stack->mib + e->offset);
}

/* Two lines: the names, with what has no counter before them, and the values. */
static void show_group(struct net *net, struct seq *s, const char *group, const char *names, const char *values)
{
    seq_printf(s, "%s:%s", group, names);
    for (size_t i = 0; i < mib_table_len; i++)
        if (strcmp(mib_table[i].group, group) == 0)
            seq_printf(s, " %s", mib_table[i].name);
    seq_printf(s, "\n%s:%s", group, values);
    for (size_t i = 0; i < mib_table_len; i++)
        if (strcmp(mib_table[i].group, group) == 0)
            seq_printf(s, " %llu", (unsigned long long)counter(net, &mib_table[i]));
    seq_putc(s, '\n');
}

void net_show_snmp(struct net *net, struct seq *s)
{
    netstack_lock(net->stack);
    show_group(net, s, "Ip", " Forwarding DefaultTTL", net->stack->sysctl.ip_forward ? " 1 64" : " 2 64");
    show_group(net, s, "Icmp", "", "");
    show_group(net, s, "Tcp", " RtoAlgorithm RtoMin RtoMax MaxConn", " 1 200 120000 -1");
    show_group(net, s, "Udp", "", "");
    show_group(net, s, "UdpLite", "", "");
    netstack_unlock(net->stack);
}

void net_show_netstat(struct net *net, struct seq *s)
{
    netstack_lock(net->stack);
    show_group(net, s, "TcpExt", "", "");
    show_group(net, s, "IpExt", "", "");
    netstack_unlock(net->stack);
}

void net_show_snmp6(struct net *net, struct seq *s)
{
    char name[64];

    netstack_lock(net->stack);
    for (size_t i = 0; i < mib_table_len; i++) {
        if (!strchr(mib_table[i].group, '6'))
            continue;
        snprintf(name, sizeof(name), "%s%s", mib_table[i].group, mib_table[i].name);
        seq_printf(s, "%-32s\t%llu\n", name, (unsigned long long)counter(net, &mib_table[i]));
    }
    netstack_unlock(net->stack);
}

void net_show_packet(struct net *net, struct seq *s)
{
    struct packet_ep *pe;

    seq_puts(s, "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
    netstack_lock(net->stack);
    list_for_each_entry(pe, &net->stack->packet_eps, node) {
        const struct socket *sk = pe->owner;

        seq_printf(s, "%016lx %-6u %-4d %04x   %-5d %1d %-6zu %-6u %-6llu\n", 0ul, ref_read(&sk->ref), sk->type,
                   ntohs(pe->protocol), pe->ifindex, 1, pe->rq.memory, sk->uid, (unsigned long long)sk->ino);
    }
    netstack_unlock(net->stack);
}
