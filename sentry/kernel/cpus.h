/*
 * The CPUs that guests see: numbers 0 to kernel->nr_cpus - 1, one NUMA node.
 *
 * A guest CPU is not a host CPU: the host schedules threads as it likes, and a task is told that it runs on the host's CPU if
 * its affinity allows that number, else on one that it allows. One that is registered for rseq stays where rseq.c has put it.
 */
#ifndef SENTRY_KERNEL_CPUS_H
#define SENTRY_KERNEL_CPUS_H

#include "lib/compiler.h"

#include <stdint.h>

#define CPU_MASK_WORDS 16 /* 1024 CPUs, as task->cpu_affinity */

struct task;

/* What a new thread or process inherits: nice value, policy (but for SCHED_RESET_ON_FORK), priorities, affinity. */
void sched_clone(struct task *child, const struct task *parent);

/* The CPU that `t` is on now; own thread. */
unsigned int task_cpu(struct task *t);
/* -EINVAL when the mask has no CPU that exists. An affinity of all zeros in struct task means all CPUs. */
int must_check task_set_affinity(struct task *t, const uint64_t mask[CPU_MASK_WORDS]);
void task_get_affinity(struct task *t, uint64_t mask[CPU_MASK_WORDS]);

#endif
