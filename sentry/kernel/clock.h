/*
 * Clocks, CPU times and the timers that run on them.
 *
 * Wall clocks are the host's own, as in any container. CPU clocks count what the guest's code used on a CPU (user) and
 * what the sentry used on its behalf (system).
 */
#ifndef SENTRY_KERNEL_CLOCK_H
#define SENTRY_KERNEL_CLOCK_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "sentry/kernel/signal.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct kernel;
struct ksigqueue;
struct task;
struct tgroup;

#define NSEC_PER_SEC 1000000000LL

/* Times in nanoseconds. */
struct cputime {
    int64_t user, system;
};
/* What a thread, or all threads dead and alive of a process, have used so far. Any thread may ask. Takes
 * siglock. */
struct cputime task_cputime(struct task *t);
/* The calling thread begins to serve `t`: its CPU time counts from now on. siglock held. */
void task_clock_start(struct task *t);
struct cputime tgroup_cputime(struct tgroup *tg);
/* All exited and waited-for descendants of a process. Takes tasks_lock. */
struct cputime tgroup_children_cputime(struct tgroup *tg);

/* Reads a clock as seen by `t`, dynamic CPU clocks included: 0, or -EINVAL. */
int must_check kclock_get(struct task *t, clockid_t clock, int64_t *ns);
/* A deadline on a wall clock (absolute, or relative to now) as CLOCK_MONOTONIC time, saturating. */
int64_t kclock_to_monotonic(clockid_t clock, int64_t ns, bool absolute);

#define KTIME_MAX INT64_MAX

/* A sum of times that stops at KTIME_MAX instead of overflowing. */
int64_t time_add_saturating(int64_t a, int64_t b);

static inline int64_t timespec_to_ns(struct timespec ts)
{
    return ts.tv_sec >= KTIME_MAX / NSEC_PER_SEC ? KTIME_MAX : ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static inline struct timespec ns_to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};
}

/* The task (or, if !*per_thread, one of the process) that a dynamic CPU clock id measures, referenced; NULL if `t` may not. */
struct task *kclock_cpu_task(struct task *t, clockid_t clock, bool *per_thread);

/* struct timespec and timeval between ns and guest memory. Reading refuses (-EINVAL) negative and unnormalised values and
 * saturates at INT64_MAX. */
int must_check timespec_in(struct task *t, guest_addr a, int64_t *ns);
int must_check timespec_out(struct task *t, guest_addr a, int64_t ns);
int must_check timeval_in(struct task *t, guest_addr a, int64_t *ns);
int must_check timeval_out(struct task *t, guest_addr a, int64_t ns);

/*
 * Life of a process's timers, for fork, exec and exit.
 *
 * tgroup_timers_init(): a new process has none (fork does not inherit). tgroup_timers_exec(): POSIX timers go, itimers stay.
 * tgroup_timers_exit(): all go; called when the last thread has exited, without locks, and for what comes later with the group.
 */
void tgroup_timers_init(struct tgroup *tg);
void tgroup_timers_exec(struct tgroup *tg);
void tgroup_timers_exit(struct tgroup *tg);

/*
 * CPU timers (ITIMER_VIRTUAL, ITIMER_PROF, POSIX timers on CPU clocks, RLIMIT_CPU). While any is armed in a process, its
 * running tasks are made to leave the guest from time to time. Before each entry to the guest, with guest_seq odd, the run loop
 * asks cpu_timers_due() if task->tg->cpu_timers_armed is true, and calls cpu_timers_check() when they are, before it looks at
 * signals. Without locks.
 */
bool cpu_timers_due(struct tgroup *tg);
void cpu_timers_check(struct task *t);
/* RLIMIT_CPU of the process has changed (setrlimit, fork, exec). Without siglock. */
void cpu_timers_rlimit_changed(struct tgroup *tg);

/*
 * A POSIX timer's signal has been taken from the queue (any form: delivery, sigwait, signalfd): fills si_overrun and re-arms.
 * `timer` is ksigqueue->timer. Called without siglock, before the siginfo reaches the guest. `info` is the copy to be
 * delivered.
 */
void posix_timer_dequeued(struct tgroup *tg, void *timer, ksiginfo *info);
/* Such an entry was thrown away instead. May be called with siglock held. */
void posix_timer_dropped(void *timer);

/* What /proc/stat shows, in nanoseconds summed over guest CPUs. */
struct kernel_cpu_stat {
    int64_t user, system, idle;
    uint64_t context_switches, forks;
    unsigned int nr_running, nr_blocked;
    int64_t btime; /* seconds since 1970 */
};
void kernel_cpu_stat(struct kernel *k, struct kernel_cpu_stat *out);

#endif
