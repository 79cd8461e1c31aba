#include "netstack/addr.h"

#include <linux/rtnetlink.h>

void addr_mask(struct in6_addr *a, unsigned int plen)
{
    if (addr_is_v4(a))
        plen += 96;
    for (unsigned int i = 0; i < 16; i++) {
        unsigned int keep = plen > i * 8 ? plen - i * 8 : 0;

        if (keep < 8)
            a->s6_addr[i] &= 0xff00 >> keep;
    }
}

bool addr_in_prefix(const struct in6_addr *a, const struct in6_addr *prefix, unsigned int plen)
{
    if (addr_is_v4(a) != addr_is_v4(prefix))
        return false;
    if (addr_is_v4(a))
        plen += 96;
    return addr_common_bits(a, prefix) >= plen;
}

unsigned int addr_common_bits(const struct in6_addr *a, const struct in6_addr *b)
{
    for (unsigned int i = 0; i < 4; i++) {
        uint32_t diff = ntohl(a->s6_addr32[i] ^ b->s6_addr32[i]);

        if (diff)
            return i * 32 + __builtin_clz(diff);
    }
    return 128;
}

int addr_scope(const struct in6_addr *a)
{
    if (addr_is_loopback(a))
        return RT_SCOPE_HOST;
    if (addr_is_v4(a))
        return a->s6_addr[12] == 169 && a->s6_addr[13] == 254 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    if (addr_is_multicast(a)) {
        switch (a->s6_addr[1] & 0xf) {
        case 1:
            return RT_SCOPE_HOST;
        case 2:
            return RT_SCOPE_LINK;
        case 5:
            return RT_SCOPE_SITE;
        default:
            return RT_SCOPE_UNIVERSE;
        }
    }
    if (addr_is_linklocal(a))
        return RT_SCOPE_LINK;
    if (a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0xc0) == 0xc0)
        return RT_SCOPE_SITE;
    return RT_SCOPE_UNIVERSE;
}

const char *addr_text(const struct in6_addr *a)
{
    static _Thread_local char text[4][INET6_ADDRSTRLEN];
    static _Thread_local unsigned int turn;
    char *buf = text[turn++ % 4];

    return addr_is_v4(a) ? inet_ntop(AF_INET, &a->s6_addr32[3], buf, INET6_ADDRSTRLEN)
                         : inet_ntop(AF_INET6, a, buf, INET6_ADDRSTRLEN);
}
