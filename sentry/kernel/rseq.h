/*
 * Restartable sequences (rseq(2)) as the run loop, signal delivery, fork and exec need them. All on the task's own thread.
 */
#ifndef SENTRY_KERNEL_RSEQ_H
#define SENTRY_KERNEL_RSEQ_H

#include "lib/compiler.h"

#include <stdbool.h>

struct task;

/*
 * A signal frame is about to be built for `t`: if t->regs.rip is inside a critical section it becomes the abort handler's
 * address, which the frame then saves. False when the guest's rseq memory is bad: force SIGSEGV. A no-op for unregistered
 * tasks.
 */
bool must_check rseq_signal_delivery(struct task *t);

/*
 * Before t goes back to the guest after having blocked or been moved: brings cpu_id up to date and aborts a critical section.
 * Only needed when t->rseq.area is set and t->rseq.resume is true. False: force SIGSEGV.
 */
bool must_check rseq_resume(struct task *t);

/* The child of clone keeps the registration unless CLONE_VM gives it its parent's memory. membarrier(2)'s go with it. */
void rseq_clone(struct task *child, const struct task *parent, unsigned long clone_flags);
/* A successful exec forgets it. */
void rseq_exec(struct task *t);

#endif
