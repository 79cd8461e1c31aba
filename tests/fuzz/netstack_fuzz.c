/*
 * Packets from a hostile peer: frames given to a stack with sockets of every kind, one after the other, with time between them.
 *
 * Input: records of [gap: 1 byte, in units of 10 ms squared][flags: 1 byte][length: 2 bytes, little endian][frame]. Flags: bit
 * 0, mend checksums and addresses so that the frame gets in deep; bit 1, loopback; bit 2, GSO. Of odd inputs the stack is a
 * router that tracks connections.
 */
#include "netstack/channel.h"
#include "netstack/csum.h"
#include "netstack/netfilter.h"
#include "netstack/packet.h"
#include "netstack/raw.h"
#include "netstack/route.h"
#include "netstack/udp.h"

#include <linux/if_addr.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stdlib.h>

static int64_t clock_now;
static uint64_t rng;

static int64_t now(void *ctx)
{
    return clock_now;
}

static void kick(void *ctx, int64_t deadline)
{
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
        ((uint8_t *)buf)[i] = rng >> 56;
    }
}

static const struct netstack_ops ops = {.now = now, .kick = kick, .random = random_bytes};

static void ready(struct endpoint *ep, uint32_t events)
{
}
static void error(struct endpoint *ep, int err)
{
}
static const struct endpoint_cb cb = {.ready = ready, .error = error};
static void p_ready(struct packet_ep *pe, uint32_t events)
{
}
static void p_error(struct packet_ep *pe, int err)
{
}
static const struct packet_cb p_cb = {.ready = p_ready, .error = p_error};

static void drop(struct nic *nic, struct pkt *p)
{
    pkt_free(p);
}
static const struct nic_ops nic_ops = {.xmit = drop};

struct target {
    struct netstack *s;
    struct nic *nic;
    struct udp_ep udp4, udp6;
    struct raw_ep raw4, raw6;
    struct packet_ep pe;
};

static struct in6_addr v4(uint32_t a)
{
    return addr_from_v4(htonl(a));
}

static void setup(struct target *t, bool router)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct in6_addr six = {.s6_addr = {0xfd, [15] = 1}}, any4 = v4(0), group = v4(0xef010203);
    struct nic_addr a6 = {.addr = six, .plen = 64, .flags = IFA_F_NODAD};

    if (netstack_create(&ops, NULL, &t->s))
        abort();
    netstack_lock(t->s);
    (void)!nic_set_up(t->s->lo, true);
    t->nic = calloc(1, sizeof(*t->nic));
    memcpy(t->nic->name, "eth0", 5);
    memcpy(t->nic->mac, mac, 6);
    t->nic->mtu = 1500;
    if (nic_add(t->s, t->nic, &nic_ops) || nic_set_up(t->nic, true))
        abort();
    struct in6_addr four = v4(0x0a000001);
    if (nic_addr_add_plain(t->nic, &four, 24) || nic_addr_add(t->nic, &a6))
        abort();
    t->s->sysctl.ip_forward = t->s->sysctl.ip6_forward = router;
    if (router && nf_enable(t->s))
        abort();
    udp_ep_init(&t->udp4, t->s, &cb, NULL, AF_INET, IPPROTO_UDP);
    udp_ep_init(&t->udp6, t->s, &cb, NULL, AF_INET6, IPPROTO_UDP);
    t->udp6.ep.v6only = true;
    t->udp6.ep.recverr6 = t->udp4.ep.recverr4 = true;
    if (udp_bind(&t->udp4, &any4, htons(53), 0) || udp_bind(&t->udp6, &in6addr_any, htons(53), 0))
        abort();
    if (mcast_join(&t->udp4.ep, &group, t->nic->index))
        abort();
    raw_ep_init(&t->raw4, t->s, &cb, NULL, AF_INET, IPPROTO_ICMP, false);
    raw_ep_init(&t->raw6, t->s, &cb, NULL, AF_INET6, IPPROTO_ICMPV6, false);
    packet_ep_init(&t->pe, t->s, &p_cb, NULL, true, htons(ETH_P_ALL));
    netstack_unlock(t->s);
}

static void teardown(struct target *t)
{
    netstack_lock(t->s);
    udp_ep_fini(&t->udp4);
    udp_ep_fini(&t->udp6);
    raw_ep_fini(&t->raw4);
    raw_ep_fini(&t->raw6);
    packet_ep_fini(&t->pe);
    netstack_unlock(t->s);
    netstack_destroy(t->s);
}

/* Makes a frame plausible: addresses, header checksum, transport checksum. */
static void mend(uint8_t *f, size_t len)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    uint8_t proto, *l4;
    struct in6_addr src, dst;
    size_t n, field;

    if (len < 34)
        return;
    if (!(f[0] & 1))
        memcpy(f, mac, 6);
    if (f[12] == 8 && f[13] == 0) {
        struct iphdr *ip = (struct iphdr *)(f + 14);
        size_t hdr = ip->ihl * 4;

        ip->version = 4;
        if (hdr < 20 || hdr > len - 14)
            return;
        ip->tot_len = htons(len - 14);
        if (!(f[0] & 1))
            ip->daddr = htonl(0x0a000001);
        ip->check = 0;
        ip->check = csum_finish(csum_partial(ip, hdr, 0));
        src = addr_from_v4(ip->saddr);
        dst = addr_from_v4(ip->daddr);
        proto = ip->protocol;
        l4 = f + 14 + hdr;
        n = len - 14 - hdr;
    } else if (f[12] == 0x86 && f[13] == 0xdd && len >= 54) {
        struct ip6_hdr *ip = (struct ip6_hdr *)(f + 14);

        ip->ip6_vfc = 0x60;
        ip->ip6_plen = htons(len - 54);
        if (!(f[0] & 1))
            ip->ip6_dst = (struct in6_addr){.s6_addr = {0xfd, [15] = 1}};
        src = ip->ip6_src;
        dst = ip->ip6_dst;
        proto = ip->ip6_nxt;
        l4 = f + 54;
        n = len - 54;
    } else {
        return;
    }
    field = proto == IPPROTO_UDP                                             ? 6
            : proto == IPPROTO_TCP                                           ? 16
            : proto == IPPROTO_ICMPV6 || proto == IPPROTO_ICMP || proto == 2 ? 2
                                                                             : 0;
    if (!field || n < field + 2)
        return;
    if (proto == IPPROTO_UDP && n >= 8) {
        l4[4] = n >> 8;
        l4[5] = n;
    }
    memset(l4 + field, 0, 2);
    be16 sum = csum_finish(csum_partial(l4, n, proto == IPPROTO_ICMP || proto == 2 ? 0 : csum_pseudo(&src, &dst, proto, n)));
    memcpy(l4 + field, &sum, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target t;

    clock_now = NET_SEC;
    rng = 1;
    setup(&t, size & 1);
    while (size >= 4) {
        uint8_t gap = data[0], flags = data[1];
        size_t len = data[2] | data[3] << 8;
        struct pkt *p;

        data += 4;
        size -= 4;
        if (len > size)
            len = size;
        p = pkt_from(data, len);
        if (flags & 1)
            mend(p->data, len);
        if ((flags & 4) && len > 64) {
            p->gso = flags >> 3 & 3;
            p->gso_size = p->gso ? 1 + (flags >> 5) * 100 : 0;
            p->gso_segs = 2;
        }
        data += len;
        size -= len;
        clock_now += (int64_t)gap * gap * 10 * NET_MSEC;
        (void)netstack_run_timers(t.s);
        netstack_lock(t.s);
        if (flags & 2)
            nic_input(t.s->lo, p);
        else
            nic_input(t.nic, p);
        netstack_unlock(t.s);
    }
    clock_now += 100 * NET_SEC;
    (void)netstack_run_timers(t.s);
    teardown(&t);
    return 0;
}
