/* /proc/sys/fs. */
#include "sentry/fs/proc/sysctl.h"

#include "sentry/kernel/ipc.h"
#include "vfs/pipe.h"

#include <inttypes.h>

#define FILE_MAX "9223372036854775807"

static int count_file(void *arg, struct task *t, struct file *f)
{
    ++*(uint64_t *)arg;
    return 0;
}

static int file_nr_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    uint64_t nr = 0;
    int r = proc_for_each_file(n->k, count_file, &nr);

    seq_printf(s, "%" PRIu64 "\t0\t" FILE_MAX "\n", nr);
    return r;
}

static int pipe_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%u\n", pipe_max_size());
    return 0;
}

static ssize_t pipe_max_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, 0, UINT32_MAX, &v);

    if (r == 0)
        r = pipe_set_max_size((unsigned int)v);
    return r ? r : (ssize_t)len;
}

static int mqueue_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%" PRIu64 "\n", ipc_tunable_get(n->k->ipc, (enum ipc_tunable)(uintptr_t)n->desc->arg));
    return 0;
}

static ssize_t mqueue_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, 0, INT32_MAX, &v);

    if (r == 0)
        r = ipc_tunable_set(n->k->ipc, (enum ipc_tunable)(uintptr_t)n->desc->arg, (uint64_t)v);
    return r ? r : (ssize_t)len;
}

#define MQUEUE_ROW(name_, which_)                                                                                         \
    {                                                                                                                     \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = mqueue_show, .write = mqueue_write, \
        .arg = (const void *)(uintptr_t)(which_)                                                                          \
    }

static const struct pseudo_desc mqueue_rows[] = {
    MQUEUE_ROW("msg_default", MQ_MSG_DEFAULT),         MQUEUE_ROW("msg_max", MQ_MSG_MAX),
    MQUEUE_ROW("msgsize_default", MQ_MSGSIZE_DEFAULT), MQUEUE_ROW("msgsize_max", MQ_MSGSIZE_MAX),
    MQUEUE_ROW("queues_max", MQ_QUEUES_MAX),           PSEUDO_END,
};

static const struct pseudo_desc inotify_rows[] = {
    SYSCTL_TEXT("max_queued_events", "16384\n"),
    SYSCTL_TEXT("max_user_instances", "128\n"),
    SYSCTL_TEXT("max_user_watches", "65536\n"),
    PSEUDO_END,
};

static const struct pseudo_desc epoll_rows[] = {
    SYSCTL_INT("max_user_watches", 3500000, 0, INT64_MAX),
    PSEUDO_END,
};

const struct pseudo_desc sysctl_fs_rows[] = {
    SYSCTL_TEXT("aio-max-nr", "65536\n"),
    SYSCTL_TEXT("aio-nr", "0\n"),
    SYSCTL_TEXT("dentry-state", "0\t0\t45\t0\t0\t0\n"),
    SYSCTL_BOOL("dir-notify-enable", 1),
    PSEUDO_DIR("epoll", 0555, epoll_rows),
    SYSCTL_TEXT("file-max", FILE_MAX "\n"),
    SYSCTL_ROW("file-nr", 0444, file_nr_show, NULL),
    SYSCTL_TEXT("inode-nr", "0\t0\n"),
    SYSCTL_TEXT("inode-state", "0\t0\t0\t0\t0\t0\t0\n"),
    PSEUDO_DIR("inotify", 0555, inotify_rows),
    SYSCTL_INT("lease-break-time", 45, 0, INT32_MAX),
    SYSCTL_BOOL("leases-enable", 1),
    SYSCTL_INT("mount-max", 100000, 1, INT32_MAX),
    PSEUDO_DIR("mqueue", 0555, mqueue_rows),
    SYSCTL_TEXT("nr_open", "1048576\n"),
    SYSCTL_INT("overflowgid", 65534, 0, 65535),
    SYSCTL_INT("overflowuid", 65534, 0, 65535),
    SYSCTL_ROW("pipe-max-size", 0644, pipe_max_show, pipe_max_write),
    SYSCTL_INT("pipe-user-pages-hard", 0, 0, INT64_MAX),
    SYSCTL_INT("pipe-user-pages-soft", 16384, 0, INT64_MAX),
    SYSCTL_INT("protected_fifos", 0, 0, 2),
    SYSCTL_BOOL("protected_hardlinks", 1),
    SYSCTL_INT("protected_regular", 0, 0, 2),
    SYSCTL_BOOL("protected_symlinks", 1),
    SYSCTL_INT("suid_dumpable", 0, 0, 2),
    PSEUDO_END,
};
