/*
 * Numbers for threads, processes, process groups and sessions.
 *
 * A `struct pid` is a number together with what it names now. It stays in the table, and the number is not used again, while
 * any of these exists; a pidfd may keep the struct longer, and then finds that it names nothing. Numbers are given out in
 * sequence and wrap at pid_max, as in Linux.
 */
#ifndef SENTRY_KERNEL_PID_H
#define SENTRY_KERNEL_PID_H

#include "lib/refcount.h"
#include "lib/waitq.h"
#include "sentry/kernel/kernel.h"

#define PID_MAX_DEFAULT 32768
#define PID_MAX_LIMIT   4194304
#define PID_MAX_MIN     301

struct pgrp;
struct session;

struct pid {
    struct refcount ref;
    pid_t nr; /* immutable */
    struct kernel *k;
    /* Guarded by k->tasks_lock; not referenced: who dies clears its pointer. */
    struct task *task;     /* the thread */
    struct tgroup *tgroup; /* the process, until it is reaped */
    struct pgrp *pgrp;
    struct session *session;
    struct waitq exit_wq; /* told POLLIN when the process becomes a zombie, POLLHUP when it is reaped */
};

int must_check pid_table_create(struct pid_table **out);
void pid_table_destroy(struct pid_table *pt);

/* A new number, in the table, with one reference for the caller; NULL when none is free or memory is out. */
struct pid *pid_alloc(struct kernel *k);          /* tasks_lock held */
struct pid *pid_find(struct kernel *k, pid_t nr); /* tasks_lock held; not referenced */
/* To be called after one of the four pointers was cleared: frees the number when all are. */
void pid_release(struct pid *pid);
struct pid *pid_get(struct pid *pid);
void pid_put(struct pid *pid);

pid_t pid_max(struct kernel *k);
int pid_max_set(struct kernel *k, pid_t max); /* 0 or -EINVAL */
pid_t pid_last(struct kernel *k);             /* the number given out last, as in /proc/loadavg */

/* For /proc: the process with the lowest tgid >= `from`, zombies included; and the thread of `tg` with the lowest tid >=
 * `from`. Referenced, or NULL at the end. Take tasks_lock. */
struct tgroup *tgroup_next(struct kernel *k, pid_t from);
struct task *tgroup_next_task(struct tgroup *tg, pid_t from);

/* Tasks per real user, for RLIMIT_NPROC. */
void user_nproc_add(struct kernel *k, uid_t uid, int delta); /* tasks_lock held */
unsigned int user_nproc(struct kernel *k, uid_t uid);        /* tasks_lock held */

#endif
