/*
 * Starting a sandbox from the CLI.
 *
 * In the foreground (`run`, `do`) this very process becomes the sentry: no fork, no exec, so that a container starts as fast as
 * its parts do. Detached (`create`, `run -d`) a child does, in a session of its own; the parent waits until the child has the
 * container built and has reported so over a pipe.
 */
#ifndef CMD_RUNSC_C_SANDBOX_LAUNCH_H
#define CMD_RUNSC_C_SANDBOX_LAUNCH_H

#include "cmd/runsc-c/cli.h"
#include "sentry/boot/spec.h"

struct state_dir;

struct launch {
    const struct cli *cli;
    struct container_spec *spec;
    struct state_dir *state;     /* NULL for `do`: no state on disk, no control socket */
    const char *bundle, *rootfs; /* for state.json */
    const char *pid_file;        /* NULL: none */
    const char *console_socket;  /* detached with a terminal: where the terminal's master goes */
    bool start;                  /* detached: start init at once */
};

/* Runs to the end; the exit status as a shell gives it, or -errno with *e. */
int launch_foreground(const struct launch *l, struct error *e);
/* Returns once the container is created (and started if asked). 0 or -errno with *e, with nothing left running. */
int launch_detached(const struct launch *l, struct error *e);

int exit_status_of(int wstatus); /* 128 + signal for a killed one */
/* Writes `pid` to a file by way of a temporary one, so that a reader sees it whole. */
int must_check write_pid_file(const char *path, pid_t pid, struct error *e);
/* A new host terminal: sends its master to the socket at `path` as runc does; the slave. */
int must_check console_from_socket(const char *path, struct error *e);

#endif
