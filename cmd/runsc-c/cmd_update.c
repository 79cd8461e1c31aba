/* update: new limits for a running container, from options or from a JSON file in the form of linux.resources. */
#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/oci/json.h"
#include "cmd/runsc-c/sandbox/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct update_opts {
    const char *resources;
    const char *blkio_weight, *cpu_period, *cpu_quota, *cpu_share, *cpu_burst, *cpu_rt_period, *cpu_rt_runtime, *cpu_idle;
    const char *memory, *memory_reservation, *memory_swap, *pids_limit, *kernel_memory, *kernel_memory_tcp;
    const char *cpuset_cpus, *cpuset_mems, *l3_cache_schema, *mem_bw_schema;
};

/* Bytes, with the suffixes that runc and docker take, or -1. */
static int parse_number(const char *name, const char *text, int64_t *out, struct error *e)
{
    char *end;
    long long n;
    int shift = 0;

    if (!text)
        return 0;
    errno = 0;
    n = strtoll(text, &end, 10);
    if (end != text && *end) {
        static const char units[] = "kmgt";
        const char *u = strchr(units, *end | 0x20);
        if (u)
            shift = 10 * (int)(u - units + 1);
        end += u != NULL;
        if (u && (*end | 0x20) == 'b')
            end++;
    }
    if (errno || end == text || *end || n < -1 || n > INT64_MAX >> shift)
        return error_set(e, 0, "--%s: \"%s\" is not a number", name, text);
    *out = n < 0 ? n : n << shift;
    return 0;
}

static int from_options(const struct update_opts *o, struct resources *r, struct error *e)
{
    const struct {
        const char *name, *text;
        int64_t *field;
    } numbers[] = {
        {"blkio-weight", o->blkio_weight, &r->blkio_weight},
        {"cpu-period", o->cpu_period, &r->period},
        {"cpu-quota", o->cpu_quota, &r->quota},
        {"cpu-share", o->cpu_share, &r->shares},
        {"cpu-burst", o->cpu_burst, &r->burst},
        {"cpu-idle", o->cpu_idle, &r->idle},
        {"cpu-rt-period", o->cpu_rt_period, &r->rt_period},
        {"cpu-rt-runtime", o->cpu_rt_runtime, &r->rt_runtime},
        {"memory", o->memory, &r->memory},
        {"memory-reservation", o->memory_reservation, &r->reservation},
        {"memory-swap", o->memory_swap, &r->swap},
        {"kernel-memory-tcp", o->kernel_memory_tcp, &r->kernel_tcp},
        {"pids-limit", o->pids_limit, &r->pids},
    };

    if (o->l3_cache_schema || o->mem_bw_schema)
        return error_set(e, ENOTSUP, "Intel RDT");
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        int ret = parse_number(numbers[i].name, numbers[i].text, numbers[i].field, e);
        if (ret < 0)
            return ret;
    }
    r->cpus = o->cpuset_cpus;
    r->mems = o->cpuset_mems;
    return 0;
}

/* The sentry's own share: limits on tasks, and what the guest sees of memory. Its cgroup has been changed already. */
static int tell_sentry(struct container *c, const struct resources *r, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Update update = RUNSC_C__UPDATE__INIT;
    struct limits shown;

    update.pids_limit = r->pids == RESOURCE_UNSET || r->pids == 0 ? -1 : r->pids > 0 ? r->pids : 0;
    update.memory_limit = r->memory == RESOURCE_UNSET || r->memory == 0 ? -1 : r->memory > 0 ? r->memory : 0;
    resources_limits(r, &shown);
    update.shown = shown.set;
    update.n_shown_values = NR_LIMITS;
    update.shown_values = shown.value;
    if (update.pids_limit == -1 && update.memory_limit == -1 && !shown.set)
        return 0;
    if (cgroup_frozen(c->cgroup))
        return error_set(e, 0, "container %s is paused", c->d.id);
    q.what_case = RUNSC_C__REQUEST__WHAT_UPDATE;
    q.update = &update;
    return client_simple(&c->d, &q, e);
}

static int cmd_update(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct update_opts *o = opts;
    struct json_object *doc = NULL;
    struct resources res;
    struct container c;
    int r;

    resources_init(&res);
    if (o->resources && strcmp(o->resources, "-") == 0)
        r = json_load_fd(STDIN_FILENO, "standard input", &doc, e);
    else
        r = o->resources ? json_load(AT_FDCWD, o->resources, &doc, e) : from_options(o, &res, e);
    if (r == 0 && doc)
        r = resources_parse(doc, &res, e);
    if (r < 0)
        return r;
    r = container_open(cli, argv[0], &c, e);
    if (r < 0)
        return r;
    if (container_status(&c) == CONTAINER_STOPPED)
        r = error_set(e, 0, "container not running");
    else if (!c.cgroup && resources_any(&res) && res.pids == RESOURCE_UNSET)
        r = error_set(e, 0, "container %s has no cgroup of its own", c.d.id);
    if (r == 0 && c.cgroup)
        r = cgroup_apply(c.cgroup, &res, e);
    if (r == 0)
        r = tell_sentry(&c, &res, e);
    container_close(&c);
    return r;
}

#define O(name, letter, field, value, help)                                        \
    {                                                                              \
        name, letter, OPT_STRING, offsetof(struct update_opts, field), value, help \
    }
static const struct opt update_opts[] = {
    O("resources", 'r', resources, "FILE", "new limits as linux.resources in JSON, - for stdin; other options are ignored"),
    O("blkio-weight", 0, blkio_weight, "N", "weight of block IO, 10 to 1000"),
    O("cpu-period", 0, cpu_period, "US", "period of the quota in microseconds"),
    O("cpu-quota", 0, cpu_quota, "US", "CPU time a period; -1: no limit"),
    O("cpu-burst", 0, cpu_burst, "US", "CPU time that may be saved up"),
    O("cpu-share", 0, cpu_share, "N", "weight among containers"),
    O("cpu-rt-period", 0, cpu_rt_period, "US", "period of real-time scheduling"),
    O("cpu-rt-runtime", 0, cpu_rt_runtime, "US", "real-time scheduling a period"),
    O("cpu-idle", 0, cpu_idle, "N", "1: only when nobody else wants the CPU"),
    O("cpuset-cpus", 0, cpuset_cpus, "LIST", "CPUs to run on"),
    O("cpuset-mems", 0, cpuset_mems, "LIST", "memory nodes to use"),
    O("memory", 0, memory, "BYTES", "limit on memory; -1: none"),
    O("memory-reservation", 0, memory_reservation, "BYTES", "soft limit on memory"),
    O("memory-swap", 0, memory_swap, "BYTES", "limit on memory and swap together; -1: none"),
    O("kernel-memory", 0, kernel_memory, "BYTES", "accepted for callers of runc; kernels have no such limit any more"),
    O("kernel-memory-tcp", 0, kernel_memory_tcp, "BYTES", "limit on the host's TCP buffers"),
    O("pids-limit", 0, pids_limit, "N", "limit on tasks in the container; -1: none"),
    O("l3-cache-schema", 0, l3_cache_schema, "SCHEMA", "not supported"),
    O("mem-bw-schema", 0, mem_bw_schema, "SCHEMA", "not supported"),
    OPT_END,
};
#undef O

const struct command command_update = {
    .name = "update",
    .args = "ID",
    .help = "change the limits of a running container",
    .opts = update_opts,
    .opts_size = sizeof(struct update_opts),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_update,
};
