/*
 * Opening FIFOs, and pipes by way of /proc/PID/fd.
 *
 * The inode leads to the one pipe that all its openers share while any of them has it open. An open that has to wait for the
 * other direction counts as an end of its own already, so that the other side, waiting in the same way, finds it. What it waits
 * for is that the count of ends that ever came changes: the other end may have come and gone before the sleeper looks.
 *
 * A file on a pipe has no position. While the open waits, file->pos keeps the count it saw; afterwards, for readers that did
 * not want to wait, the count of writers that has to change before a hang-up means anything (0: any).
 */
#include "vfs/pipe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

/* The pipe of this inode with a reference for a new file; NULL when out of memory. */
static struct pipe *pipe_of_inode(struct inode *inode)
{
    struct pipe *p;

    mutex_lock(&inode->aux_lock);
    p = inode->pipe;
    if (p) {
        ref_get(&p->ref);
    } else {
        p = pipe_alloc(inode, false);
        inode->pipe = p;
    }
    mutex_unlock(&inode->aux_lock);
    return p;
}

static void pipe_drop(struct pipe *p, struct inode *inode)
{
    bool last;

    mutex_lock(&inode->aux_lock);
    last = ref_put(&p->ref);
    if (last)
        inode->pipe = NULL;
    mutex_unlock(&inode->aux_lock);
    if (last)
        pipe_free(p);
}

/* Adds `f` to the ends of the pipe. 0, -EAGAIN: it waits; -ENXIO: refused, nothing has changed. */
static int add_end(struct pipe *p, struct file *f, bool nonblock) REQUIRES(&p->lock) NO_THREAD_SAFETY_ANALYSIS
{
    bool reads = f->mode & FMODE_READ, writes = f->mode & FMODE_WRITE;
    unsigned int readers = atomic_load(&p->readers), writers = atomic_load(&p->writers);

    if (writes && !reads && nonblock && !readers && !p->anonymous)
        return -ENXIO;
    if (reads) {
        __atomic_store_n(&p->r_counter, p->r_counter + 1, __ATOMIC_RELAXED);
        atomic_store(&p->readers, readers + 1);
    }
    if (writes) {
        __atomic_store_n(&p->w_counter, p->w_counter + 1, __ATOMIC_RELAXED);
        atomic_store(&p->writers, writers + 1);
    }
    f->pos = 0;
    if (p->anonymous || (reads && writes))
        return 0;
    if (reads && !writers) {
        f->pos = p->w_counter;
        return nonblock ? 0 : -EAGAIN;
    }
    if (writes && !readers) {
        f->pos = p->r_counter;
        return -EAGAIN;
    }
    return 0;
}

static int fifo_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    bool nonblock = atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK;
    struct pipe *p;
    int r;

    if (!(f->mode & (FMODE_READ | FMODE_WRITE)))
        return -EINVAL;
    p = pipe_of_inode(inode);
    if (!p)
        return -ENOMEM;
    mutex_lock(&p->lock);
    r = add_end(p, f, nonblock);
    mutex_unlock(&p->lock);
    if (r && r != -EAGAIN) {
        pipe_drop(p, inode);
        return r;
    }
    f->mode = (f->mode & ~(unsigned int)(FMODE_LSEEK | FMODE_PSEEK)) | FMODE_STREAM;
    f->ops = &pipe_file_ops;
    f->priv = p;
    f->wq = &p->wq;
    waitq_wake(&p->wq, POLLIN | POLLOUT);
    return r;
}

int fifo_open_wait(struct file *f) NO_THREAD_SAFETY_ANALYSIS /* the opener's alone until it is open */
{
    struct pipe *p = pipe_of(f);
    bool came;

    mutex_lock(&p->lock);
    came = f->pos != (loff_t)(f->mode & FMODE_READ ? p->w_counter : p->r_counter);
    mutex_unlock(&p->lock);
    if (!came)
        return -EAGAIN;
    f->pos = 0;
    return 0;
}

void pipe_boot(void)
{
    fifo_open_register(fifo_open);
}
