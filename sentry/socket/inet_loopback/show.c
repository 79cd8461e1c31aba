/*
 * Internet sockets as they are shown: by /proc/net/tcp, udp, raw, icmp (and their kin of IPv6) and by sock_diag. One walk finds
 * them all, those of inet_loopback's tables and those of the netstack.
 */
#include "sentry/fs/pseudofs.h"
#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/raw.h"
#include "netstack/udp.h"

#include <stdlib.h>
#include <string.h>

#define HZ_NS 10000000 /* USER_HZ */

/* What is shown of a socket of the tables. s.lock is held. */
static void table_entry(struct inet_sock *i, struct tcp_entry *e)
{
    struct tcp_entry outside;

    *e = (struct tcp_entry){.owner = i,
                            .family = i->s.family,
                            .state = i->state == TCP_S_ESTABLISHED ? TCPS_ESTABLISHED : TCPS_CLOSE,
                            .laddr = i->local.addr,
                            .raddr = i->remote.addr,
                            .lport = htons(i->local.port),
                            .rport = htons(i->remote.port),
                            .ifindex = i->bound_if,
                            .uid = i->s.uid,
                            .rqueue = (uint32_t)atomic_load(&i->s.rq.bytes),
                            .v6only = i->o.v6only,
                            .shut_rd = atomic_load(&i->s.shutdown) & SHUT_MASK_RCV,
                            .shut_wr = atomic_load(&i->s.shutdown) & SHUT_MASK_SEND,
                            .rto_us = 200000,
                            .ato_ns = 40000000,
                            .quick_pingpong = 30,
                            .cwnd = 10,
                            .ssthresh = UINT32_MAX};
    if (i->s.type == SOCK_STREAM) {
        e->state = lo_tcp_kernel_state(i);
        if (i->state != TCP_S_LISTEN)
            return;
        e->rqueue = i->nr_accepts;
        e->wqueue = i->backlog;
        e->rto_us = 1000000;
        e->ato_ns = 0;
        e->quick_pingpong = 0;
        e->ssthresh = 0;
    }
    if (!i->tp && !i->udp)
        return;
    netstack_lock(inet_stack_of(i));
    if (i->tp) {
        tcp_entry_of(i->tp, &outside);
        e->rqueue += outside.rqueue;
    } else {
        e->rqueue += (uint32_t)i->udp->rq.memory;
    }
    netstack_unlock(inet_stack_of(i));
}

/* All sockets of a table, referenced: an array of *n, NULL if there are none or there is no memory. */
static struct inet_sock **collect(struct inet_table *tb, size_t *n)
{
    struct inet_sock *i, **all, **more;
    size_t cap = 16;

    *n = 0;
    all = malloc(cap * sizeof(struct inet_sock *));
    if (!all)
        return NULL;
    mutex_lock(&tb->lock);
    for (int b = 0; b < INET_BUCKETS; b++) {
        list_for_each_entry(i, &tb->bucket[b], port_node) {
            if (*n == cap) {
                more = realloc(all, 2 * cap * sizeof(struct inet_sock *));
                if (!more)
                    break;
                all = more;
                cap *= 2;
            }
            if (ref_get_unless_zero(&i->s.ref))
                all[(*n)++] = i;
        }
    }
    mutex_unlock(&tb->lock);
    return all;
}

static bool each_of_table(struct inet_table *tb, inet_show_fn *fn, void *ctx)
{
    struct inet_sock **all;
    struct tcp_entry e;
    bool more = true;
    size_t n;

    all = collect(tb, &n);
    for (size_t k = 0; k < n; k++) {
        struct inet_sock *i = all[k];

        mutex_lock(&i->s.lock);
        if (more && i->local.port && i->state != TCP_S_NET) {
            table_entry(i, &e);
            more = fn(ctx, &e);
        }
        mutex_unlock(&i->s.lock);
        socket_put(&i->s);
    }
    free(all);
    return more;
}

struct walk {
    inet_show_fn *fn;
    void *ctx;
};

/* Connections of the netstack; listeners are in inet_loopback's tables, too. */
static bool outside_tcp(void *ctx, const struct tcp_entry *from)
{
    const struct inet_sock *i = from->owner;
    const struct walk *w = ctx;
    struct tcp_entry e = *from;

    if ((e.state == TCPS_LISTEN && i) || e.state == TCPS_CLOSE)
        return true;
    if (i)
        e.uid = i->s.uid;
    if (e.state == TCPS_NEW_SYN_RECV)
        e.state = TCPS_SYN_RECV;
    return w->fn(w->ctx, &e);
}

static void each_raw(struct net *net, bool ping, inet_show_fn *fn, void *ctx)
{
    struct raw_ep *r;

    netstack_lock(net->stack);
    list_for_each_entry(r, &net->stack->raw_eps, node) {
        const struct inet_sock *i = r->ep.owner;
        struct tcp_entry e = {.owner = r->ep.owner,
                              .family = r->ep.family,
                              .state = i->state == TCP_S_ESTABLISHED ? TCPS_ESTABLISHED : TCPS_CLOSE,
                              .laddr = r->ep.laddr,
                              .raddr = r->ep.raddr,
                              .lport = ping ? r->ep.lport : htons((uint16_t)r->ep.proto),
                              .ifindex = r->ep.bound_if,
                              .uid = i->s.uid,
                              .rqueue = (uint32_t)r->rq.memory,
                              .shut_rd = atomic_load(&i->s.shutdown) & SHUT_MASK_RCV,
                              .shut_wr = atomic_load(&i->s.shutdown) & SHUT_MASK_SEND};

        if (r->ping == ping && !fn(ctx, &e))
            break;
    }
    netstack_unlock(net->stack);
}

void inet_for_each(struct net *net, int protocol, inet_show_fn *fn, void *ctx)
{
    struct walk w = {fn, ctx};

    switch (protocol) {
    case IPPROTO_TCP:
        if (!each_of_table(net->tcp, fn, ctx))
            return;
        netstack_lock(net->stack);
        tcp_for_each(net->stack, outside_tcp, &w);
        netstack_unlock(net->stack);
        break;
    case IPPROTO_UDP:
        each_of_table(net->udp, fn, ctx);
        break;
    case IPPROTO_UDPLITE:
        each_of_table(net->udplite, fn, ctx);
        break;
    case IPPROTO_ICMP:
    case IPPROTO_RAW:
        each_raw(net, protocol == IPPROTO_ICMP, fn, ctx);
        break;
    default:
        break;
    }
}

uint64_t inet_drops(const struct inet_sock *i)
{
    return atomic_load(&i->s.drops) + (i->udp ? i->udp->drops : 0) + (i->raw ? i->raw->drops : 0);
}

/* Linux prints addresses as 32-bit words in host order. */
static void show_end(struct seq *s, const struct in6_addr *a, be16 port, bool v6)
{
    uint32_t w[4];

    memcpy(w, a, sizeof(w));
    if (v6)
        seq_printf(s, "%08X%08X%08X%08X:%04X", w[0], w[1], w[2], w[3], ntohs(port));
    else
        seq_printf(s, "%08X:%04X", w[3], ntohs(port));
}

struct show {
    struct seq *s;
    bool v6, tcp;
    int protocol, n;
};

static bool show_sock(void *ctx, const struct tcp_entry *e)
{
    struct show *w = ctx;
    const struct inet_sock *i = e->owner;
    struct seq *s = w->s;
    size_t start = s->len;
    bool raw = w->protocol == IPPROTO_RAW;

    if ((e->family == AF_INET6) != w->v6)
        return true;
    seq_printf(s, "%*d: ", w->tcp ? 4 : 5, raw ? ntohs(e->lport) : w->n);
    w->n++;
    show_end(s, &e->laddr, e->lport, w->v6);
    seq_putc(s, ' ');
    show_end(s, &e->raddr, e->rport, w->v6);
    seq_printf(s, " %02X %08X:%08X %02X:%08lX %08X %5u %8d %llu %d %016lx", e->state, e->state == TCPS_LISTEN ? 0 : e->wqueue,
               e->rqueue, e->timer, (unsigned long)(e->timer_ns > 0 ? e->timer_ns / HZ_NS : 0), e->retransmits, e->uid,
               e->probes, (unsigned long long)(i ? i->s.ino : 0), i ? (int)ref_read(&i->s.ref) : 1, 0ul);
    if (!w->tcp)
        seq_printf(s, " %llu", i ? (unsigned long long)inet_drops(i) : 0ull);
    else if (e->state != TCPS_TIME_WAIT && e->state != TCPS_SYN_RECV)
        seq_printf(s, " %lld %lld %u %u %d", (long long)(e->rto_us / 10000), (long long)(e->ato_ns / HZ_NS), e->quick_pingpong,
                   e->cwnd, e->ssthresh >= INT32_MAX ? -1 : (int)e->ssthresh);
    if (!w->v6)
        seq_pad(s, start, w->tcp ? 149 : 127);
    seq_putc(s, '\n');
    return true;
}

void net_show_inet(struct net *net, struct seq *s, int protocol, bool v6)
{
    struct show w = {.s = s, .v6 = v6, .tcp = protocol == IPPROTO_TCP, .protocol = protocol};
    size_t start = s->len;

    if (v6)
        seq_puts(s, "  sl  local_address                         remote_address                        st tx_queue rx_queue tr "
                    "tm->when retrnsmt   uid  timeout inode");
    else
        seq_printf(s, "%s  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
                   protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ? " " : "");
    if (!w.tcp)
        seq_puts(s, " ref pointer drops");
    if (!v6)
        seq_pad(s, start, w.tcp ? 149 : 127);
    seq_putc(s, '\n');
    inet_for_each(net, protocol, show_sock, &w);
}

static bool count(void *ctx, const struct tcp_entry *e)
{
    unsigned int *n = ctx;

    n[e->family == AF_INET6]++;
    return true;
}

/* How many sockets of a protocol there are: n[0] of IPv4, n[1] of IPv6. */
static void count_sockets(struct net *net, int protocol, unsigned int n[2])
{
    n[0] = n[1] = 0;
    inet_for_each(net, protocol, count, n);
}

static unsigned int count_list(const struct list_head *h)
{
    unsigned int n = 0;

    for (const struct list_head *pos = h->next; pos != h; pos = pos->next)
        n++;
    return n;
}

void net_show_protocols(struct net *net, struct seq *s)
{
    static const struct {
        int protocol;
        const char *name[2];
        int memory; /* -1: not accounted */
    } inet[] = {{IPPROTO_ICMP, {"PING", "PINGv6"}, -1},
                {IPPROTO_RAW, {"RAW", "RAWv6"}, -1},
                {IPPROTO_UDPLITE, {"UDP-Lite", "UDPLITEv6"}, 0},
                {IPPROTO_UDP, {"UDP", "UDPv6"}, 0},
                {IPPROTO_TCP, {"TCP", "TCPv6"}, 0}};
    unsigned int n[2], unix_sockets, packet_sockets, netlink_sockets;

    seq_puts(s, "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re sp bi br ha "
                "uh gp em\n");
    mutex_lock(&net->unix_lock);
    unix_sockets = count_list(&net->unix_all);
    mutex_unlock(&net->unix_lock);
    mutex_lock(&net->netlink_lock);
    netlink_sockets = count_list(&net->netlink_all);
    mutex_unlock(&net->netlink_lock);
    netstack_lock(net->stack);
    packet_sockets = count_list(&net->stack->packet_eps);
    netstack_unlock(net->stack);
#define PROTOCOL_ROW(name, count, memory)                                                                                    \
    seq_printf(s, "%-9s %4u %6u  %6d   %-3s %6u   %-3s  %-10s %s\n", name, 1024u, count, memory, (memory) < 0 ? "NI" : "no", \
               0u, "yes", "kernel", " y  y  y  y  y  y  y  y  y  y  y  y  n  y  y  y  y  y  y")
    PROTOCOL_ROW("PACKET", packet_sockets, -1);
    PROTOCOL_ROW("UNIX", unix_sockets, -1);
    for (size_t k = 0; k < ARRAY_SIZE(inet); k++) {
        count_sockets(net, inet[k].protocol, n);
        PROTOCOL_ROW(inet[k].name[1], n[1], inet[k].memory);
        PROTOCOL_ROW(inet[k].name[0], n[0], inet[k].memory);
    }
    PROTOCOL_ROW("NETLINK", netlink_sockets, -1);
}

void net_show_sockstat(struct net *net, struct seq *s, bool v6)
{
    unsigned int tcp[2], udp[2], lite[2], raw[2], un;
    struct tcp_usage usage;

    count_sockets(net, IPPROTO_TCP, tcp);
    count_sockets(net, IPPROTO_UDP, udp);
    count_sockets(net, IPPROTO_UDPLITE, lite);
    count_sockets(net, IPPROTO_RAW, raw);
    if (v6) {
        seq_printf(s, "TCP6: inuse %u\nUDP6: inuse %u\nUDPLITE6: inuse %u\nRAW6: inuse %u\nFRAG6: inuse 0 memory 0\n", tcp[1],
                   udp[1], lite[1], raw[1]);
        return;
    }
    mutex_lock(&net->unix_lock);
    un = count_list(&net->unix_all);
    mutex_unlock(&net->unix_lock);
    netstack_lock(net->stack);
    tcp_get_usage(net->stack, &usage);
    netstack_unlock(net->stack);
    seq_printf(s, "sockets: used %u\n", tcp[0] + tcp[1] + udp[0] + udp[1] + lite[0] + lite[1] + raw[0] + raw[1] + un);
    seq_printf(s, "TCP: inuse %u orphan %u tw %u alloc %u mem %llu\n", tcp[0] - (usage.tw < tcp[0] ? usage.tw : 0),
               usage.orphan, usage.tw, tcp[0] + tcp[1] - (usage.tw < tcp[0] ? usage.tw : 0), (unsigned long long)usage.mem);
    seq_printf(s, "UDP: inuse %u mem 0\nUDPLITE: inuse %u\nRAW: inuse %u\nFRAG: inuse 0 memory 0\n", udp[0], lite[0], raw[0]);
}
