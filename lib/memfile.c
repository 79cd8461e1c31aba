/*
 * The memory file: see memfile.h for what it is.
 *
 * Free pages are of two kinds. Clean ones are holes of the memfd (never touched, or punched out): they read as zero, cost no
 * memory, and live in a buddy allocator. Dirty ones were freed a moment ago and still have their host page: a bounded stack of
 * them serves single-page allocations, where clearing 4 KiB that is mapped already beats a host page fault several times over.
 * When the stack is full its older half is punched out, sorted so that neighbours go in one call. Long runs skip the stack.
 *
 * Short runs are kept whole, because the next process will want runs of the same lengths: what a data segment or a small window
 * of a heap has. Some of their pages may be holes, so before such a run is given out as zero the host is asked which have data.
 *
 * Reference counts are an array of 32-bit atomics, one a page, that is itself mapped lazily.
 */
#include "lib/memfile.h"

#include "lib/lock.h"
#include "lib/page_buddy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define HUGE        (2ULL << 20)
#define DIRTY_MAX   512 /* 2 MiB that an idle sandbox may hold on to */
#define DIRTY_BATCH (DIRTY_MAX / 2)
#define DIRTY_RUN   32 /* runs of more pages than this are punched at once */
#define WHOLE_RUN   16 /* runs of no more than this are kept whole */
#define RUNS_MAX    64
#define RUNS_BATCH  (RUNS_MAX / 4)

struct run {
    uint32_t first, n;
};

struct memfile {
    int fd;            /* immutable, like base, huge, limit, refs */
    uint8_t *base;     /* the whole file, mapped shared */
    uint8_t *huge;     /* once more, for memfile_back(): what is populated here gets huge pages; NULL if the file has none */
    uint64_t limit;    /* bytes */
    atomic_uint *refs; /* per page */
    atomic_ullong nr_used; /* pages with references */
    struct mutex lock;
    struct page_buddy clean GUARDED_BY(lock);
    uint32_t dirty[DIRTY_MAX] GUARDED_BY(lock); /* the oldest first */
    unsigned int nr_dirty GUARDED_BY(lock);
    struct run runs[RUNS_MAX] GUARDED_BY(lock); /* the oldest first */
    unsigned int nr_runs GUARDED_BY(lock);
};

/* A mapping of the file that begins at a multiple of HUGE, or NULL. */
static uint8_t *map_huge(int fd, uint64_t limit)
{
    uint8_t *at = mmap(NULL, limit + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *start;

    if (at == MAP_FAILED)
        return NULL;
    start = (uint8_t *)(((uintptr_t)at + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    if (mmap(start, limit, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == start &&
        madvise(start, limit, MADV_HUGEPAGE) == 0) {
        madvise(start, limit, MADV_DONTDUMP);
        return start;
    }
    munmap(at, limit + HUGE);
    return NULL;
}

int memfile_create(uint64_t limit, struct memfile **out)
{
    return memfile_create_in(-1, limit, out);
}

int memfile_create_in(int fd, uint64_t limit, struct memfile **out)
{
    int err = -ENOMEM;
    limit &= ~(MEMFILE_PAGE - 1);
    if (limit == 0 || limit / MEMFILE_PAGE > 1U << 31)
        return -EINVAL;

    struct memfile *mf = calloc(1, sizeof(*mf));
    if (!mf)
        return -ENOMEM;
    mf->limit = limit;
    mf->base = MAP_FAILED;
    mf->refs = MAP_FAILED;
    mutex_init(&mf->lock);
    mf->fd = fd > 0 ? fd : memfd_create("guest-memory", MFD_CLOEXEC);
    if (mf->fd < 0 || ftruncate(mf->fd, (off_t)limit) < 0) {
        err = -errno;
        goto fail;
    }
    mf->base = mmap(NULL, limit, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mf->fd, 0);
    mf->refs = mmap(NULL, limit / MEMFILE_PAGE * sizeof(*mf->refs), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mf->base == MAP_FAILED || (void *)mf->refs == MAP_FAILED)
        goto fail;
    /* Guest memory does not belong in a core dump of the sentry, nor in children it may fork. */
    madvise(mf->base, limit, MADV_DONTDUMP);
    if (fd > 0)
        mf->huge = map_huge(fd, limit);
    mutex_lock(&mf->lock);
    err = page_buddy_init(&mf->clean, (uint32_t)(limit / MEMFILE_PAGE));
    mutex_unlock(&mf->lock);
    if (err < 0)
        goto fail;
    *out = mf;
    return 0;
fail:
    memfile_destroy(mf);
    return err;
}

void memfile_destroy(struct memfile *mf) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    page_buddy_fini(&mf->clean);
    if (mf->base != MAP_FAILED)
        munmap(mf->base, mf->limit);
    if (mf->huge)
        munmap(mf->huge, mf->limit);
    if ((void *)mf->refs != MAP_FAILED)
        munmap(mf->refs, mf->limit / MEMFILE_PAGE * sizeof(*mf->refs));
    if (mf->fd >= 0)
        close(mf->fd);
    mutex_fini(&mf->lock);
    free(mf);
}

int memfile_fd(const struct memfile *mf)
{
    return mf->fd;
}

uint64_t memfile_limit(const struct memfile *mf)
{
    return mf->limit;
}

void *memfile_ptr(struct memfile *mf, uint64_t off)
{
    return mf->base + off;
}

uint64_t memfile_used(struct memfile *mf)
{
    return atomic_load_explicit(&mf->nr_used, memory_order_relaxed) * MEMFILE_PAGE;
}

static int compare_pages(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Gives pages that no list holds back to the host, then to the buddy allocator. */
static void punch(struct memfile *mf, uint32_t first, uint32_t n)
{
    off_t off = (off_t)(first * MEMFILE_PAGE);
    off_t len = (off_t)(n * MEMFILE_PAGE);
    if (fallocate(mf->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len) < 0)
        memset(mf->base + off, 0, (size_t)len); /* never seen to fail on a memfd; the clean list must be zero */
    mutex_lock(&mf->lock);
    page_buddy_free(&mf->clean, first, n);
    mutex_unlock(&mf->lock);
}

static void punch_all(struct memfile *mf, uint32_t *pages, unsigned int n)
{
    qsort(pages, n, sizeof(*pages), compare_pages);
    for (unsigned int i = 0, run; i < n; i += run) {
        for (run = 1; i + run < n && pages[i + run] == pages[i] + run; run++)
            ;
        punch(mf, pages[i], run);
    }
}

/* Takes the `max` oldest dirty pages off the stack. */
static unsigned int dirty_take_oldest(struct memfile *mf, uint32_t *pages, unsigned int max) REQUIRES(&mf->lock)
{
    unsigned int n = mf->nr_dirty < max ? mf->nr_dirty : max;
    memcpy(pages, mf->dirty, n * sizeof(*pages));
    mf->nr_dirty -= n;
    memmove(mf->dirty, mf->dirty + n, mf->nr_dirty * sizeof(*pages));
    return n;
}

static void remove_runs(struct memfile *mf, unsigned int i, unsigned int n) REQUIRES(&mf->lock)
{
    mf->nr_runs -= n;
    memmove(mf->runs + i, mf->runs + i + n, (mf->nr_runs - i) * sizeof(mf->runs[0]));
}

static unsigned int runs_take_oldest(struct memfile *mf, struct run *runs, unsigned int max) REQUIRES(&mf->lock)
{
    unsigned int n = mf->nr_runs < max ? mf->nr_runs : max;
    memcpy(runs, mf->runs, n * sizeof(*runs));
    remove_runs(mf, 0, n);
    return n;
}

void memfile_trim(struct memfile *mf)
{
    uint32_t pages[DIRTY_MAX];
    struct run runs[RUNS_MAX];
    mutex_lock(&mf->lock);
    unsigned int n = dirty_take_oldest(mf, pages, DIRTY_MAX), nr_runs = runs_take_oldest(mf, runs, RUNS_MAX);
    mutex_unlock(&mf->lock);
    punch_all(mf, pages, n);
    for (unsigned int i = 0; i < nr_runs; i++)
        punch(mf, runs[i].first, runs[i].n);
}

/* Joins pages to the run that was freed just before them, from which some difference in the guest's view has split them. */
static bool join_run(struct memfile *mf, uint32_t first, uint32_t n)
{
    bool ok = false;

    mutex_lock(&mf->lock);
    if (mf->nr_runs > 0) {
        struct run *last = &mf->runs[mf->nr_runs - 1];

        ok = last->first + last->n == first && last->n + n <= WHOLE_RUN;
        if (ok)
            last->n += n;
    }
    mutex_unlock(&mf->lock);
    return ok;
}

static void keep_run(struct memfile *mf, uint32_t first, uint32_t n)
{
    struct run old[RUNS_BATCH];
    unsigned int nr_old = 0;

    mutex_lock(&mf->lock);
    if (mf->nr_runs == RUNS_MAX)
        nr_old = runs_take_oldest(mf, old, RUNS_BATCH);
    mf->runs[mf->nr_runs++] = (struct run){first, n};
    mutex_unlock(&mf->lock);
    for (unsigned int i = 0; i < nr_old; i++)
        punch(mf, old[i].first, old[i].n);
}

static void free_run(struct memfile *mf, uint32_t first, uint32_t n)
{
    uint32_t old[DIRTY_BATCH];
    unsigned int nr_old = 0;

    atomic_fetch_sub_explicit(&mf->nr_used, n, memory_order_relaxed);
    if (n > DIRTY_RUN) {
        punch(mf, first, n);
        return;
    }
    if (n <= WHOLE_RUN && join_run(mf, first, n))
        return;
    if (n > 1 && n <= WHOLE_RUN) {
        keep_run(mf, first, n);
        return;
    }
    mutex_lock(&mf->lock);
    if (mf->nr_dirty + n > DIRTY_MAX)
        nr_old = dirty_take_oldest(mf, old, DIRTY_BATCH);
    for (uint32_t i = n; i-- > 0;) /* so that they come out ascending */
        mf->dirty[mf->nr_dirty++] = first + i;
    mutex_unlock(&mf->lock);
    if (nr_old > 0)
        punch_all(mf, old, nr_old);
}

/* A kept run of that length, or a part of the shortest that is longer. */
static bool reuse_run(struct memfile *mf, uint32_t n, uint32_t *first) REQUIRES(&mf->lock)
{
    struct run *best = NULL;

    for (unsigned int i = mf->nr_runs; i-- > 0;) {
        struct run *run = &mf->runs[i];

        if (run->n == n) {
            *first = run->first;
            remove_runs(mf, i, 1);
            return true;
        }
        if (run->n > n && (!best || run->n < best->n))
            best = run;
    }
    if (!best)
        return false;
    best->n -= n;
    *first = best->first + best->n;
    return true;
}

static bool alloc_pages(struct memfile *mf, uint32_t n, uint32_t *first, bool *dirty)
{
    bool ok = true;
    mutex_lock(&mf->lock);
    *dirty = true;
    if (n == 1 && mf->nr_dirty > 0)
        *first = mf->dirty[--mf->nr_dirty];
    else if (!reuse_run(mf, n, first))
        *dirty = false;
    if (!*dirty)
        ok = page_buddy_alloc(&mf->clean, n, first);
    mutex_unlock(&mf->lock);
    return ok;
}

/* Clears the pages of a run that are not holes. */
static void clear_run(struct memfile *mf, uint64_t off, uint64_t len)
{
    off_t at = (off_t)off, end = (off_t)(off + len);

    while (at < end) {
        off_t data = lseek(mf->fd, at, SEEK_DATA), hole = -1;
        if (data < 0 && errno == ENXIO)
            return;
        if (data >= end)
            return;
        if (data >= at)
            hole = lseek(mf->fd, data, SEEK_HOLE);
        else
            data = at; /* never seen to fail */
        if (hole <= data || hole > end)
            hole = end;
        memset(mf->base + data, 0, (size_t)(hole - data));
        at = hole;
    }
}

int memfile_alloc(struct memfile *mf, uint64_t len, enum memfile_flags flags, uint64_t *off)
{
    uint32_t first;
    bool dirty;

    if (len == 0 || len > mf->limit)
        return -ENOMEM;
    uint32_t n = (uint32_t)(len / MEMFILE_PAGE);
    if (!alloc_pages(mf, n, &first, &dirty)) {
        memfile_trim(mf);
        if (!alloc_pages(mf, n, &first, &dirty))
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++)
        atomic_store_explicit(&mf->refs[first + i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&mf->nr_used, n, memory_order_relaxed);
    *off = first * MEMFILE_PAGE;
    if (dirty && !(flags & MEMFILE_OVERWRITE)) {
        if (n == 1)
            memset(mf->base + *off, 0, MEMFILE_PAGE);
        else
            clear_run(mf, *off, len);
    }
    return 0;
}

void memfile_back(struct memfile *mf, uint64_t off, uint64_t len)
{
    if (mf->huge && off % HUGE == 0 && len % HUGE == 0 && madvise(mf->huge + off, len, MADV_POPULATE_WRITE) == 0)
        return;
    fallocate(mf->fd, 0, (off_t)off, (off_t)len);
}

void memfile_get(struct memfile *mf, uint64_t off, uint64_t len)
{
    uint64_t first = off / MEMFILE_PAGE, end = (off + len) / MEMFILE_PAGE;
    for (uint64_t i = first; i < end; i++)
        atomic_fetch_add_explicit(&mf->refs[i], 1, memory_order_relaxed);
}

void memfile_put(struct memfile *mf, uint64_t off, uint64_t len)
{
    uint32_t first = (uint32_t)(off / MEMFILE_PAGE), end = (uint32_t)((off + len) / MEMFILE_PAGE);
    uint32_t run = first; /* [run, i) has become free */

    for (uint32_t i = first; i < end; i++) {
        bool last;
        /* The holder of the only reference needs no locked instruction: nobody can gain one meanwhile. */
        if (atomic_load_explicit(&mf->refs[i], memory_order_acquire) == 1) {
            atomic_store_explicit(&mf->refs[i], 0, memory_order_relaxed);
            last = true;
        } else {
            last = atomic_fetch_sub_explicit(&mf->refs[i], 1, memory_order_acq_rel) == 1;
        }
        if (last)
            continue;
        if (run < i)
            free_run(mf, run, i - run);
        run = i + 1;
    }
    if (run < end)
        free_run(mf, run, end - run);
}

bool memfile_exclusive(struct memfile *mf, uint64_t off)
{
    return atomic_load_explicit(&mf->refs[off / MEMFILE_PAGE], memory_order_acquire) == 1;
}
