/*
 * Waiting for any of several files: what poll, select and their variants share.
 */
#ifndef SENTRY_KERNEL_POLL_H
#define SENTRY_KERNEL_POLL_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <poll.h>
#include <stdint.h>

struct task;

/*
 * Fills fds[].revents and returns how many are not 0; waits until `deadline` (CLOCK_MONOTONIC ns; 0: do not wait) for the
 * first. 0 when the time is over, -ERESTARTNOHAND for a signal, -ENOMEM. Negative descriptors are skipped. POLLNVAL (closed)
 * counts as ready.
 */
int64_t task_poll(struct task *t, struct pollfd *fds, unsigned int n, int64_t deadline);

/*
 * The signal mask of ppoll, pselect and epoll_pwait: replaces the caller's until task_sigmask_end(), or until the signal that
 * interrupted the call has been delivered. `set` may be null: nothing changes. 0, -EINVAL (size), -EFAULT.
 */
int must_check task_sigmask_begin(struct task *t, guest_addr set, uint64_t size);
void task_sigmask_end(struct task *t, bool interrupted);

#endif
