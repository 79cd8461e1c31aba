/*
 * Pipes and FIFOs: the object behind pipe(2) and mkfifo(3), and what fcntl and splice do with it.
 */
#ifndef VFS_PIPE_H
#define VFS_PIPE_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct file;
struct vfs_caller;

/* Registers the opener of FIFOs. Once, at boot, before there are tasks. */
void pipe_boot(void);

/* pipe2(2): `flags` O_NONBLOCK and O_DIRECT (packet mode). out[0] reads, out[1] writes. 0, -ENOMEM. */
int must_check pipe_create(const struct vfs_caller *c, int flags, struct file *out[2]);

bool file_is_pipe(const struct file *f);

/*
 * A FIFO that is opened for one direction waits for the other end, unless O_NONBLOCK. The open answers -EAGAIN then, and so
 * does this until the other end has come (even if it has gone again): 0. To be called after linking a waiter into f->wq (POLLIN
 * | POLLOUT). Who gives up just puts the file.
 */
int fifo_open_wait(struct file *f);

/* F_GETPIPE_SZ and F_SETPIPE_SZ: the size in bytes; -EBADF if not a pipe, -EINVAL, -EPERM, -EBUSY, -ENOMEM. */
long pipe_get_size(struct file *f);
long pipe_set_size(struct file *f, const struct vfs_caller *c, unsigned int size);

/* /proc/sys/fs/pipe-max-size: what F_SETPIPE_SZ allows without CAP_SYS_RESOURCE. Setting rounds up; 0 or -EINVAL. */
unsigned int pipe_max_size(void);
int pipe_set_max_size(unsigned int size);

/*
 * splice(2) and tee(2), one non-blocking step each. Bytes moved, 0 at the end (no writers and empty), -EAGAIN when the pipe
 * that is empty or full must be waited for (the other file's -EAGAIN is passed on as well: *wait_on is set to the file to wait
 * on), -EPIPE. `pos` of the non-pipe file; NULL for its own position.
 */
ssize_t pipe_splice_to_file(struct file *pipe, const struct vfs_caller *c, struct file *out, loff_t *pos, size_t len,
                            struct file **wait_on);
ssize_t pipe_splice_from_file(struct file *in, const struct vfs_caller *c, loff_t *pos, struct file *pipe, size_t len,
                              struct file **wait_on);
ssize_t pipe_splice_pipe(struct file *in, struct file *out, size_t len, bool keep, struct file **wait_on);

#endif
