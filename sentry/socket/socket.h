/*
 * The socket layer: what all protocol families have in common.
 *
 * A `struct socket` is embedded in each family's own socket. A descriptor's file holds a reference on it; so may the family (a
 * peer, a queue of connections, messages under way). When the last descriptor is closed, ops->release() ends the connection;
 * when the last reference is gone, ops->destroy() frees the memory.
 *
 * No operation blocks: those that cannot proceed return -EAGAIN and are tried again when socket->wq has been woken (with POLLIN
 * or POLLOUT), by the loops in msg.c and in the system calls.
 *
 * Locks: socket->lock guards the state, the receive queue and the options; socket->read_lock serialises readers of a stream and
 * is taken before it. Order: read_lock -> lock (two sockets: by address, see sock_lock_two) -> wait queues. Guest memory is
 * copied under read_lock at most; files are never put under either lock.
 */
#ifndef SENTRY_SOCKET_SOCKET_H
#define SENTRY_SOCKET_SOCKET_H

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/refcount.h"
#include "lib/waitq.h"
#include "sentry/socket/skb.h"
#include "vfs/uaccess.h"

#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct bpf_prog;
struct cmsg_writer;
struct file;
struct mmap_extent;
struct net;
struct scm;
struct socket;
struct task;

/* An address of any family: host memory, `len` bytes of it. */
struct sock_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_nl nl;
        struct sockaddr_ll ll;
        struct sockaddr_storage ss;
        char raw[sizeof(struct sockaddr_storage)];
    };
};

/* One message to be sent or received. */
struct sk_msg {
    struct uio *uio;
    unsigned int flags;       /* MSG_*; MSG_DONTWAIT is set whenever the call will not wait */
    struct sock_addr *name;   /* send: destination or NULL; receive: gets the sender (len 0: none), or NULL: nobody asks */
    struct scm *scm;          /* send: ancillary data; taken over by the operation on success. NULL: none */
    struct cmsg_writer *cmsg; /* receive: where ancillary data goes; NULL: nowhere */
    unsigned int out_flags;   /* receive: MSG_TRUNC, MSG_EOR... */
    bool stop;                /* receive: what comes next must not be joined to this (MSG_WAITALL ends) */
};

struct socket_ops {
    bool own_options; /* setsockopt() and getsockopt() know those of SOL_SOCKET themselves, but for time limits */
    int (*bind)(struct socket *s, struct task *t, const struct sock_addr *a);
    /* 0, -EINPROGRESS, -EAGAIN (to be called again when writable; the retry must find the same address), -errno. */
    int (*connect)(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock);
    int (*listen)(struct socket *s, struct task *t, int backlog);
    int (*accept)(struct socket *s, struct task *t, struct socket **out); /* referenced */
    int (*pair)(struct socket *a, struct socket *b, struct task *t);      /* socketpair; NULL: -EOPNOTSUPP */
    int (*getname)(struct socket *s, bool peer, struct sock_addr *out);
    ssize_t (*sendmsg)(struct socket *s, struct task *t, struct sk_msg *m);
    ssize_t (*recvmsg)(struct socket *s, struct task *t, struct sk_msg *m);
    int (*shutdown)(struct socket *s, int how); /* `how` is valid */
    uint32_t (*poll)(struct socket *s);
    /* Options of levels other than SOL_SOCKET, and those of that level that sockopt.c does not know. -ENOPROTOOPT. */
    int (*setsockopt)(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len);
    /* *len: room in, length out. */
    int (*getsockopt)(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len);
    long (*ioctl)(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg); /* -ENOTTY; may be NULL */
    void (*so_changed)(struct socket *s, int name); /* an option of SOL_SOCKET has been set; may be NULL */
    int (*take_error)(struct socket *s);            /* SO_ERROR, positive; NULL: socket->err */
    void (*put_error)(struct socket *s, int err);   /* sets it, positive; NULL: socket->err */
    /* Of sockets that can be mapped: as in struct file_ops. */
    int (*mmap)(struct socket *s, uint64_t off, uint64_t len);
    int (*map_extent)(struct socket *s, uint64_t off, uint64_t len, struct mmap_extent *out);
    void (*wmem_freed)(struct socket *s); /* what this socket sent has been consumed; NULL: wakes writers when there is room */
    /* Does close(2) with SO_LINGER wait (again, after the queue was woken) for what was sent to arrive? NULL: no. */
    bool (*lingers)(struct socket *s);
    void (*release)(struct socket *s);
    void (*destroy)(struct socket *s);
};

#define SOCK_STAMP_RX 8u                            /* SOF_TIMESTAMPING_RX_SOFTWARE */
#define SOCK_STAMP_TX (1u | 2u | 1u << 8 | 1u << 9) /* _TX_HARDWARE, _TX_SOFTWARE, _TX_SCHED, _TX_ACK */

enum { SHUT_MASK_RCV = 1, SHUT_MASK_SEND = 2, SHUT_MASK_BOTH = 3 };

struct socket {
    struct refcount ref;
    const struct socket_ops *ops;
    struct net *net;
    struct file *file; /* while a descriptor has it; not referenced; written by the layer under lock */
    uint64_t ino;      /* of the file; 0: none yet */
    uid_t uid;
    int family, type, protocol; /* immutable, but that IPV6_ADDRFORM makes AF_INET of AF_INET6 */
    struct waitq wq;
    struct mutex read_lock, lock;
    struct skb_queue rq GUARDED_BY(lock);
    atomic_uint shutdown; /* SHUT_MASK_*; written under lock */
    atomic_int err;       /* pending error (SO_ERROR), positive */
    atomic_uint drops;    /* messages that found the queue full */
    atomic_uint wmem;     /* what messages of ours still cost in others' queues */
    atomic_bool nospace;  /* a writer waits, or has been told to: consuming wakes it */

    /* SOL_SOCKET options; single words, written under lock. */
    int sndbuf, rcvbuf, rcvlowat, priority, mark, linger_secs;
    int64_t rcvtimeo, sndtimeo; /* ns; INT64_MAX: for ever */
    int busy_poll, incoming_cpu, txrehash;
    unsigned int timestamping; /* SOF_TIMESTAMPING_* */
    uint32_t timestamping_id;  /* of the next message, with OPT_ID; and of the next MSG_ZEROCOPY */
    uint32_t zerocopy_id;
    uint64_t max_pacing_rate; /* ~0: none. What is sent goes as fast as it can */
    unsigned int buf_lock;    /* SO_BUF_LOCK: SOCK_SNDBUF_LOCK, SOCK_RCVBUF_LOCK */
    /* Programs; referenced. The filter is changed under lock and the netstack's, either of which suffices to run it, the other
     * under the table's of inet_loopback. */
    struct bpf_prog *filter, *reuseport_prog;
    struct list_head errqueue GUARDED_BY(lock); /* see errqueue.h */
    atomic_uint nr_errqueue;
    bool reuseaddr, reuseport, keepalive, broadcast, oobinline, linger, dontroute, passcred, timestamp, timestamp_ns, debug,
        no_check, rxq_ovfl, zerocopy, lock_filter, timestamp_new, prefer_busy_poll, wifi_status, nofcs, select_err_queue,
        rcvbuf_set, sndbuf_set;
};

/* What a family's create function is for: a socket with one reference. -EPROTONOSUPPORT, -ESOCKTNOSUPPORT, -EPERM, -ENOMEM. */
typedef int socket_create_fn(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out);
socket_create_fn unix_create, inet_create, netlink_create, packet_create;

int must_check socket_create(struct task *t, int family, int type, int protocol, struct socket **out);
/* Common part of a family's create and accept. */
void socket_init(struct socket *s, const struct socket_ops *ops, struct net *net, int family, int type, int protocol);
void socket_fini(struct socket *s); /* frees what is queued */
struct socket *socket_get(struct socket *s);
void socket_put(struct socket *s);

/* Wraps a socket, whose reference it consumes even on failure, into an open file. `flags`: O_NONBLOCK or 0. No task: root's. */
int must_check socket_make_file(struct task *t, struct socket *s, int flags, struct file **out);
/* The socket of a file, not referenced (the file holds it), or NULL if it is none. */
struct socket *file_socket(const struct file *f);

/* Takes the pending error: 0 or -errno. */
int sock_take_error(struct socket *s);
/* A transfer was ended by `r`, a negative errno, but has moved something, and can only say so. If `r` was the pending error it
 * is pending again, for the next call. */
void sock_keep_error(struct socket *s, ssize_t r);
/* Does it want to know when messages arrive? */
static inline bool sock_wants_stamp(const struct socket *s)
{
    return s->timestamp || s->timestamp_ns || s->timestamping & SOCK_STAMP_RX;
}
void sock_set_error(struct socket *s, int err);

/* Room to send: what common accounting says. Asking and being refused makes the next consumption wake POLLOUT. */
bool sock_may_send(struct socket *s);
bool sock_writable(struct socket *s); /* for poll: at most a quarter of sndbuf is in use */

void sock_lock_two(struct socket *a, struct socket *b);
void sock_unlock_two(struct socket *a, struct socket *b);

/* Blocking forms, see msg.c. `nonblock` is the file's O_NONBLOCK or MSG_DONTWAIT. Restart codes as in Linux. */
int64_t socket_send(struct task *t, struct file *f, struct sk_msg *m);
int64_t socket_recv(struct task *t, struct file *f, struct sk_msg *m, int64_t deadline);
int64_t socket_connect(struct task *t, struct file *f, const struct sock_addr *a);
int64_t socket_accept(struct task *t, struct file *f, struct socket **out);

/* SOL_SOCKET and the rest, on host memory. */
int socket_setopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len);
int socket_getopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len);
/* SO_GET_FILTER, whose lengths count instructions. */
int64_t socket_get_filter(struct socket *s, struct task *t, guest_addr at, guest_addr at_len);
/* For families' option code: an int (any length >= 1 for reading into `val`), or -EINVAL. */
int sockopt_get_int(const void *val, socklen_t len, int *out);
int sockopt_put_int(void *val, socklen_t *len, int v);

/* Interface ioctls, the same on every socket: SIOCGIF... -ENOTTY if it is none of them. */
long netdev_ioctl(struct net *net, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
/* Whether the request is one about an interface that changes it. */
bool netdev_ioctl_changes(unsigned int cmd);

#endif
