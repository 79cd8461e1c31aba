/*
 * Container states on disk: ROOT/ID/ holds state.json (what `state` prints, but for the status, which is asked for) and
 * control.sock, on which the container's sentry listens; and `network`, see network/record.c. The directory's existence is what
 * reserves an id; whoever changes a container holds a flock on it.
 *
 * Whether a container runs is not on disk: a sentry that answers is alive, a refused connection means it is not.
 */
#ifndef CMD_RUNSC_C_STATE_H
#define CMD_RUNSC_C_STATE_H

#include "lib/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

struct cli;

struct state_dir {
    const char *root, *id;
    int root_fd, fd; /* O_RDONLY directory descriptors, -1 when closed */
    bool locked;     /* by us */
};

/* Letters, digits, "_+-.", not too long and not "." or "..". */
int must_check state_check_id(const char *id, struct error *e);
/* Makes ROOT/ID and locks it; an id in use is an error. */
int must_check state_create(const struct cli *cli, const char *id, struct state_dir *d, struct error *e);
/* Opens and locks an existing one: "container does not exist". */
int must_check state_open(const struct cli *cli, const char *id, struct state_dir *d, struct error *e);
/* The same without the lock, for looking only. */
int must_check state_peek(const struct cli *cli, const char *id, struct state_dir *d, struct error *e);
void state_unlock(struct state_dir *d);
/* Whether somebody else has it locked: is creating it, or about to delete it. */
bool state_busy(struct state_dir *d);
void state_close(struct state_dir *d);
/* Removes the directory with all that is in it. */
void state_remove(struct state_dir *d);

/* What state.json says. The JSON values are borrowed parts of config.json, NULL where it has none. */
struct state_info {
    const char *bundle, *rootfs;
    pid_t pid;     /* of the sandbox's process */
    bool creating; /* the sandbox is not built yet, or never was */
    struct json_object *annotations, *hooks;
    struct json_object *cgroup; /* see cgroup/cgroup.h; NULL: none is ours */
};
int must_check state_save(struct state_dir *d, const struct state_info *info, struct error *e);
/* The same as the JSON text that hooks get, with that status. The caller's to free. */
char *state_text(const char *id, const struct state_info *info, const char *status);

/*
 * state.json as it is, where "internal" is not for printing: pid_start, creating, hooks, cgroup. An id without one (a creation
 * that was killed) gives an object with the id and "creating" alone. Without the lock, one that is under way is waited for.
 */
int must_check state_load(struct state_dir *d, struct json_object **out, struct error *e);
/* A member of "internal", or NULL. */
struct json_object *state_internal(struct json_object *state, const char *key);
/* Whether the process that state.json names still is that process. Its pid, or 0. */
pid_t state_process(struct json_object *state);

/* The control socket: a listening one, or a connection to the sentry (-ECONNREFUSED, -ENOENT when there is none). */
int must_check state_listen(struct state_dir *d, struct error *e);
int must_check state_connect(struct state_dir *d);

/* Calls fn for each container; stops at its first non-zero. */
int state_for_each(const struct cli *cli, int (*fn)(const char *id, void *arg), void *arg);

#endif
