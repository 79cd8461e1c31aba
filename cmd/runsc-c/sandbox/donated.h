/*
 * Descriptors that whoever calls us has opened for the container's process: from 3 on, first those of socket activation
 * (sd_listen_fds(3)), then as many as --preserve-fds says. They have the same numbers in the container.
 */
#ifndef CMD_RUNSC_C_SANDBOX_DONATED_H
#define CMD_RUNSC_C_SANDBOX_DONATED_H

#include "lib/error.h"

#include <stdbool.h>

struct sandbox_stdio;
struct spec_process;

struct donated {
    int nr;        /* all of them */
    int nr_listen; /* of which socket activation's */
    bool sockets;  /* some are sockets */
};

/*
 * To be called before the command opens anything of its own: they must be open. All above them are closed, since a sandbox
 * must not hold what we happened to inherit. `listen`: also those that systemd gave us.
 */
int must_check donated_find(int preserve, bool listen, struct donated *d, struct error *e);
/* Enters them as further descriptors of a process. */
void donated_add(const struct donated *d, struct sandbox_stdio *io);
/* $LISTEN_FDS and $LISTEN_PID for init, where there is a use for them. */
int must_check donated_tell(const struct donated *d, struct spec_process *p, struct error *e);

#endif
