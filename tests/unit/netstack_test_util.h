/* A stack with a clock that the test turns and random numbers that are the same in every run. */
#ifndef TESTS_UNIT_NETSTACK_TEST_UTIL_H
#define TESTS_UNIT_NETSTACK_TEST_UTIL_H

#include "netstack/stack.h"

#include <criterion/criterion.h>

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

static const struct netstack_ops test_ops = {.now = test_now, .kick = test_kick, .random = test_random};

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

#endif
