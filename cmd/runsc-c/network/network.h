/*
 * The container's network namespace on the host, and how its interfaces become the sandbox's.
 *
 * A container gets the namespace that its spec names; a new one is the sentry's own (sandbox/isolate.h), where Docker and CNI
 * plug-ins find it by the sentry's process. Without a network namespace in the spec, or with --network=none, the sandbox has a
 * loopback alone. Interfaces are taken over when the container is started, not when it is created, because they are configured
 * in between. Taking over means: a packet socket for each interface that is up goes to the sentry, with a copy of addresses,
 * routes and neighbours, and the addresses are removed from the host's interface, so that the host's kernel does not answer for
 * them. A namespace that is the sentry's own goes with it. To one that has a path, and may be used again, what was removed is
 * given back when the container is deleted; what it was is in the container's state directory.
 */
#ifndef CMD_RUNSC_C_NETWORK_NETWORK_H
#define CMD_RUNSC_C_NETWORK_NETWORK_H

#include "lib/error.h"
#include "sentry/boot/net_config.h"

#include <sys/types.h>

struct container_spec;

/*
 * Refuses to take over interfaces of the namespace that the host itself is in, which would have no network any more: engines
 * give it by its path (Docker's --network=host).
 */
int must_check network_check(const struct container_spec *s, struct error *e);
/*
 * Takes over what is in the namespace at `path`, or if that is NULL or empty, in that of the process `pid`. `out` is NULL if
 * there is nothing. The descriptors in it are the caller's. `state_fd` is the container's state directory, -1 without one.
 */
int must_check network_take(const char *path, pid_t pid, int state_fd, struct net_config **out, struct error *e);
/* For a container whose sentry is gone. Warns of what fails. */
void network_give_back(int state_fd);
void network_free(struct net_config *c); /* closes descriptors; NULL is fine */

/* From the command that starts a sentry to its child, over a socket pair: what network_take() gives. */
int must_check network_send(int sock, const char *path, pid_t pid, int state_fd, struct error *e);
int must_check network_receive(int sock, struct net_config **out, struct error *e);

/*
 * --network=host: starts the broker (sentry/boot/net_broker.h), which serves on `sock`, in the network namespace of the spec or
 * of the process `sentry`, and without any in the spec in ours. *pid is its process, which is no child of ours and ends by
 * itself when the sentry's end of the pair is closed.
 */
int must_check network_broker_start(int sock, const struct container_spec *s, pid_t sentry, pid_t *pid, struct error *e);

#endif
