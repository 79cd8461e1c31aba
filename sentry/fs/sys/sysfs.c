/*
 * sysfs, read-only and small: what libc, language runtimes and container tools look at. CPUs (for counting and topology), one
 * memory node, network interfaces (net.c), transparent huge pages, and the empty directories that scanners expect.
 */
#include "sentry/fs/sys/sysfs.h"
#include "sentry/fs/fs.h"

#include "lib/memfile.h"
#include "sentry/kernel/kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>

#define ATTR SYSFS_ATTR
#define TEXT SYSFS_TEXT

static const struct pseudo_desc empty_rows[] = {PSEUDO_END};

#define EMPTY_DIR(name_) PSEUDO_DIR(name_, 0755, empty_rows)

/* CPUs: key.id is the number. */

static int cpu_list_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    unsigned int nr = n->k->nr_cpus;

    seq_printf(s, nr > 1 ? "0-%u\n" : "0\n", nr - 1);
    return 0;
}

/* Hexadecimal words of 32 bits, highest first; those set are [first, first + nr). */
static void show_mask(struct seq *s, unsigned int total, unsigned int first, unsigned int nr)
{
    for (int word = ((int)total - 1) / 32; word >= 0; word--) {
        uint32_t mask = 0;
        for (unsigned int bit = 0; bit < 32; bit++)
            if (word * 32 + bit >= first && word * 32 + bit < first + nr)
                mask |= 1U << bit;
        seq_printf(s, word == ((int)total - 1) / 32 ? "%x" : ",%08x", mask);
    }
    seq_putc(s, '\n');
}

static int all_mask_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    show_mask(s, n->k->nr_cpus, 0, n->k->nr_cpus);
    return 0;
}

static int this_mask_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    show_mask(s, n->k->nr_cpus, n->key.id, 1);
    return 0;
}

static int this_list_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%" PRIu64 "\n", n->key.id);
    return 0;
}

static const struct pseudo_desc topology_rows[] = {
    ATTR("core_cpus", this_mask_show),       ATTR("core_cpus_list", this_list_show),       ATTR("core_id", this_list_show),
    ATTR("core_siblings", all_mask_show),    ATTR("core_siblings_list", cpu_list_show),    TEXT("die_id", "0\n"),
    ATTR("package_cpus", all_mask_show),     ATTR("package_cpus_list", cpu_list_show),     TEXT("physical_package_id", "0\n"),
    ATTR("thread_siblings", this_mask_show), ATTR("thread_siblings_list", this_list_show), PSEUDO_END,
};

static const struct pseudo_desc cpu_rows[] = {
    TEXT("online", "1\n"),
    PSEUDO_DIR("topology", 0755, topology_rows),
    PSEUDO_END,
};

static const struct pseudo_desc cpu_dir = PSEUDO_DIR(NULL, 0755, cpu_rows);

static int cpus_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    int64_t cpu = len > 3 && memcmp(name, "cpu", 3) == 0 ? pseudo_parse_name(name + 3, len - 3) : -1;

    if (cpu < 0 || cpu >= dir->k->nr_cpus)
        return -ENOENT;
    out->desc = &cpu_dir;
    out->key.id = cpu;
    return 0;
}

static bool cpus_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    if (*pos >= dir->k->nr_cpus)
        return false;
    out->desc = &cpu_dir;
    out->key.id = *pos;
    snprintf(out->name, sizeof(out->name), "cpu%" PRIu64, *pos);
    return true;
}

static const struct pseudo_desc cpus_rows[] = {
    TEXT("isolated", "\n"),
    TEXT("kernel_max", "1023\n"),
    TEXT("offline", "\n"),
    ATTR("online", cpu_list_show),
    ATTR("possible", cpu_list_show),
    ATTR("present", cpu_list_show),
    PSEUDO_END,
};

/* The memory node. */

static int node_meminfo_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    uint64_t total = n->k->total_ram / 1024, used = memfile_used(n->k->memfile) / 1024;

    seq_printf(s, "Node 0 MemTotal:       %8" PRIu64 " kB\nNode 0 MemFree:        %8" PRIu64 " kB\n", total,
               used < total ? total - used : 0);
    seq_printf(s, "Node 0 MemUsed:        %8" PRIu64 " kB\n", used);
    return 0;
}

static const struct pseudo_desc node0_rows[] = {
    ATTR("cpulist", cpu_list_show),
    ATTR("cpumap", all_mask_show),
    TEXT("distance", "10\n"),
    ATTR("meminfo", node_meminfo_show),
    PSEUDO_END,
};

static const struct pseudo_desc node_rows[] = {
    TEXT("has_cpu", "0\n"),
    TEXT("has_memory", "0\n"),
    TEXT("has_normal_memory", "0\n"),
    PSEUDO_DIR("node0", 0755, node0_rows),
    TEXT("online", "0\n"),
    TEXT("possible", "0\n"),
    PSEUDO_END,
};

static const struct pseudo_desc devices_system_rows[] = {
    {.name = "cpu", .mode = S_IFDIR | 0755, .children = cpus_rows, .lookup = cpus_lookup, .next = cpus_next},
    PSEUDO_DIR("node", 0755, node_rows),
    PSEUDO_END,
};

#define NET_DIR(child)                                                                                                     \
    {                                                                                                                      \
        .name = "net", .mode = S_IFDIR | 0755, .children = empty_rows, .lookup = sysfs_net_lookup, .next = sysfs_net_next, \
        .arg = (child)                                                                                                     \
    }

static const struct pseudo_desc virtual_rows[] = {NET_DIR(&sysfs_net_device), PSEUDO_END};

static const struct pseudo_desc devices_rows[] = {
    PSEUDO_DIR("system", 0755, devices_system_rows),
    PSEUDO_DIR("virtual", 0755, virtual_rows),
    PSEUDO_END,
};

static const struct pseudo_desc class_rows[] = {
    EMPTY_DIR("block"), NET_DIR(&sysfs_net_link), EMPTY_DIR("power_supply"), EMPTY_DIR("thermal"), EMPTY_DIR("tty"), PSEUDO_END,
};

static const struct pseudo_desc bus_rows[] = {EMPTY_DIR("pci"), EMPTY_DIR("usb"), PSEUDO_END};

static const struct pseudo_desc dev_rows[] = {EMPTY_DIR("block"), EMPTY_DIR("char"), PSEUDO_END};

/* Memory is backed by pages of 4 KiB; larger ones are the host's business. */
static const struct pseudo_desc thp_rows[] = {
    TEXT("defrag", "always defer defer+madvise madvise [never]\n"),
    TEXT("enabled", "always madvise [never]\n"),
    TEXT("hpage_pmd_size", "2097152\n"),
    TEXT("shmem_enabled", "always within_size advise [never] deny force\n"),
    TEXT("use_zero_page", "0\n"),
    PSEUDO_END,
};

static const struct pseudo_desc mm_rows[] = {
    EMPTY_DIR("hugepages"),
    PSEUDO_DIR("transparent_hugepage", 0755, thp_rows),
    PSEUDO_END,
};

static const struct pseudo_desc kernel_rows[] = {
    TEXT("fscaps", "1\n"), EMPTY_DIR("debug"),   PSEUDO_DIR("mm", 0755, mm_rows),
    EMPTY_DIR("security"), EMPTY_DIR("tracing"), PSEUDO_END,
};

static const struct pseudo_desc fs_rows[] = {
    EMPTY_DIR("bpf"),
    EMPTY_DIR("cgroup"),
    EMPTY_DIR("fuse"),
    PSEUDO_END,
};

static const struct pseudo_desc power_rows[] = {TEXT("state", "\n"), PSEUDO_END};

static const struct pseudo_desc root_rows[] = {
    EMPTY_DIR("block"),
    PSEUDO_DIR("bus", 0755, bus_rows),
    PSEUDO_DIR("class", 0755, class_rows),
    PSEUDO_DIR("dev", 0755, dev_rows),
    PSEUDO_DIR("devices", 0755, devices_rows),
    EMPTY_DIR("firmware"),
    PSEUDO_DIR("fs", 0755, fs_rows),
    EMPTY_DIR("hypervisor"),
    PSEUDO_DIR("kernel", 0755, kernel_rows),
    EMPTY_DIR("module"),
    PSEUDO_DIR("power", 0755, power_rows),
    PSEUDO_END,
};

static const struct pseudo_desc root_dir = {.mode = S_IFDIR | 0555, .children = root_rows, .ino = 1};

int sysfs_create(struct kernel *k, struct super_block **out)
{
    return pseudofs_create(k, "sysfs", SYSFS_MAGIC, &root_dir, out);
}
