/*
 * The error queue of a socket, which recvmsg(MSG_ERRQUEUE) reads: what happened to messages that went between two sockets of
 * the sandbox, completions of MSG_ZEROCOPY, time stamps of sending. What ICMP said about packets is in the netstack's
 * endpoints; see inet_net/errqueue.c.
 */
#ifndef SENTRY_SOCKET_ERRQUEUE_H
#define SENTRY_SOCKET_ERRQUEUE_H

#include "sentry/socket/socket.h"

#include <linux/errqueue.h>

/* What happened, about a message of `len` bytes (which are copied) that was sent to `dst` (NULL: nobody in particular). */
struct sock_errinfo {
    struct sock_extended_err ee;
    const struct sockaddr_in6 *offender, *dst; /* IPv4 as mapped addresses; may be NULL */
    const void *data;
    size_t len;
    int64_t stamp_ns; /* of SO_EE_ORIGIN_TIMESTAMPING */
};
/* Queues it and tells pollers. Dropped when the queue is full. Takes s->lock. */
void sock_errqueue_add(struct socket *s, const struct sock_errinfo *info) EXCLUDES(s->lock);
/* The send call that has just copied its bytes is done with them: joined to the completion before it, if that is unread. */
void sock_errqueue_zerocopy(struct socket *s) EXCLUDES(s->lock);
static inline bool sock_errqueue_has(const struct socket *s)
{
    return atomic_load_explicit(&s->nr_errqueue, memory_order_relaxed) > 0;
}
/* recvmsg(MSG_ERRQUEUE): -EAGAIN when it is empty. */
ssize_t sock_errqueue_recv(struct socket *s, struct sk_msg *m);
void sock_errqueue_purge(struct socket *s);

#endif
