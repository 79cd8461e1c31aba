/* Sending, receiving, connecting and accepting with waiting: the loops above the families' operations. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/errqueue.h"
#include "sentry/socket/scm.h"
#include "sentry/socket/socket.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/net_tstamp.h>
#include <poll.h>

struct msg_op {
    struct socket *s;
    struct task *t;
    struct sk_msg *m;
    size_t done, target; /* bytes of a stream */
};

static int64_t deadline_after(int64_t limit)
{
    return limit == INT64_MAX ? TASK_NO_DEADLINE : time_add_saturating(kernel_monotonic_ns(), limit);
}

/* A wait with a limit cannot be restarted, for it would begin anew. */
static int64_t interrupted(int64_t r, int64_t limit)
{
    return r == -ERESTARTSYS && limit != INT64_MAX ? -EINTR : r;
}

static bool is_nonblock(const struct file *f)
{
    return atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK;
}

static int64_t send_try(void *arg)
{
    struct msg_op *op = arg;

    for (;;) {
        int64_t r = op->s->ops->sendmsg(op->s, op->t, op->m);

        if (op->s->type != SOCK_STREAM || r < 0)
            return r;
        op->done += (size_t)r;
        if (r == 0 || op->m->uio->resid == 0)
            return (int64_t)op->done;
    }
}

/* What is asked to be told, by the error queue, about a message that has been sent. Its bytes have been copied. */
static void tell_sent(struct socket *s, const struct sk_msg *m, size_t n)
{
    unsigned int flags = s->timestamping | (m->scm ? m->scm->timestamping : 0);
    struct sock_errinfo info = {.ee = {.ee_errno = ENOMSG, .ee_origin = SO_EE_ORIGIN_TIMESTAMPING}};
    static const struct {
        unsigned int flag;
        uint32_t what;
    } stamps[] = {{SOF_TIMESTAMPING_TX_SCHED, SCM_TSTAMP_SCHED},
                  {SOF_TIMESTAMPING_TX_SOFTWARE, SCM_TSTAMP_SND},
                  {SOF_TIMESTAMPING_TX_ACK, SCM_TSTAMP_ACK}};

    if (m->flags & MSG_ZEROCOPY && s->zerocopy)
        sock_errqueue_zerocopy(s);
    if (!(flags & SOCK_STAMP_TX) || !(flags & SOF_TIMESTAMPING_SOFTWARE))
        return;
    if (flags & SOF_TIMESTAMPING_OPT_ID) {
        /* A stream's are named by their last byte. */
        s->timestamping_id += s->type == SOCK_STREAM ? (uint32_t)n : 1;
        info.ee.ee_data = s->timestamping_id - 1;
    }
    info.stamp_ns = kernel_realtime_ns();
    for (size_t k = 0; k < ARRAY_SIZE(stamps); k++) {
        /* Only streams are acknowledged; when, is known of those inside the sandbox. */
        if (!(flags & stamps[k].flag) || (stamps[k].what == SCM_TSTAMP_ACK && s->type != SOCK_STREAM))
            continue;
        info.ee.ee_info = stamps[k].what;
        sock_errqueue_add(s, &info);
    }
}

int64_t socket_send(struct task *t, struct file *f, struct sk_msg *m)
{
    struct socket *s = f->priv;
    struct msg_op op = {.s = s, .t = t, .m = m};
    int64_t limit = s->sndtimeo, r;

    if (is_nonblock(f))
        m->flags |= MSG_DONTWAIT;
    r = task_retry_file(t, f, POLLOUT, deadline_after(limit), m->flags & MSG_DONTWAIT, send_try, &op);
    if (r < 0 && op.done) {
        sock_keep_error(s, r);
        r = (int64_t)op.done;
    }
    if (r > 0 && unlikely(m->flags & MSG_ZEROCOPY || s->timestamping || (m->scm && m->scm->timestamping)) &&
        (s->family == AF_INET || s->family == AF_INET6) && !s->ops->own_options)
        tell_sent(s, m, (size_t)r);
    if (r == -EPIPE && s->type == SOCK_STREAM && !(m->flags & MSG_NOSIGNAL)) {
        ksiginfo info;

        siginfo_user(&info, SIGPIPE, SI_USER, t);
        signal_send_task(t, &info);
    }
    return interrupted(r, limit);
}

static int64_t recv_try(void *arg)
{
    struct msg_op *op = arg;

    for (;;) {
        int64_t r = op->s->ops->recvmsg(op->s, op->t, op->m);

        if (op->target == 0 || r < 0)
            return r;
        op->done += (size_t)r;
        if (r == 0 || op->done >= op->target || op->m->stop)
            return (int64_t)op->done;
    }
}

int64_t socket_recv(struct task *t, struct file *f, struct sk_msg *m, int64_t deadline)
{
    struct socket *s = f->priv;
    struct msg_op op = {.s = s, .t = t, .m = m};
    int64_t limit = s->rcvtimeo, own, r;

    /* There is never an error to wait for. */
    if (is_nonblock(f) || (m->flags & MSG_ERRQUEUE && s->family != AF_UNIX))
        m->flags |= MSG_DONTWAIT;
    /* How much of a stream to wait for. A peek sees what there is. */
    if (s->type == SOCK_STREAM && !(m->flags & MSG_PEEK)) {
        op.target = m->flags & MSG_WAITALL ? m->uio->resid : (size_t)s->rcvlowat;
        if (op.target > m->uio->resid)
            op.target = m->uio->resid;
    }
    own = deadline_after(limit);
    r = task_retry_file(t, f, POLLIN, own < deadline ? own : deadline, m->flags & MSG_DONTWAIT, recv_try, &op);
    if (r < 0 && op.done) {
        sock_keep_error(s, r);
        return (int64_t)op.done;
    }
    return interrupted(r, limit);
}

struct connect_op {
    struct socket *s;
    struct task *t;
    const struct sock_addr *a;
    struct socket **out;
    bool nonblock;
};

static int64_t connect_try(void *arg)
{
    struct connect_op *op = arg;

    return op->s->ops->connect(op->s, op->t, op->a, op->nonblock);
}

int64_t socket_connect(struct task *t, struct file *f, const struct sock_addr *a)
{
    struct socket *s = f->priv;
    struct connect_op op = {.s = s, .t = t, .a = a, .nonblock = is_nonblock(f)};
    int64_t limit = s->sndtimeo, r;

    r = task_retry_file(t, f, POLLOUT, deadline_after(limit), op.nonblock, connect_try, &op);
    if (r == -EAGAIN && s->family != AF_UNIX)
        r = -EINPROGRESS;
    return interrupted(r, limit);
}

static int64_t accept_try(void *arg)
{
    struct connect_op *op = arg;

    return op->s->ops->accept(op->s, op->t, op->out);
}

int64_t socket_accept(struct task *t, struct file *f, struct socket **out)
{
    struct socket *s = f->priv;
    struct connect_op op = {.s = s, .t = t, .out = out};
    int64_t limit = s->rcvtimeo;

    return interrupted(task_retry_file(t, f, POLLIN, deadline_after(limit), is_nonblock(f), accept_try, &op), limit);
}
