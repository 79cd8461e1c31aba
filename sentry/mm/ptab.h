/*
 * The sentry's page tables: what stands behind each page that is present, and what the platform has of it.
 *
 * One 64-bit entry a page, in blocks of 64 entries (256 KiB of guest memory) that lie in an AVL tree by address: 0.2 % of what
 * is mapped. A small direct-mapped cache of blocks serves most look-ups without the tree. Work on ranges goes by *runs*: pages
 * in a row that are backed in the same way at consecutive offsets of the memory file, however long.
 *
 * All of it is guarded by mm->lock; holders of the reader lock may look entries up (they also refresh the cache, atomically).
 */
#ifndef SENTRY_MM_PTAB_H
#define SENTRY_MM_PTAB_H

#include "lib/guest_addr.h"
#include "sentry/mm/avl.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mm;

typedef uint64_t pte_t;
enum pte_bits {
    PTE_PRESENT = 1, /* something backs the page */
    PTE_FILE = 2,    /* the host's page cache, at the vma's offset in its file; else a memory-file page, referenced by us */
    PTE_ANON = 4,    /* a memory-file page that belongs to address spaces only, not to a tmpfs file */
    PTE_MAPPED = 8,  /* the platform maps it, for the vma's reading and executing */
    PTE_WRITE = 16,  /* ... and for writing */
};
#define PTE_BITS  (PTE_PRESENT | PTE_FILE | PTE_ANON | PTE_MAPPED | PTE_WRITE)
#define PTE_FRAME GUEST_PAGE_MASK /* offset in the memory file */

#define PTAB_PAGES  64
#define PTAB_SPAN   (PTAB_PAGES * GUEST_PAGE_SIZE)
#define PTAB_CACHED 32

struct pte_block {
    struct avl_node node;
    uint64_t base; /* guest address of the first entry */
    unsigned int nr_present;
    pte_t pte[PTAB_PAGES];
};

struct ptab {
    struct avl_root blocks;
    _Atomic(struct pte_block *) cache[PTAB_CACHED];
    uint64_t nr_anon, nr_file, nr_shmem; /* pages present, by kind */
};

struct pte_run {
    uint64_t start, end; /* guest addresses */
    pte_t pte;           /* of the first page; the others have the same bits and the next frames */
};

struct pte_block *ptab_find_block_slow(struct ptab *pt, uint64_t addr);

static inline struct pte_block *ptab_find_block(struct ptab *pt, uint64_t addr)
{
    uint64_t base = addr & ~(PTAB_SPAN - 1);
    struct pte_block *b = atomic_load_explicit(&pt->cache[addr / PTAB_SPAN % PTAB_CACHED], memory_order_acquire);
    return b && b->base == base ? b : ptab_find_block_slow(pt, addr);
}

/* The entry of `addr`; 0 when nothing is there. */
static inline pte_t ptab_get(struct ptab *pt, uint64_t addr)
{
    struct pte_block *b = ptab_find_block(pt, addr);
    return b ? b->pte[addr / GUEST_PAGE_SIZE % PTAB_PAGES] : 0;
}

void ptab_init(struct ptab *pt);
/* Frees the blocks; what the entries refer to is the caller's business. */
void ptab_fini(struct ptab *pt);
/* Allocates the blocks for a range, so that ptab_set_run() there cannot fail. -ENOMEM. */
int must_check ptab_reserve(struct ptab *pt, uint64_t start, uint64_t end);
/* Writes entries for a range that was reserved: `pte` for the first page, consecutive frames after it. */
void ptab_set_run(struct ptab *pt, uint64_t start, uint64_t end, pte_t pte);
/* Clears and sets bits of all present entries of a range; not PTE_PRESENT, _FILE and _ANON. */
void ptab_change(struct ptab *pt, uint64_t start, uint64_t end, pte_t clear, pte_t set);
/* Forgets the entries of a range. */
void ptab_clear(struct ptab *pt, uint64_t start, uint64_t end);
/* The first run of present pages in [from, end), clipped to it. False if there is none. */
bool ptab_next_run(struct ptab *pt, uint64_t from, uint64_t end, struct pte_run *run);
/* The same for pages that have all bits of `want`. */
bool ptab_next_run_with(struct ptab *pt, uint64_t from, uint64_t end, pte_t want, struct pte_run *run);
/* Narrows [*start, *end), around the absent page `addr`, to the absent pages in a row about it. */
void ptab_clip_absent(struct ptab *pt, uint64_t addr, uint64_t *start, uint64_t *end);

#endif
