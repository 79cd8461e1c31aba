/*
 * Futexes: see futex.c for how they work. What other parts of the kernel need of them.
 */
#ifndef SENTRY_KERNEL_FUTEX_H
#define SENTRY_KERNEL_FUTEX_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stdint.h>

struct futex_table;
struct mm;
struct task;

int must_check futex_table_create(struct futex_table **out);
void futex_table_destroy(struct futex_table *ft);

/*
 * What a thread leaves behind when it gives up its address space, at exit and at a successful exec, before task->mm changes:
 * walks the robust list, gives up the PI futexes it owns, and, if clear_child_tid is set, stores 0 there and wakes one waiter.
 * Both are cleared. On the task's own thread, without locks. Bounded work whatever the guest put in its memory.
 */
void futex_task_exit(struct task *t);
void futex_task_exec(struct task *t);

/* Wakes up to `nr` waiters of the word at `a` of t's address space: the count, or -errno. */
int64_t futex_wake_addr(struct task *t, guest_addr a, bool shared, int nr);

#endif
