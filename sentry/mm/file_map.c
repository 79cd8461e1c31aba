/*
 * See file_map.h.
 *
 * Windows are made when the sentry first touches a part of a file, cover as much of it as one extent does (up to 1 GiB: address
 * space costs nothing), and stay until the last mapping of the inode goes. They lie in a list that only grows, so that readers
 * need no lock. When there are very many the next ones are made for one use only.
 */
#include "sentry/mm/file_map.h"

#include "lib/lock.h"
#include "lib/memfile.h"
#include "sentry/mm/mm_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#define WINDOW_MAX  (1ULL << 30)
#define MAX_WINDOWS 4096
#define TABLE_SLOTS 256

struct window {
    struct window *next;
    uint64_t off, len; /* in the file */
    uint8_t *ptr;
    bool writable;
};

struct file_map {
    struct file_map *next; /* in the table's slot */
    struct file_map_table *table;
    struct inode *inode; /* not counted: whoever has a vma_file holds the file */
    unsigned int refs;   /* guarded by table->lock */
    struct mutex lock;   /* serialises making windows */
    _Atomic(struct window *) windows;
};

struct file_map_table {
    struct mutex lock;
    struct file_map *slots[TABLE_SLOTS];
    atomic_uint nr_windows;
};

int file_map_table_create(struct file_map_table **out)
{
    struct file_map_table *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    mutex_init(&t->lock);
    *out = t;
    return 0;
}

void file_map_table_destroy(struct file_map_table *t)
{
    if (!t)
        return;
    mutex_fini(&t->lock);
    free(t);
}

static struct file_map **slot_of(struct file_map_table *t, const struct inode *inode)
{
    return &t->slots[(uintptr_t)inode / 64 % TABLE_SLOTS];
}

static struct file_map *file_map_get(struct file_map_table *t, struct inode *inode)
{
    struct file_map *m;

    mutex_lock(&t->lock);
    for (m = *slot_of(t, inode); m; m = m->next)
        if (m->inode == inode)
            break;
    if (!m) {
        m = calloc(1, sizeof(*m));
        if (m) {
            m->table = t;
            m->inode = inode;
            mutex_init(&m->lock);
            m->next = *slot_of(t, inode);
            *slot_of(t, inode) = m;
        }
    }
    if (m)
        m->refs++;
    mutex_unlock(&t->lock);
    return m;
}

static void file_map_put(struct file_map *m)
{
    struct file_map_table *t = m->table;
    struct file_map **link;
    struct window *w, *next;

    mutex_lock(&t->lock);
    if (--m->refs > 0) {
        mutex_unlock(&t->lock);
        return;
    }
    for (link = slot_of(t, m->inode); *link != m; link = &(*link)->next)
        ;
    *link = m->next;
    mutex_unlock(&t->lock);
    for (w = atomic_load(&m->windows); w; w = next) {
        next = w->next;
        munmap(w->ptr, w->len);
        free(w);
        atomic_fetch_sub(&t->nr_windows, 1);
    }
    mutex_fini(&m->lock);
    free(m);
}

/* Pages of a file have gone (it became shorter, or got a hole): whoever maps them must lose them. */
static void invalidate(struct inode_mapping *im, uint64_t off, uint64_t len)
{
    struct vma_file *vf = container_of(im, struct vma_file, mapping);
    struct mm *mm = vf->mm;
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    uint64_t eof = page_up((uint64_t)atomic_load(&vf->file->inode->size));

    mm_wrlock(mm);
    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        struct pte_run run;
        uint64_t from = off > v->pgoff ? off - v->pgoff : 0, to = end - v->pgoff;
        if (v->vf != vf || end <= v->pgoff || from >= vma_len(v))
            continue;
        to = to > vma_len(v) ? v->end : v->start + page_up(to);
        from = v->start + page_down(from);
        /* Private copies live on unless the file has no such page any more, see unmap_mapping_range(even_cows) in Linux. */
        while (from < to && ptab_next_run(&mm->pt, from, to, &run)) {
            bool beyond = vma_file_offset(v, run.start) >= eof;
            if (!beyond && (run.pte & PTE_ANON) && vma_file_offset(v, run.end) > eof) {
                run.end = v->start + (eof - v->pgoff); /* the part before the end of the file stays */
            } else if (beyond || !(run.pte & PTE_ANON)) {
                if (mm_zap(mm, run.start, run.end) < 0)
                    mm->broken = true;
            }
            from = run.end;
        }
    }
    mm_wrunlock(mm);
}

int vma_file_create(struct mm *mm, struct file *f, bool writable, struct vma_file **out)
{
    struct vma_file *vf = calloc(1, sizeof(*vf));

    if (!vf)
        return -ENOMEM;
    vf->map = file_map_get(mm->s->file_maps, f->inode);
    if (!vf->map) {
        free(vf);
        return -ENOMEM;
    }
    vf->file = file_get(f);
    vf->mm = mm;
    vf->nr_vmas = 1;
    vf->mapping.invalidate = invalidate;
    vf->mapping.writable = writable;
    inode_mapping_add(f->inode, &vf->mapping);
    *out = vf;
    return 0;
}

void vma_file_destroy(struct vma_file *vf)
{
    inode_mapping_remove(vf->file->inode, &vf->mapping);
    file_map_put(vf->map);
    file_put(vf->file);
    free(vf);
}

/* Maps [off, ...) of the file into the sentry: the window with one extent's length, at most `len`. */
static int window_make(struct vma_file *vf, uint64_t off, uint64_t len, bool writable, struct window *w)
{
    struct mmap_extent ext;
    int r = vf->file->ops->map_extent(vf->file, off, len, PROT_READ | (writable ? PROT_WRITE : 0), &ext);

    if (r < 0)
        return r;
    if (ext.mf) { /* tmpfs: present pages never come here, an absent one may have become present; the caller tries again */
        memfile_put(ext.mf, ext.offset, page_up(ext.len));
        return -EAGAIN;
    }
    w->off = off;
    w->len = page_up(ext.len < len ? ext.len : len);
    w->writable = writable;
    w->ptr = mmap(NULL, w->len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, ext.fd, (off_t)ext.offset);
    return w->ptr == MAP_FAILED ? -errno : 0;
}

static bool window_find(struct file_map *m, uint64_t off, bool writable, struct file_window *out)
{
    for (struct window *w = atomic_load_explicit(&m->windows, memory_order_acquire); w; w = w->next) {
        if (off < w->off || off - w->off >= w->len || (writable && !w->writable))
            continue;
        out->ptr = w->ptr + (off - w->off);
        out->len = w->len - (off - w->off);
        out->temporary = false;
        return true;
    }
    return false;
}

int file_window_get(struct vma_file *vf, uint64_t off, uint64_t len, bool writable, struct file_window *out)
{
    struct file_map *m = vf->map;
    struct window tmp, *w;
    int r;

    if (likely(window_find(m, off, writable, out)))
        return 0;
    if (atomic_load(&m->table->nr_windows) >= MAX_WINDOWS) {
        r = window_make(vf, off, len, writable, &tmp);
        if (r < 0)
            return r;
        *out = (struct file_window){.ptr = tmp.ptr, .len = tmp.len, .temporary = true};
        return 0;
    }
    mutex_lock(&m->lock);
    if (window_find(m, off, writable, out)) {
        mutex_unlock(&m->lock);
        return 0;
    }
    w = calloc(1, sizeof(*w));
    r = -ENOMEM;
    if (w) {
        /* From the start of the file if it is not far: the next one asks for a neighbour. */
        uint64_t first = off < WINDOW_MAX ? 0 : off & ~(WINDOW_MAX - 1);
        r = window_make(vf, first, WINDOW_MAX, writable, w);
        if (r == 0 && off - first >= w->len) {
            munmap(w->ptr, w->len);
            r = -ENXIO;
        }
        if (r < 0)
            r = window_make(vf, off, WINDOW_MAX, writable, w);
    }
    if (r < 0) {
        free(w);
    } else {
        w->next = atomic_load_explicit(&m->windows, memory_order_relaxed);
        atomic_store_explicit(&m->windows, w, memory_order_release);
        atomic_fetch_add(&m->table->nr_windows, 1);
        window_find(m, off, writable, out);
    }
    mutex_unlock(&m->lock);
    return r;
}

void file_window_put(struct file_window *w)
{
    if (unlikely(w->temporary))
        munmap(w->ptr, w->len);
}
