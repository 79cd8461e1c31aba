/*
 * Restartable sequences (rseq(2)) as the run loop, signal delivery, fork, exec and exit need them. All on the task's own
 * thread.
 */
#ifndef SENTRY_KERNEL_RSEQ_H
#define SENTRY_KERNEL_RSEQ_H

#include "lib/compiler.h"
#include "sentry/kernel/task.h"

#include <stdatomic.h>
#include <stdbool.h>

struct rseq_cpu {
    _Atomic(struct task *) owner; /* changed under rseq_cpus->lock; not referenced: an exiting task lets go first */
    int64_t since;                /* rseq_cpus->lock */
};

/*
 * Before `t`, which has a registration, goes to the guest, with guest_seq odd: must rseq_resume() be called first, because it
 * has slept or has lost its CPU?
 */
static inline bool rseq_resume_due(struct task *t)
{
    return atomic_load_explicit(&t->rseq.resume, memory_order_relaxed) ||
           (t->rseq.held && atomic_load_explicit(&t->rseq.held->owner, memory_order_relaxed) != t);
}

/*
 * Brings cpu_id up to date, aborts a critical section that others may have disturbed, and waits for a CPU of its own if the
 * process needs that. False: the guest's data is bad, force SIGSEGV.
 */
bool must_check rseq_resume(struct task *t);

/*
 * A signal frame is about to be built for `t`: if t->regs.rip is inside a critical section it becomes the abort handler's
 * address, which the frame then saves. False when the guest's rseq memory is bad: force SIGSEGV. A no-op for unregistered
 * tasks.
 */
bool must_check rseq_signal_delivery(struct task *t);

/* The child of clone keeps the registration unless CLONE_VM gives it its parent's memory. membarrier(2)'s go with it. */
void rseq_clone(struct task *child, struct task *parent, unsigned long clone_flags);
/* A successful exec forgets it; so does the end of the thread. */
void rseq_exec(struct task *t);
void rseq_exit(struct task *t);
/* No thread of the process is left, or only one that has been through rseq_exec(). */
void rseq_tgroup_free(struct tgroup *tg);

/* Restarts the critical sections of all other threads of the process: MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ. 0 or -ENOMEM. */
int must_check rseq_restart_others(struct task *t);

/* rseq(2). */
int must_check rseq_register(struct task *t, guest_addr area, uint32_t len, uint32_t sig);
int must_check rseq_unregister(struct task *t, guest_addr area, uint32_t len, uint32_t sig);

#endif
