/* Options of the TCP header. The order and padding written are Linux's, which some middleboxes and tests expect. */
#include "netstack/tcp_options.h"

#include <string.h>

enum { OPT_EOL, OPT_NOP, OPT_MSS, OPT_WSCALE, OPT_SACK_PERM, OPT_SACK, OPT_TS = 8 };

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    p[0] = v >> 24;
    p[1] = v >> 16;
    p[2] = v >> 8;
    p[3] = v;
    return p + 4;
}

static uint8_t *put_head(uint8_t *p, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    p[0] = a;
    p[1] = b;
    p[2] = c;
    p[3] = d;
    return p + 4;
}

/* The layout that almost every segment of a connection with timestamps has: NOP NOP TS. */
static bool parse_aligned_timestamp(const uint8_t *p, size_t len, struct tcp_options *o)
{
    static const uint8_t head[4] = {OPT_NOP, OPT_NOP, OPT_TS, 10};
    if (len != 12 || memcmp(p, head, 4) != 0)
        return false;
    o->has_ts = true;
    o->tsval = get32(p + 4);
    o->tsecr = get32(p + 8);
    return true;
}

static void parse_one(const uint8_t *p, size_t len, bool syn, struct tcp_options *o)
{
    switch (p[0]) {
    case OPT_MSS:
        if (len == 4 && syn)
            o->mss = p[2] << 8 | p[3];
        break;
    case OPT_WSCALE:
        if (len == 3 && syn) {
            o->has_wscale = true;
            o->wscale = p[2] > TCP_MAX_WSCALE ? TCP_MAX_WSCALE : p[2];
        }
        break;
    case OPT_SACK_PERM:
        if (len == 2 && syn)
            o->sack_ok = true;
        break;
    case OPT_SACK:
        if (len < 10 || (len - 2) % 8 != 0 || syn)
            break;
        o->nr_sacks = 0;
        for (size_t i = 2; i + 8 <= len && o->nr_sacks < TCP_SACK_BLOCKS; i += 8)
            o->sacks[o->nr_sacks++] = (struct tcp_sack_block){get32(p + i), get32(p + i + 4)};
        break;
    case OPT_TS:
        if (len == 10) {
            o->has_ts = true;
            o->tsval = get32(p + 2);
            o->tsecr = get32(p + 6);
        }
        break;
    default:
        break;
    }
}

void tcp_options_parse(const uint8_t *p, size_t len, bool syn, struct tcp_options *o)
{
    *o = (struct tcp_options){0};
    if (len == 0 || parse_aligned_timestamp(p, len, o))
        return;
    for (size_t i = 0; i < len && p[i] != OPT_EOL;) {
        if (p[i] == OPT_NOP) {
            i++;
            continue;
        }
        if (i + 1 >= len || p[i + 1] < 2 || i + p[i + 1] > len)
            return;
        parse_one(p + i, p[i + 1], syn, o);
        i += p[i + 1];
    }
}

size_t tcp_options_len(bool syn, const struct tcp_options *o)
{
    size_t n = 0;
    if (syn && o->mss)
        n += 4;
    if (o->has_ts)
        n += 12;
    else if (syn && o->sack_ok)
        n += 4;
    if (syn && o->has_wscale)
        n += 4;
    if (!syn && o->nr_sacks)
        n += 4 + 8 * (size_t)o->nr_sacks;
    return n;
}

size_t tcp_options_write(uint8_t *p, bool syn, const struct tcp_options *o)
{
    uint8_t *at = p;
    if (syn && o->mss)
        at = put_head(at, OPT_MSS, 4, o->mss >> 8, o->mss & 0xff);
    if (o->has_ts) {
        /* SACK-permitted takes the place of the timestamp's padding. */
        bool sack = syn && o->sack_ok;
        at = put_head(at, sack ? OPT_SACK_PERM : OPT_NOP, sack ? 2 : OPT_NOP, OPT_TS, 10);
        at = put32(at, o->tsval);
        at = put32(at, o->tsecr);
    } else if (syn && o->sack_ok) {
        at = put_head(at, OPT_NOP, OPT_NOP, OPT_SACK_PERM, 2);
    }
    if (syn && o->has_wscale)
        at = put_head(at, OPT_NOP, OPT_WSCALE, 3, o->wscale);
    if (!syn && o->nr_sacks) {
        at = put_head(at, OPT_NOP, OPT_NOP, OPT_SACK, 2 + 8 * o->nr_sacks);
        for (int i = 0; i < o->nr_sacks; i++) {
            at = put32(at, o->sacks[i].start);
            at = put32(at, o->sacks[i].end);
        }
    }
    return (size_t)(at - p);
}
