/* Limits in cgroup version 2: the spec speaks in terms of version 1, and is translated as runc does. */
#include "cmd/runsc-c/cgroup/cgroup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "max" for -1; 0 and unset are left alone. */
static int set_limit(struct cgroup *cg, const char *file, int64_t n, struct error *e)
{
    if (n == RESOURCE_UNSET || n == 0)
        return 0;
    return n < 0 ? cgroup_write(cg, "", file, "max", e) : cgroup_write_number(cg, "", file, n, e);
}

static int set_memory(struct cgroup *cg, const struct resources *r, struct error *e)
{
    int64_t swap = r->swap;
    int ret;

    /* Version 1's files refuse by themselves; these would have processes killed. */
    if (r->check_before_update && r->memory > 0 && cgroup_read_number(cg, "", "memory.current") > (uint64_t)r->memory)
        return error_set(e, 0, "linux.resources.memory: more than the new limit is in use");

    if (r->memory == -1 && swap == RESOURCE_UNSET)
        swap = -1;
    /* The spec's swap counts memory too; version 2's is swap alone, where 0 says none at all. */
    if (swap > 0) {
        if (r->memory <= 0)
            return error_set(e, 0, "linux.resources.memory: a limit of swap without one of memory");
        if (swap < r->memory)
            return error_set(e, 0, "linux.resources.memory: swap is below the limit of memory");
        swap -= r->memory;
        ret = cgroup_write_number(cg, "", "memory.swap.max", swap, e);
        if (ret < 0 && swap > 0)
            return ret;
    } else if (swap == -1) {
        struct error no_swap; /* without the file there is none to be had */
        (void)!cgroup_write(cg, "", "memory.swap.max", "max", &no_swap);
    }
    if ((ret = set_limit(cg, "memory.max", r->memory, e)) < 0)
        return ret;
    if (r->reservation > 0)
        return cgroup_write_number(cg, "", "memory.low", r->reservation, e);
    return 0;
}

/* 2..262144 to 1..10000. */
int64_t cgroup_cpu_weight(int64_t shares)
{
    if (shares < 2)
        shares = 2;
    if (shares > 262144)
        shares = 262144;
    return 1 + (shares - 2) * 9999 / 262142;
}

static int set_cpu(struct cgroup *cg, const struct resources *r, struct error *e)
{
    char text[64];
    int ret;

    if (r->idle != RESOURCE_UNSET && (ret = cgroup_write_number(cg, "", "cpu.idle", r->idle, e)) < 0)
        return ret;
    if (r->shares > 0 && r->idle <= 0 && (ret = cgroup_write_number(cg, "", "cpu.weight", cgroup_cpu_weight(r->shares), e)) < 0)
        return ret;
    if (r->quota > 0 || r->quota == -1 || r->period > 0) {
        uint64_t period = r->period > 0 ? (uint64_t)r->period : 100000;
        if (r->quota > 0)
            snprintf(text, sizeof(text), "%" PRId64 " %" PRIu64, r->quota, period);
        else
            snprintf(text, sizeof(text), "max %" PRIu64, period);
        if ((ret = cgroup_write(cg, "", "cpu.max", text, e)) < 0)
            return ret;
    }
    if (r->burst != RESOURCE_UNSET && (ret = cgroup_write_number(cg, "", "cpu.max.burst", r->burst, e)) < 0)
        return ret;
    if (r->rt_runtime > 0 || r->rt_period > 0)
        return error_set(e, 0, "linux.resources.cpu: cgroup version 2 has no limits of real-time scheduling");
    return 0;
}

static int set_io(struct cgroup *cg, const struct resources *r, struct error *e)
{
    static const char *const words[] = {"rbps", "wbps", "riops", "wiops"};
    char text[64];
    int ret = 0;

    if (r->blkio_weight > 0) {
        ret = cgroup_write_number(cg, "", "io.bfq.weight", r->blkio_weight, e);
        if (ret < 0) /* 10..1000 to 1..10000 */
            ret = cgroup_write_number(cg, "", "io.weight", 1 + (r->blkio_weight - 10) * 9999 / 990, e);
    }
    for (size_t i = 0; ret == 0 && i < r->nr_devices; i++) {
        const struct resource_device *d = &r->devices[i];
        if (d->kind <= BLKIO_WRITE_IOPS) {
            snprintf(text, sizeof(text), "%u:%u %s=%" PRIu64, d->major, d->minor, words[d->kind], d->value);
            ret = cgroup_write(cg, "", "io.max", text, e);
        } else {
            snprintf(text, sizeof(text), "%u:%u %" PRIu64, d->major, d->minor, d->value);
            ret = cgroup_write(cg, "", "io.bfq.weight", text, e);
        }
    }
    return ret;
}

int cgroup_apply_v2(struct cgroup *cg, const struct resources *r, struct error *e)
{
    struct error old_kernel;
    char text[64];
    int ret;

    if (r->cpus && r->cpus[0] && (ret = cgroup_write(cg, "", "cpuset.cpus", r->cpus, e)) < 0)
        return ret;
    if (r->mems && r->mems[0] && (ret = cgroup_write(cg, "", "cpuset.mems", r->mems, e)) < 0)
        return ret;
    if ((ret = set_memory(cg, r, e)) < 0 || (ret = set_cpu(cg, r, e)) < 0 || (ret = set_io(cg, r, e)) < 0)
        return ret;
    /* The guest's memory is the sentry's: neither is of use without the other when the host runs out. */
    if (r->memory > 0)
        (void)!cgroup_write(cg, "", "memory.oom.group", "1", &old_kernel);
    if (r->pids != RESOURCE_UNSET && (ret = set_limit(cg, "pids.max", r->pids == 0 ? 0 : cgroup_host_pids(r->pids), e)) < 0)
        return ret;
    for (size_t i = 0; i < r->nr_huge; i++) {
        snprintf(text, sizeof(text), "hugetlb.%s.max", r->huge[i].key);
        if ((ret = cgroup_write_number(cg, "", text, (int64_t)r->huge[i].number, e)) < 0)
            return ret;
    }
    for (size_t i = 0; i < r->nr_unified; i++)
        if ((ret = cgroup_write(cg, "", r->unified[i].key, r->unified[i].value, e)) < 0)
            return ret;
    return 0;
}
