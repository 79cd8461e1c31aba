/*
 * Advisory locks: flock(2), POSIX record locks, open-file-description locks, and leases.
 *
 * Nothing blocks here: an attempt that conflicts is -EAGAIN, and the caller waits on inode_locks_waitq() and tries again. For
 * blocking POSIX locks the caller announces the wait with locks_wait_begin(), which detects deadlocks.
 */
#ifndef VFS_LOCKS_H
#define VFS_LOCKS_H

#include "lib/compiler.h"
#include "lib/waitq.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

struct file;
struct inode;

enum lock_kind { LOCK_KIND_FLOCK, LOCK_KIND_POSIX, LOCK_KIND_OFD };

/* A byte range with who asks: [start, end], end INT64_MAX for "to the end of the file". */
struct lock_request {
    enum lock_kind kind;
    int type; /* F_RDLCK, F_WRLCK, F_UNLCK */
    int64_t start, end;
    int32_t tgid; /* owner of POSIX locks; shown by F_GETLK */
};

/* 0, -EAGAIN on a conflict, -ENOLCK/-ENOMEM. Unlocking always succeeds but for memory. */
int must_check locks_set(struct file *f, const struct lock_request *req);
/* F_GETLK: turns *req into the first conflicting lock, or sets its type to F_UNLCK. `tgid` is -1 for OFD locks. */
void locks_test(struct file *f, struct lock_request *req);
/*
 * Before sleeping for a POSIX lock that conflicted: remembers that `req->tgid` waits for its holder. -EDEADLK when that would
 * close a cycle. locks_wait_end() after waking.
 */
int must_check locks_wait_begin(struct file *f, const struct lock_request *req);
void locks_wait_end(int32_t tgid);
/* Woken (POLLIN) whenever a lock on the inode goes. NULL when out of memory. Valid as long as the inode. */
struct waitq *inode_locks_waitq(struct inode *inode);

void locks_remove_posix(struct file *f, int32_t tgid); /* any close of the file by the process */
void locks_file_gone(struct file *f);                  /* the last close */
void locks_inode_gone(struct inode *inode);

/* Leases. type as fcntl's; `arg` for F_UNLCK. 0, -EAGAIN (opened in a conflicting way), -EINVAL, -ENOMEM. */
int must_check lease_set(struct file *f, int type);
int lease_get(struct file *f); /* F_RDLCK, F_WRLCK or F_UNLCK */
/*
 * open(2) and truncate(2) ask this: 0 if no lease is in the way. Otherwise the holder is told by `signal_holder` (the sentry's,
 * registered at boot) and the answer is -EAGAIN until it gives way; wait on inode_locks_waitq().
 */
int must_check lease_break(struct inode *inode, bool for_write);
void lease_register_signal(void (*fn)(struct file *f));

/* One line a lock, for /proc/locks. */
int locks_for_each(struct inode *inode, int (*fn)(void *arg, const struct lock_request *l), void *arg);

#endif
