/* TCP sequence numbers: 32 bits that wrap (RFC 9293, 3.4). Comparisons hold for numbers less than 2^31 apart. */
#ifndef NETSTACK_TCP_SEQ_H
#define NETSTACK_TCP_SEQ_H

#include <stdbool.h>
#include <stdint.h>

static inline bool seq_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool seq_after(uint32_t a, uint32_t b)
{
    return seq_before(b, a);
}

/* Whether `x` is in [lo, hi], ends included. */
static inline bool seq_between(uint32_t x, uint32_t lo, uint32_t hi)
{
    return hi - lo >= x - lo;
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_after(a, b) ? a : b;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
    return seq_before(a, b) ? a : b;
}

#endif
