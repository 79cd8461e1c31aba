/*
 * ptrace(2): one guest thread watches and changes another. See ptrace.c for how stops work.
 *
 * Links between tracers and tracees change under tasks_lock and the tracee's siglock, so either lets one read them.
 */
#ifndef SENTRY_KERNEL_PTRACE_H
#define SENTRY_KERNEL_PTRACE_H

#include "lib/compiler.h"
#include "lib/list.h"
#include "sentry/kernel/signal.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct clone_request;
struct task;
struct tgroup;

enum ptrace_mode_run { PTRACE_RUN, PTRACE_RUN_SYSCALL, PTRACE_RUN_SYSEMU, PTRACE_RUN_LISTEN };
enum ptrace_stop_kind { PTRACE_STOP_OTHER, PTRACE_STOP_ENTRY, PTRACE_STOP_EXIT, PTRACE_STOP_SECCOMP };

/* The tracee's half, embedded in struct task. */
struct ptrace_state {
    struct task *tracer;   /* NULL: not traced. Not referenced: a tracer lets go of its tracees before it ends. */
    struct list_head node; /* in tracer->ptraced */
    /* The rest: siglock, unless only the tracee's thread can touch it. */
    bool seized, stopped;
    bool frozen;      /* stopped, and a request of the tracer is looking: must not run on */
    bool trap_wanted; /* must stop with PTRACE_EVENT_STOP */
    bool zombie;      /* a thread that ended and that the tracer has not waited for */
    bool have_info;   /* `info` is the siginfo of this stop */
    atomic_bool step; /* run one instruction; like mode, the tracee reads it without the lock */
    bool step_tf;     /* the trap flag is ours */
    bool fp_changed;
    _Atomic(enum ptrace_mode_run) mode;
    enum ptrace_stop_kind kind;
    unsigned int options;
    int report;        /* what wait is to report: signal | event << 8; 0: nothing (any more) */
    int resume_signo;  /* what the tracer lets it go on with */
    uint64_t message;  /* PTRACE_GETEVENTMSG */
    void *fp;          /* FP state while stopped */
    uint64_t debug[8]; /* the debug registers as the tracer has set them; DR6 by its bits that say something */
    ksiginfo info;
};

/* Stops of the calling task. No locks held. Harmless for tasks that are not traced. */
void ptrace_event(struct task *t, int event, uint64_t message);
/* True: stopped for this event because the option asked for it. */
bool ptrace_event_if(struct task *t, int event, uint64_t message);
/* Before and after a call. Entry: false if the call must not run. */
bool ptrace_syscall_entry(struct task *t);
void ptrace_syscall_exit(struct task *t);
/* The tracer decides about a signal that was taken from the queue: the signal to go on with, or 0. siglock held, dropped in
 * between. */
int ptrace_signal(struct task *t, int signo, ksiginfo *info) NO_THREAD_SAFETY_ANALYSIS;
/* In a group stop, or after PTRACE_INTERRUPT: stops for the tracer instead. siglock held, dropped in between. */
void ptrace_group_stop(struct task *t, int signo) NO_THREAD_SAFETY_ANALYSIS;
/* A program was executed. */
void ptrace_exec(struct task *t, pid_t old_tid);
/* The end of a thread, before anything else of it. */
void ptrace_exit_event(struct task *t);
/* Arms or disarms single stepping before the guest runs. */
void ptrace_prepare_run(struct task *t);

/* clone: which PTRACE_EVENT_* the call shall stop for (0: none); and, tasks_lock and no siglock held, the child's part. */
int ptrace_clone_event(const struct task *t, const struct clone_request *rq);
void ptrace_clone_child_locked(struct task *child, struct task *t, int event, const struct clone_request *rq);

/* tasks_lock held. */
void ptrace_detach_all_locked(struct task *tracer); /* the tracer ends */
void ptrace_link_locked(struct task *t, struct task *tracer, bool seized, unsigned int options);
void ptrace_unlink_locked(struct task *t);
void ptrace_release_locked(struct task *t);       /* the same, and a dead one is handed on */
void ptrace_notify_zombie_locked(struct task *t); /* a traced thread has ended: tells the tracer */

/* The call itself: ptrace_request.c. */
int64_t ptrace_request(struct task *t, long request, pid_t pid, uint64_t addr, uint64_t data);

#endif
