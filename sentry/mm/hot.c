/* See hot.h. Relatives use the set under different locks, hence the atomics; a lost update costs one fault. */
#include "sentry/mm/hot.h"

#include <stdlib.h>

struct hot_pages *hot_pages_create(void)
{
    struct hot_pages *h = calloc(1, sizeof(*h));

    if (h)
        ref_init(&h->ref);
    return h;
}

struct hot_pages *hot_pages_get(struct hot_pages *h)
{
    if (h)
        ref_get(&h->ref);
    return h;
}

void hot_pages_put(struct hot_pages *h)
{
    if (h && ref_put(&h->ref))
        free(h);
}

void hot_pages_note(struct hot_pages *h, uint64_t addr)
{
    for (unsigned int i = 0; i < HOT_PAGES; i++)
        if (atomic_load_explicit(&h->page[i], memory_order_relaxed) == addr)
            return;
    unsigned int i = atomic_fetch_add_explicit(&h->next, 1, memory_order_relaxed);
    atomic_store_explicit(&h->page[i % HOT_PAGES], addr, memory_order_relaxed);
}

uint64_t hot_pages_next(struct hot_pages *h, uint64_t start, uint64_t end)
{
    for (unsigned int i = 0; i < HOT_PAGES; i++) {
        uint64_t addr = atomic_load_explicit(&h->page[i], memory_order_relaxed);
        if (addr >= start && addr < end)
            end = addr;
    }
    return end;
}
