/*
 * Pipes: reading and writing the ring of pages, readiness, size. How a FIFO is opened is in pipe_fifo.c, splicing in
 * pipe_splice.c.
 *
 * Small transfers copy between the guest and one page. Large ones ask the uio for the guest's memory itself, so that one call
 * of the memory manager serves many pages.
 */
#include "vfs/pipe_internal.h"

#include "vfs/cred.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* From this on it pays to have guest memory in hand rather than to copy page by page. */
#define BULK (2 * PIPE_PAGE)

#define MAX_SIZE_LIMIT (1u << 31)

/* /proc/sys/fs/pipe-max-size; the one setting of pipes that all share. */
static atomic_uint max_size = 1024 * 1024;

char *pipe_get_page(struct pipe *p)
{
    if (p->nr_spare)
        return p->spare[--p->nr_spare];
    return malloc(PIPE_PAGE);
}

void pipe_put_page(struct pipe *p, char *page)
{
    if (p->nr_spare < PIPE_MAX_SPARE)
        p->spare[p->nr_spare++] = page;
    else
        free(page);
}

void pipe_push(struct pipe *p, char *page, unsigned int len, bool packet)
{
    unsigned int head = pipe_head(p);

    *pipe_slot(p, head) = (struct pipe_buf){.page = page, .len = (uint16_t)len, .packet = packet};
    atomic_store_explicit(&p->head, head + 1, memory_order_release);
}

static void pop(struct pipe *p) REQUIRES(&p->lock)
{
    unsigned int tail = pipe_tail(p);

    pipe_put_page(p, pipe_slot(p, tail)->page);
    atomic_store_explicit(&p->tail, tail + 1, memory_order_release);
    /* An idle pipe keeps a page or two, as Linux does; a busy one seldom gets here. */
    if (tail + 1 == pipe_head(p))
        while (p->nr_spare > 2)
            free(p->spare[--p->nr_spare]);
}

void pipe_consume(struct pipe *p, size_t n)
{
    while (n > 0) {
        struct pipe_buf *b = pipe_slot(p, pipe_tail(p));
        size_t take = n < b->len ? n : b->len;

        b->off += (uint16_t)take;
        b->len -= (uint16_t)take;
        n -= take;
        if (b->len == 0)
            pop(p);
    }
}

/* Callbacks of uio_with_iovec(), whose caller holds the lock. */
static ssize_t bulk_read(void *arg, const struct iovec *iov, int nr) NO_THREAD_SAFETY_ANALYSIS
{
    struct pipe *p = arg;
    ssize_t done = 0;

    for (int i = 0; i < nr; i++) {
        char *dst = iov[i].iov_base;
        size_t left = iov[i].iov_len;

        while (left > 0 && !pipe_empty(p)) {
            struct pipe_buf *b = pipe_slot(p, pipe_tail(p));
            size_t n = left < b->len ? left : b->len;

            if (b->packet)
                return done;
            memcpy(dst, b->page + b->off, n);
            pipe_consume(p, n);
            dst += n;
            left -= n;
            done += (ssize_t)n;
        }
    }
    return done;
}

static size_t readable_without_packets(struct pipe *p, size_t max) REQUIRES(&p->lock)
{
    size_t n = 0;

    for (unsigned int i = pipe_tail(p); i != pipe_head(p) && n < max && !pipe_slot(p, i)->packet; i++)
        n += pipe_slot(p, i)->len;
    return n < max ? n : max;
}

static ssize_t read_one(struct pipe *p, struct uio *uio, bool *packet) REQUIRES(&p->lock)
{
    struct pipe_buf *b = pipe_slot(p, pipe_tail(p));
    size_t n = uio->resid < b->len ? uio->resid : b->len;
    ssize_t r = uio_copy_to(uio, b->page + b->off, n);

    *packet = b->packet;
    if (r < 0)
        return r;
    /* What a reader's buffer cannot hold of a packet is lost. */
    pipe_consume(p, b->packet ? b->len : (size_t)r);
    return r;
}

static ssize_t pipe_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct pipe *p = pipe_of(f);
    ssize_t total = 0, r = 0;
    bool was_full, packet = false;

    if (uio->resid == 0)
        return 0;
    mutex_lock(&p->lock);
    was_full = pipe_full(p);
    while (uio->resid > 0 && !pipe_empty(p) && !packet) {
        size_t bulk = uio->resid >= BULK ? readable_without_packets(p, uio->resid) : 0;

        if (bulk >= BULK)
            r = uio_with_iovec(uio, true, bulk, bulk_read, p);
        else
            r = read_one(p, uio, &packet);
        if (r <= 0)
            break;
        total += r;
    }
    if (total == 0 && r >= 0 && !packet)
        r = atomic_load_explicit(&p->writers, memory_order_relaxed) ? -EAGAIN : 0;
    was_full = was_full && !pipe_full(p);
    mutex_unlock(&p->lock);
    if (was_full)
        waitq_wake(&p->wq, POLLOUT | POLLWRNORM);
    return total ? total : r;
}

/* A write under way: the page being filled is pushed when it is full, or at the end. */
struct filling {
    struct pipe *p;
    char *page;
    unsigned int fill;
    bool packet;
};

static void push_page(struct filling *fl) NO_THREAD_SAFETY_ANALYSIS /* fl->p->lock is held, as below */
{
    if (fl->fill)
        pipe_push(fl->p, fl->page, fl->fill, fl->packet);
    else if (fl->page)
        pipe_put_page(fl->p, fl->page);
    fl->page = NULL;
    fl->fill = 0;
}

static size_t room_left(const struct filling *fl)
{
    return (size_t)(pipe_slots(fl->p) - (pipe_head(fl->p) - pipe_tail(fl->p))) * PIPE_PAGE - fl->fill;
}

static ssize_t bulk_write(void *arg, const struct iovec *iov, int nr) NO_THREAD_SAFETY_ANALYSIS
{
    struct filling *fl = arg;
    ssize_t done = 0;

    for (int i = 0; i < nr; i++) {
        const char *src = iov[i].iov_base;
        size_t left = iov[i].iov_len;

        while (left > 0) {
            if (!fl->page && (pipe_full(fl->p) || !(fl->page = pipe_get_page(fl->p))))
                return done ? done : -ENOMEM;
            size_t n = PIPE_PAGE - fl->fill < left ? PIPE_PAGE - fl->fill : left;
            memcpy(fl->page + fl->fill, src, n);
            src += n;
            left -= n;
            fl->fill += (unsigned int)n;
            done += (ssize_t)n;
            if (fl->fill == PIPE_PAGE)
                push_page(fl);
        }
    }
    return done;
}

/* The rest of a write that fits into the last page goes there: returns bytes, 0 if that is not so, or -EFAULT. */
static ssize_t write_merged(struct pipe *p, struct uio *uio, size_t n) REQUIRES(&p->lock)
{
    struct pipe_buf *b;
    ssize_t r;

    if (pipe_empty(p))
        return 0;
    b = pipe_slot(p, pipe_head(p) - 1);
    if (b->packet || b->off + b->len + n > PIPE_PAGE)
        return 0;
    r = uio_copy_from(uio, b->page + b->off + b->len, n);
    if (r > 0)
        b->len += (uint16_t)r;
    return r;
}

static ssize_t fill_page(struct filling *fl, struct uio *uio) NO_THREAD_SAFETY_ANALYSIS
{
    size_t n = PIPE_PAGE - fl->fill < uio->resid ? PIPE_PAGE - fl->fill : uio->resid;
    ssize_t r;

    if (!fl->page && !(fl->page = pipe_get_page(fl->p)))
        return -ENOMEM;
    r = uio_copy_from(uio, fl->page + fl->fill, n);
    if (r > 0)
        fl->fill += (unsigned int)r;
    if (fl->fill == PIPE_PAGE)
        push_page(fl);
    return r;
}

static ssize_t pipe_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct pipe *p = pipe_of(f);
    struct filling fl = {.p = p, .packet = atomic_load_explicit(&f->flags, memory_order_relaxed) & O_DIRECT};
    ssize_t total = 0, r = 0;

    if (uio->resid == 0)
        return 0;
    mutex_lock(&p->lock);
    if (!atomic_load_explicit(&p->readers, memory_order_relaxed)) {
        mutex_unlock(&p->lock);
        return -EPIPE;
    }
    if (!fl.packet && uio->resid % PIPE_PAGE) {
        r = write_merged(p, uio, uio->resid % PIPE_PAGE);
        if (r > 0)
            total = r;
    }
    while (uio->resid > 0 && r >= 0) {
        size_t room = room_left(&fl);

        if (room == 0) {
            r = -EAGAIN;
            break;
        }
        if (uio->resid >= BULK && room >= BULK)
            r = uio_with_iovec(uio, false, uio->resid < room ? uio->resid : room, bulk_write, &fl);
        else
            r = fill_page(&fl, uio);
        if (r == 0)
            r = -EFAULT;
        if (r > 0)
            total += r;
    }
    push_page(&fl);
    mutex_unlock(&p->lock);
    if (total)
        waitq_wake(&p->wq, POLLIN | POLLRDNORM);
    return total ? total : r;
}

static uint32_t pipe_poll(struct file *f) NO_THREAD_SAFETY_ANALYSIS /* a look at single words */
{
    struct pipe *p = pipe_of(f);
    uint32_t mask = 0;

    if (f->mode & FMODE_READ) {
        if (atomic_load(&p->head) != atomic_load(&p->tail))
            mask |= POLLIN | POLLRDNORM;
        /* A reader that opened a FIFO without waiting sees no hang-up before a writer has been there. */
        if (!atomic_load(&p->writers) && f->pos != (loff_t)__atomic_load_n(&p->w_counter, __ATOMIC_RELAXED))
            mask |= POLLHUP;
    }
    if (f->mode & FMODE_WRITE) {
        if (atomic_load(&p->head) - atomic_load(&p->tail) < atomic_load(&p->nr_slots))
            mask |= POLLOUT | POLLWRNORM;
        if (!atomic_load(&p->readers))
            mask |= POLLERR;
    }
    return mask;
}

static long pipe_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct pipe *p = pipe_of(f);
    int n = 0;

    if (cmd != FIONREAD)
        return -ENOTTY;
    mutex_lock(&p->lock);
    for (unsigned int i = pipe_tail(p); i != pipe_head(p); i++)
        n += pipe_slot(p, i)->len;
    mutex_unlock(&p->lock);
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static void pipe_release(struct file *f)
{
    struct pipe *p = pipe_of(f);
    struct inode *inode = p->inode;
    unsigned int readers, writers;
    bool last;

    mutex_lock(&p->lock);
    readers = atomic_load(&p->readers) - !!(f->mode & FMODE_READ);
    writers = atomic_load(&p->writers) - !!(f->mode & FMODE_WRITE);
    atomic_store(&p->readers, readers);
    atomic_store(&p->writers, writers);
    mutex_unlock(&p->lock);
    if (!readers != !writers)
        waitq_wake(&p->wq, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLERR | POLLHUP);

    mutex_lock(&inode->aux_lock);
    last = ref_put(&p->ref);
    if (last)
        inode->pipe = NULL;
    mutex_unlock(&inode->aux_lock);
    if (last)
        pipe_free(p);
}

const struct file_ops pipe_file_ops = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
};

bool file_is_pipe(const struct file *f)
{
    return f->ops == &pipe_file_ops;
}

struct pipe *pipe_alloc(struct inode *inode, bool anonymous)
{
    struct pipe *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->bufs = calloc(PIPE_DEF_SLOTS, sizeof(*p->bufs));
    if (!p->bufs) {
        free(p);
        return NULL;
    }
    ref_init(&p->ref);
    p->inode = inode;
    p->anonymous = anonymous;
    mutex_init(&p->lock);
    waitq_init(&p->wq);
    atomic_init(&p->nr_slots, PIPE_DEF_SLOTS);
    p->r_counter = p->w_counter = 1;
    return p;
}

void pipe_free(struct pipe *p) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    for (unsigned int i = pipe_tail(p); i != pipe_head(p); i++)
        free(pipe_slot(p, i)->page);
    while (p->nr_spare > 0)
        free(p->spare[--p->nr_spare]);
    free(p->bufs);
    waitq_fini(&p->wq);
    mutex_fini(&p->lock);
    free(p);
}

/* The filesystem that inodes of pipe(2) belong to. */
static int pipefs_statfs(struct super_block *sb, struct statfs *out)
{
    out->f_type = PIPEFS_MAGIC;
    out->f_bsize = out->f_frsize = PIPE_PAGE;
    out->f_namelen = 255;
    return 0;
}

static const struct super_ops pipefs_super_ops = {.statfs = pipefs_statfs};
static const struct inode_ops pipefs_inode_ops;
static pthread_once_t pipefs_once = PTHREAD_ONCE_INIT;
static struct super_block *pipefs; /* made once, never freed */

static void pipefs_init(void)
{
    if (super_create("pipefs", &pipefs_super_ops, PIPEFS_MAGIC, &pipefs) < 0)
        pipefs = NULL;
    else
        pipefs->flags = SB_KERNEL;
}

static int make_end(struct pipe *p, int flags, unsigned int mode, struct file **out)
{
    char name[32];
    int err;

    snprintf(name, sizeof(name), "pipe:[%llu]", (unsigned long long)p->inode->ino);
    err = file_create_on_inode(inode_get(p->inode), name, &pipe_file_ops, p, flags, mode | FMODE_STREAM, out);
    if (err)
        return err;
    (*out)->wq = &p->wq;
    if (mode & FMODE_READ)
        atomic_store(&p->readers, 1);
    else
        atomic_store(&p->writers, 1);
    return 0;
}

int pipe_create(const struct vfs_caller *c, int flags, struct file *out[2])
{
    struct inode *inode;
    struct pipe *p;
    int err;

    pthread_once(&pipefs_once, pipefs_init);
    if (!pipefs)
        return -ENOMEM;
    inode = inode_create(pipefs, &pipefs_inode_ops, 0, S_IFIFO | 0600, c->cred->fsuid, c->cred->fsgid);
    if (!inode)
        return -ENOMEM;
    p = pipe_alloc(inode, true);
    if (!p) {
        inode_put(inode);
        return -ENOMEM;
    }
    mutex_lock(&inode->aux_lock);
    inode->pipe = p;
    mutex_unlock(&inode->aux_lock);
    flags &= O_NONBLOCK | O_DIRECT;
    err = make_end(p, O_RDONLY | (flags & O_NONBLOCK), FMODE_READ, &out[0]);
    if (err) {
        pipe_free(p);
    } else {
        ref_get(&p->ref);
        err = make_end(p, O_WRONLY | flags, FMODE_WRITE, &out[1]);
        if (err) {
            bool last = ref_put(&p->ref); /* the other file's reference frees it */
            (void)last;
            file_put(out[0]);
        }
    }
    inode_put(inode);
    return err;
}

long pipe_get_size(struct file *f)
{
    if (!file_is_pipe(f))
        return -EBADF;
    return (long)atomic_load(&pipe_of(f)->nr_slots) * PIPE_PAGE;
}

/* The next power of two of pages, 0 if too large. */
static unsigned int round_size(unsigned int size)
{
    if (size > MAX_SIZE_LIMIT)
        return 0;
    if (size <= PIPE_PAGE)
        return PIPE_PAGE;
    return 1u << (32 - __builtin_clz(size - 1));
}

static int resize(struct pipe *p, unsigned int slots)
{
    unsigned int tail, used;
    struct pipe_buf *bufs = calloc(slots, sizeof(*bufs));

    if (!bufs)
        return -ENOMEM;
    mutex_lock(&p->lock);
    tail = pipe_tail(p);
    used = pipe_head(p) - tail;
    if (used > slots) {
        mutex_unlock(&p->lock);
        free(bufs);
        return -EBUSY;
    }
    for (unsigned int i = 0; i < used; i++)
        bufs[(tail + i) & (slots - 1)] = *pipe_slot(p, tail + i);
    free(p->bufs);
    p->bufs = bufs;
    atomic_store(&p->nr_slots, slots);
    mutex_unlock(&p->lock);
    waitq_wake(&p->wq, POLLOUT | POLLWRNORM);
    return 0;
}

long pipe_set_size(struct file *f, const struct vfs_caller *c, unsigned int size)
{
    struct pipe *p = pipe_of(f);
    int err;

    if (!file_is_pipe(f))
        return -EBADF;
    size = round_size(size);
    if (!size)
        return -EINVAL;
    if (size / PIPE_PAGE > atomic_load(&p->nr_slots) && size > atomic_load(&max_size) &&
        !cred_has_cap(c->cred, CAP_SYS_RESOURCE))
        return -EPERM;
    err = resize(p, size / PIPE_PAGE);
    return err ? err : (long)size;
}

unsigned int pipe_max_size(void)
{
    return atomic_load(&max_size);
}

int pipe_set_max_size(unsigned int size)
{
    size = round_size(size);
    if (!size)
        return -EINVAL;
    atomic_store(&max_size, size);
    return 0;
}
