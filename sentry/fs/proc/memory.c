/* /proc/{meminfo,vmstat,zoneinfo,buddyinfo,swaps}: memory as the sandbox has it. What guests use is what the memory file holds.
 */
#include "sentry/fs/proc/proc.h"

#include "lib/memfile.h"

#include <inttypes.h>

struct memory {
    uint64_t total, used, free; /* bytes */
};

static struct memory get_memory(const struct kernel *k)
{
    struct memory m = {.total = k->total_ram, .used = memfile_used(k->memfile)};

    if (m.used > m.total)
        m.used = m.total;
    m.free = m.total - m.used;
    return m;
}

int proc_meminfo(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct memory m = get_memory(n->k);
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"MemTotal", m.total},
        {"MemFree", m.free},
        {"MemAvailable", m.free},
        {"Buffers", 0},
        {"Cached", 0},
        {"SwapCached", 0},
        {"Active", m.used},
        {"Inactive", 0},
        {"Active(anon)", m.used},
        {"Inactive(anon)", 0},
        {"Active(file)", 0},
        {"Inactive(file)", 0},
        {"Unevictable", 0},
        {"Mlocked", 0},
        {"SwapTotal", 0},
        {"SwapFree", 0},
        {"Dirty", 0},
        {"Writeback", 0},
        {"AnonPages", m.used},
        {"Mapped", 0},
        {"Shmem", 0},
        {"KReclaimable", 0},
        {"Slab", 0},
        {"SReclaimable", 0},
        {"SUnreclaim", 0},
        {"KernelStack", 0},
        {"PageTables", 0},
        {"NFS_Unstable", 0},
        {"Bounce", 0},
        {"WritebackTmp", 0},
        {"CommitLimit", m.total / 2},
        {"Committed_AS", m.used},
        {"VmallocTotal", 34359738367ULL << 10},
        {"VmallocUsed", 0},
        {"VmallocChunk", 0},
        {"Percpu", 0},
        {"HardwareCorrupted", 0},
        {"AnonHugePages", 0},
        {"ShmemHugePages", 0},
        {"ShmemPmdMapped", 0},
        {"FileHugePages", 0},
        {"FilePmdMapped", 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t from = s->len;
        seq_printf(s, "%s:", rows[i].name);
        seq_pad(s, from, 16);
        seq_printf(s, "%8" PRIu64 " kB\n", rows[i].bytes / 1024);
    }
    seq_puts(s, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n"
                "Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    return 0;
}

int proc_vmstat(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct memory m = get_memory(n->k);

    seq_printf(s, "nr_free_pages %" PRIu64 "\nnr_active_anon %" PRIu64 "\n", m.free / 4096, m.used / 4096);
    seq_puts(s, "nr_inactive_anon 0\nnr_inactive_file 0\nnr_active_file 0\nnr_unevictable 0\nnr_mlock 0\nnr_dirty 0\n"
                "nr_writeback 0\nnr_mapped 0\nnr_shmem 0\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\n"
                "pgmajfault 0\noom_kill 0\n");
    return 0;
}

int proc_zoneinfo(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct memory m = get_memory(n->k);

    seq_printf(
        s, "Node 0, zone   Normal\n  pages free     %" PRIu64 "\n        min      0\n        low      0\n        high     0\n",
        m.free / 4096);
    seq_printf(s, "        spanned  %" PRIu64 "\n        present  %" PRIu64 "\n        managed  %" PRIu64 "\n", m.total / 4096,
               m.total / 4096, m.total / 4096);
    return 0;
}

/* All free memory as blocks of the greatest order, 4 MiB. */
int proc_buddyinfo(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "Node 0, zone   Normal ");
    for (int order = 0; order < 11; order++)
        seq_printf(s, "%6" PRIu64 " ", order == 10 ? get_memory(n->k).free >> 22 : 0);
    seq_putc(s, '\n');
    return 0;
}

int proc_swaps(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    return 0;
}
