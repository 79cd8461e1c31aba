/*
 * Reassembly of fragments of both families, with limits: memory of all together, time, number of datagrams and of fragments of
 * each. Fragments that overlap spoil their datagram (RFC 5722; Linux does so for IPv4 too); exact repetitions are ignored.
 */
#ifndef NETSTACK_IP_FRAG_H
#define NETSTACK_IP_FRAG_H

#include "netstack/nic.h"

int must_check frag_create(struct netstack *s) NETSTACK_LOCKED;
void frag_destroy(struct netstack *s);
void frag_flush_nic(struct nic *nic) NETSTACK_LOCKED;

struct frag_info {
    struct in6_addr src, dst;
    uint32_t id;
    uint8_t proto;   /* of IPv4; of IPv6: 0 */
    uint8_t next;    /* IPv6: the first fragment's next header */
    uint32_t offset; /* bytes */
    bool more;
    uint16_t size; /* of the whole fragment packet, for frag_max */
    bool dontfrag;
};

/*
 * A fragment, whose data begins behind the IP header (IPv6: behind the fragment header) with l3 set. Owns it. Returns the whole
 * datagram when it is complete: data at its payload, l3 at the first fragment's IP header, whose bytes `hdr_len` from l3 on are
 * kept; *next and *frag_max filled in. The caller mends lengths in the header.
 */
struct pkt *frag_add(struct nic *nic, struct pkt *p, const struct frag_info *fi, uint8_t *next,
                     uint16_t *frag_max) NETSTACK_LOCKED;

#endif
