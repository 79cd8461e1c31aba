#include "netstack/csum.h"

uint32_t csum_partial(const void *data, size_t len, uint32_t sum)
{
    const uint8_t *p = data;
    uint64_t acc = sum, word;

    /* Sums of 32-bit words fit 64 bits for 16 GiB; two accumulators keep the adders busy. */
    uint64_t acc2 = 0;

    while (len >= 32) {
        uint64_t w[4];

        memcpy(w, p, 32);
        acc += (w[0] & 0xffffffff) + (w[0] >> 32);
        acc2 += (w[1] & 0xffffffff) + (w[1] >> 32);
        acc += (w[2] & 0xffffffff) + (w[2] >> 32);
        acc2 += (w[3] & 0xffffffff) + (w[3] >> 32);
        p += 32;
        len -= 32;
    }
    acc += acc2;
    while (len >= 4) {
        uint32_t w;

        memcpy(&w, p, 4);
        acc += w;
        p += 4;
        len -= 4;
    }
    if (len > 0) {
        uint32_t w = 0;

        memcpy(&w, p, len);
        acc += w;
    }
    word = (acc & 0xffffffff) + (acc >> 32);
    word = (word & 0xffffffff) + (word >> 32);
    return word;
}

uint32_t csum_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t proto, uint32_t len)
{
    uint32_t sum;

    if (addr_is_v4(dst))
        sum = csum_add(addr_v4(src), addr_v4(dst));
    else
        sum = csum_partial(dst, 16, csum_partial(src, 16, 0));
    return csum_add(csum_add(sum, htonl(proto)), htonl(len));
}

void csum_replace2(be16 *field, be16 from, be16 to)
{
    uint32_t sum = (uint16_t) ~*field;

    sum = csum_add(csum_add(sum, (uint16_t)~from), to);
    *field = csum_finish(sum);
}

void csum_replace4(be16 *field, be32 from, be32 to)
{
    uint32_t sum = (uint16_t) ~*field;

    sum = csum_add(csum_add(sum, ~from), to);
    *field = csum_finish(sum);
}
