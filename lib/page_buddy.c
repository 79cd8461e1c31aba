/* See page_buddy.h. */
#include "lib/page_buddy.h"

#include <errno.h>
#include <sys/mman.h>

#define NO_PAGE UINT32_MAX

static void *map_lazily(uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int page_buddy_init(struct page_buddy *b, uint32_t nr_pages)
{
    b->nr_pages = nr_pages;
    b->nonempty = 0;
    for (int i = 0; i < PAGE_BUDDY_ORDERS; i++)
        b->head[i] = NO_PAGE;
    b->next = map_lazily((uint64_t)nr_pages * 4);
    b->prev = map_lazily((uint64_t)nr_pages * 4);
    b->order = map_lazily(nr_pages);
    if (!b->next || !b->prev || !b->order) {
        page_buddy_fini(b);
        return -ENOMEM;
    }
    page_buddy_free(b, 0, nr_pages);
    return 0;
}

void page_buddy_fini(struct page_buddy *b)
{
    if (b->next)
        munmap(b->next, (uint64_t)b->nr_pages * 4);
    if (b->prev)
        munmap(b->prev, (uint64_t)b->nr_pages * 4);
    if (b->order)
        munmap(b->order, b->nr_pages);
}

static void block_push(struct page_buddy *b, uint32_t first, unsigned int order)
{
    uint32_t next = b->head[order];

    b->order[first] = (uint8_t)(order + 1);
    b->next[first] = next;
    b->prev[first] = NO_PAGE;
    if (next != NO_PAGE)
        b->prev[next] = first;
    b->head[order] = first;
    b->nonempty |= 1U << order;
}

static void block_unlink(struct page_buddy *b, uint32_t first, unsigned int order)
{
    uint32_t next = b->next[first], prev = b->prev[first];

    b->order[first] = 0;
    if (next != NO_PAGE)
        b->prev[next] = prev;
    if (prev != NO_PAGE)
        b->next[prev] = next;
    else
        b->head[order] = next;
    if (b->head[order] == NO_PAGE)
        b->nonempty &= ~(1U << order);
}

static void block_free(struct page_buddy *b, uint32_t first, unsigned int order)
{
    while (order + 1 < PAGE_BUDDY_ORDERS) {
        uint32_t buddy = first ^ (1U << order);
        if (buddy >= b->nr_pages || b->order[buddy] != order + 1)
            break;
        block_unlink(b, buddy, order);
        first &= ~(1U << order);
        order++;
    }
    block_push(b, first, order);
}

void page_buddy_free(struct page_buddy *b, uint32_t first, uint32_t n)
{
    while (n > 0) {
        unsigned int order = 31 - (unsigned int)__builtin_clz(n);
        if (first != 0 && (unsigned int)__builtin_ctz(first) < order)
            order = (unsigned int)__builtin_ctz(first);
        block_free(b, first, order);
        first += 1U << order;
        n -= 1U << order;
    }
}

bool page_buddy_alloc(struct page_buddy *b, uint32_t n, uint32_t *out)
{
    if (n == 0 || n > 1U << 31)
        return false;
    unsigned int want = n == 1 ? 0 : 32 - (unsigned int)__builtin_clz(n - 1);
    if (want >= PAGE_BUDDY_ORDERS)
        return false;
    uint32_t candidates = b->nonempty & ~((1U << want) - 1);
    if (candidates == 0)
        return false;
    unsigned int order = (unsigned int)__builtin_ctz(candidates);
    uint32_t first = b->head[order];
    block_unlink(b, first, order);
    while (order > want) {
        order--;
        block_push(b, first + (1U << order), order);
    }
    if (n < 1U << want)
        page_buddy_free(b, first + n, (1U << want) - n);
    *out = first;
    return true;
}
