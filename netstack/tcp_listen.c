/*
 * Listening. A SYN makes a `struct tcp_req`, which answers and repeats the answer; the ACK that completes the handshake turns
 * it into a socket in the accept queue. As in Linux: a SYN is dropped while the accept queue is full, the completing ACK too
 * (the peer believes to be connected and repeats), and beyond `backlog` half-open connections SYN cookies take over.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* ---- half-open connections ---- */

static struct list_head *req_chain(struct tcp_stack *ts, const struct tcp_tuple *t)
{
    return &ts->req_hash[netstack_hash(ts->st, t, sizeof *t) & (TCP_REQ_HASH - 1)];
}

static void tuple_of(struct tcp_tuple *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr, be16 rport)
{
    *t = (struct tcp_tuple){*laddr, *raddr, lport, rport};
}

static struct tcp_req *find_req(struct tcp_stack *ts, const struct tcp_tuple *t)
{
    struct tcp_req *req;
    list_for_each_entry(req, req_chain(ts, t), hash_node) {
        const struct ip_flow *f = &req->flow;
        if (f->sport == t->lport && f->dport == t->rport && addr_equal(&f->src, &t->laddr) && addr_equal(&f->dst, &t->raddr))
            return req;
    }
    return NULL;
}

static void req_free(struct tcp_req *req) NETSTACK_LOCKED
{
    struct tcp_sock *l = req->listener;
    net_timer_cancel(l->st, &req->timer);
    list_del_init(&req->hash_node);
    list_del_init(&req->node);
    l->nr_reqs--;
    l->ts->nr_reqs--;
    free(req);
}

void tcp_drop_reqs(struct tcp_sock *tp)
{
    while (!list_empty(&tp->reqs))
        req_free(list_first_entry(&tp->reqs, struct tcp_req, node));
}

void tcp_req_icmp_error(struct tcp_stack *ts, struct pkt *p, be16 sport, be16 dport, uint32_t seq, const struct icmp_error *e)
{
    struct tcp_tuple t;
    tuple_of(&t, &p->ip.src, sport, &p->ip.dst, dport);
    struct tcp_req *req = find_req(ts, &t);
    if (!req || !e->hard)
        return;
    if (seq != req->iss) {
        MIB_INC(ts->st, TcpExtOutOfWindowIcmps);
        return;
    }
    MIB_INC(ts->st, TcpExtListenDrops);
    req_free(req);
}

static uint32_t req_ts_now(const struct tcp_req *req) NETSTACK_LOCKED
{
    return netstack_time(req->listener->st) / NET_MSEC + req->ts_offset;
}

static void send_synack(struct tcp_req *req, bool cookie) NETSTACK_LOCKED
{
    struct netstack *st = req->listener->st;
    struct tcp_out o = {
        .seq = req->iss,
        .ack = req->irs + 1,
        .flags = TCP_SYN | TCP_ACK | (req->ecn_ok ? TCP_ECE : 0),
        .window = req->rcv_wnd > 65535 ? 65535 : req->rcv_wnd,
    };
    o.opt.mss = req->advmss;
    o.opt.sack_ok = req->sack_ok;
    o.opt.has_wscale = req->wscale_ok;
    o.opt.wscale = req->rcv_wscale;
    if (req->ts_ok) {
        o.opt.has_ts = true;
        o.opt.tsval = cookie ? tcp_cookie_ts(req_ts_now(req), req) : req_ts_now(req);
        o.opt.tsecr = req->ts_recent;
    }
    struct pkt *p = pkt_alloc(PKT_HEADROOM, 0);
    if (p)
        tcp_emit(st, &req->flow, p, &o);
}

static void send_req_ack(struct tcp_req *req) NETSTACK_LOCKED
{
    struct tcp_out o = {
        .seq = req->iss + 1,
        .ack = req->rcv_nxt,
        .flags = TCP_ACK,
        .window = req->rcv_wnd >> req->rcv_wscale,
    };
    if (req->ts_ok) {
        o.opt.has_ts = true;
        o.opt.tsval = req_ts_now(req);
        o.opt.tsecr = req->ts_recent;
    }
    struct pkt *p = pkt_alloc(PKT_HEADROOM, 0);
    if (p)
        tcp_emit(req->listener->st, &req->flow, p, &o);
}

/* How many SYN-ACKs TCP_DEFER_ACCEPT's seconds are worth. */
static int defer_retries(const struct tcp_sock *l)
{
    int n = 0, period = 1, timeout = 1;
    if (l->defer_accept_s <= 0)
        return 0;
    for (n = 1; l->defer_accept_s > period && n < 255; n++) {
        timeout *= 2;
        if (timeout > 120)
            timeout = 120;
        period += timeout;
    }
    return n;
}

/* The next SYN-ACK is due twice as late as the last one. */
static void arm_req(struct tcp_req *req) NETSTACK_LOCKED
{
    struct netstack *st = req->listener->st;
    int64_t ns = (TCP_RTO_INIT_US * 1000) << (req->num_timeout < 10 ? req->num_timeout : 10);
    if (ns > TCP_RTO_MAX_US * 1000)
        ns = TCP_RTO_MAX_US * 1000;
    net_timer_arm(st, &req->timer, netstack_time(st) + ns);
}

static void req_fire(struct net_timer *t) NETSTACK_LOCKED
{
    struct tcp_req *req = container_of(t, struct tcp_req, timer);
    struct tcp_sock *l = req->listener;
    int max = l->syncnt ? l->syncnt : l->ts->sysctl.synack_retries, defer = defer_retries(l);
    bool expire = req->num_timeout >= max, resend = true;
    if (defer) {
        expire = expire && (!req->acked || req->num_timeout >= defer);
        resend = !req->acked || req->num_timeout >= defer - 1;
    }
    if (expire) {
        req_free(req);
        return;
    }
    if (resend) {
        MIB_INC(l->st, TcpRetransSegs);
        MIB_INC(l->st, TcpExtTCPSynRetrans);
        req->num_retrans++;
        send_synack(req, false);
    }
    req->num_timeout++;
    arm_req(req);
}

/* ---- SYN ---- */

static bool accept_queue_full(const struct tcp_sock *l)
{
    return l->nr_accept > l->backlog;
}

/* The flow of answers to this segment, routed. */
static int make_flow(struct tcp_sock *l, const struct pkt *p, const struct tcp_header *h, struct ip_flow *f) NETSTACK_LOCKED
{
    endpoint_flow(&l->ep, &p->ip.src, f);
    f->dst = p->ip.src;
    f->src = p->ip.dst;
    f->proto = IPPROTO_TCP;
    f->sport = h->dport;
    f->dport = h->sport;
    f->nonlocal_src = true;
    f->rt.nic = NULL;
    if (addr_is_linklocal(&f->dst) && !f->oif)
        f->oif = p->iif;
    return ip_route(l->st, f);
}

static void fill_req(struct tcp_sock *l, struct tcp_req *req, const struct pkt *p, const struct tcp_rx *rx)
{
    const struct tcp_sysctl *sc = &l->ts->sysctl;
    const struct tcp_options *o = &rx->opt;
    req->listener = l;
    req->irs = rx->seq;
    req->rcv_nxt = rx->seq + 1;
    req->mss = o->mss ? o->mss : TCP_MSS_DEFAULT;
    if (l->user_mss && l->user_mss < req->mss)
        req->mss = l->user_mss;
    req->ts_ok = o->has_ts && sc->timestamps;
    req->ts_recent = req->ts_ok ? o->tsval : 0;
    req->ts_offset = tcp_ts_offset(l->st, &p->ip.dst, &p->ip.src);
    req->sack_ok = o->sack_ok && sc->sack;
    req->wscale_ok = o->has_wscale && sc->window_scaling;
    req->snd_wscale = req->wscale_ok ? o->wscale : 0;
    req->ecn_ok = sc->ecn && (rx->flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
    req->ifindex = l->ep.bound_if;
    req->advmss = tcp_route_advmss(&req->flow, l->user_mss);
}

static void fill_window(struct tcp_sock *l, struct tcp_req *req)
{
    uint32_t clamp;
    tcp_choose_window(l, req->advmss - (req->ts_ok ? 12 : 0), req->wscale_ok, &req->rcv_wnd, &req->rcv_wscale, &clamp);
}

static void syn_input(struct tcp_sock *l, struct pkt *p, const struct tcp_header *h, struct tcp_rx *rx,
                      uint32_t isn) NETSTACK_LOCKED
{
    struct tcp_stack *ts = l->ts;
    const struct tcp_sysctl *sc = &ts->sysctl;
    bool cookie = false;
    if (!isn && (sc->syncookies == 2 || l->nr_reqs >= (l->backlog ? l->backlog : 1))) {
        l->last_overflow_at = netstack_time(l->st);
        if (!sc->syncookies) {
            MIB_INC(l->st, TcpExtTCPReqQFullDrop);
            MIB_INC(l->st, TcpExtListenDrops);
            return;
        }
        MIB_INC(l->st, TcpExtTCPReqQFullDoCookies);
        cookie = true;
    }
    if (accept_queue_full(l)) {
        MIB_INC(l->st, TcpExtListenOverflows);
        MIB_INC(l->st, TcpExtListenDrops);
        return;
    }
    struct tcp_req tmp = {0}, *req = &tmp;
    if (make_flow(l, p, h, &tmp.flow) < 0) {
        MIB_INC(l->st, TcpExtListenDrops);
        return;
    }
    if (!cookie) {
        req = calloc(1, sizeof *req);
        if (!req) {
            MIB_INC(l->st, TcpExtListenDrops);
            return;
        }
        req->flow = tmp.flow;
    }
    fill_req(l, req, p, rx);
    struct tcp_tuple t;
    tuple_of(&t, &p->ip.dst, h->dport, &p->ip.src, h->sport);
    if (cookie) {
        if (!req->ts_ok)
            req->sack_ok = req->wscale_ok = req->ecn_ok = false;
        req->snd_wscale = req->wscale_ok ? req->snd_wscale : 0;
        fill_window(l, req);
        req->iss = tcp_cookie_make(l->st, &t, rx->seq, &req->mss);
        MIB_INC(l->st, TcpExtSyncookiesSent);
        send_synack(req, true);
        return;
    }
    fill_window(l, req);
    req->iss = isn ? isn : tcp_new_isn(l->st, &t);
    req->cookie = ++ts->next_cookie;
    req->sent_at = netstack_time(l->st);
    list_add(&req->hash_node, req_chain(ts, &t));
    list_add_tail(&req->node, &l->reqs);
    l->nr_reqs++;
    ts->nr_reqs++;
    net_timer_init(&req->timer, req_fire);
    net_timer_arm(l->st, &req->timer, req->sent_at + TCP_RTO_INIT_US * 1000);
    send_synack(req, false);
}

/* ---- the ACK that completes the handshake ---- */

/* Makes the socket; it is in the accept queue, in SYN_RECV, and the segment is still to be processed. NULL: no. */
static struct tcp_sock *make_child(struct tcp_sock *l, struct tcp_req *req, const struct tcp_rx *rx) NETSTACK_LOCKED
{
    struct tcp_sock *tp;
    if (accept_queue_full(l)) {
        MIB_INC(l->st, TcpExtListenOverflows);
        MIB_INC(l->st, TcpExtListenDrops);
        return NULL;
    }
    if (tcp_sock_alloc(l->st, l->ep.family, &tp) < 0)
        return NULL;
    tcp_inherit(tp, l);
    tp->ep.laddr = req->flow.src;
    tp->ep.raddr = req->flow.dst;
    tp->ep.lport = req->flow.sport;
    tp->ep.rport = req->flow.dport;
    tp->ep.bound_if = req->ifindex ? req->ifindex : l->ep.bound_if;
    int oif = req->flow.oif;
    if (port_accept(l->ts->ports, &tp->ep, &l->ep) < 0) {
        tcp_sock_discard(tp);
        return NULL;
    }
    tcp_make_flow(tp);
    tp->ep.flow.oif = oif;
    tp->ep.flow.rt = req->flow.rt;
    tp->state = TCPS_SYN_RECV;
    tp->irs = req->irs;
    tp->rcv_nxt = tp->rcv_wup = tp->copied_seq = req->irs + 1;
    tp->iss = tp->snd_una = req->iss;
    tp->snd_nxt = tp->write_seq = tp->pushed_seq = tp->snd_sml = tp->snd_up = req->iss + 1;
    tp->high_seq = tp->rtt_seq = tp->max_packets_seq = tp->highest_sack = tp->snd_nxt;
    tp->ts_ok = req->ts_ok;
    tp->ts_recent = req->ts_recent;
    tp->ts_recent_at = req->ts_ok ? tcp_now(tp) / NET_SEC : 0;
    tp->ts_offset = req->ts_offset;
    tp->sack_ok = req->sack_ok;
    tp->wscale_ok = req->wscale_ok;
    tp->snd_wscale = req->snd_wscale;
    tp->rcv_wscale = req->rcv_wscale;
    tp->ecn_ok = req->ecn_ok;
    tp->mss_clamp = req->mss;
    tp->advmss = req->advmss;
    tp->rcv_wnd = tp->rcv_ssthresh = req->rcv_wnd;
    uint32_t most = tp->wscale_ok ? 65535u << tp->rcv_wscale : 65535;
    if (!tp->window_clamp || tp->window_clamp > most)
        tp->window_clamp = most;
    tp->total_retrans = req->num_retrans;
    tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
    if (req->num_retrans == 0 && req->sent_at)
        tcp_rtt_sample(tp, (tcp_now(tp) - req->sent_at) / 1000);
    tp->listener = l;
    list_add_tail(&tp->accept_node, &l->acceptq);
    l->nr_accept++;
    MIB_INC(l->st, TcpPassiveOpens);
    return tp;
}

/* The segment is the child's now; the listener's owner hears of it. */
static bool child_input(struct tcp_sock *l, struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    tcp_get(tp);
    bool rst = tcp_rcv(tp, rx);
    tcp_wake(l, POLLIN | POLLRDNORM);
    tcp_put(tp);
    return rst;
}

static bool in_window(uint32_t seq, uint32_t end, uint32_t lo, uint32_t hi)
{
    return seq == lo || (seq_after(end, lo) && seq_before(seq, hi)) || (seq == hi && seq == end);
}

static bool req_input(struct tcp_sock *l, struct tcp_req *req, struct tcp_rx *rx) NETSTACK_LOCKED
{
    struct tcp_stack *ts = l->ts;
    bool paws = req->ts_ok && rx->opt.has_ts && (int32_t)(req->ts_recent - rx->opt.tsval) > TCP_PAWS_WINDOW;
    uint8_t flags = rx->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
    if (rx->seq == req->irs && flags == TCP_SYN && !paws) {
        /* The SYN again: so is the answer. */
        if (!tcp_oow_limited(ts, &req->last_oow_ack_at)) {
            MIB_INC(l->st, TcpRetransSegs);
            req->num_retrans++;
            send_synack(req, false);
            arm_req(req);
        } else {
            MIB_INC(l->st, TcpExtTCPACKSkippedSynRecv);
        }
        return false;
    }
    if ((flags & TCP_ACK) && rx->ack != req->iss + 1)
        return !(flags & TCP_RST);
    if (paws || !in_window(rx->seq, rx->end_seq, req->rcv_nxt, req->rcv_nxt + req->rcv_wnd)) {
        if (!(flags & TCP_RST) && !tcp_oow_limited(ts, &req->last_oow_ack_at))
            send_req_ack(req);
        if (paws)
            MIB_INC(l->st, TcpExtPAWSEstab);
        return false;
    }
    if (req->ts_ok && rx->opt.has_ts && !seq_after(rx->seq, req->rcv_nxt))
        req->ts_recent = rx->opt.tsval;
    if (rx->seq == req->irs)
        flags &= ~TCP_SYN;
    if (flags & (TCP_RST | TCP_SYN)) {
        MIB_INC(l->st, TcpAttemptFails);
        MIB_INC(l->st, TcpExtEmbryonicRsts);
        bool rst = !(flags & TCP_RST);
        req_free(req);
        return rst;
    }
    if (!(flags & TCP_ACK))
        return false;
    if (req->num_timeout < defer_retries(l) && rx->end_seq == req->irs + 1) {
        /* TCP_DEFER_ACCEPT: a bare ACK does not wake anybody. */
        req->acked = true;
        MIB_INC(l->st, TcpExtTCPDeferAcceptDrop);
        return false;
    }
    struct tcp_sock *tp = make_child(l, req, rx);
    if (!tp) {
        if (!ts->sysctl.abort_on_overflow) {
            req->acked = true;
            return false;
        }
        req_free(req);
        return true;
    }
    req_free(req);
    return child_input(l, tp, rx);
}

/* An ACK that no half-open connection waits for: it may carry a cookie. */
static bool cookie_input(struct tcp_sock *l, struct pkt *p, const struct tcp_header *h, struct tcp_rx *rx,
                         bool *rst) NETSTACK_LOCKED
{
    const struct tcp_sysctl *sc = &l->ts->sysctl;
    if (!sc->syncookies || (rx->flags & (TCP_RST | TCP_SYN)))
        return false;
    if (!l->last_overflow_at || netstack_time(l->st) - l->last_overflow_at > 120 * NET_SEC)
        return false;
    struct tcp_tuple t;
    tuple_of(&t, &p->ip.dst, h->dport, &p->ip.src, h->sport);
    uint16_t mss = tcp_cookie_check(l->st, &t, rx->seq - 1, rx->ack - 1);
    if (!mss) {
        MIB_INC(l->st, TcpExtSyncookiesFailed);
        return false;
    }
    MIB_INC(l->st, TcpExtSyncookiesRecv);
    struct tcp_req req = {0};
    struct tcp_rx syn = *rx;
    if (make_flow(l, p, h, &req.flow) < 0)
        return false;
    syn.seq = rx->seq - 1;
    syn.opt.mss = mss;
    fill_req(l, &req, p, &syn);
    req.iss = rx->ack - 1;
    req.sack_ok = req.wscale_ok = req.ecn_ok = false;
    req.snd_wscale = 0;
    if (req.ts_ok && !tcp_cookie_ts_read(rx->opt.tsecr, sc, &req))
        return false;
    fill_window(l, &req);
    struct tcp_sock *tp = make_child(l, &req, rx);
    *rst = tp && child_input(l, tp, rx);
    return true;
}

/* A segment for a listener. `isn`: to begin with, 0: any. True: answer with an RST. */
bool tcp_listen_input(struct tcp_sock *l, struct pkt *p, const struct tcp_header *h, struct tcp_rx *rx, uint32_t isn)
{
    struct tcp_tuple t;
    bool rst = false;
    tuple_of(&t, &p->ip.dst, h->dport, &p->ip.src, h->sport);
    struct tcp_req *req = find_req(l->ts, &t);
    if (req && req->listener == l)
        return req_input(l, req, rx);
    if (rx->flags & TCP_RST)
        return false;
    if (rx->flags & TCP_ACK)
        return !cookie_input(l, p, h, rx, &rst) || rst;
    if (!(rx->flags & TCP_SYN) || (rx->flags & TCP_FIN))
        return false;
    syn_input(l, p, h, rx, isn);
    return false;
}

int tcp_accept(struct tcp_sock *l, struct tcp_sock **child)
{
    if (l->state != TCPS_LISTEN)
        return -EINVAL;
    if (list_empty(&l->acceptq))
        return -EAGAIN;
    struct tcp_sock *tp = list_first_entry(&l->acceptq, struct tcp_sock, accept_node);
    list_del_init(&tp->accept_node);
    l->nr_accept--;
    tp->listener = NULL;
    *child = tp;
    return 0;
}

int tcp_listen(struct tcp_sock *tp, int backlog)
{
    if (tp->state == TCPS_LISTEN) {
        tp->backlog = backlog < 0 ? 0 : backlog;
        return 0;
    }
    if (tp->state != TCPS_CLOSE)
        return -EINVAL;
    int r = 0;
    if (!tp->ep.bucket)
        r = port_bind(tp->ts->ports, &tp->ep, &tp->ep.laddr, 0);
    if (r < 0)
        return r;
    tp->ep.listening = true;
    if (!port_bind_ok(tp->ts->ports, &tp->ep)) {
        tp->ep.listening = false;
        return -EADDRINUSE;
    }
    tp->backlog = backlog < 0 ? 0 : backlog;
    tp->err = 0;
    tp->shutdown = 0;
    tp->state = TCPS_LISTEN;
    return 0;
}

/* Not listening any more: what nobody accepted is reset. */
void tcp_listen_stop(struct tcp_sock *l)
{
    tcp_drop_reqs(l);
    while (!list_empty(&l->acceptq)) {
        struct tcp_sock *tp = list_first_entry(&l->acceptq, struct tcp_sock, accept_node);
        list_del_init(&tp->accept_node);
        l->nr_accept--;
        tp->listener = NULL;
        tcp_get(tp);
        if (tp->state != TCPS_CLOSE) {
            tcp_send_active_reset(tp);
            tcp_done(tp);
        }
        tp->orphan = true;
        tcp_release(tp);
        tcp_put(tp);
    }
    l->ep.listening = false;
}
