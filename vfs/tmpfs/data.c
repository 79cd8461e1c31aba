/*
 * The contents of tmpfs files: read, write, truncate, fallocate, seek, map.
 *
 * Large transfers go by pread/pwrite on the memory file, straight between guest memory and page cache: for new pages that
 * spares both clearing them and a fault in the sentry's own mapping. Small ones are a memcpy through that mapping.
 *
 * A write into a hole fills pages that nobody else can see yet, and puts them into the tree when they are complete, so that no
 * reader ever sees stale memory. A page fault may have filled the hole meanwhile; then the bytes are copied over.
 */
#include "lib/memfile.h"
#include "vfs/file_internal.h"
#include "vfs/tmpfs/tmpfs_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE         MEMFILE_PAGE
#define WRITE_CHUNK  64 /* pages filled at a time: bounds what a fault half-way wastes */
#define BULK_BYTES   (16 * 1024)
#define FAULT_AROUND 1024 /* pages that one fault in a hole may allocate; untouched ones cost nothing */
#define ZEROES_BYTES (64 * 1024)

static const char zeroes[ZEROES_BYTES];

static bool charge(struct super_block *sb, uint64_t pages)
{
    struct tmpfs_super *ts = tmpfs_sb(sb);
    uint64_t n = atomic_fetch_add_explicit(&ts->nr_pages, pages, memory_order_relaxed) + pages;
    if (ts->max_pages == 0 || n <= ts->max_pages)
        return true;
    atomic_fetch_sub_explicit(&ts->nr_pages, pages, memory_order_relaxed);
    return false;
}

static void uncharge(struct super_block *sb, uint64_t pages)
{
    atomic_fetch_sub_explicit(&tmpfs_sb(sb)->nr_pages, pages, memory_order_relaxed);
}

static void update_blocks(struct inode *inode, struct tmpfs_inode *ti) REQUIRES(&ti->pages_lock)
{
    inode_store(inode->blocks, ti->pages.nr_pages * (PAGE / 512));
}

/* Charged pages, contiguous, as many of `want` as there are but at least one. 0 pages: -ENOSPC. */
static uint64_t new_pages(struct super_block *sb, uint64_t want, enum memfile_flags flags, uint64_t *off)
{
    for (uint64_t n = want; n > 0; n /= 2) {
        if (!charge(sb, n))
            continue;
        if (memfile_alloc(sb->mf, n * PAGE, flags, off) == 0)
            return n;
        uncharge(sb, n);
    }
    return 0;
}

struct transfer {
    int fd;
    off_t off;
};

static ssize_t bulk_write(void *arg, const struct iovec *iov, int nr)
{
    const struct transfer *t = arg;
    ssize_t n = pwritev(t->fd, iov, nr, t->off);
    return n < 0 ? -errno : n;
}

static ssize_t bulk_read(void *arg, const struct iovec *iov, int nr)
{
    const struct transfer *t = arg;
    ssize_t n = preadv(t->fd, iov, nr, t->off);
    return n < 0 ? -errno : n;
}

/* Moves `n` bytes between the uio and memory-file offset `off`. Bytes, or -errno when there were none. */
static ssize_t move(struct memfile *mf, struct uio *uio, uint64_t off, size_t n, bool write, size_t bulk)
{
    if (n < bulk)
        return write ? uio_copy_from(uio, memfile_ptr(mf, off), n) : uio_copy_to(uio, memfile_ptr(mf, off), n);
    size_t done = 0;
    while (done < n) {
        struct transfer t = {memfile_fd(mf), (off_t)(off + done)};
        ssize_t r = uio_with_iovec(uio, !write, n - done, write ? bulk_write : bulk_read, &t);
        if (r <= 0)
            return done ? (ssize_t)done : r;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

static ssize_t tmpfs_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct inode *inode = f->inode;
    struct tmpfs_inode *ti = tmpfs_i(inode);
    struct memfile *mf = inode->sb->mf;
    size_t done = 0;

    while (uio->resid > 0) {
        loff_t size = atomic_load_explicit(&inode->size, memory_order_acquire);
        if (*pos >= size)
            break;
        uint64_t idx = (uint64_t)*pos / PAGE, in_page = (uint64_t)*pos % PAGE, off;
        size_t n = (uint64_t)(size - *pos) < uio->resid ? (size_t)(size - *pos) : uio->resid;
        uint64_t pages = (in_page + n + PAGE - 1) / PAGE;

        mutex_lock(&ti->pages_lock);
        pages = page_tree_run(&ti->pages, idx, pages);
        bool present = page_tree_get(&ti->pages, idx, &off);
        if (present)
            memfile_get(mf, off, pages * PAGE);
        mutex_unlock(&ti->pages_lock);

        if (n > pages * PAGE - in_page)
            n = (size_t)(pages * PAGE - in_page);
        ssize_t r;
        if (present) {
            r = move(mf, uio, off + in_page, n, false, BULK_BYTES);
            memfile_put(mf, off, pages * PAGE);
        } else {
            r = uio_copy_to(uio, zeroes, n < ZEROES_BYTES ? n : ZEROES_BYTES);
        }
        if (r <= 0)
            return done ? (ssize_t)done : r;
        *pos += r;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

/* Puts filled pages [off, off+n) at `idx`; `from`..`to` are the bytes that were written. Gives back what finds its place taken.
 */
static void insert_filled(struct inode *inode, uint64_t idx, uint64_t off, uint64_t n, uint64_t from, uint64_t to)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    struct memfile *mf = inode->sb->mf;
    uint64_t taken = 0, there;

    mutex_lock(&ti->pages_lock);
    for (uint64_t i = 0; i < n; i++) {
        if (likely(!page_tree_get(&ti->pages, idx + i, &there))) {
            page_tree_set(&ti->pages, idx + i, off + i * PAGE);
            continue;
        }
        uint64_t lo = i == 0 ? from : 0, hi = (i + 1) * PAGE <= to ? PAGE : to - i * PAGE;
        memcpy((char *)memfile_ptr(mf, there) + lo, (char *)memfile_ptr(mf, off + i * PAGE) + lo, hi - lo);
        memfile_put(mf, off + i * PAGE, PAGE);
        taken++;
    }
    update_blocks(inode, ti);
    mutex_unlock(&ti->pages_lock);
    if (taken)
        uncharge(inode->sb, taken);
}

static ssize_t write_hole(struct inode *inode, struct uio *uio, uint64_t pos, uint64_t pages, size_t n)
{
    struct super_block *sb = inode->sb;
    struct tmpfs_inode *ti = tmpfs_i(inode);
    uint64_t idx = pos / PAGE, in_page = pos % PAGE, off;
    bool whole = in_page == 0 && n >= PAGE;

    pages = whole ? (pages < n / PAGE ? pages : n / PAGE) : 1;
    mutex_lock(&ti->pages_lock);
    int err = page_tree_reserve(&ti->pages, idx, pages);
    mutex_unlock(&ti->pages_lock);
    if (err < 0)
        return err;
    pages = new_pages(sb, pages, whole ? MEMFILE_OVERWRITE : MEMFILE_ZERO, &off);
    if (pages == 0)
        return -ENOSPC;
    if (n > pages * PAGE - in_page)
        n = (size_t)(pages * PAGE - in_page);
    ssize_t r = move(sb->mf, uio, off + in_page, n, true, whole ? PAGE : BULK_BYTES);
    uint64_t end = r > 0 ? in_page + (uint64_t)r : 0, used = (end + PAGE - 1) / PAGE;
    if (whole && end % PAGE != 0)
        memset((char *)memfile_ptr(sb->mf, off) + end, 0, used * PAGE - end);
    if (used < pages) {
        memfile_put(sb->mf, off + used * PAGE, (pages - used) * PAGE);
        uncharge(sb, pages - used);
    }
    if (used > 0)
        insert_filled(inode, idx, off, used, in_page, end);
    return r;
}

/* Writes up to the end of one run. Under inode->lock, so pages that are there stay there. */
static ssize_t write_run(struct inode *inode, struct uio *uio, uint64_t pos, size_t n)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    uint64_t idx = pos / PAGE, in_page = pos % PAGE, off;
    uint64_t pages = (in_page + n + PAGE - 1) / PAGE;

    if (pages > WRITE_CHUNK)
        pages = WRITE_CHUNK;
    mutex_lock(&ti->pages_lock);
    pages = page_tree_run(&ti->pages, idx, pages);
    bool present = page_tree_get(&ti->pages, idx, &off);
    mutex_unlock(&ti->pages_lock);
    if (n > pages * PAGE - in_page)
        n = (size_t)(pages * PAGE - in_page);
    if (present)
        return move(inode->sb->mf, uio, off + in_page, n, true, BULK_BYTES);
    return write_hole(inode, uio, pos, pages, n);
}

static ssize_t tmpfs_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct inode *inode = f->inode;
    unsigned int seals = atomic_load(&tmpfs_i(inode)->seals);
    size_t done = 0;
    ssize_t r = 0;

    mutex_lock(&inode->lock);
    ssize_t n = generic_write_checks(f, c, uio->resid, pos);
    if (n > 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        n = -EPERM;
    if (n > 0 && seals & F_SEAL_GROW && *pos + n > atomic_load(&inode->size))
        n = -EPERM;
    while (n > 0 && done < (size_t)n) {
        r = write_run(inode, uio, (uint64_t)*pos, (size_t)n - done);
        if (r <= 0)
            break;
        *pos += r;
        done += (size_t)r;
        if (*pos > atomic_load_explicit(&inode->size, memory_order_relaxed))
            atomic_store_explicit(&inode->size, *pos, memory_order_release);
    }
    if (done > 0)
        inode_touch(inode, true, true);
    mutex_unlock(&inode->lock);
    if (n <= 0)
        return n;
    return done ? (ssize_t)done : r;
}

/* Zeroes [from, to) within one page, if that page exists. */
static void zero_part(struct inode *inode, struct tmpfs_inode *ti, uint64_t from, uint64_t to) REQUIRES(&ti->pages_lock)
{
    uint64_t off;
    if (from < to && page_tree_get(&ti->pages, from / PAGE, &off))
        memset((char *)memfile_ptr(inode->sb->mf, off) + from % PAGE, 0, to - from);
}

/* Turns file pages [idx, end) into holes. */
static void drop_pages(struct inode *inode, uint64_t idx, uint64_t end)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    uint64_t dropped = 0, off;

    mutex_lock(&ti->pages_lock);
    while ((idx = page_tree_next(&ti->pages, idx, end)) < end) {
        uint64_t n = page_tree_run(&ti->pages, idx, end - idx);
        (void)page_tree_get(&ti->pages, idx, &off);
        for (uint64_t i = 0; i < n; i++)
            page_tree_clear(&ti->pages, idx + i);
        memfile_put(inode->sb->mf, off, n * PAGE);
        dropped += n;
        idx += n;
    }
    update_blocks(inode, ti);
    mutex_unlock(&ti->pages_lock);
    uncharge(inode->sb, dropped);
}

int tmpfs_set_size(struct inode *inode, uint64_t size)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    uint64_t old = (uint64_t)atomic_load(&inode->size), page_end = (size + PAGE - 1) / PAGE * PAGE;
    unsigned int seals = atomic_load(&ti->seals);

    if ((size < old && seals & F_SEAL_SHRINK) || (size > old && seals & F_SEAL_GROW))
        return -EPERM;
    mutex_lock(&ti->pages_lock);
    if (size < old)
        zero_part(inode, ti, size, page_end);
    atomic_store_explicit(&inode->size, (long long)size, memory_order_release);
    bool any = ti->pages.nr_pages > 0;
    mutex_unlock(&ti->pages_lock);
    if (size < old && any) {
        inode_mapping_invalidate(inode, page_end, UINT64_MAX - page_end);
        drop_pages(inode, page_end / PAGE, UINT64_MAX / PAGE);
    }
    return 0;
}

void tmpfs_free_data(struct inode *inode)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    mutex_lock(&ti->pages_lock);
    bool any = ti->pages.nr_pages > 0;
    mutex_unlock(&ti->pages_lock);
    if (any)
        drop_pages(inode, 0, UINT64_MAX / PAGE);
    mutex_lock(&ti->pages_lock);
    page_tree_fini(&ti->pages);
    mutex_unlock(&ti->pages_lock);
}

/* Fills the hole at `idx`, up to `want` pages of it, with pages that read as zero. Pages filled, or -errno. */
static int64_t fill_hole_locked(struct inode *inode, struct tmpfs_inode *ti, uint64_t idx, uint64_t want)
    REQUIRES(&ti->pages_lock)
{
    uint64_t off, n = page_tree_run(&ti->pages, idx, want);
    int err = page_tree_reserve(&ti->pages, idx, n);
    if (err < 0)
        return err;
    n = new_pages(inode->sb, n, MEMFILE_ZERO, &off);
    if (n == 0)
        return -ENOSPC;
    for (uint64_t i = 0; i < n; i++)
        page_tree_set(&ti->pages, idx + i, off + i * PAGE);
    update_blocks(inode, ti);
    return (int64_t)n;
}

static int punch_hole(struct inode *inode, uint64_t from, uint64_t to)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    uint64_t first = (from + PAGE - 1) / PAGE, end = to / PAGE;

    if (atomic_load(&ti->seals) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    mutex_lock(&ti->pages_lock);
    zero_part(inode, ti, from, first * PAGE < to ? first * PAGE : to);
    if (end >= first)
        zero_part(inode, ti, end * PAGE > from ? end * PAGE : from, to);
    mutex_unlock(&ti->pages_lock);
    if (end > first) {
        inode_mapping_invalidate(inode, first * PAGE, (end - first) * PAGE);
        drop_pages(inode, first, end);
    }
    return 0;
}

/* Pages that fallocate(2) adds in one step, since it reserves their place in the tree before it knows how many there are. */
#define FILL_MAX 512

static int allocate_range(struct inode *inode, uint64_t from, uint64_t to, bool keep_size)
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    struct tmpfs_super *ts = tmpfs_sb(inode->sb);
    uint64_t first = from / PAGE, end = (to + PAGE - 1) / PAGE;
    int64_t n = 0;

    if (!keep_size && to > (uint64_t)atomic_load(&inode->size) && atomic_load(&ti->seals) & F_SEAL_GROW)
        return -EPERM;
    uint64_t limit = ts->max_pages ? ts->max_pages : memfile_limit(inode->sb->mf) / PAGE;
    if (end - first > limit)
        return -ENOSPC;
    for (uint64_t idx = first; idx < end && n >= 0; idx += (uint64_t)n) {
        uint64_t off;
        mutex_lock(&ti->pages_lock);
        if (page_tree_get(&ti->pages, idx, &off))
            n = (int64_t)page_tree_run(&ti->pages, idx, end - idx);
        else
            n = fill_hole_locked(inode, ti, idx, end - idx < FILL_MAX ? end - idx : FILL_MAX);
        mutex_unlock(&ti->pages_lock);
    }
    if (n < 0)
        return (int)n; /* what was allocated stays, as it may be read as zeroes anyway */
    if (!keep_size && to > (uint64_t)atomic_load(&inode->size))
        atomic_store_explicit(&inode->size, (long long)to, memory_order_release);
    return 0;
}

static int tmpfs_fallocate(struct file *f, const struct vfs_caller *c, int mode, loff_t off, loff_t len)
{
    struct inode *inode = f->inode;
    uint64_t from = (uint64_t)off, to = from + (uint64_t)len;
    int err;

    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
        return -EOPNOTSUPP;
    mutex_lock(&inode->lock);
    if (mode & FALLOC_FL_PUNCH_HOLE)
        err = punch_hole(inode, from, to);
    else
        err = allocate_range(inode, from, to, mode & FALLOC_FL_KEEP_SIZE);
    if (err == 0)
        inode_touch(inode, true, true);
    mutex_unlock(&inode->lock);
    return err;
}

static loff_t tmpfs_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    struct inode *inode = f->inode;
    struct tmpfs_inode *ti = tmpfs_i(inode);
    loff_t size = atomic_load(&inode->size);

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return generic_llseek(f, off, whence);
    if (off < 0 || off >= size)
        return -ENXIO;
    uint64_t idx = (uint64_t)off / PAGE, end = ((uint64_t)size + PAGE - 1) / PAGE, found = idx, page;
    mutex_lock(&ti->pages_lock);
    if (whence == SEEK_DATA)
        found = page_tree_next(&ti->pages, idx, end);
    else
        while (found < end && page_tree_get(&ti->pages, found, &page))
            found++;
    mutex_unlock(&ti->pages_lock);
    if (found >= end) {
        if (whence == SEEK_DATA)
            return -ENXIO;
        return file_set_pos(f, size);
    }
    loff_t at = (loff_t)(found * PAGE);
    return file_set_pos(f, at > off ? at : off);
}

static int tmpfs_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    unsigned int seals = atomic_load(&tmpfs_i(f->inode)->seals);
    if (shared && prot & PROT_WRITE && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    file_accessed(f);
    return shared && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

static int tmpfs_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct inode *inode = f->inode;
    struct tmpfs_inode *ti = tmpfs_i(inode);
    struct memfile *mf = inode->sb->mf;
    uint64_t idx = off / PAGE, at;
    int err = -ENXIO;

    mutex_lock(&ti->pages_lock);
    uint64_t size = (uint64_t)atomic_load(&inode->size), end = (size + PAGE - 1) / PAGE;
    if (idx < end) {
        uint64_t pages = len / PAGE < end - idx ? len / PAGE : end - idx;
        if (pages == 0)
            pages = 1;
        int64_t n = page_tree_get(&ti->pages, idx, &at)
                        ? (int64_t)page_tree_run(&ti->pages, idx, pages)
                        : fill_hole_locked(inode, ti, idx, pages < FAULT_AROUND ? pages : FAULT_AROUND);
        if (n > 0) {
            (void)page_tree_get(&ti->pages, idx, &at);
            memfile_get(mf, at, (uint64_t)n * PAGE);
            *out = (struct mmap_extent){.fd = memfile_fd(mf), .offset = at, .len = (uint64_t)n * PAGE, .mf = mf};
        }
        err = n < 0 ? (int)n : 0;
    }
    mutex_unlock(&ti->pages_lock);
    return err;
}

static int tmpfs_fsync(struct file *f, bool datasync)
{
    return 0;
}

const struct file_ops tmpfs_file_ops = {
    .read = tmpfs_read,
    .write = tmpfs_write,
    .llseek = tmpfs_llseek,
    .fsync = tmpfs_fsync,
    .fallocate = tmpfs_fallocate,
    .mmap = tmpfs_mmap,
    .map_extent = tmpfs_map_extent,
};

int tmpfs_file_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    f->ops = &tmpfs_file_ops;
    return 0;
}
