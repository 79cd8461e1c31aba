/* Shared by udp.c and udp_input.c. */
#ifndef NETSTACK_UDP_INTERNAL_H
#define NETSTACK_UDP_INTERNAL_H

#include "netstack/neigh.h"
#include "netstack/udp.h"

struct udp_stack {
    struct port_table *udp, *lite;
};

extern const struct ip_proto udp_proto, udplite_proto;

#define UDP_COUNT_N(s, v4, lite, what, n)  \
    do {                                   \
        if ((v4) && (lite))                \
            MIB_ADD(s, UdpLite##what, n);  \
        else if (v4)                       \
            MIB_ADD(s, Udp##what, n);      \
        else if (lite)                     \
            MIB_ADD(s, UdpLite6##what, n); \
        else                               \
            MIB_ADD(s, Udp6##what, n);     \
    } while (0)
#define UDP_COUNT(s, v4, lite, what) UDP_COUNT_N(s, v4, lite, what, 1)

#endif
