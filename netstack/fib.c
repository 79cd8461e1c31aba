/* The tables of routes: adding, deleting, walking, and finding the route of a destination in one table. */
#include "netstack/fib.h"

#include <errno.h>
#include <stdlib.h>

int fib_create(struct netstack *s)
{
    struct fib *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    for (size_t i = 0; i < FIB_BUCKETS; i++)
        list_init(&f->hash[i]);
    list_init(&f->tables);
    list_init(&f->rules);
    s->fib = f;
    if (!pmtu_init(s, f) || !rules_init(f)) {
        fib_destroy(s);
        return -ENOMEM;
    }
    return 0;
}

void fib_destroy(struct netstack *s)
{
    struct fib *f = s->fib;
    struct route *r, *rt;
    struct fib_table *t, *tt;

    if (!f)
        return;
    for (size_t i = 0; i < FIB_BUCKETS; i++)
        list_for_each_entry_safe(r, rt, &f->hash[i], node)
            free(r);
    list_for_each_entry_safe(t, tt, &f->tables, node)
        free(t);
    rules_fini(f);
    pmtu_fini(f);
    free(f);
    s->fib = NULL;
}

static struct list_head *bucket(struct netstack *s, uint32_t table, const struct in6_addr *prefix, unsigned int plen)
{
    uint64_t h = s->hash_key[0] ^ table;

    for (int i = 0; i < 4; i++)
        h = (h ^ prefix->s6_addr32[i]) * 0x9E3779B97F4A7C15ULL;
    h = (h ^ plen) * 0x9E3779B97F4A7C15ULL;
    return &s->fib->hash[h >> 54 & (FIB_BUCKETS - 1)];
}

static struct fib_table *table_find(struct fib *f, uint32_t id)
{
    struct fib_table *t;

    list_for_each_entry(t, &f->tables, node)
        if (t->id == id)
            return t;
    return NULL;
}

static struct fib_table *table_get(struct fib *f, uint32_t id)
{
    struct fib_table *t = table_find(f, id), *next;

    if (t)
        return t;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->id = id;
    /* By number, for dumps. */
    list_for_each_entry(next, &f->tables, node)
        if (next->id > id)
            break;
    list_add_tail(&t->node, &next->node);
    return t;
}

static int fam(const struct in6_addr *a)
{
    return addr_is_v4(a) ? 0 : 1;
}

static bool same_prefix(const struct route *r, uint32_t table, const struct in6_addr *prefix, unsigned int plen)
{
    return r->table == table && r->plen == plen && addr_equal(&r->dst, prefix);
}

struct route *fib_lookup(struct netstack *s, uint32_t table, const struct route_key *k)
{
    struct fib_table *t = table_find(s->fib, table);
    int family = fam(&k->dst);

    if (!t)
        return NULL;
    for (int plen = family ? 128 : 32; plen >= 0; plen--) {
        struct in6_addr prefix = k->dst;
        struct route *r;

        if (!t->count[family][plen])
            continue;
        addr_mask(&prefix, plen);
        list_for_each_entry(r, bucket(s, table, &prefix, plen), node) {
            if (!same_prefix(r, table, &prefix, plen))
                continue;
            if (r->tos && r->tos != (k->tos & 0x1c))
                continue;
            if (r->nic) {
                if (k->oif && r->nic->index != k->oif)
                    continue;
                if (!(r->nic->flags & IFF_UP) && r->type != RTN_LOCAL)
                    continue;
                if (!r->nic->carrier && r->type == RTN_UNICAST && (r->flags & RTNH_F_LINKDOWN))
                    continue;
            }
            if (r->expires != INT64_MAX && r->expires <= netstack_now(s))
                continue;
            return r;
        }
    }
    return NULL;
}

static void unlink_route(struct netstack *s, struct route *r) NETSTACK_LOCKED
{
    struct fib_table *t = table_find(s->fib, r->table);

    list_del_init(&r->node);
    t->count[fam(&r->dst)][r->plen]--;
    s->fib->nr--;
    route_changed(s);
    netstack_notify(s, NETSTACK_ROUTE_DEL, r);
    free(r);
}

/* Is the gateway on a link of ours, and which? */
static int check_gateway(struct netstack *s, struct route *r) NETSTACK_LOCKED
{
    struct route_key k = {.dst = r->gateway, .oif = r->nic ? r->nic->index : 0};
    struct route_result rr;
    struct route *via;
    int type;

    if (addr_is_v4(&r->dst) != addr_is_v4(&r->gateway) && addr_is_v4(&r->gateway))
        return -EINVAL;
    if (addr_is_multicast(&r->gateway))
        return -EINVAL;
    if ((r->flags & RTNH_F_ONLINK) || (addr_is_linklocal(&r->gateway) && r->nic))
        return r->nic ? 0 : -EINVAL;
    type = route_addr_type(s, &r->gateway, NULL);
    if (type == RTN_LOCAL)
        return -EINVAL;
    via = fib_lookup(s, RT_TABLE_MAIN, &k);
    if (!via && route_lookup(s, &k, &rr))
        return addr_is_v4(&r->gateway) ? -ENETUNREACH : -EHOSTUNREACH;
    if (via && (via->type != RTN_UNICAST || (!addr_is_any(&via->gateway) && addr_is_v4(&r->gateway))))
        return addr_is_v4(&r->gateway) ? -ENETUNREACH : -EHOSTUNREACH;
    if (!r->nic)
        r->nic = via ? via->nic : rr.nic;
    return 0;
}

static bool needs_nic(uint8_t type)
{
    return type == RTN_UNICAST || type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_MULTICAST || type == RTN_ANYCAST;
}

/* Fills in what the template leaves open and refuses nonsense. */
static int complete(struct netstack *s, struct route *r) NETSTACK_LOCKED
{
    struct in6_addr masked = r->dst;
    int err;

    if (r->plen > (addr_is_v4(&r->dst) ? 32 : 128))
        return -EINVAL;
    addr_mask(&masked, r->plen);
    if (!addr_equal(&masked, &r->dst)) {
        if (addr_is_v4(&r->dst))
            return -EINVAL;
        r->dst = masked;
    }
    if (!r->table)
        r->table = RT_TABLE_MAIN;
    if (!r->type)
        r->type = RTN_UNICAST;
    if (!r->expires)
        r->expires = INT64_MAX;
    if (!addr_is_v4(&r->dst) && !r->metric)
        r->metric = r->type == RTN_LOCAL ? 0 : 1024;
    if (!addr_is_any(&r->prefsrc) && !netstack_addr_find(s, &r->prefsrc, NULL, true) && r->protocol != RTPROT_KERNEL &&
        route_addr_type(s, &r->prefsrc, NULL) != RTN_LOCAL)
        return -EINVAL;
    if (!needs_nic(r->type)) {
        r->nic = addr_is_v4(&r->dst) ? NULL : s->lo;
        return 0;
    }
    if (!addr_is_any(&r->gateway)) {
        err = check_gateway(s, r);
        if (err)
            return err;
    }
    if (!r->nic)
        return -ENODEV;
    if (!(r->nic->flags & IFF_UP) && r->type == RTN_UNICAST)
        return -ENETDOWN;
    return 0;
}

static bool same_way(const struct route *a, const struct route *b)
{
    return a->nic == b->nic && a->type == b->type && addr_equal(&a->gateway, &b->gateway) &&
           (addr_is_any(&a->prefsrc) ? addr_is_any(&b->prefsrc) : addr_equal(&a->prefsrc, &b->prefsrc)) && a->scope == b->scope;
}

int route_add(struct netstack *s, const struct route *tmpl, unsigned int flags)
{
    struct route want = *tmpl, *r, *at = NULL, *same = NULL, *first = NULL;
    struct fib_table *t;
    struct list_head *head, *pos;
    int err = complete(s, &want);

    if (err)
        return err;
    head = bucket(s, want.table, &want.dst, want.plen);
    pos = head;
    list_for_each_entry(r, head, node) {
        if (!same_prefix(r, want.table, &want.dst, want.plen))
            continue;
        if (r->metric > want.metric) {
            pos = &r->node;
            break;
        }
        if (r->metric == want.metric && r->tos == want.tos) {
            first = first ? first : r;
            if (same_way(r, &want))
                same = r;
        }
    }
    if (first && (flags & NLM_F_EXCL))
        return -EEXIST;
    if (first && (flags & NLM_F_REPLACE))
        at = first;
    else if (same)
        return flags & NLM_F_APPEND && want.protocol == RTPROT_KERNEL ? 0 : -EEXIST;
    else if (first && !(flags & NLM_F_APPEND) && addr_is_v4(&want.dst))
        pos = &first->node; /* "prepend" */
    if (!first && !(flags & NLM_F_CREATE))
        return -ENOENT;
    if (s->fib->nr >= ROUTE_MAX)
        return -ENOSPC;
    t = table_get(s->fib, want.table);
    r = malloc(sizeof(*r));
    if (!t || !r) {
        free(r);
        return -ENOMEM;
    }
    *r = want;
    list_add_tail(&r->node, at ? &at->node : pos);
    t->count[fam(&r->dst)][r->plen]++;
    s->fib->nr++;
    if (at)
        unlink_route(s, at);
    route_changed(s);
    netstack_notify(s, NETSTACK_ROUTE_NEW, r);
    return 0;
}

int route_del(struct netstack *s, const struct route *want)
{
    uint32_t table = want->table ? want->table : RT_TABLE_MAIN;
    struct in6_addr dst = want->dst;
    struct route *r;

    if (want->plen > (addr_is_v4(&dst) ? 32 : 128))
        return -EINVAL;
    addr_mask(&dst, want->plen);
    list_for_each_entry(r, bucket(s, table, &dst, want->plen), node) {
        if (!same_prefix(r, table, &dst, want->plen) || (want->type && want->type != r->type) ||
            (want->nic && want->nic != r->nic) || (want->metric && want->metric != r->metric) ||
            (want->protocol && want->protocol != r->protocol) || (want->tos && want->tos != r->tos) ||
            (!addr_is_any(&want->gateway) && !addr_equal(&want->gateway, &r->gateway)) ||
            (!addr_is_any(&want->prefsrc) && !addr_equal(&want->prefsrc, &r->prefsrc) && want->type == RTN_LOCAL))
            continue;
        unlink_route(s, r);
        return 0;
    }
    return -ESRCH;
}

int route_for_each(struct netstack *s, int family, int (*fn)(const struct route *r, void *arg), void *arg)
{
    struct fib_table *t;
    int err = 0;

    list_for_each_entry(t, &s->fib->tables, node) {
        for (int f = 0; f < 2; f++) {
            if (family && family != (f ? AF_INET6 : AF_INET))
                continue;
            for (int plen = 0; plen <= (f ? 128 : 32); plen++) {
                if (!t->count[f][plen])
                    continue;
                for (size_t i = 0; i < FIB_BUCKETS; i++) {
                    struct route *r;

                    list_for_each_entry(r, &s->fib->hash[i], node) {
                        if (r->table != t->id || r->plen != plen || fam(&r->dst) != f)
                            continue;
                        err = fn(r, arg);
                        if (err)
                            return err;
                    }
                }
            }
        }
    }
    return 0;
}

static void flush(struct netstack *s, bool (*match)(const struct route *r, const void *arg), const void *arg) NETSTACK_LOCKED
{
    struct route *r, *tmp;

    for (size_t i = 0; i < FIB_BUCKETS; i++)
        list_for_each_entry_safe(r, tmp, &s->fib->hash[i], node)
            if (match(r, arg))
                unlink_route(s, r);
}

struct flush_arg {
    const struct nic *nic;
    int family;
    const struct in6_addr *src;
};

static bool over_nic(const struct route *r, const void *arg)
{
    const struct flush_arg *fa = arg;

    return r->nic == fa->nic && (!fa->family || addr_family(&r->dst) == fa->family);
}

static bool with_src(const struct route *r, const void *arg)
{
    const struct flush_arg *fa = arg;

    return !addr_is_any(&r->prefsrc) && addr_equal(&r->prefsrc, fa->src) && r->protocol != RTPROT_KERNEL;
}

void route_flush_nic(struct nic *nic, int family)
{
    flush(nic->stack, over_nic, &(struct flush_arg){nic, family, NULL});
}

void route_flush_src(struct nic *nic, const struct in6_addr *src)
{
    /* The address may live on another interface still. */
    if (!netstack_addr_find(nic->stack, src, NULL, true))
        flush(nic->stack, with_src, &(struct flush_arg){nic, 0, src});
}
