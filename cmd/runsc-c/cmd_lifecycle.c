/* start, kill, pause, resume and delete: small commands on existing containers. */
#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/hooks.h"
#include "cmd/runsc-c/network/network.h"
#include "cmd/runsc-c/sandbox/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* runc ends a container whose poststart hooks fail, and so do we. */
static int run_poststart(struct container *c, struct error *e)
{
    struct error ignored;
    int r = container_run_hooks(c, HOOK_POSTSTART, CONTAINER_RUNNING, e);

    if (r < 0 && container_end(c, &ignored) < 0)
        fprintf(stderr, "runsc-c: warning: %s\n", ignored.text);
    return r;
}

/* Starts init, with what Docker or a CNI plug-in has put into the network namespace since the container was created. */
static int start_container(struct container *c, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Reply *reply = NULL;
    struct net_config *nc = NULL;
    int *at[NET_CONFIG_FDS], fds[NET_CONFIG_FDS], nr_fds = 0, sock = client_connect(&c->d, e), r;

    if (sock < 0)
        return sock;
    q.what_case = RUNSC_C__REQUEST__WHAT_STATE;
    q.state = true;
    r = client_call(sock, &q, NULL, 0, &reply, e);
    if (r == 0 && reply->state && reply->state->wants_network)
        r = network_take(reply->state->netns, state_process(c->doc), c->d.fd, &nc, e);
    if (reply)
        runsc_c__reply__free_unpacked(reply, NULL);
    if (r == 0) {
        q.what_case = RUNSC_C__REQUEST__WHAT_START;
        q.start = true;
        if (nc) {
            nr_fds = net_config_fds(nc, at);
            for (int i = 0; i < nr_fds; i++)
                fds[i] = *at[i];
            q.network.data = (uint8_t *)nc;
            q.network.len = sizeof(*nc);
        }
        r = client_call(sock, &q, fds, nr_fds, &reply, e);
        if (r == 0)
            runsc_c__reply__free_unpacked(reply, NULL);
    }
    network_free(nc);
    close(sock);
    return r;
}

static int cmd_start(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct container c;
    int r = container_open(cli, argv[0], &c, e);

    if (r < 0)
        return r;
    switch (container_status(&c)) {
    case CONTAINER_CREATED:
        r = start_container(&c, e);
        if (r == 0)
            r = run_poststart(&c, e);
        break;
    case CONTAINER_STOPPED:
        r = error_set(e, 0, "cannot start a container that has stopped");
        break;
    default:
        r = error_set(e, 0, "cannot start an already running container");
    }
    container_close(&c);
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
        return n >= 0 && n <= 64 ? (int)n : error_set(e, 0, "invalid signal %s", s);
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

/* A sentry that does not answer can still be killed. */
static int kill_container(struct container *c, int signo, bool all, struct error *e)
{
    enum container_status s = container_status(c);
    int r;

    if (s == CONTAINER_STOPPED)
        return error_set(e, 0, "container not running"); /* callers of runc match this text */
    if (signo == 0)
        return 0;
    if (s == CONTAINER_PAUSED && cgroup_frozen(c->cgroup)) {
        /* The frozen sentry gets it when it goes on; the last one does not wait for that. */
        if (signo == SIGKILL)
            return container_end(c, e);
        return kill(state_process(c->doc), signo) < 0 ? error_set(e, errno, "kill") : 0;
    }
    r = client_kill(&c->d, 0, signo, all, e);
    if (r < 0 && signo == SIGKILL && state_process(c->doc))
        r = kill(state_process(c->doc), SIGKILL) == 0 ? 0 : r;
    return r;
}

static int cmd_kill(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct kill_opts *o = opts;
    struct container c;
    int signo = argc > 1 ? parse_signal(argv[1], e) : SIGTERM, r;

    if (signo < 0)
        return signo;
    r = container_open(cli, argv[0], &c, e);
    if (r < 0)
        return r;
    r = kill_container(&c, signo, o->all, e);
    container_close(&c);
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

static int cmd_delete(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct delete_opts *o = opts;
    enum container_status s;
    struct container c;
    int r = container_open(cli, argv[0], &c, e);

    if (r == -ENOENT && o->force)
        return 0;
    if (r < 0)
        return r;
    s = container_status(&c);
    if (!o->force && (s == CONTAINER_RUNNING || s == CONTAINER_PAUSED))
        r = error_set(e, 0, "cannot delete container %s that is not stopped: %s", c.d.id, container_status_name(s));
    else
        r = container_end(&c, e);
    if (r == 0)
        container_destroy(&c);
    container_close(&c);
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

static int set_paused(const struct cli *cli, const char *id, bool pause, struct error *e)
{
    enum container_status s;
    struct container c;
    int r = container_open(cli, id, &c, e);

    if (r < 0)
        return r;
    s = container_status(&c);
    if (pause && s != CONTAINER_RUNNING && s != CONTAINER_CREATED)
        r = error_set(e, 0, "container not running");
    else if (!pause && s != CONTAINER_PAUSED)
        r = error_set(e, 0, "container not paused");
    else
        r = container_pause(&c, pause, e);
    container_close(&c);
    return r;
}

static int cmd_pause(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    return set_paused(cli, argv[0], true, e);
}

static int cmd_resume(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    return set_paused(cli, argv[0], false, e);
}

const struct command command_pause = {
    .name = "pause", .args = "ID", .help = "stop all processes of a container", .min_args = 1, .max_args = 1, .run = cmd_pause};
const struct command command_resume = {
    .name = "resume", .args = "ID", .help = "let a paused container go on", .min_args = 1, .max_args = 1, .run = cmd_resume};
