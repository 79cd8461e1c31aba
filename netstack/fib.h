/* Private to fib.c, route.c, rule.c and pmtu.c. */
#ifndef NETSTACK_FIB_H
#define NETSTACK_FIB_H

#include "netstack/route.h"

#define FIB_BUCKETS 1024

struct fib_table {
    struct list_head node;
    uint32_t id;
    uint32_t count[2][129]; /* routes by family and prefix length */
};

struct pmtu_cache;

struct fib {
    struct list_head hash[FIB_BUCKETS]; /* struct route */
    uint32_t nr;
    struct list_head tables; /* struct fib_table */
    struct list_head rules;  /* struct route_rule */
    int nr_rules;
    struct pmtu_cache *pmtu;
};

/* The best route in one table, or NULL. */
struct route *fib_lookup(struct netstack *s, uint32_t table, const struct route_key *k) NETSTACK_LOCKED;

bool rules_init(struct fib *f);
void rules_fini(struct fib *f);
/* Goes through the rules; 0 and *out, or the error that the rules or the route say. */
int rules_lookup(struct netstack *s, const struct route_key *k, struct route **out) NETSTACK_LOCKED;

bool pmtu_init(struct netstack *s, struct fib *f);
void pmtu_fini(struct fib *f);

#endif
