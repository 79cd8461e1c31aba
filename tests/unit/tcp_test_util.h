/*
 * Two stacks, joined by a channel link, under a virtual clock: nothing here waits. World A is 10.0.0.1 and fd00::1, world B
 * 10.0.0.2 and fd00::2. Everything random comes from a seed, so that every run is the same.
 */
#ifndef TESTS_UNIT_TCP_TEST_UTIL_H
#define TESTS_UNIT_TCP_TEST_UTIL_H

#include "netstack/channel.h"
#include "netstack/tcp.h"
#include "netstack/tcp_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <poll.h>
#include <stdlib.h>

struct tcp_world {
    int64_t now;
    uint64_t rng;
    struct netstack *a, *b;
    struct channel *ch;
};

static inline int64_t world_now(void *ctx)
{
    return ((struct tcp_world *)ctx)->now;
}

static inline uint64_t world_rand(struct tcp_world *w)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return w->rng * 0x2545F4914F6CDD1DULL;
}

static inline void world_random(void *ctx, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = world_rand(ctx) >> 32;
}

static inline void world_kick(void *ctx, int64_t deadline)
{
}

static const struct netstack_ops world_ops = {.now = world_now, .kick = world_kick, .random = world_random};

static inline struct in6_addr v4(const char *text)
{
    struct in_addr a;
    inet_pton(AF_INET, text, &a);
    return addr_from_v4(a.s_addr);
}

static inline struct in6_addr v6(const char *text)
{
    struct in6_addr a;
    inet_pton(AF_INET6, text, &a);
    return a;
}

static inline void NETSTACK_LOCKED world_addr(struct nic *nic, struct in6_addr addr, int plen)
{
    struct nic_addr a = {.addr = addr, .plen = plen, .flags = IFA_F_NODAD | IFA_F_PERMANENT};
    a.valid_until = a.preferred_until = INT64_MAX;
    cr_assert_eq(nic_addr_add(nic, &a), 0);
}

/* TCP's settings, which no one but the test looks at meanwhile. */
static inline struct tcp_sysctl *world_sysctl(struct netstack *s)
{
    struct tcp_sysctl *t;

    netstack_lock(s);
    t = tcp_sysctl(s);
    netstack_unlock(s);
    return t;
}

static inline void world_end(struct netstack *s, struct nic *nic, const char *ip4, const char *ip6)
{
    netstack_lock(s);
    cr_assert_eq(nic_set_up(s->lo, true), 0);
    cr_assert_eq(nic_set_up(nic, true), 0);
    world_addr(nic, v4(ip4), 24);
    if (nic->mtu >= 1280)
        world_addr(nic, v6(ip6), 64);
    netstack_unlock(s);
}

static inline void world_init(struct tcp_world *w, uint64_t seed, uint32_t mtu, unsigned int features)
{
    memset(w, 0, sizeof *w);
    w->now = 1000 * NET_SEC;
    w->rng = seed * 0x9e3779b97f4a7c15ULL + 1;
    struct channel_config c = {.name = {"eth0", "eth0"}, .mtu = mtu, .features = features, .seed = seed + 1};
    cr_assert_eq(netstack_create(&world_ops, w, &w->a), 0);
    cr_assert_eq(netstack_create(&world_ops, w, &w->b), 0);
    cr_assert_eq(channel_create(w->a, w->b, &c, &w->ch), 0);
    world_end(w->a, channel_nic(w->ch, 0), "10.0.0.1", "fd00::1");
    world_end(w->b, channel_nic(w->ch, 1), "10.0.0.2", "fd00::2");
}

static inline void world_fini(struct tcp_world *w)
{
    netstack_destroy(w->a);
    netstack_destroy(w->b);
    channel_destroy(w->ch);
}

/* Does what is due now; returns when something is due next. */
static inline int64_t world_step(struct tcp_world *w)
{
    int64_t next = INT64_MAX, t;
    for (int i = 0; i < 1000; i++) {
        next = channel_run(w->ch, w->now);
        t = netstack_run_timers(w->a);
        next = t < next ? t : next;
        t = netstack_run_timers(w->b);
        next = t < next ? t : next;
        t = channel_run(w->ch, w->now);
        next = t < next ? t : next;
        if (next > w->now)
            break;
    }
    return next;
}

/* Lets `ns` pass. */
static inline void world_pass(struct tcp_world *w, int64_t ns)
{
    int64_t until = w->now + ns;
    for (;;) {
        int64_t next = world_step(w);
        if (next > until)
            break;
        if (next > w->now)
            w->now = next;
    }
    w->now = until;
    world_step(w);
}

/* A socket and what its owner was told. */
struct end {
    struct netstack *s;
    struct tcp_sock *tp;
    uint32_t events;
    int wakes, urgents;
};

static inline void end_ready(struct endpoint *ep, uint32_t events)
{
    struct end *e = ep->owner;
    if (events == TCP_EVENT_URGENT) {
        e->urgents++;
        return;
    }
    e->events |= events;
    e->wakes++;
}

static const struct endpoint_cb end_cb = {.ready = end_ready};

/* Calls under the lock. */
#define LOCKED(s, expr)          \
    ({                           \
        netstack_lock(s);        \
        __auto_type r_ = (expr); \
        netstack_unlock(s);      \
        r_;                      \
    })

static inline void end_open(struct end *e, struct netstack *s, int family)
{
    *e = (struct end){.s = s};
    cr_assert_eq(LOCKED(s, tcp_create(s, family, &end_cb, e, &e->tp)), 0);
}

static inline void end_listen(struct end *e, struct netstack *s, uint16_t port, int backlog)
{
    struct in6_addr any = addr_any(AF_INET6);
    end_open(e, s, AF_INET6);
    netstack_lock(s);
    e->tp->ep.reuseaddr = true;
    cr_assert_eq(tcp_bind(e->tp, &any, htons(port), 0), 0);
    cr_assert_eq(tcp_listen(e->tp, backlog), 0);
    netstack_unlock(s);
}

static inline int end_connect(struct end *e, struct in6_addr addr, uint16_t port)
{
    return LOCKED(e->s, tcp_connect(e->tp, &addr, htons(port), 0));
}

static inline int end_accept(struct end *l, struct end *e)
{
    *e = (struct end){.s = l->s};
    int r = LOCKED(l->s, tcp_accept(l->tp, &e->tp));
    if (r == 0) {
        netstack_lock(l->s);
        tcp_set_owner(e->tp, &end_cb, e);
        netstack_unlock(l->s);
    }
    return r;
}

static inline ssize_t end_send(struct end *e, const void *data, size_t len, int flags)
{
    return LOCKED(e->s, tcp_send_bytes(e->tp, data, len, flags));
}

static inline ssize_t end_recv(struct end *e, void *data, size_t len)
{
    return LOCKED(e->s, tcp_recv_bytes(e->tp, data, len, false));
}

static inline uint32_t end_poll(struct end *e)
{
    return LOCKED(e->s, tcp_poll(e->tp));
}

static inline void end_close(struct end *e)
{
    netstack_lock(e->s);
    tcp_close(e->tp);
    netstack_unlock(e->s);
    e->tp = NULL;
}

static inline void end_shutdown(struct end *e, int how)
{
    cr_assert_eq(LOCKED(e->s, tcp_shutdown(e->tp, how)), 0);
}

static inline int end_state(struct end *e)
{
    return LOCKED(e->s, tcp_state(e->tp));
}

static inline int end_error(struct end *e)
{
    return LOCKED(e->s, tcp_take_error(e->tp));
}

/* A listener on B's port 80, a connection from A to it, both ends established. */
struct pair {
    struct end listener, a, b;
};

static inline void pair_open(struct tcp_world *w, struct pair *p)
{
    end_listen(&p->listener, w->b, 80, 16);
    end_open(&p->a, w->a, AF_INET);
    cr_assert_eq(end_connect(&p->a, v4("10.0.0.2"), 80), -EINPROGRESS);
    world_pass(w, NET_MSEC * 10);
    cr_assert_eq(end_state(&p->a), TCPS_ESTABLISHED);
    cr_assert_eq(end_accept(&p->listener, &p->b), 0);
    cr_assert_eq(end_state(&p->b), TCPS_ESTABLISHED);
}

static inline void pair_close(struct tcp_world *w, struct pair *p)
{
    if (p->a.tp)
        end_close(&p->a);
    if (p->b.tp)
        end_close(&p->b);
    end_close(&p->listener);
    world_pass(w, NET_SEC * 10);
}

/* How many objects TCP has left: none when everything was freed. */
static inline uint32_t tcp_left(struct netstack *s)
{
    return s->tcp->nr_socks + s->tcp->nr_reqs + s->tcp->nr_tw + s->tcp->nr_orphans;
}

#endif
