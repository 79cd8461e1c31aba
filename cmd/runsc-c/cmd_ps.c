/*
 * ps: the container's processes. The table shows what runs in the sandbox, by its own numbers; JSON, which is for the callers
 * of runc, has the processes of the host that make it up.
 */
#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/sandbox/client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct ps_opts {
    const char *format;
};

static void print_host_pids(struct container *c)
{
    enum { MAX = 65536 };
    static pid_t pids[MAX];
    size_t n = cgroup_procs(c->cgroup, pids, MAX);

    if (n == 0 && state_process(c->doc))
        pids[n++] = state_process(c->doc);
    printf("[");
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i ? "," : "", (int)pids[i]);
    printf("]\n");
}

static int print_table(struct container *c, struct error *e)
{
    RunscC__Reply *reply;
    int r = client_ask(&c->d, true, &reply, e);

    if (r < 0)
        return r;
    printf("%-8s %7s %7s %4s %-5s %8s %s\n", "UID", "PID", "PPID", "NLWP", "STIME", "TIME", "CMD");
    for (size_t i = 0; i < reply->n_processes; i++) {
        const RunscC__ProcessInfo *p = reply->processes[i];
        time_t started = (time_t)(p->started_ns / 1000000000);
        unsigned int s = (unsigned int)(p->cpu_ns / 1000000000);
        char when[16];
        struct tm tm;

        strftime(when, sizeof(when), "%H:%M", localtime_r(&started, &tm));
        printf("%-8u %7d %7d %4u %-5s %02u:%02u:%02u %s\n", p->uid, p->pid, p->ppid, p->threads, when, s / 3600, s / 60 % 60,
               s % 60, p->command);
    }
    runsc_c__reply__free_unpacked(reply, NULL);
    return 0;
}

static int cmd_ps(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct ps_opts *o = opts;
    bool json = o->format && strcmp(o->format, "json") == 0;
    struct container c;
    int r;

    if (o->format && !json && strcmp(o->format, "table") != 0)
        return error_set(e, 0, "--format: \"%s\" is neither table nor json", o->format);
    r = container_peek(cli, argv[0], &c, e);
    if (r < 0)
        return r;
    if (container_status(&c) == CONTAINER_STOPPED)
        r = error_set(e, 0, "container not running");
    else if (json)
        print_host_pids(&c);
    else
        r = print_table(&c, e);
    container_close(&c);
    return r;
}

static const struct opt ps_opts[] = {{"format", 'f', OPT_STRING, offsetof(struct ps_opts, format), "FORMAT",
                                      "table (default): of the sandbox; json: of the host"},
                                     OPT_END};

const struct command command_ps = {
    .name = "ps",
    .args = "ID",
    .help = "list the processes of a container",
    .opts = ps_opts,
    .opts_size = sizeof(struct ps_opts),
    .min_args = 1,
    .max_args = -1,
    .run = cmd_ps,
};
