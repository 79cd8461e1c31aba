/*
 * The filesystems that show kernel state: proc, sysfs, devpts, cgroup, and what fills /dev.
 *
 * sentry_fs_init() registers their types (vfs/fs_type.h), so that mount(2) and boot find them by name: "proc", "sysfs",
 * "devpts", "devtmpfs", "cgroup2", "cgroup".
 */
#ifndef SENTRY_FS_FS_H
#define SENTRY_FS_FS_H

#include "lib/compiler.h"

struct file;
struct kernel;
struct path;
struct super_block;
struct task;
struct vfs_caller;

/* Registers filesystem types and the opener of device nodes. Once, before there are tasks. 0 or -ENOMEM. */
int must_check sentry_fs_init(struct kernel *k);

int must_check procfs_create(struct kernel *k, struct super_block **out);
int must_check sysfs_create(struct kernel *k, struct super_block **out);
/* `options`: "newinstance,mode=0620,gid=5,ptmxmode=0666,max=1024"; every instance is a new one, as in Linux since 4.7. */
int must_check devpts_create(struct kernel *k, const char *options, struct super_block **out);
int must_check cgroupfs_create(struct kernel *k, struct super_block **out);

/*
 * Puts what containers expect into `dev`, the root of a mounted tmpfs that will be /dev: device nodes (null zero full random
 * urandom tty console), the symlinks (fd, stdin, stdout, stderr, core, ptmx -> pts/ptmx) and the directories pts, shm and
 * mqueue to mount on. Existing names are left alone. `c` must be able to mknod.
 */
int must_check devfs_populate(const struct vfs_caller *c, const struct path *dev);

/* The process behind an open /proc/PID directory as its leader, referenced, or NULL: pidfd_send_signal(2) takes those, too. */
struct task *proc_file_task(const struct file *f);

/* CLONE_NEW* of the namespace that a file opened from /proc/PID/ns stands for, for setns(2); 0: it is no such file. */
int nsfs_file_type(const struct file *f);

/* Sets "net.core.somaxconn" or the like, as a write to its file below /proc/sys would. -ENOENT: there is no such setting. */
int must_check proc_sysctl_set(struct kernel *k, const struct vfs_caller *c, const char *name, const char *value);

#endif
