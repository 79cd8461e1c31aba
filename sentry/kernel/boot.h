/*
 * Starting and stopping the kernel and its first processes: what sentry/boot and sentry/control need.
 */
#ifndef SENTRY_KERNEL_BOOT_H
#define SENTRY_KERNEL_BOOT_H

#include "lib/compiler.h"
#include "sentry/kernel/kernel.h"

#include <sys/resource.h>

struct cred;
struct fdtable;
struct file;
struct fs_struct;
struct platform;
struct seccomp_filter;
struct tty_jobctl;

struct kernel_params {
    struct platform *platform; /* borrowed, like memfile and loop: they outlive the kernel */
    struct memfile *memfile;
    struct host_loop *loop;
    unsigned int nr_cpus;
    uint64_t total_ram;
    unsigned int max_tasks; /* 0: no limit but pid_max */
    struct limits limits;
    const char *hostname, *domainname;
    const char *uid_map, *gid_map; /* text of /proc/PID/uid_map; borrowed. NULL: all ids are the host's */
    bool strace;
    bool tsc_clock; /* the host keeps its own time by the time-stamp counter, so that guests may, too */
};

/* Makes the kernel with its pid table, futexes, IPC and vDSO, and no process. mnt_ns is the caller's to set. */
int must_check kernel_create(const struct kernel_params *p, struct kernel **out);
/* All tasks must be gone; see kernel_wait_idle(). */
void kernel_destroy(struct kernel *k);

struct process_params {
    const char *const *argv, *const *envp; /* NULL-terminated */
    /* The file to run, in the container; NULL: argv[0]. Without a slash it is searched in PATH of `envp`. */
    const char *exe;
    struct cred *cred;              /* consumed; no_new_privs and capabilities are in it */
    struct fdtable *files;          /* consumed */
    struct fs_struct *fs;           /* consumed: root, cwd, umask, namespace */
    const struct rlimit64 *rlimits; /* KERNEL_NR_RLIMITS of them, or NULL for Linux's defaults */
    struct tty_jobctl *ctty;        /* becomes the controlling terminal (the process leads its session); NULL: none */
    struct seccomp_filter *seccomp; /* borrowed; NULL: calls are not filtered */
    int oom_score_adj;
    int nice, sched_policy, sched_priority; /* as sched_setattr(2) would set them */
    int ioprio;                             /* IOPRIO_PRIO_VALUE; 0: none */
    unsigned long personality;
    const uint64_t *cpus; /* CPU_MASK_WORDS of its affinity, see sentry/kernel/cpus.h; NULL: all */
    bool held;            /* pid 1 is made, but waits for kernel_release_init() */
    bool killable_init;   /* pid 1 is not protected from signals that it does not handle: `do`, where it is no init */
    /*
     * The process is gone: its wait status. Called once, on its last thread, without locks. For pid 1 all other processes are
     * gone as well. May be NULL.
     */
    void (*exited)(struct kernel *k, pid_t pid, int wstatus, void *arg);
    void *exited_arg;
};

/*
 * Starts a process that leads a session of its own: the first one is pid 1, whose exit ends all others; later ones have no
 * parent and are reaped by themselves. Errors are those of execve(2), with nothing left behind.
 */
int must_check kernel_spawn(struct kernel *k, const struct process_params *p, pid_t *pid);

/* Sends a signal from outside the container: to one process, or to all with pid -1. Even pid 1 dies of SIGKILL. -ESRCH. */
int kernel_signal_external(struct kernel *k, pid_t pid, int signo);
/* Lets a pid 1 that was made `held` begin. */
void kernel_release_init(struct kernel *k);
/* Stops and continues every process for `pause` and `resume`, invisibly to the guest. */
void kernel_pause(struct kernel *k, bool paused);
/* Waits until no task's thread is left, or `timeout_ms` has passed (-1: never): 0 or -ETIMEDOUT. */
int kernel_wait_idle(struct kernel *k, int timeout_ms);

#endif
