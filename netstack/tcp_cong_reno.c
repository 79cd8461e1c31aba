/* Reno (RFC 5681), and the arithmetic that the other algorithms share with it. */
#include "netstack/tcp_cong.h"

#include "netstack/tcp_internal.h"

#include <string.h>

uint32_t tcp_cong_slow_start(struct tcp_sock *tp, uint32_t acked)
{
    uint32_t room = tp->snd_ssthresh > tp->snd_cwnd ? tp->snd_ssthresh - tp->snd_cwnd : 0;
    uint32_t grow = acked < room ? acked : room;
    tp->snd_cwnd += grow;
    if (tp->snd_cwnd > tp->snd_cwnd_clamp)
        tp->snd_cwnd = tp->snd_cwnd_clamp;
    return acked - grow;
}

void tcp_cong_additive(struct tcp_sock *tp, uint32_t w, uint32_t acked)
{
    if (w == 0)
        w = 1;
    /* Credits may have been earned at a larger `w`. */
    if (tp->snd_cwnd_cnt >= w) {
        tp->snd_cwnd_cnt = 0;
        tp->snd_cwnd++;
    }
    tp->snd_cwnd_cnt += acked;
    if (tp->snd_cwnd_cnt >= w) {
        tp->snd_cwnd += tp->snd_cwnd_cnt / w;
        tp->snd_cwnd_cnt %= w;
    }
    if (tp->snd_cwnd > tp->snd_cwnd_clamp)
        tp->snd_cwnd = tp->snd_cwnd_clamp;
}

static void reno_reset(struct tcp_sock *tp)
{
    tp->snd_cwnd_cnt = 0;
}

static uint32_t reno_ssthresh(struct tcp_sock *tp)
{
    return tp->snd_cwnd > 4 ? tp->snd_cwnd / 2 : 2;
}

static void reno_avoid(struct tcp_sock *tp, uint32_t acked)
{
    if (tp->snd_cwnd < tp->snd_ssthresh)
        acked = tcp_cong_slow_start(tp, acked);
    if (acked)
        tcp_cong_additive(tp, tp->snd_cwnd, acked);
}

const struct tcp_cong_ops tcp_cong_reno = {
    .name = "reno",
    .reset = reno_reset,
    .ssthresh = reno_ssthresh,
    .avoid = reno_avoid,
};

const struct tcp_cong_ops *tcp_cong_find(const char *name)
{
    if (strcmp(name, "cubic") == 0)
        return &tcp_cong_cubic;
    if (strcmp(name, "reno") == 0)
        return &tcp_cong_reno;
    return NULL;
}
