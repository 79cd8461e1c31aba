/*
 * Addresses. Everywhere in netstack an IP address is a struct in6_addr; an IPv4 address is its mapped form ::ffff:a.b.c.d, and
 * "any IPv4 address" is ::ffff:0.0.0.0, which differs from ::. Ports are in network order, as in packets and in sockaddr.
 */
#ifndef NETSTACK_ADDR_H
#define NETSTACK_ADDR_H

#include "lib/compiler.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

typedef uint16_t be16; /* network order */
typedef uint32_t be32;

static inline struct in6_addr addr_from_v4(be32 v4)
{
    struct in6_addr a = {.s6_addr32 = {0, 0, htonl(0xffff), v4}};
    return a;
}
static inline be32 addr_v4(const struct in6_addr *a)
{
    return a->s6_addr32[3];
}
static inline bool addr_is_v4(const struct in6_addr *a)
{
    return a->s6_addr32[0] == 0 && a->s6_addr32[1] == 0 && a->s6_addr32[2] == htonl(0xffff);
}
static inline int addr_family(const struct in6_addr *a)
{
    return addr_is_v4(a) ? AF_INET : AF_INET6;
}
static inline bool addr_equal(const struct in6_addr *a, const struct in6_addr *b)
{
    return ((a->s6_addr32[0] ^ b->s6_addr32[0]) | (a->s6_addr32[1] ^ b->s6_addr32[1]) | (a->s6_addr32[2] ^ b->s6_addr32[2]) |
            (a->s6_addr32[3] ^ b->s6_addr32[3])) == 0;
}
/* :: or ::ffff:0.0.0.0 */
static inline bool addr_is_any(const struct in6_addr *a)
{
    return (a->s6_addr32[0] | a->s6_addr32[1] | a->s6_addr32[3]) == 0 &&
           (a->s6_addr32[2] == 0 || a->s6_addr32[2] == htonl(0xffff));
}
static inline bool addr_is_multicast(const struct in6_addr *a)
{
    return addr_is_v4(a) ? (a->s6_addr[12] & 0xf0) == 0xe0 : a->s6_addr[0] == 0xff;
}
static inline bool addr_is_loopback(const struct in6_addr *a)
{
    return addr_is_v4(a) ? a->s6_addr[12] == 127
                         : (a->s6_addr32[0] | a->s6_addr32[1] | a->s6_addr32[2]) == 0 && a->s6_addr32[3] == htonl(1);
}
/* 255.255.255.255 */
static inline bool addr_is_limited_broadcast(const struct in6_addr *a)
{
    return addr_is_v4(a) && addr_v4(a) == INADDR_BROADCAST;
}
/* fe80::/10; in IPv4 169.254.0.0/16 is an ordinary prefix */
static inline bool addr_is_linklocal(const struct in6_addr *a)
{
    return a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0xc0) == 0x80;
}
/* ff01::/16, ff02::/16 */
static inline bool addr_is_linklocal_multicast(const struct in6_addr *a)
{
    return a->s6_addr[0] == 0xff && ((a->s6_addr[1] & 0xf) == 1 || (a->s6_addr[1] & 0xf) == 2);
}
/* The any address of a family. */
static inline struct in6_addr addr_any(int family)
{
    return family == AF_INET ? addr_from_v4(0) : in6addr_any;
}

/* Clears all but the first `plen` bits, which count from the IPv4 address in a mapped one (0..32). */
void addr_mask(struct in6_addr *a, unsigned int plen);
bool addr_in_prefix(const struct in6_addr *a, const struct in6_addr *prefix, unsigned int plen);
/* Length of the common prefix, in bits of the 128. */
unsigned int addr_common_bits(const struct in6_addr *a, const struct in6_addr *b);
/* RTNL/IPv6 scope of an address: RT_SCOPE_HOST, _LINK, _SITE, _UNIVERSE. */
int addr_scope(const struct in6_addr *a);
/* For tests and logs: the text in a static thread-local buffer (one of 4, in turn). */
const char *addr_text(const struct in6_addr *a);

#endif
