#include "sentry/kernel/aio.h"

#include "lib/memfile.h"
#include "sentry/kernel/task.h"
#include "sentry/mm/mm.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct aio_context {
    struct mutex read_lock; /* one reader at a time; before `lock` */
    struct mutex lock;
    struct waitq wq;
    struct memfile *mf; /* where the page is */
    uint64_t page;
    const struct mm *mm; /* whose it is; only compared: a child of fork has none */
    struct io_event *ring GUARDED_BY(lock);
    unsigned int size;                          /* of the ring */
    unsigned int first, count GUARDED_BY(lock); /* events that are done */
    unsigned int reserved GUARDED_BY(lock);
    bool dead GUARDED_BY(lock);
};

static int aio_file_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    return 0;
}

static int aio_file_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct aio_context *c = f->priv;

    if (off != 0)
        return -ENXIO;
    memfile_get(c->mf, c->page, MEMFILE_PAGE);
    *out = (struct mmap_extent){.fd = memfile_fd(c->mf), .offset = c->page, .len = MEMFILE_PAGE, .mf = c->mf};
    return 0;
}

static void context_free(struct aio_context *c) NO_THREAD_SAFETY_ANALYSIS
{
    memfile_put(c->mf, c->page, MEMFILE_PAGE);
    waitq_fini(&c->wq);
    mutex_fini(&c->lock);
    mutex_fini(&c->read_lock);
    free(c->ring);
    free(c);
}

static void aio_file_release(struct file *f)
{
    context_free(f->priv);
}

static const struct file_ops aio_file_ops = {
    .mmap = aio_file_mmap,
    .map_extent = aio_file_extent,
    .release = aio_file_release,
};

static int context_create(struct task *t, unsigned int nr, struct aio_context **out) NO_THREAD_SAFETY_ANALYSIS
{
    struct aio_context *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->ring = calloc(nr, sizeof(*c->ring));
    if (!c->ring || memfile_alloc(t->k->memfile, MEMFILE_PAGE, MEMFILE_ZERO, &c->page)) {
        free(c->ring);
        free(c);
        return -ENOMEM;
    }
    mutex_init(&c->read_lock);
    mutex_init(&c->lock);
    waitq_init(&c->wq);
    c->mf = t->k->memfile;
    c->mm = t->mm;
    c->size = nr;
    *out = c;
    return 0;
}

int64_t aio_setup(struct task *t, unsigned int nr)
{
    struct aio_context *c;
    struct mm_limits lim;
    struct file *f;
    int64_t r = context_create(t, nr, &c);

    if (r)
        return r;
    r = file_create_anon("[aio]", &aio_file_ops, c, O_RDWR, FMODE_READ | FMODE_WRITE, &f);
    if (r) {
        context_free(c);
        return r;
    }
    task_mm_limits(t, &lim);
    r = mm_mmap(t->mm, &lim, 0, MEMFILE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
    file_put(f);
    return r;
}

struct aio_context *aio_find(struct task *t, uint64_t ctx, struct file **f)
{
    struct aio_context *c = NULL;
    struct mm_vma_info info;

    if (ctx % MEMFILE_PAGE || !mm_next_vma(t->mm, ctx, &info))
        return NULL;
    if (info.file && info.start == ctx && info.file->ops == &aio_file_ops) {
        c = info.file->priv;
        if (c->mm == t->mm) {
            *f = info.file;
            return c;
        }
    }
    file_put(info.file);
    return NULL;
}

int aio_destroy(struct task *t, uint64_t ctx)
{
    struct file *f;
    struct aio_context *c = aio_find(t, ctx, &f);
    bool was;

    if (!c)
        return -EINVAL;
    mutex_lock(&c->lock);
    was = c->dead;
    c->dead = true;
    mutex_unlock(&c->lock);
    waitq_wake(&c->wq, POLLIN | POLLHUP);
    if (!was)
        mm_munmap(t->mm, ctx, MEMFILE_PAGE);
    file_put(f);
    return was ? -EINVAL : 0;
}

bool aio_reserve(struct aio_context *c)
{
    bool ok;

    mutex_lock(&c->lock);
    ok = c->count + c->reserved < c->size;
    c->reserved += ok;
    mutex_unlock(&c->lock);
    return ok;
}

void aio_unreserve(struct aio_context *c)
{
    mutex_lock(&c->lock);
    c->reserved--;
    mutex_unlock(&c->lock);
}

void aio_complete(struct aio_context *c, const struct io_event *ev)
{
    mutex_lock(&c->lock);
    c->reserved--;
    c->ring[(c->first + c->count++) % c->size] = *ev;
    mutex_unlock(&c->lock);
    waitq_wake(&c->wq, POLLIN);
}

/* Copies what is there out. How many, -EFAULT, or -EINVAL when the context has gone. */
static long take(struct task *t, struct aio_context *c, long max, uint64_t events)
{
    struct io_event ev;
    long n = 0, r = 0;

    mutex_lock(&c->read_lock);
    while (n < max) {
        mutex_lock(&c->lock);
        if (c->dead)
            r = -EINVAL;
        else if (c->count == 0)
            r = -EAGAIN;
        else
            ev = c->ring[c->first];
        mutex_unlock(&c->lock);
        if (r)
            break;
        if (copy_out(t, guest_addr_of(events + (uint64_t)n * sizeof(ev)), &ev, sizeof(ev))) {
            r = -EFAULT;
            break;
        }
        mutex_lock(&c->lock);
        c->first = (c->first + 1) % c->size;
        c->count--;
        mutex_unlock(&c->lock);
        n++;
    }
    mutex_unlock(&c->read_lock);
    return n || r == -EAGAIN ? n : r;
}

int64_t aio_get_events(struct task *t, struct aio_context *c, long min, long max, uint64_t events, int64_t deadline)
{
    struct task_wait w;
    long done = take(t, c, max, events), r;
    int b = 0;

    if (done < 0 || done >= min || deadline <= 0)
        return done;
    task_wait_begin(t, &w, &c->wq, POLLIN);
    while (done < min) {
        r = take(t, c, max - done, events + (uint64_t)done * sizeof(struct io_event));
        if (r < 0) {
            done = done ? done : r;
            break;
        }
        done += r;
        if (r == 0 && (b = task_block(t, deadline)))
            break;
    }
    task_wait_end(&w);
    return done == 0 && b && b != -ETIMEDOUT ? -EINTR : done;
}
