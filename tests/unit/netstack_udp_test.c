/* UDP between two stacks: delivery, fragments, trains, errors, groups, ports. */
#include "tests/unit/netstack_test_util.h"

#include <linux/udp.h>
#include <stdlib.h>
#include <sys/epoll.h>

static const char *const families[][2] = {{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}};

static int family(int i)
{
    return i ? AF_INET6 : AF_INET;
}

static uint8_t *pattern(size_t n)
{
    uint8_t *b = malloc(n);

    for (size_t i = 0; i < n; i++)
        b[i] = i * 31 + (i >> 8);
    return b;
}

Test(udp, datagrams_arrive_with_addresses)
{
    struct world w;

    world_init(&w, NULL);
    for (int i = 0; i < 2; i++) {
        struct test_udp a, b;
        struct in6_addr from = ip(families[i][0]), to = ip(families[i][1]);

        udp_open(&a, w.s[0], family(i), NULL, 0);
        udp_open(&b, w.s[1], family(i), families[i][1], 53);
        cr_assert_eq(udp_sendto(&a, families[i][1], 53, "hello", 5), 0);
        world_run(&w, NET_SEC);
        cr_assert(b.events & EPOLLIN);
        struct pkt *p = udp_take(&b);
        cr_assert_not_null(p);
        cr_assert_eq(p->len, 5);
        cr_assert(addr_equal(&p->ip.src, &from));
        cr_assert(addr_equal(&p->ip.dst, &to));
        cr_assert_eq(p->udp.sport, a.u.ep.lport);
        cr_assert_eq(p->ip.ttl, 64);
        pkt_free(p);
        cr_assert_null(udp_take(&b));
        udp_close(&a);
        udp_close(&b);
    }
    world_fini(&w);
}

Test(udp, large_ones_travel_in_fragments)
{
    static const size_t sizes[] = {1400, 1472, 1473, 3000, 20000, 65507};
    struct world w;
    uint8_t *data = pattern(65535);

    world_init(&w, NULL);
    for (int i = 0; i < 2; i++) {
        struct test_udp a, b;

        udp_open(&a, w.s[0], family(i), NULL, 0);
        udp_open(&b, w.s[1], family(i), families[i][1], 53);
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, sizes[k]), 0);
            world_run(&w, NET_SEC);
            cr_assert(udp_got(&b, data, sizes[k]), "%zu", sizes[k]);
        }
        cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 65535), -EMSGSIZE);
        udp_close(&a);
        udp_close(&b);
    }
    cr_assert_eq(w.s[1]->mib.IpReasmOKs, 4);
    cr_assert_eq(w.s[1]->mib.Ip6ReasmOKs, 5);
    free(data);
    world_fini(&w);
}

Test(udp, fragments_may_come_in_any_order_and_twice)
{
    struct channel_faults f = {.reorder = 5000, .dup = 3000, .delay = NET_MSEC};
    struct world w;
    uint8_t *data = pattern(20000);

    world_init(&w, NULL);
    for (int i = 0; i < 2; i++) {
        struct test_udp a, b;
        int got = 0;

        udp_open(&a, w.s[0], family(i), NULL, 0);
        udp_open(&b, w.s[1], family(i), families[i][1], 53);
        cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 10), 0);
        world_run(&w, NET_SEC);
        cr_assert(udp_got(&b, data, 10));
        channel_set_faults(w.ch, 0, &f);
        for (int k = 0; k < 100; k++) {
            cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 20000), 0);
            world_run(&w, NET_SEC);
            while (udp_got(&b, data, 20000))
                got++;
        }
        cr_assert(got >= 100, "%d", got);
        channel_set_faults(w.ch, 0, &(struct channel_faults){0});
        udp_close(&a);
        udp_close(&b);
    }
    free(data);
    world_fini(&w);
}

Test(udp, lost_fragments_are_forgotten_in_time)
{
    struct channel_faults f = {.loss = 3000};
    struct world w;
    struct test_udp a, b;
    uint8_t *data = pattern(20000);

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    udp_open(&b, w.s[1], AF_INET, "10.0.0.2", 53);
    cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, data, 1), 0);
    world_run(&w, NET_SEC);
    channel_set_faults(w.ch, 0, &f);
    for (int k = 0; k < 50; k++)
        cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, data, 20000), 0);
    world_run(&w, 60 * NET_SEC);
    cr_assert(w.s[1]->mib.IpReasmTimeout > 40);
    cr_assert_eq(w.s[1]->mib.IpReasmTimeout, w.s[1]->mib.IpReasmFails);
    free(data);
    udp_close(&a);
    udp_close(&b);
    world_fini(&w);
}

static bool corrupt_count(void *arg, int from, struct pkt *p)
{
    ++*(int *)arg;
    return true;
}

Test(udp, corruption_is_noticed)
{
    struct channel_faults f = {.corrupt = 10000};
    struct world w;
    struct test_udp a, b;
    uint8_t *data = pattern(500);
    int frames = 0;

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    udp_open(&b, w.s[1], AF_INET, "10.0.0.2", 53);
    cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, data, 1), 0);
    world_run(&w, NET_SEC);
    pkt_free(udp_take(&b));
    channel_set_faults(w.ch, 0, &f);
    channel_set_hook(w.ch, corrupt_count, &frames);
    for (int k = 0; k < 300; k++)
        cr_assert_eq(udp_sendto(&a, "10.0.0.2", 53, data, 500), 0);
    world_run(&w, 100 * NET_MSEC);
    cr_assert(frames >= 300);
    cr_assert_null(udp_take(&b));
    free(data);
    udp_close(&a);
    udp_close(&b);
    world_fini(&w);
}

Test(udp, trains_are_cut_for_links_and_readers_that_want_single_ones)
{
    static const unsigned int features[] = {0, NIC_CSUM, NIC_CSUM | NIC_USO};
    uint8_t *data = pattern(1000 * 129);

    for (int k = 0; k < 3; k++) {
        struct channel_config c = {.seed = 3, .features = features[k]};
        struct world w;

        world_init(&w, &c);
        for (int i = 0; i < 2; i++) {
            struct test_udp a, b;

            udp_open(&a, w.s[0], family(i), NULL, 0);
            udp_open(&b, w.s[1], family(i), families[i][1], 53);
            a.u.gso_size = 1000;
            cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 29500), 0);
            world_run(&w, NET_SEC);
            for (int n = 0; n < 30; n++)
                cr_assert(udp_got(&b, data + n * 1000, n == 29 ? 500 : 1000), "%d %d %d", k, i, n);
            cr_assert_null(udp_take(&b));
            b.u.gro = true;
            cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 29500), 0);
            world_run(&w, NET_SEC);
            struct pkt *p = udp_take(&b);
            cr_assert_not_null(p);
            if (k == 2) {
                cr_assert_eq(p->len, 29500);
                cr_assert_eq(p->gso_size, 1000);
            }
            pkt_free(p);
            cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 1000 * 129), -EMSGSIZE);
            a.u.gso_size = 1473;
            cr_assert_eq(udp_sendto(&a, families[i][1], 53, data, 3000), -EINVAL);
            udp_close(&a);
            udp_close(&b);
        }
        world_fini(&w);
    }
    free(data);
}

Test(udp, a_closed_port_is_told_to_connected_and_to_those_who_ask)
{
    struct world w;

    world_init(&w, NULL);
    for (int i = 0; i < 2; i++) {
        struct test_udp a, b, c;
        struct in6_addr to = ip(families[i][1]);

        udp_open(&a, w.s[0], family(i), NULL, 0);
        udp_open(&b, w.s[0], family(i), NULL, 0);
        udp_open(&c, w.s[0], family(i), NULL, 0);
        netstack_lock(w.s[0]);
        cr_assert_eq(udp_connect(&a.u, &to, htons(99), 0), 0);
        netstack_unlock(w.s[0]);
        *(i ? &c.u.ep.recverr6 : &c.u.ep.recverr4) = true;
        cr_assert_eq(udp_sendto(&a, NULL, 0, "x", 1), 0);
        cr_assert_eq(udp_sendto(&b, families[i][1], 99, "x", 1), 0);
        cr_assert_eq(udp_sendto(&c, families[i][1], 99, "data", 4), 0);
        world_run(&w, NET_SEC);
        cr_assert_eq(a.err, ECONNREFUSED);
        cr_assert_eq(b.err, 0);
        cr_assert_eq(c.err, ECONNREFUSED);
        struct pkt *p = pkt_queue_head(&c.u.ep.errq);
        cr_assert_not_null(p);
        cr_assert_eq(p->err.ee.ee_errno, ECONNREFUSED);
        cr_assert_eq(p->err.ee.ee_origin, i ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP);
        cr_assert(addr_equal(&p->err.offender, &to));
        cr_assert(addr_equal(&p->err.dst, &to));
        cr_assert_eq(p->err.port, htons(99));
        cr_assert_eq(p->len, 4);
        udp_close(&a);
        udp_close(&b);
        udp_close(&c);
    }
    world_fini(&w);
}

Test(udp, a_host_that_is_not_there_is_told_after_three_questions)
{
    struct world w;
    struct test_udp a;
    struct in6_addr to = ip("10.0.0.77");

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    a.u.ep.recverr4 = true;
    netstack_lock(w.s[0]);
    cr_assert_eq(udp_connect(&a.u, &to, htons(99), 0), 0);
    netstack_unlock(w.s[0]);
    cr_assert_eq(udp_sendto(&a, NULL, 0, "x", 1), 0);
    world_run(&w, 2 * NET_SEC);
    cr_assert_eq(a.err, 0);
    world_run(&w, 2 * NET_SEC);
    cr_assert_eq(a.err, EHOSTUNREACH);
    udp_close(&a);
    world_fini(&w);
}

Test(udp, loopback_and_own_addresses)
{
    struct world w;
    struct test_udp a, b;

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET6, "::", 1000);
    udp_open(&b, w.s[0], AF_INET, NULL, 0);
    cr_assert_eq(udp_sendto(&b, "127.0.0.1", 1000, "one", 3), 0);
    cr_assert(udp_got(&a, "one", 3));
    cr_assert_eq(udp_sendto(&b, "10.0.0.1", 1000, "two", 3), 0);
    cr_assert(udp_got(&a, "two", 3));
    cr_assert_eq(udp_sendto(&b, "127.9.9.9", 1000, "net", 3), 0);
    struct pkt *p = udp_take(&a);
    cr_assert_not_null(p);
    cr_assert_eq(addr_v4(&p->ip.src), htonl(0x7f000001));
    pkt_free(p);
    cr_assert_eq(udp_sendto(&a, "::1", 1000, "six", 3), 0);
    cr_assert(udp_got(&a, "six", 3));
    cr_assert_eq(udp_sendto(&a, "fd00::1", 1000, "6", 1), 0);
    cr_assert(udp_got(&a, "6", 1));
    cr_assert_eq(udp_sendto(&b, "0.0.0.0", 1000, "zero", 4), 0);
    cr_assert(udp_got(&a, "zero", 4));
    udp_close(&a);
    udp_close(&b);
    world_fini(&w);
}

Test(udp, broadcast_needs_permission_and_reaches_all)
{
    struct world w;
    struct test_udp a, b, c;

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    memset(&b, 0, sizeof(b));
    memset(&c, 0, sizeof(c));
    struct in6_addr any = ip("0.0.0.0");
    netstack_lock(w.s[1]);
    udp_ep_init(&b.u, w.s[1], &test_cb, &b, AF_INET, IPPROTO_UDP);
    udp_ep_init(&c.u, w.s[1], &test_cb, &c, AF_INET, IPPROTO_UDP);
    b.u.ep.reuseaddr = c.u.ep.reuseaddr = true;
    cr_assert_eq(udp_bind(&b.u, &any, htons(67), 0), 0);
    cr_assert_eq(udp_bind(&c.u, &any, htons(67), 0), 0);
    netstack_unlock(w.s[1]);
    cr_assert_eq(udp_sendto(&a, "10.0.0.255", 67, "x", 1), -EACCES);
    a.u.ep.broadcast = true;
    cr_assert_eq(udp_sendto(&a, "10.0.0.255", 67, "net", 3), 0);
    world_run(&w, NET_SEC);
    cr_assert(udp_got(&b, "net", 3));
    cr_assert(udp_got(&c, "net", 3));
    cr_assert_eq(udp_sendto(&a, "255.255.255.255", 67, "all", 3), -ENETUNREACH);
    a.u.ep.bound_if = w.nic[0]->index;
    cr_assert_eq(udp_sendto(&a, "255.255.255.255", 67, "all", 3), 0);
    world_run(&w, NET_SEC);
    cr_assert(udp_got(&b, "all", 3));
    cr_assert(udp_got(&c, "all", 3));
    udp_close(&a);
    udp_close(&b);
    udp_close(&c);
    world_fini(&w);
}

Test(udp, groups_reach_members_only_and_sources_can_be_chosen)
{
    static const char *const group[] = {"239.1.2.3", "ff05::1234"};
    struct world w;

    world_init(&w, NULL);
    for (int i = 0; i < 2; i++) {
        struct test_udp a, b, c;
        struct in6_addr g = ip(group[i]), src = ip(families[i][0]), other = ip(i ? "fd00::9" : "10.0.0.9");

        udp_open(&a, w.s[0], family(i), NULL, 0);
        udp_open(&b, w.s[1], family(i), i ? "::" : "0.0.0.0", 500);
        a.u.ep.mc_if4 = a.u.ep.mc_if6 = w.nic[0]->index;
        b.u.ep.mc_all4 = b.u.ep.mc_all6 = false;
        cr_assert_eq(udp_sendto(&a, group[i], 500, "no", 2), 0);
        world_run(&w, NET_SEC);
        cr_assert_null(udp_take(&b));
        netstack_lock(w.s[1]);
        cr_assert_eq(mcast_join(&b.u.ep, &g, w.nic[1]->index), 0);
        cr_assert_eq(mcast_join(&b.u.ep, &g, w.nic[1]->index), -EADDRINUSE);
        netstack_unlock(w.s[1]);
        cr_assert_eq(udp_sendto(&a, group[i], 500, "yes", 3), 0);
        world_run(&w, NET_SEC);
        cr_assert(udp_got(&b, "yes", 3));
        netstack_lock(w.s[1]);
        cr_assert_eq(mcast_block(&b.u.ep, &g, &src, w.nic[1]->index), 0);
        netstack_unlock(w.s[1]);
        cr_assert_eq(udp_sendto(&a, group[i], 500, "blocked", 7), 0);
        world_run(&w, NET_SEC);
        cr_assert_null(udp_take(&b));
        netstack_lock(w.s[1]);
        cr_assert_eq(mcast_set_filter(&b.u.ep, &g, w.nic[1]->index, MCAST_INCLUDE, &other, 1), 0);
        netstack_unlock(w.s[1]);
        cr_assert_eq(udp_sendto(&a, group[i], 500, "other", 5), 0);
        world_run(&w, NET_SEC);
        cr_assert_null(udp_take(&b));
        netstack_lock(w.s[1]);
        cr_assert_eq(mcast_join_source(&b.u.ep, &g, &src, w.nic[1]->index), 0);
        netstack_unlock(w.s[1]);
        cr_assert_eq(udp_sendto(&a, group[i], 500, "mine", 4), 0);
        world_run(&w, NET_SEC);
        cr_assert(udp_got(&b, "mine", 4));
        /* The sender hears itself, if it is a member and wants to. */
        udp_open(&c, w.s[0], family(i), i ? "::" : "0.0.0.0", 500);
        netstack_lock(w.s[0]);
        cr_assert_eq(mcast_join(&c.u.ep, &g, w.nic[0]->index), 0);
        netstack_unlock(w.s[0]);
        cr_assert_eq(udp_sendto(&a, group[i], 500, "loop", 4), 0);
        cr_assert(udp_got(&c, "loop", 4));
        a.u.ep.mc_loop4 = a.u.ep.mc_loop6 = false;
        cr_assert_eq(udp_sendto(&a, group[i], 500, "loop", 4), 0);
        cr_assert_null(udp_take(&c));
        a.u.ep.mc_loop4 = a.u.ep.mc_loop6 = true;
        a.u.ep.mc_ttl = a.u.ep.mc_hops = 0;
        world_run(&w, NET_SEC);
        pkt_free(udp_take(&b));
        pkt_free(udp_take(&b));
        cr_assert_eq(udp_sendto(&a, group[i], 500, "host", 4), 0);
        world_run(&w, NET_SEC);
        cr_assert(udp_got(&c, "host", 4));
        cr_assert_null(udp_take(&b));
        udp_close(&a);
        udp_close(&b);
        udp_close(&c);
    }
    world_fini(&w);
}

Test(udp, full_buffers_drop_and_count)
{
    struct world w;
    struct test_udp a, b;
    uint8_t *data = pattern(1000);
    int got = 0;

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    udp_open(&b, w.s[0], AF_INET, "127.0.0.1", 53);
    b.u.rcvbuf = 10000;
    for (int i = 0; i < 100; i++)
        cr_assert_eq(udp_sendto(&a, "127.0.0.1", 53, data, 1000), 0);
    while (udp_got(&b, data, 1000))
        got++;
    cr_assert(got > 2 && got < 10, "%d", got);
    cr_assert_eq(b.u.drops, 100 - got);
    cr_assert_eq(w.s[0]->mib.UdpRcvbufErrors, 100 - got);
    free(data);
    udp_close(&a);
    udp_close(&b);
    world_fini(&w);
}

static int try_bind(struct test_udp *t, struct netstack *s, int fam, const char *addr, bool reuseaddr, bool reuseport, int uid,
                    int dev)
{
    struct in6_addr a = ip(addr);
    int r;

    memset(t, 0, sizeof(*t));
    netstack_lock(s);
    udp_ep_init(&t->u, s, &test_cb, t, fam, IPPROTO_UDP);
    t->u.ep.reuseaddr = reuseaddr;
    t->u.ep.reuseport = reuseport;
    t->u.ep.uid = uid;
    t->u.ep.bound_if = dev;
    r = udp_bind(&t->u, &a, htons(777), 0);
    netstack_unlock(s);
    return r;
}

Test(udp, who_may_share_a_port)
{
    static const struct {
        int fam[2];
        const char *addr[2];
        bool reuseaddr[2], reuseport[2];
        int uid[2], dev[2];
        int want;
    } cases[] = {
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, .want = -EADDRINUSE},
        {{AF_INET, AF_INET}, {"127.0.0.1", "0.0.0.0"}, .want = -EADDRINUSE},
        {{AF_INET, AF_INET}, {"127.0.0.1", "10.0.0.1"}, .want = 0},
        {{AF_INET, AF_INET6}, {"127.0.0.1", "::"}, .want = -EADDRINUSE},
        {{AF_INET, AF_INET6}, {"127.0.0.1", "::1"}, .want = 0},
        {{AF_INET6, AF_INET6}, {"::", "fd00::1"}, .want = -EADDRINUSE},
        {{AF_INET6, AF_INET6}, {"::ffff:127.0.0.1", "::1"}, .want = 0},
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, {true, true}, .want = 0},
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, {true, false}, .want = -EADDRINUSE},
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, .reuseport = {true, true}, .want = 0},
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, .reuseport = {true, true}, .uid = {1, 2}, .want = -EADDRINUSE},
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, .dev = {1, 2}, .want = 0},
        {{AF_INET, AF_INET}, {"0.0.0.0", "0.0.0.0"}, .dev = {1, 0}, .want = -EADDRINUSE},
    };
    struct world w;

    world_init(&w, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_udp t[2];

        for (int k = 0; k < 2; k++) {
            int r = try_bind(&t[k], w.s[0], cases[i].fam[k], cases[i].addr[k], cases[i].reuseaddr[k], cases[i].reuseport[k],
                             cases[i].uid[k], cases[i].dev[k]);
            cr_assert_eq(r, k ? cases[i].want : 0, "case %zu: %d", i, r);
        }
        udp_close(&t[0]);
        udp_close(&t[1]);
    }
    world_fini(&w);
}

Test(udp, v6only_lets_the_other_family_have_the_port)
{
    struct world w;
    struct test_udp a, b;
    struct in6_addr any = in6addr_any;

    world_init(&w, NULL);
    memset(&a, 0, sizeof(a));
    netstack_lock(w.s[0]);
    udp_ep_init(&a.u, w.s[0], &test_cb, &a, AF_INET6, IPPROTO_UDP);
    a.u.ep.v6only = true;
    cr_assert_eq(udp_bind(&a.u, &any, htons(777), 0), 0);
    netstack_unlock(w.s[0]);
    cr_assert_eq(try_bind(&b, w.s[0], AF_INET, "0.0.0.0", false, false, 0, 0), 0);
    cr_assert_eq(udp_sendto(&a, "127.0.0.1", 777, "x", 1), -ENETUNREACH);
    cr_assert_eq(udp_sendto(&a, "::1", 777, "six", 3), 0);
    cr_assert_eq(udp_sendto(&b, "127.0.0.1", 777, "four", 4), 0);
    cr_assert(udp_got(&a, "six", 3));
    cr_assert(udp_got(&b, "four", 4));
    udp_close(&a);
    udp_close(&b);
    world_fini(&w);
}

Test(udp, reuseport_spreads_by_sender)
{
    struct world w;
    struct test_udp t[4], c;
    int total = 0;

    world_init(&w, NULL);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(try_bind(&t[i], w.s[0], AF_INET, "127.0.0.1", false, true, 0, 0), 0);
    for (int i = 0; i < 200; i++) {
        udp_open(&c, w.s[0], AF_INET, NULL, 0);
        cr_assert_eq(udp_sendto(&c, "127.0.0.1", 777, "x", 1), 0);
        udp_close(&c);
    }
    for (int i = 0; i < 4; i++) {
        int n = 0;
        while (udp_got(&t[i], "x", 1))
            n++;
        cr_assert(n > 20, "%d got %d", i, n);
        total += n;
        udp_close(&t[i]);
    }
    cr_assert_eq(total, 200);
    world_fini(&w);
}

Test(udp, connecting_chooses_addresses_and_hears_only_the_peer)
{
    struct world w;
    struct test_udp a, b, c;
    struct in6_addr to = ip("10.0.0.2"), self = ip("10.0.0.1"), any = ip("0.0.0.0");

    world_init(&w, NULL);
    udp_open(&a, w.s[0], AF_INET, NULL, 0);
    udp_open(&b, w.s[1], AF_INET, "0.0.0.0", 53);
    udp_open(&c, w.s[1], AF_INET, "0.0.0.0", 54);
    netstack_lock(w.s[0]);
    cr_assert_eq(udp_connect(&a.u, &to, htons(53), 0), 0);
    netstack_unlock(w.s[0]);
    cr_assert(addr_equal(&a.u.ep.laddr, &self));
    int port = ntohs(a.u.ep.lport);
    cr_assert(port >= 32768);
    cr_assert_eq(udp_sendto(&c, "10.0.0.1", port, "stranger", 8), 0);
    cr_assert_eq(udp_sendto(&b, "10.0.0.1", port, "peer", 4), 0);
    world_run(&w, NET_SEC);
    cr_assert(udp_got(&a, "peer", 4));
    cr_assert_null(udp_take(&a));
    /* Options that are set later count. */
    a.u.ep.ttl = 7;
    cr_assert_eq(udp_sendto(&a, NULL, 0, "x", 1), 0);
    world_run(&w, NET_SEC);
    struct pkt *p = udp_take(&b);
    cr_assert_not_null(p);
    cr_assert_eq(p->ip.ttl, 7);
    pkt_free(p);
    netstack_lock(w.s[0]);
    cr_assert_eq(udp_disconnect(&a.u), 0);
    netstack_unlock(w.s[0]);
    cr_assert(addr_equal(&a.u.ep.laddr, &any));
    cr_assert_eq(a.u.ep.lport, 0);
    cr_assert_eq(udp_sendto(&a, NULL, 0, "x", 1), -EDESTADDRREQ);
    udp_close(&a);
    udp_close(&b);
    udp_close(&c);
    world_fini(&w);
}
