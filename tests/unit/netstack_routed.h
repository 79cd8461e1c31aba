/* Three stacks: two hosts and a router between them. */
#ifndef TESTS_UNIT_NETSTACK_ROUTED_H
#define TESTS_UNIT_NETSTACK_ROUTED_H

#include "netstack/route.h"
#include "tests/unit/netstack_test_util.h"

/* a (10.0.0.1) - r (10.0.0.2, 10.9.0.1) - b (10.9.0.2), and the same in fd00:: and fd09::; the second link has a small MTU. */
struct routed {
    struct world w;
    struct netstack *b;
    struct nic *rnic, *bnic;
    struct channel *ch2;
};

static inline void add_default(struct netstack *s, const char *gateway)
{
    struct route r = {.gateway = ip(gateway), .protocol = RTPROT_BOOT};

    r.dst = addr_any(addr_family(&r.gateway));
    netstack_lock(s);
    cr_assert_eq(route_add(s, &r, NLM_F_CREATE | NLM_F_EXCL), 0);
    cr_assert_eq(route_add(s, &r, NLM_F_CREATE | NLM_F_EXCL), -EEXIST);
    netstack_unlock(s);
}

static inline void routed_addr(struct netstack *s, struct nic *nic, const char *addr, int plen)
{
    struct nic_addr a = {.addr = ip(addr), .plen = plen, .flags = IFA_F_NODAD};

    netstack_lock(s);
    cr_assert_eq(nic_addr_add(nic, &a), 0);
    netstack_unlock(s);
}

static inline void routed_init(struct routed *t)
{
    struct channel_config c = {.seed = 9, .mtu = 1300};

    world_init(&t->w, NULL);
    t->b = test_stack(&t->w.clock);
    cr_assert_eq(channel_create(t->w.s[1], t->b, &c, &t->ch2), 0);
    t->rnic = channel_nic(t->ch2, 0);
    t->bnic = channel_nic(t->ch2, 1);
    netstack_lock(t->w.s[1]);
    (void)!nic_set_up(t->rnic, true);
    t->w.s[1]->sysctl.ip_forward = t->w.s[1]->sysctl.ip6_forward = 1;
    netstack_unlock(t->w.s[1]);
    netstack_lock(t->b);
    (void)!nic_set_up(t->bnic, true);
    (void)!nic_set_up(t->b->lo, true);
    netstack_unlock(t->b);
    routed_addr(t->w.s[1], t->rnic, "10.9.0.1", 24);
    routed_addr(t->w.s[1], t->rnic, "fd09::1", 64);
    routed_addr(t->b, t->bnic, "10.9.0.2", 24);
    routed_addr(t->b, t->bnic, "fd09::2", 64);
    add_default(t->w.s[0], "10.0.0.2");
    add_default(t->w.s[0], "fd00::2");
    add_default(t->b, "10.9.0.1");
    add_default(t->b, "fd09::1");
}

static inline void routed_run(struct routed *t, int ms)
{
    for (int i = 0; i < ms; i++) {
        world_run(&t->w, NET_MSEC);
        (void)netstack_run_timers(t->b);
        (void)channel_run(t->ch2, t->w.clock.now);
    }
}

static inline void routed_fini(struct routed *t)
{
    netstack_destroy(t->b);
    world_fini(&t->w);
    channel_destroy(t->ch2);
}

#endif
