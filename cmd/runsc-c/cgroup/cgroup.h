/*
 * The host's cgroups that a container's sandbox runs in, so that limits and figures cover all of it: the sentry, its stubs and
 * with them all guest work. Version 1 (one hierarchy a controller), version 2, and both together are found by looking at what
 * is mounted.
 *
 * A container gets a cgroup when its config names one (cgroupsPath) or limits something. What was made is written to
 * state.json, and `delete` removes it.
 */
#ifndef CMD_RUNSC_C_CGROUP_CGROUP_H
#define CMD_RUNSC_C_CGROUP_CGROUP_H

#include "cmd/runsc-c/cgroup/resources.h"
#include "lib/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CGROUP_MAX_DIRS = 24 };

/* One directory: of a version 1 hierarchy, or of version 2 (an empty controller). */
struct cgroup_dir {
    char controller[32]; /* "memory", "name=systemd"; "" for version 2 */
    char *path;          /* absolute */
};

struct cgroup {
    bool v2; /* controllers are those of version 2; otherwise its directory is only joined */
    struct cgroup_dir dirs[CGROUP_MAX_DIRS];
    size_t nr;
    char *unit;                        /* systemd's scope; NULL: cgroups are made by hand */
    char *slice;                       /* that it is in */
    bool user;                         /* of the user's systemd */
    const struct resources *resources; /* with systemd: applied by cgroup_join(), since there is no cgroup before */
};

/*
 * Decides where a container's cgroups are, and touches nothing: `path` is linux.cgroupsPath or NULL. With `systemd`, path is
 * "slice:prefix:name". *out is NULL when the host has no cgroups mounted.
 */
int must_check cgroup_plan(const char *path, const char *id, bool systemd, struct cgroup **out, struct error *e);
/* Makes the directories; not with systemd, whose scope begins with its first process. */
int must_check cgroup_create(struct cgroup *cg, struct error *e);
/* Applies limits; those that are unset are left as they are. */
int must_check cgroup_apply(struct cgroup *cg, const struct resources *r, struct error *e);
/* Moves the container's first process into it, 0 for the calling one; and another one. */
int must_check cgroup_join(struct cgroup *cg, pid_t pid, struct error *e);
int must_check cgroup_add(struct cgroup *cg, pid_t pid, struct error *e);
/* Removes the directories with all below them, waiting a little for dying processes. */
int must_check cgroup_destroy(struct cgroup *cg, struct error *e);

bool cgroup_can_freeze(const struct cgroup *cg);
int must_check cgroup_freeze(struct cgroup *cg, bool freeze, struct error *e);
bool cgroup_frozen(const struct cgroup *cg);
/* The processes in it, into `pids`; how many there are. */
size_t cgroup_procs(const struct cgroup *cg, pid_t *pids, size_t max);

struct json_object *cgroup_to_json(const struct cgroup *cg);
struct cgroup *cgroup_from_json(struct json_object *o); /* NULL for NULL and for nonsense */
void cgroup_free(struct cgroup *cg);

/* The directory of a controller, or NULL. On version 2 all are the same. */
const char *cgroup_path(const struct cgroup *cg, const char *controller);
/* Reads a file of it: a text, cut to `size`; or a number (UINT64_MAX for "max"), 0 if there is none. False: no such file. */
bool cgroup_read(const struct cgroup *cg, const char *controller, const char *file, char *buf, size_t size);
uint64_t cgroup_read_number(const struct cgroup *cg, const char *controller, const char *file);
/* The value after `key` in a file of lines "key value". */
uint64_t cgroup_read_key(const struct cgroup *cg, const char *controller, const char *file, const char *key);

/* cpu.shares of version 1 as cpu.weight of version 2. */
int64_t cgroup_cpu_weight(int64_t shares);

/* Internal: the two versions' limits (v1.c, v2.c), a write with a good error, systemd.c. */
int must_check cgroup_write(const struct cgroup *cg, const char *controller, const char *file, const char *text,
                            struct error *e);
int must_check cgroup_write_number(const struct cgroup *cg, const char *controller, const char *file, int64_t n,
                                   struct error *e);
int must_check cgroup_apply_v1(struct cgroup *cg, const struct resources *r, struct error *e);
int must_check cgroup_apply_v2(struct cgroup *cg, const struct resources *r, struct error *e);
/*
 * The host's limit on tasks for a guest's limit of `pids`: a guest's task takes a thread of the sentry, one of its stub and a
 * share of another. The guest's own limit is kept by the sentry; this one is only to hold what goes wrong.
 */
int64_t cgroup_host_pids(int64_t pids);

#endif
