/* The Internet checksum (RFC 1071). Sums are 32-bit partial sums in the byte order of the packet. */
#ifndef NETSTACK_CSUM_H
#define NETSTACK_CSUM_H

#include "netstack/addr.h"

#include <stddef.h>

/* Adds `len` bytes to `sum`. Bytes that follow an odd number of others must be added with csum_add_at. */
uint32_t csum_partial(const void *data, size_t len, uint32_t sum);

static inline uint32_t csum_add(uint32_t a, uint32_t b)
{
    uint32_t s = a + b;
    return s + (s < a);
}
/* Adds the sum of a block that stands `offset` bytes after the start. */
static inline uint32_t csum_add_at(uint32_t sum, uint32_t block, size_t offset)
{
    return csum_add(sum, offset & 1 ? (block << 8 | block >> 24) : block);
}
static inline uint16_t csum_fold16(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}
/* The value for a checksum field. */
static inline be16 csum_finish(uint32_t sum)
{
    return ~csum_fold16(sum);
}
/* The sum of the pseudo-header, of either family. `len`: of the transport header and data. */
uint32_t csum_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t proto, uint32_t len);

/* Updates the checksum at `field` for a change of two or four bytes of what it covers (RFC 1624). */
void csum_replace2(be16 *field, be16 from, be16 to);
void csum_replace4(be16 *field, be32 from, be32 to);

#endif
