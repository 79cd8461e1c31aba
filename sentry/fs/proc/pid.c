/* /proc/PID and /proc/PID/task/TID: which task a node means, who may look, and the tables of both directories. */
#include "sentry/fs/proc/proc.h"

#include "sentry/fs/fs.h"
#include "sentry/kernel/pid.h"
#include "sentry/kernel/ptrace_access.h"
#include "sentry/mm/mm.h"
#include "vfs/fs_struct.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct task *proc_task(const struct pseudo_node *n)
{
    struct task *t = task_find(n->k, n->key.id);

    if (t && t->start_ns != n->key.generation) {
        task_put(t);
        t = NULL;
    }
    return t;
}

struct pseudo_key proc_task_key(const struct task *t)
{
    return (struct pseudo_key){.id = t->tid, .generation = t->start_ns, .sub = -1};
}

/*
 * Files belong to the task's effective user, unless the process is not dumpable (it has changed credentials): then to root, all
 * but the directory itself, as task_dump_owner() in Linux has it.
 */
int proc_pid_sync(const struct pseudo_node *n, struct inode *inode)
{
    struct task *t = proc_task(n);
    struct cred *cred;
    bool plain_dir = inode->mode == (S_IFDIR | 0555);

    if (!t)
        return -ENOENT;
    cred = task_get_cred(t);
    if (cred && (plain_dir || t->tg->dumpable == 1)) {
        inode->uid = cred->euid;
        inode->gid = cred->egid;
    } else {
        inode->uid = inode->gid = 0;
    }
    if (cred)
        cred_put(cred);
    task_put(t);
    return 0;
}

bool proc_may_access(const struct vfs_caller *c, struct task *target)
{
    struct task *t = task_of_caller(c);

    return !t || ptrace_may_access(t, target, PTRACE_MODE_FSCREDS);
}

int proc_open_checked(const struct pseudo_node *n, const struct vfs_caller *c, void **state)
{
    struct task *t = proc_task(n);
    int r;

    if (!t)
        return -ESRCH;
    r = proc_may_access(c, t) ? 0 : -EACCES;
    task_put(t);
    return r;
}

int proc_open_mm(const struct pseudo_node *n, const struct vfs_caller *c, void **state)
{
    struct task *t = proc_task(n);
    int r;

    if (!t)
        return -ESRCH;
    r = proc_may_access(c, t) ? 0 : -EACCES;
    if (r == 0)
        *state = task_get_mm(t);
    task_put(t);
    return r;
}

void proc_close_mm(void *state)
{
    mm_put(state);
}

void proc_comm(struct task *t, char out[TASK_COMM_LEN])
{
    mutex_lock(&t->tg->siglock);
    memcpy(out, t->comm, TASK_COMM_LEN);
    mutex_unlock(&t->tg->siglock);
    out[TASK_COMM_LEN - 1] = 0;
}

char proc_state_letter(struct task *t)
{
    switch (atomic_load_explicit(&t->state, memory_order_relaxed)) {
    case TASK_RUNNING:
        return 'R';
    case TASK_SLEEPING:
        return 'S';
    case TASK_STOPPED:
        return 'T';
    case TASK_ZOMBIE:
        return 'Z';
    default:
        return 'X';
    }
}

void proc_signals(struct task *t, struct proc_signals *out)
{
    struct tgroup *tg = t->tg;

    *out = (struct proc_signals){0};
    mutex_lock(&tg->siglock);
    out->pending = t->pending.set;
    out->shared_pending = tg->shared_pending.set;
    out->blocked = t->blocked;
    out->queued = tg->nr_queued_signals;
    if (tg->sighand) {
        mutex_lock(&tg->sighand->lock);
        for (int signo = 1; signo <= KERNEL_NSIG; signo++) {
            uint64_t handler = tg->sighand->action[signo - 1].handler;
            if (handler == (uintptr_t)SIG_IGN)
                out->ignored |= ksig_bit(signo);
            else if (handler != (uintptr_t)SIG_DFL)
                out->caught |= ksig_bit(signo);
        }
        mutex_unlock(&tg->sighand->lock);
    }
    mutex_unlock(&tg->siglock);
}

/* cwd, root, exe. */

enum { LINK_CWD, LINK_ROOT, LINK_EXE };

static int pid_link_path(const struct pseudo_node *n, const struct vfs_caller *c, struct path *out)
{
    struct task *t = proc_task(n);
    int r = -ENOENT;

    if (!t)
        return -ENOENT;
    if (!proc_may_access(c, t)) {
        r = -EACCES;
    } else if ((intptr_t)n->desc->arg == LINK_EXE) {
        struct mm *mm = task_get_mm(t);
        struct file *exe = mm ? mm_exe_file(mm) : NULL;
        if (exe) {
            *out = exe->path;
            path_get(out);
            file_put(exe);
            r = 0;
        }
        if (mm)
            mm_put(mm);
    } else {
        struct fs_struct *fs = task_get_fs(t);
        if (fs) {
            if ((intptr_t)n->desc->arg == LINK_CWD)
                fs_get_cwd(fs, out);
            else
                fs_get_root(fs, out);
            fs_struct_put(fs);
            r = 0;
        }
    }
    task_put(t);
    return r;
}

static ssize_t pid_link_read(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len)
{
    char name[PATH_MAX];
    struct path p, root;
    ssize_t r = pid_link_path(n, c, &p);

    if (r)
        return r;
    fs_get_root(c->fs, &root);
    r = vfs_path_name(&p, &root, name, sizeof(name), true);
    path_put(&root);
    path_put(&p);
    if (r < 0)
        return r;
    if ((size_t)r > len)
        r = len;
    memcpy(buf, name, r);
    return r;
}

/* /proc/PID/task. */

static int task_dir_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    int64_t tid = pseudo_parse_name(name, len);
    struct task *leader = proc_task(dir), *t = NULL;
    int r = -ENOENT;

    if (leader && tid > 0)
        t = task_find(dir->k, tid);
    if (t && t->tg == leader->tg) {
        out->desc = &proc_tid_dir;
        out->key = proc_task_key(t);
        r = 0;
    }
    if (t)
        task_put(t);
    if (leader)
        task_put(leader);
    return r;
}

static bool task_dir_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    struct task *leader = proc_task(dir), *t;

    if (!leader)
        return false;
    t = *pos <= INT32_MAX ? tgroup_next_task(leader->tg, *pos) : NULL;
    task_put(leader);
    if (!t)
        return false;
    *pos = t->tid;
    out->desc = &proc_tid_dir;
    out->key = proc_task_key(t);
    snprintf(out->name, sizeof(out->name), "%d", t->tid);
    task_put(t);
    return true;
}

/*
 * A process may always use its own descriptors by name, also when it has changed its user and /proc/self/fd is root's by now.
 * Tasks of one process share their credentials object until one of them changes its own.
 */
static int own_permission(const struct pseudo_node *n, const struct cred *cred)
{
    struct task *t = proc_task(n);
    struct cred *own = t ? task_get_cred(t) : NULL;
    int r = own == cred ? 0 : -EACCES;

    if (own)
        cred_put(own);
    if (t)
        task_put(t);
    return r;
}

/* The tables. */

static int attr_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return -EINVAL; /* no security module is active */
}

static const struct pseudo_desc attr_rows[] = {
    PSEUDO_RW("current", 0666, attr_show, NULL),
    PSEUDO_RW("exec", 0666, attr_show, NULL),
    PSEUDO_RW("fscreate", 0666, attr_show, NULL),
    PSEUDO_RW("keycreate", 0666, attr_show, NULL),
    PSEUDO_FILE("prev", 0444, attr_show),
    PSEUDO_RW("sockcreate", 0666, attr_show, NULL),
    PSEUDO_END,
};

#define CHECKED(name_, mode_, show_)                                                           \
    {                                                                                          \
        .name = (name_), .mode = S_IFREG | (mode_), .show = (show_), .open = proc_open_checked \
    }
#define OF_MM(name_, mode_, show_)                                                                                \
    {                                                                                                             \
        .name = (name_), .mode = S_IFREG | (mode_), .show = (show_), .open = proc_open_mm, .close = proc_close_mm \
    }
#define LINK(name_, which_)                                                                            \
    {                                                                                                  \
        .name = (name_), .mode = S_IFLNK | 0777, .readlink = pid_link_read, .get_link = pid_link_path, \
        .arg = (const void *)(intptr_t)(which_)                                                        \
    }

#define MAPS_ROW                                                                                                           \
    {                                                                                                                      \
        .name = "maps", .mode = S_IFREG | 0444, .show = proc_pid_maps, .ioctl = proc_pid_maps_ioctl, .open = proc_open_mm, \
        .close = proc_close_mm                                                                                             \
    }

/* What a process and a thread have in common; `thread_` is PROC_THREAD or NULL. */
#define COMMON_ROWS(thread_)                                                                                                   \
    PSEUDO_DIR("attr", 0555, attr_rows), OF_MM("auxv", 0400, proc_pid_auxv), PSEUDO_FILE("cgroup", 0444, proc_pid_cgroup),     \
        PSEUDO_FILE("cmdline", 0444, proc_pid_cmdline), PSEUDO_RW("comm", 0644, proc_pid_comm, proc_pid_comm_write),           \
        LINK("cwd", LINK_CWD), OF_MM("environ", 0400, proc_pid_environ), LINK("exe", LINK_EXE),                                \
        PSEUDO_RW("gid_map", 0644, proc_pid_gid_map, proc_pid_id_map_write),                                                   \
        {.name = "io", .mode = S_IFREG | 0400, .show = proc_pid_io, .open = proc_open_checked, .arg = (thread_)},              \
        PSEUDO_FILE("limits", 0444, proc_pid_limits), PSEUDO_RW("loginuid", 0644, proc_pid_loginuid, proc_pid_loginuid_write), \
        MAPS_ROW, {.name = "mem", .mode = S_IFREG | 0600, .open_raw = proc_pid_mem_open},                                      \
        {.name = "mountinfo", .mode = S_IFREG | 0444, .flags = PSEUDO_POLLED, .show = proc_pid_mountinfo},                     \
        {.name = "mounts", .mode = S_IFREG | 0444, .flags = PSEUDO_POLLED, .show = proc_pid_mounts},                           \
        PSEUDO_DIR("net", 0555, proc_net_rows), {.name = "ns", .mode = S_IFDIR | 0511, .children = proc_ns_rows},              \
        PSEUDO_RW("oom_adj", 0644, proc_pid_oom_adj, proc_pid_oom_adj_write),                                                  \
        PSEUDO_FILE("oom_score", 0444, proc_pid_oom_score),                                                                    \
        PSEUDO_RW("oom_score_adj", 0644, proc_pid_oom_score_adj, proc_pid_oom_score_adj_write),                                \
        CHECKED("personality", 0400, proc_pid_personality),                                                                    \
        PSEUDO_RW("projid_map", 0644, proc_pid_projid_map, proc_pid_id_map_write), LINK("root", LINK_ROOT),                    \
        PSEUDO_RW("sched", 0644, proc_pid_sched, proc_pid_discard_write), PSEUDO_FILE("schedstat", 0444, proc_pid_schedstat),  \
        PSEUDO_FILE("sessionid", 0444, proc_pid_sessionid),                                                                    \
        PSEUDO_RW("setgroups", 0644, proc_pid_setgroups, proc_pid_id_map_write), OF_MM("smaps", 0444, proc_pid_smaps),         \
        OF_MM("smaps_rollup", 0444, proc_pid_smaps_rollup), CHECKED("stack", 0400, proc_pid_stack),                            \
        {.name = "stat", .mode = S_IFREG | 0444, .show = proc_pid_stat, .arg = (thread_)},                                     \
        PSEUDO_FILE("statm", 0444, proc_pid_statm), PSEUDO_FILE("status", 0444, proc_pid_status),                              \
        CHECKED("syscall", 0400, proc_pid_syscall), PSEUDO_RW("uid_map", 0644, proc_pid_uid_map, proc_pid_id_map_write),       \
        PSEUDO_FILE("wchan", 0444, proc_pid_wchan)

extern const struct pseudo_desc proc_pid_rows[], proc_tid_rows[];

const struct pseudo_desc proc_pid_dir = {.mode = S_IFDIR | 0555, .children = proc_pid_rows, .sync = proc_pid_sync};
const struct pseudo_desc proc_tid_dir = {.mode = S_IFDIR | 0555, .children = proc_tid_rows, .sync = proc_pid_sync};

#define PAGEMAP_ROW                                                                  \
    {                                                                                \
        .name = "pagemap", .mode = S_IFREG | 0400, .open_raw = proc_pid_pagemap_open \
    }

#define FD_ROWS                                                                                                           \
    {.name = "fd", .mode = S_IFDIR | 0500, .lookup = proc_fd_lookup, .next = proc_fd_next, .permission = own_permission}, \
    {                                                                                                                     \
        .name = "fdinfo", .mode = S_IFDIR | 0555, .lookup = proc_fdinfo_lookup, .next = proc_fdinfo_next,                 \
        .open = proc_open_checked                                                                                         \
    }

const struct pseudo_desc proc_pid_rows[] = {
    COMMON_ROWS(NULL),
    FD_ROWS,
    PSEUDO_FILE("coredump_filter", 0444, proc_pid_coredump_filter),
    CHECKED("mountstats", 0400, proc_pid_mountstats),
    PAGEMAP_ROW,
    {.name = "task", .mode = S_IFDIR | 0555, .lookup = task_dir_lookup, .next = task_dir_next},
    PSEUDO_RW("timerslack_ns", 0666, proc_pid_timerslack, proc_pid_timerslack_write),
    PSEUDO_END,
};

const struct pseudo_desc proc_tid_rows[] = {
    COMMON_ROWS(PROC_THREAD), FD_ROWS, PSEUDO_FILE("children", 0444, proc_pid_children), PAGEMAP_ROW, PSEUDO_END,
};

struct task *proc_file_task(const struct file *f)
{
    const struct pseudo_node *n = f->inode->sb->magic == PROC_SUPER_MAGIC ? f->inode->priv : NULL;

    return n && n->desc == &proc_pid_dir ? proc_task(n) : NULL;
}
