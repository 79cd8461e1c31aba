/* May one task look into another? The rule of ptrace(2), "Ptrace access mode checking". */
#ifndef SENTRY_KERNEL_PTRACE_ACCESS_H
#define SENTRY_KERNEL_PTRACE_ACCESS_H

#include <stdbool.h>

struct task;

enum ptrace_mode {
    PTRACE_MODE_FSCREDS = 0,  /* compare by fsuid, fsgid and the effective set: for files of /proc */
    PTRACE_MODE_REALCREDS = 1 /* by real ids and the permitted set: for system calls */
};

/* Takes the target's siglock. */
bool ptrace_may_access(struct task *t, struct task *target, enum ptrace_mode mode);

#endif
