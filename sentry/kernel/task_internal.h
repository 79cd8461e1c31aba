/* What the files of tasks, signals, fork, exec and exit share among themselves. */
#ifndef SENTRY_KERNEL_TASK_INTERNAL_H
#define SENTRY_KERNEL_TASK_INTERNAL_H

#include "sentry/kernel/pid.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task.h"

struct platform_event;

/* task.c: bare objects with one reference; NULL when out of memory. */
struct task *task_alloc(struct kernel *k);
struct tgroup *tgroup_alloc(struct kernel *k);
struct sighand *sighand_alloc(void);
void sighand_put(struct sighand *sh);
void task_caller_refresh(struct task *t); /* after fs, cred or RLIMIT_FSIZE changed; own thread, or before it starts */
void task_set_answers(struct task *t);    /* tells the platform the ids; own thread */

/* task_run.c: starts the host thread of a task that is in the tables. 0 or -EAGAIN. */
int must_check task_start(struct task *t);

/* fork.c: puts a finished task, and its process if it is the leader, into the tables. `parent` may be NULL. */
void task_publish_locked(struct task *t, struct tgroup *parent, pid_t parent_tid);

/* No host thread could be had for a published task: it leaves the tables again. Its resources and the creator's reference
 * remain. */
void task_unpublish(struct task *child);

/* nsproxy.c: gives `fs` a copy of its mount namespace (CLONE_NEWNS). */
int must_check fs_unshare_mnt_ns(struct fs_struct *fs);

/* exit.c. */
void task_drop_resources(struct task *t);                /* mm, descriptors, directories, platform context */
void task_exit(struct task *t);                          /* everything that the end of a thread means; on its own thread */
void task_request_exit(struct task *t, int wait_status); /* the run loop will end this thread; own thread */
/* Ends the whole process with this status unless it is ending already; own thread. */
void task_request_group_exit(struct task *t, int wait_status);
/* The mm is given up: a vfork parent goes on. */
void task_vfork_release(struct task *t);
/* Takes a zombie process or a dead thread out of all tables. tasks_lock held. */
void task_release_locked(struct task *t);
/* Tells the parent of a zombie process; reaps it when nobody will wait. */
void announce_zombie_locked(struct tgroup *tg);
/* The status of a zombie has been taken. tasks_lock held; drops the table's reference. */
void tgroup_reap_locked(struct tgroup *tg);
/* Kills all other threads of the process and waits until they are gone, then takes the leader's tid; for exec. 0 or -EAGAIN. */
int must_check task_exec_alone(struct task *t);

/* signal_send.c. All with siglock held. */
void signal_kick(struct task *t); /* makes it look at its signals: interrupts the guest, or a wait */
void signal_recalc(struct task *t);
void signal_flush_pending(struct ksigpending *p, ksigset set);
int signal_send_locked(struct tgroup *tg, struct task *t, const ksiginfo *info, bool from_outside);
/* Throws pending ones away in every queue of the process. */
void signal_flush_everywhere_locked(struct tgroup *tg, ksigset set);
/* Takes the next signal of `set` from `t` or its process. `*timer` gets what posix_timer_dequeued() is due for. */
int signal_dequeue_locked(struct task *t, ksigset set, ksiginfo *out, void **timer);
/* Makes every thread of the process die. */
void signal_group_exit_locked(struct tgroup *tg, int wait_status);
bool signal_kernel_only(int signo);
bool signal_ignored_by_default(int signo);
bool signal_stops_by_default(int signo);
bool signal_dumps_core(int signo);
void signal_init_pending(struct ksigpending *p);
/* Takes siglock. Replaces the mask (without SIGKILL and SIGSTOP), handing shared signals on to threads that can take them. */
void signal_set_blocked(struct task *t, ksigset mask);
/* Shared signals that this dying thread was to take go to another one. */
void signal_retarget_locked(struct task *t, ksigset set);

/* session.c. tasks_lock held. */
int pgrp_signal_locked(struct pgrp *pg, const ksiginfo *info);

/* jobctl.c. */
/* tasks_lock held. SIGCHLD for a stop or the like, which SA_NOCLDSTOP silences. */
void send_sigchld_locked(struct tgroup *parent, const ksiginfo *info);
/* tasks_lock held. Tells the parent that the process stopped or continued (CLD_*). */
void notify_parent_cldstop_locked(struct tgroup *tg, int why, int status);
/* tasks_lock held. Tells the parent of a zombie; true if nobody will wait for it. */
bool notify_parent_exit_locked(struct tgroup *tg);
/* siglock held on entry and on return, dropped in between. The calling thread begins or joins a group stop and sleeps until it
 * ends. */
void jobctl_do_stop(struct task *t, int signo);
/* siglock held. The thread exits: it counts no longer for a stop. True: that completed the stop, tell the parent. */
bool jobctl_leave(struct task *t);

/* signal_deliver.c: all that must happen before `t` goes back to the guest because of sigpending or a restart code. True: run
 * the call in t->orig_rax again. */
bool task_signal_work(struct task *t);

/* sigframe.c: builds the frame and points the registers at the handler. -EFAULT. */
int must_check sigframe_setup(struct task *t, const struct ksigaction *ka, const ksiginfo *info, ksigset saved_mask);
/* Puts the FP state that a fresh program has. */
void task_fp_init(struct task *t);

#endif
