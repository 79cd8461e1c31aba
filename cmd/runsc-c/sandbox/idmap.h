/*
 * The ids of the sentry's user namespace.
 *
 * A bundle may say how they map (linux.uidMappings). Otherwise root's sandboxes see all ids as they are, and an ordinary user's
 * have one id each: that of the container's process, which is the user.
 */
#ifndef CMD_RUNSC_C_SANDBOX_IDMAP_H
#define CMD_RUNSC_C_SANDBOX_IDMAP_H

#include "lib/error.h"

#include <sys/types.h>

struct container_spec;

/* Writes the maps of the new user namespace of `child`, by newuidmap(1) and newgidmap(1) where we may not ourselves. */
int must_check idmap_write(const struct container_spec *spec, pid_t child, struct error *e);

#endif
