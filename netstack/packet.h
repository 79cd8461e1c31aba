/* Packet endpoints: AF_PACKET sockets, which see frames. */
#ifndef NETSTACK_PACKET_H
#define NETSTACK_PACKET_H

#include "netstack/nic.h"

#include <linux/if_packet.h>

struct packet_ep;

struct packet_cb {
    void (*ready)(struct packet_ep *pe, uint32_t events);
    void (*error)(struct packet_ep *pe, int err);
    /* As endpoint_cb.filter. May be NULL. */
    uint32_t (*filter)(struct packet_ep *pe, const struct pkt *p);
    /* Takes the first `len` bytes of a packet into memory of the owner's: 1; 0: there is no room. -1: it is to be queued. May
     * be NULL. */
    int (*take)(struct packet_ep *pe, const struct pkt *p, uint32_t len);
};

/* PACKET_FANOUT: packets are shared out among endpoints. */
struct packet_fanout {
    struct list_head node;
    struct packet_ep *first; /* of a list by fanout_next, in order of joining */
    unsigned int n;
    uint16_t id;
    uint8_t type; /* PACKET_FANOUT_* */
    uint8_t flags;
    uint32_t turn;
};

struct packet_ep {
    struct netstack *stack;
    const struct packet_cb *cb;
    void *owner;
    struct list_head node;
    bool cooked;   /* SOCK_DGRAM: without link headers */
    be16 protocol; /* ETH_P_*, ETH_P_ALL; 0: hears nothing */
    int ifindex;   /* 0: all */
    bool ignore_outgoing;
    struct pkt_queue
        rq; /* data begins at the link header, or behind it if cooked; see pkt type, protocol, nic index in iif, l2 */
    uint32_t rcvbuf;
    uint64_t packets, drops; /* PACKET_STATISTICS */
    struct list_head memberships;
    struct packet_fanout *fanout; /* NULL: gets its own copy of everything */
    struct packet_ep *fanout_next;
};

void packet_ep_init(struct packet_ep *pe, struct netstack *s, const struct packet_cb *cb, void *owner, bool cooked,
                    be16 protocol) NETSTACK_LOCKED;
void packet_ep_fini(struct packet_ep *pe) NETSTACK_LOCKED;
int must_check packet_bind(struct packet_ep *pe, int ifindex, be16 protocol) NETSTACK_LOCKED; /* -ENODEV, -ENETDOWN */
/* A frame, or with cooked its payload for `mac` (6 bytes). Consumes the packet. -ENXIO, -ENETDOWN, -EMSGSIZE, -EINVAL. */
int packet_send(struct packet_ep *pe, int ifindex, be16 protocol, const uint8_t *mac, struct pkt *p) NETSTACK_LOCKED;
struct pkt *packet_recv(struct packet_ep *pe, bool peek) NETSTACK_LOCKED;
/* PACKET_ADD_MEMBERSHIP, _DROP_: PACKET_MR_PROMISC, _ALLMULTI, _MULTICAST. */
int must_check packet_membership(struct packet_ep *pe, bool add, const struct packet_mreq *mr) NETSTACK_LOCKED;

/* PACKET_FANOUT: joins the group of that id, or makes it. -EINVAL: not bound, or its members are bound otherwise; -EALREADY;
 * -ENOSPC. */
int must_check packet_join_fanout(struct packet_ep *pe, uint16_t id, uint8_t type, uint8_t flags) NETSTACK_LOCKED;

void packet_nic_gone(struct nic *nic) NETSTACK_LOCKED;
/* From nic.c: a frame passes, with l2 set, data at its link header. Taps hear it too. */
void packet_deliver(struct nic *nic, struct pkt *p, bool outgoing) NETSTACK_LOCKED;

#endif
