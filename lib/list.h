/*
 * Intrusive doubly linked circular lists. A head and its nodes are the same type; an empty head and an
 * unlinked node (after list_init or list_del_init) point at themselves.
 */
#ifndef LIB_LIST_H
#define LIB_LIST_H

#include "lib/compiler.h"

#include <stdbool.h>

struct list_head {
    struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name) \
    {                        \
        &(name), &(name)     \
    }

static inline void list_init(struct list_head *h)
{
    h->next = h->prev = h;
}

static inline bool list_empty(const struct list_head *h)
{
    return h->next == h;
}

static inline void list_insert_between(struct list_head *n, struct list_head *prev, struct list_head *next)
{
    n->prev = prev;
    n->next = next;
    prev->next = n;
    next->prev = n;
}

/* Adds `n` at the front of `h`. */
static inline void list_add(struct list_head *n, struct list_head *h)
{
    list_insert_between(n, h, h->next);
}

/* Adds `n` at the end of `h`, or just before the node `h`. */
static inline void list_add_tail(struct list_head *n, struct list_head *h)
{
    list_insert_between(n, h->prev, h);
}

/* Unlinks `n`, which then counts as empty and may be unlinked again. */
static inline void list_del_init(struct list_head *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

/* Moves all nodes of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice_tail_init(struct list_head *from, struct list_head *to)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_entry(ptr, type, member)     container_of(ptr, type, member)
#define list_first_entry(h, type, member) list_entry((h)->next, type, member)
#define list_last_entry(h, type, member)  list_entry((h)->prev, type, member)

#define list_for_each_entry(pos, h, member)                                          \
    for (pos = list_entry((h)->next, __typeof__(*pos), member); &pos->member != (h); \
         pos = list_entry(pos->member.next, __typeof__(*pos), member))

/* As list_for_each_entry, but `pos` may be unlinked and freed in the body; `tmp` is the next node. */
#define list_for_each_entry_safe(pos, tmp, h, member)                                                                         \
    for (pos = list_entry((h)->next, __typeof__(*pos), member), tmp = list_entry(pos->member.next, __typeof__(*pos), member); \
         &pos->member != (h); pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*tmp), member))

#endif
