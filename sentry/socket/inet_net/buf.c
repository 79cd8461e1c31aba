/*
 * Long buffers of packets. They come and go with every 64 KiB of a stream, on all threads; the heap would give their memory
 * back to the host, and get it again page by page, all the time.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include <stdlib.h>

#define KEEP 64

static struct mutex pool_lock = MUTEX_INIT;
static struct pkt_buf *pool[KEEP] GUARDED_BY(pool_lock);
static int nr_pooled GUARDED_BY(pool_lock);

static void release(struct pkt_buf *b)
{
    mutex_lock(&pool_lock);
    if (nr_pooled < KEEP) {
        pool[nr_pooled++] = b;
        b = NULL;
    }
    mutex_unlock(&pool_lock);
    free(b);
}

struct pkt_buf *net_buf_alloc(void)
{
    struct pkt_buf *b = NULL;

    mutex_lock(&pool_lock);
    if (nr_pooled > 0)
        b = pool[--nr_pooled];
    mutex_unlock(&pool_lock);
    if (!b) {
        b = malloc(sizeof(*b) + NET_BUF_SIZE);
        if (!b)
            return NULL;
        *b = (struct pkt_buf){.size = NET_BUF_SIZE, .mem = (uint8_t *)(b + 1), .release = release};
    }
    ref_init(&b->ref);
    return b;
}
