/* See ptab.h. */
#include "sentry/mm/ptab.h"

#include <errno.h>
#include <stdlib.h>

void ptab_init(struct ptab *pt)
{
    pt->blocks.node = NULL;
    pt->blocks.update = NULL;
    for (int i = 0; i < PTAB_CACHED; i++)
        atomic_init(&pt->cache[i], NULL);
    pt->nr_anon = pt->nr_file = pt->nr_shmem = 0;
}

static void free_blocks(struct avl_node *n)
{
    if (!n)
        return;
    free_blocks(n->left);
    free_blocks(n->right);
    free(container_of(n, struct pte_block, node));
}

void ptab_fini(struct ptab *pt)
{
    free_blocks(pt->blocks.node);
    ptab_init(pt);
}

/* The first block whose end is above `addr`. */
static struct pte_block *find_block_from(struct ptab *pt, uint64_t addr)
{
    struct avl_node *n = pt->blocks.node;
    struct pte_block *best = NULL;

    while (n) {
        struct pte_block *b = container_of(n, struct pte_block, node);
        if (b->base + PTAB_SPAN > addr) {
            best = b;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

static void cache_block(struct ptab *pt, struct pte_block *b)
{
    atomic_store_explicit(&pt->cache[b->base / PTAB_SPAN % PTAB_CACHED], b, memory_order_release);
}

struct pte_block *ptab_find_block_slow(struct ptab *pt, uint64_t addr)
{
    struct pte_block *b = find_block_from(pt, addr);

    if (!b || b->base > addr)
        return NULL;
    cache_block(pt, b);
    return b;
}

static struct pte_block *next_block(struct pte_block *b)
{
    return avl_entry(avl_next(&b->node), struct pte_block, node);
}

static int add_block(struct ptab *pt, uint64_t base)
{
    struct avl_node **link = &pt->blocks.node, *parent = NULL;
    struct pte_block *b = calloc(1, sizeof(*b));

    if (!b)
        return -ENOMEM;
    b->base = base;
    while (*link) {
        parent = *link;
        link = base < container_of(parent, struct pte_block, node)->base ? &parent->left : &parent->right;
    }
    avl_insert(&pt->blocks, &b->node, parent, link);
    cache_block(pt, b);
    return 0;
}

static void remove_block(struct ptab *pt, struct pte_block *b)
{
    _Atomic(struct pte_block *) *slot = &pt->cache[b->base / PTAB_SPAN % PTAB_CACHED];

    if (atomic_load_explicit(slot, memory_order_relaxed) == b)
        atomic_store_explicit(slot, NULL, memory_order_relaxed);
    avl_remove(&pt->blocks, &b->node);
    free(b);
}

int ptab_reserve(struct ptab *pt, uint64_t start, uint64_t end)
{
    for (uint64_t base = start & ~(PTAB_SPAN - 1); base < end; base += PTAB_SPAN)
        if (!ptab_find_block(pt, base) && add_block(pt, base) < 0)
            return -ENOMEM; /* empty blocks are harmless */
    return 0;
}

static void count(struct ptab *pt, struct pte_block *b, pte_t pte, int d)
{
    if (!(pte & PTE_PRESENT))
        return;
    b->nr_present += (unsigned int)d;
    if (pte & PTE_ANON)
        pt->nr_anon += (uint64_t)(int64_t)d;
    else if (pte & PTE_FILE)
        pt->nr_file += (uint64_t)(int64_t)d;
    else
        pt->nr_shmem += (uint64_t)(int64_t)d;
}

void ptab_set_run(struct ptab *pt, uint64_t start, uint64_t end, pte_t pte)
{
    uint64_t step = pte & PTE_FILE ? 0 : GUEST_PAGE_SIZE;

    while (start < end) {
        struct pte_block *b = ptab_find_block(pt, start);
        for (unsigned int i = start / GUEST_PAGE_SIZE % PTAB_PAGES; i < PTAB_PAGES && start < end; i++) {
            count(pt, b, b->pte[i], -1);
            count(pt, b, pte, 1);
            b->pte[i] = pte;
            pte += step;
            start += GUEST_PAGE_SIZE;
        }
    }
}

void ptab_change(struct ptab *pt, uint64_t start, uint64_t end, pte_t clear, pte_t set)
{
    for (struct pte_block *b = find_block_from(pt, start); b && b->base < end; b = next_block(b)) {
        uint64_t from = b->base < start ? start : b->base;
        uint64_t to = b->base + PTAB_SPAN < end ? b->base + PTAB_SPAN : end;
        for (; from < to; from += GUEST_PAGE_SIZE) {
            pte_t *p = &b->pte[from / GUEST_PAGE_SIZE % PTAB_PAGES];
            if (*p & PTE_PRESENT)
                *p = (*p & ~clear) | set;
        }
    }
}

void ptab_clear(struct ptab *pt, uint64_t start, uint64_t end)
{
    struct pte_block *next;

    for (struct pte_block *b = find_block_from(pt, start); b && b->base < end; b = next) {
        uint64_t from = b->base < start ? start : b->base;
        uint64_t to = b->base + PTAB_SPAN < end ? b->base + PTAB_SPAN : end;
        next = next_block(b);
        for (; from < to; from += GUEST_PAGE_SIZE) {
            pte_t *p = &b->pte[from / GUEST_PAGE_SIZE % PTAB_PAGES];
            count(pt, b, *p, -1);
            *p = 0;
        }
        if (b->nr_present == 0)
            remove_block(pt, b);
    }
}

bool ptab_next_run_with(struct ptab *pt, uint64_t from, uint64_t end, pte_t want, struct pte_run *run)
{
    struct pte_block *b = find_block_from(pt, from);
    bool found = false;
    pte_t expect = 0;

    want |= PTE_PRESENT;
    for (; b && b->base < end; b = next_block(b)) {
        uint64_t at = b->base < from ? from : b->base;
        uint64_t to = b->base + PTAB_SPAN < end ? b->base + PTAB_SPAN : end;
        if (found && at != run->end)
            return true; /* a block is missing in between */
        for (; at < to; at += GUEST_PAGE_SIZE) {
            pte_t pte = b->pte[at / GUEST_PAGE_SIZE % PTAB_PAGES];
            if (!found) {
                if ((pte & want) != want)
                    continue;
                found = true;
                run->start = at;
                run->pte = expect = pte;
            } else if (pte != expect) {
                return true;
            }
            run->end = at + GUEST_PAGE_SIZE;
            if (!(pte & PTE_FILE))
                expect += GUEST_PAGE_SIZE;
        }
    }
    return found;
}

bool ptab_next_run(struct ptab *pt, uint64_t from, uint64_t end, struct pte_run *run)
{
    return ptab_next_run_with(pt, from, end, PTE_PRESENT, run);
}

void ptab_clip_absent(struct ptab *pt, uint64_t addr, uint64_t *start, uint64_t *end)
{
    uint64_t low = addr, high = addr + GUEST_PAGE_SIZE;

    while (low > *start) {
        struct pte_block *b = ptab_find_block(pt, low - GUEST_PAGE_SIZE);
        if (!b) {
            low = (low - 1) & ~(PTAB_SPAN - 1);
            continue;
        }
        if (b->pte[(low / GUEST_PAGE_SIZE - 1) % PTAB_PAGES] & PTE_PRESENT)
            break;
        low -= GUEST_PAGE_SIZE;
    }
    while (high < *end) {
        struct pte_block *b = ptab_find_block(pt, high);
        if (!b) {
            high = (high | (PTAB_SPAN - 1)) + 1;
            continue;
        }
        if (b->pte[high / GUEST_PAGE_SIZE % PTAB_PAGES] & PTE_PRESENT)
            break;
        high += GUEST_PAGE_SIZE;
    }
    if (low > *start)
        *start = low;
    if (high < *end)
        *end = high;
}
