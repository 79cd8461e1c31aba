/* Opening what is not a file or directory of its filesystem: devices and FIFOs. */
#include "vfs/fs_type.h"
#include "vfs/inode.h"
#include "vfs/inode_internal.h"

#include <errno.h>

static int (*fifo_opener)(struct inode *inode, struct file *f, const struct vfs_caller *c); /* written at boot */

void fifo_open_register(int (*fn)(struct inode *inode, struct file *f, const struct vfs_caller *c))
{
    fifo_opener = fn;
}

int special_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    if (S_ISFIFO(inode->mode))
        return fifo_opener ? fifo_opener(inode, f, c) : -ENXIO;
    if (S_ISSOCK(inode->mode))
        return -ENXIO;
    return device_open(inode, f, c);
}
