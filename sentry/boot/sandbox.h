/*
 * A sandbox: one kernel with its platform, memory, event loop and root file system, from a container_spec to a running init
 * and its exit status. Lives on the process's main thread, which runs the event loop; all functions are for that thread.
 */
#ifndef SENTRY_BOOT_SANDBOX_H
#define SENTRY_BOOT_SANDBOX_H

#include "lib/error.h"
#include "sentry/boot/spec.h"

#include <stdint.h>
#include <sys/types.h>

struct host_loop;
struct kernel;
struct net_config;
struct sandbox;
struct tty;

/*
 * How a process talks to the world: host descriptors, which the sandbox takes over (it closes them in any case). With a
 * terminal in the process spec, `fd[0]` is a terminal of the host, and the process gets one of the sandbox that is connected
 * with it.
 */
struct sandbox_stdio {
    int fd[3];
    int nr_extra; /* further ones, which become 3 and up: files, pipes, sockets and devices, but no directories */
    int extra[SPEC_EXTRA_FDS];
};
void sandbox_stdio_close(const struct sandbox_stdio *io);

/*
 * What is to be had only before the sentry is confined: raises this process's limits on descriptors and threads, and notes in
 * `spec` what the host is like.
 */
void sandbox_look_at_host(struct container_spec *spec);
/* Builds everything but the init process. `spec` is read now and at start only; it must outlive sandbox_start(). */
int must_check sandbox_create(const struct container_spec *spec, struct sandbox **out, struct error *e);
/*
 * The last of the sentry's isolation: from now on this process makes only the host system calls of sentry/host/filter_gen.c.
 * The rest (namespaces, root, capabilities) is for whoever forks the sentry.
 */
int must_check sandbox_confine(struct sandbox *sb, struct error *e);
/* Whether the init program exists and may be executed, as `create` must tell. 0 or -errno with *e. */
int must_check sandbox_check_init(struct sandbox *sb, struct error *e);
/* Whether the spec asks for what is in its network namespace, which has not been set yet, and where that is; NULL: in the
 * sentry's own. */
bool sandbox_wants_network(const struct sandbox *sb, const char **netns);
/* What the sandbox gets of it, before init starts. Takes over the memory and the descriptors; NULL: nothing. */
void sandbox_set_network(struct sandbox *sb, struct net_config *c);
/* With --network=host: the socket by which the broker is asked for sockets. Takes it over. */
void sandbox_set_broker(struct sandbox *sb, int sock);
/* Starts init. */
int must_check sandbox_start(struct sandbox *sb, const struct sandbox_stdio *io, struct error *e);
/* Serves the event loop until init has exited; its wait status. */
int sandbox_run(struct sandbox *sb);
/* Ends sandbox_run() before init was started: the container was killed while "created". */
void sandbox_stop(struct sandbox *sb, int wstatus);

/* An additional process. `exited` is called on the main thread. */
struct sandbox_process {
    void (*exited)(struct sandbox_process *p, int wstatus);
    pid_t pid;
    struct tty *console; /* of one with a terminal, until it has exited */
};
int must_check sandbox_exec(struct sandbox *sb, const struct spec_process *spec, const struct sandbox_stdio *io,
                            struct sandbox_process *p, struct error *e);

/* To one process of the container, 0 for init; `all`: to every one. -ESRCH. */
int sandbox_kill(struct sandbox *sb, pid_t pid, int signo, bool all);
void sandbox_pause(struct sandbox *sb, bool paused);

/* processes.c: the processes there are, with what ps prints. An array in one piece, the caller's to free; how many. */
struct sandbox_process_info {
    pid_t pid, ppid;
    uid_t uid;
    unsigned int threads;
    uint64_t cpu_ns, started_ns; /* started_ns is of CLOCK_REALTIME */
    char command[128];           /* its arguments, or its name in brackets */
};
size_t sandbox_list(struct sandbox *sb, struct sandbox_process_info **out);
/* New limits on tasks and bytes of memory; 0: none, -1: as it is. What is over a limit already stays. */
void sandbox_set_limits(struct sandbox *sb, int64_t pids, int64_t memory, const struct limits *shown);

/*
 * Called with init's wait status before sandbox_run() returns, to tell who waits. When it says false, sandbox_run() goes on
 * until sandbox_end().
 */
void sandbox_on_exit(struct sandbox *sb, bool (*fn)(void *arg, int wstatus), void *arg);
void sandbox_end(struct sandbox *sb);

bool sandbox_started(const struct sandbox *sb);
struct kernel *sandbox_kernel(struct sandbox *sb);
struct host_loop *sandbox_loop(struct sandbox *sb);
/* The host's terminal behind init (or an exec's `p`) has a new size. */
void sandbox_resize(struct sandbox *sb, struct sandbox_process *p);

#endif
