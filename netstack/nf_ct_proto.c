/* What connection tracking knows of protocols: which packets may begin something, how long it lasts. Timeouts are Linux's. */
#include "netstack/nf.h"

#include "netstack/icmp.h"

#include <linux/netfilter/nf_conntrack_tcp.h>
#include <netinet/tcp.h>

static const int tcp_seconds[] = {
    [TCP_CONNTRACK_NONE] = 120,           [TCP_CONNTRACK_SYN_SENT] = 120,  [TCP_CONNTRACK_SYN_RECV] = 60,
    [TCP_CONNTRACK_ESTABLISHED] = 432000, [TCP_CONNTRACK_FIN_WAIT] = 120,  [TCP_CONNTRACK_CLOSE_WAIT] = 60,
    [TCP_CONNTRACK_LAST_ACK] = 30,        [TCP_CONNTRACK_TIME_WAIT] = 120, [TCP_CONNTRACK_CLOSE] = 10,
    [TCP_CONNTRACK_SYN_SENT2] = 120,
};

bool ct_may_begin(const struct nf_ctx *c)
{
    uint8_t buf[20];
    const struct tcphdr *th;
    const uint8_t *h;

    switch (c->proto) {
    case IPPROTO_TCP:
        th = nf_bytes(c->p, c->thoff, 20, buf);
        return th && !th->rst && (th->syn || th->ack); /* without a SYN: picked up in the middle, as Linux does */
    case IPPROTO_ICMP:
        h = nf_bytes(c->p, c->thoff, 8, buf);
        return h && (h[0] == ICMP_ECHO || h[0] == ICMP_TIMESTAMP);
    case IPPROTO_ICMPV6:
        h = nf_bytes(c->p, c->thoff, 8, buf);
        return h && h[0] == ICMPV6_ECHO_REQUEST;
    default:
        return true;
    }
}

/* The next state of a TCP connection; a simplification of Linux's table without its window checks. */
static int tcp_next(const struct nf_conn *ct, const struct tcphdr *th, int dir)
{
    int st = ct->tcp_state;

    if (th->rst)
        return TCP_CONNTRACK_CLOSE;
    if (th->syn) {
        if (th->ack)
            return dir == 1 && (st == TCP_CONNTRACK_SYN_SENT || st == TCP_CONNTRACK_SYN_RECV) ? TCP_CONNTRACK_SYN_RECV : st;
        if (dir == 1)
            return st == TCP_CONNTRACK_SYN_SENT ? TCP_CONNTRACK_SYN_SENT2 : st;
        return st == TCP_CONNTRACK_NONE || st >= TCP_CONNTRACK_TIME_WAIT ? TCP_CONNTRACK_SYN_SENT : st;
    }
    if (th->fin) {
        if (st == TCP_CONNTRACK_FIN_WAIT || st == TCP_CONNTRACK_CLOSE_WAIT)
            return TCP_CONNTRACK_LAST_ACK;
        return st >= TCP_CONNTRACK_LAST_ACK ? st : TCP_CONNTRACK_FIN_WAIT;
    }
    if (!th->ack)
        return st;
    switch (st) {
    case TCP_CONNTRACK_NONE:
    case TCP_CONNTRACK_SYN_RECV:
        return TCP_CONNTRACK_ESTABLISHED;
    case TCP_CONNTRACK_FIN_WAIT:
        return TCP_CONNTRACK_CLOSE_WAIT;
    case TCP_CONNTRACK_LAST_ACK:
        return TCP_CONNTRACK_TIME_WAIT;
    default:
        return st;
    }
}

static bool track_tcp(struct nf_ctx *c, struct nf_conn *ct, int dir, int *seconds)
{
    uint8_t buf[20];
    const struct tcphdr *th = nf_bytes(c->p, c->thoff, 20, buf);

    if (!th || th->doff < 5 || c->thoff + th->doff * 4u > c->p->len)
        return false;
    ct->tcp_state = tcp_next(ct, th, dir);
    if (ct->tcp_state == TCP_CONNTRACK_ESTABLISHED && (ct->status & IPS_SEEN_REPLY))
        ct->status |= IPS_ASSURED;
    *seconds = tcp_seconds[ct->tcp_state];
    return true;
}

bool ct_track(struct nf_ctx *c, struct nf_conn *ct, int dir)
{
    int seconds = 600;
    int64_t until;

    switch (c->proto) {
    case IPPROTO_TCP:
        if (!track_tcp(c, ct, dir, &seconds))
            return false;
        break;
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
        seconds = 30;
        if (ct->status & IPS_SEEN_REPLY) {
            /* A stream: answered, and still going after two seconds in Linux; the answer alone decides here. */
            if (dir == 0)
                ct->status |= IPS_ASSURED;
            seconds = ct->status & IPS_ASSURED ? 120 : 30;
        }
        break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        seconds = 30;
        break;
    default:
        break;
    }
    until = netstack_now(c->s) + seconds * NET_SEC;
    if (ct_confirmed(ct))
        net_timer_arm(c->s, &ct->timer, until);
    else
        ct->timer.expires = until; /* armed when it is confirmed */
    return true;
}
