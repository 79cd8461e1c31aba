/*
 * A container as the commands see it that come after its creation: what is on disk, what its sentry says, and how to end it.
 */
#ifndef CMD_RUNSC_C_CONTAINER_H
#define CMD_RUNSC_C_CONTAINER_H

#include "cmd/runsc-c/state.h"
#include "lib/error.h"

#include <stdbool.h>

struct cgroup;

struct container {
    struct state_dir d;
    struct json_object *doc; /* state.json */
    struct cgroup *cgroup;   /* NULL: none of its own */
};

/* Opens one with its lock held, or without to look at it only. */
int must_check container_open(const struct cli *cli, const char *id, struct container *c, struct error *e);
int must_check container_peek(const struct cli *cli, const char *id, struct container *c, struct error *e);
/* The same for one whose c->d is open already. */
int must_check container_load(struct container *c, struct error *e);
void container_close(struct container *c);

enum container_status { CONTAINER_CREATING, CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_PAUSED, CONTAINER_STOPPED };
const char *container_status_name(enum container_status s);
/* The sentry is asked; one that is gone, or does not answer its socket, means stopped. */
enum container_status container_status(struct container *c);

/* What hooks and `state` get: state.json without what is ours, with that status. The caller's to put. */
struct json_object *container_describe(struct container *c, enum container_status s);

/* Freezes its cgroup or, without one, has the sentry hold all tasks. */
int must_check container_pause(struct container *c, bool pause, struct error *e);

/* Kills the sentry, whatever it is doing, and waits until it is gone. */
int must_check container_end(struct container *c, struct error *e);
/* Of a stopped one: poststop hooks (whose failures are printed), then everything that is left of it goes. */
void container_destroy(struct container *c);
/* Runs hooks of one kind with the container's state. `kind` is of enum hook_kind. */
int must_check container_run_hooks(struct container *c, int kind, enum container_status s, struct error *e);

#endif
