/*
 * The kernel: everything that outlives tasks. There is one per sandbox, and no writable globals beside it.
 *
 * Lock order (outermost first; the whole order with VFS and mm is in docs/architecture.md):
 *   kernel->tasks_lock -> tgroup->siglock -> task->wait internals, timers; futex buckets and waitqs are leaves.
 */
#ifndef SENTRY_KERNEL_KERNEL_H
#define SENTRY_KERNEL_KERNEL_H

#include "lib/limits.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/waitq.h"
#include "sentry/kernel/task_thread.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What uname(2) and /proc say; programs that look at the version may rely on what it promises. */
#define KERNEL_RELEASE "6.12.0"
#define KERNEL_VERSION "#1 SMP PREEMPT_DYNAMIC runsc-c"

struct futex_table;
struct host_loop;
struct ipc_namespace;
struct memfile;
struct mm_shared;
struct mnt_namespace;
struct net;
struct pid_table;
struct platform;
struct super_block;
struct task;
struct tgroup;
struct tty;
struct vdso;

struct uts_namespace {
    struct mutex lock;
    char nodename[65] GUARDED_BY(lock);
    char domainname[65] GUARDED_BY(lock);
};

struct kernel {
    struct platform *platform; /* immutable, like all pointers here, after boot */
    struct memfile *memfile;
    struct mm_shared *mm_shared;
    struct host_loop *loop; /* the main thread's event loop: host descriptors and timers */
    struct futex_table *futexes;
    struct vdso *vdso;
    const char *uid_map, *gid_map; /* see sentry/kernel/boot.h */
    struct ipc_namespace *ipc;
    struct net *net;                      /* sockets: sentry/socket/net.h */
    void (*before_sleep)(struct task *t); /* by a task that is about to sleep, which it may wake; NULL: nothing */
    struct uts_namespace uts;
    struct mnt_namespace *mnt_ns; /* of the first container */
    struct super_block *nsfs;     /* what /proc/PID/ns leads to */
    struct tty *console;          /* what /dev/console opens; NULL: nothing. Set by boot */

    uint8_t boot_id[16]; /* /proc/sys/kernel/random/boot_id; immutable */
    struct mutex sysctl_lock;
    struct list_head sysctl_changes GUARDED_BY(sysctl_lock); /* what was written to /proc/sys, see sentry/fs/proc/sysctl.c */

    /* Guards the pid table, parents, children, thread lists, process groups, sessions, controlling terminals. */
    struct mutex tasks_lock;
    struct pid_table *pids GUARDED_BY(tasks_lock);
    struct tgroup *init GUARDED_BY(tasks_lock);     /* pid 1; NULL before boot */
    unsigned int nr_tasks GUARDED_BY(tasks_lock);   /* until reaped */
    unsigned int nr_tgroups GUARDED_BY(tasks_lock); /* likewise */
    unsigned int max_tasks;                         /* pids limit */
    struct limits limits GUARDED_BY(tasks_lock);    /* for the guest's cgroup file system */
    bool dying GUARDED_BY(tasks_lock);              /* pid 1 has exited: no more forks */
    struct waitq tasks_gone;                        /* told when nr_tasks falls */
    atomic_bool paused;                             /* kernel_pause(): no task enters the guest */
    atomic_uint nr_threads;                         /* host threads that run tasks */
    struct task_threads threads;

    int64_t boot_monotonic_ns; /* host CLOCK_MONOTONIC at boot: btime, starttime, CLOCK_BOOTTIME */
    atomic_uint last_session;  /* of those that /proc/PID/loginuid begins */
    atomic_ullong nr_forks, nr_syscalls, nr_switches;
    unsigned int nr_cpus;            /* that guests see */
    uint64_t total_ram;              /* that guests see, bytes */
    bool strace;                     /* log every call, decoded */
    atomic_ullong unserved_calls[8]; /* bit per call that sys_ni() has logged */
};

/* What guests see and may map from now on. */
void kernel_set_ram(struct kernel *k, uint64_t bytes);

/* Current time of a clock in ns; -EINVAL for unknown ones. CPU-time clocks are the task's: see sentry/kernel/clock.h. */
int64_t kernel_monotonic_ns(void);
int64_t kernel_realtime_ns(void);
int64_t kernel_boottime_ns(void); /* what the guest's uptime counts from: the host's start, as in any container */

#endif
