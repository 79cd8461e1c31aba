/* Files of /proc that say what the kernel is and has: version, filesystems, devices, locks, System V IPC. */
#include "sentry/fs/proc/proc.h"

#include "sentry/kernel/ipc.h"
#include "vfs/fs_type.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int proc_version(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "Linux version " KERNEL_RELEASE " (runsc-c) (cc) " KERNEL_VERSION "\n");
    return 0;
}

int proc_cmdline(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "runsc-c\n");
    return 0;
}

int proc_filesystems(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    for (const struct fs_type *t = fs_type_first(); t; t = t->next)
        seq_printf(s, "%s\t%s\n", t->needs_device ? "" : "nodev", t->name);
    return 0;
}

int proc_devices(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n128 ptm\n136 pts\n\n"
                "Block devices:\n");
    return 0;
}

/* Hierarchy 0 throughout: what a system with cgroup version 2 shows. */
int proc_cgroups(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    static const char *const controllers[] = {"cpuset", "cpu", "cpuacct", "memory", "pids"};

    seq_puts(s, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
        seq_printf(s, "%s\t0\t1\t1\n", controllers[i]);
    return 0;
}

int proc_misc(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return 0;
}

int proc_partitions(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    seq_puts(s, "major minor  #blocks  name\n\n");
    return 0;
}

int proc_diskstats(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    return 0;
}

/* sysvipc/{shm,sem,msg}. */
int proc_sysvipc(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    char *(*show)(struct ipc_namespace * ns, size_t * len) = strcmp(n->desc->name, "shm") == 0   ? ipc_show_shm
                                                             : strcmp(n->desc->name, "sem") == 0 ? ipc_show_sem
                                                                                                 : ipc_show_msg;
    size_t len;
    char *text = show(n->k->ipc, &len);

    if (!text)
        return -ENOMEM;
    seq_write(s, text, len);
    free(text);
    return 0;
}
