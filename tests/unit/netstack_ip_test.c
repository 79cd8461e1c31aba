/* IP, ICMP, neighbours, addresses and routes between two stacks, and three for forwarding. */
#include "netstack/csum.h"
#include "netstack/icmp.h"
#include "netstack/neigh.h"
#include "netstack/packet.h"
#include "netstack/pcap.h"
#include "netstack/raw.h"
#include "tests/unit/netstack_routed.h"

#include <linux/fib_rules.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static void raw_open(struct raw_ep *r, struct netstack *s, const struct endpoint_cb *cb, int family, int proto, bool ping)
{
    netstack_lock(s);
    raw_ep_init(r, s, cb, NULL, family, proto, ping);
    netstack_unlock(s);
}

static void raw_close(struct raw_ep *r)
{
    struct netstack *s = r->ep.stack;

    netstack_lock(s);
    raw_ep_fini(r);
    netstack_unlock(s);
}

static void nothing(struct endpoint *ep, uint32_t events)
{
}
static void no_error(struct endpoint *ep, int err)
{
}
static const struct endpoint_cb quiet = {.ready = nothing, .error = no_error};

static int raw_to(struct raw_ep *r, const char *addr, const void *data, size_t len)
{
    struct raw_send how = RAW_SEND_INIT;
    int err;

    how.dst = ip(addr);
    how.has_dst = true;
    netstack_lock(r->ep.stack);
    err = raw_send(r, &how, pkt_from(data, len));
    netstack_unlock(r->ep.stack);
    return err;
}

static struct pkt *raw_take(struct raw_ep *r)
{
    struct pkt *p;

    netstack_lock(r->ep.stack);
    p = raw_recv(r, false);
    netstack_unlock(r->ep.stack);
    return p;
}

Test(ip, echo_is_answered_and_ping_sockets_hear_their_own)
{
    struct world w;

    world_init(&w, NULL);
    for (int i = 0; i < 2; i++) {
        uint8_t echo[2000] = {i ? ICMPV6_ECHO_REQUEST : ICMP_ECHO};
        struct raw_ep a, b;

        raw_open(&a, w.s[0], &quiet, i ? AF_INET6 : AF_INET, i ? IPPROTO_ICMPV6 : IPPROTO_ICMP, true);
        raw_open(&b, w.s[0], &quiet, i ? AF_INET6 : AF_INET, i ? IPPROTO_ICMPV6 : IPPROTO_ICMP, true);
        for (size_t len = 8; len <= sizeof(echo); len += 498) {
            cr_assert_eq(raw_to(&a, i ? "fd00::2" : "10.0.0.2", echo, len), 0);
            world_run(&w, NET_SEC);
            struct pkt *p = raw_take(&a);
            cr_assert_not_null(p, "%d %zu", i, len);
            cr_assert_eq(p->len, len);
            cr_assert_eq(p->data[0], i ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY);
            pkt_free(p);
            cr_assert_null(raw_take(&b));
        }
        /* To oneself. */
        cr_assert_eq(raw_to(&a, i ? "::1" : "127.0.0.1", echo, 100), 0);
        pkt_free(raw_take(&a));
        echo[0] = ICMP_DEST_UNREACH;
        cr_assert_eq(raw_to(&a, i ? "fd00::2" : "10.0.0.2", echo, 8), -EINVAL);
        raw_close(&a);
        raw_close(&b);
    }
    world_fini(&w);
}

Test(ip, raw_sockets_see_headers_and_may_make_them)
{
    struct world w;
    struct raw_ep a, b;
    struct iphdr h = {.version = 4, .ihl = 5, .ttl = 9, .protocol = 99, .daddr = htonl(0x0a000002)};
    uint8_t data[24];

    world_init(&w, NULL);
    raw_open(&a, w.s[0], &quiet, AF_INET, IPPROTO_RAW, false);
    raw_open(&b, w.s[1], &quiet, AF_INET, 99, false);
    memcpy(data, &h, 20);
    memcpy(data + 20, "data", 4);
    cr_assert_eq(raw_to(&a, "10.0.0.2", data, 24), 0);
    world_run(&w, NET_SEC);
    struct pkt *p = raw_take(&b);
    cr_assert_not_null(p);
    cr_assert_eq(p->len, 24);
    pkt_copy_out(p, 0, data, 24);
    memcpy(&h, data, 20);
    cr_assert_eq(h.ttl, 9);
    cr_assert_eq(h.saddr, htonl(0x0a000001));
    cr_assert_eq(ntohs(h.tot_len), 24);
    cr_assert_eq(memcmp(data + 20, "data", 4), 0);
    pkt_free(p);
    raw_close(&a);
    raw_close(&b);
    world_fini(&w);
}

Test(ip, an_unknown_protocol_is_refused)
{
    struct world w;
    struct raw_ep a, icmp;

    world_init(&w, NULL);
    raw_open(&a, w.s[0], &quiet, AF_INET, 99, false);
    raw_open(&icmp, w.s[0], &quiet, AF_INET, IPPROTO_ICMP, false);
    cr_assert_eq(raw_to(&a, "10.0.0.2", "x", 1), 0);
    world_run(&w, NET_SEC);
    struct pkt *p = raw_take(&icmp);
    cr_assert_not_null(p);
    cr_assert_eq(p->data[20], ICMP_DEST_UNREACH);
    cr_assert_eq(p->data[21], ICMP_PROT_UNREACH);
    pkt_free(p);
    cr_assert_eq(w.s[1]->mib.IpInUnknownProtos, 1);
    raw_close(&a);
    raw_close(&icmp);
    world_fini(&w);
}

Test(neigh, states_follow_the_traffic)
{
    struct world w;
    struct test_udp a, b;
    struct in6_addr to = ip("10.0.0.2");
    struct neigh *n;

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    udp_open(&b, w.s[1], AF_INET, "10.0.0.2", 53);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, &i, 4), 0);
    netstack_lock(w.s[0]);
    n = neigh_find(w.nic[0], &to);
    cr_assert_eq(n->state, NUD_INCOMPLETE);
    cr_assert_eq(n->queue.n, 5);
    netstack_unlock(w.s[0]);
    world_run(&w, NET_MSEC);
    for (int i = 0; i < 5; i++)
        cr_assert(udp_got(&b, &i, 4));
    netstack_lock(w.s[0]);
    cr_assert_eq(n->state, NUD_REACHABLE);
    netstack_unlock(w.s[0]);
    world_run(&w, 60 * NET_SEC);
    cr_assert_eq(n->state, NUD_STALE);
    cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, "x", 1), 0);
    cr_assert_eq(n->state, NUD_DELAY);
    world_run(&w, 6 * NET_SEC);
    cr_assert_eq(n->state, NUD_REACHABLE); /* it answered the probe */
    world_run(&w, 60 * NET_SEC);
    /* Now it is gone. */
    netstack_lock(w.s[1]);
    (void)!nic_set_up(w.nic[1], false);
    netstack_unlock(w.s[1]);
    cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, "x", 1), 0);
    world_run(&w, 20 * NET_SEC);
    cr_assert_eq(n->state, NUD_FAILED);
    world_run(&w, 100 * NET_SEC);
    netstack_lock(w.s[0]);
    cr_assert_null(neigh_find(w.nic[0], &to));
    netstack_unlock(w.s[0]);
    udp_close(&a);
    udp_close(&b);
    world_fini(&w);
}

Test(neigh, table_is_bounded)
{
    struct world w;
    struct test_udp a;
    char addr[32];
    int n = 0;

    world_init(&w, NULL);
    world_addr(&w, 0, "10.1.0.1", 16);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    for (int i = 0; i < 5000; i++) {
        snprintf(addr, sizeof(addr), "10.1.%d.%d", 1 + i / 250, 1 + i % 250);
        cr_assert_eq(udp_sendto(&a, addr, 53, "x", 1), 0);
    }
    world_run(&w, 10 * NET_SEC);
    for (int i = 0; i < 5000; i++) {
        snprintf(addr, sizeof(addr), "10.1.%d.%d", 1 + i / 250, 1 + i % 250);
        struct in6_addr x = ip(addr);
        netstack_lock(w.s[0]);
        n += neigh_find(w.nic[0], &x) != NULL;
        netstack_unlock(w.s[0]);
    }
    cr_assert(n <= NEIGH_MAX);
    udp_close(&a);
    world_fini(&w);
}

Test(ndp, duplicate_addresses_are_detected)
{
    struct world w;
    struct nic_addr a = {.addr = ip("fd00::2"), .plen = 64}, b = {.addr = ip("fd00::3"), .plen = 64}, *got;

    world_init(&w, NULL);
    netstack_lock(w.s[0]);
    cr_assert_eq(nic_addr_add(w.nic[0], &a), 0);
    cr_assert_eq(nic_addr_add(w.nic[0], &b), 0);
    got = nic_addr_find(w.nic[0], &b.addr);
    cr_assert(got->flags & IFA_F_TENTATIVE);
    cr_assert_null(netstack_addr_find(w.s[0], &b.addr, NULL, false));
    netstack_unlock(w.s[0]);
    world_run(&w, 5 * NET_SEC);
    netstack_lock(w.s[0]);
    cr_assert(nic_addr_find(w.nic[0], &a.addr)->flags & IFA_F_DADFAILED);
    cr_assert_eq(got->flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED), 0);
    netstack_unlock(w.s[0]);
    world_fini(&w);
}

/* A router advertisement with a prefix, as stack 1 would send it. */
static void advertise(struct world *w, uint32_t lifetime, uint32_t valid, uint32_t preferred)
{
    uint8_t m[16 + 32 + 8] = {134, 0, 0, 0, 64, 0, lifetime >> 8, lifetime};
    uint8_t *o = m + 16;
    struct in6_addr all = ip("ff02::1"), prefix = ip("fd77::"), src = {0};
    be32 v = htonl(valid), p = htonl(preferred);
    struct nic_addr *a;

    memcpy(o, (uint8_t[]){3, 4, 64, 0xc0}, 4);
    memcpy(o + 4, &v, 4);
    memcpy(o + 8, &p, 4);
    memcpy(o + 16, &prefix, 16);
    memcpy(o + 32, (uint8_t[]){5, 1, 0, 0, 0, 0, 1400 >> 8, 1400 & 255}, 8);
    netstack_lock(w->s[1]);
    list_for_each_entry(a, &w->nic[1]->addrs, node)
        if (addr_is_linklocal(&a->addr))
            src = a->addr;
    icmp6_send(w->nic[1], &src, &all, 255, pkt_from(m, sizeof(m)));
    netstack_unlock(w->s[1]);
}

Test(ndp, addresses_and_routes_come_from_routers_and_go_in_time)
{
    struct world w;
    struct in6_addr prefix = ip("fd77::"), far = ip("fd77:0:0:99::1");
    struct route_key k = {.dst = far};
    struct route_result r;
    struct nic_addr *a;

    world_init(&w, NULL);
    world_run(&w, 5 * NET_SEC); /* link-local addresses are settled */
    cr_assert(w.s[0]->mib.Icmp6OutRouterSolicits > 0);
    advertise(&w, 600, 3600, 300);
    world_run(&w, 5 * NET_SEC);
    struct in6_addr mine = prefix;
    mine.s6_addr[8] = 0;
    netstack_lock(w.s[0]);
    int n = 0;
    list_for_each_entry(a, &w.nic[0]->addrs, node)
        if (addr_in_prefix(&a->addr, &prefix, 64)) {
            n++;
            mine = a->addr;
            cr_assert_eq(a->flags & (IFA_F_TENTATIVE | IFA_F_DEPRECATED), 0);
        }
    cr_assert_eq(n, 1);
    cr_assert_eq(route_lookup(w.s[0], &k, &r), 0);
    cr_assert(r.gatewayed);
    cr_assert_eq(r.mtu, 1400);
    cr_assert(addr_equal(&r.src, &mine));
    netstack_unlock(w.s[0]);
    world_run(&w, 400 * NET_SEC);
    netstack_lock(w.s[0]);
    cr_assert(nic_addr_find(w.nic[0], &mine)->flags & IFA_F_DEPRECATED);
    cr_assert_eq(route_lookup(w.s[0], &k, &r), 0);
    netstack_unlock(w.s[0]);
    world_run(&w, 400 * NET_SEC);
    netstack_lock(w.s[0]);
    cr_assert_eq(route_lookup(w.s[0], &k, &r), -ENETUNREACH);
    netstack_unlock(w.s[0]);
    world_run(&w, 4000 * NET_SEC);
    netstack_lock(w.s[0]);
    cr_assert_null(nic_addr_find(w.nic[0], &mine));
    netstack_unlock(w.s[0]);
    world_fini(&w);
}

Test(forward, packets_pass_and_path_mtu_is_learnt)
{
    struct routed t;
    uint8_t data[1400];

    memset(data, 7, sizeof(data));
    routed_init(&t);
    for (int i = 0; i < 2; i++) {
        const char *to = i ? "fd09::2" : "10.9.0.2";
        struct in6_addr dst = ip(to);
        struct test_udp a, b;

        udp_open(&a, t.w.s[0], i ? AF_INET6 : AF_INET, NULL, 0);
        udp_open(&b, t.b, i ? AF_INET6 : AF_INET, to, 53);
        cr_assert_eq(udp_sendto(&a, to, 53, "small", 5), 0);
        routed_run(&t, 50);
        struct pkt *p = udp_take(&b);
        cr_assert_not_null(p);
        cr_assert_eq(p->ip.ttl, 63);
        pkt_free(p);
        /* The first large one is lost, but says why; the next is cut to fit. */
        *(i ? &a.u.ep.recverr6 : &a.u.ep.recverr4) = true;
        cr_assert_eq(udp_sendto(&a, to, 53, data, 1400), 0);
        routed_run(&t, 50);
        cr_assert_null(udp_take(&b));
        cr_assert_eq(a.err, EMSGSIZE);
        cr_assert_eq(pkt_queue_head(&a.u.ep.errq)->err.ee.ee_info, 1300);
        /* Who is connected hears it without asking. */
        struct test_udp c;
        udp_open(&c, t.w.s[0], i ? AF_INET6 : AF_INET, NULL, 0);
        netstack_lock(t.w.s[0]);
        cr_assert_eq(udp_connect(&c.u, &dst, htons(53), 0), 0);
        netstack_unlock(t.w.s[0]);
        t.w.clock.now += 700 * NET_SEC; /* and what was learnt is forgotten */
        routed_run(&t, 1);
        cr_assert_eq(udp_sendto(&c, NULL, 0, data, 1400), 0);
        routed_run(&t, 50);
        cr_assert_eq(c.err, EMSGSIZE);
        udp_close(&c);
        netstack_lock(t.w.s[0]);
        cr_assert_eq(route_pmtu(t.w.s[0], &dst), 1300);
        netstack_unlock(t.w.s[0]);
        cr_assert_eq(udp_sendto(&a, to, 53, data, 1400), 0);
        routed_run(&t, 50);
        cr_assert(udp_got(&b, data, 1400));
        a.u.ep.pmtudisc4 = a.u.ep.pmtudisc6 = IP_PMTUDISC_DO;
        cr_assert_eq(udp_sendto(&a, to, 53, data, 1400), -EMSGSIZE);
        /* A TTL that does not suffice. */
        a.err = 0;
        a.u.ep.ttl = a.u.ep.hop_limit = 1;
        cr_assert_eq(udp_sendto(&a, to, 53, "x", 1), 0);
        routed_run(&t, 50);
        cr_assert_eq(a.err, EHOSTUNREACH);
        udp_close(&a);
        udp_close(&b);
    }
    /* IPv4 routers cut what allows it. */
    struct test_udp a, b;
    struct in6_addr dst = ip("10.9.0.2");
    udp_open(&a, t.w.s[0], AF_INET, NULL, 0);
    udp_open(&b, t.b, AF_INET, "10.9.0.2", 53);
    a.u.ep.pmtudisc4 = IP_PMTUDISC_INTERFACE;
    cr_assert_eq(udp_sendto(&a, "10.9.0.2", 53, data, 1400), 0);
    routed_run(&t, 50);
    cr_assert(udp_got(&b, data, 1400));
    cr_assert(t.w.s[1]->mib.IpFragOKs > 0);
    /* What was learnt is forgotten after ten minutes. */
    t.w.clock.now += 601 * NET_SEC;
    netstack_lock(t.w.s[0]);
    cr_assert_eq(route_pmtu(t.w.s[0], &dst), 0);
    netstack_unlock(t.w.s[0]);
    udp_close(&a);
    udp_close(&b);
    routed_fini(&t);
}

Test(forward, nothing_passes_unless_told)
{
    struct routed t;
    struct test_udp a, b;

    routed_init(&t);
    t.w.s[1]->sysctl.ip_forward = 0;
    t.w.nic[1]->conf.forwarding4 = 0;
    udp_open(&a, t.w.s[0], AF_INET, NULL, 0);
    udp_open(&b, t.b, AF_INET, "10.9.0.2", 53);
    cr_assert_eq(udp_sendto(&a, "10.9.0.2", 53, "x", 1), 0);
    routed_run(&t, 50);
    cr_assert_null(udp_take(&b));
    udp_close(&a);
    udp_close(&b);
    routed_fini(&t);
}

static int lookup(struct netstack *s, const char *dst, uint32_t mark, struct route_result *r)
{
    struct route_key k = {.dst = ip(dst), .mark = mark};
    int err;

    netstack_lock(s);
    err = route_lookup(s, &k, r);
    netstack_unlock(s);
    return err;
}

Test(route, longest_prefix_lowest_metric_and_policy)
{
    struct world w;
    struct route_result r;
    struct in6_addr gw = ip("10.0.0.2"), gw2 = ip("10.0.0.3"), gw3 = ip("10.0.0.4");
    struct route a = {.dst = ip("10.5.0.0"), .plen = 16, .gateway = gw},
                 b = {.dst = ip("10.5.1.0"), .plen = 24, .gateway = gw2};
    struct route c = {.dst = ip("10.5.0.0"), .plen = 16, .gateway = gw3, .metric = 10};
    struct route d = {.dst = ip("0.0.0.0"), .gateway = gw3, .table = 100},
                 u = {.dst = ip("10.6.0.0"), .plen = 16, .type = RTN_UNREACHABLE};
    struct route off = {.dst = ip("10.7.0.0"), .plen = 16, .gateway = ip("192.168.1.1")};
    struct route odd = {.dst = ip("10.7.0.1"), .plen = 16, .gateway = gw};
    struct route_rule rule = {
        .family = AF_INET, .priority = 50, .table = 100, .action = FR_ACT_TO_TBL, .mark = 7, .mark_mask = 0xff};

    world_init(&w, NULL);
    rule.src = rule.dst = ip("0.0.0.0");
    netstack_lock(w.s[0]);
    cr_assert_eq(route_add(w.s[0], &c, NLM_F_CREATE), 0);
    cr_assert_eq(route_add(w.s[0], &a, NLM_F_CREATE), 0);
    cr_assert_eq(route_add(w.s[0], &b, NLM_F_CREATE), 0);
    cr_assert_eq(route_add(w.s[0], &d, NLM_F_CREATE), 0);
    cr_assert_eq(route_add(w.s[0], &u, NLM_F_CREATE), 0);
    cr_assert_eq(route_add(w.s[0], &off, NLM_F_CREATE), -ENETUNREACH);
    cr_assert_eq(route_add(w.s[0], &odd, NLM_F_CREATE), -EINVAL);
    cr_assert_eq(route_rule_add(w.s[0], &rule, NLM_F_CREATE | NLM_F_EXCL), 0);
    cr_assert_eq(route_rule_add(w.s[0], &rule, NLM_F_CREATE | NLM_F_EXCL), -EEXIST);
    netstack_unlock(w.s[0]);
    cr_assert_eq(lookup(w.s[0], "10.5.7.7", 0, &r), 0);
    cr_assert(addr_equal(&r.nexthop, &gw));
    cr_assert_eq(lookup(w.s[0], "10.5.1.7", 0, &r), 0);
    cr_assert(addr_equal(&r.nexthop, &gw2));
    cr_assert_eq(lookup(w.s[0], "10.6.1.7", 0, &r), -EHOSTUNREACH);
    cr_assert_eq(lookup(w.s[0], "8.8.8.8", 0, &r), -ENETUNREACH);
    cr_assert_eq(lookup(w.s[0], "8.8.8.8", 7, &r), 0);
    cr_assert(addr_equal(&r.nexthop, &gw3));
    netstack_lock(w.s[0]);
    cr_assert_eq(route_del(w.s[0], &a), 0);
    cr_assert_eq(route_del(w.s[0], &a), -ESRCH);
    cr_assert_eq(route_rule_del(w.s[0], &rule), 0);
    netstack_unlock(w.s[0]);
    cr_assert_eq(lookup(w.s[0], "10.5.7.7", 0, &r), 0);
    cr_assert(addr_equal(&r.nexthop, &gw3));
    cr_assert_eq(lookup(w.s[0], "8.8.8.8", 7, &r), -ENETUNREACH);
    cr_assert_eq(lookup(w.s[0], "10.0.0.1", 0, &r), 0);
    cr_assert_eq(r.type, RTN_LOCAL);
    cr_assert_eq(lookup(w.s[0], "10.0.0.255", 0, &r), 0);
    cr_assert_eq(r.type, RTN_BROADCAST);
    /* All of it goes with the interface. */
    netstack_lock(w.s[0]);
    (void)!nic_set_up(w.nic[0], false);
    netstack_unlock(w.s[0]);
    cr_assert_eq(lookup(w.s[0], "10.0.0.2", 0, &r), -ENETUNREACH);
    world_fini(&w);
}

/* Sends a hand-made IPv4 packet from stack 0's link to stack 1. */
static void inject(struct world *w, uint16_t frag_off, uint16_t id, const void *data, size_t len)
{
    uint8_t frame[2000] = {2, 0, 0, 0, 7, 2, 2, 0, 0, 0, 7, 1, 8, 0};
    struct iphdr h = {.version = 4, .ihl = 5, .ttl = 9, .protocol = 17, .saddr = htonl(0x0a000001), .daddr = htonl(0x0a000002)};

    h.tot_len = htons(20 + len);
    h.id = htons(id);
    h.frag_off = htons(frag_off);
    h.check = csum_finish(csum_partial(&h, 20, 0));
    memcpy(frame + 14, &h, 20);
    memcpy(frame + 34, data, len);
    netstack_lock(w->s[1]);
    nic_input(w->nic[1], pkt_from(frame, 34 + len));
    netstack_unlock(w->s[1]);
}

Test(frag, overlaps_spoil_the_datagram_and_repetitions_do_not)
{
    struct world w;
    struct test_udp b;
    uint8_t d[64] = {0, 9, 0, 53, 0, 64};

    world_init(&w, NULL);
    udp_open(&b, w.s[1], AF_INET, "10.0.0.2", 53);
    inject(&w, IP_MF, 1, d, 32);
    inject(&w, IP_MF, 1, d, 32);
    inject(&w, 4, 1, d + 32, 32);
    struct pkt *p = udp_take(&b);
    cr_assert_not_null(p);
    cr_assert_eq(p->len, 56);
    cr_assert_eq(p->ip.frag_max, 52);
    pkt_free(p);
    inject(&w, IP_MF, 2, d, 32);
    inject(&w, 3, 2, d + 24, 40);
    inject(&w, 4, 2, d + 32, 32);
    cr_assert_null(udp_take(&b));
    cr_assert_eq(w.s[1]->mib.IpExtReasmOverlaps, 1);
    /* Beyond the end that was given; a middle one that is no multiple of 8. */
    inject(&w, 4, 3, d + 32, 32);
    inject(&w, 8 | IP_MF, 3, d, 32);
    inject(&w, IP_MF, 3, d, 32);
    cr_assert_null(udp_take(&b));
    inject(&w, IP_MF, 4, d, 31);
    inject(&w, 4, 4, d + 32, 32);
    cr_assert_null(udp_take(&b));
    /* Longer than a packet may be. */
    inject(&w, 0x1fff, 5, d, 64);
    /* The memory is bounded. */
    for (int i = 0; i < 20000; i++)
        inject(&w, IP_MF, 100 + i, d, 32);
    cr_assert(w.s[1]->mib.IpReasmFails > 10000);
    udp_close(&b);
    world_fini(&w);
}

struct sniffer {
    struct packet_ep pe;
    int err;
};
static void p_ready(struct packet_ep *pe, uint32_t events)
{
}
static void p_error(struct packet_ep *pe, int err)
{
    container_of(pe, struct sniffer, pe)->err = err;
}
static const struct packet_cb p_cb = {.ready = p_ready, .error = p_error};

Test(packet, sees_frames_both_ways_and_sends_them)
{
    struct world w;
    struct sniffer a, b;
    struct test_udp u;
    int in = 0, out = 0;

    world_init(&w, NULL);
    world_run(&w, 10 * NET_SEC);
    netstack_lock(w.s[0]);
    packet_ep_init(&a.pe, w.s[0], &p_cb, NULL, false, htons(ETH_P_ALL));
    cr_assert_eq(packet_bind(&a.pe, w.nic[0]->index, 0), 0);
    cr_assert_eq(packet_bind(&a.pe, 99, 0), -ENODEV);
    netstack_unlock(w.s[0]);
    netstack_lock(w.s[1]);
    packet_ep_init(&b.pe, w.s[1], &p_cb, NULL, true, htons(0x88b5));
    netstack_unlock(w.s[1]);
    udp_open(&u, w.s[0], AF_INET, NULL, 0);
    cr_assert_eq(udp_sendto(&u, "10.0.0.2", 9, "x", 1), 0);
    world_run(&w, NET_SEC);
    struct pkt *p;
    while (netstack_lock(w.s[0]), p = packet_recv(&a.pe, false), netstack_unlock(w.s[0]), p) {
        in += p->type != PACKET_OUTGOING;
        out += p->type == PACKET_OUTGOING;
        pkt_free(p);
    }
    cr_assert_eq(out, 2); /* ARP, UDP */
    cr_assert_eq(in, 2);  /* ARP, ICMP */
    uint8_t frame[20] = {2, 0, 0, 0, 7, 2, 2, 0, 0, 0, 7, 1, 0x88, 0xb5, 'h', 'e', 'l', 'l', 'o', '!'};
    netstack_lock(w.s[0]);
    cr_assert_eq(packet_send(&a.pe, 0, 0, NULL, pkt_from(frame, 20)), 0);
    cr_assert_eq(packet_send(&a.pe, 0, 0, NULL, pkt_from(frame, 10)), -EINVAL);
    netstack_unlock(w.s[0]);
    world_run(&w, NET_SEC);
    netstack_lock(w.s[1]);
    p = packet_recv(&b.pe, false);
    cr_assert_not_null(p);
    cr_assert_eq(p->len, 6);
    cr_assert_eq(memcmp(p->data, "hello!", 6), 0);
    pkt_free(p);
    packet_ep_fini(&b.pe);
    netstack_unlock(w.s[1]);
    netstack_lock(w.s[0]);
    nic_destroy(w.nic[0]);
    cr_assert_eq(a.err, ENETDOWN);
    packet_ep_fini(&a.pe);
    netstack_unlock(w.s[0]);
    udp_close(&u);
    world_fini(&w);
}

Test(pcap, records_frames)
{
    struct world w;
    struct test_udp u;
    struct pcap *pc;
    uint32_t head[6], rec[4];
    int fds[2];

    world_init(&w, NULL);
    cr_assert_eq(pipe(fds), 0);
    netstack_lock(w.s[0]);
    cr_assert_eq(pcap_start(w.nic[0], fds[1], 0, &pc), 0);
    netstack_unlock(w.s[0]);
    udp_open(&u, w.s[0], AF_INET, NULL, 0);
    cr_assert_eq(udp_sendto(&u, "10.0.0.2", 9, "x", 1), 0);
    cr_assert_eq(read(fds[0], head, sizeof(head)), 24);
    cr_assert_eq(head[0], 0xa1b23c4d);
    cr_assert_eq(read(fds[0], rec, sizeof(rec)), 16);
    cr_assert_eq(rec[2], 42); /* the ARP request */
    netstack_lock(w.s[0]);
    cr_assert_eq(pcap_dropped(pc), 0);
    pcap_stop(pc);
    netstack_unlock(w.s[0]);
    close(fds[0]);
    close(fds[1]);
    udp_close(&u);
    world_fini(&w);
}

Test(icmp, errors_are_rate_limited)
{
    struct world w;
    struct test_udp u;

    world_init(&w, NULL);
    udp_open(&u, w.s[0], AF_INET, NULL, 0);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(udp_sendto(&u, "10.0.0.2", 9, "x", 1), 0);
    world_run(&w, 10 * NET_MSEC);
    cr_assert_eq(w.s[1]->mib.IcmpOutDestUnreachs, 6);
    cr_assert_eq(w.s[1]->mib.IcmpOutRateLimitHost, 94);
    udp_close(&u);
    world_fini(&w);
}

static int igmp_frames, mld_frames;
static bool watch_groups(void *arg, int from, struct pkt *p)
{
    uint8_t h[64] = {0};

    if (from || p->len < 50)
        return true;
    pkt_copy_out(p, 0, h, p->len < 64 ? p->len : 64);
    igmp_frames += h[12] == 8 && h[13] == 0 && h[23] == IPPROTO_IGMP;
    mld_frames += h[12] == 0x86 && h[20] == 0 && h[62] == 143;
    return true;
}

Test(mcast, joining_and_leaving_are_told_twice)
{
    struct world w;
    struct test_udp u;
    struct in6_addr g4 = ip("239.9.9.9"), g6 = ip("ff05::9");

    world_init(&w, NULL);
    world_run(&w, 10 * NET_SEC);
    channel_set_hook(w.ch, watch_groups, NULL);
    udp_open(&u, w.s[0], AF_INET6, NULL, 0);
    netstack_lock(w.s[0]);
    cr_assert_eq(mcast_join(&u.u.ep, &g4, w.nic[0]->index), 0);
    cr_assert_eq(mcast_join(&u.u.ep, &g6, w.nic[0]->index), 0);
    netstack_unlock(w.s[0]);
    world_run(&w, 5 * NET_SEC);
    cr_assert_eq(igmp_frames, 2);
    cr_assert_eq(mld_frames, 2);
    udp_close(&u);
    world_run(&w, 5 * NET_SEC);
    cr_assert_eq(mld_frames, 4);
    netstack_lock(w.s[0]);
    cr_assert_null(mcast_nic_find(w.nic[0], &g4));
    netstack_unlock(w.s[0]);
    world_fini(&w);
}
