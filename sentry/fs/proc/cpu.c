/* /proc/{stat,uptime,loadavg,interrupts}. Times count from the host's start, like CLOCK_BOOTTIME. */
#include "sentry/fs/proc/proc.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/pid.h"

#include <inttypes.h>
#include <sys/sysinfo.h>

#define NSEC_PER_TICK ((int64_t)10000000)

int proc_stat(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct kernel_cpu_stat st;
    unsigned int nr = n->k->nr_cpus;

    kernel_cpu_stat(n->k, &st);
    seq_printf(s, "cpu  %" PRId64 " 0 %" PRId64 " %" PRId64 " 0 0 0 0 0 0\n", st.user / NSEC_PER_TICK,
               st.system / NSEC_PER_TICK, st.idle / NSEC_PER_TICK);
    /* Which CPU it was is not known: each has its share. */
    for (unsigned int cpu = 0; cpu < nr; cpu++)
        seq_printf(s, "cpu%u %" PRId64 " 0 %" PRId64 " %" PRId64 " 0 0 0 0 0 0\n", cpu, st.user / NSEC_PER_TICK / nr,
                   st.system / NSEC_PER_TICK / nr, st.idle / NSEC_PER_TICK / nr);
    seq_printf(s, "intr 0\nctxt %" PRIu64 "\nbtime %" PRId64 "\nprocesses %" PRIu64 "\n", st.context_switches, st.btime,
               st.forks);
    seq_printf(s, "procs_running %u\nprocs_blocked %u\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n", st.nr_running ? st.nr_running : 1,
               st.nr_blocked);
    return 0;
}

int proc_uptime(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    int64_t up = kernel_boottime_ns();
    struct kernel_cpu_stat st;

    kernel_cpu_stat(n->k, &st);
    seq_printf(s, "%" PRId64 ".%02" PRId64 " %" PRId64 ".%02" PRId64 "\n", up / 1000000000, up / 10000000 % 100,
               st.idle / 1000000000, st.idle / 10000000 % 100);
    return 0;
}

/* The averages are the host's, as in any container; the counts and the last pid are ours. */
int proc_loadavg(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct kernel_cpu_stat st;
    struct sysinfo host = {0};
    unsigned int nr_tasks;

    kernel_cpu_stat(n->k, &st);
    sysinfo(&host);
    mutex_lock(&n->k->tasks_lock);
    nr_tasks = n->k->nr_tasks;
    mutex_unlock(&n->k->tasks_lock);
    for (int i = 0; i < 3; i++)
        seq_printf(s, "%lu.%02lu ", host.loads[i] >> 16, (host.loads[i] & 0xffff) * 100 >> 16);
    seq_printf(s, "%u/%u %d\n", st.nr_running ? st.nr_running : 1, nr_tasks, pid_last(n->k));
    return 0;
}

static void cpu_columns(struct seq *s, const struct pseudo_node *n)
{
    seq_puts(s, "           ");
    for (unsigned int cpu = 0; cpu < n->k->nr_cpus; cpu++)
        seq_printf(s, "CPU%-8u", cpu);
    seq_putc(s, '\n');
}

int proc_interrupts(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    cpu_columns(s, n);
    return 0;
}
