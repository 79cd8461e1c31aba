/*
 * Reads and writes that wait, and the signals that go with them: what read(2) and write(2) do above the VFS for files that may
 * block, for calls that move bytes by other ways as well.
 */
#ifndef SENTRY_SYSCALLS_STREAM_H
#define SENTRY_SYSCALLS_STREAM_H

#include "sentry/kernel/task.h"

struct file;

/*
 * For files without a position. Waits unless the file is O_NONBLOCK or `nonblock`, not longer than file_ops.timeout says. A
 * write to a FMODE_STREAM file goes on until everything is written, an error comes (then what was written counts), or a signal;
 * it raises SIGPIPE with -EPIPE. Bytes, or -errno, or a restart code.
 */
int64_t stream_read(struct task *t, struct file *f, struct uio *uio, bool nonblock);
int64_t stream_write(struct task *t, struct file *f, struct uio *uio, bool nonblock);
/* The same, but done as soon as something could be written, as vmsplice(2) is. */
int64_t stream_write_some(struct task *t, struct file *f, struct uio *uio, bool nonblock);

void task_send_sigpipe(struct task *t);
void task_send_sigxfsz(struct task *t);

#endif
