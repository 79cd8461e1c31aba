/* ICMP and ICMPv6: echo, errors, their rate limits; NDP (ndp.c) hangs below ICMPv6. */
#ifndef NETSTACK_ICMP_H
#define NETSTACK_ICMP_H

#include "netstack/ip.h"

#include <linux/icmp.h>
#include <linux/icmpv6.h>

int must_check icmp_create(struct netstack *s) NETSTACK_LOCKED;
void icmp_destroy(struct netstack *s);

/* ndp.c: messages 133 to 137; data at the ICMPv6 header, checksum verified. Not consumed. */
void ndp_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED;
void ndp_solicit(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac) NETSTACK_LOCKED; /* mac NULL: multicast */
/* Begins duplicate address detection, or ends it at once where there is nothing to detect. */
void ndp_start_dad(struct nic_addr *a) NETSTACK_LOCKED;
void ndp_nic_up(struct nic *nic, bool up) NETSTACK_LOCKED;
/* Sends an ICMPv6 message that begins at data; the checksum is filled in. hop limit 255 for NDP. */
void icmp6_send(struct nic *nic, const struct in6_addr *src, const struct in6_addr *dst, int hop_limit,
                struct pkt *p) NETSTACK_LOCKED;

#endif
