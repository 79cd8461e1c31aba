/*
 * linux.resources of the OCI spec, as numbers. `runsc-c update` and its callers use the same form.
 *
 * Device rules are read and checked only: a sandbox's devices are the sentry's own, none of the host's can be reached.
 */
#ifndef CMD_RUNSC_C_CGROUP_RESOURCES_H
#define CMD_RUNSC_C_CGROUP_RESOURCES_H

#include "lib/error.h"
#include "lib/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

#define RESOURCE_UNSET INT64_MIN

/* What io throttling has four of, and weights two. */
enum { BLKIO_READ_BPS, BLKIO_WRITE_BPS, BLKIO_READ_IOPS, BLKIO_WRITE_IOPS, BLKIO_WEIGHT, BLKIO_LEAF_WEIGHT, NR_BLKIO };

struct resource_device {
    int kind; /* BLKIO_* */
    unsigned int major, minor;
    uint64_t value;
};

struct resource_pair {
    const char *key;
    const char *value; /* or NULL */
    uint64_t number;
};

struct resources {
    /* Bytes; -1 is no limit. `swap` counts memory and swap together, as cgroup v1 does. */
    int64_t memory, reservation, swap, kernel_tcp;
    int64_t swappiness, disable_oom_killer;
    bool check_before_update; /* a limit of memory that is exceeded already is refused */
    int64_t shares, quota, burst, period, rt_runtime, rt_period, idle; /* microseconds but for shares and idle */
    const char *cpus, *mems;
    int64_t pids;
    int64_t blkio_weight, blkio_leaf_weight;
    struct resource_device *devices;
    size_t nr_devices;
    struct resource_pair *huge; /* page size -> bytes */
    size_t nr_huge;
    int64_t net_class;
    struct resource_pair *net_prio; /* interface -> priority */
    size_t nr_net_prio;
    struct resource_pair *unified; /* file -> text */
    size_t nr_unified;
};

void resources_init(struct resources *r);
/* Adds what the JSON object says; strings are borrowed from it. */
int must_check resources_parse(struct json_object *o, struct resources *out, struct error *e);
/* Whether anything is limited at all. */
bool resources_any(const struct resources *r);
/* Those that a guest is told. */
void resources_limits(const struct resources *r, struct limits *out);

#endif
