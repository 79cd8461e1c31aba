/* Limits in cgroup version 1, as runc writes them. */
#include "cmd/runsc-c/cgroup/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int set(struct cgroup *cg, const char *controller, const char *file, int64_t n, struct error *e)
{
    return n == RESOURCE_UNSET ? 0 : cgroup_write_number(cg, controller, file, n, e);
}

/* Swap counts memory too, so that the higher of the two must move first: up, swap first; down, memory first. */
static int set_memory(struct cgroup *cg, const struct resources *r, struct error *e)
{
    static const char swap_file[] = "memory.memsw.limit_in_bytes", file[] = "memory.limit_in_bytes";
    int64_t memory = r->memory == 0 ? RESOURCE_UNSET : r->memory, swap = r->swap == 0 ? RESOURCE_UNSET : r->swap;
    char path[1024];
    bool up;
    int ret;

    /* No accounting of swap on this host: a limit that says no more than the memory's holds anyway. */
    snprintf(path, sizeof(path), "%s/%s", cgroup_path(cg, "memory") ? cgroup_path(cg, "memory") : "", swap_file);
    if (access(path, F_OK) < 0) {
        if (swap != RESOURCE_UNSET && swap != -1 && swap != memory)
            fprintf(stderr, "runsc-c: warning: the host does not account for swap: its limit is not applied\n");
        swap = RESOURCE_UNSET;
    }
    /* Without a limit of memory there is none of both unless it is said. */
    if (memory == -1 && swap == RESOURCE_UNSET && access(path, F_OK) == 0)
        swap = -1;
    up = swap == -1 || (swap != RESOURCE_UNSET && (uint64_t)swap > cgroup_read_number(cg, "memory", file));
    ret = up ? set(cg, "memory", swap_file, swap, e) : 0;
    if (ret == 0)
        ret = set(cg, "memory", file, memory, e);
    if (ret == 0 && !up)
        ret = set(cg, "memory", swap_file, swap, e);
    if (ret == -EBUSY)
        return error_prefix(e, ret, "memory in use is %" PRIu64, cgroup_read_number(cg, "memory", "memory.usage_in_bytes"));
    return ret;
}

/* A quota is checked against the period that is there: whichever order the kernel takes. */
static int set_cpu(struct cgroup *cg, const struct resources *r, struct error *e)
{
    int64_t period = r->period == 0 ? RESOURCE_UNSET : r->period, quota = r->quota == 0 ? RESOURCE_UNSET : r->quota;
    struct error ignored;
    int ret;

    if (r->shares > 0 && (ret = set(cg, "cpu", "cpu.shares", r->shares, e)) < 0)
        return ret;
    if ((ret = set(cg, "cpu", "cpu.cfs_period_us", period, quota == RESOURCE_UNSET ? e : &ignored)) < 0 &&
        quota == RESOURCE_UNSET)
        return ret;
    if ((ret = set(cg, "cpu", "cpu.cfs_quota_us", quota, e)) < 0 || (ret = set(cg, "cpu", "cpu.cfs_period_us", period, e)) < 0)
        return ret;
    if ((ret = set(cg, "cpu", "cpu.cfs_burst_us", r->burst, e)) < 0 || (ret = set(cg, "cpu", "cpu.idle", r->idle, e)) < 0)
        return ret;
    if (r->rt_period > 0 && (ret = set(cg, "cpu", "cpu.rt_period_us", r->rt_period, e)) < 0)
        return ret;
    return r->rt_runtime > 0 ? set(cg, "cpu", "cpu.rt_runtime_us", r->rt_runtime, e) : 0;
}

static int set_blkio(struct cgroup *cg, const struct resources *r, struct error *e)
{
    static const char *const files[NR_BLKIO] = {[BLKIO_READ_BPS] = "blkio.throttle.read_bps_device",
                                                [BLKIO_WRITE_BPS] = "blkio.throttle.write_bps_device",
                                                [BLKIO_READ_IOPS] = "blkio.throttle.read_iops_device",
                                                [BLKIO_WRITE_IOPS] = "blkio.throttle.write_iops_device",
                                                [BLKIO_WEIGHT] = "blkio.weight_device",
                                                [BLKIO_LEAF_WEIGHT] = "blkio.leaf_weight_device"};
    char text[64];
    int ret = 0;

    if (r->blkio_weight > 0) {
        ret = cgroup_write_number(cg, "blkio", "blkio.weight", r->blkio_weight, e);
        if (ret < 0)
            ret = cgroup_write_number(cg, "blkio", "blkio.bfq.weight", r->blkio_weight, e);
    }
    if (ret == 0 && r->blkio_leaf_weight > 0)
        ret = cgroup_write_number(cg, "blkio", "blkio.leaf_weight", r->blkio_leaf_weight, e);
    for (size_t i = 0; ret == 0 && i < r->nr_devices; i++) {
        const struct resource_device *d = &r->devices[i];
        snprintf(text, sizeof(text), "%u:%u %" PRIu64, d->major, d->minor, d->value);
        ret = cgroup_write(cg, "blkio", files[d->kind], text, e);
    }
    return ret;
}

static int set_others(struct cgroup *cg, const struct resources *r, struct error *e)
{
    char text[64];
    int ret = 0;

    if (r->pids != RESOURCE_UNSET && r->pids != 0) {
        int64_t n = cgroup_host_pids(r->pids);
        ret = n > 0 ? cgroup_write_number(cg, "pids", "pids.max", n, e) : cgroup_write(cg, "pids", "pids.max", "max", e);
    }
    for (size_t i = 0; ret == 0 && i < r->nr_huge; i++) {
        snprintf(text, sizeof(text), "hugetlb.%s.limit_in_bytes", r->huge[i].key);
        ret = cgroup_write_number(cg, "hugetlb", text, (int64_t)r->huge[i].number, e);
    }
    if (ret == 0 && r->net_class > 0)
        ret = cgroup_write_number(cg, "net_cls", "net_cls.classid", r->net_class, e);
    for (size_t i = 0; ret == 0 && i < r->nr_net_prio; i++) {
        snprintf(text, sizeof(text), "%s %" PRIu64, r->net_prio[i].key, r->net_prio[i].number);
        ret = cgroup_write(cg, "net_prio", "net_prio.ifpriomap", text, e);
    }
    return ret;
}

int cgroup_apply_v1(struct cgroup *cg, const struct resources *r, struct error *e)
{
    int ret;

    if (r->nr_unified)
        return error_set(e, 0, "linux.resources.unified: the host's cgroups are version 1");
    if (r->cpus && r->cpus[0] && (ret = cgroup_write(cg, "cpuset", "cpuset.cpus", r->cpus, e)) < 0)
        return ret;
    if (r->mems && r->mems[0] && (ret = cgroup_write(cg, "cpuset", "cpuset.mems", r->mems, e)) < 0)
        return ret;
    if ((ret = set_memory(cg, r, e)) < 0 || (ret = set_cpu(cg, r, e)) < 0 || (ret = set_blkio(cg, r, e)) < 0)
        return ret;
    if (r->reservation > 0 && (ret = set(cg, "memory", "memory.soft_limit_in_bytes", r->reservation, e)) < 0)
        return ret;
    if (r->kernel_tcp > 0 && (ret = set(cg, "memory", "memory.kmem.tcp.limit_in_bytes", r->kernel_tcp, e)) < 0)
        return ret;
    if (r->swappiness >= 0 && (ret = set(cg, "memory", "memory.swappiness", r->swappiness, e)) < 0)
        return ret;
    if (r->disable_oom_killer == 1 && (ret = set(cg, "memory", "memory.oom_control", 1, e)) < 0)
        return ret;
    return set_others(cg, r, e);
}
