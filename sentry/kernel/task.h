/*
 * Tasks (guest threads) and thread groups (guest processes).
 *
 * Each task has a host thread that runs task_main(): run the guest, get an event, serve it, deliver signals, again. "Exclusive"
 * below means: touched only by that thread (or by its creator before it starts).
 *
 * Lifetime: a task is referenced by its own thread, by the pid table until it is reaped, and by whoever holds task_get(). A
 * tgroup likewise; its tasks hold references on it.
 */
#ifndef SENTRY_KERNEL_TASK_H
#define SENTRY_KERNEL_TASK_H

#include "lib/refcount.h"
#include "platform/platform.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/signal.h"
#include "sentry/kernel/wait.h"
#include "sentry/mm/usercopy.h"
#include "vfs/cred.h"
#include "vfs/fdtable.h"
#include "vfs/uaccess.h"

#include <sys/resource.h>

struct futex_waiter;
struct mm;
struct mm_limits;
struct pgrp;
struct pid;
struct posix_timers;
struct rseq_cpu;
struct rseq_cpus;
struct seccomp_filter;
struct sem_undo_list;
struct session;

#define TASK_COMM_LEN     16
#define KERNEL_NR_RLIMITS 16

enum task_state { TASK_RUNNING, TASK_SLEEPING, TASK_STOPPED, TASK_ZOMBIE, TASK_DEAD };

/* How a call that a signal interrupted goes on: restart_syscall(2) runs `fn` again. */
struct restart_block {
    int64_t (*fn)(struct task *t, struct restart_block *rb);
    union {
        struct {
            int64_t deadline;
            guest_addr rem;
            int clock;
        } nanosleep;
        struct {
            guest_addr uaddr, fds;
            uint32_t val, flags, bitset, nfds;
            int64_t deadline;
        } futex_or_poll;
    };
};

struct task {
    struct refcount ref;
    struct kernel *k;  /* immutable */
    pid_t tid;         /* immutable but for exec of a non-leader, which takes the leader's under tasks_lock */
    struct pid *pid;   /* the same as a struct pid, referenced */
    struct tgroup *tg; /* immutable; referenced */

    /* Exclusive to the task's thread. */
    struct platform_context *ctx; /* made by the thread itself */
    struct guest_regs regs;       /* valid while not in platform_run() */
    int64_t orig_rax;             /* number of the call being served; -1 when not in a call */
    struct restart_block restart;
    struct vfs_caller caller; /* kept in step with cred, fs; see task_caller() */
    guest_addr clear_child_tid, set_child_tid, robust_list;
    size_t robust_list_len;
    struct {
        guest_addr area;
        uint32_t len, sig, flags;
        atomic_bool resume;    /* set whenever the task has slept, or by others: rseq_resume() is due */
        unsigned int cpu;      /* what the area says */
        struct rseq_cpu *held; /* the CPU that it has to itself, if the process needs that; see sentry/kernel/rseq.c */
    } rseq;
    struct futex_waiter *pi_blocked_on; /* the futex table's, like the next: see sentry/kernel/futex_pi.c */
    bool futex_dead;
    struct sem_undo_list *sem_undo; /* System V semaphore adjustments, see sentry/kernel/ipc.h */
    ksigset saved_mask;             /* sigsuspend, ppoll...: restored after delivery */
    bool restore_mask;
    void *fp_inherit; /* FP state to start with (clone), freed by the new thread */
    atomic_uint last_cpu;
    bool exit_requested; /* exit_code is set: the run loop ends the thread */
    struct {
        uint64_t addr; /* of the last fault, for the signal frame: cr2, trap number, error code */
        uint32_t trapno, error_code;
    } fault;
    struct task *vfork_parent;                     /* waits until this task gives up its mm; referenced */
    int seccomp_mode;                              /* SECCOMP_MODE_*; 0: calls are not filtered */
    struct seccomp_filter *seccomp;                /* the newest filter; referenced */
    _Atomic(struct seccomp_filter *) seccomp_sync; /* a chain that another thread wants this one to take over; referenced */
    struct ptrace_state ptrace;                    /* being traced */
    struct list_head ptraced;                      /* those this task traces: their ptrace.node; tasks_lock */

    /* Pointers that only the task itself replaces; others read them under tg->siglock, and take a reference. */
    struct mm *mm; /* NULL after exit */
    struct fdtable *files;
    struct fs_struct *fs;
    struct cred *cred;

    /* Signals; guarded by tg->siglock unless said otherwise. */
    ksigset blocked;
    ksigset real_blocked; /* while sigtimedwait has unblocked what it waits for: the true mask */
    struct ksigpending pending;
    atomic_bool sigpending; /* something to do before going back to the guest (TIF_SIGPENDING) */
    atomic_bool fatal;      /* SIGKILL is pending or the process is exiting: task_block_killable() ends */
    atomic_int pdeath_signal;
    stack_t altstack;   /* exclusive; ss_sp is a guest address */
    bool stop_dequeued; /* a stop signal was taken and no SIGCONT has come since */
    bool stop_wanted;   /* must take part in the group stop */
    bool in_stop;       /* sleeps in the group stop */

    /* Blocking. */
    atomic_uint wake_seq;    /* host futex word of task_block(), see wait.c */
    atomic_bool mm_released; /* the vfork parent may go on */
    atomic_int state;        /* enum task_state, for /proc and ps */
    atomic_uint guest_seq; /* odd while the thread is in platform_run(): stored (seq_cst) by the run loop, read by membarrier */

    /* Guarded by k->tasks_lock. */
    struct list_head thread_node; /* in tg->threads; changed with siglock held too, so either lock lets one walk the list */
    bool exiting;                 /* exit has begun; set under siglock too */
    bool times_folded;            /* its CPU times are in tg->dead_threads now */
    int exit_code;                /* wait status form */

    atomic_ullong nr_syscalls, nr_voluntary_switches, nr_involuntary_switches;
    uint64_t start_ns;                      /* monotonic */
    clockid_t sentry_cpu_clock;             /* host thread's CPU clock: system time; 0: no thread. Guarded by siglock */
    int64_t sentry_cpu_start;               /* what it said when the task began */
    atomic_ullong utime_ns;                 /* user time, brought up to date at each event batch */
    char comm[TASK_COMM_LEN];               /* written by self under siglock */
    int nice, sched_policy, sched_priority; /* changed by others under siglock */
    int ioprio;                             /* IOPRIO_PRIO_VALUE; 0: none; inherited by children; atomic */
    uint64_t cpu_affinity[16];              /* see sentry/kernel/cpus.h; siglock */
    unsigned long personality, timer_slack_ns, default_timer_slack_ns;
    atomic_uint loginuid, sessionid; /* who logged in, for audit: UINT32_MAX when nobody did; written by self */
    pthread_t thread;
    void *wait_data; /* private to what the task waits in (futex, wait4) */
};

struct tgroup {
    struct refcount ref;
    struct kernel *k;
    pid_t tgid;

    /* Guarded by k->tasks_lock. */
    struct list_head threads; /* live tasks; the leader's task stays until reaped */
    atomic_uint nr_threads;   /* that have not been through exit yet */
    unsigned int nr_live;     /* that have not begun it */
    struct task *leader;
    struct tgroup *parent; /* NULL for init */
    atomic_int ppid;       /* the parent's tgid, 0 without one; read without locks */
    struct list_head children, sibling;
    struct pid *pid;            /* the tgid's; referenced, immutable */
    pid_t parent_tid;           /* the thread of `parent` whose child this is: __WNOTHREAD, PR_SET_PDEATHSIG */
    struct pgrp *pgrp;          /* referenced */
    struct list_head pgrp_node; /* in pgrp->members */
    struct session *session;    /* == pgrp->session; not referenced by itself */
    struct waitq child_wait;    /* waiters in wait4/waitid of this process */
    bool is_subreaper, has_child_subreaper, has_execed;
    int exit_signal; /* SIGCHLD or what clone asked for */
    int exit_code;   /* wait status, valid once zombie */
    bool zombie;
    bool reaped;                                                         /* someone waited for it, or nobody ever will */
    void (*exited)(struct kernel *k, pid_t pid, int wstatus, void *arg); /* see boot.h */
    void *exited_arg;
    struct rusage dead_threads, dead_children; /* accumulated */

    /* Guarded by siglock. */
    struct mutex siglock;
    struct sighand *sighand; /* pointer immutable except in exec */
    struct ksigpending shared_pending;
    struct waitq signalfd_wq; /* told of each signal sent to any thread of the process */
    bool group_exit;          /* everyone must go; group_exit_code says how */
    int group_exit_code;
    struct task *group_exec;            /* the thread that waits for all others to die */
    bool unkillable;                    /* pid 1: default actions of signals from inside do not reach it */
    bool stopped;                       /* job control: all threads have stopped */
    int stop_signo;                     /* of the group stop under way or reached; 0: none */
    unsigned int stop_count;            /* threads that have still to stop */
    int cld_pending;                    /* CLD_STOPPED or CLD_CONTINUED that the parent must still be told; 0: none */
    int wait_stop_code, wait_continued; /* what wait4(WUNTRACED|WCONTINUED) may still report */
    struct rlimit64 rlimits[KERNEL_NR_RLIMITS];
    struct posix_timers *timers;  /* itimers and POSIX timers, see sentry/kernel/clock.h; NULL until the first is made */
    struct rseq_cpus *rseq_cpus;  /* set once critical sections are in use; see sentry/kernel/rseq.c */
    atomic_int membarrier;        /* MEMBARRIER_CMD_REGISTER_* that were made */
    atomic_bool cpu_timers_armed; /* a timer on a CPU clock or RLIMIT_CPU is set: the run loop calls cpu_timers_check() */
    atomic_bool held;             /* does not enter the guest before kernel_release_init() */
    int oom_score_adj, dumpable;
    unsigned int nr_queued_signals;
    atomic_ullong io_rchar, io_wchar, io_syscr, io_syscw;
};

/* The current task's caller context for VFS calls. Valid until the task changes its credentials or fs. */
static inline const struct vfs_caller *task_caller(struct task *t)
{
    return &t->caller;
}
/* The task whose host thread this is, for operations that are not told who calls; NULL on other threads. */
struct task *task_current(void);
/* Back from VFS to the task; for filesystems that live in the sentry. NULL for kernel-internal callers. */
struct task *task_of_caller(const struct vfs_caller *c);

struct task *task_get(struct task *t);
void task_put(struct task *t);
struct tgroup *tgroup_get(struct tgroup *tg);
void tgroup_put(struct tgroup *tg);

/* Guest memory of the task's own address space. */
static inline int must_check copy_in(struct task *t, void *dst, guest_addr src, size_t n)
{
    return mm_copy_in(t->mm, dst, src, n);
}
static inline int must_check copy_out(struct task *t, guest_addr dst, const void *src, size_t n)
{
    return mm_copy_out(t->mm, dst, src, n);
}
static inline ssize_t must_check copy_str_in(struct task *t, char *dst, guest_addr src, size_t max)
{
    return mm_copy_str_in(t->mm, dst, src, max);
}

uint64_t task_rlimit(const struct task *t, int resource); /* soft limit; RLIM64_INFINITY */
void task_mm_limits(struct task *t, struct mm_limits *out);
/* Replaces credentials; consumes `new_cred`. Keeps caller and platform answers in step. */
void task_commit_cred(struct task *t, struct cred *new_cred);

/* Look-ups; referenced results or NULL. Take tasks_lock. */
struct task *task_find(struct kernel *k, pid_t tid);
struct tgroup *tgroup_find(struct kernel *k, pid_t tgid);
/* References to another task's parts for /proc and prlimit; NULL when it has exited. */
struct mm *task_get_mm(struct task *t);
struct fdtable *task_get_files(struct task *t);
struct fs_struct *task_get_fs(struct task *t);
struct cred *task_get_cred(struct task *t);

#endif
