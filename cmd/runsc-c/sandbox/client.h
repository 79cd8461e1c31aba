/* The CLI's end of the control channel: see sentry/control/control.proto. */
#ifndef CMD_RUNSC_C_SANDBOX_CLIENT_H
#define CMD_RUNSC_C_SANDBOX_CLIENT_H

#include "lib/error.h"
#include "sentry/control/message.h"

struct state_dir;

/* Sends a request and receives its reply; frees neither. The reply is the caller's to free with
 * runsc_c__reply__free_unpacked(). A reply that carries an error is freed here and becomes -errno with *e. */
int must_check client_call(int sock, RunscC__Request *q, const int *fds, int nr_fds, RunscC__Reply **out, struct error *e);
/* The next reply. */
int must_check client_receive(int sock, struct control_buf *b, RunscC__Reply **out, struct error *e);

/* What the sentry says of itself and, with `ps`, of its processes; the caller's to free. */
int must_check client_ask(struct state_dir *d, bool ps, RunscC__Reply **out, struct error *e);
/* One request and its reply, of which only the success matters. */
int must_check client_simple(struct state_dir *d, RunscC__Request *q, struct error *e);
int must_check client_kill(struct state_dir *d, int pid, int signo, bool all, struct error *e);
/* Connects: a stopped container is an error that says so. */
int must_check client_connect(struct state_dir *d, struct error *e);

#endif
