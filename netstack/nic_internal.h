/* What nic.c, nic_addr.c and their neighbours share. */
#ifndef NETSTACK_NIC_INTERNAL_H
#define NETSTACK_NIC_INTERNAL_H

#include "netstack/nic.h"

#define MAC_LEN 6

struct eth_hdr {
    uint8_t dst[MAC_LEN], src[MAC_LEN];
    be16 type;
} __attribute__((packed));

/* Routes of an address appear and vanish with it and with the NIC's being up. */
void nic_addr_routes(struct nic_addr *a, bool add) NETSTACK_LOCKED;
void nic_addrs_up(struct nic *nic, bool up) NETSTACK_LOCKED;
void nic_addrs_flush(struct nic *nic, int family) NETSTACK_LOCKED;
/* Takes out and frees one address, told as such. */
void nic_addr_remove(struct nic_addr *a) NETSTACK_LOCKED;
/* fe80:: and the interface identifier of the MAC. */
void nic_addr_make_linklocal(struct nic *nic) NETSTACK_LOCKED;
struct in6_addr nic_eui64(const struct nic *nic, const struct in6_addr *prefix);
struct in6_addr addr_solicited_node(const struct in6_addr *a);

int must_check lo_create(struct netstack *s) NETSTACK_LOCKED;
void lo_forget(struct nic *nic) NETSTACK_LOCKED;
void lo_drain(struct netstack *s) NETSTACK_LOCKED;

/*
 * Cuts a GSO packet, which begins with its link header and has l3 and l4 set, into segments whose checksums are complete, or
 * PKT_CSUM_PARTIAL if `partial`. They are added to `out`; `p` is consumed. False: malformed, or out of memory; nothing is
 * added.
 */
bool must_check gso_segment(struct pkt *p, bool partial, struct pkt_queue *out);

#endif
