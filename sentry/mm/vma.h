/*
 * The vma tree: which ranges the guest has mapped, and how. Private to sentry/mm.
 *
 * Vmas lie in an AVL tree by address; each node also knows the lowest start, the highest end and the widest gap between vmas of
 * its subtree, so that a free range is found without looking at every vma.
 *
 * All of it is guarded by mm->lock.
 */
#ifndef SENTRY_MM_VMA_H
#define SENTRY_MM_VMA_H

#include "sentry/mm/avl.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

struct mm;
struct vma_file;

/* vma->flags. The lowest three equal PROT_*. */
enum vm_flags {
    VM_READ = PROT_READ,
    VM_WRITE = PROT_WRITE,
    VM_EXEC = PROT_EXEC,
    VM_PROT = VM_READ | VM_WRITE | VM_EXEC,
    VM_SHARED = 0x8, /* writes go to the file */
    VM_MAYREAD = 0x10,
    VM_MAYWRITE = 0x20,
    VM_MAYEXEC = 0x40,
    VM_MAYSHARE = 0x80, /* MAP_SHARED was asked for; without VM_SHARED when the file is open for reading only */
    VM_GROWSDOWN = 0x100,
    VM_LOCKED = 0x200,
    VM_LOCKONFAULT = 0x400,
    VM_NORESERVE = 0x800,
    VM_DONTCOPY = 0x1000,
    VM_WIPEONFORK = 0x2000,
    VM_DONTDUMP = 0x4000,
    VM_SPECIAL = 0x8000, /* vDSO pages: backed by memory-file pages at vma->special that the sentry owns */
    VM_SHMEM = 0x10000,  /* MAP_SHARED | MAP_ANONYMOUS, or /dev/zero: there are no time stamps to keep */
    VM_DONTEXPAND = 0x20000,
    VM_SEALED = 0x40000,    /* mseal(2) */
    VM_DENYWRITE = 0x80000, /* MAP_DENYWRITE, as the dynamic linker asks for: the file does not change */
};
#define VM_LOCKED_MASK (VM_LOCKED | VM_LOCKONFAULT)

struct vma {
    struct avl_node node;
    uint64_t start, end;
    uint64_t pgoff;      /* byte offset in the file of `start` */
    struct vma_file *vf; /* NULL: anonymous or special; counted */
    uint64_t special;    /* VM_SPECIAL: memory-file offset of `start` */
    const char *name;    /* VM_SPECIAL: for /proc/PID/maps; static */
    uint32_t flags;      /* enum vm_flags */
    uint32_t nr_filled;  /* pages that faults have brought in, and copied for writes: they widen the next one's window */
    uint32_t nr_copied;
    uint64_t next_fault;                  /* where a sequential walk would fault next */
    uint64_t min_start, max_end, max_gap; /* of the subtree */
};

void vma_tree_init(struct mm *mm);
static inline struct vma *vma_of(struct avl_node *n)
{
    return avl_entry(n, struct vma, node);
}
struct vma *vma_first(struct mm *mm);
static inline struct vma *vma_next(const struct vma *v)
{
    return vma_of(avl_next(&v->node));
}
static inline struct vma *vma_prev(const struct vma *v)
{
    return vma_of(avl_prev(&v->node));
}
/* The first vma that ends above `addr` (it may start above it too), or NULL. */
struct vma *vma_find(struct mm *mm, uint64_t addr);
/* The vma that contains `addr`, or NULL. */
struct vma *vma_at(struct mm *mm, uint64_t addr);
/* Whether any vma, or the platform's hole, meets [start, end). */
bool vma_range_free(struct mm *mm, uint64_t start, uint64_t end);
/* Whether any part of [start, end) is sealed against change: -EPERM. */
bool vma_range_sealed(struct mm *mm, uint64_t start, uint64_t end);

static inline bool vma_is_anon(const struct vma *v)
{
    return !v->vf && !(v->flags & VM_SPECIAL);
}
static inline uint64_t vma_len(const struct vma *v)
{
    return v->end - v->start;
}
/* Where `addr` is in the file. */
static inline uint64_t vma_file_offset(const struct vma *v, uint64_t addr)
{
    return v->pgoff + (addr - v->start);
}

struct vma *vma_alloc(void);
/* Links a vma and counts its size; its range must be free. */
void vma_link(struct mm *mm, struct vma *v);
/* Unlinks and frees it, with its reference on the file. */
void vma_remove(struct mm *mm, struct vma *v);
/* Changes the extent or the flags of a linked vma and keeps all sums. Starts and ends may not pass neighbours. */
void vma_set_range(struct mm *mm, struct vma *v, uint64_t start, uint64_t end);
void vma_set_flags(struct mm *mm, struct vma *v, uint32_t flags);
/* Cuts `v` in two at `addr`, inside it; `v` keeps the lower part. -ENOMEM (also for too many vmas). */
int must_check vma_split(struct mm *mm, struct vma *v, uint64_t addr);
/* Makes `start` and `end` be boundaries of vmas, if they are inside some. -ENOMEM. */
int must_check vma_cut(struct mm *mm, uint64_t start, uint64_t end);
/* Merges `v` with its neighbours where they are alike. Returns the vma that now covers v's range. */
struct vma *vma_merge(struct mm *mm, struct vma *v);

/*
 * Finds a free range of `len` bytes within [low, high), the topmost or the lowest one. Zero if there is none. Gaps below a
 * stack that grows down are respected.
 */
uint64_t vma_find_gap_topdown(struct mm *mm, uint64_t low, uint64_t high, uint64_t len);
uint64_t vma_find_gap_bottomup(struct mm *mm, uint64_t low, uint64_t high, uint64_t len);

#endif
