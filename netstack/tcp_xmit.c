/*
 * Headers: makes packets of segments, and those that belong to no queue (ACKs, RSTs, probes). Which segment goes when is
 * tcp_output.c's to say.
 *
 * A segment's payload stays in its queue; what is sent is a packet that shares it, with the headers in front. It may be a GSO
 * packet of many segments, with a checksum still to be completed.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>

int tcp_emit(struct netstack *st, struct ip_flow *f, struct pkt *p, const struct tcp_out *o)
{
    uint8_t opts[TCP_OPTIONS_MAX];
    size_t n = tcp_options_write(opts, o->flags & TCP_SYN, &o->opt);
    struct tcp_header *h = pkt_push(p, TCP_HEADER_LEN + n);
    if (!h) {
        pkt_free(p);
        return -ENOBUFS;
    }
    memcpy(h + 1, opts, n);
    *h = (struct tcp_header){
        .sport = f->sport,
        .dport = f->dport,
        .seq = htonl(o->seq),
        .ack = htonl(o->flags & TCP_ACK ? o->ack : 0),
        .off = (TCP_HEADER_LEN + n) / 4 << 4,
        .flags = o->flags,
        .window = htons(o->window),
        .urg = htons(o->urg),
    };
    int r = ip_route(st, f);
    if (r < 0) {
        pkt_free(p);
        return r;
    }
    h->check = csum_fold16(ip_flow_pseudo(f, p->len));
    pkt_set_l4(p);
    pkt_csum_request(p, offsetof(struct tcp_header, check));
    st->mib.TcpOutSegs += p->gso_segs > 1 ? p->gso_segs : 1;
    if (o->flags & TCP_RST)
        MIB_INC(st, TcpOutRsts);
    return ip_output(st, f, p);
}

/* ---- what a connection puts into its headers ---- */

static void add_sacks(struct tcp_sock *tp, struct tcp_options *o)
{
    int max = o->has_ts ? 3 : 4;
    if (tp->have_dsack)
        o->sacks[o->nr_sacks++] = tp->dsack;
    for (int i = 0; i < tp->nr_recent_sacks && o->nr_sacks < max; i++)
        o->sacks[o->nr_sacks++] = tp->recent_sacks[i];
}

static void established_options(struct tcp_sock *tp, struct tcp_options *o) NETSTACK_LOCKED
{
    *o = (struct tcp_options){0};
    if (tp->ts_ok) {
        o->has_ts = true;
        o->tsval = tcp_ts_now(tp);
        o->tsecr = tp->ts_recent;
    }
    if (tp->have_dsack || tp->nr_recent_sacks)
        add_sacks(tp, o);
}

/* Also when the peer's SYN has come already (simultaneous open): it, too, only uses what both offered. */
static void syn_options(struct tcp_sock *tp, struct tcp_options *o) NETSTACK_LOCKED
{
    const struct tcp_sysctl *sc = &tp->ts->sysctl;
    *o = (struct tcp_options){.mss = tp->advmss, .sack_ok = sc->sack, .has_wscale = sc->window_scaling};
    o->wscale = tp->rcv_wscale;
    if (sc->timestamps) {
        o->has_ts = true;
        o->tsval = tcp_ts_now(tp);
        o->tsecr = tp->ts_recent;
    }
}

size_t tcp_established_options_len(const struct tcp_sock *tp)
{
    size_t n = tp->ts_ok ? 12 : 0;
    size_t sacks = tp->have_dsack + tp->nr_recent_sacks, max = tp->ts_ok ? 3 : 4;
    if (sacks)
        n += 4 + 8 * (sacks < max ? sacks : max);
    return n;
}

static void ack_sent(struct tcp_sock *tp, uint32_t pcount) NETSTACK_LOCKED
{
    if (tp->quick)
        tp->quick = pcount >= tp->quick ? 0 : tp->quick - pcount;
    tp->ack_pending = tp->ack_now = false;
    tp->have_dsack = false;
    net_timer_cancel(tp->st, &tp->delack_timer);
}

/* Sends `p`, the payload or an empty packet, with the connection's acknowledgement, window and options. */
static int send_with_header(struct tcp_sock *tp, struct pkt *p, uint8_t flags, uint32_t seq, uint32_t pcount,
                            bool new_data) NETSTACK_LOCKED
{
    struct tcp_out o = {.seq = seq, .ack = tp->rcv_nxt, .flags = flags};
    struct ip_flow *f = &tp->ep.flow;
    if (flags & TCP_SYN) {
        syn_options(tp, &o.opt);
        uint32_t w = tp->rcv_wnd > 65535 ? 65535 : tp->rcv_wnd;
        o.window = w;
    } else {
        established_options(tp, &o.opt);
        o.window = tcp_select_window(tp);
    }
    if (tp->urg_mode && seq_before(seq, tp->snd_up)) {
        uint32_t end = seq + p->len;
        if (seq_before(tp->snd_up, seq + 0x10000))
            o.flags |= TCP_URG, o.urg = tp->snd_up - seq;
        else if (seq_before(end, tp->snd_up))
            o.flags |= TCP_URG, o.urg = 0xffff;
    }
    f->tos &= ~3;
    if (tp->ecn_ok && !(flags & TCP_SYN)) {
        if (tp->ecn_demand_cwr)
            o.flags |= TCP_ECE;
        if (new_data && p->len) {
            f->tos |= 2; /* ECT(0) */
            if (tp->ecn_queue_cwr) {
                tp->ecn_queue_cwr = false;
                o.flags |= TCP_CWR;
            }
        }
    }
    if (flags & TCP_ACK)
        ack_sent(tp, pcount);
    tp->segs_out += pcount;
    return tcp_emit(tp->st, f, p, &o);
}

int tcp_xmit_seg(struct tcp_sock *tp, struct tcp_seg *seg, bool retransmit)
{
    struct pkt *p = seg->data ? pkt_slice(seg->data, 0, seg->len, PKT_HEADROOM) : pkt_alloc(PKT_HEADROOM, 0);
    if (!p)
        return -ENOBUFS;
    if (seg->pcount > 1) {
        p->gso = addr_is_v4(&tp->ep.flow.dst) ? PKT_GSO_TCPV4 : PKT_GSO_TCPV6;
        p->gso_size = tcp_cached_mss(tp);
        p->gso_segs = seg->pcount;
        seg->flags |= TCP_PSH; /* so that who merges them at the other end passes them on at once */
    }
    int64_t now = tcp_now(tp);
    if (tp->packets_out == 0) {
        tp->first_sent_at = now;
        tp->delivered_at = now;
    }
    seg->sent_at = now;
    seg->first_sent_at = tp->first_sent_at;
    seg->delivered_at = tp->delivered_at;
    seg->delivered = tp->delivered;
    seg->app_limited = tp->app_limited != 0;
    if (seg->len) {
        tp->data_segs_out += seg->pcount;
        tp->bytes_sent += seg->len;
        if (retransmit)
            tp->bytes_retrans += seg->len;
        /* Two-way traffic: our data will carry acknowledgements. */
        if (now - tp->last_rcv_at < tp->ato && tp->pingpong < 255)
            tp->pingpong++;
        tp->lsnd_at = now;
    }
    return send_with_header(tp, p, seg->flags, seg->seq, seg->pcount, !retransmit);
}

/* A packet without payload at `seq`. */
static int send_empty(struct tcp_sock *tp, uint8_t flags, uint32_t seq) NETSTACK_LOCKED
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, 0);
    return p ? send_with_header(tp, p, flags, seq, 1, false) : -ENOBUFS;
}

void tcp_send_ack(struct tcp_sock *tp)
{
    if (tp->state == TCPS_CLOSE)
        return;
    if (send_empty(tp, TCP_ACK, tp->snd_nxt) == -ENOBUFS) {
        /* No memory: try again a little later. */
        tp->ack_pending = true;
        net_timer_arm(tp->st, &tp->delack_timer, tcp_now(tp) + TCP_DELACK_MAX_NS);
    }
}

void tcp_send_window_probe(struct tcp_sock *tp, uint32_t seq)
{
    MIB_INC(tp->st, TcpExtTCPWinProbe);
    send_empty(tp, TCP_ACK, seq);
}

void tcp_send_active_reset(struct tcp_sock *tp)
{
    uint32_t seq = tp->snd_nxt;
    if (seq_before(tp->snd_una + tp->snd_wnd, seq))
        seq = tp->snd_una + tp->snd_wnd;
    struct pkt *p = pkt_alloc(PKT_HEADROOM, 0);
    if (p)
        send_with_header(tp, p, TCP_RST | TCP_ACK, seq, 1, false);
}

/* Challenge ACKs (RFC 5961): a number per second for the stack and one per half second for the connection. */
bool tcp_oow_limited(struct tcp_stack *ts, int64_t *last)
{
    int64_t now = netstack_time(ts->st);
    if (*last && now - *last < ts->sysctl.invalid_ratelimit * NET_MSEC)
        return true;
    *last = now;
    return false;
}

void tcp_send_challenge_ack(struct tcp_sock *tp)
{
    struct tcp_stack *ts = tp->ts;
    if (tcp_oow_limited(ts, &tp->last_oow_ack_at)) {
        MIB_INC(tp->st, TcpExtTCPACKSkippedChallenge);
        return;
    }
    int64_t second = tcp_now(tp) / NET_SEC;
    if (second != ts->challenge_second) {
        ts->challenge_second = second;
        /* A number that an observer cannot count on. */
        uint32_t half = (ts->sysctl.challenge_ack_limit + 1) / 2;
        ts->challenge_left = half + (half ? netstack_random32(tp->st) % half : 0);
    }
    if (ts->challenge_left == 0)
        return;
    ts->challenge_left--;
    MIB_INC(tp->st, TcpExtTCPChallengeACK);
    tcp_send_ack(tp);
}

/* ---- answers to packets that belong to no connection ---- */

static void reply_flow(struct netstack *st, const struct pkt *p, be16 sport, be16 dport, struct ip_flow *f)
{
    *f = (struct ip_flow){
        .dst = p->ip.src,
        .src = p->ip.dst,
        .proto = IPPROTO_TCP,
        .tos = 0,
        .sport = dport,
        .dport = sport,
        .mark = 0,
        .nonlocal_src = true,
    };
    if (addr_is_linklocal(&f->dst) || addr_is_multicast(&f->dst))
        f->oif = p->iif;
}

void tcp_send_reset_for(struct netstack *st, struct pkt *p, const struct tcp_header *h, const struct tcp_rx *rx)
{
    if ((rx->flags & TCP_RST) || p->ip.type != RTN_LOCAL)
        return;
    struct ip_flow f;
    reply_flow(st, p, h->sport, h->dport, &f);
    struct tcp_out o = {.flags = TCP_RST};
    if (rx->flags & TCP_ACK) {
        o.seq = rx->ack;
    } else {
        o.flags |= TCP_ACK;
        o.ack = rx->end_seq;
    }
    struct pkt *q = pkt_alloc(PKT_HEADROOM, 0);
    if (q)
        tcp_emit(st, &f, q, &o);
}
