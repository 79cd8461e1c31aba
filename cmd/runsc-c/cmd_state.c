/* state, list, start, kill, delete: small commands on existing containers. */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/sandbox/client.h"
#include "cmd/runsc-c/state.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* state.json with the status filled in. The lock is held only while loading, so that a long `delete` does not block. */
static int describe(const struct cli *cli, const char *id, struct json_object **out, struct error *e)
{
    struct state_dir d;
    enum container_status s;
    int r = state_open(cli, id, &d, e);

    if (r < 0)
        return r;
    r = state_load(&d, out, e);
    if (r == 0) {
        s = client_status(&d);
        json_object_object_add(*out, "status", json_object_new_string(container_status_name(s)));
        if (s == CONTAINER_STOPPED)
            json_object_object_add(*out, "pid", json_object_new_int(0));
    }
    state_close(&d);
    return r;
}

static int cmd_state(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct json_object *o;
    int r = describe(cli, argv[0], &o, e);

    if (r < 0)
        return r;
    printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    return 0;
}

const struct command command_state = {
    .name = "state", .args = "ID", .help = "print a container's state as JSON", .min_args = 1, .max_args = 1, .run = cmd_state};

struct list_opts {
    const char *format;
    bool quiet;
    /* Filled while listing. */
    const struct cli *cli;
    struct json_object *all;
};

static int list_one(const char *id, void *arg)
{
    struct list_opts *l = arg;
    struct json_object *o;
    struct error e;

    /* A container may go away while we look. */
    if (describe(l->cli, id, &o, &e) == 0)
        json_object_array_add(l->all, o);
    return 0;
}

static const char *field(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    json_object_object_get_ex(o, key, &v);
    return v ? json_object_get_string(v) : "";
}

static int cmd_list(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct list_opts *l = opts;
    size_t n;
    int r;

    l->cli = cli;
    l->all = json_object_new_array();
    if (l->format && strcmp(l->format, "table") != 0 && strcmp(l->format, "json") != 0)
        return error_set(e, 0, "--format: \"%s\" is neither table nor json", l->format);
    r = state_for_each(cli, list_one, l);
    if (r < 0)
        return error_set(e, -r, "state directory %s", cli->root);
    if (l->format && strcmp(l->format, "json") == 0) {
        printf("%s\n", json_object_to_json_string_ext(l->all, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        return 0;
    }
    n = json_object_array_length(l->all);
    if (!l->quiet)
        printf("%-24s %-10s %-10s %-40s %s\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(l->all, i);
        if (l->quiet)
            printf("%s\n", field(o, "id"));
        else
            printf("%-24s %-10s %-10s %-40s %s\n", field(o, "id"), field(o, "pid"), field(o, "status"), field(o, "bundle"),
                   field(o, "created"));
    }
    return 0;
}

static const struct opt list_opts[] = {
    {"format", 'f', OPT_STRING, offsetof(struct list_opts, format), "FORMAT", "table (default) or json"},
    {"quiet", 'q', OPT_FLAG, offsetof(struct list_opts, quiet), NULL, "print ids only"},
    OPT_END,
};

const struct command command_list = {.name = "list",
                                     .args = "",
                                     .help = "list containers",
                                     .opts = list_opts,
                                     .opts_size = sizeof(struct list_opts),
                                     .run = cmd_list};

static int cmd_start(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Reply *reply;
    struct state_dir d;
    int sock, r = state_open(cli, argv[0], &d, e);

    if (r < 0)
        return r;
    sock = state_connect(&d);
    if (sock < 0) {
        r = error_set(e, 0, "cannot start a container that has stopped");
        goto out;
    }
    q.what_case = RUNSC_C__REQUEST__WHAT_START;
    q.start = true;
    r = client_call(sock, &q, NULL, 0, &reply, e);
    if (r == 0)
        runsc_c__reply__free_unpacked(reply, NULL);
    close(sock);
out:
    state_close(&d);
    return r;
}

const struct command command_start = {.name = "start",
                                      .args = "ID",
                                      .help = "start the process of a created container",
                                      .min_args = 1,
                                      .max_args = 1,
                                      .run = cmd_start};

static int parse_signal(const char *s, struct error *e)
{
    char *end;
    long n = strtol(s, &end, 10);
    const char *name = strncasecmp(s, "SIG", 3) == 0 ? s + 3 : s;

    if (end != s && *end == '\0')
        return n >= 1 && n <= 64 ? (int)n : error_set(e, 0, "invalid signal %s", s);
    for (int i = 1; i < NSIG; i++)
        if (sigabbrev_np(i) && strcasecmp(sigabbrev_np(i), name) == 0)
            return i;
    if (strncasecmp(name, "RTMIN", 5) == 0) {
        n = strtol(name + 5, &end, 10);
        if (*end == '\0' && n >= 0 && n <= 30)
            return 34 + (int)n;
    }
    return error_set(e, 0, "unknown signal %s", s);
}

struct kill_opts {
    bool all;
};

static int cmd_kill(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct kill_opts *o = opts;
    struct state_dir d;
    int signo = argc > 1 ? parse_signal(argv[1], e) : SIGTERM, r;

    if (signo < 0)
        return signo;
    r = state_open(cli, argv[0], &d, e);
    if (r < 0)
        return r;
    r = client_kill(&d, 0, signo, o->all, e);
    state_close(&d);
    /* Callers of runc match this text. */
    if (r < 0 && strstr(e->text, "is not running"))
        error_set(e, 0, "container not running");
    return r;
}

static const struct opt kill_opts[] = {
    {"all", 'a', OPT_FLAG, offsetof(struct kill_opts, all), NULL, "signal every process of the container"}, OPT_END};

const struct command command_kill = {
    .name = "kill",
    .args = "ID [SIGNAL]",
    .help = "send a signal (default TERM) to a container's init",
    .opts = kill_opts,
    .opts_size = sizeof(struct kill_opts),
    .min_args = 1,
    .max_args = 2,
    .run = cmd_kill,
};

struct delete_opts {
    bool force;
};

/* Waits for the sentry to be gone, 10 s. */
static int wait_stopped(struct state_dir *d)
{
    for (int i = 0; i < 1000; i++) {
        int sock = state_connect(d);
        if (sock < 0)
            return 0;
        close(sock);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return -ETIMEDOUT;
}

static int delete_stopped(struct state_dir *d, bool force, struct error *e)
{
    enum container_status s = client_status(d);
    struct json_object *o = NULL, *pid = NULL;
    struct error ignored;
    int r;

    if (s == CONTAINER_STOPPED)
        return 0;
    if (s == CONTAINER_RUNNING && !force)
        return error_set(e, 0, "cannot delete container %s that is not stopped: running", d->id);
    r = client_kill(d, 0, SIGKILL, true, &ignored);
    if (r == 0 && wait_stopped(d) == 0)
        return 0;
    /* A sentry that does not listen any more: its process, if it still is the one that holds the socket. */
    if (client_status(d) == CONTAINER_STOPPED)
        return 0;
    if (state_load(d, &o, e) == 0 && json_object_object_get_ex(o, "pid", &pid) && json_object_get_int(pid) > 1)
        kill(json_object_get_int(pid), SIGKILL);
    return wait_stopped(d) == 0 ? 0 : error_set(e, ETIMEDOUT, "container %s does not stop", d->id);
}

static int cmd_delete(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct delete_opts *o = opts;
    struct state_dir d;
    int r = state_open(cli, argv[0], &d, e);

    if (r == -ENOENT && o->force)
        return 0;
    if (r < 0)
        return r;
    r = delete_stopped(&d, o->force, e);
    if (r == 0)
        state_remove(&d);
    state_close(&d);
    return r;
}

static const struct opt delete_opts[] = {
    {"force", 'f', OPT_FLAG, offsetof(struct delete_opts, force), NULL, "kill the container first if it runs"}, OPT_END};

const struct command command_delete = {
    .name = "delete",
    .args = "ID",
    .help = "remove what is left of a container",
    .opts = delete_opts,
    .opts_size = sizeof(struct delete_opts),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_delete,
};
