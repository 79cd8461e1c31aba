/*
 * RACK-TLP (RFC 8985). A packet is lost when one that was sent later was delivered and a little more time than a round trip has
 * passed: the reordering window. When the tail of a flight goes unacknowledged for two round trips, its last segment is sent
 * again as a probe, to get an acknowledgement that shows what is missing.
 */
#include "netstack/tcp_internal.h"

static bool sent_after(int64_t t1, uint32_t seq1, int64_t t2, uint32_t seq2)
{
    return t1 > t2 || (t1 == t2 && seq_after(seq1, seq2));
}

/* `seg` has been delivered. */
void tcp_rack_advance(struct tcp_sock *tp, const struct tcp_seg *seg)
{
    int64_t rtt_us = (tcp_now(tp) - seg->sent_at) / 1000;
    /* The acknowledgement of a retransmission that came sooner than any round trip is the original's. */
    if ((seg->sacked & SEG_RETRANS) && rtt_us < tp->min_rtt_us)
        return;
    tp->rack.advanced = true;
    tp->rack.rtt_us = rtt_us;
    if (sent_after(seg->sent_at, seg->end_seq, tp->rack.sent_at, tp->rack.end_seq)) {
        tp->rack.sent_at = seg->sent_at;
        tp->rack.end_seq = seg->end_seq;
    }
}

static int64_t reo_wnd_us(const struct tcp_sock *tp)
{
    if (!tp->reord_seen) {
        /* No reordering was ever seen: what looks lost is lost, once in recovery or with three duplicates. */
        if (tp->ca_state >= TCP_CA_Recovery)
            return 0;
        if (tp->sacked_out >= tp->reordering)
            return 0;
    }
    int64_t w = (tp->min_rtt_us >> 2) * tp->rack.reo_wnd_steps, max = tp->srtt_us >> 3;
    return w < max ? w : max;
}

void tcp_mark_lost(struct tcp_sock *tp, struct tcp_seg *seg)
{
    if (seg->sacked & SEG_SACKED)
        return;
    if (seg->sacked & SEG_LOST) {
        if (seg->sacked & SEG_RETRANS) {
            /* The retransmission was lost too. */
            seg->sacked &= ~SEG_RETRANS;
            tp->retrans_out -= seg->pcount;
            MIB_ADD(tp->st, TcpExtTCPLostRetransmit, seg->pcount);
            tp->lost_total += seg->pcount;
        }
    } else {
        seg->sacked |= SEG_LOST;
        tp->lost_out += seg->pcount;
        tp->lost_total += seg->pcount;
    }
    if (!tp->retrans_hint || seq_before(seg->seq, tp->retrans_hint->seq))
        tp->retrans_hint = seg;
}

/* Marks what is lost by now; returns the time in us after which to look again, 0: no need. */
static int64_t detect(struct tcp_sock *tp) NETSTACK_LOCKED
{
    int64_t wait = 0, now = tcp_now(tp), wnd = reo_wnd_us(tp);
    struct tcp_seg *seg, *tmp;
    list_for_each_entry_safe(seg, tmp, &tp->by_time, sent_node) {
        if ((seg->sacked & SEG_LOST) && !(seg->sacked & SEG_RETRANS))
            continue;
        if (!sent_after(tp->rack.sent_at, tp->rack.end_seq, seg->sent_at, seg->end_seq))
            break;
        int64_t left = tp->rack.rtt_us + wnd - (now - seg->sent_at) / 1000;
        if (left <= 0) {
            tcp_mark_lost(tp, seg);
            list_del_init(&seg->sent_node);
        } else if (left > wait) {
            wait = left;
        }
    }
    return wait;
}

/* After an acknowledgement. True: the timer was set. */
bool tcp_rack_mark_lost(struct tcp_sock *tp)
{
    if (!tp->rack.advanced)
        return false;
    tp->rack.advanced = false;
    int64_t us = detect(tp);
    if (us)
        tcp_arm(tp, TIMER_REO, (us + 1000) * 1000);
    return us != 0;
}

void tcp_rack_timeout(struct tcp_sock *tp)
{
    uint32_t prior = tcp_in_flight(tp);
    uint32_t lost = tp->lost_total;
    detect(tp);
    if (prior != tcp_in_flight(tp)) {
        if (tp->ca_state != TCP_CA_Recovery) {
            tcp_enter_recovery(tp, false);
            if (tp->ca_state == TCP_CA_Recovery)
                tcp_prr(tp, 1, tp->lost_total - lost, 0);
        }
        tcp_retransmit_lost(tp);
    }
    if (tp->pending == TIMER_NONE)
        tcp_rearm_rto(tp);
}

/* The reordering window grows by a quarter of the shortest round trip for each round trip with a D-SACK, and shrinks again
 * after 16 recoveries without. */
void tcp_rack_update_window(struct tcp_sock *tp, uint32_t prior_delivered)
{
    if (seq_before(prior_delivered, tp->rack.last_delivered))
        tp->rack.dsack_seen = false;
    if (tp->rack.dsack_seen) {
        if (tp->rack.reo_wnd_steps < 255)
            tp->rack.reo_wnd_steps++;
        tp->rack.dsack_seen = false;
        tp->rack.last_delivered = tp->delivered;
        tp->rack.reo_wnd_persist = 16;
    } else if (tp->rack.reo_wnd_persist == 0) {
        tp->rack.reo_wnd_steps = 1;
    }
}

/* Without SACK (RFC 6582): the first segment is lost when duplicates say so, and again for each partial acknowledgement. */
void tcp_newreno_mark_lost(struct tcp_sock *tp, bool advanced)
{
    struct tcp_seg *seg = tcp_rtx_head(tp);
    if (!seg)
        return;
    if ((tp->ca_state < TCP_CA_Recovery && tp->sacked_out >= tp->reordering) || (tp->ca_state == TCP_CA_Recovery && advanced)) {
        if (seg->sacked & SEG_LOST)
            return;
        uint32_t mss = tcp_cached_mss(tp);
        if (seg->pcount > 1 && seg->len > mss && tcp_seg_split(tp, seg, mss, mss, true) < 0)
            return;
        tcp_mark_lost(tp, seg);
        tcp_limit_reno_sacked(tp);
    }
}

/* ---- tail loss probes ---- */

/* Sets the probe's time after something was sent. False: a probe makes no sense now. */
bool tcp_schedule_tlp(struct tcp_sock *tp)
{
    if (!tp->sack_ok || tp->packets_out == 0 || tp->tlp_high_seq || tp->ts->sysctl.early_retrans < 3)
        return false;
    if (tp->ca_state != TCP_CA_Open && tp->ca_state != TCP_CA_CWR)
        return false;
    int64_t us;
    if (tp->srtt_us) {
        us = tp->srtt_us >> 2;
        us += tp->packets_out == 1 ? TCP_RTO_MIN_US : 2000;
    } else {
        us = TCP_RTO_INIT_US;
    }
    int64_t rto = tcp_rto_left_us(tp);
    if (rto > 0 && us > rto)
        us = rto;
    tcp_arm(tp, TIMER_TLP, us * 1000);
    return true;
}

void tcp_tlp_timeout(struct tcp_sock *tp)
{
    int r = -1;
    if (tp->tlp_high_seq)
        goto rearm;
    tp->tlp_retrans = false;
    struct tcp_seg *seg = tcp_unsent_head(tp);
    uint32_t mss = tcp_current_mss(tp), packets = tp->packets_out;
    if (seg && !seq_after(seg->len > mss ? seg->seq + mss : seg->end_seq, tcp_wnd_end(tp))) {
        /* New data is the better probe. */
        tcp_push(tp, TCP_PUSH_PROBE);
        if (tp->packets_out > packets)
            r = 0;
    } else if ((seg = tcp_rtx_tail(tp))) {
        if (seg->pcount > 1 && seg->len > mss) {
            uint32_t n = (seg->pcount - 1) * mss;
            if (n < seg->len && tcp_seg_split(tp, seg, n, mss, true) == 0)
                seg = list_entry(seg->node.next, struct tcp_seg, node);
        }
        r = tcp_resend_seg(tp, seg);
        tp->tlp_retrans = r == 0;
    }
    if (r == 0) {
        MIB_INC(tp->st, TcpExtTCPLossProbes);
        tp->tlp_high_seq = tp->snd_nxt;
    }
rearm:
    tp->pending = TIMER_NONE;
    tcp_rearm_rto(tp);
}

/* Did the acknowledgement of a probe show that it repaired a loss? Then the window falls as for any loss. */
void tcp_tlp_ack(struct tcp_sock *tp, uint32_t ack, unsigned int flag)
{
    if (seq_before(ack, tp->tlp_high_seq))
        return;
    if (!tp->tlp_retrans) {
        tp->tlp_high_seq = 0;
    } else if (flag & ACK_DSACK) {
        /* The original had arrived. */
        tp->tlp_high_seq = 0;
    } else if (seq_after(ack, tp->tlp_high_seq)) {
        tcp_init_reduction(tp);
        tp->ca_state = TCP_CA_CWR;
        tcp_end_reduction(tp);
        tcp_try_keep_open(tp);
        MIB_INC(tp->st, TcpExtTCPLossProbeRecovery);
        tp->tlp_high_seq = 0;
    } else if (!(flag & (ACK_UNA_ADVANCED | ACK_DATA_SACKED | ACK_NOT_DUP))) {
        /* A pure duplicate: the probe arrived twice. */
        tp->tlp_high_seq = 0;
    }
}
