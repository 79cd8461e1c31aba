/* Interval timers and POSIX timers of a process, for the system calls. See posix_timer.c and cpu_timer.c. */
#ifndef SENTRY_KERNEL_POSIX_TIMER_H
#define SENTRY_KERNEL_POSIX_TIMER_H

#include "sentry/kernel/clock.h"
#include "sentry/kernel/ktimer.h"
#include "sentry/kernel/task.h"

/* Times to go and between expirations, in ns; value 0: not armed. */
struct timer_spec {
    int64_t value, interval;
};

/* getitimer/setitimer; `which` is ITIMER_*, already checked. -ENOMEM when the first timer of a process cannot be made. */
int itimer_get(struct task *t, int which, struct timer_spec *cur);
int must_check itimer_set(struct task *t, int which, const struct timer_spec *new_spec, struct timer_spec *old);

struct posix_timer_params {
    clockid_t clock;
    int notify, signo; /* sigev_notify, sigev_signo */
    union sigval value;
    bool value_is_id; /* no sigevent was given: the value is the timer's id */
    pid_t tid;        /* with SIGEV_THREAD_ID */
};

/* The calls themselves; a timer is named by its id. timer_create returns the id. Errors as in the manual pages. */
int must_check posix_timer_create(struct task *t, const struct posix_timer_params *p);
int must_check posix_timer_settime(struct task *t, int id, bool absolute, const struct timer_spec *new_spec,
                                   struct timer_spec *old);
int must_check posix_timer_gettime(struct task *t, int id, struct timer_spec *cur);
int must_check posix_timer_getoverrun(struct task *t, int id);
int must_check posix_timer_delete(struct task *t, int id);

/* Between posix_timer.c and cpu_timer.c; all with the table's lock held but for the first three. */

/* A timer that runs on CPU time: process-wide, or of one thread. */
struct cpu_timer {
    int64_t deadline; /* CPU time in ns; KTIME_MAX: not armed */
    int64_t interval;
    bool user_only;    /* ITIMER_VIRTUAL */
    struct task *task; /* NULL: the process */
};

struct posix_timer {
    struct refcount ref;        /* of the table, and of the signal while it is queued */
    struct list_head node;      /* in posix_timers->list, by id */
    struct posix_timers *table; /* immutable */
    bool deleted;
    int id;
    clockid_t clock;
    int notify;
    struct task *target; /* SIGEV_THREAD_ID: referenced */
    bool on_cpu_clock;
    struct cpu_timer cpu;
    struct ktimer kt;
    int64_t deadline; /* CLOCK_MONOTONIC or CPU time; KTIME_MAX when not set. While the signal is pending: when it expired */
    int64_t interval;
    bool signal_pending;                  /* queued, not yet taken: an interval timer goes on when it is */
    unsigned int setting, queued_setting; /* tells a signal of an earlier setting */
    int64_t overrun, overrun_last;
    struct ksigqueue q;
};

struct posix_timers {
    struct mutex lock;     /* outside of siglock; guards all here */
    struct tgroup *tg;     /* not referenced: the table goes first */
    struct list_head list; /* of posix_timer */
    unsigned int nr;
    int next_id;
    struct {
        struct ktimer kt;
        int64_t deadline, interval;
    } real;
    struct cpu_timer virt, prof;
    /* cpu_timer.c: */
    struct ktimer tick;
    int64_t last_cpu; /* at the last tick, to see whether the process runs at all */
    atomic_bool due, parked;
};

void cpu_timers_init(struct posix_timers *pts); /* of a new table */
/* The process's table, made when first needed; NULL when out of memory. */
struct posix_timers *posix_timers_of(struct tgroup *tg);
struct posix_timers *posix_timers_peek(struct tgroup *tg); /* NULL if there is none */
/* The timer's time has come: sends the signal. `now` is on its clock. */
void posix_timer_expire(struct posix_timer *pt, int64_t now);
int64_t cpu_timer_now(struct tgroup *tg, const struct cpu_timer *ct);
/* After any CPU timer was set: has the process watched, or not any more. */
void cpu_timers_rearm(struct posix_timers *pts);

#endif
