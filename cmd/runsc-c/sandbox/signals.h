/* Signals sent to a sandbox's host processes go to the container's init, as runc does. */
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
 * In the sentry: serves them on the sandbox's event loop. `job_control`: SIGTSTP pauses the sandbox and SIGCONT lets it go on;
 * otherwise they are forwarded like the rest.
 */
int must_check signals_forward(struct sandbox *sb, bool job_control, struct error *e);
/*
 * In the command that has started it: passes signals on to the sentry until it ends; its wait status. `job_control`: SIGTSTP
 * stops this process, too, as a shell's job wants.
 */
int signals_pass_on(pid_t sentry, bool job_control);

#endif
