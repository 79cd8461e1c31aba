/* events: a container's figures, and when its memory has run out, as lines of JSON. */
#include "cmd/runsc-c/cgroup/stats.h"
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/sandbox/client.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct events_opts {
    const char *interval;
    bool stats;
};

/* A number with a unit as Go writes durations, in ms; plain numbers are seconds. -1: nonsense. */
static int64_t parse_interval(const char *s)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
    char *end;
    double n = strtod(s, &end);

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strcmp(end, units[i].unit) == 0 && end != s && n > 0 && n * units[i].ms < 1e9)
            return (int64_t)(n * units[i].ms);
    return -1;
}

static void print_event(const char *type, const char *id, struct json_object *data)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "type", json_object_new_string(type));
    json_object_object_add(o, "id", json_object_new_string(id));
    if (data)
        json_object_object_add(o, "data", data);
    printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    fflush(stdout);
    json_object_put(o);
}

/* The host's figures, but for the number of tasks, which is the sandbox's. */
static void print_stats(struct container *c)
{
    struct json_object *data = cgroup_stats(c->cgroup), *pids = NULL, *v;
    RunscC__Reply *reply;
    struct error e;

    if (!cgroup_frozen(c->cgroup) && client_ask(&c->d, false, &reply, &e) == 0) {
        json_object_object_get_ex(data, "pids", &pids);
        json_object_object_add(pids, "current", json_object_new_uint64(reply->state->tasks));
        if (reply->state->pids_limit)
            json_object_object_add(pids, "limit", json_object_new_uint64(reply->state->pids_limit));
        if (!c->cgroup) {
            json_object_object_get_ex(data, "memory", &v);
            struct json_object *usage = json_object_new_object();
            json_object_object_add(usage, "usage", json_object_new_uint64(reply->state->memory_bytes));
            json_object_object_add(v, "usage", usage);
        }
        runsc_c__reply__free_unpacked(reply, NULL);
    }
    print_event("stats", c->d.id, data);
}

static int cmd_events(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct events_opts *o = opts;
    int64_t interval = o->interval ? parse_interval(o->interval) : 5000, waited = 0;
    uint64_t kills;
    struct container c;
    int r;

    if (interval <= 0)
        return error_set(e, 0, "--interval: \"%s\" is no duration", o->interval);
    r = container_peek(cli, argv[0], &c, e);
    if (r < 0)
        return r;
    if (container_status(&c) == CONTAINER_STOPPED) {
        r = error_set(e, 0, "container with id %s is not running", c.d.id);
        goto out;
    }
    print_stats(&c);
    kills = cgroup_oom_kills(c.cgroup);
    while (!o->stats && state_process(c.doc)) {
        uint64_t now;

        nanosleep(&(struct timespec){0, 100000000}, NULL);
        now = cgroup_oom_kills(c.cgroup);
        if (now > kills) {
            print_event("oom", c.d.id, NULL);
            kills = now;
        }
        waited += 100;
        if (waited >= interval && state_process(c.doc)) {
            print_stats(&c);
            waited = 0;
        }
    }
out:
    container_close(&c);
    return r;
}

static const struct opt events_opts[] = {
    {"interval", 0, OPT_STRING, offsetof(struct events_opts, interval), "TIME", "between figures (default: 5s)"},
    {"stats", 0, OPT_FLAG, offsetof(struct events_opts, stats), NULL, "print the figures once"},
    OPT_END};

const struct command command_events = {
    .name = "events",
    .args = "ID",
    .help = "print a container's figures and events as JSON",
    .opts = events_opts,
    .opts_size = sizeof(struct events_opts),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_events,
};
