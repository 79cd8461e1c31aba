/* What the system says of itself: sysinfo, sysfs, syslog, getrusage. */
#include "lib/memfile.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/usage.h"
#include "sentry/syscalls/syscalls.h"
#include "vfs/fs_type.h"

#include <string.h>
#include <sys/sysinfo.h>

int64_t sys_sysinfo(struct task *t, const struct syscall_args *a)
{
    struct sysinfo info = {0}, host = {0};
    uint64_t used = memfile_used(t->k->memfile);
    int64_t uptime;
    int err = kclock_get(t, CLOCK_BOOTTIME, &uptime);

    if (err)
        return err;
    info.uptime = (uptime + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
    sysinfo(&host);
    memcpy(info.loads, host.loads, sizeof(info.loads)); /* as in any container */
    info.totalram = t->k->total_ram;
    info.freeram = used < t->k->total_ram ? t->k->total_ram - used : 0;
    mutex_lock(&t->k->tasks_lock);
    info.procs = t->k->nr_tasks > UINT16_MAX ? UINT16_MAX : (uint16_t)t->k->nr_tasks;
    mutex_unlock(&t->k->tasks_lock);
    info.mem_unit = 1;
    return copy_out(t, arg_addr(a, 0), &info, sizeof(info));
}

int64_t sys_getrusage(struct task *t, const struct syscall_args *a)
{
    struct rusage ru;

    switch (arg_int(a, 0)) {
    case RUSAGE_SELF:
        usage_of_tgroup(t->tg, &ru);
        break;
    case RUSAGE_CHILDREN:
        usage_of_children(t->tg, &ru);
        break;
    case RUSAGE_THREAD:
        usage_of_task(t, &ru);
        break;
    default:
        return -EINVAL;
    }
    return copy_out(t, arg_addr(a, 1), &ru, sizeof(ru));
}

/* sysfs(2), not the filesystem: names and numbers of the filesystem types. */
enum { SYSFS_INDEX_OF = 1, SYSFS_NAME_OF = 2, SYSFS_COUNT = 3 };

int64_t sys_sysfs(struct task *t, const struct syscall_args *a)
{
    const struct fs_type *type;
    char name[64];
    int64_t n = 0;
    ssize_t len;

    switch (arg_int(a, 0)) {
    case SYSFS_INDEX_OF:
        len = copy_str_in(t, name, arg_addr(a, 1), sizeof(name));
        if (len < 0)
            return len == -ENAMETOOLONG ? -EINVAL : len;
        for (type = fs_type_first(); type; type = type->next, n++)
            if (strcmp(type->name, name) == 0)
                return n;
        return -EINVAL;
    case SYSFS_NAME_OF:
        for (type = fs_type_first(); type; type = type->next, n++)
            if (n == (int64_t)arg_uint(a, 1))
                return copy_out(t, arg_addr(a, 2), type->name, strlen(type->name) + 1);
        return -EINVAL;
    case SYSFS_COUNT:
        for (type = fs_type_first(); type; type = type->next)
            n++;
        return n;
    default:
        return -EINVAL;
    }
}

/* The kernel log is the host's: without CAP_SYSLOG there is nothing to see, with it the log is empty. */
enum {
    SYSLOG_CLOSE,
    SYSLOG_OPEN,
    SYSLOG_READ,
    SYSLOG_READ_ALL,
    SYSLOG_READ_CLEAR,
    SYSLOG_CLEAR,
    SYSLOG_CONSOLE_OFF,
    SYSLOG_CONSOLE_ON,
    SYSLOG_CONSOLE_LEVEL,
    SYSLOG_SIZE_UNREAD,
    SYSLOG_SIZE_BUFFER
};

int64_t sys_syslog(struct task *t, const struct syscall_args *a)
{
    int type = arg_int(a, 0), len = arg_int(a, 2);

    if (!cred_has_cap(t->cred, CAP_SYSLOG) && !cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    switch (type) {
    case SYSLOG_READ:
    case SYSLOG_READ_ALL:
    case SYSLOG_READ_CLEAR:
        return guest_is_null(arg_addr(a, 1)) || len < 0 ? -EINVAL : 0;
    case SYSLOG_CONSOLE_LEVEL:
        return len < 1 || len > 8 ? -EINVAL : 0;
    case SYSLOG_CLOSE:
    case SYSLOG_OPEN:
    case SYSLOG_CLEAR:
    case SYSLOG_CONSOLE_OFF:
    case SYSLOG_CONSOLE_ON:
    case SYSLOG_SIZE_UNREAD:
    case SYSLOG_SIZE_BUFFER:
        return 0;
    default:
        return -EINVAL;
    }
}

/* For what a container may not do at all, whatever the arguments: see the table for which calls. */
int64_t sys_eperm(struct task *t, const struct syscall_args *a)
{
    return -EPERM;
}
