/* signalfd(2): pending signals as something to read. */
#ifndef SENTRY_KERNEL_SIGNALFD_H
#define SENTRY_KERNEL_SIGNALFD_H

#include "sentry/kernel/signal.h"

struct file;
struct task;

int must_check signalfd_create(struct task *t, ksigset mask, int flags, struct file **out);
/* Replaces the mask: 0, or -EINVAL if `f` is something else. */
int signalfd_update(struct file *f, ksigset mask);

#endif
