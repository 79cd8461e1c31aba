/*
 * The systemd driver: a container's cgroup is a transient scope that systemd makes, at the request of StartTransientUnit over
 * D-Bus, and puts the sentry into. What of the limits systemd has properties for is said there too, so that it does not undo
 * them; all are then written as without systemd, since the scope is delegated.
 *
 * libsystemd is loaded when it is needed: its own start would cost every other command milliseconds.
 */
#include "cmd/runsc-c/cgroup/systemd.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define MANAGER "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"

struct library {
    typeof(sd_bus_open_system) *open_system;
    typeof(sd_bus_open_user) *open_user;
    typeof(sd_bus_flush_close_unref) *close;
    typeof(sd_bus_message_new_method_call) *new_call;
    typeof(sd_bus_message_append) *append;
    typeof(sd_bus_message_append_array) *append_array;
    typeof(sd_bus_message_open_container) *open;
    typeof(sd_bus_message_close_container) *end;
    typeof(sd_bus_message_unref) *unref;
    typeof(sd_bus_call) *call;
    typeof(sd_bus_error_free) *free_error;
};

static int load(struct library *l, struct error *e)
{
    void *lib = dlopen("libsystemd.so.0", RTLD_NOW);
    const struct {
        const char *name;
        void **at;
    } symbols[] = {
        {"sd_bus_open_system", (void **)&l->open_system},     {"sd_bus_open_user", (void **)&l->open_user},
        {"sd_bus_flush_close_unref", (void **)&l->close},     {"sd_bus_message_new_method_call", (void **)&l->new_call},
        {"sd_bus_message_append", (void **)&l->append},       {"sd_bus_message_append_array", (void **)&l->append_array},
        {"sd_bus_message_open_container", (void **)&l->open}, {"sd_bus_message_close_container", (void **)&l->end},
        {"sd_bus_message_unref", (void **)&l->unref},         {"sd_bus_call", (void **)&l->call},
        {"sd_bus_error_free", (void **)&l->free_error},
    };

    for (size_t i = 0; lib && i < ARRAY_SIZE(symbols); i++)
        if (!(*symbols[i].at = dlsym(lib, symbols[i].name)))
            lib = NULL;
    return lib ? 0 : error_set(e, 0, "--systemd-cgroup needs libsystemd.so.0: %s", dlerror());
}

static int connect_bus(const struct cgroup *cg, struct library *l, sd_bus **bus, struct error *e)
{
    int r = load(l, e);

    if (r < 0)
        return r;
    r = cg->user ? l->open_user(bus) : l->open_system(bus);
    return r < 0 ? error_set(e, -r, "--systemd-cgroup: connection to the %s bus", cg->user ? "user's" : "system") : 0;
}

/* Sends a call and drops its answer. */
static int call(const struct library *l, sd_bus *bus, sd_bus_message *m, const char *what, struct error *e)
{
    sd_bus_error err = SD_BUS_ERROR_NULL;
    int r = l->call(bus, m, 30000000, &err, NULL);

    if (r < 0)
        error_set(e, 0, "systemd: %s: %s", what, err.message ? err.message : strerror(-r));
    l->free_error(&err);
    l->unref(m);
    return r < 0 ? r : 0;
}

static int add_limits(const struct library *l, sd_bus_message *m, const struct cgroup *cg, const struct resources *res)
{
    int r = 0;

    if (res->memory > 0)
        r = l->append(m, "(sv)", cg->v2 ? "MemoryMax" : "MemoryLimit", "t", (uint64_t)res->memory);
    if (r >= 0 && res->shares > 0)
        r = l->append(m, "(sv)", cg->v2 ? "CPUWeight" : "CPUShares", "t",
                      (uint64_t)(cg->v2 ? cgroup_cpu_weight(res->shares) : res->shares));
    if (r >= 0 && res->quota > 0)
        r = l->append(m, "(sv)", "CPUQuotaPerSecUSec", "t",
                      (uint64_t)res->quota * 1000000 / (uint64_t)(res->period > 0 ? res->period : 100000));
    if (r >= 0 && res->pids > 0 && cgroup_host_pids(res->pids) > 0)
        r = l->append(m, "(sv)", "TasksMax", "t", (uint64_t)cgroup_host_pids(res->pids));
    return r;
}

static int build_start(const struct library *l, sd_bus_message *m, const struct cgroup *cg, pid_t pid)
{
    uint32_t pids[] = {(uint32_t)pid};
    char description[300];
    int r;

    snprintf(description, sizeof(description), "runsc-c container %s", cg->unit);
    if ((r = l->append(m, "ss", cg->unit, "replace")) < 0 || (r = l->open(m, 'a', "(sv)")) < 0 ||
        (r = l->append(m, "(sv)", "Description", "s", description)) < 0 ||
        (r = l->append(m, "(sv)", "Slice", "s", cg->slice)) < 0 || (r = l->append(m, "(sv)", "Delegate", "b", 1)) < 0 ||
        (r = l->append(m, "(sv)", "DefaultDependencies", "b", 0)) < 0 ||
        (r = l->append(m, "(sv)", "CPUAccounting", "b", 1)) < 0 || (r = l->append(m, "(sv)", "MemoryAccounting", "b", 1)) < 0 ||
        (r = l->append(m, "(sv)", "TasksAccounting", "b", 1)) < 0)
        return r;
    if ((r = l->open(m, 'r', "sv")) < 0 || (r = l->append(m, "s", "PIDs")) < 0 || (r = l->open(m, 'v', "au")) < 0 ||
        (r = l->append_array(m, 'u', pids, sizeof(pids))) < 0 || (r = l->end(m)) < 0 || (r = l->end(m)) < 0)
        return r;
    if (cg->resources && (r = add_limits(l, m, cg, cg->resources)) < 0)
        return r;
    if ((r = l->end(m)) < 0)
        return r;
    return l->append(m, "a(sa(sv))", 0);
}

/* The answer says that a job was made; it is done when the process is in the scope. */
static int wait_moved(const struct cgroup *cg, pid_t pid, struct error *e)
{
    char path[40], line[1024];

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    for (int i = 0; i < 3000; i++) {
        FILE *f = fopen(path, "re");
        bool there = false;

        while (f && fgets(line, sizeof(line), f)) {
            char *at;
            line[strcspn(line, "\n")] = '\0';
            if (!strstr(line, "name=systemd:") && !(cg->v2 && strncmp(line, "0::", 3) == 0))
                continue;
            at = strstr(line, cg->unit);
            there |= at && !at[strlen(cg->unit)];
        }
        if (f)
            fclose(f);
        if (there)
            return 0;
        nanosleep(&(struct timespec){0, i < 100 ? 1000000 : 10000000}, NULL);
    }
    return error_set(e, ETIMEDOUT, "systemd: the sandbox does not get into %s", cg->unit);
}

int cgroup_systemd_start(const struct cgroup *cg, pid_t pid, struct error *e)
{
    struct library l;
    sd_bus_message *m = NULL;
    sd_bus *bus = NULL;
    int r = connect_bus(cg, &l, &bus, e);

    if (r < 0)
        return r;
    r = l.new_call(bus, &m, MANAGER, "StartTransientUnit");
    if (r >= 0)
        r = build_start(&l, m, cg, pid);
    if (r < 0) {
        l.unref(m);
        error_set(e, -r, "systemd: StartTransientUnit");
    } else {
        r = call(&l, bus, m, "StartTransientUnit", e);
    }
    l.close(bus);
    return r < 0 ? r : wait_moved(cg, pid, e);
}

int cgroup_systemd_stop(const struct cgroup *cg, struct error *e)
{
    struct error ignored;
    struct library l;
    sd_bus_message *m = NULL;
    sd_bus *bus = NULL;
    int r = connect_bus(cg, &l, &bus, e);

    if (r < 0)
        return r;
    /* An empty scope has gone by itself, which is as good; one that failed must be forgotten. */
    if (l.new_call(bus, &m, MANAGER, "StopUnit") >= 0 && l.append(m, "ss", cg->unit, "replace") >= 0)
        (void)!call(&l, bus, m, "StopUnit", &ignored);
    m = NULL;
    if (l.new_call(bus, &m, MANAGER, "ResetFailedUnit") >= 0 && l.append(m, "s", cg->unit) >= 0)
        (void)!call(&l, bus, m, "ResetFailedUnit", &ignored);
    l.close(bus);
    return 0;
}

/* "a-b.slice" is below "a.slice"; "-.slice" is the root. */
static int expand_slice(const char *slice, char *out, size_t size, struct error *e)
{
    size_t n = strlen(slice), len = 0;

    out[0] = '\0';
    if (strcmp(slice, "-.slice") == 0)
        return 0;
    if (n < 7 || strcmp(slice + n - 6, ".slice") != 0 || strchr(slice, '/') || slice[0] == '-' || slice[n - 7] == '-' ||
        strstr(slice, "--"))
        return error_set(e, 0, "linux.cgroupsPath: \"%s\" is no slice", slice);
    for (size_t i = 1; i <= n - 6; i++) {
        if (slice[i] != '-' && i != n - 6)
            continue;
        len += (size_t)snprintf(out + len, size - len, "/%.*s.slice", (int)i, slice);
        if (len >= size)
            return error_set(e, ENAMETOOLONG, "linux.cgroupsPath");
    }
    return 0;
}

int cgroup_systemd_plan(const char *path, const char *id, struct cgroup *cg, char *out, size_t size, struct error *e)
{
    char buf[512], expanded[400];
    const char *slice = buf;
    char *prefix, *name;
    int r;

    if (path && path[0])
        snprintf(buf, sizeof(buf), "%s", path);
    else
        snprintf(buf, sizeof(buf), ":runsc-c:%s", id);
    prefix = strchr(buf, ':');
    name = prefix ? strchr(prefix + 1, ':') : NULL;
    if (!name || strchr(name + 1, ':') || strchr(buf, '/'))
        return error_set(e, 0, "linux.cgroupsPath: \"%s\" is not slice:prefix:name, as --systemd-cgroup has it", buf);
    *prefix++ = '\0';
    *name++ = '\0';
    if (!slice[0])
        slice = cg->user ? "user.slice" : "system.slice";
    if ((r = expand_slice(slice, expanded, sizeof(expanded), e)) < 0)
        return r;
    cg->slice = strdup(slice);
    if (asprintf(&cg->unit, "%s%s%s%s", prefix, prefix[0] ? "-" : "", name, strstr(name, ".slice") ? "" : ".scope") < 0)
        return error_set(e, ENOMEM, "cgroup");
    if (snprintf(out, size, "%s/%s", expanded, cg->unit) >= (int)size)
        return error_set(e, ENAMETOOLONG, "linux.cgroupsPath");
    return 0;
}
