/* ARP for IPv4 on Ethernet (RFC 826, RFC 5227's announcements). */
#include "netstack/neigh.h"
#include "netstack/nic_internal.h"
#include "netstack/route.h"

#include <linux/if_addr.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>

struct arp_pkt {
    be16 hw, proto;
    uint8_t hw_len, proto_len;
    be16 op;
    uint8_t sender_mac[MAC_LEN];
    be32 sender_ip;
    uint8_t target_mac[MAC_LEN];
    be32 target_ip;
} __attribute__((packed));

static const uint8_t broadcast[MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void send_arp(struct nic *nic, uint16_t op, const uint8_t *eth_dst, be32 sender, const uint8_t *target_mac,
                     be32 target) NETSTACK_LOCKED
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, sizeof(struct arp_pkt));
    struct arp_pkt *a;

    if (!p)
        return;
    a = pkt_put(p, sizeof(*a));
    *a = (struct arp_pkt){
        .hw = htons(ARPHRD_ETHER), .proto = htons(ETHERTYPE_IP), .hw_len = MAC_LEN, .proto_len = 4, .op = htons(op)};
    memcpy(a->sender_mac, nic->mac, MAC_LEN);
    a->sender_ip = sender;
    if (target_mac)
        memcpy(a->target_mac, target_mac, MAC_LEN);
    a->target_ip = target;
    p->type = PACKET_OUTGOING;
    nic_xmit_to(nic, p, eth_dst, htons(ETHERTYPE_ARP));
}

void arp_solicit(struct nic *nic, const struct in6_addr *addr, const uint8_t *mac)
{
    struct in6_addr src = addr_from_v4(0);

    (void)nic_source(nic, addr, RT_SCOPE_LINK, &src);
    send_arp(nic, ARPOP_REQUEST, mac ? mac : broadcast, addr_v4(&src), NULL, addr_v4(addr));
}

/* Do we answer for this address? Linux: for any of ours, on any link, unless arp_ignore says otherwise. */
static bool answer_for(struct nic *nic, const struct in6_addr *target, const struct in6_addr *sender) NETSTACK_LOCKED
{
    struct route_key k = {.dst = *target, .iif = nic->index};
    struct route_result r;

    if (addr_is_loopback(target) || addr_is_multicast(target))
        return false;
    if (route_addr_type(nic->stack, target, nic) == RTN_LOCAL)
        return nic->conf.arp_ignore == 0 || nic_addr_find(nic, target);
    if (!nic->conf.proxy_arp || !nic->conf.forwarding4 || addr_is_any(sender))
        return false;
    return !route_lookup(nic->stack, &k, &r) && r.type == RTN_UNICAST && r.nic != nic;
}

void arp_input(struct nic *nic, struct pkt *p)
{
    struct in6_addr sender, target;
    unsigned int announced;
    struct arp_pkt a;

    if ((nic->features & NIC_NO_ARP) || p->len < sizeof(a))
        goto out;
    pkt_copy_out(p, 0, &a, sizeof(a));
    if (a.hw != htons(ARPHRD_ETHER) || a.proto != htons(ETHERTYPE_IP) || a.hw_len != MAC_LEN || a.proto_len != 4)
        goto out;
    sender = addr_from_v4(a.sender_ip);
    target = addr_from_v4(a.target_ip);
    if (addr_is_multicast(&sender) || addr_is_loopback(&sender) || addr_is_limited_broadcast(&sender))
        goto out;
    /* Replies must say the same twice. */
    announced = a.sender_ip == a.target_ip && (a.op == htons(ARPOP_REQUEST) || !memcmp(a.sender_mac, a.target_mac, MAC_LEN))
                    ? NEIGH_GRATUITOUS
                    : 0;
    if (a.op == htons(ARPOP_REQUEST)) {
        bool ours = answer_for(nic, &target, &sender);

        /* A probe for a duplicate (RFC 5227) has no sender address and is not to be remembered. */
        if (!addr_is_any(&sender) && route_addr_type(nic->stack, &sender, NULL) == RTN_UNICAST)
            neigh_heard(nic, &sender, a.sender_mac,
                        NEIGH_OVERRIDE | announced | (ours && a.sender_ip != a.target_ip ? NEIGH_CREATE : 0));
        if (ours)
            send_arp(nic, ARPOP_REPLY, a.sender_mac, a.target_ip, a.sender_mac, a.sender_ip);
    } else if (a.op == htons(ARPOP_REPLY) && !addr_is_any(&sender) &&
               route_addr_type(nic->stack, &sender, NULL) == RTN_UNICAST) {
        bool solicited = p->type == PACKET_HOST && a.sender_ip != a.target_ip;

        neigh_heard(nic, &sender, a.sender_mac, NEIGH_OVERRIDE | announced | (solicited ? NEIGH_SOLICITED : 0));
    }
out:
    pkt_free(p);
}
