/* /proc/sys/kernel. */
#include "sentry/fs/proc/sysctl.h"

#include "sentry/kernel/ipc.h"
#include "sentry/kernel/pid.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

/* Names. `arg`: NULL for the host's, else the domain's. */

static int name_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct uts_namespace *uts = &n->k->uts;

    mutex_lock(&uts->lock);
    seq_printf(s, "%s\n", n->desc->arg ? uts->domainname : uts->nodename);
    mutex_unlock(&uts->lock);
    return 0;
}

static ssize_t name_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    struct uts_namespace *uts = &n->k->uts;
    size_t name_len = strcspn(buf, "\n");

    if (pos != 0)
        return len;
    if (name_len > 64)
        name_len = 64;
    mutex_lock(&uts->lock);
    char *to = n->desc->arg ? uts->domainname : uts->nodename;
    memset(to, 0, 65);
    memcpy(to, buf, name_len);
    mutex_unlock(&uts->lock);
    return len;
}

static int pid_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%d\n", pid_max(n->k));
    return 0;
}

static ssize_t pid_max_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    int64_t v;
    int r = pseudo_parse_int(buf, PID_MAX_MIN, PID_MAX_LIMIT, &v);

    if (r == 0)
        r = pid_max_set(n->k, (pid_t)v);
    return r ? r : (ssize_t)len;
}

static int last_pid_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%d\n", pid_last(n->k));
    return 0;
}

static int threads_max_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_printf(s, "%u\n", n->k->max_tasks ? n->k->max_tasks : (unsigned int)pid_max(n->k));
    return 0;
}

/* Limits of System V IPC: `arg` points at one tunable after another. */
struct ipc_row {
    int nr;
    enum ipc_tunable which[4];
};

static int ipc_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    const struct ipc_row *row = n->desc->arg;

    for (int i = 0; i < row->nr; i++) {
        uint64_t v = ipc_tunable_get(n->k->ipc, row->which[i]);
        if ((int64_t)v == -1)
            seq_puts(s, "-1");
        else
            seq_printf(s, "%s%" PRIu64, i ? "\t" : "", v);
    }
    seq_putc(s, '\n');
    return 0;
}

static ssize_t ipc_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct ipc_row *row = n->desc->arg;
    int64_t values[4];
    int nr = sysctl_parse(buf, values, row->nr);

    if (nr < 0)
        return nr;
    for (int i = 0; i < nr; i++) {
        int r = ipc_tunable_set(n->k->ipc, row->which[i], (uint64_t)values[i]);
        if (r)
            return r;
    }
    return len;
}

#define IPC_ROW(name_, nr_, ...)                                                                                    \
    {                                                                                                               \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = ipc_show, .write = ipc_write, \
        .arg = &(const struct ipc_row)                                                                              \
        {                                                                                                           \
            (nr_),                                                                                                  \
            {                                                                                                       \
                __VA_ARGS__                                                                                         \
            }                                                                                                       \
        }                                                                                                           \
    }

/* Random. */

static void seq_uuid(struct seq *s, const uint8_t raw[16])
{
    for (int i = 0; i < 16; i++) {
        uint8_t b = i == 6 ? (raw[i] & 0x0f) | 0x40 : i == 8 ? (raw[i] & 0x3f) | 0x80 : raw[i];
        seq_printf(s, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", b);
    }
    seq_putc(s, '\n');
}

static int uuid_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    uint8_t raw[16];

    if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
        return -EIO;
    seq_uuid(s, raw);
    return 0;
}

static int boot_id_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_uuid(s, n->k->boot_id);
    return 0;
}

static const struct pseudo_desc random_rows[] = {
    SYSCTL_ROW("boot_id", 0444, boot_id_show, NULL),
    SYSCTL_TEXT("entropy_avail", "256\n"),
    SYSCTL_TEXT("poolsize", "256\n"),
    SYSCTL_INT("urandom_min_reseed_secs", 60, 0, INT32_MAX),
    SYSCTL_ROW("uuid", 0444, uuid_show, NULL),
    SYSCTL_INT("write_wakeup_threshold", 256, 0, INT32_MAX),
    PSEUDO_END,
};

static const struct pseudo_desc keys_rows[] = {
    SYSCTL_INT("gc_delay", 300, 0, INT32_MAX),         SYSCTL_INT("maxbytes", 20000, 0, INT32_MAX),
    SYSCTL_INT("maxkeys", 200, 0, INT32_MAX),          SYSCTL_INT("root_maxbytes", 25000000, 0, INT32_MAX),
    SYSCTL_INT("root_maxkeys", 1000000, 0, INT32_MAX), PSEUDO_END,
};

static const struct pseudo_desc seccomp_rows[] = {
    SYSCTL_TEXT("actions_avail", "kill_process kill_thread trap errno user_notif trace log allow\n"),
    SYSCTL_TEXT("actions_logged", "kill_process kill_thread trap errno user_notif trace log\n"),
    PSEUDO_END,
};

static const struct pseudo_desc yama_rows[] = {
    SYSCTL_INT("ptrace_scope", 0, 0, 3),
    PSEUDO_END,
};

static const struct pseudo_desc pty_rows[] = {
    SYSCTL_INT("max", 4096, 0, INT32_MAX),
    SYSCTL_INT("reserve", 1024, 0, INT32_MAX),
    PSEUDO_END,
};

const struct pseudo_desc sysctl_kernel_rows[] = {
    SYSCTL_TEXT("arch", "x86_64\n"),
    SYSCTL_TEXT("cap_last_cap", "40\n"),
    SYSCTL_INT("core_pipe_limit", 0, 0, INT32_MAX),
    SYSCTL_TEXT("core_pattern", "core\n"),
    SYSCTL_BOOL("core_uses_pid", 0),
    SYSCTL_BOOL("ctrl-alt-del", 0),
    SYSCTL_BOOL("dmesg_restrict", 1),
    {.name = "domainname",
     .mode = S_IFREG | 0644,
     .flags = PSEUDO_MODE_IS_LAW,
     .show = name_show,
     .write = name_write,
     .arg = "d"},
    {.name = "hostname", .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = name_show, .write = name_write},
    SYSCTL_INT("io_uring_disabled", 2, 0, 2),
    PSEUDO_DIR("keys", 0555, keys_rows),
    SYSCTL_INT("kptr_restrict", 1, 0, 2),
    IPC_ROW("msg_next_id", 1, IPC_MSG_NEXT_ID),
    IPC_ROW("msgmax", 1, IPC_MSGMAX),
    IPC_ROW("msgmnb", 1, IPC_MSGMNB),
    IPC_ROW("msgmni", 1, IPC_MSGMNI),
    SYSCTL_TEXT("ngroups_max", "65536\n"),
    SYSCTL_ROW("ns_last_pid", 0444, last_pid_show, NULL),
    SYSCTL_BOOL("numa_balancing", 0),
    SYSCTL_TEXT("osrelease", KERNEL_RELEASE "\n"),
    SYSCTL_TEXT("ostype", "Linux\n"),
    SYSCTL_INT("overflowgid", 65534, 0, 65535),
    SYSCTL_INT("overflowuid", 65534, 0, 65535),
    SYSCTL_INT("panic", 0, INT32_MIN, INT32_MAX),
    SYSCTL_BOOL("panic_on_oops", 0),
    SYSCTL_INT("perf_event_paranoid", 4, -1, 4),
    SYSCTL_ROW("pid_max", 0644, pid_max_show, pid_max_write),
    SYSCTL_NUMBERS("printk", 0, INT32_MAX, 4, 4, 4, 1, 7),
    PSEUDO_DIR("pty", 0555, pty_rows),
    PSEUDO_DIR("random", 0555, random_rows),
    SYSCTL_INT("randomize_va_space", 2, 0, 2),
    SYSCTL_BOOL("sched_autogroup_enabled", 0),
    SYSCTL_BOOL("sched_child_runs_first", 0),
    SYSCTL_INT("sched_rr_timeslice_ms", 100, -1, INT32_MAX),
    SYSCTL_INT("sched_rt_period_us", 1000000, 1, INT32_MAX),
    SYSCTL_INT("sched_rt_runtime_us", 950000, -1, INT32_MAX),
    PSEUDO_DIR("seccomp", 0555, seccomp_rows),
    IPC_ROW("sem", 4, IPC_SEMMSL, IPC_SEMMNS, IPC_SEMOPM, IPC_SEMMNI),
    IPC_ROW("sem_next_id", 1, IPC_SEM_NEXT_ID),
    IPC_ROW("shm_next_id", 1, IPC_SHM_NEXT_ID),
    IPC_ROW("shm_rmid_forced", 1, IPC_SHM_RMID_FORCED),
    IPC_ROW("shmall", 1, IPC_SHMALL),
    IPC_ROW("shmmax", 1, IPC_SHMMAX),
    IPC_ROW("shmmni", 1, IPC_SHMMNI),
    SYSCTL_INT("sysrq", 0, 0, 511),
    SYSCTL_INT("tainted", 0, 0, INT32_MAX),
    SYSCTL_ROW("threads-max", 0444, threads_max_show, NULL),
    SYSCTL_INT("unprivileged_bpf_disabled", 2, 0, 2),
    SYSCTL_TEXT("version", KERNEL_VERSION "\n"),
    PSEUDO_DIR("yama", 0555, yama_rows),
    PSEUDO_END,
};
