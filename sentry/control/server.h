/* The sentry's end of the control channel: see control.proto. Runs on the main thread's event loop. */
#ifndef SENTRY_CONTROL_SERVER_H
#define SENTRY_CONTROL_SERVER_H

#include "lib/compiler.h"
#include "sentry/boot/sandbox.h"

struct control_server;

/*
 * Serves connections to `listen_fd` (non-blocking; taken over). `io` are init's descriptors for when a start request comes;
 * NULL when init is started by the caller. Lives as long as the process.
 */
int must_check control_server_create(struct sandbox *sb, int listen_fd, const struct sandbox_stdio *io,
                                     struct control_server **out);

#endif
