/* The root of proc: global files, self, thread-self, and a directory for each process. */
#include "sentry/fs/proc/proc.h"

#include "sentry/fs/fs.h"
#include "sentry/kernel/pid.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>

static ssize_t put_text(char *buf, size_t len, const char *text)
{
    size_t n = strlen(text);

    if (n > len)
        n = len;
    memcpy(buf, text, n);
    return n;
}

static ssize_t self_readlink(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len)
{
    struct task *t = task_of_caller(c);
    char text[32];

    if (!t)
        return -ENOENT;
    snprintf(text, sizeof(text), "%d", t->tg->tgid);
    return put_text(buf, len, text);
}

static ssize_t thread_self_readlink(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len)
{
    struct task *t = task_of_caller(c);
    char text[48];

    if (!t)
        return -ENOENT;
    snprintf(text, sizeof(text), "%d/task/%d", t->tg->tgid, t->tid);
    return put_text(buf, len, text);
}

/* Any thread has a directory by its number, although only processes are listed. */
static int root_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    int64_t tid = pseudo_parse_name(name, len);
    struct task *t = tid > 0 ? task_find(dir->k, (pid_t)tid) : NULL;

    if (!t)
        return -ENOENT;
    out->desc = &proc_pid_dir;
    out->key = proc_task_key(t);
    task_put(t);
    return 0;
}

static bool root_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    struct tgroup *tg;

    while (*pos <= INT32_MAX && (tg = tgroup_next(dir->k, (pid_t)*pos))) {
        struct task *leader = task_find(dir->k, tg->tgid);
        *pos = tg->tgid;
        tgroup_put(tg);
        if (leader) {
            out->desc = &proc_pid_dir;
            out->key = proc_task_key(leader);
            snprintf(out->name, sizeof(out->name), "%d", leader->tid);
            task_put(leader);
            return true;
        }
        ++*pos;
    }
    return false;
}

static const struct pseudo_desc sysvipc_rows[] = {
    PSEUDO_FILE("msg", 0444, proc_sysvipc),
    PSEUDO_FILE("sem", 0444, proc_sysvipc),
    PSEUDO_FILE("shm", 0444, proc_sysvipc),
    PSEUDO_END,
};

/* Always there in Linux, and in lists of what is to be read-only; of the host's hardware there is nothing to be seen. */
static const struct pseudo_desc no_rows[] = {PSEUDO_END};

static const struct pseudo_desc root_rows[] = {
    PSEUDO_FILE("buddyinfo", 0400, proc_buddyinfo),
    PSEUDO_DIR("bus", 0555, no_rows),
    PSEUDO_FILE("cgroups", 0444, proc_cgroups),
    PSEUDO_FILE("cmdline", 0444, proc_cmdline),
    PSEUDO_FILE("config.gz", 0444, proc_config_gz),
    PSEUDO_FILE("cpuinfo", 0444, proc_cpuinfo),
    PSEUDO_FILE("devices", 0444, proc_devices),
    PSEUDO_FILE("diskstats", 0444, proc_diskstats),
    PSEUDO_FILE("filesystems", 0444, proc_filesystems),
    PSEUDO_DIR("fs", 0555, no_rows),
    PSEUDO_FILE("interrupts", 0444, proc_interrupts),
    PSEUDO_DIR("irq", 0555, no_rows),
    PSEUDO_FILE("loadavg", 0444, proc_loadavg),
    PSEUDO_FILE("locks", 0444, proc_locks),
    PSEUDO_FILE("meminfo", 0444, proc_meminfo),
    PSEUDO_FILE("misc", 0444, proc_misc),
    PSEUDO_TEXT("modules", ""),
    PSEUDO_LINK("mounts", "self/mounts"),
    PSEUDO_LINK("net", "self/net"),
    PSEUDO_FILE("partitions", 0444, proc_partitions),
    {.name = "self", .mode = S_IFLNK | 0777, .readlink = self_readlink},
    PSEUDO_FILE("stat", 0444, proc_stat),
    PSEUDO_FILE("swaps", 0444, proc_swaps),
    PSEUDO_DIR("sys", 0555, proc_sys_rows),
    PSEUDO_DIR("sysvipc", 0555, sysvipc_rows),
    {.name = "thread-self", .mode = S_IFLNK | 0777, .readlink = thread_self_readlink},
    PSEUDO_FILE("uptime", 0444, proc_uptime),
    PSEUDO_FILE("version", 0444, proc_version),
    PSEUDO_FILE("vmstat", 0444, proc_vmstat),
    PSEUDO_FILE("zoneinfo", 0400, proc_zoneinfo),
    PSEUDO_END,
};

static const struct pseudo_desc root_dir = {
    .mode = S_IFDIR | 0555,
    .children = root_rows,
    .lookup = root_lookup,
    .next = root_next,
    .ino = 1,
};

int procfs_create(struct kernel *k, struct super_block **out)
{
    return pseudofs_create(k, "proc", PROC_SUPER_MAGIC, &root_dir, out);
}
