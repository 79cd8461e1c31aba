/*
 * The sentry's own sandbox: what it can still reach if a guest should take it over.
 *
 *   isolate_fork()    a process in user, pid, mount, ipc, uts and network namespaces of its own, its ids mapped as idmap.h says
 *   isolate_enter()   in it: trees of the host become mounts that lead nowhere but into themselves, the root becomes an empty,
 *                     read-only directory, and capabilities shrink to those that changing files of a container needs
 *
 * The system-call filter (sentry/host/filter.h) comes last, when the sandbox is built.
 */
#ifndef CMD_RUNSC_C_SANDBOX_ISOLATE_H
#define CMD_RUNSC_C_SANDBOX_ISOLATE_H

#include "lib/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct container_spec;

struct isolation {
    bool user_ns; /* the host lets us have one */
    int gate[2];  /* the child waits at [0] until [1] is written to, or closed in vain */
};

/*
 * As fork(2): the child's pid, or 0 in the child, where isolate_enter() waits for isolate_release(). In between, ids must be
 * mapped, and whatever else has to be done to the process or its namespaces from outside can be. -errno.
 */
pid_t must_check isolate_fork(const struct container_spec *spec, struct isolation *iso, struct error *e);
int must_check isolate_map_ids(const struct container_spec *spec, const struct isolation *iso, pid_t child, struct error *e);
int must_check isolate_release(struct isolation *iso, struct error *e);

/*
 * In the child. Replaces the descriptors of `spec` by ones of detached mounts, after which no path of the host can be opened.
 * From here on the child dies with its parent (PR_SET_PDEATHSIG), until it says otherwise.
 */
int must_check isolate_enter(struct container_spec *spec, struct isolation *iso, struct error *e);

#endif
