/*
 * What the files of sentry/mm share: the address space itself, changes of the platform's mappings, and the steps of a fault.
 *
 * How the parts play together. The vma tree (vma.h) says what the guest mapped; the page tables (ptab.h) say which pages are
 * present and what the platform has of them; mm_fault fills them (fault.c), zap empties them (zap.c). A page of the memory file
 * whose entry has PTE_ANON is private to address spaces: it is copied before a write unless this is its only reference.
 *
 * Changes go in this order: check and allocate; apply to the platform, in one batch; then the trees; then drop references to
 * memory, so that no page is used again while a guest might still reach it.
 *
 * Locks: mm->lock guards everything in struct mm that is not atomic or said to be immutable. Order: mm->lock (a parent's before
 * its child's in fork) -> file_map->lock -> inode->lock and inode->aux_lock -> the memory file's. Files are put and inode
 * mappings removed after mm->lock is released, by mm_wrunlock().
 */
#ifndef SENTRY_MM_INTERNAL_H
#define SENTRY_MM_INTERNAL_H

#include "lib/lock.h"
#include "lib/memfile.h"
#include "lib/refcount.h"
#include "sentry/mm/file_map.h"
#include "sentry/mm/hot.h"
#include "sentry/mm/mm.h"
#include "sentry/mm/ptab.h"
#include "sentry/mm/vma.h"

#include <errno.h>
#include <stdatomic.h>

#define PAGE          GUEST_PAGE_SIZE
#define MAX_MAP_COUNT 65530
#define STACK_GUARD   (256 * PAGE)
#define MM_FRESH      8
#define MM_SMALL_ANON (16 * PAGE) /* mappings for which predict.c is asked */
#define MM_SMALL_DATA (16 * PAGE) /* data segments up to this size are copied whole */

static inline uint64_t page_down(uint64_t a)
{
    return a & GUEST_PAGE_MASK;
}
/* Wraps to 0 at the top; callers check. */
static inline uint64_t page_up(uint64_t a)
{
    return (a + PAGE - 1) & GUEST_PAGE_MASK;
}

/* Immutable but for the table of file maps. */
struct mm_shared {
    struct platform *platform;
    struct platform_limits limits;
    struct memfile *mf;
    uint8_t *mf_base; /* memfile_ptr(mf, 0) */
    int mf_fd;
    uint64_t total_ram;
    struct file_map_table *file_maps;
};

#define MM_LIMBO 4

struct mm {
    struct refcount ref;
    struct mm_shared *s;    /* immutable */
    struct platform_as *as; /* immutable */
    struct rwlock lock;
    struct avl_root vmas;
    unsigned int nr_vmas;
    _Atomic(struct vma *) vma_hint; /* what vma_at() found last; readers refresh it too */
    struct ptab pt;
    bool loading;                /* the platform is not told of pages until mm_finish_load() */
    bool broken;                 /* the platform refused to unmap: no page can be trusted to be out of the guest's reach */
    struct vma_file *dead_files; /* to be released when the lock is */

    uint64_t mmap_base;                                                      /* mappings are placed below it */
    uint64_t total_vm, total_vm_peak, data_vm, stack_vm, exec_vm, locked_vm; /* bytes */
    uint64_t rss_peak;                                                       /* pages */
    uint64_t fresh[MM_FRESH]; /* starts of program segments that nobody has touched yet, see fresh.c */
    unsigned int nr_fresh;
    struct mm_predictor {
        uint64_t pending, pending_len; /* the last small mapping, if it is not touched yet */
        unsigned int score, nr;
    } predictor;           /* see predict.c */
    struct hot_pages *hot; /* what forks copy at once, shared with relatives; NULL before the first fork. See hot.h */
    struct mm_limbo {
        uint64_t off, len;
    } limbo[MM_LIMBO]; /* memory whose mapping the guest's thread removes: given back when that is sure, see zap.c */
    unsigned int nr_limbo;
    unsigned int nr_since_fork; /* pages that were written for the first time since the last fork */
    uint32_t def_flags;         /* VM_LOCKED: mlockall(MCL_FUTURE) */
    atomic_ullong minor_faults;
    struct mm_layout layout;
    struct file *exe;          /* counted; its inode denies writes */
    atomic_ullong stack_limit; /* the last RLIMIT_STACK seen, for stacks that grow under a copy */
};

static inline void mm_wrlock(struct mm *mm) ACQUIRE(mm->lock) NO_THREAD_SAFETY_ANALYSIS
{
    rwlock_wrlock(&mm->lock);
}
/* Also releases the files of vmas that went meanwhile. */
void mm_wrunlock(struct mm *mm) RELEASE(mm->lock);
static inline void mm_rdlock(struct mm *mm) ACQUIRE_SHARED(mm->lock) NO_THREAD_SAFETY_ANALYSIS
{
    rwlock_rdlock(&mm->lock);
}
static inline void mm_rdunlock(struct mm *mm) RELEASE_SHARED(mm->lock) NO_THREAD_SAFETY_ANALYSIS
{
    rwlock_rdunlock(&mm->lock);
}

static inline uint8_t *mm_frame_ptr(struct mm *mm, pte_t pte)
{
    return mm->s->mf_base + (pte & PTE_FRAME);
}
/* Where guest addresses end. */
static inline uint64_t mm_task_size(const struct mm *mm)
{
    return mm->s->limits.max;
}
/* [start, start+len) does not wrap and lies below the end of the address space. */
static inline bool mm_range_ok(const struct mm *mm, uint64_t start, uint64_t len)
{
    return len <= mm_task_size(mm) && start <= mm_task_size(mm) - len;
}
static inline uint64_t mm_rss(const struct mm *mm)
{
    return mm->pt.nr_anon + mm->pt.nr_file + mm->pt.nr_shmem;
}

/* An address space without platform part or memory, for mm_create and mm_fork. */
int must_check mm_alloc(struct mm_shared *s, struct platform_as *fork_of, struct mm **out);

/* apply.c: batches of changes to the platform's mappings. */

#define MM_BATCH_OPS 64
struct mm_batch {
    struct mm *mm;
    size_t n;
    int err;    /* of the first failure; later ops are dropped */
    bool reset; /* the platform ran out of room, and now has nothing mapped: all entries have lost PTE_MAPPED */
    struct platform_op ops[MM_BATCH_OPS];
};
void mm_batch_init(struct mm_batch *b, struct mm *mm);
void mm_batch_map(struct mm_batch *b, uint64_t start, uint64_t end, int fd, uint64_t off, int prot, bool populate);
void mm_batch_unmap(struct mm_batch *b, uint64_t start, uint64_t end);
void mm_batch_protect(struct mm_batch *b, uint64_t start, uint64_t end, int prot);
/*
 * Applies what is left. 0, or the error. When the host has no room for more mappings everything is unmapped (b->reset), which
 * is a success for those who unmap or protect; those who map get -EAGAIN and start over.
 */
int must_check mm_batch_finish(struct mm_batch *b, bool mapping);
/* Unmaps all from the platform and notes it. */
int must_check mm_platform_reset(struct mm *mm);
/* What the platform is to allow of a page of `v`. */
int mm_vma_prot(const struct vma *v, bool writable);
/*
 * Maps present pages of [start, end) that are not mapped, in at most `max_ops` pieces. `program`: only what a program that has
 * just forked will touch, not files that it reads.
 */
int must_check mm_map_present(struct mm *mm, uint64_t start, uint64_t end, unsigned int max_ops, bool program);

/* fault.c */

struct mm_fault_in {
    struct vma *vma;
    uint64_t addr;       /* page */
    unsigned int access; /* VM_READ, VM_WRITE or VM_EXEC */
    uint64_t want;       /* bytes from addr on that will be touched too; 0: unknown */
    bool populate;       /* bring the host's pages in as well: MAP_POPULATE, mlock */
    bool force;          /* whatever the vma's protection, see mm_copy_out_force() */
};
/* Makes a page present, private where `access` writes, and mapped if the vma allows the access. Reports as mm_fault(). */
enum mm_fault_result mm_fault_page(struct mm *mm, const struct mm_fault_in *in);
/* Finds the vma of an address, growing a stack if that is what is wanted. NULL: none. */
struct vma *mm_fault_vma(struct mm *mm, uint64_t addr, uint64_t stack_limit);
/* Brings [start, start+len) in for `access` (VM_READ or VM_WRITE) as the guest's own access would: 0 or -EFAULT. Takes the
 * lock. */
int must_check mm_fault_range(struct mm *mm, uint64_t start, uint64_t len, unsigned int access);
/* The same with the lock held, on mapped ranges, for MAP_POPULATE and mlock: -ENOMEM or -EFAULT tell where it ended. */
int mm_populate_locked(struct mm *mm, uint64_t start, uint64_t end, bool write_only);

/* fill.c and cow.c, the two halves of a fault; see there. */
int must_check mm_fill(struct mm *mm, const struct mm_fault_in *in);
int must_check mm_make_writable(struct mm *mm, const struct mm_fault_in *in);

/* fresh.c */
void mm_fresh_note(struct mm *mm, uint64_t start);
/*
 * mm_batch_finish() of mappings, with the segments noted taken along, but for those of `not_this`: 0, or -errno with nothing
 * entered.
 */
int must_check mm_batch_finish_fresh(struct mm *mm, const struct vma *not_this, struct mm_batch *b);

/* predict.c: a small mapping is made: whether to bring it in at once; an anonymous page is touched. */
bool mm_predict_touch(struct mm *mm, uint64_t start, uint64_t len);
void mm_predict_learn(struct mm *mm, uint64_t addr);

/* zap.c */

/* Takes the pages of [start, end) away, from the platform too. -errno: nothing has changed. */
int must_check mm_zap(struct mm *mm, uint64_t start, uint64_t end);
/* The same for what no vma is left of, and the calling thread's own: the platform may be told by and by. */
int must_check mm_zap_later(struct mm *mm, uint64_t start, uint64_t end);
/* The platform has applied something, or is gone: what was to be unmapped is. */
void mm_limbo_release(struct mm *mm);

/* mmap.c */
int must_check mm_unmap_locked(struct mm *mm, uint64_t start, uint64_t end);
/* A free range for `len` bytes as mmap(2) with these flags chooses it, not far from where it is hinted; 0: none. */
uint64_t mm_get_unmapped_area(struct mm *mm, uint64_t hint, uint64_t len, int map_flags);
/* Whether `bytes` more of this kind fit the limits: RLIMIT_AS, RLIMIT_DATA. */
bool mm_may_expand(struct mm *mm, const struct mm_limits *lim, uint32_t vm_flags, uint64_t bytes);
/* RLIMIT_MEMLOCK for `bytes` more: 0 or -EAGAIN (-EPERM without any limit). */
int mm_may_lock(struct mm *mm, const struct mm_limits *lim, uint64_t bytes);
/* The heuristic overcommit check: false for what can never fit. */
bool mm_may_commit(struct mm *mm, uint32_t vm_flags, uint64_t bytes);
void mm_note_limits(struct mm *mm, const struct mm_limits *lim);

#endif
