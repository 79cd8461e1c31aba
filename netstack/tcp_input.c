/*
 * Segments in: finding their connection, checking them (RFC 9293 3.10.7, RFC 5961, RFC 7323), and the state machine.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>

/* ---- checks ---- */

static bool paws_reject(const struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED
{
    if (!tp->ts_ok || !rx->opt.has_ts || !tp->ts_recent_at)
        return false;
    if ((int32_t)(tp->ts_recent - rx->opt.tsval) <= TCP_PAWS_WINDOW)
        return false;
    if (tcp_now(tp) / NET_SEC >= tp->ts_recent_at + TCP_PAWS_24DAYS_S)
        return false;
    /* A pure duplicate ACK that reordering brought late is no reason to answer. */
    if ((rx->flags & TCP_ACK) && rx->seq == rx->end_seq && rx->seq == tp->rcv_nxt && rx->ack == tp->snd_una &&
        rx->window << tp->snd_wscale == tp->snd_wnd && (int32_t)(tp->ts_recent - rx->opt.tsval) <= tp->rto_us / 1000)
        return false;
    return true;
}

static void update_ts_recent(struct tcp_sock *tp, const struct tcp_rx *rx, uint32_t limit) NETSTACK_LOCKED
{
    if (!tp->ts_ok || !rx->opt.has_ts || seq_after(rx->seq, limit))
        return;
    if ((int32_t)(rx->opt.tsval - tp->ts_recent) >= 0 || tp->ts_recent_at + TCP_PAWS_24DAYS_S < tcp_now(tp) / NET_SEC ||
        !tp->ts_recent_at) {
        tp->ts_recent = rx->opt.tsval;
        tp->ts_recent_at = tcp_now(tp) / NET_SEC;
    }
}

static void send_dupack(struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED
{
    if (rx->end_seq != rx->seq && seq_before(rx->seq, tp->rcv_nxt)) {
        MIB_INC(tp->st, TcpExtDelayedACKLost);
        tcp_enter_quickack(tp, TCP_MAX_QUICKACKS);
        tcp_dsack_set(tp, rx->seq, seq_min(rx->end_seq, tp->rcv_nxt));
    }
    tcp_send_ack(tp);
}

/* A valid RST. */
static void reset_by_peer(struct tcp_sock *tp) NETSTACK_LOCKED
{
    int err = ECONNRESET;
    if (tp->state == TCPS_SYN_SENT)
        err = ECONNREFUSED;
    else if (tp->state == TCPS_CLOSE_WAIT)
        err = EPIPE;
    else if (tp->state == TCPS_CLOSE)
        return;
    tcp_fail(tp, err);
}

static bool reset_acceptable(const struct tcp_sock *tp, const struct tcp_rx *rx)
{
    if (rx->seq == tp->rcv_nxt)
        return true;
    /* A peer that has sent its FIN may reset behind it or at it. */
    if (rx->seq == tp->rcv_nxt - 1 && tp->fin_rcvd &&
        (tp->state == TCPS_CLOSE_WAIT || tp->state == TCPS_LAST_ACK || tp->state == TCPS_CLOSING))
        return true;
    /* The RST may stand behind data that arrived out of order. */
    if (!list_empty(&tp->ranges) && tp->sack_ok)
        return rx->seq == list_last_entry(&tp->ranges, struct tcp_range, node)->end;
    return false;
}

/* The answer to our SYN-ACK of a simultaneous open: it is a SYN-ACK itself, and completes the handshake. */
static bool is_crossing_synack(const struct tcp_sock *tp, const struct tcp_rx *rx)
{
    return tp->state == TCPS_SYN_RECV && tp->connecting && (rx->flags & TCP_ACK) && rx->seq + 1 == rx->end_seq &&
           rx->seq + 1 == tp->rcv_nxt && rx->ack == tp->snd_nxt;
}

/* False: the segment goes no further. */
static bool validate(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    bool rst = rx->flags & TCP_RST;
    if (paws_reject(tp, rx) && !rst) {
        MIB_INC(tp->st, TcpExtPAWSEstab);
        if (rx->flags & TCP_SYN)
            goto syn;
        if (!tcp_oow_limited(tp->ts, &tp->last_oow_ack_at) || rx->len)
            send_dupack(tp, rx);
        else
            MIB_INC(tp->st, TcpExtTCPACKSkippedPAWS);
        return false;
    }
    if (seq_before(rx->end_seq, tp->rcv_wup) || seq_after(rx->seq, tp->rcv_nxt + tcp_receive_window(tp))) {
        if (!rst) {
            if (rx->flags & TCP_SYN)
                goto syn;
            if (rx->len || !tcp_oow_limited(tp->ts, &tp->last_oow_ack_at))
                send_dupack(tp, rx);
            else
                MIB_INC(tp->st, TcpExtTCPACKSkippedSeq);
        } else if (reset_acceptable(tp, rx)) {
            reset_by_peer(tp);
        }
        return false;
    }
    if (rst) {
        if (reset_acceptable(tp, rx))
            reset_by_peer(tp);
        else
            tcp_send_challenge_ack(tp);
        return false;
    }
    if ((rx->flags & TCP_SYN) && !is_crossing_synack(tp, rx)) {
    syn:
        MIB_INC(tp->st, TcpInErrs);
        MIB_INC(tp->st, TcpExtTCPSYNChallenge);
        tcp_send_challenge_ack(tp);
        return false;
    }
    return true;
}

/* ---- data ---- */

/* The peer has closed its side. */
static void received_fin(struct tcp_sock *tp) NETSTACK_LOCKED
{
    tp->fin_rcvd = true;
    tp->ack_pending = true;
    tp->shutdown |= TCP_RCV_SHUTDOWN;
    switch ((int)tp->state) { /* clang takes no atomic one */
    case TCPS_SYN_RECV:
    case TCPS_ESTABLISHED:
        tcp_set_state(tp, TCPS_CLOSE_WAIT);
        /* The answer is likely to be quick, and a FIN may travel with the ACK. */
        if (tp->pingpong < 255)
            tp->pingpong++;
        break;
    case TCPS_FIN_WAIT1:
        /* Simultaneous close: ours is not acknowledged yet. */
        tcp_send_ack(tp);
        tcp_set_state(tp, TCPS_CLOSING);
        break;
    case TCPS_FIN_WAIT2:
        tcp_send_ack(tp);
        tcp_time_wait(tp, TCPS_TIME_WAIT, 0);
        break;
    default:
        break;
    }
    tcp_reasm_purge(tp);
    if (!tp->orphan) {
        uint32_t events = POLLIN | POLLRDNORM | POLLRDHUP;
        if (tp->shutdown == (TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN) || tp->state == TCPS_CLOSE)
            events |= POLLHUP;
        tcp_wake(tp, events);
    }
}

static void out_of_window(struct tcp_sock *tp)
{
    tcp_enter_quickack(tp, TCP_MAX_QUICKACKS);
    tp->ack_pending = true;
    tp->ack_now = true;
}

/* Payload and FIN of a segment that has passed validate(). */
static void queue_data(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    if (rx->seq == rx->end_seq)
        return;
    bool fin = rx->flags & TCP_FIN;
    uint32_t window = tcp_receive_window(tp);
    if (!seq_after(rx->seq, tp->rcv_nxt)) {
        if (!seq_after(rx->end_seq, tp->rcv_nxt)) {
            /* Old, entirely. */
            MIB_INC(tp->st, TcpExtDelayedACKLost);
            tcp_dsack_set(tp, rx->seq, rx->end_seq);
            out_of_window(tp);
            return;
        }
        if (seq_before(rx->seq, tp->rcv_nxt)) {
            tcp_dsack_set(tp, rx->seq, tp->rcv_nxt);
            uint32_t n = tp->rcv_nxt - rx->seq;
            if (n > rx->len)
                n = rx->len;
            pkt_pull(rx->p, n);
            rx->len -= n;
            rx->seq += n;
        }
        if (window == 0 && rx->len) {
            MIB_INC(tp->st, TcpExtTCPZeroWindowDrop);
            out_of_window(tp);
            return;
        }
        if (rx->len && !tcp_rmem_make_room(tp)) {
            MIB_INC(tp->st, TcpExtTCPRcvQDrop);
            tp->ack_pending = tp->ack_now = true;
            return;
        }
        if (rx->len)
            tcp_data_received(tp, rx);
        struct pkt *p = rx->p;
        rx->p = NULL;
        p->tcp.seq = rx->seq;
        p->tcp.end_seq = rx->end_seq;
        p->tcp.flags = rx->flags;
        bool ooo = !list_empty(&tp->ranges);
        tcp_rcvq_add(tp, p);
        if (fin) {
            received_fin(tp);
            if (tp->state == TCPS_CLOSE)
                return;
        } else if (ooo) {
            if (tcp_reasm_deliver(tp)) {
                received_fin(tp);
                if (tp->state == TCPS_CLOSE)
                    return;
            }
            /* RFC 5681: acknowledge at once when a hole is filled. */
            if (list_empty(&tp->ranges))
                tp->pingpong = 0;
            tp->ack_now = true;
        }
        if (tp->nr_recent_sacks)
            tcp_sacks_trim(tp);
        if (!tp->orphan && tcp_readable(tp) && tcp_stream_readable(tp))
            tcp_wake(tp, POLLIN | POLLRDNORM);
        return;
    }
    if (!seq_before(rx->seq, tp->rcv_nxt + window)) {
        out_of_window(tp);
        return;
    }
    if (!tcp_rmem_make_room(tp)) {
        MIB_INC(tp->st, TcpExtTCPOFODrop);
        tp->ack_pending = tp->ack_now = true;
        return;
    }
    tp->ack_pending = true;
    tp->ack_now = true;
    tcp_reasm_add(tp, rx);
}

/* ---- afterwards: what to send ---- */

static void check_space(struct tcp_sock *tp)
{
    if (!tp->sndbuf_locked && tp->wmem >= tp->sndbuf / 2 && tp->packets_out < tp->snd_cwnd && tcp_in_flight(tp) < tp->snd_cwnd)
        tcp_sndbuf_expand(tp);
    if (tp->nospace && tcp_writeable(tp)) {
        tp->nospace = false;
        tcp_wake(tp, POLLOUT | POLLWRNORM);
    }
}

static void ack_check(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (!tp->ack_pending && !tp->ack_now)
        return;
    bool much = tp->rcv_nxt - tp->rcv_wup > tp->rcv_mss && (int)tcp_readable(tp) >= 0;
    if (tp->ack_now || (tp->quick && !tcp_in_pingpong(tp)) || !list_empty(&tp->ranges) || much)
        tcp_send_ack(tp);
    else
        tcp_delay_ack(tp);
}

static void after_segment(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (tp->state == TCPS_CLOSE)
        return;
    tcp_push(tp, TCP_PUSH_AUTO);
    check_space(tp);
    ack_check(tp);
}

static void note_ecn(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    if (!tp->ecn_ok)
        return;
    if (rx->flags & TCP_CWR)
        tp->ecn_demand_cwr = false;
    if (rx->ce) {
        if (!tp->ecn_demand_cwr)
            tcp_enter_quickack(tp, 2);
        tp->ecn_demand_cwr = true;
    }
}

/*
 * The common case, which needs few of the checks: next in order, no flags but ACK and PSH, an unchanged window, a newer time
 * stamp and nothing else in the options (header prediction). False: go the long way.
 */
static bool predicted(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    if ((rx->flags & ~TCP_PSH) != TCP_ACK || rx->seq != tp->rcv_nxt || seq_after(rx->ack, tp->snd_nxt) || tp->urg_data ||
        rx->opt.nr_sacks || !list_empty(&tp->ranges) || rx->ce)
        return false;
    if (tp->ts_ok) {
        if (!rx->opt.has_ts || (int32_t)(rx->opt.tsval - tp->ts_recent) < 0)
            return false;
        if (!seq_after(rx->seq, tp->rcv_wup)) {
            tp->ts_recent = rx->opt.tsval;
            tp->ts_recent_at = tcp_now(tp) / NET_SEC;
        }
    }
    if (rx->len == 0) {
        if (tcp_ack(tp, rx, 0) == TCP_ACK_TOO_OLD)
            return true;
        MIB_INC(tp->st, TcpExtTCPHPAcks);
        tcp_push(tp, TCP_PUSH_AUTO);
        check_space(tp);
        return true;
    }
    if (rx->len > tcp_receive_window(tp) || tp->rmem > tp->rcvbuf)
        return false;
    MIB_INC(tp->st, TcpExtTCPHPHits);
    if (rx->ack != tp->snd_una)
        tcp_ack(tp, rx, 0);
    struct pkt *p = rx->p;
    tcp_data_received(tp, rx);
    rx->p = NULL;
    p->tcp.seq = rx->seq;
    p->tcp.end_seq = rx->end_seq;
    p->tcp.flags = rx->flags;
    tcp_rcvq_add(tp, p);
    if (tcp_stream_readable(tp))
        tcp_wake(tp, POLLIN | POLLRDNORM);
    after_segment(tp);
    return true;
}

/* ---- the states ---- */

static void rcv_established(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    tcp_rtt_rcv_by_ts(tp, rx);
    if (tp->state == TCPS_ESTABLISHED && predicted(tp, rx))
        return;
    if (!validate(tp, rx))
        return;
    note_ecn(tp, rx);
    if (!(rx->flags & TCP_ACK))
        return;
    enum tcp_ack_result r = tcp_ack(tp, rx, ACK_SLOWPATH);
    if (r == TCP_ACK_TOO_OLD)
        return;
    if (r == TCP_ACK_UNSENT) {
        tcp_send_challenge_ack(tp);
        return;
    }
    update_ts_recent(tp, rx, tp->rcv_wup);
    tcp_urgent_input(tp, rx);
    queue_data(tp, rx);
    after_segment(tp);
}

/* The handshake is complete. */
static void established(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    tcp_set_state(tp, TCPS_ESTABLISHED);
    tp->snd_wl1 = rx->seq;
    tp->rcv_activity_at = tp->last_rcv_at = tcp_now(tp);
    tp->established_at = tcp_now(tp);
    tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
    tcp_init_buffers(tp);
    tp->rcv_mss = tp->mss < tp->advmss ? tp->mss : tp->advmss;
    if (tp->rcv_mss > tp->rcv_wnd / 2)
        tp->rcv_mss = tp->rcv_wnd / 2;
    if (tp->rcv_mss > TCP_MSS_DEFAULT)
        tp->rcv_mss = TCP_MSS_DEFAULT;
    if (tp->rcv_mss < 88)
        tp->rcv_mss = 88;
    tp->cong->reset(tp);
    if (tp->keepalive)
        tcp_keepalive_set(tp);
}

/* What the peer's SYN offers. */
static void take_syn_options(struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED
{
    const struct tcp_sysctl *sc = &tp->ts->sysctl;
    const struct tcp_options *o = &rx->opt;
    tp->ts_ok = o->has_ts && sc->timestamps;
    tp->sack_ok = o->sack_ok && sc->sack;
    tp->wscale_ok = o->has_wscale && sc->window_scaling;
    tp->snd_wscale = tp->wscale_ok ? o->wscale : 0;
    if (!tp->wscale_ok) {
        tp->rcv_wscale = 0;
        if (tp->window_clamp > 65535)
            tp->window_clamp = 65535;
    }
    if (tp->ts_ok) {
        tp->ts_recent = o->tsval;
        tp->ts_recent_at = tcp_now(tp) / NET_SEC;
    }
    uint32_t mss = o->mss ? o->mss : TCP_MSS_DEFAULT;
    if (tp->user_mss && tp->user_mss < mss)
        mss = tp->user_mss;
    tp->mss_clamp = mss;
}

static void take_irs(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    tp->irs = rx->seq;
    tp->rcv_nxt = rx->seq + 1;
    tp->rcv_wup = rx->seq + 1;
    tp->copied_seq = rx->seq + 1;
    tp->snd_wl1 = rx->seq;
    tp->snd_wnd = rx->window;
    tp->max_window = tp->snd_wnd;
}

/* True: an RST in answer is due. */
static bool rcv_syn_sent(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    if (rx->flags & TCP_ACK) {
        if (!seq_after(rx->ack, tp->snd_una) || seq_after(rx->ack, tp->snd_nxt))
            return !(rx->flags & TCP_RST);
        if (rx->opt.has_ts && rx->opt.tsecr && tp->retrans_stamp == 0 &&
            !seq_between(rx->opt.tsecr, tp->syn_ts, tcp_ts_now(tp))) {
            MIB_INC(tp->st, TcpExtPAWSActive);
            return true;
        }
        if (rx->flags & TCP_RST) {
            reset_by_peer(tp);
            return false;
        }
        if (!(rx->flags & TCP_SYN))
            return false;
        if (tp->ts->sysctl.ecn == 1 && (rx->flags & (TCP_ECE | TCP_CWR)) == TCP_ECE)
            tp->ecn_ok = true;
        take_syn_options(tp, rx);
        tp->rx_has_ts = tp->ts_ok;
        tcp_ack(tp, rx, ACK_SLOWPATH);
        take_irs(tp, rx);
        tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
        /* The SYN's answer says nothing about its window scale, the window field itself is not scaled. */
        established(tp, rx);
        tcp_wake(tp, POLLOUT | POLLWRNORM);
        if (!list_empty(&tp->unsent) || tp->defer_accept_s || tcp_in_pingpong(tp)) {
            /* Data will carry the acknowledgement. */
            tcp_enter_quickack(tp, TCP_MAX_QUICKACKS);
            tp->ack_pending = true;
            net_timer_arm(tp->st, &tp->delack_timer, tcp_now(tp) + TCP_DELACK_MAX_NS);
            tcp_push(tp, TCP_PUSH_AUTO);
        } else {
            tcp_send_ack(tp);
        }
        return false;
    }
    if (rx->flags & TCP_RST)
        return false;
    if (!(rx->flags & TCP_SYN))
        return false;
    /* Simultaneous open: both sent a SYN. Ours goes out again, with an acknowledgement. */
    tcp_set_state(tp, TCPS_SYN_RECV);
    take_syn_options(tp, rx);
    take_irs(tp, rx);
    tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
    struct tcp_seg *seg = tcp_rtx_head(tp);
    if (seg && (seg->flags & TCP_SYN)) {
        seg->flags |= TCP_ACK;
        if (tcp_retransmit_seg(tp, seg) < 0)
            return false;
        seg->sacked &= ~(SEG_RETRANS | SEG_EVER_RETRANS);
        tp->retrans_out = 0;
    }
    return false;
}

/* An orphan gets data: nobody will read it. */
static bool data_after_close(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    return rx->end_seq != rx->seq && seq_after(rx->end_seq - ((rx->flags & TCP_FIN) ? 1 : 0), tp->rcv_nxt);
}

static bool syn_recv_acked(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    tp->snd_una = tp->snd_una == tp->iss ? tp->iss + 1 : tp->snd_una;
    established(tp, rx);
    tp->snd_wnd = rx->window << tp->snd_wscale;
    tp->snd_wl1 = rx->seq;
    if (tp->snd_wnd > tp->max_window)
        tp->max_window = tp->snd_wnd;
    tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
    tcp_wake(tp, POLLOUT | POLLWRNORM);
    return true;
}

/* FIN_WAIT1, CLOSING, LAST_ACK: our FIN was acknowledged. True: the connection is over. */
static bool fin_acked(struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED
{
    switch ((int)tp->state) { /* clang takes no atomic one */
    case TCPS_FIN_WAIT1:
        tcp_set_state(tp, TCPS_FIN_WAIT2);
        tp->shutdown |= TCP_SEND_SHUTDOWN;
        if (!tp->orphan) {
            tcp_wake(tp, POLLOUT | POLLWRNORM | POLLHUP);
            return false;
        }
        if (tp->linger2_s < 0) {
            tcp_done(tp);
            MIB_INC(tp->st, TcpExtTCPAbortOnData);
            return true;
        }
        if (data_after_close(tp, rx)) {
            tcp_send_active_reset(tp);
            tcp_done(tp);
            MIB_INC(tp->st, TcpExtTCPAbortOnData);
            return true;
        }
        int64_t ns = tcp_fin_wait2_ns(tp);
        if (ns > TCP_TIMEWAIT_NS) {
            net_timer_arm(tp->st, &tp->keep_timer, tcp_now(tp) + ns - TCP_TIMEWAIT_NS);
        } else if (rx->flags & TCP_FIN) {
            /* The peer's FIN comes with it: it is dealt with in FIN_WAIT2. */
            net_timer_arm(tp->st, &tp->keep_timer, tcp_now(tp) + ns);
        } else {
            tcp_time_wait(tp, TCPS_FIN_WAIT2, ns);
            return true;
        }
        return false;
    case TCPS_CLOSING:
        tcp_time_wait(tp, TCPS_TIME_WAIT, 0);
        return true;
    case TCPS_LAST_ACK:
        tcp_done(tp);
        return true;
    default:
        return false;
    }
}

/* Every state but ESTABLISHED, SYN_SENT and LISTEN. True: answer with an RST. */
static bool rcv_other(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED
{
    if (!validate(tp, rx))
        return false;
    note_ecn(tp, rx);
    if (!(rx->flags & TCP_ACK))
        return false;
    if (tp->state == TCPS_SYN_RECV) {
        if (!seq_after(rx->ack, tp->snd_una) || seq_after(rx->ack, tp->snd_nxt))
            return true;
        /* The queue still holds the SYN only after a simultaneous open; otherwise tcp_req sent it. */
        syn_recv_acked(tp, rx);
        if (tp->packets_out)
            tcp_ack(tp, rx, ACK_SLOWPATH | ACK_NO_CHALLENGE);
        else
            tcp_ack(tp, rx, ACK_SLOWPATH);
    } else {
        enum tcp_ack_result r = tcp_ack(tp, rx, ACK_SLOWPATH | ACK_NO_CHALLENGE);
        if (r != TCP_ACK_OK && r != TCP_ACK_OLD) {
            tcp_send_challenge_ack(tp);
            return false;
        }
    }
    if (tp->shutdown & TCP_SEND_SHUTDOWN && tp->snd_una == tp->write_seq && list_empty(&tp->unsent) && fin_acked(tp, rx))
        return false;
    update_ts_recent(tp, rx, tp->rcv_wup);
    tcp_urgent_input(tp, rx);
    switch ((int)tp->state) { /* clang takes no atomic one */
    case TCPS_CLOSE_WAIT:
    case TCPS_CLOSING:
    case TCPS_LAST_ACK:
        if (!seq_before(rx->seq, tp->rcv_nxt))
            break;
        /* fall through */
    case TCPS_FIN_WAIT1:
    case TCPS_FIN_WAIT2:
        /* RFC 1122 4.2.2.13: data that will never be read is answered with a RST. */
        if ((tp->shutdown & TCP_RCV_SHUTDOWN) && data_after_close(tp, rx)) {
            MIB_INC(tp->st, TcpExtTCPAbortOnData);
            tcp_fail(tp, ECONNRESET);
            return true;
        }
        /* fall through */
    case TCPS_ESTABLISHED:
        queue_data(tp, rx);
        break;
    default:
        break;
    }
    after_segment(tp);
    return false;
}

/* A segment for a full socket. True: answer with an RST. The caller holds a reference. */
bool tcp_rcv(struct tcp_sock *tp, struct tcp_rx *rx)
{
    tp->segs_in += rx->seg_size && rx->len > rx->seg_size ? (rx->len + rx->seg_size - 1) / rx->seg_size : 1;
    if (rx->len)
        tp->data_segs_in += rx->seg_size && rx->len > rx->seg_size ? (rx->len + rx->seg_size - 1) / rx->seg_size : 1;
    tp->rx_has_ts = rx->opt.has_ts && tp->ts_ok;
    tp->rx_tsecr = rx->opt.tsecr;
    switch ((int)tp->state) { /* clang takes no atomic one */
    case TCPS_ESTABLISHED:
        rcv_established(tp, rx);
        return false;
    case TCPS_SYN_SENT:
        return rcv_syn_sent(tp, rx);
    case TCPS_CLOSE:
        return true;
    default:
        return rcv_other(tp, rx);
    }
}

/* ---- demultiplexing ---- */

/* Takes the header apart and off the packet. False: malformed. */
static bool parse(struct netstack *st, struct pkt *p, struct tcp_header *h, struct tcp_rx *rx)
{
    if (!pkt_need(p, TCP_HEADER_LEN))
        return false;
    memcpy(h, p->data, sizeof *h);
    uint32_t hlen = (h->off >> 4) * 4;
    if (hlen < TCP_HEADER_LEN || hlen > p->len || !pkt_need(p, hlen))
        return false;
    *rx = (struct tcp_rx){
        .seq = ntohl(h->seq),
        .ack = ntohl(h->ack),
        .len = p->len - hlen,
        .flags = h->flags,
        .window = ntohs(h->window),
        .urg = ntohs(h->urg),
        .seg_size = p->gso ? p->gso_size : 0,
        .ce = (p->ip.tos & 3) == 3 || p->ecn_ce,
    };
    rx->end_seq = rx->seq + rx->len + !!(h->flags & TCP_SYN) + !!(h->flags & TCP_FIN);
    tcp_options_parse(p->data + TCP_HEADER_LEN, hlen - TCP_HEADER_LEN, h->flags & TCP_SYN, &rx->opt);
    pkt_pull(p, hlen);
    return true;
}

static void input_to(struct netstack *st, struct endpoint *ep, struct pkt *p, const struct tcp_header *h,
                     struct tcp_rx *rx) NETSTACK_LOCKED
{
    struct tcp_stack *ts = st->tcp;
    struct tcp_sock *tp = (struct tcp_sock *)ep;
    uint32_t isn = 0;
    if (ep && tp->state == TCPS_TIME_WAIT) {
        struct tcp_tw *tw = (struct tcp_tw *)ep;
        switch (tcp_tw_input(tw, rx, &isn)) {
        case TCP_TW_DONE:
            return;
        case TCP_TW_RST:
            tcp_send_reset_for(st, p, h, rx);
            return;
        case TCP_TW_SYN: {
            struct in6_addr any = in6addr_any;
            struct endpoint *l = port_lookup(ts->ports, &p->ip.dst, h->dport, &any, 0, p->nic);
            if (!l || ((struct tcp_sock *)l)->state != TCPS_LISTEN) {
                tcp_send_reset_for(st, p, h, rx);
                return;
            }
            tcp_tw_kill(tw);
            tp = (struct tcp_sock *)l;
            break;
        }
        }
    }
    if (!tp || tp->state == TCPS_CLOSE) {
        tcp_send_reset_for(st, p, h, rx);
        return;
    }
    tcp_get(tp);
    bool rst = tp->state == TCPS_LISTEN ? tcp_listen_input(tp, p, h, rx, isn) : tcp_rcv(tp, rx);
    if (rst)
        tcp_send_reset_for(st, p, h, rx);
    tcp_put(tp);
}

static void input(struct netstack *st, struct pkt *p) NETSTACK_LOCKED
{
    struct tcp_stack *ts = st->tcp;
    struct tcp_header h;
    struct tcp_rx rx;
    MIB_INC(st, TcpInSegs);
    if (p->ip.type != RTN_LOCAL)
        goto drop;
    if (p->csum == PKT_CSUM_NONE && !ip_csum_ok(p)) {
        MIB_INC(st, TcpInCsumErrors);
        MIB_INC(st, TcpInErrs);
        goto drop;
    }
    if (!parse(st, p, &h, &rx)) {
        MIB_INC(st, TcpInErrs);
        goto drop;
    }
    rx.p = p;
    struct endpoint *ep = port_lookup(ts->ports, &p->ip.dst, h.dport, &p->ip.src, h.sport, p->nic);
    if (ep && ep->cb && ep->cb->filter) {
        if (!ep->cb->filter(ep, p))
            goto drop;
    }
    input_to(st, ep, p, &h, &rx);
    if (!rx.p)
        return;
drop:
    pkt_free(p);
}

const struct ip_proto tcp_proto = {
    .proto = IPPROTO_TCP,
    .input = input,
    .error = tcp_icmp_error,
};
