/* Frames that come in: who they are for, and which protocol. */
#include "netstack/ip.h"
#include "netstack/mcast.h"
#include "netstack/neigh.h"
#include "netstack/nic_internal.h"
#include "netstack/packet.h"

#include <linux/if_packet.h>
#include <netinet/if_ether.h>

static const uint8_t eth_broadcast[MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static uint8_t frame_type(const struct nic *nic, const struct eth_hdr *eth)
{
    if (nic->features & NIC_LOOPBACK)
        return PACKET_HOST;
    if (!memcmp(eth->dst, nic->mac, MAC_LEN))
        return PACKET_HOST;
    if (!(eth->dst[0] & 1))
        return PACKET_OTHERHOST;
    return memcmp(eth->dst, eth_broadcast, MAC_LEN) ? PACKET_MULTICAST : PACKET_BROADCAST;
}

void nic_input(struct nic *nic, struct pkt *p)
{
    struct netstack *s = nic->stack;
    const struct eth_hdr *eth;

    if (!(nic->flags & IFF_UP) || !pkt_need(p, sizeof(*eth)) || p->len > PKT_MAX_LEN) {
        nic->stats.rx_dropped++;
        pkt_free(p);
        return;
    }
    eth = (const struct eth_hdr *)p->data;
    p->nic = nic;
    p->iif = nic->index;
    p->type = frame_type(nic, eth);
    p->protocol = eth->type;
    p->l3 = p->l4 = 0;
    if (!p->gso_segs)
        p->gso_segs = 1;
    if (!p->tstamp)
        p->tstamp = netstack_realtime(s);
    pkt_set_l2(p);
    nic->stats.rx_packets += p->gso_segs;
    nic->stats.rx_bytes += p->len;
    if (p->type == PACKET_MULTICAST)
        nic->stats.multicast++;
    packet_deliver(nic, p, false);
    pkt_pull(p, sizeof(*eth));
    pkt_set_l3(p);
    if (p->type == PACKET_OTHERHOST) {
        pkt_free(p);
        return;
    }
    switch (ntohs(p->protocol)) {
    case ETHERTYPE_IP:
        ipv4_input(nic, p);
        break;
    case ETHERTYPE_IPV6:
        ipv6_input(nic, p);
        break;
    case ETHERTYPE_ARP:
        arp_input(nic, p);
        break;
    default:
        nic->stats.rx_nohandler++;
        pkt_free(p);
    }
}
