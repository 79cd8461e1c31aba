/*
 * The loopback interface. What is sent goes into the stack's backlog, which is worked off before the lock is dropped: no
 * recursion however long two local ends go on answering each other.
 */
#include "netstack/ip.h"
#include "netstack/nic_internal.h"
#include "netstack/stack_internal.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <stdlib.h>

/* Packets waiting; more are dropped, as by Linux's netdev_max_backlog. */
#define LO_BACKLOG_MAX 4096

static void lo_xmit(struct nic *nic, struct pkt *p)
{
    struct netstack *s = nic->stack;

    if (s->backlog.n >= LO_BACKLOG_MAX) {
        nic->stats.tx_dropped++;
        pkt_free(p);
        return;
    }
    pkt_queue_add(&s->backlog, p);
}

static const struct nic_ops lo_ops = {.xmit = lo_xmit};

int lo_create(struct netstack *s)
{
    struct nic *nic = calloc(1, sizeof(*nic));
    int r;

    if (!nic)
        return -ENOMEM;
    memcpy(nic->name, "lo", 3);
    nic->mtu = 65536;
    nic->arp_type = ARPHRD_LOOPBACK;
    nic->features = NIC_LOOPBACK | NIC_NO_ARP | NIC_CSUM | NIC_TSO4 | NIC_TSO6 | NIC_USO;
    r = nic_add(s, nic, &lo_ops);
    if (r) {
        free(nic);
        return r;
    }
    s->lo = nic;
    return 0;
}

/* Forgets what a NIC that goes away would still have received. */
void lo_forget(struct nic *nic)
{
    struct netstack *s = nic->stack;
    struct pkt *p, *tmp;

    list_for_each_entry_safe(p, tmp, &s->backlog.list, node)
        if (p->nic == nic) {
            pkt_queue_del(&s->backlog, p);
            pkt_free(p);
        }
}

/* Receives one packet of the backlog. */
void lo_drain(struct netstack *s)
{
    struct pkt *p = pkt_queue_take(&s->backlog);

    if (p->type != PACKET_LOOPBACK)
        nic_input(s->lo, p);
    else if (addr_is_v4(&p->ip.dst)) /* our own multicast: without a frame, as if by the NIC that it went out by */
        ipv4_input(p->nic, p);
    else
        ipv6_input(p->nic, p);
}
