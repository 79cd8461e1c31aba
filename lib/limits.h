/*
 * What a container is limited to, as its guest is told: the host's cgroup keeps these limits. Names and units are those of
 * cgroup version 2: bytes and microseconds; swap counts without memory.
 */
#ifndef LIB_LIMITS_H
#define LIB_LIMITS_H

#include <stdint.h>

enum limit { LIMIT_MEMORY, LIMIT_SWAP, LIMIT_MEMORY_LOW, LIMIT_CPU_QUOTA, LIMIT_CPU_PERIOD, LIMIT_CPU_WEIGHT, NR_LIMITS };

struct limits {
    unsigned int set;         /* a bit per limit that is given at all */
    int64_t value[NR_LIMITS]; /* -1: none */
};

static inline void limits_put(struct limits *l, enum limit which, int64_t value)
{
    l->set |= 1U << which;
    l->value[which] = value;
}

static inline int64_t limits_get(const struct limits *l, enum limit which, int64_t otherwise)
{
    return l->set & 1U << which ? l->value[which] : otherwise;
}

/* Adds what `more` gives. */
static inline void limits_merge(struct limits *l, const struct limits *more)
{
    for (int i = 0; i < NR_LIMITS; i++)
        if (more->set & 1U << i)
            limits_put(l, (enum limit)i, more->value[i]);
}

#endif
