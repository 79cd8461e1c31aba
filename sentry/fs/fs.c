/* Registers the sentry's filesystems and devices with the VFS. */
#include "sentry/fs/fs.h"

#include "sentry/fs/dev/dev.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include "vfs/fs_type.h"
#include "vfs/tmpfs/tmpfs.h"

#include <errno.h>
#include <sys/random.h>

static int create_proc(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                       struct super_block **out)
{
    return procfs_create(type->arg, out);
}

static int create_sysfs(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                        struct super_block **out)
{
    return sysfs_create(type->arg, out);
}

static int create_devpts(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                         struct super_block **out)
{
    return devpts_create(type->arg, data, out);
}

static int create_tmpfs(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                        struct super_block **out)
{
    const struct kernel *k = type->arg;

    return tmpfs_create(k->memfile, data, out);
}

static int create_cgroup(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                         struct super_block **out)
{
    return cgroupfs_create(type->arg, out);
}

/* A mounted `mqueue` lists no queues: mq_open(3) does not find them by names in a filesystem. */
int sentry_fs_init(struct kernel *k)
{
    static struct fs_type types[] = {
        {.name = "sysfs", .create = create_sysfs},    {.name = "proc", .create = create_proc},
        {.name = "cgroup", .create = create_cgroup},  {.name = "cgroup2", .create = create_cgroup},
        {.name = "devtmpfs", .create = create_tmpfs}, {.name = "devpts", .create = create_devpts},
        {.name = "mqueue", .create = create_tmpfs},
    };

    mutex_init(&k->sysctl_lock);
    list_init(&k->sysctl_changes);
    if (getrandom(k->boot_id, sizeof(k->boot_id), 0) != sizeof(k->boot_id))
        return -EIO;
    tmpfs_register(k->memfile);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        types[i].arg = k;
        fs_type_register(&types[i]);
    }
    device_open_register(dev_open);
    return proc_nsfs_init(k);
}
