/*
 * proc(5). One file a subject; each exports the table of its directory or the functions of its rows, which root.c and pid.c
 * put together.
 *
 * Nodes below /proc/PID carry the thread id and its start time as key, so that a number used again is not mistaken for the
 * same process. PID directories show the process, those below task/ the thread: rows of the latter have PROC_THREAD as `arg`.
 */
#ifndef SENTRY_FS_PROC_PROC_H
#define SENTRY_FS_PROC_PROC_H

#include "sentry/fs/pseudofs.h"
#include "sentry/kernel/task.h"

struct mm;

#define PROC_THREAD ((const void *)1)

/* pid.c */
/* The task of a node, referenced, or NULL when it has gone: -ESRCH. */
struct task *proc_task(const struct pseudo_node *n);
struct pseudo_key proc_task_key(const struct task *t);
int proc_pid_sync(const struct pseudo_node *n, struct inode *inode); /* pseudo_desc.sync of all nodes below PID */
/* Whether the caller may look into the task as ptrace could; always for the sentry itself. */
bool proc_may_access(const struct vfs_caller *c, struct task *target);
/* pseudo_desc.open for files that only those may read who could ptrace: 0, -EACCES, -ESRCH. */
int proc_open_checked(const struct pseudo_node *n, const struct vfs_caller *c, void **state);
/* The same, leaving the task's mm (or NULL if it has none any more) as state, for proc_close_mm(). */
int proc_open_mm(const struct pseudo_node *n, const struct vfs_caller *c, void **state);
void proc_close_mm(void *state);
void proc_comm(struct task *t, char out[TASK_COMM_LEN]);
char proc_state_letter(struct task *t); /* R, S, T, Z or X */
struct proc_signals {
    ksigset pending, shared_pending, blocked, ignored, caught;
    unsigned int queued;
};
void proc_signals(struct task *t, struct proc_signals *out);
extern const struct pseudo_desc proc_pid_dir, proc_tid_dir;

/* Rows, by file. Functions are pseudo_desc.show and .write ones. */
typedef int proc_show_fn(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c);
typedef ssize_t proc_write_fn(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos);

proc_show_fn proc_pid_stat, proc_pid_statm, proc_pid_schedstat, proc_pid_sched; /* pid_stat.c */
proc_show_fn proc_pid_status;                                                   /* pid_status.c */
proc_show_fn proc_pid_cmdline, proc_pid_environ, proc_pid_auxv;                 /* pid_memory.c */
int proc_pid_mem_open(const struct pseudo_node *n, struct file *f, const struct vfs_caller *c);
int proc_pid_pagemap_open(const struct pseudo_node *n, struct file *f, const struct vfs_caller *c);
proc_show_fn proc_pid_maps, proc_pid_smaps, proc_pid_smaps_rollup; /* pid_maps.c */
/* PROCMAP_QUERY; procmap_query.c. */
long proc_pid_maps_ioctl(void *mm, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
proc_show_fn proc_pid_mounts, proc_pid_mountinfo, proc_pid_mountstats; /* pid_mounts.c */
proc_show_fn proc_pid_limits, proc_pid_io, proc_pid_comm, proc_pid_oom_score, proc_pid_oom_score_adj, proc_pid_oom_adj,
    proc_pid_cgroup, proc_pid_uid_map, proc_pid_gid_map, proc_pid_projid_map, proc_pid_setgroups, proc_pid_loginuid,
    proc_pid_sessionid, proc_pid_wchan, proc_pid_personality, proc_pid_syscall, proc_pid_stack, proc_pid_timerslack,
    proc_pid_coredump_filter, proc_pid_children; /* pid_misc.c */
proc_write_fn proc_pid_comm_write, proc_pid_oom_score_adj_write, proc_pid_oom_adj_write, proc_pid_id_map_write,
    proc_pid_timerslack_write, proc_pid_discard_write, proc_pid_loginuid_write;
/* pid_fd.c: pseudo_desc.lookup and .next of `fd` and `fdinfo`. */
int proc_fd_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out);
bool proc_fd_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out);
int proc_fdinfo_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out);
bool proc_fdinfo_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out);
extern const struct pseudo_desc proc_ns_rows[];  /* pid_ns.c */
extern const struct pseudo_desc proc_net_rows[]; /* net.c */
int proc_nsfs_init(struct kernel *k);

/* Global files. */
proc_show_fn proc_meminfo, proc_vmstat, proc_zoneinfo, proc_buddyinfo, proc_swaps; /* memory.c */
proc_show_fn proc_cpuinfo, proc_stat, proc_loadavg, proc_uptime, proc_interrupts;  /* cpu.c */
proc_show_fn proc_cgroups, proc_filesystems, proc_devices, proc_misc, proc_partitions, proc_diskstats, proc_version,
    proc_cmdline, proc_locks, proc_sysvipc; /* global.c */
proc_show_fn proc_config_gz;                /* config_gz.c */

/* Calls `fn` for each open descriptor of each process until it returns non-zero, which is returned. locks.c */
int proc_for_each_file(struct kernel *k, int (*fn)(void *arg, struct task *t, struct file *f), void *arg);

extern const struct pseudo_desc proc_sys_rows[]; /* sysctl.c */

#endif
