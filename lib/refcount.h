/* Atomic reference counts. A count starts at 1; the put that returns true is the last and must free. */
#ifndef LIB_REFCOUNT_H
#define LIB_REFCOUNT_H

#include "lib/compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct refcount {
    atomic_uint n;
};

static inline void ref_init(struct refcount *r)
{
    atomic_init(&r->n, 1);
}

static inline void ref_get(struct refcount *r)
{
    atomic_fetch_add_explicit(&r->n, 1, memory_order_relaxed);
}

/* Takes a reference unless the object is already dying; false then. */
static inline bool must_check ref_get_unless_zero(struct refcount *r)
{
    unsigned int n = atomic_load_explicit(&r->n, memory_order_relaxed);
    while (n != 0)
        if (atomic_compare_exchange_weak_explicit(&r->n, &n, n + 1, memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

static inline bool must_check ref_put(struct refcount *r)
{
    return atomic_fetch_sub_explicit(&r->n, 1, memory_order_acq_rel) == 1;
}

static inline unsigned int ref_read(const struct refcount *r)
{
    return atomic_load_explicit(&r->n, memory_order_relaxed);
}

#endif
