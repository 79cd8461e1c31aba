/* A cgroup's figures in the form of `runc events --stats`, which containerd and podman read. */
#ifndef CMD_RUNSC_C_CGROUP_STATS_H
#define CMD_RUNSC_C_CGROUP_STATS_H

#include "cmd/runsc-c/cgroup/cgroup.h"

struct json_object;

/* `cg` may be NULL: then all is zero. The caller's to put. */
struct json_object *cgroup_stats(const struct cgroup *cg);
/* How many processes the host has killed in it because its memory was full. */
uint64_t cgroup_oom_kills(const struct cgroup *cg);

#endif
