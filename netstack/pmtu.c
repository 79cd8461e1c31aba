/* What ICMP taught about the MTU of paths: a bounded cache by destination, the oldest entry giving way. */
#include "netstack/fib.h"

#include <stdlib.h>

#define PMTU_MAX     1024
#define PMTU_BUCKETS 256

struct pmtu_entry {
    struct list_head node, lru;
    struct in6_addr dst;
    uint32_t mtu;
    int64_t expires;
};

struct pmtu_cache {
    struct list_head hash[PMTU_BUCKETS], lru; /* lru: the first to expire comes first */
    unsigned int nr;
    struct netstack *stack;
    struct net_timer timer; /* when the first expires, so that answers of route_lookup() that are kept elsewhere end with it */
};

static void expire(struct net_timer *t);

bool pmtu_init(struct netstack *s, struct fib *f)
{
    struct pmtu_cache *c = malloc(sizeof(*c));

    if (!c)
        return false;
    c->stack = s;
    net_timer_init(&c->timer, expire);
    for (size_t i = 0; i < PMTU_BUCKETS; i++)
        list_init(&c->hash[i]);
    list_init(&c->lru);
    c->nr = 0;
    f->pmtu = c;
    return true;
}

static void drop(struct pmtu_cache *c, struct pmtu_entry *e)
{
    list_del_init(&e->node);
    list_del_init(&e->lru);
    c->nr--;
    free(e);
}

static void expire(struct net_timer *t) NETSTACK_LOCKED
{
    struct pmtu_cache *c = container_of(t, struct pmtu_cache, timer);
    int64_t now = netstack_now(c->stack);

    while (!list_empty(&c->lru)) {
        struct pmtu_entry *e = list_first_entry(&c->lru, struct pmtu_entry, lru);

        if (e->expires > now) {
            net_timer_arm(c->stack, t, e->expires);
            break;
        }
        drop(c, e);
    }
    route_changed(c->stack);
}

void pmtu_fini(struct fib *f) NO_THREAD_SAFETY_ANALYSIS
{
    if (!f->pmtu)
        return;
    net_timer_cancel(f->pmtu->stack, &f->pmtu->timer);
    while (!list_empty(&f->pmtu->lru))
        drop(f->pmtu, list_first_entry(&f->pmtu->lru, struct pmtu_entry, lru));
    free(f->pmtu);
}

static struct list_head *bucket(struct netstack *s, const struct in6_addr *dst)
{
    return &s->fib->pmtu->hash[netstack_hash(s, dst, sizeof(*dst)) % PMTU_BUCKETS];
}

static struct pmtu_entry *find(struct netstack *s, const struct in6_addr *dst)
{
    struct pmtu_entry *e;

    list_for_each_entry(e, bucket(s, dst), node)
        if (addr_equal(&e->dst, dst))
            return e;
    return NULL;
}

uint32_t route_pmtu(struct netstack *s, const struct in6_addr *dst)
{
    struct pmtu_cache *c = s->fib->pmtu;
    struct pmtu_entry *e;

    if (!c->nr)
        return 0;
    e = find(s, dst);
    if (e && e->expires <= netstack_now(s)) {
        drop(c, e);
        e = NULL;
    }
    return e ? e->mtu : 0;
}

bool route_pmtu_update(struct netstack *s, const struct in6_addr *dst, uint32_t mtu)
{
    struct pmtu_cache *c = s->fib->pmtu;
    uint32_t least = addr_is_v4(dst) ? s->sysctl.min_pmtu : 1280;
    struct route_key k = {.dst = *dst};
    struct route_result r;
    struct pmtu_entry *e;

    if (mtu < least)
        mtu = least;
    if (route_lookup(s, &k, &r) || mtu >= r.mtu || r.type != RTN_UNICAST)
        return false;
    e = find(s, dst);
    if (!e) {
        if (c->nr >= PMTU_MAX)
            drop(c, list_first_entry(&c->lru, struct pmtu_entry, lru));
        e = malloc(sizeof(*e));
        if (!e)
            return false;
        e->dst = *dst;
        list_add(&e->node, bucket(s, dst));
        list_init(&e->lru);
        c->nr++;
    }
    list_del_init(&e->lru);
    list_add_tail(&e->lru, &c->lru);
    e->mtu = mtu;
    e->expires = netstack_now(s) + s->sysctl.mtu_expires * NET_SEC;
    net_timer_arm(s, &c->timer, list_first_entry(&c->lru, struct pmtu_entry, lru)->expires);
    route_changed(s);
    return true;
}
