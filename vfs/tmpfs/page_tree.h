/*
 * Which page of the memory file holds which page of a tmpfs file: a sparse array from file page to memory-file page.
 *
 * The first pages are in the struct itself, because most files are small. Beyond them a radix tree grows upwards: leaves of
 * 1024 entries of 32 bits (4 MiB of file each), nodes of 512 pointers. Not locked.
 */
#ifndef VFS_TMPFS_PAGE_TREE_H
#define VFS_TMPFS_PAGE_TREE_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGE_TREE_DIRECT 16

struct page_tree {
    uint32_t direct[PAGE_TREE_DIRECT]; /* page number + 1; 0: a hole. Tree entries likewise */
    void *root;
    unsigned int height; /* levels of nodes above the leaves */
    uint64_t nr_pages;   /* entries that are not holes */
};

/* The memory-file offset of file page `idx`; false for a hole. */
bool page_tree_get(const struct page_tree *t, uint64_t idx, uint64_t *off);
/* Makes sure that page_tree_set() of [idx, idx+n) needs no memory. 0 or -ENOMEM. */
int must_check page_tree_reserve(struct page_tree *t, uint64_t idx, uint64_t n);
void page_tree_set(struct page_tree *t, uint64_t idx, uint64_t off); /* on a hole, after page_tree_reserve() */
void page_tree_clear(struct page_tree *t, uint64_t idx);
/* The first index in [idx, end) that is no hole; `end` when there is none. */
uint64_t page_tree_next(const struct page_tree *t, uint64_t idx, uint64_t end);
/* The length in pages, at most `max`, of the run from `idx` on that is one hole or one contiguous piece of the memory file. */
uint64_t page_tree_run(const struct page_tree *t, uint64_t idx, uint64_t max);
void page_tree_fini(struct page_tree *t); /* of an array that has only holes */

#endif
