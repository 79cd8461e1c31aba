#include "cmd/runsc-c/cgroup/stats.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 65536 };

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
    json_object_object_add(o, key, json_object_new_uint64(n));
}

static struct json_object *add_object(struct json_object *o, const char *key)
{
    struct json_object *child = json_object_new_object();

    json_object_object_add(o, key, child);
    return child;
}

static void cpu_v1(const struct cgroup *cg, struct json_object *cpu)
{
    struct json_object *usage = add_object(cpu, "usage"), *throttling = add_object(cpu, "throttling");
    struct json_object *percpu = json_object_new_array();
    char text[8192], *save;

    add_number(usage, "total", cgroup_read_number(cg, "cpuacct", "cpuacct.usage"));
    if (cgroup_read(cg, "cpuacct", "cpuacct.usage_percpu", text, sizeof(text)))
        for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
            json_object_array_add(percpu, json_object_new_uint64(strtoull(w, NULL, 10)));
    json_object_object_add(usage, "percpu", percpu);
    /* In ticks of a hundredth of a second. */
    add_number(usage, "kernel", cgroup_read_key(cg, "cpuacct", "cpuacct.stat", "system") * 10000000);
    add_number(usage, "user", cgroup_read_key(cg, "cpuacct", "cpuacct.stat", "user") * 10000000);
    add_number(throttling, "periods", cgroup_read_key(cg, "cpu", "cpu.stat", "nr_periods"));
    add_number(throttling, "throttledPeriods", cgroup_read_key(cg, "cpu", "cpu.stat", "nr_throttled"));
    add_number(throttling, "throttledTime", cgroup_read_key(cg, "cpu", "cpu.stat", "throttled_time"));
}

static void cpu_v2(const struct cgroup *cg, struct json_object *cpu)
{
    struct json_object *usage = add_object(cpu, "usage"), *throttling = add_object(cpu, "throttling");

    add_number(usage, "total", cgroup_read_key(cg, "", "cpu.stat", "usage_usec") * 1000);
    add_number(usage, "kernel", cgroup_read_key(cg, "", "cpu.stat", "system_usec") * 1000);
    add_number(usage, "user", cgroup_read_key(cg, "", "cpu.stat", "user_usec") * 1000);
    add_number(throttling, "periods", cgroup_read_key(cg, "", "cpu.stat", "nr_periods"));
    add_number(throttling, "throttledPeriods", cgroup_read_key(cg, "", "cpu.stat", "nr_throttled"));
    add_number(throttling, "throttledTime", cgroup_read_key(cg, "", "cpu.stat", "throttled_usec") * 1000);
}

/* All lines "name value" of a file. */
static void add_lines(const struct cgroup *cg, const char *controller, const char *file, struct json_object *o)
{
    char *text = malloc(FILE_MAX), *save, key[64];
    unsigned long long n;

    if (text && cgroup_read(cg, controller, file, text, FILE_MAX))
        for (char *w = strtok_r(text, "\n", &save); w; w = strtok_r(NULL, "\n", &save))
            if (sscanf(w, "%63s %llu", key, &n) == 2)
                add_number(o, key, n);
    free(text);
}

static void memory_entry(struct json_object *memory, const char *key, uint64_t limit, uint64_t usage, uint64_t max,
                         uint64_t failures)
{
    struct json_object *o = add_object(memory, key);

    add_number(o, "limit", limit);
    add_number(o, "usage", usage);
    add_number(o, "max", max);
    add_number(o, "failcnt", failures);
}

static void memory_v1_entry(const struct cgroup *cg, struct json_object *memory, const char *key, const char *prefix)
{
    static const char *const names[] = {"limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt"};
    uint64_t n[4];
    char file[64];

    for (size_t i = 0; i < 4; i++) {
        snprintf(file, sizeof(file), "%s.%s", prefix, names[i]);
        n[i] = cgroup_read_number(cg, "memory", file);
    }
    memory_entry(memory, key, n[0], n[1], n[2], n[3]);
}

static void memory_stats(const struct cgroup *cg, struct json_object *memory)
{
    struct json_object *raw = json_object_new_object();

    add_lines(cg, "memory", "memory.stat", raw);
    if (cg->v2) {
        uint64_t usage = cgroup_read_number(cg, "", "memory.current"), swap = cgroup_read_number(cg, "", "memory.swap.current");
        uint64_t limit = cgroup_read_number(cg, "", "memory.max"), swap_limit = cgroup_read_number(cg, "", "memory.swap.max");
        add_number(memory, "cache", cgroup_read_key(cg, "", "memory.stat", "file"));
        memory_entry(memory, "usage", limit, usage, cgroup_read_number(cg, "", "memory.peak"), 0);
        /* Both together, as version 1 counts. */
        memory_entry(memory, "swap", swap_limit == UINT64_MAX || limit == UINT64_MAX ? UINT64_MAX : swap_limit + limit,
                     swap + usage, 0, 0);
    } else {
        add_number(memory, "cache", cgroup_read_key(cg, "memory", "memory.stat", "cache"));
        memory_v1_entry(cg, memory, "usage", "memory");
        memory_v1_entry(cg, memory, "swap", "memory.memsw");
        memory_v1_entry(cg, memory, "kernel", "memory.kmem");
        memory_v1_entry(cg, memory, "kernelTCP", "memory.kmem.tcp");
    }
    json_object_object_add(memory, "raw", raw);
}

static void add_io_entry(struct json_object *list, unsigned int major, unsigned int minor, const char *op, uint64_t value)
{
    struct json_object *o = json_object_new_object();

    add_number(o, "major", major);
    add_number(o, "minor", minor);
    json_object_object_add(o, "op", json_object_new_string(op));
    add_number(o, "value", value);
    json_object_array_add(list, o);
}

static void io_v1(const struct cgroup *cg, struct json_object *blkio, const char *key, const char *file)
{
    struct json_object *list = json_object_new_array();
    char text[16384], *save, op[32];
    unsigned int major, minor;
    unsigned long long n;

    if (cgroup_read(cg, "blkio", file, text, sizeof(text)))
        for (char *w = strtok_r(text, "\n", &save); w; w = strtok_r(NULL, "\n", &save))
            if (sscanf(w, "%u:%u %31s %llu", &major, &minor, op, &n) == 4)
                add_io_entry(list, major, minor, op, n);
    json_object_object_add(blkio, key, list);
}

static void io_v2(const struct cgroup *cg, struct json_object *blkio)
{
    struct json_object *bytes = json_object_new_array(), *ops = json_object_new_array();
    char text[16384], *save;
    unsigned int major, minor;
    unsigned long long rb, wb, ro, wo;

    if (cgroup_read(cg, "", "io.stat", text, sizeof(text)))
        for (char *w = strtok_r(text, "\n", &save); w; w = strtok_r(NULL, "\n", &save))
            if (sscanf(w, "%u:%u rbytes=%llu wbytes=%llu rios=%llu wios=%llu", &major, &minor, &rb, &wb, &ro, &wo) == 6) {
                add_io_entry(bytes, major, minor, "Read", rb);
                add_io_entry(bytes, major, minor, "Write", wb);
                add_io_entry(ops, major, minor, "Read", ro);
                add_io_entry(ops, major, minor, "Write", wo);
            }
    json_object_object_add(blkio, "ioServiceBytesRecursive", bytes);
    json_object_object_add(blkio, "ioServicedRecursive", ops);
}

struct json_object *cgroup_stats(const struct cgroup *cg)
{
    struct json_object *data = json_object_new_object(), *cpu = add_object(data, "cpu"), *memory = add_object(data, "memory");
    struct json_object *pids = add_object(data, "pids"), *blkio = add_object(data, "blkio");

    add_object(data, "hugetlb");
    add_object(data, "intel_rdt");
    json_object_object_add(data, "network_interfaces", NULL);
    if (!cg)
        return data;
    memory_stats(cg, memory);
    if (cg->v2) {
        cpu_v2(cg, cpu);
        io_v2(cg, blkio);
    } else {
        cpu_v1(cg, cpu);
        io_v1(cg, blkio, "ioServiceBytesRecursive", "blkio.throttle.io_service_bytes_recursive");
        io_v1(cg, blkio, "ioServicedRecursive", "blkio.throttle.io_serviced_recursive");
    }
    add_number(pids, "current", cgroup_read_number(cg, "pids", "pids.current"));
    return data;
}

uint64_t cgroup_oom_kills(const struct cgroup *cg)
{
    return cg && cg->v2 ? cgroup_read_key(cg, "", "memory.events", "oom_kill")
                        : cgroup_read_key(cg, "memory", "memory.oom_control", "oom_kill");
}
