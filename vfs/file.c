/*
 * Open file descriptions: making, sharing and closing them.
 *
 * Memory of files is never given back, only recycled: a descriptor look-up (fdtable.c) may therefore try to take a reference on
 * a file that another thread is closing, see that the count is zero or that the slot has changed, and try again, without any
 * lock.
 */
#include "vfs/file.h"

#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"
#include "vfs/inotify.h"
#include "vfs/locks.h"
#include "vfs/mount.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* The pool, chained through priv. An allocator's cache, not state of the kernel. */
static struct mutex pool_lock = MUTEX_INIT;
static struct file *pool GUARDED_BY(pool_lock);

static void (*epoll_release)(struct file *f); /* written at boot */

static void (*fasync_release)(struct file *f);

void file_fasync_register(void (*fn)(struct file *f))
{
    fasync_release = fn;
}

void file_epoll_register(void (*fn)(struct file *f))
{
    epoll_release = fn;
}

struct file *file_alloc(int flags, unsigned int fmode)
{
    mutex_lock(&pool_lock);
    struct file *f = pool;
    if (f)
        pool = f->priv;
    mutex_unlock(&pool_lock);
    if (!f && !(f = calloc(1, sizeof(*f))))
        return NULL;
    /* All but the reference count, which others may be looking at. */
    memset((char *)f + sizeof(f->ref), 0, sizeof(*f) - sizeof(f->ref));
    f->mode = fmode;
    atomic_init(&f->flags, flags);
    mutex_init(&f->pos_lock);
    mutex_init(&f->lock);
    mutex_lock(&f->lock);
    list_init(&f->epitems);
    mutex_unlock(&f->lock);
    atomic_store_explicit(&f->ref.n, 1, memory_order_release);
    return f;
}

static void file_free(struct file *f)
{
    mutex_fini(&f->pos_lock);
    mutex_fini(&f->lock);
    mutex_lock(&pool_lock);
    f->priv = pool;
    pool = f;
    mutex_unlock(&pool_lock);
}

struct file *file_get(struct file *f)
{
    ref_get(&f->ref);
    return f;
}

static void release_epoll(struct file *f)
{
    mutex_lock(&f->lock);
    bool watched = !list_empty(&f->epitems);
    mutex_unlock(&f->lock);
    if (watched && epoll_release)
        epoll_release(f);
}

void file_put(struct file *f)
{
    if (!f || !ref_put(&f->ref))
        return;
    if (f->ops) {
        if (!(f->mode & FMODE_PATH))
            notify_file(f, f->mode & FMODE_WRITE ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
        release_epoll(f);
        if (f->fasync && fasync_release)
            fasync_release(f);
        locks_file_gone(f);
        if (f->ops->release)
            f->ops->release(f);
    }
    if (f->counts_write)
        inode_put_write(f->inode);
    if (f->inode)
        inode_put(f->inode);
    path_put(&f->path);
    file_free(f);
}

uint32_t file_poll(struct file *f)
{
    return f->ops->poll ? f->ops->poll(f) : POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
}

int inode_get_write(struct inode *inode)
{
    int n = atomic_load(&inode->write_count);
    do {
        if (n < 0)
            return -ETXTBSY;
    } while (!atomic_compare_exchange_weak(&inode->write_count, &n, n + 1));
    return 0;
}

void inode_put_write(struct inode *inode)
{
    atomic_fetch_sub(&inode->write_count, 1);
}

int inode_deny_write(struct inode *inode)
{
    int n = atomic_load(&inode->write_count);
    do {
        if (n > 0)
            return -ETXTBSY;
    } while (!atomic_compare_exchange_weak(&inode->write_count, &n, n - 1));
    return 0;
}

void inode_allow_write(struct inode *inode)
{
    atomic_fetch_add(&inode->write_count, 1);
}
