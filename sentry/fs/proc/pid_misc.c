/* The small files of /proc/PID: limits, io, comm, oom_*, cgroup, id maps and the like. */
#include "sentry/fs/proc/proc.h"

#include "sentry/mm/mm.h"
#include "vfs/cred.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int proc_pid_limits(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    static const struct {
        const char *name, *unit;
    } rows[KERNEL_NR_RLIMITS] = {
        [RLIMIT_CPU] = {"Max cpu time", "seconds"},         [RLIMIT_FSIZE] = {"Max file size", "bytes"},
        [RLIMIT_DATA] = {"Max data size", "bytes"},         [RLIMIT_STACK] = {"Max stack size", "bytes"},
        [RLIMIT_CORE] = {"Max core file size", "bytes"},    [RLIMIT_RSS] = {"Max resident set", "bytes"},
        [RLIMIT_NPROC] = {"Max processes", "processes"},    [RLIMIT_NOFILE] = {"Max open files", "files"},
        [RLIMIT_MEMLOCK] = {"Max locked memory", "bytes"},  [RLIMIT_AS] = {"Max address space", "bytes"},
        [RLIMIT_LOCKS] = {"Max file locks", "locks"},       [RLIMIT_SIGPENDING] = {"Max pending signals", "signals"},
        [RLIMIT_MSGQUEUE] = {"Max msgqueue size", "bytes"}, [RLIMIT_NICE] = {"Max nice priority", NULL},
        [RLIMIT_RTPRIO] = {"Max realtime priority", NULL},  [RLIMIT_RTTIME] = {"Max realtime timeout", "us"},
    };
    struct rlimit64 limits[KERNEL_NR_RLIMITS];
    struct task *t = proc_task(n);

    if (!t)
        return -ESRCH;
    mutex_lock(&t->tg->siglock);
    memcpy(limits, t->tg->rlimits, sizeof(limits));
    mutex_unlock(&t->tg->siglock);
    task_put(t);
    seq_puts(s, "Limit                     Soft Limit           Hard Limit           Units     \n");
    for (size_t i = 0; i < KERNEL_NR_RLIMITS; i++) {
        seq_printf(s, "%-25s ", rows[i].name);
        for (int hard = 0; hard < 2; hard++) {
            uint64_t v = hard ? limits[i].rlim_max : limits[i].rlim_cur;
            if (v == RLIM64_INFINITY)
                seq_printf(s, "%-20s ", "unlimited");
            else
                seq_printf(s, "%-20" PRIu64 " ", v);
        }
        if (rows[i].unit)
            seq_printf(s, "%-10s", rows[i].unit);
        seq_putc(s, '\n');
    }
    return 0;
}

int proc_pid_io(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);

    if (!t)
        return -ESRCH;
    seq_printf(s, "rchar: %llu\nwchar: %llu\nsyscr: %llu\nsyscw: %llu\n", (unsigned long long)t->tg->io_rchar,
               (unsigned long long)t->tg->io_wchar, (unsigned long long)t->tg->io_syscr, (unsigned long long)t->tg->io_syscw);
    seq_puts(s, "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n");
    task_put(t);
    return 0;
}

int proc_pid_comm(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    char comm[TASK_COMM_LEN];

    if (!t)
        return -ESRCH;
    proc_comm(t, comm);
    task_put(t);
    seq_printf(s, "%s\n", comm);
    return 0;
}

/* Only threads of the same process may rename one another. */
ssize_t proc_pid_comm_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    struct task *t = proc_task(n), *self = task_of_caller(c);
    ssize_t r = len;

    if (!t)
        return -ESRCH;
    if (self && self->tg == t->tg) {
        mutex_lock(&t->tg->siglock);
        memset(t->comm, 0, sizeof(t->comm));
        memcpy(t->comm, buf, len < TASK_COMM_LEN - 1 ? len : TASK_COMM_LEN - 1);
        mutex_unlock(&t->tg->siglock);
    } else {
        r = -EINVAL;
    }
    task_put(t);
    return r;
}

static int get_oom_score_adj(const struct pseudo_node *n, int *adj)
{
    struct task *t = proc_task(n);

    if (!t)
        return -ESRCH;
    mutex_lock(&t->tg->siglock);
    *adj = t->tg->oom_score_adj;
    mutex_unlock(&t->tg->siglock);
    task_put(t);
    return 0;
}

static int set_oom_score_adj(const struct pseudo_node *n, const struct vfs_caller *c, int adj)
{
    struct task *t = proc_task(n);
    int r = 0;

    if (!t)
        return -ESRCH;
    mutex_lock(&t->tg->siglock);
    if (adj < t->tg->oom_score_adj && !cred_has_cap(c->cred, CAP_SYS_RESOURCE))
        r = -EACCES;
    else
        t->tg->oom_score_adj = adj;
    mutex_unlock(&t->tg->siglock);
    task_put(t);
    return r;
}

int proc_pid_oom_score_adj(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    int adj, r = get_oom_score_adj(n, &adj);

    if (r == 0)
        seq_printf(s, "%d\n", adj);
    return r;
}

ssize_t proc_pid_oom_score_adj_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, -1000, 1000, &v);

    if (r == 0)
        r = set_oom_score_adj(n, c, (int)v);
    return r ? r : (ssize_t)len;
}

/* The old scale: -17 (never) to 15. */
int proc_pid_oom_adj(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    int adj, r = get_oom_score_adj(n, &adj);

    if (r == 0)
        seq_printf(s, "%d\n", adj == 1000 ? 15 : adj * 17 / 1000);
    return r;
}

ssize_t proc_pid_oom_adj_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, -17, 15, &v);

    if (r == 0)
        r = set_oom_score_adj(n, c, v == 15 ? 1000 : (int)v * 1000 / 17);
    return r ? r : (ssize_t)len;
}

int proc_pid_oom_score(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    struct mm_stats st = {0};
    int64_t points;
    struct mm *mm;
    int adj;

    if (!t || get_oom_score_adj(n, &adj)) {
        if (t)
            task_put(t);
        return -ESRCH;
    }
    mm = task_get_mm(t);
    if (mm) {
        mm_get_stats(mm, &st);
        mm_put(mm);
    }
    task_put(t);
    points = (int64_t)((st.rss_anon + st.rss_file + st.rss_shmem) * 1000 / (n->k->total_ram + 1)) + adj;
    seq_printf(s, "%" PRId64 "\n", adj == -1000 || points < -1000 ? 0 : (1000 + points) * 2 / 3);
    return 0;
}

int proc_pid_cgroup(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "0::/\n");
    return 0;
}

static int show_id_map(struct seq *s, const char *map)
{
    if (map)
        seq_puts(s, map);
    else
        seq_printf(s, "%10u %10u %10u\n", 0, 0, UINT32_MAX);
    return 0;
}

int proc_pid_uid_map(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_id_map(s, n->k->uid_map);
}

int proc_pid_gid_map(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_id_map(s, n->k->gid_map);
}

int proc_pid_projid_map(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_id_map(s, NULL);
}

/* The one user namespace has its maps, once for all. */
ssize_t proc_pid_id_map_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    return -EPERM;
}

int proc_pid_setgroups(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "allow\n");
    return 0;
}

static int show_login(struct seq *s, const struct pseudo_node *n, bool session)
{
    struct task *t = proc_task(n);

    if (!t)
        return -ESRCH;
    seq_printf(s, "%u", atomic_load(session ? &t->sessionid : &t->loginuid));
    task_put(t);
    return 0;
}

int proc_pid_loginuid(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_login(s, n, false);
}

int proc_pid_sessionid(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_login(s, n, true);
}

/* A login program says once who has logged in (pam_loginuid), for itself and its children; to say it again takes
 * CAP_AUDIT_CONTROL. */
ssize_t proc_pid_loginuid_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    struct task *t = proc_task(n), *self = task_of_caller(c);
    int64_t uid;
    int r;

    if (t)
        task_put(t);
    if (!t || t != self)
        return -EPERM;
    r = pos ? -EINVAL : pseudo_parse_int(buf, 0, UINT32_MAX, &uid);
    if (r < 0)
        return r;
    if (atomic_load(&self->loginuid) != UINT32_MAX && !cred_has_cap(c->cred, CAP_AUDIT_CONTROL))
        return -EPERM;
    atomic_store(&self->sessionid, uid == UINT32_MAX ? UINT32_MAX : atomic_fetch_add(&self->k->last_session, 1) + 1);
    atomic_store(&self->loginuid, (unsigned int)uid);
    return (ssize_t)len;
}

int proc_pid_wchan(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_putc(s, '0');
    return 0;
}

int proc_pid_personality(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);

    if (!t)
        return -ESRCH;
    seq_printf(s, "%08lx\n", t->personality);
    task_put(t);
    return 0;
}

/* Registers are the business of the task's own thread; "running" is what Linux says when it cannot tell either. */
int proc_pid_syscall(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "running\n");
    return 0;
}

int proc_pid_stack(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return -EACCES; /* of the host's kernel: nobody's business in here */
}

static int slack_access(struct task *t, const struct vfs_caller *c)
{
    struct task *self = task_of_caller(c);

    return !self || self->tg == t->tg || cred_has_cap(c->cred, CAP_SYS_NICE) ? 0 : -EPERM;
}

int proc_pid_timerslack(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    int r;

    if (!t)
        return -ESRCH;
    r = slack_access(t, c);
    if (r == 0)
        seq_printf(s, "%lu\n", t->timer_slack_ns);
    task_put(t);
    return r;
}

ssize_t proc_pid_timerslack_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    struct task *t = proc_task(n);
    int64_t v;
    int r;

    if (!t)
        return -ESRCH;
    r = slack_access(t, c);
    if (r == 0)
        r = pseudo_parse_int(buf, 0, INT64_MAX, &v);
    if (r == 0)
        t->timer_slack_ns = v ? (unsigned long)v : 50000;
    task_put(t);
    return r ? r : (ssize_t)len;
}

int proc_pid_coredump_filter(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "00000033\n");
    return 0;
}

/* Writing to `sched` resets its statistics on Linux; ours are totals that others rely on. */
ssize_t proc_pid_discard_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    return len;
}

int proc_pid_children(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    struct tgroup *child;

    if (!t)
        return -ESRCH;
    mutex_lock(&t->k->tasks_lock);
    list_for_each_entry(child, &t->tg->children, sibling) {
        if (child->parent_tid == t->tid)
            seq_printf(s, "%d ", child->tgid);
    }
    mutex_unlock(&t->k->tasks_lock);
    task_put(t);
    return 0;
}
