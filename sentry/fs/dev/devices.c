#include "sentry/fs/dev/dev.h"

#include "lib/compiler.h"
#include "sentry/fs/tty/tty.h"
#include "vfs/inode.h"

#include <errno.h>
#include <sys/sysmacros.h>

/* Documentation/admin-guide/devices.txt of Linux. */
static const struct {
    unsigned int major_nr, first, last; /* minors */
    int (*open)(struct inode *inode, struct file *f, const struct vfs_caller *c);
} devices[] = {
    {1, 3, 3, dev_null_open},    {1, 5, 5, dev_zero_open},    {1, 7, 7, dev_full_open}, {1, 8, 9, dev_random_open},
    {5, 0, 0, tty_open_current}, {5, 1, 1, tty_open_console}, {5, 2, 2, tty_open_ptmx}, {136, 0, 0xfffff, tty_open_slave},
};

int dev_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    unsigned int ma = major(inode->rdev), mi = minor(inode->rdev);

    if (!S_ISCHR(inode->mode))
        return -ENXIO;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
        if (devices[i].major_nr == ma && devices[i].first <= mi && mi <= devices[i].last)
            return devices[i].open(inode, f, c);
    return -ENXIO;
}
