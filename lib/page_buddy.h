/*
 * A binary buddy allocator over page numbers, without memory of its own on the pages: all links are in side arrays that are
 * mapped lazily. Free blocks have power-of-two sizes and alignment; a freed block joins its buddy as long as that one is free
 * too. Requests of any length are rounded up to a power of two, and the tail is given back at once.
 *
 * Not locked. Consecutive single pages come out in ascending order when a large block is being split, which keeps files that
 * grow page by page contiguous.
 */
#ifndef LIB_PAGE_BUDDY_H
#define LIB_PAGE_BUDDY_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BUDDY_ORDERS 32

struct page_buddy {
    uint32_t nr_pages;
    uint32_t *next, *prev; /* per page; of use in the first page of a free block */
    uint8_t *order;        /* per page: order + 1 in the first page of a free block, 0 elsewhere */
    uint32_t head[PAGE_BUDDY_ORDERS];
    uint32_t nonempty; /* bit n: head[n] has blocks */
};

/* All pages [0, nr_pages) are free at first. 0 or -ENOMEM. */
int must_check page_buddy_init(struct page_buddy *b, uint32_t nr_pages);
void page_buddy_fini(struct page_buddy *b);
/* `n` contiguous pages; false when there are none. */
bool must_check page_buddy_alloc(struct page_buddy *b, uint32_t n, uint32_t *first);
void page_buddy_free(struct page_buddy *b, uint32_t first, uint32_t n);

#endif
