/* See page_tree.h. */
#include "vfs/tmpfs/page_tree.h"

#include "lib/memfile.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define LEAF_BITS 10
#define NODE_BITS 9
#define LEAF_SIZE (1U << LEAF_BITS)
#define NODE_SIZE (1U << NODE_BITS)

struct leaf {
    uint32_t page[LEAF_SIZE];
};

struct node {
    void *child[NODE_SIZE];
};

/* How many bits of the index a tree with `height` levels of nodes covers. */
static unsigned int covered_bits(unsigned int height)
{
    return LEAF_BITS + NODE_BITS * height;
}

static bool covered(const struct page_tree *t, uint64_t idx)
{
    return t->root && idx >> covered_bits(t->height) == 0;
}

static unsigned int slot_at(uint64_t idx, unsigned int level)
{
    return idx >> covered_bits(level - 1) & (NODE_SIZE - 1);
}

/* The entry of `idx`, or NULL when no leaf is there; *skip is then the number of pages that the missing subtree covers. */
static uint32_t *entry_of(const struct page_tree *t, uint64_t idx, uint64_t *skip)
{
    if (idx < PAGE_TREE_DIRECT)
        return (uint32_t *)&t->direct[idx];
    if (!covered(t, idx)) {
        *skip = UINT64_MAX;
        return NULL;
    }
    void *p = t->root;
    for (unsigned int level = t->height; level > 0; level--) {
        p = ((struct node *)p)->child[slot_at(idx, level)];
        if (!p) {
            *skip = 1ULL << covered_bits(level - 1);
            return NULL;
        }
    }
    return &((struct leaf *)p)->page[idx & (LEAF_SIZE - 1)];
}

bool page_tree_get(const struct page_tree *t, uint64_t idx, uint64_t *off)
{
    uint64_t skip = 0;
    const uint32_t *e = entry_of(t, idx, &skip);
    if (!e || *e == 0)
        return false;
    *off = (*e - 1) * MEMFILE_PAGE;
    return true;
}

static int reserve_one(struct page_tree *t, uint64_t idx)
{
    if (!t->root && !(t->root = calloc(1, sizeof(struct leaf))))
        return -ENOMEM;
    while (idx >> covered_bits(t->height) != 0) {
        struct node *n = calloc(1, sizeof(*n));
        if (!n)
            return -ENOMEM;
        n->child[0] = t->root;
        t->root = n;
        t->height++;
    }
    void *p = t->root;
    for (unsigned int level = t->height; level > 0; level--) {
        void **slot = &((struct node *)p)->child[slot_at(idx, level)];
        if (!*slot && !(*slot = calloc(1, level == 1 ? sizeof(struct leaf) : sizeof(struct node))))
            return -ENOMEM;
        p = *slot;
    }
    return 0;
}

int page_tree_reserve(struct page_tree *t, uint64_t idx, uint64_t n)
{
    uint64_t end = idx + n;
    if (idx < PAGE_TREE_DIRECT)
        idx = PAGE_TREE_DIRECT;
    while (idx < end) {
        int err = reserve_one(t, idx);
        if (err < 0)
            return err;
        idx = (idx | (LEAF_SIZE - 1)) + 1;
    }
    return 0;
}

void page_tree_set(struct page_tree *t, uint64_t idx, uint64_t off)
{
    uint64_t skip = 0;
    uint32_t *e = entry_of(t, idx, &skip);
    t->nr_pages += *e == 0;
    *e = (uint32_t)(off / MEMFILE_PAGE) + 1;
}

void page_tree_clear(struct page_tree *t, uint64_t idx)
{
    uint64_t skip = 0;
    uint32_t *e = entry_of(t, idx, &skip);
    if (e && *e) {
        *e = 0;
        t->nr_pages--;
    }
}

uint64_t page_tree_next(const struct page_tree *t, uint64_t idx, uint64_t end)
{
    while (idx < end) {
        uint64_t skip = 0;
        const uint32_t *e = entry_of(t, idx, &skip);
        if (!e) {
            if (skip == UINT64_MAX)
                return end;
            idx = (idx | (skip - 1)) + 1;
            continue;
        }
        if (*e)
            return idx;
        idx++;
    }
    return end;
}

uint64_t page_tree_run(const struct page_tree *t, uint64_t idx, uint64_t max)
{
    uint64_t off, next;
    if (!page_tree_get(t, idx, &off))
        return page_tree_next(t, idx, idx + max) - idx;
    uint64_t n = 1;
    while (n < max && page_tree_get(t, idx + n, &next) && next == off + n * MEMFILE_PAGE)
        n++;
    return n;
}

static void free_level(void *p, unsigned int level)
{
    if (p && level > 0)
        for (unsigned int i = 0; i < NODE_SIZE; i++)
            free_level(((struct node *)p)->child[i], level - 1); /* at most five levels */
    free(p);
}

void page_tree_fini(struct page_tree *t)
{
    free_level(t->root, t->height);
    t->root = NULL;
    t->height = 0;
}
