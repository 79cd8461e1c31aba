/* Packets: headroom, fragments, sharing, checksums; and the stack's timers. */
#include "netstack/csum.h"
#include "tests/unit/netstack_test_util.h"

#include <stdlib.h>

static void fill(uint8_t *p, size_t n, unsigned int seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (seed + i) * 131 >> 3;
}

static void expect(const struct pkt *p, size_t from, const uint8_t *want, size_t n)
{
    uint8_t got[4096];

    cr_assert(n <= sizeof(got));
    pkt_copy_out(p, from, got, n);
    cr_assert_eq(memcmp(got, want, n), 0);
}

Test(pkt, push_and_pull_across_fragments)
{
    uint8_t data[1000];
    fill(data, sizeof(data), 1);
    struct pkt *p = pkt_from(data, 100);

    cr_assert(pkt_add_data(p, data + 100, 300));
    cr_assert(pkt_add_data(p, data + 400, 600));
    cr_assert_eq(p->len, 1000);
    expect(p, 0, data, 1000);
    expect(p, 350, data + 350, 200);
    pkt_pull(p, 50);
    cr_assert_eq(p->lin, 50);
    pkt_pull(p, 100);
    cr_assert_eq(p->lin, 0);
    expect(p, 0, data + 150, 850);
    cr_assert(pkt_need(p, 300));
    cr_assert_eq(memcmp(p->data, data + 150, 300), 0);
    cr_assert_not(pkt_need(p, 851));
    memcpy(pkt_push(p, 4), "head", 4);
    expect(p, 4, data + 150, 850);
    pkt_trim(p, 404);
    cr_assert_eq(p->len, 404);
    expect(p, 4, data + 150, 400);
    pkt_free(p);
}

Test(pkt, clones_do_not_see_each_others_headers)
{
    uint8_t data[64];
    fill(data, sizeof(data), 2);
    struct pkt *p = pkt_from(data, 64), *c;

    pkt_set_l3(p);
    c = pkt_clone(p);
    memset(pkt_push(c, 14), 0xee, 14);
    memset(pkt_push(p, 14), 0xdd, 14);
    cr_assert_eq(c->data[0], 0xee);
    cr_assert_eq(p->data[0], 0xdd);
    cr_assert_eq(((uint8_t *)pkt_l3(c))[0], data[0]);
    cr_assert_eq(((uint8_t *)pkt_l3(p))[0], data[0]);
    cr_assert(pkt_writable(c, 20));
    c->data[14] = ~data[0];
    cr_assert_eq(((uint8_t *)pkt_l3(p))[0], data[0]);
    pkt_free(p);
    pkt_free(c);
}

Test(pkt, slices_share_and_append_joins)
{
    uint8_t data[3000];
    fill(data, sizeof(data), 3);
    struct pkt *p = pkt_from(data, 1000), *joined = pkt_alloc(0, 0);

    cr_assert(pkt_add_data(p, data + 1000, 2000));
    for (size_t off = 0; off < 3000; off += 70) {
        size_t n = 3000 - off < 70 ? 3000 - off : 70;
        struct pkt *s = pkt_slice(p, off, n, 32);
        cr_assert_eq(s->len, n);
        expect(s, 0, data + off, n);
        cr_assert(pkt_append(joined, s));
    }
    cr_assert_eq(joined->len, 3000);
    expect(joined, 0, data, 3000);
    pkt_free(p);
    expect(joined, 0, data, 3000);
    pkt_free(joined);
}

Test(pkt, checksum_is_the_same_however_it_is_cut)
{
    uint8_t data[1501];
    fill(data, sizeof(data), 4);
    uint32_t slow = 0;
    for (size_t i = 0; i < sizeof(data); i++)
        slow += i & 1 ? data[i] << 8 : data[i];
    slow = csum_fold16(csum_fold16(slow));
    cr_assert_eq(csum_fold16(csum_partial(data, sizeof(data), 0)), slow);

    struct pkt *p = pkt_alloc(0, 0);
    for (size_t off = 0; off < sizeof(data);) {
        size_t n = off % 2 ? 101 : 190;
        n = n > sizeof(data) - off ? sizeof(data) - off : n;
        cr_assert(pkt_add_data(p, data + off, n));
        off += n;
    }
    cr_assert_eq(csum_fold16(pkt_csum(p, 0, p->len, 0)), slow);
    pkt_free(p);

    be16 field = csum_finish(csum_partial(data, 100, 0));
    be16 old, new = 0x1234;
    memcpy(&old, data + 10, 2);
    memcpy(data + 10, &new, 2);
    csum_replace2(&field, old, new);
    cr_assert_eq(field, csum_finish(csum_partial(data, 100, 0)));
}

Test(pkt, partial_checksums_are_completed)
{
    uint8_t data[100];
    fill(data, sizeof(data), 5);
    data[6] = data[7] = 0;
    be16 want = csum_finish(csum_partial(data, 100, 0x1234));
    be16 seed = csum_fold16(0x1234);
    memcpy(data + 6, &seed, 2);
    struct pkt *p = pkt_from(data, 30);

    cr_assert(pkt_add_data(p, data + 30, 70));
    pkt_csum_request(p, 6);
    memset(pkt_push(p, 20), 0x45, 20);
    cr_assert(pkt_csum_complete(p));
    be16 got;
    memcpy(&got, p->data + 26, 2);
    cr_assert_eq(got, want);
    pkt_free(p);
}

static int order[1000], fired;

struct numbered {
    struct net_timer t;
    int nr;
};

static void note(struct net_timer *t)
{
    order[fired++] = container_of(t, struct numbered, t)->nr;
}

Test(timer, fire_in_order_of_time)
{
    struct test_clock c = {0};
    struct netstack *s = test_stack(&c);
    static struct numbered t[1000];
    int64_t base = c.now;

    netstack_lock(s);
    for (int i = 0; i < 1000; i++) {
        net_timer_init(&t[i].t, note);
        t[i].nr = i;
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 1000; i++)
            net_timer_arm(s, &t[i].t, base + (i * 7919 + round * 31) % 1000 * NET_MSEC + 1);
    for (int i = 0; i < 1000; i += 3)
        net_timer_cancel(s, &t[i].t);
    netstack_unlock(s);

    int64_t last = 0;
    while (c.now < base + NET_SEC) {
        int64_t next = netstack_run_timers(s);
        cr_assert(next > c.now);
        c.now = next == INT64_MAX ? base + NET_SEC : next;
    }
    cr_assert_eq(fired, 666);
    for (int i = 0; i < fired; i++) {
        cr_assert(order[i] % 3 != 0);
        cr_assert(t[order[i]].t.expires >= last);
        last = t[order[i]].t.expires;
    }
    netstack_destroy(s);
}

static struct netstack *again_stack;
static void again(struct net_timer *t) NO_THREAD_SAFETY_ANALYSIS
{
    fired++;
    net_timer_arm(again_stack, t, 0);
}

Test(timer, one_that_rearms_itself_does_not_hold_up_the_stack)
{
    struct test_clock c = {0};
    struct netstack *s = again_stack = test_stack(&c);
    struct net_timer t;

    net_timer_init(&t, again);
    netstack_lock(s);
    net_timer_arm(s, &t, c.now + 5);
    netstack_unlock(s);
    cr_assert_eq(c.kicked, c.now + 5);
    c.now += 10;
    cr_assert_eq(netstack_run_timers(s), c.now + 1);
    cr_assert_eq(fired, 1);
    netstack_lock(s);
    net_timer_cancel(s, &t);
    netstack_unlock(s);
    netstack_destroy(s);
}
