#include "sentry/socket/errqueue.h"

#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/scm.h"

#include <errno.h>
#include <linux/net_tstamp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* Entries, each of at most this many bytes of the message: Linux counts memory, with about this effect. */
#define QUEUE_MAX 512
#define DATA_MAX  65536

struct sock_err {
    struct list_head node;
    struct sock_extended_err ee;
    struct sockaddr_in6 offender, dst;
    bool has_offender, has_dst;
    int64_t stamp_ns;
    size_t len;
    char data[];
};

static void tell(struct socket *s)
{
    waitq_wake(&s->wq, POLLERR);
}

void sock_errqueue_add(struct socket *s, const struct sock_errinfo *info)
{
    size_t len = info->len < DATA_MAX ? info->len : DATA_MAX;
    struct sock_err *e = malloc(sizeof(*e) + len);

    if (!e)
        return;
    *e = (struct sock_err){
        .ee = info->ee, .has_offender = info->offender, .has_dst = info->dst, .stamp_ns = info->stamp_ns, .len = len};
    if (info->offender)
        e->offender = *info->offender;
    if (info->dst)
        e->dst = *info->dst;
    if (len)
        memcpy(e->data, info->data, len);
    mutex_lock(&s->lock);
    if (atomic_load(&s->nr_errqueue) < QUEUE_MAX) {
        list_add_tail(&e->node, &s->errqueue);
        atomic_fetch_add(&s->nr_errqueue, 1);
        if (info->ee.ee_errno && info->ee.ee_origin != SO_EE_ORIGIN_TIMESTAMPING)
            sock_set_error(s, (int)info->ee.ee_errno);
        e = NULL;
    }
    mutex_unlock(&s->lock);
    free(e);
    tell(s);
}

void sock_errqueue_zerocopy(struct socket *s)
{
    struct sock_errinfo info = {.ee = {.ee_origin = SO_EE_ORIGIN_ZEROCOPY, .ee_code = SO_EE_CODE_ZEROCOPY_COPIED}};
    struct sock_err *last = NULL;
    uint32_t id;
    bool joined = false;

    mutex_lock(&s->lock);
    id = s->zerocopy_id++;
    if (!list_empty(&s->errqueue))
        last = list_entry(s->errqueue.prev, struct sock_err, node);
    if (last && last->ee.ee_origin == SO_EE_ORIGIN_ZEROCOPY && last->ee.ee_data == id - 1) {
        last->ee.ee_data = id;
        joined = true;
    }
    mutex_unlock(&s->lock);
    info.ee.ee_info = info.ee.ee_data = id;
    if (!joined)
        sock_errqueue_add(s, &info);
}

static struct sock_err *take(struct socket *s)
{
    struct sock_err *e = NULL, *next;

    mutex_lock(&s->lock);
    if (!list_empty(&s->errqueue)) {
        e = list_first_entry(&s->errqueue, struct sock_err, node);
        list_del_init(&e->node);
        atomic_fetch_sub(&s->nr_errqueue, 1);
        /* SO_ERROR goes on to tell of the first that is left. */
        next = list_empty(&s->errqueue) ? NULL : list_first_entry(&s->errqueue, struct sock_err, node);
        if (e->ee.ee_errno && e->ee.ee_origin != SO_EE_ORIGIN_TIMESTAMPING)
            sock_set_error(s, next && next->ee.ee_origin != SO_EE_ORIGIN_TIMESTAMPING ? (int)next->ee.ee_errno : 0);
    }
    mutex_unlock(&s->lock);
    return e;
}

static void put_control(struct socket *s, struct cmsg_writer *w, const struct sock_err *e)
{
    struct {
        struct sock_extended_err ee;
        struct sockaddr_in offender;
    } e4 = {.ee = e->ee};
    struct {
        struct sock_extended_err ee;
        struct sockaddr_in6 offender;
    } e6 = {.ee = e->ee};

    if (!w)
        return;
    if (e->stamp_ns) {
        struct timespec ts[3] = {{.tv_sec = e->stamp_ns / 1000000000, .tv_nsec = e->stamp_ns % 1000000000}};

        cmsg_put(w, SOL_SOCKET, SCM_TIMESTAMPING, ts, sizeof(ts));
    }
    if (s->family == AF_INET) {
        if (e->has_offender) {
            e4.offender.sin_family = AF_INET;
            memcpy(&e4.offender.sin_addr, &e->offender.sin6_addr.s6_addr[12], sizeof(e4.offender.sin_addr));
        }
        cmsg_put(w, SOL_IP, IP_RECVERR, &e4, sizeof(e4));
    } else {
        if (e->has_offender) {
            e6.offender.sin6_family = AF_INET6;
            e6.offender.sin6_addr = e->offender.sin6_addr;
        }
        cmsg_put(w, SOL_IPV6, IPV6_RECVERR, &e6, sizeof(e6));
    }
}

ssize_t sock_errqueue_recv(struct socket *s, struct sk_msg *m)
{
    struct sock_err *e = sock_errqueue_has(s) ? take(s) : NULL;
    ssize_t r;
    size_t n;

    if (!e)
        return -EAGAIN;
    n = e->len < m->uio->resid ? e->len : m->uio->resid;
    if (n < e->len)
        m->out_flags |= MSG_TRUNC;
    m->out_flags |= MSG_ERRQUEUE;
    r = (ssize_t)n;
    if (n && uio_copy_to(m->uio, e->data, n) != (ssize_t)n)
        r = -EFAULT;
    if (m->name && e->has_dst) {
        struct inet_end dst = {.addr = e->dst.sin6_addr, .port = e->dst.sin6_port};

        inet_addr_out(inet_of(s), &dst, m->name);
    }
    put_control(s, m->cmsg, e);
    free(e);
    return r;
}

void sock_errqueue_purge(struct socket *s)
{
    struct sock_err *e, *next;

    list_for_each_entry_safe(e, next, &s->errqueue, node) {
        list_del_init(&e->node);
        free(e);
    }
    atomic_store(&s->nr_errqueue, 0);
}
