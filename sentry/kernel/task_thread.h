/*
 * Host threads of tasks. Making one and ending it costs a tenth of what a fork does, so a few that have nothing to do are kept
 * for the next tasks.
 */
#ifndef SENTRY_KERNEL_TASK_THREAD_H
#define SENTRY_KERNEL_TASK_THREAD_H

#include "lib/compiler.h"
#include "lib/list.h"
#include "lib/lock.h"

struct task;

struct task_threads {
    struct mutex lock;
    struct list_head idle GUARDED_BY(lock);
    unsigned int nr_idle GUARDED_BY(lock);
    unsigned int nr GUARDED_BY(lock); /* all of them */
    bool stop GUARDED_BY(lock);
    pthread_cond_t gone; /* with `lock`: nr has become 0 */
};

void task_threads_init(struct task_threads *p);
/* Ends the idle threads. No task may be running. */
void task_threads_fini(struct task_threads *p);
/* Has a thread run `main(t)`, on the CPUs that the caller may use, and sets t->thread. 0 or -EAGAIN. */
int must_check task_threads_run(struct task_threads *p, struct task *t, void (*main)(struct task *t));

#endif
