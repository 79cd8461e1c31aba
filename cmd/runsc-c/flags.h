/* Global flags from elsewhere than the command line. */
#ifndef CMD_RUNSC_C_FLAGS_H
#define CMD_RUNSC_C_FLAGS_H

#include "cmd/runsc-c/cli.h"

struct json_object;

/* Sets flags from a file: a JSON object of their names, without the dashes. */
int must_check flags_from_file(struct cli *cli, const char *path, struct error *e);
/*
 * Sets flags for one container by its annotations "dev.runsc-c.FLAG". Whoever writes a container's config need not be the one
 * who installed the runtime: flags that only choose how the container itself works are theirs to set, others only with
 * --allow-flag-override.
 */
int must_check flags_from_annotations(struct cli *cli, struct json_object *annotations, struct error *e);
/* Defaults for what was set nowhere, and whether all values make sense. */
int must_check flags_check(struct cli *cli, struct error *e);

/* Whether what is root's on the host is not ours: another user, or a user namespace that does not have all ids. */
bool flags_rootless(void);

#endif
