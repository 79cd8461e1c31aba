#include "cmd/runsc-c/cgroup/resources.h"

#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INT_FIELDS(X)                             \
    X("memory", "limit", memory)                  \
    X("memory", "reservation", reservation)       \
    X("memory", "swap", swap)                     \
    X("memory", "kernelTCP", kernel_tcp)          \
    X("memory", "swappiness", swappiness)         \
    X("cpu", "shares", shares)                    \
    X("cpu", "quota", quota)                      \
    X("cpu", "burst", burst)                      \
    X("cpu", "period", period)                    \
    X("cpu", "realtimeRuntime", rt_runtime)       \
    X("cpu", "realtimePeriod", rt_period)         \
    X("cpu", "idle", idle)                        \
    X("pids", "limit", pids)                      \
    X("blockIO", "weight", blkio_weight)          \
    X("blockIO", "leafWeight", blkio_leaf_weight) \
    X("network", "classID", net_class)

static const struct {
    const char *group, *key;
    size_t offset;
} int_fields[] = {
#define X(group, key, field) {group, key, offsetof(struct resources, field)},
    INT_FIELDS(X)
#undef X
};

void resources_init(struct resources *r)
{
    *r = (struct resources){.disable_oom_killer = RESOURCE_UNSET};
    for (size_t i = 0; i < ARRAY_SIZE(int_fields); i++)
        *(int64_t *)((char *)r + int_fields[i].offset) = RESOURCE_UNSET;
}

bool resources_any(const struct resources *r)
{
    for (size_t i = 0; i < ARRAY_SIZE(int_fields); i++)
        if (*(const int64_t *)((const char *)r + int_fields[i].offset) != RESOURCE_UNSET)
            return true;
    return r->disable_oom_killer != RESOURCE_UNSET || (r->cpus && r->cpus[0]) || (r->mems && r->mems[0]) || r->nr_devices ||
           r->nr_huge || r->nr_net_prio || r->nr_unified;
}

/* Unset and 0 leave a limit alone, as they do the host's. */
static bool is_given(int64_t n)
{
    return n != RESOURCE_UNSET && n != 0;
}

void resources_limits(const struct resources *r, struct limits *out)
{
    *out = (struct limits){0};
    if (is_given(r->memory))
        limits_put(out, LIMIT_MEMORY, r->memory);
    if (is_given(r->reservation))
        limits_put(out, LIMIT_MEMORY_LOW, r->reservation);
    if (is_given(r->swap) && (r->swap < 0 || r->memory > 0))
        limits_put(out, LIMIT_SWAP, r->swap < 0 ? -1 : r->swap - r->memory);
    if (is_given(r->quota))
        limits_put(out, LIMIT_CPU_QUOTA, r->quota);
    if (is_given(r->period))
        limits_put(out, LIMIT_CPU_PERIOD, r->period);
    if (is_given(r->shares))
        limits_put(out, LIMIT_CPU_WEIGHT, cgroup_cpu_weight(r->shares));
}

static int parse_numbers(struct json_object *o, struct resources *r, struct error *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(int_fields); i++) {
        struct json_object *group = NULL;
        char where[64];
        int ret;

        snprintf(where, sizeof(where), "linux.resources.%s", int_fields[i].group);
        if ((ret = json_get_object(o, "linux.resources", int_fields[i].group, false, &group, e)) < 0)
            return ret;
        if (group && (ret = json_get_int(group, where, int_fields[i].key, -1, INT64_MAX,
                                         (int64_t *)((char *)r + int_fields[i].offset), e)) < 0)
            return ret;
    }
    return 0;
}

static int add_device(struct resources *r, struct json_object *o, int kind, const char *key, const char *value_key,
                      struct error *e)
{
    int64_t major = -1, minor = -1;
    struct resource_device *d;
    int ret;

    if (!json_object_is_type(o, json_type_object))
        return error_set(e, 0, "linux.resources.blockIO.%s: not an object", key);
    if ((ret = json_get_int(o, key, "major", 0, 1 << 20, &major, e)) < 0 ||
        (ret = json_get_int(o, key, "minor", 0, 1 << 20, &minor, e)) < 0)
        return ret;
    if (major < 0 || minor < 0)
        return error_set(e, 0, "linux.resources.blockIO.%s: no device number", key);
    d = realloc(r->devices, (r->nr_devices + 1) * sizeof(*d));
    if (!d)
        return error_set(e, ENOMEM, "linux.resources.blockIO");
    r->devices = d;
    d += r->nr_devices;
    *d = (struct resource_device){.kind = kind, .major = (unsigned int)major, .minor = (unsigned int)minor};
    if ((ret = json_get_uint(o, key, value_key, &d->value, e)) < 0)
        return ret;
    r->nr_devices++;
    return 0;
}

static int parse_blkio(struct json_object *o, struct resources *r, struct error *e)
{
    static const struct {
        const char *key, *value;
        int kind;
    } lists[] = {
        {"throttleReadBpsDevice", "rate", BLKIO_READ_BPS},
        {"throttleWriteBpsDevice", "rate", BLKIO_WRITE_BPS},
        {"throttleReadIOPSDevice", "rate", BLKIO_READ_IOPS},
        {"throttleWriteIOPSDevice", "rate", BLKIO_WRITE_IOPS},
        {"weightDevice", "weight", BLKIO_WEIGHT},
    };
    struct json_object *blkio = NULL;
    int ret = json_get_object(o, "linux.resources", "blockIO", false, &blkio, e);

    if (ret < 0 || !blkio)
        return ret;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        struct json_object *list = NULL;
        if ((ret = json_get_array(blkio, "linux.resources.blockIO", lists[i].key, false, &list, e)) < 0)
            return ret;
        for (size_t j = 0; list && j < json_object_array_length(list); j++)
            if ((ret = add_device(r, json_object_array_get_idx(list, j), lists[i].kind, lists[i].key, lists[i].value, e)) < 0)
                return ret;
    }
    return 0;
}

/* An array of objects, each a name and a number. */
static int parse_pairs(struct json_object *o, const char *where, const char *key, const char *name, const char *number,
                       struct resource_pair **out, size_t *nr, struct error *e)
{
    struct json_object *list = NULL;
    int ret = json_get_array(o, where, key, false, &list, e);
    size_t n;

    if (ret < 0 || !list)
        return ret;
    n = json_object_array_length(list);
    *out = calloc(n + 1, sizeof(**out));
    if (!*out)
        return error_set(e, ENOMEM, "%s", where);
    for (size_t i = 0; i < n; i++) {
        struct json_object *p = json_object_array_get_idx(list, i);
        if (!json_object_is_type(p, json_type_object))
            return error_set(e, 0, "%s.%s[%zu] is not an object", where, key, i);
        if ((ret = json_get_string(p, key, name, true, &(*out)[i].key, e)) < 0 ||
            (ret = json_get_uint(p, key, number, &(*out)[i].number, e)) < 0)
            return ret;
        /* They become part of a file's name or of a line. */
        if (strpbrk((*out)[i].key, "/ \n"))
            return error_set(e, 0, "%s.%s: \"%s\" is no name", where, key, (*out)[i].key);
    }
    *nr = n;
    return 0;
}

static int parse_unified(struct json_object *o, struct resources *r, struct error *e)
{
    struct json_object *map = NULL;
    int ret = json_get_object(o, "linux.resources", "unified", false, &map, e);

    if (ret < 0 || !map)
        return ret;
    r->unified = calloc((size_t)json_object_object_length(map) + 1, sizeof(*r->unified));
    if (!r->unified)
        return error_set(e, ENOMEM, "linux.resources.unified");
    json_object_object_foreach(map, key, value)
    {
        if (!json_object_is_type(value, json_type_string))
            return error_set(e, 0, "linux.resources.unified.%s is not a string", key);
        if (strchr(key, '/') || !strchr(key, '.'))
            return error_set(e, 0, "linux.resources.unified: \"%s\" is not a cgroup file", key);
        r->unified[r->nr_unified++] = (struct resource_pair){.key = key, .value = json_object_get_string(value)};
    }
    return 0;
}

static int check_devices(struct json_object *o, struct error *e)
{
    struct json_object *list = NULL;
    int ret = json_get_array(o, "linux.resources", "devices", false, &list, e);

    for (size_t i = 0; ret == 0 && list && i < json_object_array_length(list); i++) {
        struct json_object *d = json_object_array_get_idx(list, i);
        const char *type = "a", *access = "rwm";
        bool allow = false;

        if (!json_object_is_type(d, json_type_object))
            return error_set(e, 0, "linux.resources.devices[%zu] is not an object", i);
        if ((ret = json_get_bool(d, "linux.resources.devices", "allow", &allow, e)) < 0 ||
            (ret = json_get_string(d, "linux.resources.devices", "type", false, &type, e)) < 0 ||
            (ret = json_get_string(d, "linux.resources.devices", "access", false, &access, e)) < 0)
            return ret;
        if (type[0] && (strlen(type) != 1 || !strchr("abcup", type[0])))
            return error_set(e, 0, "linux.resources.devices[%zu].type: \"%s\" is unknown", i, type);
        if (strspn(access, "rwm") != strlen(access))
            return error_set(e, 0, "linux.resources.devices[%zu].access: \"%s\" is unknown", i, access);
    }
    return ret;
}

int resources_parse(struct json_object *o, struct resources *r, struct error *e)
{
    struct json_object *memory = NULL, *cpu = NULL, *net = NULL, *rdma = NULL;
    bool no_oom = r->disable_oom_killer == 1;
    int ret;

    if ((ret = parse_numbers(o, r, e)) < 0 || (ret = parse_blkio(o, r, e)) < 0 || (ret = parse_unified(o, r, e)) < 0 ||
        (ret = check_devices(o, e)) < 0 || (ret = json_get_object(o, "linux.resources", "memory", false, &memory, e)) < 0 ||
        (ret = json_get_object(o, "linux.resources", "cpu", false, &cpu, e)) < 0 ||
        (ret = json_get_object(o, "linux.resources", "network", false, &net, e)) < 0 ||
        (ret = json_get_object(o, "linux.resources", "rdma", false, &rdma, e)) < 0 ||
        (ret = parse_pairs(o, "linux.resources", "hugepageLimits", "pageSize", "limit", &r->huge, &r->nr_huge, e)) < 0)
        return ret;
    if (rdma && json_object_object_length(rdma) > 0)
        return error_set(e, ENOTSUP, "linux.resources.rdma");
    if (memory && (ret = json_get_bool(memory, "linux.resources.memory", "disableOOMKiller", &no_oom, e)) < 0)
        return ret;
    if (no_oom)
        r->disable_oom_killer = 1;
    if (memory && (ret = json_get_bool(memory, "linux.resources.memory", "checkBeforeUpdate", &r->check_before_update, e)) < 0)
        return ret;
    if (cpu && ((ret = json_get_string(cpu, "linux.resources.cpu", "cpus", false, &r->cpus, e)) < 0 ||
                (ret = json_get_string(cpu, "linux.resources.cpu", "mems", false, &r->mems, e)) < 0))
        return ret;
    if (net && (ret = parse_pairs(net, "linux.resources.network", "priorities", "name", "priority", &r->net_prio,
                                  &r->nr_net_prio, e)) < 0)
        return ret;
    return 0;
}
