/*
 * Container states on disk: ROOT/ID/ holds state.json (what `state` prints, but for the status, which is asked for) and
 * control.sock, on which the container's sentry listens. The directory's existence is what reserves an id; whoever changes a
 * container holds a flock on it.
 *
 * Whether a container runs is not on disk: a sentry that answers is alive, a refused connection means it is not.
 */
#ifndef CMD_RUNSC_C_STATE_H
#define CMD_RUNSC_C_STATE_H

#include "lib/error.h"

#include <json-c/json.h>
#include <sys/types.h>

struct cli;

struct state_dir {
    const char *root, *id;
    int root_fd, fd; /* O_RDONLY directory descriptors, -1 when closed */
};

/* Letters, digits, "_+-.", not too long and not "." or "..". */
int must_check state_check_id(const char *id, struct error *e);
/* Makes ROOT/ID and locks it; an id in use is an error. */
int must_check state_create(const struct cli *cli, const char *id, struct state_dir *d, struct error *e);
/* Opens and locks an existing one: "container does not exist". */
int must_check state_open(const struct cli *cli, const char *id, struct state_dir *d, struct error *e);
void state_unlock(struct state_dir *d);
void state_close(struct state_dir *d);
/* Removes the directory with all that is in it. */
void state_remove(struct state_dir *d);

int must_check state_save(struct state_dir *d, const char *bundle, const char *rootfs, pid_t pid, struct error *e);
int must_check state_load(struct state_dir *d, struct json_object **out, struct error *e);

/* The control socket: a listening one, or a connection to the sentry (-ECONNREFUSED, -ENOENT when there is none). */
int must_check state_listen(struct state_dir *d, struct error *e);
int must_check state_connect(struct state_dir *d);

/* Calls fn for each container; stops at its first non-zero. */
int state_for_each(const struct cli *cli, int (*fn)(const char *id, void *arg), void *arg);

#endif
