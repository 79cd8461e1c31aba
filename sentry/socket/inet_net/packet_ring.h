/*
 * Rings of packet sockets (PACKET_MMAP): memory that the guest maps, into which packets are put as they come (TPACKET_V1 to
 * V3), and out of which they are sent (V1, V2). See Documentation/networking/packet_mmap.rst of Linux.
 *
 * The memory is in the memory file; the guest writes it as it likes. So nothing but the status words is ever read from a
 * receive ring, and whatever else is kept about it is kept outside; frames to be sent are read once. All under the stack's
 * lock.
 */
#ifndef SENTRY_SOCKET_INET_NET_PACKET_RING_H
#define SENTRY_SOCKET_INET_NET_PACKET_RING_H

#include "netstack/packet.h"
#include "netstack/stack.h"

#include <sys/socket.h>

struct memfile;
struct mmap_extent;

struct packet_ring {
    struct memfile *mf;
    struct netstack *stack;
    uint64_t base, size; /* in the memory file; size 0: there is none */
    char *mem;
    uint32_t block_size, block_nr, frame_size, frame_nr, frames_per_block;
    uint32_t head; /* the next frame; of V3, the block that is being filled */
    /* V3 */
    uint32_t priv; /* bytes that the user has in each block */
    uint32_t at, prev, packets;
    uint64_t seq;
    int64_t retire_ns, first_ns, last_ns;
    bool open, frozen; /* the block is ours to fill; it is the user's still */
    uint32_t freezes;
    struct net_timer timer; /* an open block with packets is handed over at the latest */
    void (*ready)(void *arg);
    void *arg;
};

struct packet_ring_set {
    int version; /* TPACKET_V1.. */
    uint32_t reserve;
    struct packet_ring rx, tx;
};

/* Bytes that a frame's header takes, the sender's address included. */
uint32_t packet_ring_hdrlen(int version);
/*
 * PACKET_RX_RING, PACKET_TX_RING: makes the ring, or with no blocks drops it. `ready` is told when there is something to read.
 * -EINVAL, -EBUSY (there is one), -ENOMEM.
 */
int must_check packet_ring_set(struct packet_ring_set *set, bool tx, struct memfile *mf, struct netstack *s, const void *req,
                               socklen_t len, void (*ready)(void *arg), void *arg) NETSTACK_LOCKED;
void packet_ring_drop(struct packet_ring *r) NETSTACK_LOCKED;
/* Puts a packet in, from its data on, `snaplen` bytes of it. False: no room. `drops`: some were lost, to be said in the header.
 */
bool packet_ring_put(struct packet_ring_set *set, const struct pkt *p, uint32_t snaplen, bool cooked,
                     bool drops) NETSTACK_LOCKED;
/* Is there something for the user? */
bool packet_ring_readable(struct packet_ring_set *set) NETSTACK_LOCKED;
bool packet_ring_writable(struct packet_ring_set *set) NETSTACK_LOCKED;
/* The next frame that is to be sent, copied: NULL with *err 0: none; -EINVAL: one that is malformed, and is marked so. */
struct pkt *packet_ring_take(struct packet_ring_set *set, int *err) NETSTACK_LOCKED;
/* What backs [off, off + len) of the mapping: first the receive ring, then the one for sending. -ENXIO. */
int packet_ring_extent(struct packet_ring_set *set, uint64_t off, uint64_t len, struct mmap_extent *out) NETSTACK_LOCKED;

#endif
