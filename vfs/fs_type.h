/*
 * What the rest of the sentry registers with the VFS at boot, before there are tasks: the filesystem types that mount(2) knows
 * and /proc/filesystems lists, and who opens device nodes.
 */
#ifndef VFS_FS_TYPE_H
#define VFS_FS_TYPE_H

#include "lib/compiler.h"

#include <stdbool.h>

struct file;
struct inode;
struct super_block;
struct vfs_caller;

struct fs_type {
    const char *name;  /* "tmpfs" */
    bool needs_device; /* false: shown with "nodev" */
    /*
     * Makes a superblock with one reference for mount(2)'s `data` (an option string, never NULL). `source` is for messages
     * only, filesystems here have no devices. -EINVAL for unknown options.
     */
    int (*create)(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                  struct super_block **out);
    void *arg; /* the registrant's own */
    struct fs_type *next;
};

/* Adds `type`, which must stay valid for ever. */
void fs_type_register(struct fs_type *type);
/* NULL when unknown: -ENODEV. */
const struct fs_type *fs_type_find(const char *name);
/* The first, for walking along `next` in order of registration. */
const struct fs_type *fs_type_first(void);

/*
 * Opening a device node (S_IFCHR, S_IFBLK) of whatever filesystem, after permission and MS_NODEV checks: as inode_ops.open,
 * which the VFS does not call for such inodes. Chooses by inode->rdev. -ENXIO when there is no such device.
 */
typedef int device_open_fn(struct inode *inode, struct file *f, const struct vfs_caller *c);
void device_open_register(device_open_fn *fn);
int device_open(struct inode *inode, struct file *f, const struct vfs_caller *c);

#endif
