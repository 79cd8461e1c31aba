/*
 * Messages under way between sockets: a buffer with its sender's marks, in the receiver's queue.
 *
 * A message is charged to the socket that sent it (socket->wmem) until it is freed; that is what SO_SNDBUF bounds.
 */
#ifndef SENTRY_SOCKET_SKB_H
#define SENTRY_SOCKET_SKB_H

#include "lib/compiler.h"
#include "lib/list.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct scm_fds;
struct socket;
struct unix_addr;

/* The largest piece that a stream is cut into: big enough to make the cost of a piece vanish, small enough for caches. */
#define SKB_STREAM_MAX (64 * 1024)

struct skb {
    struct list_head node;
    struct socket *owner; /* who is charged; referenced; NULL: nobody */
    uint32_t truesize;    /* the charge */
    uint32_t len;         /* bytes left, from data + off */
    uint32_t off;
    struct ucred cred;            /* of the sender: pid, effective uid and gid */
    struct scm_fds *fds;          /* descriptors on their way; owned */
    struct unix_addr *unix_from;  /* the sender's name; referenced */
    struct sockaddr_in6 from, to; /* IPv4 as mapped addresses */
    int64_t realtime_ns;          /* when it was queued, if the receiver wants to know */
    uint8_t tos, ttl;
    uint8_t recursion; /* depth of sockets in messages in queues of sockets in `fds` */
    char *data;
    bool pooled; /* data is from the pool of large buffers */
    char room[]; /* data of short ones */
};

struct skb_queue {
    struct list_head list;
    unsigned int len;    /* messages */
    atomic_size_t bytes; /* read without the lock by poll */
};

/* A message with room for `size` bytes, len 0; NULL when out of memory. Charged to `owner` (may be NULL). */
struct skb *skb_alloc(struct socket *owner, size_t size);
/* Puts files and discharges: not under socket locks. NULL is fine. */
void skb_free(struct skb *skb);

static inline void skb_queue_init(struct skb_queue *q)
{
    list_init(&q->list);
    q->len = 0;
    atomic_init(&q->bytes, 0);
}
static inline struct skb *skb_peek(const struct skb_queue *q)
{
    return list_empty(&q->list) ? NULL : list_first_entry(&q->list, struct skb, node);
}
static inline struct skb *skb_next(const struct skb_queue *q, const struct skb *skb)
{
    return skb->node.next == &q->list ? NULL : list_entry(skb->node.next, struct skb, node);
}
void skb_queue_tail(struct skb_queue *q, struct skb *skb);
void skb_unlink(struct skb_queue *q, struct skb *skb);
/* Takes `n` of the message's bytes, which are there; the message itself stays. */
void skb_pull(struct skb_queue *q, struct skb *skb, size_t n);
/* Moves everything to `out`, for skb_free_list() when no lock is held. */
void skb_queue_take(struct skb_queue *q, struct list_head *out);
void skb_free_list(struct list_head *list);

#endif
