/*
 * SYN cookies: when the queue of half-open connections is full, all that must be remembered of a SYN goes into the sequence
 * number and the time stamp of the answer, and nothing is kept.
 *
 *   cookie = hash(addresses, 0) + peer's ISN + minute << 24 + (hash(addresses, minute) + mss index) mod 2^24
 *
 * The low six bits of the time stamp hold window scale, SACK and ECN. Cookies are good for two minutes.
 */
#include "netstack/tcp_internal.h"

#define COOKIE_BITS 24
#define COOKIE_MASK ((1u << COOKIE_BITS) - 1)
#define MAX_AGE     2
#define TS_BITS     6
#define TS_MASK     ((1u << TS_BITS) - 1)
#define NO_WSCALE   0xf
#define TS_SACK     0x10
#define TS_ECN      0x20

/* Steps of about a third, and the segment sizes that are common on the Internet. */
static const uint16_t mss_table[] = {536, 1220, 1300, 1360, 1440, 1460, 4312, 8960};

static uint32_t cookie_hash(struct netstack *st, const struct tcp_tuple *t, uint32_t count, uint32_t which)
{
    struct {
        struct tcp_tuple t;
        uint32_t count, which, zero;
    } in;
    memset(&in, 0, sizeof in);
    in.t = *t;
    in.count = count;
    in.which = which;
    return netstack_hash(st, &in, sizeof in);
}

static uint32_t minute(struct netstack *st) NETSTACK_LOCKED
{
    return netstack_time(st) / (60 * NET_SEC);
}

uint32_t tcp_cookie_make(struct netstack *st, const struct tcp_tuple *t, uint32_t peer_isn, uint16_t *mss)
{
    uint32_t i = sizeof mss_table / sizeof mss_table[0] - 1, count = minute(st);
    while (i && mss_table[i] > *mss)
        i--;
    *mss = mss_table[i];
    return cookie_hash(st, t, 0, 0) + peer_isn + (count << COOKIE_BITS) + ((cookie_hash(st, t, count, 1) + i) & COOKIE_MASK);
}

/* 0: not one of ours; else the MSS. */
uint16_t tcp_cookie_check(struct netstack *st, const struct tcp_tuple *t, uint32_t peer_isn, uint32_t cookie)
{
    uint32_t now = minute(st);
    cookie -= cookie_hash(st, t, 0, 0) + peer_isn;
    uint32_t age = (now - (cookie >> COOKIE_BITS)) & (0xffffffffu >> COOKIE_BITS);
    if (age >= MAX_AGE)
        return 0;
    uint32_t i = (cookie - cookie_hash(st, t, now - age, 1)) & COOKIE_MASK;
    return i < sizeof mss_table / sizeof mss_table[0] ? mss_table[i] : 0;
}

/* A time stamp not later than `now` that says what the SYN offered. */
uint32_t tcp_cookie_ts(uint32_t now, const struct tcp_req *req)
{
    uint32_t bits = req->wscale_ok ? req->snd_wscale : NO_WSCALE;
    if (req->sack_ok)
        bits |= TS_SACK;
    if (req->ecn_ok)
        bits |= TS_ECN;
    uint32_t ts = (now & ~TS_MASK) | bits;
    return seq_after(ts, now) ? ts - (1u << TS_BITS) : ts;
}

/* False: no options could have been sent so. */
bool tcp_cookie_ts_read(uint32_t tsecr, const struct tcp_sysctl *sc, struct tcp_req *req)
{
    uint32_t bits = tsecr & TS_MASK;
    req->sack_ok = bits & TS_SACK;
    req->ecn_ok = bits & TS_ECN;
    if (req->sack_ok && !sc->sack)
        return false;
    req->wscale_ok = (bits & 0xf) != NO_WSCALE;
    req->snd_wscale = req->wscale_ok ? bits & 0xf : 0;
    if (req->snd_wscale > TCP_MAX_WSCALE)
        req->snd_wscale = TCP_MAX_WSCALE;
    return !req->wscale_ok || sc->window_scaling;
}
