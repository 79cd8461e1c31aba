/*
 * What an acknowledgement does: takes segments off the retransmission queue, measures, opens windows, and hands anything
 * unusual to recovery.
 */
#include "netstack/tcp_internal.h"

static bool update_window(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    uint32_t w = rx->flags & TCP_SYN ? rx->window : rx->window << tp->snd_wscale;
    bool may = seq_after(rx->ack, tp->snd_una) || seq_after(rx->seq, tp->snd_wl1) ||
               (rx->seq == tp->snd_wl1 && (w > tp->snd_wnd || w == 0));
    if (!may)
        return false;
    tp->snd_wl1 = rx->seq;
    if (tp->snd_wnd != w) {
        tp->snd_wnd = w;
        if (w > tp->max_window) {
            tp->max_window = w;
            if (tp->pmtu)
                tcp_sync_mss(tp, tp->pmtu);
        }
    }
    return true;
}

static void rate_skb_acked(struct tcp_sock *tp, const struct tcp_seg *seg, struct tcp_sack_state *st)
{
    if (!seg->delivered_at)
        return;
    /* The sample is taken of the newest segment that is acknowledged. */
    if (!st->rate_prior_at || seg->sent_at > st->rate_sent_at || (seg->sent_at == st->rate_sent_at && seg->end_seq != 0)) {
        st->rate_prior_at = seg->delivered_at;
        st->rate_prior_delivered = seg->delivered;
        st->rate_app_limited = seg->app_limited;
        st->rate_sent_at = seg->sent_at;
        st->rate_send_ns = seg->sent_at - seg->first_sent_at;
        tp->first_sent_at = seg->sent_at;
    }
}

void tcp_rate_delivered(struct tcp_sock *tp, const struct tcp_seg *seg, struct tcp_sack_state *st)
{
    rate_skb_acked(tp, seg, st);
}

static void rate_sample(struct tcp_sock *tp, const struct tcp_sack_state *st)
{
    if (tp->app_limited && seq_after(tp->delivered, tp->app_limited))
        tp->app_limited = 0;
    if (!st->rate_prior_at)
        return;
    int64_t ack_ns = tp->delivered_at - st->rate_prior_at;
    int64_t ns = ack_ns > st->rate_send_ns ? ack_ns : st->rate_send_ns;
    uint32_t n = tp->delivered - st->rate_prior_delivered;
    if (ns / 1000 < tp->min_rtt_us || n == 0)
        return;
    int64_t us = ns / 1000 ? ns / 1000 : 1;
    if (!st->rate_app_limited || (int64_t)n * tp->rate_interval_us >= (int64_t)tp->rate_delivered * us) {
        tp->rate_delivered = n;
        tp->rate_interval_us = us;
        tp->rate_app_limited = st->rate_app_limited;
    }
}

/* Takes what lies below snd_una off the queue. Returns more ACK_ flags. */
static unsigned int clean_queue(struct tcp_sock *tp, uint32_t prior_una, struct tcp_sack_state *st) NETSTACK_LOCKED
{
    unsigned int flag = 0;
    int64_t now = tcp_now(tp), first = 0, last = 0;
    uint32_t acked = 0, mss = tcp_cached_mss(tp);
    bool partial = false;
    struct tcp_seg *seg;
    st->reord_una = tp->snd_nxt;
    while ((seg = tcp_rtx_head(tp))) {
        uint32_t n;
        if (seq_after(seg->end_seq, tp->snd_una)) {
            /* Part of a GSO packet. */
            if (seg->pcount == 1 || !seq_after(tp->snd_una, seg->seq))
                break;
            uint32_t cut = (tp->snd_una - seg->seq) / mss * mss;
            if (cut == 0 || cut >= seg->len)
                break;
            n = tcp_seg_trim_head(tp, seg, cut, mss);
            if (n == 0)
                break;
            partial = true;
        } else {
            n = seg->pcount;
        }
        if (seg->sacked & SEG_EVER_RETRANS) {
            if (seg->sacked & SEG_RETRANS)
                tp->retrans_out -= n;
            flag |= ACK_RETRANS_ACKED;
        } else if (!(seg->sacked & SEG_SACKED)) {
            last = seg->sent_at;
            if (!first)
                first = last;
            if (seq_before(seg->seq, st->reord_una))
                st->reord_una = seg->seq;
            if (!seq_after(seg->end_seq, tp->high_seq))
                flag |= ACK_ORIG_SACKED;
        }
        if (seg->sacked & SEG_SACKED) {
            tp->sacked_out -= n;
        } else if (tp->sack_ok) {
            tp->delivered += n;
            if (!partial)
                tcp_rack_advance(tp, seg);
            rate_skb_acked(tp, seg, st);
        } else {
            rate_skb_acked(tp, seg, st);
        }
        if (seg->sacked & SEG_LOST)
            tp->lost_out -= n;
        tp->packets_out -= n;
        acked += n;
        if (seg->flags & TCP_SYN)
            flag |= ACK_SYN_ACKED;
        else
            flag |= ACK_DATA_ACKED;
        if (partial)
            break;
        tcp_seg_free(tp, seg);
    }
    if (seq_between(tp->snd_up, prior_una, tp->snd_una) && tp->urg_mode && !seq_after(tp->snd_up, tp->snd_una))
        tp->urg_mode = false;
    st->acked = acked;
    int64_t rtt_us = -1, ca_us = -1;
    if (first && !(flag & ACK_RETRANS_ACKED)) {
        rtt_us = (now - first) / 1000;
        ca_us = (now - last) / 1000;
    }
    if (st->first_sackt) {
        int64_t sack_us = (now - st->first_sackt) / 1000;
        ca_us = (now - st->last_sackt) / 1000;
        if (rtt_us < 0)
            rtt_us = sack_us;
    }
    /* A retransmission says nothing about time, unless the peer repeats our time stamp (Karn). */
    if (rtt_us < 0 && (flag & (ACK_DATA_ACKED | ACK_SYN_ACKED)) && tp->rx_has_ts && tp->rx_tsecr) {
        uint32_t ms = tcp_ts_now(tp) - tp->rx_tsecr;
        if (ms < 600000)
            rtt_us = ca_us = ms ? ms * 1000LL : 1000;
    }
    if (rtt_us >= 0) {
        tcp_rtt_min_sample(tp, ca_us >= 0 ? ca_us : rtt_us);
        tcp_rtt_sample(tp, rtt_us);
        tp->backoff = 0;
    }
    if (acked) {
        flag |= ACK_SET_TIMER;
        if (!tp->sack_ok)
            tcp_reno_acked(tp, acked);
        else if (seq_before(st->reord_una, st->prior_fack)) /* a hole was filled by the original: it was only late */
            tcp_check_reordering(tp, st->reord_una, false);
        if (tp->cong->rtt_sample && ca_us >= 0)
            tp->cong->rtt_sample(tp, ca_us);
    } else if (tp->sack_ok && rtt_us >= 0 && st->first_sackt) {
        flag |= ACK_SET_TIMER;
    }
    if (!tp->sacked_out)
        tp->highest_sack = tp->snd_una;
    return flag;
}

/* May the window grow by what was delivered? Not while reducing, nor when it was not the limit. */
static bool may_raise(const struct tcp_sock *tp, unsigned int flag)
{
    if (tp->reordering > (uint32_t)tp->ts->sysctl.reordering)
        return flag & (ACK_DATA_ACKED | ACK_SYN_ACKED | ACK_DATA_SACKED);
    return flag & (ACK_DATA_ACKED | ACK_SYN_ACKED);
}

static bool cwnd_was_limit(const struct tcp_sock *tp)
{
    if (tp->cwnd_limited)
        return true;
    return tp->snd_cwnd < tp->snd_ssthresh && tp->snd_cwnd < 2 * tp->max_packets_out;
}

static void congestion(struct tcp_sock *tp, uint32_t delivered, uint32_t lost, unsigned int flag) NETSTACK_LOCKED
{
    if (tcp_in_reduction(tp)) {
        tcp_prr(tp, delivered, lost, flag);
    } else if (may_raise(tp, flag)) {
        if (cwnd_was_limit(tp))
            tp->cong->avoid(tp, delivered);
        tp->cwnd_stamp = tcp_now(tp);
    }
}

/* Nothing is in flight: the acknowledgement answered a probe, or told of a window. */
static void ack_probe(struct tcp_sock *tp) NETSTACK_LOCKED
{
    const struct tcp_seg *seg = tcp_unsent_head(tp);
    if (!seg)
        return;
    if (!seq_after(seg->end_seq, tcp_wnd_end(tp)) || seq_after(tcp_wnd_end(tp), seg->seq + tcp_cached_mss(tp) - 1)) {
        tp->backoff = 0;
        tp->probes_since = 0;
        if (tp->pending == TIMER_PROBE)
            tcp_disarm(tp);
    } else {
        tcp_arm(tp, TIMER_PROBE, tcp_probe_interval(tp));
    }
}

enum tcp_ack_result tcp_ack(struct tcp_sock *tp, struct tcp_rx *rx, unsigned int flag)
{
    uint32_t prior_una = tp->snd_una, prior_packets = tp->packets_out, ack = rx->ack;
    uint32_t prior_delivered = tp->delivered, prior_lost = tp->lost_total;
    uint32_t prior_state = tp->ca_state;
    struct tcp_sack_state st = {.prior_fack = tp->sacked_out ? tp->highest_sack : prior_una};
    enum tcp_rexmit rexmit = TCP_REXMIT_NONE;
    if (seq_before(ack, prior_una)) {
        /* So old that it is a blind attacker's guess (RFC 5961, 5.2). */
        uint32_t max = tp->max_window < tp->bytes_acked ? tp->max_window : (uint32_t)tp->bytes_acked;
        if (seq_before(ack, prior_una - max)) {
            if (!(flag & ACK_NO_CHALLENGE))
                tcp_send_challenge_ack(tp);
            return TCP_ACK_TOO_OLD;
        }
        if (rx->opt.nr_sacks && tp->sack_ok && tp->packets_out) {
            tcp_sack_receive(tp, rx, prior_una, &st);
            flag |= st.flag;
            rexmit = tcp_recover(tp, 0, &flag);
            congestion(tp, tp->delivered - prior_delivered, tp->lost_total - prior_lost, flag & ~ACK_DATA_ACKED);
            if (rexmit == TCP_REXMIT_LOST)
                tcp_retransmit_lost(tp);
        }
        return TCP_ACK_OLD;
    }
    if (seq_after(ack, tp->snd_nxt))
        return TCP_ACK_UNSENT;
    if (seq_after(ack, prior_una)) {
        flag |= ACK_UNA_ADVANCED;
        tp->retransmits = 0;
        tp->rto_first_at = 0;
    }
    if (rx->len || (rx->flags & TCP_FIN))
        flag |= ACK_DATA;
    if (update_window(tp, rx))
        flag |= ACK_WIN_UPDATE;
    tp->bytes_acked += ack - prior_una;
    tp->snd_una = ack;
    if (rx->opt.nr_sacks && tp->sack_ok && prior_packets) {
        tcp_sack_receive(tp, rx, prior_una, &st);
        flag |= st.flag;
    }
    if (tp->ecn_ok && (rx->flags & TCP_ECE) && !(rx->flags & TCP_SYN))
        flag |= ACK_ECE;
    tp->soft_err = 0;
    tp->probes_out = 0;
    tp->rcv_activity_at = tcp_now(tp);
    if (prior_packets == 0) {
        ack_probe(tp);
        if (tp->tlp_high_seq)
            tcp_tlp_ack(tp, ack, flag);
        return TCP_ACK_OK;
    }
    flag |= clean_queue(tp, prior_una, &st);
    if (tp->delivered != prior_delivered) {
        tp->delivered_at = tcp_now(tp);
        if (flag & ACK_ECE)
            tp->delivered_ce += tp->delivered - prior_delivered;
    }
    tcp_rack_update_window(tp, prior_delivered);
    if (tp->tlp_high_seq)
        tcp_tlp_ack(tp, ack, flag);
    bool dubious = !(flag & (ACK_DATA | ACK_WIN_UPDATE | ACK_DATA_ACKED | ACK_SYN_ACKED)) ||
                   (flag & (ACK_DATA_SACKED | ACK_ECE | ACK_DSACK)) || tp->ca_state != TCP_CA_Open;
    if (dubious) {
        uint32_t dup = 0;
        if (!(flag & (ACK_UNA_ADVANCED | ACK_DATA | ACK_WIN_UPDATE | ACK_DATA_ACKED | ACK_SYN_ACKED | ACK_DSACK)))
            dup = 1;
        rexmit = tcp_recover(tp, dup, &flag);
    }
    if (flag & ACK_SET_TIMER) {
        if (!tcp_schedule_tlp(tp))
            tcp_rearm_rto(tp);
    } else if (tp->packets_out == 0) {
        tcp_rearm_rto(tp);
    }
    uint32_t delivered = tp->delivered - prior_delivered;
    rate_sample(tp, &st);
    congestion(tp, delivered, tp->lost_total - prior_lost, flag);
    if (prior_state != tp->ca_state && tp->ca_state == TCP_CA_Open && prior_state == TCP_CA_Loss)
        tcp_rto_recovered(tp);
    if (tp->packets_out == 0)
        ack_probe(tp);
    if (rexmit == TCP_REXMIT_LOST)
        tcp_retransmit_lost(tp);
    else if (rexmit == TCP_REXMIT_NEW)
        tcp_push(tp, TCP_PUSH_NOW);
    return TCP_ACK_OK;
}
