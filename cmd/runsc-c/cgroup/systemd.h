/* Cgroups by systemd: see systemd.c. */
#ifndef CMD_RUNSC_C_CGROUP_SYSTEMD_H
#define CMD_RUNSC_C_CGROUP_SYSTEMD_H

#include "cmd/runsc-c/cgroup/cgroup.h"

/* Takes "slice:prefix:name" (NULL: of `id`) apart into cg->slice and cg->unit; the scope's path below systemd's root to `out`.
 */
int must_check cgroup_systemd_plan(const char *path, const char *id, struct cgroup *cg, char *out, size_t size,
                                   struct error *e);
/* Makes the scope with `pid` in it. */
int must_check cgroup_systemd_start(const struct cgroup *cg, pid_t pid, struct error *e);
int must_check cgroup_systemd_stop(const struct cgroup *cg, struct error *e);

#endif
