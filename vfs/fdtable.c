/*
 * Descriptor tables.
 *
 * Look-ups are in every read and write, so they take no lock: the array of slots is reached through an atomic pointer, a slot
 * holds an atomic file pointer, and the memory of files is type-stable (file.c). After taking a reference the look-up checks
 * that the slot and the array are still the same; then the file was open in between, which is all that a racing close allows
 * anyone to expect. An array that has been outgrown is kept until the table goes; sizes double, so that wastes less than the
 * array in use takes.
 *
 * The lock guards all changes. It is a leaf: files are closed after it is released.
 */
#include "vfs/fdtable.h"

#include "lib/lock.h"
#include "vfs/file.h"
#include "vfs/locks.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FD_MIN_SLOTS 64
#define FD_MAX_SLOTS (1U << 20) /* fs.nr_open */

struct fd_array {
    struct fd_array *older;
    unsigned int n;
    _Atomic(struct file *) slot[];
};

struct fdtable {
    struct refcount ref;
    _Atomic(struct fd_array *) array;
    struct mutex lock;
    uint64_t *open GUARDED_BY(lock); /* bit per slot, as in cloexec */
    uint64_t *cloexec GUARDED_BY(lock);
    unsigned int lowest_free GUARDED_BY(lock); /* nothing below it is free */
};

static struct fd_array *array_of(struct fdtable *ft)
{
    return atomic_load_explicit(&ft->array, memory_order_acquire);
}

static bool bit_test(const uint64_t *map, unsigned int i)
{
    return map[i / 64] >> i % 64 & 1;
}

static void bit_set(uint64_t *map, unsigned int i, bool on)
{
    if (on)
        map[i / 64] |= 1ULL << i % 64;
    else
        map[i / 64] &= ~(1ULL << i % 64);
}

/* Makes room for at least `want` slots. */
static int grow(struct fdtable *ft, unsigned int want) REQUIRES(&ft->lock)
{
    struct fd_array *old = array_of(ft);
    unsigned int had = old ? old->n : 0, n = had ? had : FD_MIN_SLOTS;

    while (n < want)
        n *= 2;
    if (n == had)
        return 0;
    struct fd_array *a = calloc(1, sizeof(*a) + n * sizeof(a->slot[0]));
    uint64_t *open = calloc(n / 64, 8), *cloexec = calloc(n / 64, 8);
    if (!a || !open || !cloexec) {
        free(a);
        free(open);
        free(cloexec);
        return -ENOMEM;
    }
    a->n = n;
    a->older = old;
    if (had) {
        for (unsigned int i = 0; i < had; i++)
            atomic_store_explicit(&a->slot[i], atomic_load_explicit(&old->slot[i], memory_order_relaxed), memory_order_relaxed);
        memcpy(open, ft->open, had / 8);
        memcpy(cloexec, ft->cloexec, had / 8);
    }
    free(ft->open);
    free(ft->cloexec);
    ft->open = open;
    ft->cloexec = cloexec;
    atomic_store_explicit(&ft->array, a, memory_order_seq_cst);
    return 0;
}

static void free_table(struct fdtable *ft) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    for (struct fd_array *a = array_of(ft), *older; a; a = older) {
        older = a->older;
        free(a);
    }
    free(ft->open);
    free(ft->cloexec);
    mutex_fini(&ft->lock);
    free(ft);
}

static struct fdtable *create_sized(unsigned int n)
{
    struct fdtable *ft = calloc(1, sizeof(*ft));
    if (!ft)
        return NULL;
    ref_init(&ft->ref);
    mutex_init(&ft->lock);
    mutex_lock(&ft->lock);
    int err = grow(ft, n);
    mutex_unlock(&ft->lock);
    if (err < 0) {
        free_table(ft);
        return NULL;
    }
    return ft;
}

int fdtable_create(struct fdtable **out)
{
    *out = create_sized(FD_MIN_SLOTS);
    return *out ? 0 : -ENOMEM;
}

/* The number of slots up to the last open one. */
static unsigned int used_slots(struct fdtable *ft) REQUIRES(&ft->lock)
{
    unsigned int words = array_of(ft)->n / 64;
    while (words > 0 && ft->open[words - 1] == 0)
        words--;
    return words * 64;
}

int fdtable_dup(struct fdtable *ft, struct fdtable **out) NO_THREAD_SAFETY_ANALYSIS /* the copy is private */
{
    for (unsigned int want = FD_MIN_SLOTS;;) {
        struct fdtable *copy = create_sized(want);
        if (!copy)
            return -ENOMEM;
        mutex_lock(&ft->lock);
        unsigned int n = used_slots(ft);
        if (n > array_of(copy)->n) {
            mutex_unlock(&ft->lock);
            free_table(copy);
            want = n;
            continue;
        }
        struct fd_array *from = array_of(ft), *to = array_of(copy);
        for (unsigned int i = 0; i < n; i++) {
            struct file *f = atomic_load_explicit(&from->slot[i], memory_order_relaxed);
            if (f)
                atomic_store_explicit(&to->slot[i], file_get(f), memory_order_relaxed);
        }
        memcpy(copy->open, ft->open, n / 8);
        memcpy(copy->cloexec, ft->cloexec, n / 8);
        copy->lowest_free = ft->lowest_free;
        mutex_unlock(&ft->lock);
        *out = copy;
        return 0;
    }
}

struct fdtable *fdtable_get(struct fdtable *ft)
{
    ref_get(&ft->ref);
    return ft;
}

bool fdtable_is_shared(struct fdtable *ft)
{
    return ref_read(&ft->ref) > 1;
}

static int close_file(struct file *f, const struct vfs_caller *c)
{
    int err = f->ops->flush && !(f->mode & FMODE_PATH) ? f->ops->flush(f, c) : 0;
    if (c)
        locks_remove_posix(f, c->tgid);
    file_put(f);
    return err;
}

void fdtable_put(struct fdtable *ft, const struct vfs_caller *c)
{
    if (!ft || !ref_put(&ft->ref))
        return;
    struct fd_array *a = array_of(ft);
    for (unsigned int i = 0; i < a->n; i++) {
        struct file *f = atomic_load_explicit(&a->slot[i], memory_order_relaxed);
        if (f)
            close_file(f, c);
    }
    free_table(ft);
}

struct file *fd_get_raw(struct fdtable *ft, int fd)
{
    for (;;) {
        struct fd_array *a = array_of(ft);
        if ((unsigned int)fd >= a->n)
            return NULL;
        struct file *f = atomic_load_explicit(&a->slot[fd], memory_order_acquire);
        if (!f)
            return NULL;
        if (!ref_get_unless_zero(&f->ref))
            continue;
        if (likely(atomic_load_explicit(&a->slot[fd], memory_order_acquire) == f && array_of(ft) == a))
            return f;
        file_put(f);
    }
}

struct file *fd_get(struct fdtable *ft, int fd)
{
    struct file *f = fd_get_raw(ft, fd);
    if (f && unlikely(f->mode & FMODE_PATH)) {
        file_put(f);
        return NULL;
    }
    return f;
}

static unsigned int find_free(struct fdtable *ft, unsigned int from) REQUIRES(&ft->lock)
{
    unsigned int n = array_of(ft)->n;
    if (from < ft->lowest_free)
        from = ft->lowest_free;
    while (from < n) {
        uint64_t free_bits = ~ft->open[from / 64] >> from % 64;
        if (free_bits)
            return from + (unsigned int)__builtin_ctzll(free_bits);
        from = (from / 64 + 1) * 64;
    }
    return from;
}

static void occupy(struct fdtable *ft, unsigned int fd, struct file *f, bool cloexec) REQUIRES(&ft->lock)
{
    bit_set(ft->open, fd, true);
    bit_set(ft->cloexec, fd, cloexec);
    atomic_store_explicit(&array_of(ft)->slot[fd], f, memory_order_release);
}

int fd_install(struct fdtable *ft, struct file *f, int min, bool cloexec, uint64_t limit)
{
    if (limit > FD_MAX_SLOTS)
        limit = FD_MAX_SLOTS;
    if (min < 0 || (uint64_t)min >= limit)
        return min == 0 ? -EMFILE : -EINVAL;
    mutex_lock(&ft->lock);
    unsigned int fd = find_free(ft, (unsigned int)min);
    int err = fd >= limit ? -EMFILE : grow(ft, fd + 1);
    if (err == 0) {
        occupy(ft, fd, file_get(f), cloexec);
        if ((unsigned int)min <= ft->lowest_free)
            ft->lowest_free = fd + 1;
    }
    mutex_unlock(&ft->lock);
    return err < 0 ? err : (int)fd;
}

int fd_replace(struct fdtable *ft, const struct vfs_caller *c, struct file *f, int fd, bool cloexec, uint64_t limit)
{
    if (fd < 0 || (uint64_t)fd >= limit || (unsigned int)fd >= FD_MAX_SLOTS)
        return -EBADF;
    mutex_lock(&ft->lock);
    int err = grow(ft, (unsigned int)fd + 1);
    if (err < 0) {
        mutex_unlock(&ft->lock);
        return err;
    }
    struct file *old = atomic_load_explicit(&array_of(ft)->slot[fd], memory_order_relaxed);
    occupy(ft, (unsigned int)fd, file_get(f), cloexec);
    mutex_unlock(&ft->lock);
    if (old)
        close_file(old, c);
    return fd;
}

/* Empties a slot; the table's reference passes to the caller. NULL when nothing is there. */
static struct file *vacate(struct fdtable *ft, unsigned int fd) REQUIRES(&ft->lock)
{
    struct fd_array *a = array_of(ft);
    if (fd >= a->n)
        return NULL;
    struct file *f = atomic_load_explicit(&a->slot[fd], memory_order_relaxed);
    if (!f)
        return NULL;
    atomic_store_explicit(&a->slot[fd], NULL, memory_order_seq_cst);
    bit_set(ft->open, fd, false);
    bit_set(ft->cloexec, fd, false);
    if (fd < ft->lowest_free)
        ft->lowest_free = fd;
    return f;
}

int fd_close(struct fdtable *ft, const struct vfs_caller *c, int fd)
{
    if (fd < 0)
        return -EBADF;
    mutex_lock(&ft->lock);
    struct file *f = vacate(ft, (unsigned int)fd);
    mutex_unlock(&ft->lock);
    return f ? close_file(f, c) : -EBADF;
}

void fd_close_range(struct fdtable *ft, const struct vfs_caller *c, unsigned int first, unsigned int last, bool cloexec_only)
{
    mutex_lock(&ft->lock);
    for (uint64_t fd = first; fd <= last && fd < array_of(ft)->n; fd++) {
        if (ft->open[fd / 64] == 0) {
            fd |= 63;
            continue;
        }
        if (cloexec_only) {
            if (bit_test(ft->open, (unsigned int)fd))
                bit_set(ft->cloexec, (unsigned int)fd, true);
            continue;
        }
        struct file *f = vacate(ft, (unsigned int)fd);
        if (!f)
            continue;
        mutex_unlock(&ft->lock);
        close_file(f, c);
        mutex_lock(&ft->lock);
    }
    mutex_unlock(&ft->lock);
}

void fdtable_close_on_exec(struct fdtable *ft, const struct vfs_caller *c)
{
    mutex_lock(&ft->lock);
    for (unsigned int w = 0; w < array_of(ft)->n / 64; w++) {
        while (ft->cloexec[w]) {
            struct file *f = vacate(ft, w * 64 + (unsigned int)__builtin_ctzll(ft->cloexec[w]));
            mutex_unlock(&ft->lock);
            close_file(f, c);
            mutex_lock(&ft->lock);
        }
    }
    mutex_unlock(&ft->lock);
}

int fd_get_cloexec(struct fdtable *ft, int fd)
{
    mutex_lock(&ft->lock);
    int r = fd >= 0 && (unsigned int)fd < array_of(ft)->n && bit_test(ft->open, (unsigned int)fd)
                ? bit_test(ft->cloexec, (unsigned int)fd)
                : -EBADF;
    mutex_unlock(&ft->lock);
    return r;
}

int fd_set_cloexec(struct fdtable *ft, int fd, bool on)
{
    int r = -EBADF;
    mutex_lock(&ft->lock);
    if (fd >= 0 && (unsigned int)fd < array_of(ft)->n && bit_test(ft->open, (unsigned int)fd)) {
        bit_set(ft->cloexec, (unsigned int)fd, on);
        r = 0;
    }
    mutex_unlock(&ft->lock);
    return r;
}

int fd_next_open(struct fdtable *ft, int from)
{
    int found = -1;
    mutex_lock(&ft->lock);
    unsigned int n = array_of(ft)->n;
    for (unsigned int fd = from < 0 ? 0 : (unsigned int)from; fd < n;) {
        uint64_t bits = ft->open[fd / 64] >> fd % 64;
        if (bits) {
            found = (int)(fd + (unsigned int)__builtin_ctzll(bits));
            break;
        }
        fd = (fd / 64 + 1) * 64;
    }
    mutex_unlock(&ft->lock);
    return found;
}
