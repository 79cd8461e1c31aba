/*
 * AF_UNIX sockets.
 *
 * A message goes straight into the receiver's queue. Streams and seqpackets are pairs of sockets that hold references on each
 * other as `peer` until one of them is closed; datagram sockets may have a peer or not.
 *
 * Locks: socket->lock of each (two: by address); net->unix_lock for names; net->gc_lock for what is in flight (gc.c).
 */
#ifndef SENTRY_SOCKET_UNIX_UNIX_H
#define SENTRY_SOCKET_UNIX_UNIX_H

#include "sentry/socket/net.h"
#include "sentry/socket/scm.h"
#include "sentry/socket/socket.h"
#include "vfs/file.h"

/* A name, shared by the socket that was bound to it, those accepted from it, and messages sent by it. */
struct unix_addr {
    struct refcount ref;
    socklen_t len; /* of `un` with the family */
    struct sockaddr_un un;
    char end; /* a path may fill sun_path */
};

enum unix_state { UNIX_CLOSE, UNIX_LISTEN, UNIX_ESTABLISHED };

struct unix_sock {
    struct socket s;
    /* Guarded by s.lock. */
    enum unix_state state;
    bool dead;                /* closed by its descriptor, or never had one */
    struct unix_addr *addr;   /* set once, under s.lock and unix_lock */
    struct unix_sock *peer;   /* referenced */
    struct list_head accepts; /* connections to be accepted: unix_sock.accept_node; referenced */
    unsigned int nr_accepts, backlog;
    struct list_head accept_node;
    struct ucred peercred; /* of a listener: its own, when it began to listen */
    bool has_peercred;
    struct cred *peer_groups; /* whose groups SO_PEERGROUPS tells; referenced */
    struct waitq peer_wait;   /* told POLLOUT when there is room for messages or connections from others */

    /* Our wait for room in another socket; guarded by wait_lock, which is a leaf outside of wait queues. */
    struct mutex wait_lock;
    struct unix_sock *waits_for; /* referenced */
    struct waitq_entry wait_entry;

    /* Names; guarded by net->unix_lock. */
    struct list_head name_node, all_node;
    struct path path; /* of a bound pathname; referenced. Set once under s.lock */

    /* In flight; guarded by net->gc_lock. */
    struct list_head inflight_node;
    unsigned int inflight; /* how many references on our file are in messages under way */
    bool gc_candidate, gc_maybe_cycle;
    atomic_int recursion; /* how deep sockets are nested in messages in our queue */
};

static inline struct unix_sock *unix_of(struct socket *s)
{
    return container_of(s, struct unix_sock, s);
}
static inline bool unix_is_dgram(const struct unix_sock *u)
{
    return u->s.type == SOCK_DGRAM;
}

/* sock.c */
struct unix_sock *unix_alloc(struct net *net, int type);
struct unix_sock *unix_get_peer(struct unix_sock *u); /* referenced, or NULL */
void unix_put(struct unix_sock *u);
int unix_listen(struct socket *s, struct task *t, int backlog);
int unix_accept(struct socket *s, struct task *t, struct socket **out);
int unix_pair(struct socket *a, struct socket *b, struct task *t);
int unix_getname(struct socket *s, bool peer, struct sock_addr *out);
int unix_shutdown(struct socket *s, int how);
void unix_release(struct socket *s);
void unix_destroy(struct socket *s);
/* Makes us hear when `other` has room again; drops the wait for whoever it was before. NULL: for nobody. */
void unix_wait_for(struct unix_sock *u, struct unix_sock *other);
void unix_wake_all(struct unix_sock *u); /* everything may have changed */
void unix_cred_of(struct task *t, struct ucred *out);
/* Copies credentials and name of a message, and its files, to the receiver. The files are taken from the message unless `peek`.
 */
void unix_scm_recv(struct unix_sock *u, struct sk_msg *m, const struct ucred *cred, struct scm_fds *fds, int64_t realtime_ns);
/* Puts creds, name and files of `m` into a message of `u`: 0, or -errno of too many files. Takes over m->scm->fds. */
int must_check unix_scm_attach(struct unix_sock *u, struct task *t, struct sk_msg *m, struct skb *skb);
void unix_name_out(struct unix_addr *addr, struct sock_addr *out);

/* addr.c */
void unix_addr_put(struct unix_addr *a);
int unix_bind(struct socket *s, struct task *t, const struct sock_addr *a);
int must_check unix_autobind(struct unix_sock *u);
/* The socket bound to this name, referenced: 0, -ECONNREFUSED, -EPROTOTYPE, -EACCES, -ENOENT... */
int must_check unix_find(struct task *t, struct net *net, const struct sock_addr *a, int type, struct unix_sock **out);
void unix_unbind(struct unix_sock *u);

/* opt.c */
uint32_t unix_poll(struct socket *s);
long unix_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
int unix_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len);
int unix_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len);

/* stream.c, dgram.c */
int unix_stream_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock);
int unix_dgram_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock);
extern const struct socket_ops unix_stream_ops, unix_dgram_ops, unix_seqpacket_ops;
bool unix_dgram_full(const struct unix_sock *u);

/* gc.c */
/* Counts the files of a message as in flight: 0, -ETOOMANYREFS. */
int must_check unix_fds_takeoff(struct net *net, struct task *t, struct scm_fds *fds, int *recursion);
void unix_fds_landed(struct scm_fds *fds);
/* References to the same files for a peek; NULL when out of memory. */
struct scm_fds *unix_fds_dup(struct net *net, const struct scm_fds *fds);
void unix_gc(struct net *net);

#endif
