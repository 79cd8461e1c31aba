/* Signal frames and the alternate stack; see sigframe.c. */
#ifndef SENTRY_KERNEL_SIGFRAME_H
#define SENTRY_KERNEL_SIGFRAME_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct task;

/* The kernel's SA_RESTORER, which libc headers do not give. */
#define SA_RESTORER_ 0x04000000U

/* rt_sigreturn(2): takes everything back from the frame above the stack pointer. False: a bad frame, force SIGSEGV. */
bool must_check sigframe_return(struct task *t);

/* sigaltstack(2): 0, -EPERM (in use, if `check_in_use`), -EINVAL, -ENOMEM (too small). */
int altstack_set(struct task *t, uint64_t sp, unsigned int flags, uint64_t size, bool check_in_use);
/* SS_DISABLE, SS_ONSTACK or 0, for a thread whose stack pointer is `sp`. */
int altstack_flags(const struct task *t, uint64_t sp);

#endif
