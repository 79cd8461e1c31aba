/*
 * The host's /proc, of which the sentry needs two things: another open file on what a descriptor of its own refers to, and how
 * long a stub thread has run. Both go through directory descriptors, because the confined sentry's root is empty. They belong
 * to the process, as its descriptor table does.
 */
#ifndef LIB_HOSTPROC_H
#define LIB_HOSTPROC_H

#include "lib/compiler.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * Gives the directories: `self_fd` is this process's /proc/self/fd, `proc` the /proc that names stub threads as this process
 * does, -1 for none. Before there are threads; whoever never calls it gets those of "/proc".
 */
void hostproc_set(int self_fd, int proc);
/* The /proc/self/fd that is in use: the one directory below which the sentry follows links. -errno. */
int must_check hostproc_self_fd(void);
/* A new open file description of what `fd` is open on. A descriptor (close-on-exec) or -errno. */
int must_check hostproc_reopen(int fd, int flags);
/* Gives the nameless file `fd` the name `name` below `dir_fd`, without the capability that AT_EMPTY_PATH wants. 0 or -errno. */
int must_check hostproc_link(int fd, int dir_fd, const char *name);
/* How long a thread has run and waited for a CPU, in nanoseconds. 0 or -errno. */
int must_check hostproc_thread_times(pid_t tid, uint64_t *ran, uint64_t *queued);

#endif
