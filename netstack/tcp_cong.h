/*
 * Congestion control: what decides the window (`snd_cwnd`, in packets of one MSS) while nothing is lost, and how far it falls
 * when something is. Everything about loss detection and recovery is common to all algorithms and lies elsewhere.
 */
#ifndef NETSTACK_TCP_CONG_H
#define NETSTACK_TCP_CONG_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_sock;

struct tcp_cong_ops {
    const char *name;
    /* At the start of a connection, after a change of algorithm, and after a timeout. */
    void (*reset)(struct tcp_sock *tp);
    /* The slow-start threshold after a loss, in packets. */
    uint32_t (*ssthresh)(struct tcp_sock *tp);
    /* `acked` packets were acknowledged while the window was in full use. */
    void (*avoid)(struct tcp_sock *tp, uint32_t acked);
    /* An acknowledgement gave a sample of the round-trip time. May be NULL. */
    void (*rtt_sample)(struct tcp_sock *tp, int64_t rtt_us);
    /* Sending begins again after `idle_ns` of silence. May be NULL. */
    void (*restart)(struct tcp_sock *tp, int64_t idle_ns);
};

extern const struct tcp_cong_ops tcp_cong_reno, tcp_cong_cubic;

/* NULL when there is none of that name. */
const struct tcp_cong_ops *tcp_cong_find(const char *name);
/* Slow start by `acked` packets up to the threshold; returns the packets that are left over for avoidance. */
uint32_t tcp_cong_slow_start(struct tcp_sock *tp, uint32_t acked);
/* Grows the window by one packet for each `w` that were acknowledged. */
void tcp_cong_additive(struct tcp_sock *tp, uint32_t w, uint32_t acked);

/* CUBIC's memory of a connection (RFC 9438) and that of its HyStart++ (RFC 9406). */
struct tcp_cubic {
    uint32_t w_max;      /* window at the last loss */
    uint32_t origin;     /* the plateau of the current curve */
    uint32_t w_est;      /* what Reno would have by now, in 1/1024 packets ... */
    uint32_t ack_budget; /* ... and packets acknowledged since it last grew */
    int64_t epoch_ns;    /* when the current curve began; 0: none */
    int64_t k_ms;        /* from there to the plateau */
    uint32_t epoch_delivered;
    uint32_t count; /* packets to acknowledge for a growth by one, as computed at count_ns */
    uint32_t count_cwnd;
    int64_t count_ns;
    /* HyStart++: a round ends when round_end is acknowledged. */
    uint32_t round_end;
    uint32_t round_samples;
    int64_t round_min_us, last_min_us, css_base_us;
    uint32_t css_rounds; /* rounds spent in conservative slow start; 0: not in it */
};

/* The integer cube root, rounded down. */
uint32_t tcp_cubic_root(uint64_t x);
/* The window that the curve has `t_ms` after its beginning, in packets: C(t-K)^3 + origin. */
uint32_t tcp_cubic_window(int64_t t_ms, int64_t k_ms, uint32_t origin);

#endif
