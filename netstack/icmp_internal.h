/* Shared by icmp.c, icmp4.c and icmp6.c. */
#ifndef NETSTACK_ICMP_INTERNAL_H
#define NETSTACK_ICMP_INTERNAL_H

#include "netstack/icmp.h"

extern const struct ip_proto icmp4_proto, icmp6_proto, igmp_proto;

/* An error has come, data at the ICMP header (8 bytes linear); `e` lacks the offender. Tells transports. */
void icmp_error_input(struct netstack *s, struct pkt *p, struct icmp_error *e) NETSTACK_LOCKED;
/* Answers an echo request, data at its header. Not consumed. */
void icmp_echo_reply(struct netstack *s, struct pkt *p) NETSTACK_LOCKED;
void icmp_count_out(struct netstack *s, bool v4, uint8_t type) NETSTACK_LOCKED;

#endif
