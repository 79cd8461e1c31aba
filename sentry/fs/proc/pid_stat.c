/* /proc/PID/{stat,statm,sched,schedstat}. */
#include "sentry/fs/proc/proc.h"

#include "sentry/fs/tty/tty.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/session.h"
#include "sentry/mm/mm.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/sysmacros.h>

#define NSEC_PER_TICK ((int64_t)10000000) /* USER_HZ is 100 */
#define PAGES(bytes)  ((uint64_t)((bytes) / GUEST_PAGE_SIZE))
#define PF_FORKNOEXEC 0x40
#define PF_RANDOMIZE  0x400000
#define DEFAULT_PRIO  20

/* Family and terminal, which tasks_lock guards. */
struct relations {
    pid_t ppid, pgid, sid;
    unsigned int nr_threads;
    int exit_signal, exit_code;
    uint64_t minflt, majflt;
    bool has_execed;
};

static struct relations get_relations(struct task *t)
{
    struct tgroup *tg = t->tg;
    struct relations r = {0};

    mutex_lock(&t->k->tasks_lock);
    r.ppid = tg->parent ? tg->parent->tgid : 0;
    r.pgid = tg->pgrp ? tg->pgrp->pgid : 0;
    r.sid = tg->session ? tg->session->sid : 0;
    r.nr_threads = tg->nr_threads;
    r.exit_signal = t == tg->leader ? tg->exit_signal : -1;
    r.exit_code = t->exit_code;
    r.minflt = tg->dead_children.ru_minflt;
    r.majflt = tg->dead_children.ru_majflt;
    r.has_execed = tg->has_execed;
    mutex_unlock(&t->k->tasks_lock);
    return r;
}

/* The kernel's encoding of a device number: 12 bits of major between 8 and 12 bits of minor. */
static unsigned int encode_dev(dev_t d)
{
    return (minor(d) & 0xff) | major(d) << 8 | (minor(d) & ~0xffU) << 12;
}

static unsigned int terminal_nr(struct tgroup *tg)
{
    struct tty_jobctl *job = tgroup_ctty(tg);
    unsigned int nr = 0;

    if (job) {
        nr = encode_dev(tty_rdev(tty_of_jobctl(job)));
        mutex_lock(&tg->k->tasks_lock);
        job->put(job);
        mutex_unlock(&tg->k->tasks_lock);
    }
    return nr;
}

/* As /proc/PID/stat shows it: real-time priorities are negative. */
static long task_priority(const struct task *t)
{
    if (t->sched_policy == SCHED_FIFO || t->sched_policy == SCHED_RR)
        return -1 - t->sched_priority;
    return DEFAULT_PRIO + t->nice;
}

/* Since the host's start. The offset between the clocks is rounded, so that the answer is always the same. */
static uint64_t start_time(const struct task *t)
{
    int64_t suspended_ms = (kernel_boottime_ns() - kernel_monotonic_ns()) / 1000000;

    return t->start_ns + (uint64_t)suspended_ms * 1000000;
}

int proc_pid_stat(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    bool whole = n->desc->arg != PROC_THREAD;
    struct task *t = proc_task(n);
    struct mm_layout lay = {0};
    struct mm_stats st = {0};
    struct proc_signals sig;
    struct cputime used, children;
    char comm[TASK_COMM_LEN];
    struct relations rel;
    struct mm *mm;
    bool permitted;

    if (!t)
        return -ESRCH;
    permitted = proc_may_access(c, t);
    mm = task_get_mm(t);
    if (mm) {
        mm_get_layout(mm, &lay);
        mm_get_stats(mm, &st);
        mm_put(mm);
    }
    rel = get_relations(t);
    proc_comm(t, comm);
    proc_signals(t, &sig);
    used = whole ? tgroup_cputime(t->tg) : task_cputime(t);
    children = whole ? tgroup_children_cputime(t->tg) : (struct cputime){0};
    if (!permitted)
        lay = (struct mm_layout){.start_code = lay.start_code ? 1 : 0, .end_code = lay.end_code ? 1 : 0};

    seq_printf(s, "%d (%s) %c %d %d %d %u %d %u ", t->tid, comm, proc_state_letter(t), rel.ppid, rel.pgid, rel.sid,
               terminal_nr(t->tg), session_foreground_pgid(t->tg), PF_RANDOMIZE | (rel.has_execed ? 0 : PF_FORKNOEXEC));
    seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " ", st.minor_faults, whole ? rel.minflt : 0, st.major_faults,
               whole ? rel.majflt : 0);
    seq_printf(s, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " ", used.user / NSEC_PER_TICK, used.system / NSEC_PER_TICK,
               children.user / NSEC_PER_TICK, children.system / NSEC_PER_TICK);
    seq_printf(s, "%ld %d %u 0 %" PRIu64 " ", task_priority(t), t->nice, rel.nr_threads,
               start_time(t) / (uint64_t)NSEC_PER_TICK);
    seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " ", st.vm_size, PAGES(st.rss_anon + st.rss_file + st.rss_shmem),
               task_rlimit(t, RLIMIT_RSS));
    seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " 0 0 ", lay.start_code, lay.end_code, lay.start_stack);
    /* Signal sets of 31 bits: the fields are obsolete. */
    seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " ", (sig.pending | sig.shared_pending) & 0x7fffffff,
               sig.blocked & 0x7fffffff, sig.ignored & 0x7fffffff, sig.caught & 0x7fffffff);
    seq_printf(s, "0 0 0 %d %u %d %d 0 0 0 ", rel.exit_signal, t->last_cpu,
               t->sched_policy == SCHED_FIFO || t->sched_policy == SCHED_RR ? t->sched_priority : 0, t->sched_policy);
    seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n", lay.start_data,
               lay.end_data, lay.start_brk, lay.arg_start, lay.arg_end, lay.env_start, lay.env_end,
               permitted ? rel.exit_code : 0);
    task_put(t);
    return 0;
}

int proc_pid_statm(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    struct mm_stats st = {0};
    struct mm *mm;

    if (!t)
        return -ESRCH;
    mm = task_get_mm(t);
    if (mm) {
        mm_get_stats(mm, &st);
        mm_put(mm);
    }
    task_put(t);
    seq_printf(s, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " 0 %" PRIu64 " 0\n", PAGES(st.vm_size),
               PAGES(st.rss_anon + st.rss_file + st.rss_shmem), PAGES(st.rss_file + st.rss_shmem), PAGES(st.text),
               PAGES(st.data + st.stack));
    return 0;
}

int proc_pid_schedstat(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    struct cputime used;

    if (!t)
        return -ESRCH;
    used = task_cputime(t);
    /* The wait in the run queue is the host's secret. */
    seq_printf(s, "%" PRId64 " 0 %llu\n", used.user + used.system,
               (unsigned long long)(t->nr_voluntary_switches + t->nr_involuntary_switches));
    task_put(t);
    return 0;
}

int proc_pid_sched(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    char comm[TASK_COMM_LEN];
    struct cputime used;
    int64_t total;

    if (!t)
        return -ESRCH;
    proc_comm(t, comm);
    used = task_cputime(t);
    total = used.user + used.system;
    seq_printf(s, "%s (%d, #threads: %u)", comm, t->tid, get_relations(t).nr_threads);
    seq_putc(s, '\n');
    seq_puts(s, "-------------------------------------------------------------------\n");
    seq_printf(s, "%-45s:%21" PRId64 ".%06" PRId64 "\n", "se.sum_exec_runtime", total / 1000000, total % 1000000);
    seq_printf(s, "%-45s:%28llu\n", "nr_switches", (unsigned long long)(t->nr_voluntary_switches + t->nr_involuntary_switches));
    seq_printf(s, "%-45s:%28llu\n", "nr_voluntary_switches", (unsigned long long)t->nr_voluntary_switches);
    seq_printf(s, "%-45s:%28llu\n", "nr_involuntary_switches", (unsigned long long)t->nr_involuntary_switches);
    seq_printf(s, "%-45s:%28d\n", "policy", t->sched_policy);
    seq_printf(s, "%-45s:%28ld\n", "prio", 100 + task_priority(t));
    task_put(t);
    return 0;
}
