/* /proc/sys/vm. */
#include "sentry/fs/proc/sysctl.h"

static ssize_t drop_caches_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, 1, 4, &v);

    return r ? r : (ssize_t)len; /* the page cache is the host's */
}

static ssize_t compact_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, 1, 1, &v);

    return r ? r : (ssize_t)len;
}

const struct pseudo_desc sysctl_vm_rows[] = {
    SYSCTL_INT("admin_reserve_kbytes", 8192, 0, INT64_MAX),
    SYSCTL_ROW("compact_memory", 0200, NULL, compact_write),
    SYSCTL_INT("dirty_background_bytes", 0, 0, INT64_MAX),
    SYSCTL_INT("dirty_background_ratio", 10, 0, 100),
    SYSCTL_INT("dirty_bytes", 0, 0, INT64_MAX),
    SYSCTL_INT("dirty_expire_centisecs", 3000, 0, INT32_MAX),
    SYSCTL_INT("dirty_ratio", 20, 0, 100),
    SYSCTL_INT("dirty_writeback_centisecs", 500, 0, INT32_MAX),
    SYSCTL_ROW("drop_caches", 0200, NULL, drop_caches_write),
    SYSCTL_INT("hugetlb_shm_group", 0, 0, INT32_MAX),
    SYSCTL_INT("legacy_va_layout", 0, 0, INT32_MAX),
    SYSCTL_INT("max_map_count", 65530, 0, INT32_MAX),
    SYSCTL_INT("memory_failure_early_kill", 0, 0, 1),
    SYSCTL_INT("min_free_kbytes", 16384, 0, INT32_MAX),
    SYSCTL_INT("mmap_min_addr", 65536, 0, INT64_MAX),
    SYSCTL_INT("mmap_rnd_bits", 28, 28, 32),
    SYSCTL_INT("nr_hugepages", 0, 0, 0),
    SYSCTL_INT("nr_hugepages_mempolicy", 0, 0, 0),
    SYSCTL_INT("nr_overcommit_hugepages", 0, 0, 0),
    SYSCTL_INT("oom_dump_tasks", 1, 0, INT32_MAX),
    SYSCTL_INT("oom_kill_allocating_task", 0, 0, INT32_MAX),
    SYSCTL_INT("overcommit_kbytes", 0, 0, INT64_MAX),
    SYSCTL_INT("overcommit_memory", 0, 0, 2),
    SYSCTL_INT("overcommit_ratio", 50, 0, INT32_MAX),
    SYSCTL_INT("page-cluster", 3, 0, 31),
    SYSCTL_INT("panic_on_oom", 0, 0, 2),
    SYSCTL_INT("swappiness", 60, 0, 200),
    SYSCTL_BOOL("unprivileged_userfaultfd", 0),
    SYSCTL_INT("user_reserve_kbytes", 131072, 0, INT64_MAX),
    SYSCTL_INT("vfs_cache_pressure", 100, 0, INT32_MAX),
    SYSCTL_INT("zone_reclaim_mode", 0, 0, INT32_MAX),
    PSEUDO_END,
};
