/*
 * A read-only view of the one cgroup that the container is in: its limits and its usage, as programs that size themselves read
 * them (JVMs, Go, Node). It is a version 2 hierarchy, also when it is mounted as "cgroup", as OCI specifications call it.
 */
#include "sentry/fs/fs.h"
#include "sentry/fs/pseudofs.h"

#include "lib/memfile.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/pid.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>

#define ATTR(name_, show_)                                                                    \
    {                                                                                         \
        .name = (name_), .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .show = (show_) \
    }
#define TEXT(name_, text_)                                                                    \
    {                                                                                         \
        .name = (name_), .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .text = (text_) \
    }

static int64_t limit_of(const struct pseudo_node *n, enum limit which, int64_t otherwise)
{
    int64_t v;

    mutex_lock(&n->k->tasks_lock);
    v = limits_get(&n->k->limits, which, otherwise);
    mutex_unlock(&n->k->tasks_lock);
    return v;
}

static void put_limit(struct seq *s, int64_t v)
{
    if (v < 0)
        seq_puts(s, "max");
    else
        seq_printf(s, "%" PRId64, v);
}

static int show_limit(struct seq *s, const struct pseudo_node *n, enum limit which, int64_t otherwise)
{
    put_limit(s, limit_of(n, which, otherwise));
    seq_putc(s, '\n');
    return 0;
}

static int memory_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_limit(s, n, LIMIT_MEMORY, -1);
}

static int memory_low_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_limit(s, n, LIMIT_MEMORY_LOW, 0);
}

static int swap_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_limit(s, n, LIMIT_SWAP, -1);
}

static int cpu_weight_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return show_limit(s, n, LIMIT_CPU_WEIGHT, 100);
}

static int cpu_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    put_limit(s, limit_of(n, LIMIT_CPU_QUOTA, -1));
    seq_printf(s, " %" PRId64 "\n", limit_of(n, LIMIT_CPU_PERIOD, 100000));
    return 0;
}

static int memory_current_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%" PRIu64 "\n", memfile_used(n->k->memfile));
    return 0;
}

static int memory_stat_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "anon %" PRIu64 "\nfile 0\nkernel 0\nshmem 0\ninactive_anon 0\nactive_anon %" PRIu64 "\n",
               memfile_used(n->k->memfile), memfile_used(n->k->memfile));
    seq_puts(s, "inactive_file 0\nactive_file 0\n");
    return 0;
}

static int pids_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    if (n->k->max_tasks)
        seq_printf(s, "%u\n", n->k->max_tasks);
    else
        seq_puts(s, "max\n");
    return 0;
}

static int pids_current_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    unsigned int nr;

    mutex_lock(&n->k->tasks_lock);
    nr = n->k->nr_tasks;
    mutex_unlock(&n->k->tasks_lock);
    seq_printf(s, "%u\n", nr);
    return 0;
}

static int cpus_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, n->k->nr_cpus > 1 ? "0-%u\n" : "0\n", n->k->nr_cpus - 1);
    return 0;
}

static int cpu_stat_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct kernel_cpu_stat st;

    kernel_cpu_stat(n->k, &st);
    seq_printf(s, "usage_usec %" PRId64 "\nuser_usec %" PRId64 "\nsystem_usec %" PRId64 "\n", (st.user + st.system) / 1000,
               st.user / 1000, st.system / 1000);
    return 0;
}

static int procs_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct tgroup *tg;

    for (int64_t pid = 1; pid <= INT32_MAX && (tg = tgroup_next(n->k, (pid_t)pid)); tgroup_put(tg)) {
        pid = (int64_t)tg->tgid + 1;
        seq_printf(s, "%d\n", tg->tgid);
    }
    return 0;
}

static const struct pseudo_desc rows[] = {
    TEXT("cgroup.controllers", "cpuset cpu memory pids\n"),
    TEXT("cgroup.events", "populated 1\nfrozen 0\n"),
    TEXT("cgroup.freeze", "0\n"),
    TEXT("cgroup.max.depth", "max\n"),
    TEXT("cgroup.max.descendants", "max\n"),
    ATTR("cgroup.procs", procs_show),
    TEXT("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    TEXT("cgroup.subtree_control", ""),
    TEXT("cgroup.type", "domain\n"),
    ATTR("cpu.max", cpu_max_show),
    ATTR("cpu.stat", cpu_stat_show),
    ATTR("cpu.weight", cpu_weight_show),
    ATTR("cpuset.cpus", cpus_show),
    ATTR("cpuset.cpus.effective", cpus_show),
    TEXT("cpuset.mems", "0\n"),
    TEXT("cpuset.mems.effective", "0\n"),
    ATTR("memory.current", memory_current_show),
    TEXT("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"),
    TEXT("memory.high", "max\n"),
    ATTR("memory.low", memory_low_show),
    ATTR("memory.max", memory_max_show),
    TEXT("memory.min", "0\n"),
    ATTR("memory.stat", memory_stat_show),
    TEXT("memory.swap.current", "0\n"),
    ATTR("memory.swap.max", swap_max_show),
    ATTR("pids.current", pids_current_show),
    ATTR("pids.max", pids_max_show),
    PSEUDO_END,
};

static const struct pseudo_desc root_dir = {.mode = S_IFDIR | 0555, .children = rows, .ino = 1};

int cgroupfs_create(struct kernel *k, struct super_block **out)
{
    return pseudofs_create(k, "cgroup2", CGROUP2_SUPER_MAGIC, &root_dir, out);
}
