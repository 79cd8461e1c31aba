/*
 * What to send when: Nagle, cork, windows, GSO, retransmission, FIN and probes.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>

/* ---- segment sizes ---- */

/* The path's MTU as far as it is of use: an IPv4 packet cannot be longer. */
static uint32_t usable_mtu(uint32_t mtu)
{
    return mtu > 65535 ? 65535 : mtu;
}

static uint32_t mtu_to_mss(const struct tcp_sock *tp, uint32_t mtu)
{
    uint32_t hdr = ip_flow_hdr_len(&tp->ep.flow) + TCP_HEADER_LEN;
    mtu = usable_mtu(mtu);
    uint32_t mss = mtu > hdr ? mtu - hdr : 0;
    if (mss > tp->mss_clamp)
        mss = tp->mss_clamp;
    uint32_t min = tp->ts->sysctl.min_snd_mss;
    return mss < min ? min : mss;
}

void tcp_sync_mss(struct tcp_sock *tp, uint32_t mtu)
{
    tp->pmtu = mtu;
    uint32_t mss = mtu_to_mss(tp, mtu);
    /* Half of the largest window that was ever offered is enough, so that two segments fit (silly windows). */
    if (tp->max_window) {
        uint32_t half = tp->max_window > TCP_MSS_DEFAULT ? tp->max_window / 2 : tp->max_window;
        if (mss > half)
            mss = half < 68 - 40 ? 68 - 40 : half;
    }
    tp->mss = mss;
}

uint32_t tcp_cached_mss(const struct tcp_sock *tp)
{
    uint32_t opts = tcp_established_options_len(tp);
    return tp->mss > opts + 8 ? tp->mss - opts : 8;
}

uint32_t tcp_current_mss(struct tcp_sock *tp)
{
    struct ip_flow *f = &tp->ep.flow;
    if (!route_valid(tp->st, &f->rt) && ip_route(tp->st, f) < 0)
        return tcp_cached_mss(tp);
    if (ip_flow_mtu(f) != tp->pmtu)
        tcp_sync_mss(tp, ip_flow_mtu(f));
    return tcp_cached_mss(tp);
}

uint32_t tcp_size_goal(struct tcp_sock *tp, uint32_t mss)
{
    uint32_t max = TCP_GSO_MAX;
    const struct nic *nic = tp->ep.flow.rt.nic;
    if (nic && nic->gso_max && nic->gso_max < max)
        max = nic->gso_max;
    max -= 1 + ip_flow_hdr_len(&tp->ep.flow) + TCP_HEADER_LEN + TCP_OPTIONS_MAX;
    if (tp->max_window > TCP_MSS_DEFAULT && max > tp->max_window / 2)
        max = tp->max_window / 2;
    return max <= mss ? mss : max / mss * mss;
}

/* ---- the receive window that we offer is tcp_rcvbuf.c's; here the one that we were offered ---- */

uint32_t tcp_wnd_end(const struct tcp_sock *tp)
{
    return tp->snd_una + tp->snd_wnd;
}

/* Does the segment, or at least its first packet, fit into the peer's window? */
static bool window_allows(const struct tcp_sock *tp, const struct tcp_seg *seg, uint32_t mss)
{
    uint32_t end = seg->len > mss ? seg->seq + mss : seg->end_seq;
    return !seq_after(end, tcp_wnd_end(tp));
}

/* Bytes per second that a window per round trip makes, with room to grow: twice in slow start, 1.2 times afterwards. */
uint64_t tcp_pacing_rate(const struct tcp_sock *tp)
{
    uint64_t factor = tp->snd_cwnd < tp->snd_ssthresh / 2 ? 200 : 120;
    uint64_t window = tp->snd_cwnd > tp->packets_out ? tp->snd_cwnd : tp->packets_out;
    uint64_t rate = window * tp->mss * factor / 100 * 8 * 1000000;
    return tp->srtt_us ? rate / tp->srtt_us : rate;
}

/*
 * How many packets one GSO packet should have: a millisecond's worth, since what leaves at once arrives at the narrowest queue
 * of the path at once. Over short distances there is none, and large packets are what makes sending cheap.
 */
static uint32_t gso_packets(struct tcp_sock *tp, uint32_t mss)
{
    uint64_t bytes = tcp_pacing_rate(tp) >> 10, most = tcp_size_goal(tp, mss);
    int64_t far = tp->min_rtt_us >> 9;
    if (far < 32)
        bytes += (uint64_t)TCP_GSO_MAX >> far;
    uint32_t n = (bytes < most ? bytes : most) / mss;
    return n < 2 ? 2 : n;
}

static uint32_t cwnd_quota(const struct tcp_sock *tp, const struct tcp_seg *seg)
{
    if ((seg->flags & TCP_FIN) && seg->pcount == 1)
        return 1;
    uint32_t in_flight = tcp_in_flight(tp);
    return in_flight < tp->snd_cwnd ? tp->snd_cwnd - in_flight : 0;
}

/* Minshall's variant of Nagle: a small segment waits only while another small one is unacknowledged. */
static bool nagle_holds(const struct tcp_sock *tp, const struct tcp_seg *seg, uint32_t mss, bool cork)
{
    if (seg->len >= mss)
        return false;
    if (cork)
        return true;
    return !tp->nodelay && tp->packets_out && seq_after(tp->snd_sml, tp->snd_una) && !seq_after(tp->snd_sml, tp->snd_nxt);
}

static bool nagle_allows(const struct tcp_sock *tp, const struct tcp_seg *seg, uint32_t mss, enum tcp_push push)
{
    if (push == TCP_PUSH_NOW || tp->urg_mode || (seg->flags & TCP_FIN))
        return true;
    return !nagle_holds(tp, seg, mss, tp->cork || push == TCP_PUSH_MORE);
}

/*
 * Waits with a GSO packet that could be sent only in part, if an acknowledgement that lets more go is near: large packets are
 * what makes sending cheap.
 */
static bool defer_gso(struct tcp_sock *tp, const struct tcp_seg *seg, uint32_t mss, uint32_t most,
                      bool *cwnd_limited) NETSTACK_LOCKED
{
    if ((seg->flags & TCP_FIN) || tp->ca_state >= TCP_CA_Recovery)
        return false;
    uint32_t in_flight = tcp_in_flight(tp);
    uint32_t send_win = tcp_wnd_end(tp) - seg->seq;
    uint64_t cong_win = tp->snd_cwnd > in_flight ? (uint64_t)(tp->snd_cwnd - in_flight) * mss : 0;
    uint32_t limit = cong_win < send_win ? cong_win : send_win;
    if (limit >= most * mss)
        return false;
    if (seg != tcp_unsent_tail(tp) && limit >= seg->len)
        return false;
    uint64_t cwnd_bytes = (uint64_t)tp->snd_cwnd * mss;
    uint32_t chunk = (tp->snd_wnd < cwnd_bytes ? tp->snd_wnd : cwnd_bytes) / 3;
    if (chunk ? limit >= chunk : limit > 3 * mss)
        return false;
    const struct tcp_seg *head = tcp_rtx_head(tp);
    if (!head)
        return false;
    /* The oldest packet's acknowledgement is not to be expected within half a round trip. */
    if ((tcp_now(tp) - head->sent_at) / 1000 < (tp->srtt_us >> 4))
        return false;
    if (cong_win < send_win) {
        if (cong_win <= seg->len)
            *cwnd_limited = true;
    } else if (send_win <= seg->len) {
        return true;
    }
    return !(seg->flags & TCP_FIN) && !seg->eor;
}

/* The length to cut the segment to, so that windows hold and, if possible, whole packets go. */
static uint32_t split_point(const struct tcp_sock *tp, const struct tcp_seg *seg, uint32_t mss, uint32_t quota, bool push_now)
{
    uint32_t window = tcp_wnd_end(tp) - seg->seq;
    uint64_t max = (uint64_t)quota * mss;
    if (max <= window && seg != tcp_unsent_tail((struct tcp_sock *)tp))
        return max < seg->len ? max : seg->len;
    uint32_t needed = seg->len < window ? seg->len : window;
    if (max <= needed)
        return max;
    uint32_t partial = needed % mss;
    /* The tail that is no whole packet stays behind if Nagle would hold it. */
    if (partial && needed > mss && !push_now && nagle_holds(tp, &(struct tcp_seg){.len = partial}, mss, tp->cork))
        return needed - partial;
    return needed;
}

static void new_data_sent(struct tcp_sock *tp, struct tcp_seg *seg) NETSTACK_LOCKED
{
    bool first = tp->packets_out == 0;
    tp->snd_nxt = seg->end_seq;
    list_del_init(&seg->node);
    list_add_tail(&seg->node, &tp->rtx);
    list_add_tail(&seg->sent_node, &tp->by_time);
    tp->packets_out += seg->pcount;
    if (first || tp->pending == TIMER_TLP || tp->pending == TIMER_PROBE)
        tcp_rearm_rto(tp);
    tp->st->mib.TcpExtTCPOrigDataSent += seg->pcount;
}

/* Was the window the limit? Only then it may grow (RFC 7661 in spirit). */
static void cwnd_validate(struct tcp_sock *tp, bool limited) NETSTACK_LOCKED
{
    if (!seq_before(tp->snd_una, tp->max_packets_seq) || limited ||
        (!tp->cwnd_limited && tp->packets_out > tp->max_packets_out)) {
        tp->cwnd_limited = limited;
        tp->max_packets_out = tp->packets_out;
        tp->max_packets_seq = tp->snd_nxt;
    }
    if (limited || tp->cwnd_limited) {
        tp->cwnd_used = 0;
        tp->cwnd_stamp = tcp_now(tp);
        return;
    }
    if (tp->packets_out > tp->cwnd_used)
        tp->cwnd_used = tp->packets_out;
    if (tp->ts->sysctl.slow_start_after_idle && (tcp_now(tp) - tp->cwnd_stamp) / 1000 >= tp->rto_us) {
        /* Limited by the application for a whole RTO: the window was not tested, so it falls half way to what was used. */
        if (tp->ca_state == TCP_CA_Open) {
            uint32_t used = tp->cwnd_used > TCP_INIT_CWND ? tp->cwnd_used : TCP_INIT_CWND;
            if (used < tp->snd_cwnd) {
                tp->snd_ssthresh = tcp_current_ssthresh(tp);
                tp->snd_cwnd = (tp->snd_cwnd + used) / 2;
            }
            tp->cwnd_used = 0;
        }
        tp->cwnd_stamp = tcp_now(tp);
    }
}

/* After idling longer than an RTO begin again with a small window (RFC 2861). */
static void check_idle(struct tcp_sock *tp) NETSTACK_LOCKED
{
    int64_t idle = tcp_now(tp) - tp->lsnd_at;
    if (tp->packets_out || tp->lsnd_at == 0)
        return;
    if (tp->cong->restart && idle > 0)
        tp->cong->restart(tp, idle);
    if (!tp->ts->sysctl.slow_start_after_idle || idle / 1000 <= tp->rto_us)
        return;
    uint32_t restart = tp->snd_cwnd < TCP_INIT_CWND ? tp->snd_cwnd : TCP_INIT_CWND, cwnd = tp->snd_cwnd;
    tp->snd_ssthresh = tcp_current_ssthresh(tp);
    for (int64_t us = idle / 1000 - tp->rto_us; us > 0 && cwnd > restart; us -= tp->rto_us)
        cwnd >>= 1;
    tp->snd_cwnd = cwnd > restart ? cwnd : restart;
    tp->cwnd_stamp = tcp_now(tp);
    tp->cwnd_used = 0;
}

/* Sends what may be sent. Returns true when nothing is in flight although there is something to send: a probe is needed. */
static bool write_xmit(struct tcp_sock *tp, uint32_t mss, enum tcp_push push) NETSTACK_LOCKED
{
    struct tcp_seg *seg;
    uint32_t sent = 0;
    bool cwnd_limited = false, rwnd_limited = false;
    uint32_t most = gso_packets(tp, mss);
    while ((seg = tcp_unsent_head(tp))) {
        tcp_seg_set_pcount(seg, mss);
        uint32_t quota = cwnd_quota(tp, seg);
        if (quota == 0) {
            if (push != TCP_PUSH_PROBE)
                break;
            quota = 1;
        }
        if (!window_allows(tp, seg, mss)) {
            rwnd_limited = true;
            break;
        }
        if (seg->pcount == 1) {
            bool last = list_entry(&seg->node, struct tcp_seg, node) == tcp_unsent_tail(tp);
            if (!nagle_allows(tp, seg, mss, last ? push : TCP_PUSH_NOW))
                break;
        } else if (push == TCP_PUSH_AUTO && defer_gso(tp, seg, mss, most, &cwnd_limited)) {
            break;
        }
        uint32_t limit = mss;
        if (seg->pcount > 1)
            limit = split_point(tp, seg, mss, quota < most ? quota : most, push == TCP_PUSH_NOW);
        if (seg->len > limit && tcp_seg_split(tp, seg, limit, mss, false) < 0)
            break;
        int r = tcp_xmit_seg(tp, seg, false);
        if (r == -ENOBUFS || r == -ENOMEM)
            break;
        new_data_sent(tp, seg);
        if (seg->len && seg->len < seg->pcount * mss)
            tp->snd_sml = seg->end_seq;
        sent += seg->pcount;
        if (push == TCP_PUSH_PROBE)
            break;
    }
    tcp_chrono(tp, rwnd_limited ? TCP_CHRONO_RWND : TCP_CHRONO_BUSY);
    if (sent) {
        if (tcp_in_reduction(tp))
            tp->prr_out += sent;
        if (push != TCP_PUSH_PROBE)
            tcp_schedule_tlp(tp);
        cwnd_validate(tp, cwnd_limited || tcp_in_flight(tp) >= tp->snd_cwnd);
        return false;
    }
    if (cwnd_limited || (!rwnd_limited && !list_empty(&tp->unsent) && tcp_in_flight(tp) >= tp->snd_cwnd))
        cwnd_validate(tp, true);
    return tp->packets_out == 0 && !list_empty(&tp->unsent);
}

void tcp_push(struct tcp_sock *tp, enum tcp_push push)
{
    if (list_empty(&tp->unsent) || tp->state == TCPS_CLOSE || tp->state == TCPS_SYN_SENT)
        return;
    check_idle(tp);
    if (write_xmit(tp, tcp_current_mss(tp), push) && tp->pending == TIMER_NONE)
        tcp_arm(tp, TIMER_PROBE, tcp_probe_interval(tp));
}

/* ---- retransmission ---- */

/* Sends a segment, or as much of it as windows allow, again, without counting it as a repair (a tail loss probe is none). */
int tcp_resend_seg(struct tcp_sock *tp, struct tcp_seg *seg)
{
    uint32_t mss = tcp_current_mss(tp);
    if (seq_before(seg->seq, tp->snd_una) && seg->len) {
        if (!seq_after(seg->end_seq, tp->snd_una))
            return -EINVAL;
        uint32_t n = tp->snd_una - seg->seq;
        if (n < seg->len)
            tcp_adjust_pcount(tp, seg, tcp_seg_trim_head(tp, seg, n, mss));
    }
    uint32_t window_left = tcp_wnd_end(tp) - seg->seq;
    if ((int32_t)window_left <= 0) {
        /* A window that was closed behind what we sent: only the first segment goes, as a probe. */
        if (seg->seq != tp->snd_una)
            return -EAGAIN;
        window_left = mss;
    }
    uint32_t in_flight = tcp_in_flight(tp);
    uint32_t quota = in_flight < tp->snd_cwnd ? tp->snd_cwnd - in_flight : 1;
    uint64_t len = (uint64_t)quota * mss;
    if (len > window_left) {
        len = window_left;
        if (len > mss)
            len -= len % mss;
    }
    if (seg->len > len) {
        int r = tcp_seg_split(tp, seg, len, mss, true);
        if (r < 0)
            return r;
    } else if (seg->len > mss && seg->pcount != (seg->len + mss - 1) / mss) {
        int old = seg->pcount;
        tcp_seg_set_pcount(seg, mss);
        tcp_adjust_pcount(tp, seg, old - seg->pcount);
    }
    /* The MSS fell: what was one packet is now several. */
    if (seg->pcount == 1 && seg->len > mss) {
        int old = seg->pcount;
        tcp_seg_set_pcount(seg, mss);
        tcp_adjust_pcount(tp, seg, old - seg->pcount);
    }
    MIB_ADD(tp->st, TcpRetransSegs, seg->pcount);
    if (seg->flags & TCP_SYN)
        MIB_INC(tp->st, TcpExtTCPSynRetrans);
    tp->total_retrans += seg->pcount;
    int r = tcp_xmit_seg(tp, seg, true);
    if (r == -ENOBUFS || r == -ENOMEM) {
        MIB_INC(tp->st, TcpExtTCPRetransFail);
        return r;
    }
    seg->sacked |= SEG_EVER_RETRANS;
    list_del_init(&seg->sent_node);
    list_add_tail(&seg->sent_node, &tp->by_time);
    return 0;
}

int tcp_retransmit_seg(struct tcp_sock *tp, struct tcp_seg *seg)
{
    int r = tcp_resend_seg(tp, seg);
    if (r < 0)
        return r;
    if (!(seg->sacked & SEG_RETRANS)) {
        seg->sacked |= SEG_RETRANS;
        tp->retrans_out += seg->pcount;
    }
    if (tp->retrans_stamp == 0)
        tp->retrans_stamp = tcp_ts_now(tp) ? tcp_ts_now(tp) : 1;
    if (tp->undo_retrans < 0)
        tp->undo_retrans = 0;
    tp->undo_retrans += seg->pcount;
    return 0;
}

void tcp_retransmit_lost(struct tcp_sock *tp)
{
    if (tp->packets_out == 0)
        return;
    struct tcp_seg *seg = tp->retrans_hint ? tp->retrans_hint : tcp_rtx_head(tp);
    bool rearm = false;
    for (; seg && &seg->node != &tp->rtx; seg = list_entry(seg->node.next, struct tcp_seg, node)) {
        if (tcp_in_flight(tp) >= tp->snd_cwnd || tp->retrans_out >= tp->lost_out)
            break;
        tp->retrans_hint = seg;
        if (!(seg->sacked & SEG_LOST) || (seg->sacked & (SEG_SACKED | SEG_RETRANS)))
            continue;
        if (tp->ca_state == TCP_CA_Loss)
            MIB_INC(tp->st, TcpExtTCPSlowStartRetrans);
        else
            MIB_INC(tp->st, TcpExtTCPFastRetrans);
        if (tcp_retransmit_seg(tp, seg) < 0)
            break;
        if (tcp_in_reduction(tp))
            tp->prr_out += seg->pcount;
        if (seg == tcp_rtx_head(tp) && tp->pending != TIMER_REO)
            rearm = true;
    }
    if (rearm)
        tcp_arm(tp, TIMER_RTO, tp->rto_us * 1000);
}

/* ---- FIN and zero-window probes ---- */

void tcp_send_fin(struct tcp_sock *tp)
{
    struct tcp_seg *tail = tcp_unsent_tail(tp);
    if (tail) {
        tail->flags |= TCP_FIN | TCP_PSH;
        tail->end_seq++;
        tp->write_seq++;
    } else if (tcp_queue_control(tp, TCP_ACK | TCP_FIN) < 0) {
        tcp_abort_connection(tp, ENOBUFS);
        return;
    }
    tcp_push(tp, TCP_PUSH_NOW);
}

int tcp_probe_window(struct tcp_sock *tp)
{
    struct tcp_seg *seg = tcp_unsent_head(tp);
    if (seg && seq_before(seg->seq, tcp_wnd_end(tp))) {
        /* There is a little room: fill it. */
        uint32_t mss = tcp_current_mss(tp), len = tcp_wnd_end(tp) - seg->seq;
        if (len > mss)
            len = mss;
        seg->flags |= TCP_PSH;
        if (seg->len > len && tcp_seg_split(tp, seg, len, mss, false) < 0)
            return -ENOMEM;
        tcp_seg_set_pcount(seg, mss);
        int r = tcp_xmit_seg(tp, seg, false);
        if (r != -ENOBUFS && r != -ENOMEM)
            new_data_sent(tp, seg);
        return r;
    }
    if (tp->urg_mode && seq_between(tp->snd_up, tp->snd_una + 1, tp->snd_una + 0xffff))
        tcp_send_window_probe(tp, tp->snd_una);
    /* A sequence number that was acknowledged already: the peer must answer with its window. */
    tcp_send_window_probe(tp, tp->snd_una - 1);
    return 0;
}
