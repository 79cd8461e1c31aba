/*
 * Private to vfs/pipe*.c: the ring of pages behind a pipe.
 *
 * A pipe has nr_slots slots, each of which holds a page with some bytes, as in Linux: head counts slots filled, tail slots
 * emptied. A write goes on in the last page if it fits there whole, and takes fresh pages otherwise, so that writes of up to
 * PIPE_BUF bytes need one page at most and are atomic.
 *
 * pipe->lock guards everything but the wait queue. Guest memory is copied under it. Order: file->pos_lock -> pipe->lock ->
 * locks of the memory manager, and those of other files' reads and writes (splice). Two pipes: by address.
 */
#ifndef VFS_PIPE_INTERNAL_H
#define VFS_PIPE_INTERNAL_H

#include "vfs/inode.h"
#include "vfs/pipe.h"

#define PIPE_PAGE      4096u
#define PIPE_DEF_SLOTS 16u
#define PIPE_MAX_SPARE 16u

struct pipe_buf {
    char *page;
    uint16_t off, len; /* the bytes not yet read */
    bool packet;       /* one write in packet mode: read whole or cut off, never added to */
};

struct pipe {
    struct refcount ref; /* open files; given up under inode->aux_lock */
    struct inode *inode; /* whose `pipe` this is; the files hold references on it */
    bool anonymous;      /* made by pipe(2) */
    struct mutex lock;
    struct waitq wq;                                    /* POLLIN: data, POLLOUT: space; both: an end came or went */
    atomic_uint head, tail;                             /* written under lock, read without by poll */
    atomic_uint nr_slots;                               /* a power of two; likewise */
    struct pipe_buf *bufs GUARDED_BY(lock);             /* [nr_slots] */
    atomic_uint readers, writers;                       /* open files of each direction; written under lock */
    unsigned int r_counter, w_counter GUARDED_BY(lock); /* how many there ever were, plus one */
    char *spare[PIPE_MAX_SPARE] GUARDED_BY(lock);       /* pages to use again */
    unsigned int nr_spare GUARDED_BY(lock);
};

extern const struct file_ops pipe_file_ops;

/* Without files, with one reference; NULL when out of memory. */
struct pipe *pipe_alloc(struct inode *inode, bool anonymous);
void pipe_free(struct pipe *p);

static inline struct pipe *pipe_of(const struct file *f)
{
    return f->priv;
}
static inline unsigned int pipe_head(const struct pipe *p)
{
    return atomic_load_explicit(&p->head, memory_order_relaxed);
}
static inline unsigned int pipe_tail(const struct pipe *p)
{
    return atomic_load_explicit(&p->tail, memory_order_relaxed);
}
static inline unsigned int pipe_slots(const struct pipe *p)
{
    return atomic_load_explicit(&p->nr_slots, memory_order_relaxed);
}
static inline bool pipe_empty(const struct pipe *p)
{
    return pipe_head(p) == pipe_tail(p);
}
static inline bool pipe_full(const struct pipe *p)
{
    return pipe_head(p) - pipe_tail(p) >= pipe_slots(p);
}
static inline struct pipe_buf *pipe_slot(struct pipe *p, unsigned int n)
{
    return &p->bufs[n & (pipe_slots(p) - 1)];
}

/* A page to fill, or NULL; and what to do with one that is not needed. */
char *pipe_get_page(struct pipe *p) REQUIRES(&p->lock);
void pipe_put_page(struct pipe *p, char *page) REQUIRES(&p->lock);
/* Fills the next slot; there is one. */
void pipe_push(struct pipe *p, char *page, unsigned int len, bool packet) REQUIRES(&p->lock);
/* Takes the first `n` bytes away, which are there. */
void pipe_consume(struct pipe *p, size_t n) REQUIRES(&p->lock);

#endif
