/* O_ASYNC: signals when a file becomes ready (fcntl(2), "Managing signals"). */
#ifndef SENTRY_SYSCALLS_FASYNC_H
#define SENTRY_SYSCALLS_FASYNC_H

#include "lib/compiler.h"

#include <stdbool.h>

struct file;
struct task;

/* Follows a change of O_ASYNC; `fd` is what siginfo will name. Files that are always ready take no notice. 0 or -ENOMEM. */
int must_check fasync_set(struct task *t, struct file *f, int fd, bool on);
/* Lets files that are closed go. Once, at boot. */
void fasync_boot(void);

#endif
