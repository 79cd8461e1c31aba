/* Signals sent to a sandbox's host process go to the container's init, as runc does. */
#ifndef CMD_RUNSC_C_SANDBOX_SIGNALS_H
#define CMD_RUNSC_C_SANDBOX_SIGNALS_H

#include "lib/error.h"

#include <signal.h>
#include <stdbool.h>

struct sandbox;

/* The signals that are forwarded or acted on. */
void signals_set(sigset_t *set);
/* Blocks them, before any thread starts, for signals_forward() to take from a signalfd. */
void signals_block(void);
/*
 * Serves them on the sandbox's event loop. `job_control`: SIGTSTP stops the sandbox and this process, as a shell's job wants;
 * otherwise it is forwarded like the rest.
 */
int must_check signals_forward(struct sandbox *sb, bool job_control, struct error *e);

#endif
