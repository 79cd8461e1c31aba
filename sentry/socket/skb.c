#include "sentry/socket/skb.h"

#include "sentry/socket/scm.h"
#include "sentry/socket/socket.h"
#include "sentry/socket/unix/unix.h"

#include <poll.h>
#include <stdlib.h>

/*
 * Data up to this size sits behind the header. Pieces of busy streams come from a small pool, because the heap would give their
 * memory back to the host, and get it again, all the time.
 */
#define INLINE_MAX (16 * 1024)
#define POOL_KEEP  16

static struct mutex pool_lock = MUTEX_INIT;
static char *pool[POOL_KEEP] GUARDED_BY(pool_lock);
static unsigned int nr_pooled GUARDED_BY(pool_lock);

static char *pool_get(void)
{
    char *buf = NULL;

    mutex_lock(&pool_lock);
    if (nr_pooled)
        buf = pool[--nr_pooled];
    mutex_unlock(&pool_lock);
    return buf ? buf : malloc(SKB_STREAM_MAX);
}

static void pool_put(char *buf)
{
    mutex_lock(&pool_lock);
    if (nr_pooled < POOL_KEEP) {
        pool[nr_pooled++] = buf;
        buf = NULL;
    }
    mutex_unlock(&pool_lock);
    free(buf);
}

struct skb *skb_alloc(struct socket *owner, size_t size)
{
    bool inside = size <= INLINE_MAX;
    struct skb *skb = malloc(sizeof(*skb) + (inside ? size : 0));

    if (!skb)
        return NULL;
    *skb = (struct skb){.data = skb->room, .truesize = (uint32_t)(sizeof(*skb) + size)};
    list_init(&skb->node);
    if (!inside) {
        skb->pooled = size <= SKB_STREAM_MAX;
        skb->data = skb->pooled ? pool_get() : malloc(size);
        if (!skb->data) {
            free(skb);
            return NULL;
        }
    }
    if (owner) {
        skb->owner = socket_get(owner);
        atomic_fetch_add(&owner->wmem, skb->truesize);
    }
    return skb;
}

/* The sender gets its room back, and hears of it if it waits and there is enough now. */
static void discharge(struct skb *skb)
{
    struct socket *s = skb->owner;

    atomic_fetch_sub(&s->wmem, skb->truesize);
    if (s->ops->wmem_freed)
        s->ops->wmem_freed(s);
    else if (atomic_load(&s->nospace) && sock_writable(s) && atomic_exchange(&s->nospace, false))
        waitq_wake(&s->wq, POLLOUT | POLLWRNORM | POLLWRBAND);
    socket_put(s);
}

void skb_free(struct skb *skb)
{
    if (!skb)
        return;
    if (skb->fds)
        scm_fds_free(skb->fds);
    if (skb->unix_from)
        unix_addr_put(skb->unix_from);
    if (skb->owner)
        discharge(skb);
    if (skb->pooled)
        pool_put(skb->data);
    else if (skb->data != skb->room)
        free(skb->data);
    free(skb);
}

static void add_bytes(struct skb_queue *q, size_t n)
{
    atomic_store_explicit(&q->bytes, atomic_load_explicit(&q->bytes, memory_order_relaxed) + n, memory_order_release);
}

void skb_queue_tail(struct skb_queue *q, struct skb *skb)
{
    list_add_tail(&skb->node, &q->list);
    q->len++;
    add_bytes(q, skb->len);
}

void skb_unlink(struct skb_queue *q, struct skb *skb)
{
    list_del_init(&skb->node);
    q->len--;
    add_bytes(q, -(size_t)skb->len);
}

void skb_pull(struct skb_queue *q, struct skb *skb, size_t n)
{
    skb->off += (uint32_t)n;
    skb->len -= (uint32_t)n;
    add_bytes(q, -n);
}

void skb_queue_take(struct skb_queue *q, struct list_head *out)
{
    list_init(out);
    list_splice_tail_init(&q->list, out);
    q->len = 0;
    atomic_store(&q->bytes, 0);
}

void skb_free_list(struct list_head *list)
{
    struct skb *skb, *next;

    list_for_each_entry_safe(skb, next, list, node) {
        list_del_init(&skb->node);
        skb_free(skb);
    }
}
