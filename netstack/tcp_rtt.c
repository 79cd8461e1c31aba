/*
 * Round-trip times (RFC 6298, with Linux's refinements): the smoothed time and its variation, from which the retransmission
 * timeout follows; the minimum over some minutes; and what the receiving side measures to size its buffer.
 */
#include "netstack/tcp_internal.h"

#define MIN_RTT_WINDOW_NS (300 * 1000000000LL)

static void set_rto(struct tcp_sock *tp)
{
    int64_t us = tp->srtt_us ? (tp->srtt_us >> 3) + tp->rttvar_us : TCP_RTO_INIT_US;
    if (us > TCP_RTO_MAX_US)
        us = TCP_RTO_MAX_US;
    tp->rto_us = us;
}

void tcp_rtt_sample(struct tcp_sock *tp, int64_t rtt_us)
{
    if (rtt_us < 1)
        rtt_us = 1;
    int64_t m = rtt_us;
    if (tp->srtt_us == 0) {
        tp->srtt_us = m << 3;
        tp->mdev_us = m << 1;
        tp->rttvar_us = tp->mdev_us > TCP_RTO_MIN_US ? tp->mdev_us : TCP_RTO_MIN_US;
        tp->mdev_max_us = tp->rttvar_us;
        tp->rtt_seq = tp->snd_nxt;
    } else {
        m -= tp->srtt_us >> 3;
        tp->srtt_us += m;
        if (m < 0) {
            m = -m;
            m -= tp->mdev_us >> 2;
            /* A sudden fall of the round-trip time must not count as variation. */
            if (m > 0)
                m >>= 3;
        } else {
            m -= tp->mdev_us >> 2;
        }
        tp->mdev_us += m;
        if (tp->mdev_us > tp->mdev_max_us) {
            tp->mdev_max_us = tp->mdev_us;
            if (tp->mdev_max_us > tp->rttvar_us)
                tp->rttvar_us = tp->mdev_max_us;
        }
        if (seq_after(tp->snd_una, tp->rtt_seq)) {
            if (tp->mdev_max_us < tp->rttvar_us)
                tp->rttvar_us -= (tp->rttvar_us - tp->mdev_max_us) >> 2;
            tp->rtt_seq = tp->snd_nxt;
            tp->mdev_max_us = TCP_RTO_MIN_US;
        }
        if (tp->srtt_us < 1)
            tp->srtt_us = 1;
    }
    set_rto(tp);
}

void tcp_rtt_min_sample(struct tcp_sock *tp, int64_t rtt_us)
{
    int64_t now = tcp_now(tp);
    if (rtt_us <= tp->min_rtt_us || tp->min_rtt_us == 0 || now - tp->min_rtt_at > MIN_RTT_WINDOW_NS) {
        tp->min_rtt_us = rtt_us < 1 ? 1 : rtt_us;
        tp->min_rtt_at = now;
    }
}

/* Smooths downwards quickly where `min`, since samples that include the sender's idle time are too long. */
static void rcv_rtt_update(struct tcp_sock *tp, int64_t us, bool from_window)
{
    int64_t old = tp->rcv_rtt_us, now = us << 3;
    if (old == 0) {
        tp->rcv_rtt_us = now;
    } else if (from_window) {
        if (now < old)
            tp->rcv_rtt_us = now;
    } else {
        tp->rcv_rtt_us = old - (old >> 3) + us;
    }
}

void tcp_rtt_rcv_by_ts(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    if (!rx->opt.has_ts || rx->opt.tsecr == 0 || rx->opt.tsecr == tp->rcv_rtt_last_tsecr)
        return;
    tp->rcv_rtt_last_tsecr = rx->opt.tsecr;
    if (rx->len < tp->rcv_mss)
        return;
    uint32_t delta = tcp_ts_now(tp) - rx->opt.tsecr;
    if (delta < 600000)
        rcv_rtt_update(tp, delta ? delta * 1000LL : 1000, false);
}

void tcp_rtt_rcv_by_window(struct tcp_sock *tp)
{
    int64_t now = tcp_now(tp);
    if (tp->rcv_rtt_at && seq_before(tp->rcv_nxt, tp->rcv_rtt_seq))
        return;
    if (tp->rcv_rtt_at) {
        int64_t us = (now - tp->rcv_rtt_at) / 1000;
        rcv_rtt_update(tp, us ? us : 1, true);
    }
    tp->rcv_rtt_seq = tp->rcv_nxt + tp->rcv_wnd;
    tp->rcv_rtt_at = now;
}
