/*
 * Ancillary data: control messages between guest memory and the sockets, and descriptors on their way (SCM_RIGHTS).
 */
#ifndef SENTRY_SOCKET_SCM_H
#define SENTRY_SOCKET_SCM_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "lib/list.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct file;
struct net;
struct skb;
struct sk_msg;
struct socket;
struct task;

#define SCM_MAX_FD 253

/* Files on their way; each is referenced, and counted as in flight once the message has been made. */
struct scm_fds {
    int n;
    struct net *net; /* counted as in flight there, see unix/gc.c; NULL: not */
    struct file *file[SCM_MAX_FD];
};

/* What sendmsg(2) was given. */
struct scm {
    struct ucred cred; /* the caller's, or what SCM_CREDENTIALS said */
    struct scm_fds *fds;
    /* IP_PKTINFO, IPV6_PKTINFO and the like. */
    bool has_src, has_ttl, has_tos;
    struct in6_addr src;
    int ttl, tos;
    int oif;           /* 0: not given */
    uint16_t gso_size; /* UDP_SEGMENT; 0: not given */
    bool has_mark;
    uint32_t mark;             /* SO_MARK */
    unsigned int timestamping; /* SOF_TIMESTAMPING_TX_* for this message */
};

/* Fills in the caller's own credentials. */
void scm_init(struct scm *scm, struct task *t);
/* Parses `len` bytes of control messages in host memory for a socket of `family`: 0 or -errno. */
int must_check scm_parse(struct scm *scm, struct task *t, int family, const char *buf, size_t len);
void scm_fini(struct scm *scm);
void scm_fds_free(struct scm_fds *fds);

/* Writes control messages into the guest's buffer while there is room. */
struct cmsg_writer {
    struct task *t;
    guest_addr at;
    size_t left, used;
    unsigned int out_flags; /* MSG_CTRUNC */
    bool cloexec;           /* MSG_CMSG_CLOEXEC */
    bool fault;
};

void cmsg_put(struct cmsg_writer *w, int level, int type, const void *data, size_t len);
/* Gives the files descriptors in the receiver's table, as far as the buffer has room for their numbers. */
void cmsg_put_fds(struct cmsg_writer *w, const struct scm_fds *fds);
/* SO_TIMESTAMP and SO_TIMESTAMPNS, if the receiving socket asks for them. */
void cmsg_put_timestamp(struct cmsg_writer *w, const struct socket *s, int64_t realtime_ns);
/* SO_RXQ_OVFL: how many messages have been dropped. */
void cmsg_put_drops(struct cmsg_writer *w, const struct socket *s, uint64_t drops);

#endif
