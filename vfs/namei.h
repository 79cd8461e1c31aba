/*
 * Path resolution and the operations on names. All take a path relative to `dir` (a directory; NULL: the caller's cwd) and
 * follow Linux's path_resolution(7); `flags` are AT_* ones. Names are host memory, already fetched and bounded by PATH_MAX.
 */
#ifndef VFS_NAMEI_H
#define VFS_NAMEI_H

#include "vfs/mount.h"

#include <linux/openat2.h>

struct fdtable;

enum lookup_flags {
    LOOKUP_FOLLOW = 1,    /* follow a final symlink */
    LOOKUP_DIRECTORY = 2, /* must be one: -ENOTDIR */
    LOOKUP_EMPTY = 4,     /* "" means `dir` itself */
    LOOKUP_AUTOMOUNT = 8,
};

/* Resolves to an existing file, referenced. `resolve`: openat2's RESOLVE_*. */
int must_check vfs_lookup(const struct vfs_caller *c, const struct path *dir, const char *name, unsigned int lookup_flags,
                          uint64_t resolve, struct path *out);

/*
 * open(2). `how` as in openat2, already validated. -EAGAIN with *out set means that a FIFO waits for its other end: wait on
 * (*out)->wq and call fifo_open_wait() until it is ready (vfs/pipe.h).
 */
int must_check vfs_open(const struct vfs_caller *c, const struct path *dir, const char *name, const struct open_how *how,
                        struct file **out);
/* Opens what is already resolved, with flags O_*. */
int must_check vfs_open_path(const struct vfs_caller *c, const struct path *p, int flags, struct file **out);
/* For execve(2): a regular file on a mount without MS_NOEXEC that the caller may execute, readable for the sentry even if not
 * for the caller. -EACCES otherwise. The file has FMODE_EXEC. */
int must_check vfs_open_exec(const struct vfs_caller *c, const struct path *p, struct file **out);

int vfs_mkdir(const struct vfs_caller *c, const struct path *dir, const char *name, mode_t mode);
int vfs_mknod(const struct vfs_caller *c, const struct path *dir, const char *name, mode_t mode, dev_t dev);
int vfs_symlink(const struct vfs_caller *c, const char *target, const struct path *dir, const char *name);
int vfs_link(const struct vfs_caller *c, const struct path *old_dir, const char *old_name, const struct path *new_dir,
             const char *new_name, int at_flags);
int vfs_unlink(const struct vfs_caller *c, const struct path *dir, const char *name);
int vfs_rmdir(const struct vfs_caller *c, const struct path *dir, const char *name);
int vfs_rename(const struct vfs_caller *c, const struct path *old_dir, const char *old_name, const struct path *new_dir,
               const char *new_name, unsigned int flags);
ssize_t vfs_readlink(const struct vfs_caller *c, const struct path *p, char *buf, size_t len);
int vfs_getattr(const struct path *p, unsigned int mask, struct statx *out);
int vfs_setattr(const struct vfs_caller *c, const struct path *p,
                const struct iattr *attr); /* with chmod/chown/utime's permission rules */
int vfs_truncate(const struct vfs_caller *c, const struct path *p, loff_t size);
int vfs_ftruncate(const struct vfs_caller *c, struct file *f, loff_t size);
int vfs_access(const struct vfs_caller *c, const struct path *p, int mask);
int vfs_statfs(const struct path *p, struct statfs *out);
/* Makes a socket's name (bind(2) of AF_UNIX): a S_IFSOCK inode, returned referenced. */
int must_check vfs_bind_socket(const struct vfs_caller *c, const char *name, mode_t mode, struct path *out);

/*
 * The absolute name of `p` as seen from `root`, "(unreachable)/..." if it is not below it, with " (deleted)" when unlinked and
 * `mark_deleted`. Written at the start of buf, terminated; the length without the NUL or -ENAMETOOLONG.
 */
ssize_t vfs_path_name(const struct path *p, const struct path *root, char *buf, size_t len, bool mark_deleted);
/* The name of `d` within its filesystem, from the filesystem's root: for mountinfo. As above: length or -ENAMETOOLONG. */
ssize_t dentry_path_name(struct dentry *d, char *buf, size_t len);

#endif
