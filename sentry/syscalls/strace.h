/* The decoded trace of system calls (`--strace`), printed through the log at level INFO. */
#ifndef SENTRY_SYSCALLS_STRACE_H
#define SENTRY_SYSCALLS_STRACE_H

#include "sentry/syscalls/syscalls.h"

/* Runs the call and logs it with its arguments and result; the result. */
int64_t strace_call(struct task *t, const struct syscall_desc *d, const struct syscall_args *a);

#endif
