/* Descriptor tables: small integers to open file descriptions, with a close-on-exec flag each. Shared by CLONE_FILES. */
#ifndef VFS_FDTABLE_H
#define VFS_FDTABLE_H

#include "lib/compiler.h"
#include "lib/refcount.h"

#include <stdbool.h>
#include <stdint.h>

struct file;
struct fdtable;
struct vfs_caller;

int must_check fdtable_create(struct fdtable **out);
/* A private copy, as fork makes; every open file gains a reference. */
int must_check fdtable_dup(struct fdtable *ft, struct fdtable **out);
struct fdtable *fdtable_get(struct fdtable *ft);
/* Drops a reference; the last closes everything. */
void fdtable_put(struct fdtable *ft, const struct vfs_caller *c);
bool fdtable_is_shared(struct fdtable *ft);

/* The file at `fd` with a reference for the caller, or NULL (-EBADF). fd_get() refuses O_PATH files, fd_get_raw() does not. */
struct file *fd_get(struct fdtable *ft, int fd);
struct file *fd_get_raw(struct fdtable *ft, int fd);

/*
 * Installs `f` at the lowest free descriptor >= `min` that is below `limit` (RLIMIT_NOFILE). Takes its own reference.
 * The descriptor, or -EMFILE, -ENOMEM, -EINVAL (min >= limit).
 */
int must_check fd_install(struct fdtable *ft, struct file *f, int min, bool cloexec, uint64_t limit);
/* dup2/dup3: puts `f` at exactly `fd`, closing what was there. fd or -EBADF (fd >= limit), -ENOMEM. */
int must_check fd_replace(struct fdtable *ft, const struct vfs_caller *c, struct file *f, int fd, bool cloexec, uint64_t limit);
/* Closes one: 0, flush's error, or -EBADF. */
int fd_close(struct fdtable *ft, const struct vfs_caller *c, int fd);
/* Closes [first, last]; or only marks them close-on-exec. */
void fd_close_range(struct fdtable *ft, const struct vfs_caller *c, unsigned int first, unsigned int last, bool cloexec_only);
void fdtable_close_on_exec(struct fdtable *ft, const struct vfs_caller *c);
int fd_get_cloexec(struct fdtable *ft, int fd); /* 0, 1 or -EBADF */
int fd_set_cloexec(struct fdtable *ft, int fd, bool on);
/* The lowest open descriptor >= `from`, or -1: for /proc/PID/fd. */
int fd_next_open(struct fdtable *ft, int from);

#endif
