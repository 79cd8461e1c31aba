/* Walking the tasks that getpriority(2), setpriority(2), ioprio_get(2) and ioprio_set(2) mean. */
#ifndef SENTRY_KERNEL_TASK_SELECT_H
#define SENTRY_KERNEL_TASK_SELECT_H

#include <sys/types.h>

struct task;

enum task_select { SELECT_PROCESS, SELECT_PGRP, SELECT_USER };

/*
 * Calls `fn` for the thread `who`, all threads of the process group `who`, or all threads whose real uid is `who` (0: the
 * caller, its group, its real uid). Without locks; returns how many there were.
 */
unsigned int task_select(struct task *t, enum task_select which, int who, void (*fn)(struct task *target, void *arg),
                         void *arg);

#endif
