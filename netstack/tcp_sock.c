/*
 * Sockets and the stack's TCP as a whole: creation, states, the end.
 *
 * A socket lives on until it is both closed and orphaned; `refs` keeps its memory while a segment or timer is being dealt with.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

extern const struct ip_proto tcp_proto;

int64_t tcp_now(const struct tcp_sock *tp)
{
    return netstack_time(tp->st);
}

uint32_t tcp_ts_now(const struct tcp_sock *tp)
{
    return tcp_now(tp) / NET_MSEC + tp->ts_offset;
}

bool tcp_in_pingpong(const struct tcp_sock *tp)
{
    return tp->pingpong > 0;
}

struct endpoint *tcp_ep(struct tcp_sock *tp)
{
    return &tp->ep;
}

struct tcp_sock *tcp_of(struct endpoint *ep)
{
    return container_of(ep, struct tcp_sock, ep);
}

int tcp_state(const struct tcp_sock *tp)
{
    return tp->state;
}

void tcp_wake(struct tcp_sock *tp, uint32_t events)
{
    if (!tp->orphan && tp->ep.cb && tp->ep.cb->ready)
        tp->ep.cb->ready(&tp->ep, events);
}

void tcp_get(struct tcp_sock *tp)
{
    tp->refs++;
}

void tcp_put(struct tcp_sock *tp)
{
    if (--tp->refs == 0)
        free(tp);
}

/* Identifiers that must be hard to guess. */
uint32_t tcp_new_isn(struct netstack *st, const struct tcp_tuple *t)
{
    return (uint32_t)netstack_hash(st, t, sizeof *t) + (uint32_t)(netstack_time(st) >> 6);
}

uint32_t tcp_ts_offset(struct netstack *st, const struct in6_addr *laddr, const struct in6_addr *raddr)
{
    struct in6_addr pair[2] = {*laddr, *raddr};
    return netstack_hash(st, pair, sizeof pair);
}

/* The MSS to announce on a routed flow. */
uint32_t tcp_route_advmss(const struct ip_flow *f, uint32_t user_mss)
{
    uint32_t hdr = ip_flow_hdr_len(f) + TCP_HEADER_LEN, mtu = ip_flow_mtu(f);
    if (f->rt.nic && f->rt.nic->mtu > mtu)
        mtu = f->rt.nic->mtu; /* what ICMP said about the way there is not about the way back */
    if (mtu > 65535)
        mtu = 65535;
    uint32_t mss = f->rt.advmss ? f->rt.advmss : mtu > hdr + TCP_MSS_DEFAULT / 2 ? mtu - hdr : TCP_MSS_DEFAULT / 2;
    if (user_mss && user_mss < mss)
        mss = user_mss;
    return mss > 65535 ? 65535 : mss;
}

int tcp_sock_alloc(struct netstack *st, int family, struct tcp_sock **out)
{
    struct tcp_stack *ts = st->tcp;
    struct tcp_sock *tp = calloc(1, sizeof *tp);
    if (!tp)
        return -ENOMEM;
    endpoint_init(&tp->ep, st, NULL, NULL, family, IPPROTO_TCP);
    tp->st = st;
    tp->ts = ts;
    tp->refs = 1;
    tp->state = TCPS_CLOSE;
    tp->cookie = ++ts->next_cookie;
    list_add_tail(&tp->all_node, &ts->socks);
    ts->nr_socks++;
    list_init(&tp->unsent);
    list_init(&tp->rtx);
    list_init(&tp->by_time);
    list_init(&tp->ranges);
    list_init(&tp->acceptq);
    list_init(&tp->accept_node);
    list_init(&tp->reqs);
    pkt_queue_init(&tp->rcvq);
    tcp_init_timers(tp);
    tp->linger_s = -1;
    tp->rcvlowat = 1;
    tp->sndbuf = ts->sysctl.wmem[1];
    tp->rcvbuf = ts->sysctl.rmem[1];
    tp->cong = tcp_cong_find(ts->sysctl.congestion);
    if (!tp->cong)
        tp->cong = &tcp_cong_cubic;
    tcp_reset_connection(tp);
    *out = tp;
    return 0;
}

/* Everything that belongs to one connection, as at its beginning. */
void tcp_reset_connection(struct tcp_sock *tp)
{
    tp->rto_us = TCP_RTO_INIT_US;
    tp->srtt_us = tp->mdev_us = tp->mdev_max_us = tp->rttvar_us = 0;
    tp->mdev_us = TCP_RTO_INIT_US;
    tp->min_rtt_us = 0;
    tp->rcv_rtt_us = tp->rcv_rtt_at = 0;
    tp->snd_cwnd = TCP_INIT_CWND;
    tp->snd_cwnd_cnt = 0;
    tp->snd_cwnd_clamp = UINT32_MAX;
    tp->snd_ssthresh = TCP_INFINITE_SSTHRESH;
    tp->ca_state = TCP_CA_Open;
    tp->reordering = tp->ts->sysctl.reordering;
    tp->mss = TCP_MSS_DEFAULT;
    tp->mss_clamp = 65535;
    tp->rcv_mss = TCP_MSS_DEFAULT;
    tp->rcv_ratio = 128;
    tp->rack.reo_wnd_steps = 1;
    tp->rack.sent_at = 0;
    tp->ato = 0;
    tp->pingpong = tp->quick = 0;
    tp->max_window = tp->snd_wnd = 0;
    tp->snd_wscale = tp->rcv_wscale = 0;
    tp->ts_ok = tp->sack_ok = tp->wscale_ok = tp->ecn_ok = false;
    tp->ts_recent = 0;
    tp->ts_recent_at = 0;
    tp->urg_data = 0;
    tp->urg_mode = false;
    tp->fin_rcvd = false;
    tp->have_dsack = false;
    tp->ack_pending = tp->ack_now = tp->ack_pushed = false;
    tp->retransmits = tp->probes_out = tp->backoff = 0;
    tp->probes_since = tp->rto_first_at = 0;
    tp->undo_marker = tp->retrans_stamp = tp->tlp_high_seq = 0;
    tp->total_retrans = 0;
    tp->delivered = tp->delivered_ce = 0;
    tp->soft_err = 0;
    tp->bytes_sent = tp->bytes_acked = tp->bytes_received = tp->bytes_retrans = 0;
    tp->segs_in = tp->segs_out = tp->data_segs_in = tp->data_segs_out = tp->dsack_dups = tp->rcv_ooopack = 0;
    tp->copied_seq = tp->rcv_nxt = tp->rcv_wup = 0;
    tp->snd_una = tp->snd_nxt = tp->write_seq = 0;
    tp->lsnd_at = tp->last_rcv_at = 0;
    memset(tp->sack_cache, 0, sizeof tp->sack_cache);
}

/* A listener's settings for its child. */
void tcp_inherit(struct tcp_sock *tp, const struct tcp_sock *l)
{
    struct endpoint *e = &tp->ep;
    const struct endpoint *f = &l->ep;
    e->bound_if = f->bound_if;
    e->uid = f->uid;
    e->mark = f->mark;
    e->priority = f->priority;
    e->v6only = f->v6only;
    e->reuseaddr = f->reuseaddr;
    e->reuseport = f->reuseport;
    e->freebind = f->freebind;
    e->transparent = f->transparent;
    e->dontroute = f->dontroute;
    e->ttl = f->ttl;
    e->hop_limit = f->hop_limit;
    e->tos = f->tos;
    e->tclass = f->tclass;
    e->pmtudisc4 = f->pmtudisc4;
    e->pmtudisc6 = f->pmtudisc6;
    e->recverr4 = f->recverr4;
    e->recverr6 = f->recverr6;
    e->min_ttl = f->min_ttl;
    e->min_hops = f->min_hops;
    tp->nodelay = l->nodelay;
    tp->cork = l->cork;
    tp->keepalive = l->keepalive;
    tp->oobinline = l->oobinline;
    tp->linger_s = l->linger_s;
    tp->keepidle_s = l->keepidle_s;
    tp->keepintvl_s = l->keepintvl_s;
    tp->keepcnt = l->keepcnt;
    tp->user_timeout_ms = l->user_timeout_ms;
    tp->syncnt = l->syncnt;
    tp->linger2_s = l->linger2_s;
    tp->user_mss = l->user_mss;
    tp->window_clamp = l->window_clamp;
    tp->notsent_lowat = l->notsent_lowat;
    tp->rcvlowat = l->rcvlowat;
    tp->sndbuf = l->sndbuf;
    tp->rcvbuf = l->rcvbuf;
    tp->sndbuf_locked = l->sndbuf_locked;
    tp->rcvbuf_locked = l->rcvbuf_locked;
    tp->cong = l->cong;
}

int tcp_create(struct netstack *st, int family, const struct endpoint_cb *cb, void *owner, struct tcp_sock **out)
{
    struct tcp_sock *tp;
    int r = tcp_sock_alloc(st, family, &tp);
    if (r < 0)
        return r;
    tcp_set_owner(tp, cb, owner);
    *out = tp;
    return 0;
}

void tcp_set_owner(struct tcp_sock *tp, const struct endpoint_cb *cb, void *owner)
{
    tp->ep.cb = cb;
    tp->ep.owner = owner;
}

void tcp_set_state(struct tcp_sock *tp, int state)
{
    int old = tp->state;
    bool was = old == TCPS_ESTABLISHED || old == TCPS_CLOSE_WAIT;
    if (state == TCPS_ESTABLISHED || (state == TCPS_CLOSE_WAIT && old == TCPS_SYN_RECV)) {
        if (!was)
            MIB_INC(tp->st, TcpCurrEstab);
    } else if (was && state != TCPS_CLOSE_WAIT) {
        tp->st->mib.TcpCurrEstab--;
        if (state == TCPS_CLOSE)
            MIB_INC(tp->st, TcpEstabResets);
    }
    tp->state = state;
}

/* Takes a socket that nobody owns and that is closed out of the world. */
void tcp_release(struct tcp_sock *tp)
{
    if (tp->dead)
        return;
    tp->dead = true;
    tcp_cancel_timers(tp);
    tcp_purge_write_queue(tp);
    tcp_rcvq_purge(tp);
    tcp_reasm_purge(tp);
    if (tp->orphan_counted) {
        tp->ts->nr_orphans--;
        tp->orphan_counted = false;
    }
    port_unbind(tp->ts->ports, &tp->ep);
    endpoint_fini(&tp->ep);
    list_del_init(&tp->all_node);
    tp->ts->nr_socks--;
    tcp_put(tp);
}

/* One that was never entered anywhere. */
void tcp_sock_discard(struct tcp_sock *tp)
{
    tp->orphan = true;
    tcp_release(tp);
}

/* Gives the port up; getsockname() goes on telling it. */
static void leave_port(struct tcp_sock *tp) NETSTACK_LOCKED
{
    be16 lport = tp->ep.lport;
    port_unbind(tp->ts->ports, &tp->ep);
    tp->ep.lport = lport;
}

/* The connection is over: out of the tables, back to a port that was bound explicitly. */
void tcp_done(struct tcp_sock *tp)
{
    if (tp->state == TCPS_CLOSE)
        return;
    if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV)
        MIB_INC(tp->st, TcpAttemptFails);
    tcp_set_state(tp, TCPS_CLOSE);
    tcp_cancel_timers(tp);
    tp->shutdown = TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN;
    if (tp->ep.bucket) {
        if (tp->bound_port && !tp->orphan && tp->ep.connected)
            port_disconnect(tp->ts->ports, &tp->ep);
        else
            leave_port(tp);
    }
    if (tp->orphan)
        tcp_release(tp);
    else
        tcp_wake(tp, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLRDHUP);
}

void tcp_report_error(struct tcp_sock *tp, int err)
{
    tp->err = err;
    tcp_wake(tp, POLLERR);
}

/* Ends the connection with an error for the user. */
void tcp_fail(struct tcp_sock *tp, int err)
{
    tp->err = err;
    tcp_purge_write_queue(tp);
    tcp_done(tp);
    tcp_wake(tp, POLLERR | POLLHUP | POLLIN | POLLOUT);
}

void tcp_abort_connection(struct tcp_sock *tp, int err)
{
    tcp_get(tp);
    tcp_send_active_reset(tp);
    tcp_fail(tp, err);
    tcp_put(tp);
}

void tcp_orphan(struct tcp_sock *tp)
{
    tp->orphan = true;
    tp->ep.cb = NULL;
    tp->ep.owner = NULL;
    if (!tp->orphan_counted) {
        tp->orphan_counted = true;
        tp->ts->nr_orphans++;
    }
}

/* ---- the stack ---- */

static void default_sysctl(struct tcp_sysctl *s)
{
    *s = (struct tcp_sysctl){
        .syncookies = 1,
        .syn_retries = TCP_SYN_RETRIES,
        .synack_retries = TCP_SYNACK_RETRIES,
        .retries1 = TCP_RETRIES1,
        .retries2 = TCP_RETRIES2,
        .orphan_retries = 0,
        .max_orphans = 16384,
        .max_tw_buckets = 16384,
        .max_syn_backlog = 4096,
        .fin_timeout = 60,
        .tw_reuse = 2,
        .keepalive_time = 7200,
        .keepalive_intvl = 75,
        .keepalive_probes = 9,
        .sack = 1,
        .dsack = 1,
        .timestamps = 1,
        .window_scaling = 1,
        .ecn = 2,
        .slow_start_after_idle = 1,
        .early_retrans = 3,
        .recovery = 1,
        .moderate_rcvbuf = 1,
        .adv_win_scale = 1,
        .base_mss = 1024,
        .min_snd_mss = TCP_MSS_MIN,
        .challenge_ack_limit = 0x7fffffff,
        .invalid_ratelimit = 500,
        .notsent_lowat = -1,
        .autocorking = 1,
        .limit_output_bytes = 4194304,
        .reordering = 3,
        .max_reordering = 300,
        .frto = 2,
        .somaxconn = 4096,
        .rmem = {4096, 131072, 16 << 20},
        .wmem = {4096, 16384, 16 << 20},
        .mem = {16384, 32768, 65536},
        .congestion = "cubic",
    };
}

int tcp_create_stack(struct netstack *st)
{
    struct tcp_stack *ts = calloc(1, sizeof *ts);
    if (!ts)
        return -ENOMEM;
    ts->req_hash = malloc(TCP_REQ_HASH * sizeof *ts->req_hash);
    if (!ts->req_hash || port_table_create(st, &ts->ports) < 0) {
        free(ts->req_hash);
        free(ts);
        return -ENOMEM;
    }
    for (int i = 0; i < TCP_REQ_HASH; i++)
        list_init(&ts->req_hash[i]);
    ts->st = st;
    list_init(&ts->socks);
    list_init(&ts->tws);
    list_init(&ts->free_segs);
    default_sysctl(&ts->sysctl);
    st->tcp = ts;
    ip_register_proto(st, &tcp_proto);
    return 0;
}

void tcp_destroy_stack(struct netstack *st)
{
    struct tcp_stack *ts = st->tcp;
    if (!ts)
        return;
    struct tcp_sock *tp, *tmp;
    /* Listeners first: their children are in the same list. */
    list_for_each_entry(tp, &ts->socks, all_node)
        if (tp->state == TCPS_LISTEN)
            tcp_drop_reqs(tp);
    list_for_each_entry_safe(tp, tmp, &ts->socks, all_node) {
        tp->state = TCPS_CLOSE;
        tcp_sock_discard(tp);
    }
    while (!list_empty(&ts->tws))
        tcp_tw_kill(list_first_entry(&ts->tws, struct tcp_tw, all_node));
    while (!list_empty(&ts->free_segs)) {
        struct tcp_seg *seg = list_first_entry(&ts->free_segs, struct tcp_seg, node);
        list_del_init(&seg->node);
        free(seg);
    }
    port_table_destroy(ts->ports);
    free(ts->req_hash);
    free(ts);
    st->tcp = NULL;
}

struct tcp_sysctl *tcp_sysctl(struct netstack *st)
{
    return &st->tcp->sysctl;
}

void tcp_get_usage(struct netstack *st, struct tcp_usage *u)
{
    struct tcp_stack *ts = st->tcp;
    *u = (struct tcp_usage){
        .orphan = ts->nr_orphans,
        .tw = ts->nr_tw,
        .alloc = ts->nr_socks,
        .mem = ts->mem > 0 ? (ts->mem + 4095) / 4096 : 0,
    };
    struct tcp_sock *tp;
    list_for_each_entry(tp, &ts->socks, all_node)
        if (tp->state != TCPS_CLOSE)
            u->inuse++;
}
