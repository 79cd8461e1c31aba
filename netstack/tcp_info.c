/* TCP_INFO, and the lists that /proc/net/tcp and sock_diag show. */
#include "netstack/tcp_internal.h"

#define OPT_TIMESTAMPS 1
#define OPT_SACK       2
#define OPT_WSCALE     4
#define OPT_ECN        8

/* Begins to count time in another state: busy sending, held up by the peer's window, by our buffer, or nothing. */
void tcp_chrono(struct tcp_sock *tp, enum tcp_chrono_kind kind)
{
    int64_t now = tcp_now(tp);
    if (tp->chrono && tp->chrono_since)
        tp->chrono_total[tp->chrono] += now - tp->chrono_since;
    if (kind == TCP_CHRONO_BUSY && tp->packets_out == 0 && list_empty(&tp->unsent))
        kind = TCP_CHRONO_NONE;
    tp->chrono = kind;
    tp->chrono_since = now;
}

static uint64_t chrono_us(const struct tcp_sock *tp, enum tcp_chrono_kind kind) NETSTACK_LOCKED
{
    int64_t ns = tp->chrono_total[kind];
    if (tp->chrono == kind && tp->chrono_since)
        ns += tcp_now(tp) - tp->chrono_since;
    return ns / 1000;
}

static uint32_t ms_since(const struct tcp_sock *tp, int64_t t) NETSTACK_LOCKED
{
    return t ? (tcp_now(tp) - t) / NET_MSEC : 0;
}

static uint64_t delivery_rate(const struct tcp_sock *tp)
{
    if (!tp->rate_delivered || !tp->rate_interval_us)
        return 0;
    return (uint64_t)tp->rate_delivered * tcp_cached_mss(tp) * 1000000 / tp->rate_interval_us;
}

void tcp_get_info(struct tcp_sock *tp, struct tcp_info_full *i)
{
    *i = (struct tcp_info_full){.state = tp->state};
    i->rcv_space = tp->rcvq_space;
    if (tp->state == TCPS_LISTEN) {
        i->unacked = tp->nr_accept;
        i->sacked = tp->backlog;
        return;
    }
    i->ca_state = tp->ca_state;
    i->retransmits = tp->retransmits;
    i->probes = tp->probes_out;
    i->backoff = tp->backoff;
    i->options = (tp->ts_ok ? OPT_TIMESTAMPS : 0) | (tp->sack_ok ? OPT_SACK : 0) | (tp->wscale_ok ? OPT_WSCALE : 0) |
                 (tp->ecn_ok ? OPT_ECN : 0);
    if (tp->wscale_ok) {
        i->snd_wscale = tp->snd_wscale;
        i->rcv_wscale = tp->rcv_wscale;
    }
    i->rto = tp->rto_us;
    i->ato = tp->ato / 1000;
    i->snd_mss = tcp_cached_mss(tp);
    i->rcv_mss = tp->rcv_mss;
    i->unacked = tp->packets_out;
    i->sacked = tp->sacked_out;
    i->lost = tp->lost_out;
    i->retrans = tp->retrans_out;
    i->last_data_sent = ms_since(tp, tp->lsnd_at);
    i->last_data_recv = ms_since(tp, tp->last_rcv_at);
    i->last_ack_recv = ms_since(tp, tp->rcv_activity_at);
    i->pmtu = tp->pmtu;
    i->rcv_ssthresh = tp->rcv_ssthresh;
    i->rtt = tp->srtt_us >> 3;
    i->rttvar = tp->mdev_us >> 2;
    i->snd_ssthresh = tp->snd_ssthresh;
    i->snd_cwnd = tp->snd_cwnd;
    i->advmss = tp->advmss;
    i->reordering = tp->reordering;
    i->rcv_rtt = tp->rcv_rtt_us >> 3;
    i->total_retrans = tp->total_retrans;
    i->pacing_rate = tcp_pacing_rate(tp);
    i->max_pacing_rate = UINT64_MAX;
    i->bytes_acked = tp->bytes_acked;
    i->bytes_received = tp->bytes_received;
    i->segs_out = tp->segs_out;
    i->segs_in = tp->segs_in;
    i->notsent_bytes = tcp_notsent(tp);
    i->min_rtt = tp->min_rtt_us ? tp->min_rtt_us : UINT32_MAX;
    i->data_segs_in = tp->data_segs_in;
    i->data_segs_out = tp->data_segs_out;
    i->delivery_rate_app_limited = tp->rate_app_limited;
    i->delivery_rate = delivery_rate(tp);
    i->busy_time = chrono_us(tp, TCP_CHRONO_BUSY) + chrono_us(tp, TCP_CHRONO_RWND) + chrono_us(tp, TCP_CHRONO_SNDBUF);
    i->rwnd_limited = chrono_us(tp, TCP_CHRONO_RWND);
    i->sndbuf_limited = chrono_us(tp, TCP_CHRONO_SNDBUF);
    i->delivered = tp->delivered;
    i->delivered_ce = tp->delivered_ce;
    i->bytes_sent = tp->bytes_sent;
    i->bytes_retrans = tp->bytes_retrans;
    i->dsack_dups = tp->dsack_dups;
    i->reord_seen = tp->reord_seen;
    i->rcv_ooopack = tp->rcv_ooopack;
    i->snd_wnd = tp->snd_wnd;
    i->rcv_wnd = tcp_receive_window(tp);
    i->total_rto = tp->total_rto;
    i->total_rto_recoveries = tp->total_rto_recoveries;
    i->total_rto_time = tp->total_rto_time_us / 1000;
}

static int64_t left(const struct tcp_sock *tp, const struct net_timer *t) NETSTACK_LOCKED
{
    int64_t ns = t->expires - tcp_now(tp);
    return ns > 0 ? ns : 0;
}

void tcp_entry_of(struct tcp_sock *tp, struct tcp_entry *e)
{
    const struct endpoint *ep = &tp->ep;
    *e = (struct tcp_entry){
        .tp = tp,
        .owner = ep->owner,
        .family = ep->family,
        .state = tp->state,
        .laddr = ep->laddr,
        .raddr = ep->raddr,
        .lport = ep->lport,
        .rport = ep->rport,
        .ifindex = ep->bound_if,
        .uid = ep->uid,
        .cookie = tp->cookie,
        .retransmits = tp->retransmits,
        .probes = tp->probes_out,
        .v6only = ep->v6only,
        .shut_rd = tp->shutdown & TCP_RCV_SHUTDOWN,
        .shut_wr = tp->shutdown & TCP_SEND_SHUTDOWN,
        .rto_us = tp->rto_us,
        .ato_ns = tp->ato,
        .quick_pingpong = tp->quick << 1 | tcp_in_pingpong(tp),
        .cwnd = tp->snd_cwnd,
        .ssthresh = tp->snd_ssthresh >= TCP_INFINITE_SSTHRESH ? UINT32_MAX : tp->snd_ssthresh,
    };
    if (tp->state == TCPS_LISTEN) {
        e->rqueue = tp->nr_accept;
        e->wqueue = tp->backlog;
        return;
    }
    e->rqueue = tp->rcv_nxt - tp->copied_seq;
    e->wqueue = tp->write_seq - tp->snd_una;
    if (tp->pending == TIMER_PROBE) {
        e->timer = 4;
        e->timer_ns = left(tp, &tp->rtx_timer);
    } else if (tp->pending != TIMER_NONE) {
        e->timer = 1;
        e->timer_ns = left(tp, &tp->rtx_timer);
    } else if (net_timer_armed(&tp->keep_timer)) {
        e->timer = 2;
        e->timer_ns = left(tp, &tp->keep_timer);
    }
}

static void req_entry(const struct tcp_req *req, struct tcp_entry *e) NETSTACK_LOCKED
{
    const struct tcp_sock *l = req->listener;
    int64_t ns = req->timer.expires - netstack_time(l->st);
    *e = (struct tcp_entry){
        .family = l->ep.family,
        .state = TCPS_NEW_SYN_RECV,
        .laddr = req->flow.src,
        .raddr = req->flow.dst,
        .lport = req->flow.sport,
        .rport = req->flow.dport,
        .ifindex = req->ifindex,
        .uid = l->ep.uid,
        .cookie = req->cookie,
        .timer = 1,
        .timer_ns = ns > 0 ? ns : 0,
        .retransmits = req->num_timeout,
    };
}

static void tw_entry(const struct tcp_tw *tw, struct tcp_entry *e) NETSTACK_LOCKED
{
    int64_t ns = tw->timer.expires - netstack_time(tw->ts->st);
    *e = (struct tcp_entry){
        .family = tw->ep.family,
        .state = tw->substate,
        .laddr = tw->ep.laddr,
        .raddr = tw->ep.raddr,
        .lport = tw->ep.lport,
        .rport = tw->ep.rport,
        .ifindex = tw->ep.bound_if,
        .cookie = tw->cookie,
        .timer = 3,
        .timer_ns = ns > 0 ? ns : 0,
    };
}

/* Sockets in the given state, or in any other but closed ones without a port. */
static bool each_sock(struct tcp_stack *ts, bool listening, bool (*fn)(void *, const struct tcp_entry *),
                      void *ctx) NETSTACK_LOCKED
{
    struct tcp_sock *tp;
    struct tcp_entry e;
    list_for_each_entry(tp, &ts->socks, all_node) {
        if ((tp->state == TCPS_LISTEN) != listening || tp->state == TCPS_CLOSE)
            continue;
        tcp_entry_of(tp, &e);
        if (!fn(ctx, &e))
            return false;
    }
    return true;
}

void tcp_for_each(struct netstack *s, bool (*fn)(void *ctx, const struct tcp_entry *e), void *ctx)
{
    struct tcp_stack *ts = s->tcp;
    struct tcp_sock *tp;
    struct tcp_req *req;
    struct tcp_tw *tw;
    struct tcp_entry e;
    if (!each_sock(ts, true, fn, ctx) || !each_sock(ts, false, fn, ctx))
        return;
    list_for_each_entry(tp, &ts->socks, all_node)
        list_for_each_entry(req, &tp->reqs, node) {
            req_entry(req, &e);
            if (!fn(ctx, &e))
                return;
        }
    list_for_each_entry(tw, &ts->tws, all_node) {
        tw_entry(tw, &e);
        if (!fn(ctx, &e))
            return;
    }
}

struct tcp_sock *tcp_find_cookie(struct netstack *s, uint64_t cookie)
{
    struct tcp_sock *tp;
    list_for_each_entry(tp, &s->tcp->socks, all_node)
        if (tp->cookie == cookie)
            return tp;
    return NULL;
}
