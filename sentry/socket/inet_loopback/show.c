/* /proc/net/tcp, tcp6, udp, udp6 and sockstat. */
#include "sentry/fs/pseudofs.h"
#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <string.h>

#define V4_HEADING "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
#define V6_HEADING                                                                                                        \
    "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when " \
    "retrnsmt   uid  timeout inode"

/* Linux prints addresses as 32-bit words in host order. */
static void show_end(struct seq *s, const struct inet_end *e, bool v6)
{
    uint32_t w[4];

    memcpy(w, &e->addr, sizeof(w));
    if (v6)
        seq_printf(s, "%08X%08X%08X%08X:%04X", w[0], w[1], w[2], w[3], e->port);
    else
        seq_printf(s, "%08X:%04X", w[3], e->port);
}

static void show_sock(struct seq *s, const struct inet_sock *i, int n, bool v6)
{
    bool udp = i->s.type == SOCK_DGRAM;
    int state = udp ? (i->state == TCP_S_ESTABLISHED ? 1 : 7) : lo_tcp_kernel_state(i);
    size_t start = s->len;

    seq_printf(s, "%*d: ", udp ? 5 : 4, n);
    show_end(s, &i->local, v6);
    seq_putc(s, ' ');
    show_end(s, &i->remote, v6);
    seq_printf(s, " %02X %08X:%08X %02X:%08lX %08X %5u %8d %llu %u %016lx", state, 0u,
               i->state == TCP_S_LISTEN ? i->nr_accepts : (unsigned int)atomic_load(&i->s.rq.bytes), 0u, 0ul, 0u, i->s.uid, 0,
               (unsigned long long)i->s.ino, ref_read(&i->s.ref), 0ul);
    if (udp)
        seq_puts(s, " 0");
    else
        seq_puts(s, i->state == TCP_S_LISTEN ? " 100 0 0 10 0" : " 20 4 30 10 -1");
    if (!v6)
        seq_pad(s, start, 149);
    seq_putc(s, '\n');
}

/* The number of lines. Connections over the network are shown by the netstack. */
static int show_table(struct inet_table *tb, struct seq *s, bool v6)
{
    struct inet_sock *i;
    int n = 0;

    mutex_lock(&tb->lock);
    for (int b = 0; b < INET_BUCKETS; b++) {
        list_for_each_entry(i, &tb->bucket[b], port_node) {
            if ((i->s.family == AF_INET6) == v6 && i->state != TCP_S_NET)
                show_sock(s, i, n++, v6);
        }
    }
    mutex_unlock(&tb->lock);
    return n;
}

void net_show_tcp(struct net *net, struct seq *s, bool v6)
{
    size_t start = s->len;

    seq_puts(s, v6 ? V6_HEADING : V4_HEADING);
    if (!v6)
        seq_pad(s, start, 149);
    seq_putc(s, '\n');
    net_show_tcp_outside(net, s, v6, show_table(net->tcp, s, v6));
}

void net_show_udp(struct net *net, struct seq *s, bool v6)
{
    size_t start = s->len;

    seq_puts(s, v6 ? V6_HEADING : V4_HEADING);
    seq_puts(s, " ref pointer drops");
    if (!v6)
        seq_pad(s, start, 127);
    seq_putc(s, '\n');
    show_table(net->udp, s, v6);
}

static unsigned int count(struct inet_table *tb, bool v6)
{
    struct inet_sock *i;
    unsigned int n = 0;

    mutex_lock(&tb->lock);
    for (int b = 0; b < INET_BUCKETS; b++) {
        list_for_each_entry(i, &tb->bucket[b], port_node)
            n += (i->s.family == AF_INET6) == v6;
    }
    mutex_unlock(&tb->lock);
    return n;
}

void net_show_sockstat(struct net *net, struct seq *s)
{
    unsigned int tcp = count(net->tcp, false) + count(net->tcp, true), udp = count(net->udp, false) + count(net->udp, true),
                 un = 0;
    struct list_head *pos;

    mutex_lock(&net->unix_lock);
    for (pos = net->unix_all.next; pos != &net->unix_all; pos = pos->next)
        un++;
    mutex_unlock(&net->unix_lock);
    seq_printf(s, "sockets: used %u\nTCP: inuse %u orphan 0 tw 0 alloc %u mem 0\nUDP: inuse %u mem 0\nUDPLITE: inuse 0\n",
               tcp + udp + un, tcp, tcp, udp);
    seq_puts(s, "RAW: inuse 0\nFRAG: inuse 0 memory 0\n");
}
