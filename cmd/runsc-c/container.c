#include "cmd/runsc-c/container.h"

#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/hooks.h"
#include "cmd/runsc-c/network/network.h"
#include "cmd/runsc-c/sandbox/client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int container_load(struct container *c, struct error *e)
{
    int r = state_load(&c->d, &c->doc, e);

    c->cgroup = r < 0 ? NULL : cgroup_from_json(state_internal(c->doc, "cgroup"));
    return r;
}

static int load(int r, struct container *c, struct error *e)
{
    if (r < 0)
        return r;
    r = container_load(c, e);
    if (r < 0)
        state_close(&c->d);
    return r;
}

int container_open(const struct cli *cli, const char *id, struct container *c, struct error *e)
{
    return load(state_open(cli, id, &c->d, e), c, e);
}

int container_peek(const struct cli *cli, const char *id, struct container *c, struct error *e)
{
    return load(state_peek(cli, id, &c->d, e), c, e);
}

void container_close(struct container *c)
{
    cgroup_free(c->cgroup);
    json_object_put(c->doc);
    state_close(&c->d);
}

const char *container_status_name(enum container_status s)
{
    static const char *const names[] = {"creating", "created", "running", "paused", "stopped"};
    return names[s];
}

static enum container_status status_from_sentry(struct container *c)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    enum container_status s = CONTAINER_STOPPED;
    RunscC__Reply *reply = NULL;
    struct error e;
    int sock = state_connect(&c->d);

    if (sock < 0)
        return CONTAINER_STOPPED;
    q.what_case = RUNSC_C__REQUEST__WHAT_STATE;
    q.state = true;
    if (client_call(sock, &q, NULL, 0, &reply, &e) == 0) {
        if (reply->state)
            s = !reply->state->started ? CONTAINER_CREATED : reply->state->paused ? CONTAINER_PAUSED : CONTAINER_RUNNING;
        runsc_c__reply__free_unpacked(reply, NULL);
    } else if (state_process(c->doc)) {
        s = CONTAINER_RUNNING; /* too busy to answer in time */
    }
    close(sock);
    return s;
}

enum container_status container_status(struct container *c)
{
    if (json_object_get_boolean(state_internal(c->doc, "creating")))
        return state_process(c->doc) || state_busy(&c->d) ? CONTAINER_CREATING : CONTAINER_STOPPED;
    /* A frozen sentry does not answer. */
    if (cgroup_frozen(c->cgroup) && state_process(c->doc))
        return CONTAINER_PAUSED;
    return status_from_sentry(c);
}

int container_pause(struct container *c, bool pause, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;

    if (cgroup_can_freeze(c->cgroup))
        return cgroup_freeze(c->cgroup, pause, e);
    q.what_case = RUNSC_C__REQUEST__WHAT_PAUSE;
    q.pause = pause;
    return client_simple(&c->d, &q, e);
}

struct json_object *container_describe(struct container *c, enum container_status s)
{
    struct json_object *o = NULL;

    json_object_deep_copy(c->doc, &o, NULL);
    json_object_object_del(o, "internal");
    json_object_object_add(o, "status", json_object_new_string(container_status_name(s)));
    if (s == CONTAINER_STOPPED)
        json_object_object_add(o, "pid", json_object_new_int(0));
    return o;
}

int container_run_hooks(struct container *c, int kind, enum container_status s, struct error *e)
{
    struct json_object *doc = state_internal(c->doc, "hooks"), *state;
    struct hooks hooks;
    int r;

    if (!doc || (r = hooks_parse(doc, &hooks, e)) < 0)
        return doc ? r : 0;
    if (hooks.of[kind].n == 0)
        return 0;
    state = container_describe(c, s);
    r = hooks_run(&hooks, (enum hook_kind)kind, json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN), e);
    json_object_put(state);
    return r;
}

/* Waits up to 10 s for the process to end. Not being its parent, a zombie is as good as gone. */
static int wait_gone(struct container *c, pid_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    if (pidfd >= 0) {
        poll(&p, 1, 10000);
        close(pidfd);
    }
    for (int i = 0; i < 1000 && state_process(c->doc); i++)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    return state_process(c->doc) ? -ETIMEDOUT : 0;
}

/* A creation that was killed before it wrote the state down: its child is dying too, and lets go of the socket. */
static int wait_unconnectable(struct container *c)
{
    for (int i = 0; i < 1000; i++) {
        int sock = state_connect(&c->d);
        if (sock < 0)
            return 0;
        close(sock);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return -ETIMEDOUT;
}

int container_end(struct container *c, struct error *e)
{
    pid_t pid = state_process(c->doc);
    int r;

    if (pid)
        kill(pid, SIGKILL);
    /* Version 1 lets the frozen live. */
    if (cgroup_frozen(c->cgroup) && cgroup_freeze(c->cgroup, false, e) < 0)
        return -EBUSY;
    r = pid ? wait_gone(c, pid) : wait_unconnectable(c);
    return r < 0 ? error_set(e, ETIMEDOUT, "container %s does not stop", c->d.id) : 0;
}

void container_destroy(struct container *c)
{
    struct error e;

    network_give_back(c->d.fd);
    if (container_run_hooks(c, HOOK_POSTSTOP, CONTAINER_STOPPED, &e) < 0)
        fprintf(stderr, "runsc-c: warning: %s\n", e.text);
    if (c->cgroup && cgroup_destroy(c->cgroup, &e) < 0)
        fprintf(stderr, "runsc-c: warning: %s\n", e.text);
    state_remove(&c->d);
}
