/* A stack with a clock that the test turns and random numbers that are the same in every run. */
#ifndef TESTS_UNIT_NETSTACK_TEST_UTIL_H
#define TESTS_UNIT_NETSTACK_TEST_UTIL_H

#include "netstack/channel.h"
#include "netstack/udp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_addr.h>

struct test_clock {
    int64_t now, kicked;
    uint64_t rng;
};

static inline int64_t test_now(void *ctx)
{
    return ((struct test_clock *)ctx)->now;
}

static inline void test_kick(void *ctx, int64_t deadline)
{
    ((struct test_clock *)ctx)->kicked = deadline;
}

static inline uint64_t test_rand(struct test_clock *c)
{
    c->rng ^= c->rng << 13;
    c->rng ^= c->rng >> 7;
    c->rng ^= c->rng << 17;
    return c->rng * 0x2545F4914F6CDD1DULL;
}

static inline void test_random(void *ctx, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = test_rand(ctx) >> 32;
}

__attribute__((unused)) static const struct netstack_ops test_ops = {.now = test_now, .kick = test_kick, .random = test_random};

static inline struct netstack *test_stack(struct test_clock *c)
{
    struct netstack *s;

    if (!c->now)
        c->now = NET_SEC;
    if (!c->rng)
        c->rng = 88172645463325252ULL;
    cr_assert_eq(netstack_create(&test_ops, c, &s), 0);
    return s;
}

static inline struct in6_addr ip(const char *text)
{
    struct in6_addr a;
    be32 v4;

    if (inet_pton(AF_INET, text, &v4) == 1)
        return addr_from_v4(v4);
    cr_assert_eq(inet_pton(AF_INET6, text, &a), 1, "%s", text);
    return a;
}

/* Two stacks, joined by a channel, at 10.0.0.1/24 and 10.0.0.2/24, fd00::1/64 and fd00::2/64. */
struct world {
    struct test_clock clock;
    struct netstack *s[2];
    struct nic *nic[2];
    struct channel *ch;
};

static inline void world_addr(struct world *w, int i, const char *addr, int plen)
{
    struct nic_addr a = {.addr = ip(addr), .plen = plen, .flags = IFA_F_NODAD};

    if (addr_is_v4(&a.addr))
        a.broadcast = addr_from_v4(addr_v4(&a.addr) | htonl(0xffffffffu >> plen));
    netstack_lock(w->s[i]);
    cr_assert_eq(nic_addr_add(w->nic[i], &a), 0, "%s", addr);
    netstack_unlock(w->s[i]);
}

static inline void world_init(struct world *w, const struct channel_config *config)
{
    struct channel_config c = config ? *config : (struct channel_config){.seed = 7};

    memset(w, 0, sizeof(*w));
    w->s[0] = test_stack(&w->clock);
    w->s[1] = test_stack(&w->clock);
    cr_assert_eq(channel_create(w->s[0], w->s[1], &c, &w->ch), 0);
    for (int i = 0; i < 2; i++) {
        w->nic[i] = channel_nic(w->ch, i);
        netstack_lock(w->s[i]);
        cr_assert_eq(nic_set_up(w->s[i]->lo, true), 0);
        cr_assert_eq(nic_set_up(w->nic[i], true), 0);
        netstack_unlock(w->s[i]);
        world_addr(w, i, i ? "10.0.0.2" : "10.0.0.1", 24);
        world_addr(w, i, i ? "fd00::2" : "fd00::1", 64);
    }
}

/* Lets time pass, in the steps in which something happens. */
static inline void world_run(struct world *w, int64_t ns)
{
    int64_t end = w->clock.now + ns;

    for (;;) {
        int64_t next = channel_run(w->ch, w->clock.now);

        for (int i = 0; i < 2; i++) {
            int64_t t = netstack_run_timers(w->s[i]);
            next = t < next ? t : next;
        }
        /* What the timers sent may be due at once. */
        int64_t more = channel_run(w->ch, w->clock.now);
        next = more < next ? more : next;
        if (next <= w->clock.now)
            next = w->clock.now + 1;
        if (next > end) {
            w->clock.now = end;
            return;
        }
        w->clock.now = next;
    }
}

static inline void world_fini(struct world *w)
{
    netstack_destroy(w->s[0]);
    netstack_destroy(w->s[1]);
    channel_destroy(w->ch);
}

/* A UDP socket that notes what it is told. */
struct test_udp {
    struct udp_ep u;
    uint32_t events;
    int err;
};

static inline void test_ready(struct endpoint *ep, uint32_t events)
{
    container_of(ep, struct test_udp, u.ep)->events |= events;
}

static inline void test_error(struct endpoint *ep, int err)
{
    container_of(ep, struct test_udp, u.ep)->err = err;
}

__attribute__((unused)) static const struct endpoint_cb test_cb = {.ready = test_ready, .error = test_error};

static inline void udp_open(struct test_udp *t, struct netstack *s, int family, const char *addr, int port)
{
    memset(t, 0, sizeof(*t));
    netstack_lock(s);
    udp_ep_init(&t->u, s, &test_cb, t, family, IPPROTO_UDP);
    if (addr) {
        struct in6_addr a = ip(addr);
        cr_assert_eq(udp_bind(&t->u, &a, htons(port), 0), 0);
    }
    netstack_unlock(s);
}

static inline void udp_close(struct test_udp *t)
{
    struct netstack *s = t->u.ep.stack;

    netstack_lock(s);
    udp_ep_fini(&t->u);
    netstack_unlock(s);
}

static inline int udp_sendto(struct test_udp *t, const char *addr, int port, const void *data, size_t len)
{
    struct netstack *s = t->u.ep.stack;
    struct udp_send how = UDP_SEND_INIT;
    struct pkt *p = pkt_from(data, len);
    int r;

    if (addr) {
        how.has_dst = true;
        how.dst = ip(addr);
        how.dport = htons(port);
    }
    netstack_lock(s);
    r = udp_send(&t->u, &how, p);
    netstack_unlock(s);
    return r;
}

/* The next datagram, or NULL. */
static inline struct pkt *udp_take(struct test_udp *t)
{
    struct netstack *s = t->u.ep.stack;
    struct pkt *p;

    netstack_lock(s);
    p = udp_recv(&t->u, false);
    netstack_unlock(s);
    return p;
}

static inline bool udp_got(struct test_udp *t, const void *data, size_t len)
{
    struct pkt *p = udp_take(t);
    char *buf;
    bool same;

    if (!p || p->len != len) {
        pkt_free(p);
        return false;
    }
    buf = malloc(len + 1);
    pkt_copy_out(p, 0, buf, len);
    same = !memcmp(buf, data, len);
    free(buf);
    pkt_free(p);
    return same;
}

#endif
