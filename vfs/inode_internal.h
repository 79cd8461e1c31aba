/* Private to vfs/: small pieces of inodes that several files here share. */
#ifndef VFS_INODE_INTERNAL_H
#define VFS_INODE_INTERNAL_H

#include "vfs/cred.h"
#include "vfs/inode.h"

#include <time.h>

/* Those metadata words that are not _Atomic are written under inode->lock and read without: relaxed atomics are all that takes.
 */
#define inode_load(field)       __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define inode_store(field, val) __atomic_store_n(&(field), (val), __ATOMIC_RELAXED)

static inline struct timespec ts_load(const struct timespec *t)
{
    return (struct timespec){.tv_sec = inode_load(t->tv_sec), .tv_nsec = inode_load(t->tv_nsec)};
}

static inline void ts_store(struct timespec *t, struct timespec v)
{
    inode_store(t->tv_sec, v.tv_sec);
    inode_store(t->tv_nsec, v.tv_nsec);
}

static inline int ts_cmp(struct timespec a, struct timespec b)
{
    if (a.tv_sec != b.tv_sec)
        return a.tv_sec < b.tv_sec ? -1 : 1;
    return a.tv_nsec < b.tv_nsec ? -1 : a.tv_nsec > b.tv_nsec;
}

/* The time of day as Linux stamps inodes: at the resolution of a timer tick. */
static inline struct timespec vfs_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    return t;
}

void super_put_weak(struct super_block *sb);

#endif
