/*
 * CUBIC (RFC 9438) with HyStart++ (RFC 9406).
 *
 * After a loss at window W the window falls to 0.7 W and then follows W(t) = C(t-K)^3 + W_max, C = 0.4 packets/s^3, whose
 * plateau lies at W_max: fast at first, slow around where the loss was, then fast again to probe for more. Where Reno would be
 * faster (short round trips) its estimate is followed instead. Time is in milliseconds, windows are in packets.
 *
 * HyStart++ leaves slow start when round-trip times grow instead of when a queue overflows: first for a slower growth, and
 * back again if the growth of the round-trip time was noise.
 */
#include "netstack/tcp_cong.h"

#include "netstack/tcp_internal.h"

#include <string.h>

#define NS_PER_MS 1000000LL

enum { HYSTART_MIN_SAMPLES = 8, HYSTART_LOW_WINDOW = 16, CSS_DIVISOR = 4, CSS_ROUNDS = 5 };
#define HYSTART_MIN_US 4000
#define HYSTART_MAX_US 16000

uint32_t tcp_cubic_root(uint64_t x)
{
    uint64_t r = 0;
    for (int bit = 21; bit >= 0; bit--) {
        uint64_t t = r | 1ULL << bit;
        if (t * t * t <= x && t <= 2642245)
            r = t;
    }
    return r;
}

uint32_t tcp_cubic_window(int64_t t_ms, int64_t k_ms, uint32_t origin)
{
    int64_t d = t_ms - k_ms;
    if (d > 1000000)
        d = 1000000;
    if (d < -1000000)
        d = -1000000;
    /* 0.4 packets/s^3 are 4 packets per 10^10 ms^3. */
    int64_t w = (int64_t)origin + d * d * d / 10000000000LL * 4 + d * d * d % 10000000000LL * 4 / 10000000000LL;
    return w < 2 ? 2 : w > 0x7fffffff ? 0x7fffffff : w;
}

static void begin_epoch(struct tcp_sock *tp, struct tcp_cubic *c) NETSTACK_LOCKED
{
    c->epoch_ns = tcp_now(tp);
    c->w_est = tp->snd_cwnd;
    c->ack_budget = 0;
    if (c->w_max <= tp->snd_cwnd) {
        c->k_ms = 0;
        c->origin = tp->snd_cwnd;
    } else {
        /* K = cbrt((W_max - cwnd) / C), in ms: the difference times 10^9 / 0.4. */
        c->k_ms = tcp_cubic_root((uint64_t)(c->w_max - tp->snd_cwnd) * 2500000000ULL);
        c->origin = c->w_max;
    }
}

/* How many packets must be acknowledged for the window to grow by one. */
static uint32_t growth_count(struct tcp_sock *tp, struct tcp_cubic *c, uint32_t acked) NETSTACK_LOCKED
{
    int64_t now = tcp_now(tp);
    c->ack_budget += acked;
    if (c->count && c->count_cwnd == tp->snd_cwnd && now - c->count_ns < 31 * NS_PER_MS)
        return c->count;
    if (c->epoch_ns == 0)
        begin_epoch(tp, c);
    uint32_t cwnd = tp->snd_cwnd, count;
    /* The curve is followed one round trip ahead. */
    int64_t t_ms = (now - c->epoch_ns) / NS_PER_MS + (tp->srtt_us >> 3) / 1000;
    uint32_t target = tcp_cubic_window(t_ms, c->k_ms, c->origin);
    count = target > cwnd ? cwnd / (target - cwnd) : 100 * cwnd;
    /* Before there was a loss: no slower than 5 % a round trip. */
    if (c->w_max == 0 && count > 20)
        count = 20;
    /* Reno's estimate grows by 3(1-beta)/(1+beta) = 0.53 packets per window: one per 15/8 windows. */
    uint32_t step = cwnd * 15 / 8;
    if (step && c->ack_budget > step) {
        c->w_est += c->ack_budget / step;
        c->ack_budget %= step;
    }
    if (c->w_est > cwnd) {
        uint32_t reno = cwnd / (c->w_est - cwnd);
        if (reno < count)
            count = reno;
    }
    /* At most half a packet per packet acknowledged. */
    c->count = count < 2 ? 2 : count;
    c->count_cwnd = cwnd;
    c->count_ns = now;
    return c->count;
}

static void hystart_begin_round(struct tcp_sock *tp, struct tcp_cubic *c)
{
    c->round_end = tp->snd_nxt;
    c->last_min_us = c->round_min_us;
    c->round_min_us = INT64_MAX;
    c->round_samples = 0;
}

static void cubic_reset(struct tcp_sock *tp)
{
    struct tcp_cubic *c = &tp->cubic;
    memset(c, 0, sizeof *c);
    c->round_min_us = c->last_min_us = INT64_MAX;
    c->round_end = tp->snd_nxt;
}

static uint32_t cubic_ssthresh(struct tcp_sock *tp)
{
    struct tcp_cubic *c = &tp->cubic;
    uint32_t cwnd = tp->snd_cwnd;
    c->epoch_ns = 0;
    c->count = 0;
    /* Fast convergence: a flow that could not reach its old maximum makes room for others. */
    c->w_max = cwnd < c->w_max ? cwnd * 17 / 20 : cwnd;
    uint32_t t = cwnd * 7 / 10;
    return t < 2 ? 2 : t;
}

static void cubic_avoid(struct tcp_sock *tp, uint32_t acked) NETSTACK_LOCKED
{
    struct tcp_cubic *c = &tp->cubic;
    if (tp->snd_cwnd < tp->snd_ssthresh) {
        if (c->css_rounds) {
            tcp_cong_additive(tp, CSS_DIVISOR, acked);
            return;
        }
        acked = tcp_cong_slow_start(tp, acked);
        if (!acked)
            return;
    }
    tcp_cong_additive(tp, growth_count(tp, c, acked), acked);
}

/* Whether this round's shortest round trip is so much longer than the last one's that a queue must be building up. */
static bool hystart_delay_grew(const struct tcp_cubic *c)
{
    if (c->round_samples < HYSTART_MIN_SAMPLES || c->last_min_us == INT64_MAX)
        return false;
    int64_t thresh = c->last_min_us / 8;
    if (thresh < HYSTART_MIN_US)
        thresh = HYSTART_MIN_US;
    if (thresh > HYSTART_MAX_US)
        thresh = HYSTART_MAX_US;
    return c->round_min_us >= c->last_min_us + thresh;
}

static void cubic_rtt_sample(struct tcp_sock *tp, int64_t rtt_us)
{
    struct tcp_cubic *c = &tp->cubic;
    if (tp->snd_cwnd >= tp->snd_ssthresh)
        return;
    if (seq_after(tp->snd_una, c->round_end)) {
        if (c->css_rounds && ++c->css_rounds > CSS_ROUNDS) {
            tp->snd_ssthresh = tp->snd_cwnd;
            c->css_rounds = 0;
            return;
        }
        hystart_begin_round(tp, c);
    }
    if (rtt_us < c->round_min_us)
        c->round_min_us = rtt_us;
    c->round_samples++;
    if (tp->snd_cwnd < HYSTART_LOW_WINDOW)
        return;
    if (!c->css_rounds) {
        if (hystart_delay_grew(c)) {
            c->css_base_us = c->round_min_us;
            c->css_rounds = 1;
        }
    } else if (c->round_samples >= HYSTART_MIN_SAMPLES && c->round_min_us < c->css_base_us) {
        c->css_rounds = 0;
    }
}

static void cubic_restart(struct tcp_sock *tp, int64_t idle_ns)
{
    /* Silence does not count as time in which the window may have grown. */
    if (tp->cubic.epoch_ns)
        tp->cubic.epoch_ns += idle_ns;
}

const struct tcp_cong_ops tcp_cong_cubic = {
    .name = "cubic",
    .reset = cubic_reset,
    .ssthresh = cubic_ssthresh,
    .avoid = cubic_avoid,
    .rtt_sample = cubic_rtt_sample,
    .restart = cubic_restart,
};
