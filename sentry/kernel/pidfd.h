/* Descriptors that name a process: pidfd_open(2), CLONE_PIDFD. */
#ifndef SENTRY_KERNEL_PIDFD_H
#define SENTRY_KERNEL_PIDFD_H

#include "lib/compiler.h"

struct file;
struct pid;

/* A file on `pid`, with one reference; `flags`: O_NONBLOCK. 0 or -ENOMEM. */
int must_check pidfd_create(struct pid *pid, int flags, struct file **out);
/* The pid behind a file, borrowed from it; NULL if it is no pidfd. */
struct pid *pidfd_pid(struct file *f);

#endif
