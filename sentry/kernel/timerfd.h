/* timerfd: a timer that is read from a descriptor. For the system calls. */
#ifndef SENTRY_KERNEL_TIMERFD_H
#define SENTRY_KERNEL_TIMERFD_H

#include "lib/compiler.h"
#include "sentry/kernel/posix_timer.h"

struct file;

/* `flags`: O_NONBLOCK. */
int must_check timerfd_create_file(struct kernel *k, clockid_t clock, int flags, struct file **out);
/* -EINVAL if `f` is no timerfd. `flags`: TFD_TIMER_*, checked. */
int must_check timerfd_set(struct file *f, int flags, const struct timer_spec *new_spec, struct timer_spec *old);
int must_check timerfd_get(struct file *f, struct timer_spec *cur);

#endif
