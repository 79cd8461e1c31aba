/*
 * The sentry's own seccomp filter: from where it is installed on, the process and all its threads make no host system call but
 * those that a sentry has a reason for. The list is in filter_gen.c.
 *
 * A call that is not on it is logged with its arguments, to the debug log and to stderr, and ends the process with status
 * 128 + SIGSYS: either the list has a gap or something has taken over the sentry.
 */
#ifndef SENTRY_HOST_FILTER_H
#define SENTRY_HOST_FILTER_H

#include "lib/compiler.h"

#include <stdbool.h>

/* Stands in the programs for the descriptor of /proc/self/fd (lib/hostproc.h). */
#define FILTER_SELF_FD 0x51f7fd01

/*
 * How many descriptors the sentry may connect(2), whatever they are: those of the array below. With --network=host it may
 * connect all. They stand in the programs as this number and the following ones.
 */
#define FILTER_CONNECTABLE    4
#define FILTER_CONNECTABLE_FD 0x51f7fd10

/* `platform` as platform_name() gives it, or "broker" for the process that makes sockets. `connectable` may be NULL. 0 or
 * -errno. */
int must_check host_filter_install(const char *platform, bool host_network, const int connectable[FILTER_CONNECTABLE]);

#endif
