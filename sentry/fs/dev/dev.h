/*
 * Devices: what opening a character or block device node does, whatever filesystem the node is on. A node's number alone
 * decides; numbers that are not listed in devices.c have no device (-ENXIO).
 */
#ifndef SENTRY_FS_DEV_DEV_H
#define SENTRY_FS_DEV_DEV_H

struct file;
struct inode;
struct vfs_caller;

/* To be registered with device_open_register(). */
int dev_open(struct inode *inode, struct file *f, const struct vfs_caller *c);

/* The memory devices, major 1. */
int dev_null_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
int dev_zero_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
int dev_full_open(struct inode *inode, struct file *f, const struct vfs_caller *c);
int dev_random_open(struct inode *inode, struct file *f, const struct vfs_caller *c);

#endif
