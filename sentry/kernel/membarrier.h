/* membarrier(2): ordering memory accesses of other threads without their help. */
#ifndef SENTRY_KERNEL_MEMBARRIER_H
#define SENTRY_KERNEL_MEMBARRIER_H

#include "lib/compiler.h"

#include <stdbool.h>

struct task;

/*
 * Every other task that is in the guest, and shares the caller's address space unless `all`, leaves it at least once before
 * this returns. 0 or -ENOMEM.
 */
int must_check membarrier_run(struct task *t, bool all);

#endif
