/*
 * Timers: a pairing heap by `key`. A timer that is moved later, as TCP's retransmission timer is with every acknowledgement,
 * stays where it is; when its old time comes it is put back at its new one.
 */
#include "netstack/stack_internal.h"

static struct net_timer *meld(struct net_timer *a, struct net_timer *b)
{
    if (!a)
        return b;
    if (!b)
        return a;
    if (b->key < a->key) {
        struct net_timer *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

/* Joins a list of siblings into one heap: pairs from the left, then all from the right. */
static struct net_timer *merge_pairs(struct net_timer *t)
{
    struct net_timer *done = NULL, *root = NULL;

    while (t) {
        struct net_timer *a = t, *b = t->next;

        t = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = meld(a, b);
        a->next = done; /* a stack of heaps */
        done = a;
    }
    while (done) {
        struct net_timer *n = done->next;

        done->next = NULL;
        root = meld(root, done);
        done = n;
    }
    return root;
}

static void heap_remove(struct netstack *s, struct net_timer *t)
{
    struct net_timer *sub = merge_pairs(t->child);

    t->child = NULL;
    if (s->timers == t) {
        s->timers = sub;
    } else {
        /* prev is the parent of a first child, else the sibling before. */
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next)
            t->next->prev = t->prev;
        s->timers = meld(s->timers, sub);
    }
    t->next = t->prev = NULL;
    t->queued = false;
}

static void heap_insert(struct netstack *s, struct net_timer *t)
{
    t->key = t->expires;
    t->child = t->next = t->prev = NULL;
    t->queued = true;
    s->timers = meld(s->timers, t);
}

void net_timer_init(struct net_timer *t, void (*fn)(struct net_timer *))
{
    memset(t, 0, sizeof(*t));
    t->fn = fn;
}

void net_timer_arm(struct netstack *s, struct net_timer *t, int64_t expires)
{
    if (expires <= s->expiring)
        expires = s->expiring + 1;
    t->expires = expires;
    t->armed = true;
    if (t->queued && t->key <= expires)
        return;
    if (t->queued)
        heap_remove(s, t);
    heap_insert(s, t);
    if (expires < s->kicked) {
        s->kicked = expires;
        s->ops->kick(s->ctx, expires);
    }
}

void net_timer_cancel(struct netstack *s, struct net_timer *t)
{
    t->armed = false;
    if (t->queued)
        heap_remove(s, t);
}

/* Runs timers due at `now`. One that is armed meanwhile for a time in the past waits for the next call. */
void net_timers_expire(struct netstack *s, int64_t now)
{
    s->expiring = now;
    while (s->timers && s->timers->key <= now) {
        struct net_timer *t = s->timers;

        heap_remove(s, t);
        if (!t->armed)
            continue;
        if (t->expires > now) {
            heap_insert(s, t);
            continue;
        }
        t->armed = false;
        t->fn(t);
    }
    s->expiring = 0;
}
