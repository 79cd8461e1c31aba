/*
 * Mounts with a map of ids of their own (idmap, ridmap): the host's kernel translates, mount_setattr(2). This takes the host's
 * root: it is done by whoever starts the sandbox, and the sandbox gets the finished mounts.
 */
#ifndef CMD_RUNSC_C_SANDBOX_IDMOUNT_H
#define CMD_RUNSC_C_SANDBOX_IDMOUNT_H

#include "lib/error.h"

struct container_spec;

/* Replaces the sources of such mounts in `spec` by detached, translated ones. */
int must_check idmount_make(struct container_spec *spec, struct error *e);

#endif
