/*
 * Starting a sandbox from the CLI.
 *
 * The sentry is always a process of its own, in namespaces of its own (isolate.h), which the command forks:
 *
 *     command                                 sentry
 *     state.json: creating                    namespaces, and waits
 *     maps ids; cgroup; prestart,
 *     createRuntime, createContainer hooks    waits
 *     lets it go                         -->  enters its empty root, builds the sandbox
 *     state.json: created                <--  reports
 *     lets it go on, if it is to run     -->  starts init
 *     poststart hooks                    <--  reports
 *
 * In the foreground (`run`, `do`) the command then passes signals on to it and ends with it. Detached (`create`, `run -d`) it
 * ends now. Whoever of the two dies before the report takes the other along; in the foreground also after it.
 */
#ifndef CMD_RUNSC_C_SANDBOX_LAUNCH_H
#define CMD_RUNSC_C_SANDBOX_LAUNCH_H

#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/sandbox/donated.h"
#include "cmd/runsc-c/state.h"
#include "sentry/boot/spec.h"

struct cgroup;
struct hooks;

struct launch {
    const struct cli *cli;
    struct container_spec *spec;
    struct state_dir *state;    /* NULL for `do`: no state on disk, no control socket */
    struct state_info info;     /* for state.json; the launcher fills in `pid` and `creating` */
    const struct hooks *hooks;  /* NULL for `do` */
    struct cgroup *cgroup;      /* which the sentry joins; NULL: none */
    const char *pid_file;       /* NULL: none */
    const char *console_socket; /* detached with a terminal: where the terminal's master goes */
    struct donated donated;
    bool start; /* detached: start init at once */
};

/* Runs to the end; the exit status as a shell gives it, or -errno with *e. poststop hooks are the caller's. */
int launch_foreground(const struct launch *l, struct error *e);
/* Returns once the container is created (and started if asked). 0 or -errno with *e, with nothing left running. */
int launch_detached(const struct launch *l, struct error *e);

int exit_status_of(int wstatus); /* 128 + signal for a killed one */
/* Writes `pid` to a file by way of a temporary one, so that a reader sees it whole. */
int must_check write_pid_file(const char *path, pid_t pid, struct error *e);
/* A new host terminal: sends its master to the socket at `path` as runc does; the slave. */
int must_check console_from_socket(const char *path, struct error *e);

#endif
