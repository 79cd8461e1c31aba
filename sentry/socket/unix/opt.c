/* Readiness, ioctls and options of unix sockets. */
#include "sentry/socket/unix/unix.h"

#include "sentry/kernel/pid.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

/* Whether a datagram to our peer would have to wait for it. */
static bool peer_is_full(struct unix_sock *u)
{
    struct unix_sock *peer = unix_get_peer(u);
    bool full = false;

    if (!peer)
        return false;
    for (int tries = 0; tries < 2; tries++) {
        mutex_lock(&peer->s.lock);
        full = !peer->dead && peer != u && peer->peer != u && unix_dgram_full(peer);
        mutex_unlock(&peer->s.lock);
        if (!full)
            break;
        unix_wait_for(u, peer);
    }
    unix_put(peer);
    return full;
}

static bool may_write(struct unix_sock *u)
{
    if (!sock_writable(&u->s)) {
        atomic_store(&u->s.nospace, true);
        if (!sock_writable(&u->s))
            return false;
    }
    return !unix_is_dgram(u) || u->state != UNIX_ESTABLISHED || !peer_is_full(u);
}

uint32_t unix_poll(struct socket *s)
{
    struct unix_sock *u = unix_of(s);
    unsigned int shut = atomic_load(&s->shutdown);
    uint32_t mask = 0;
    enum unix_state state;

    mutex_lock(&s->lock);
    state = u->state;
    if (s->rq.len || u->nr_accepts)
        mask |= POLLIN | POLLRDNORM;
    mutex_unlock(&s->lock);
    if (atomic_load(&s->err))
        mask |= POLLERR;
    if (shut == SHUT_MASK_BOTH)
        mask |= POLLHUP;
    if (shut & SHUT_MASK_RCV)
        mask |= POLLRDHUP | POLLIN | POLLRDNORM;
    if (!unix_is_dgram(u) && state == UNIX_CLOSE)
        mask |= POLLHUP;
    if (state != UNIX_LISTEN && may_write(u))
        mask |= POLLOUT | POLLWRNORM | POLLWRBAND;
    return mask;
}

static int bytes_to_read(struct unix_sock *u)
{
    int n;

    mutex_lock(&u->s.lock);
    if (u->state == UNIX_LISTEN)
        n = -EINVAL;
    else if (u->s.type == SOCK_DGRAM)
        n = skb_peek(&u->s.rq) ? (int)skb_peek(&u->s.rq)->len : 0;
    else
        n = (int)atomic_load(&u->s.rq.bytes);
    mutex_unlock(&u->s.lock);
    return n;
}

long unix_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    int n;

    switch (cmd) {
    case SIOCINQ:
        n = bytes_to_read(unix_of(s));
        if (n < 0)
            return n;
        break;
    case SIOCOUTQ:
        n = (int)atomic_load(&s->wmem);
        break;
    default:
        return -ENOTTY;
    }
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static int get_groups(struct unix_sock *u, void *val, socklen_t *len)
{
    struct cred *c = NULL;
    socklen_t need;
    int r = 0;

    mutex_lock(&u->s.lock);
    if (u->peer_groups)
        c = cred_get(u->peer_groups);
    mutex_unlock(&u->s.lock);
    if (!c)
        return -ENODATA;
    need = (socklen_t)(c->nr_groups * sizeof(gid_t));
    if (*len < need)
        r = -ERANGE;
    else if (need)
        memcpy(val, c->groups, need);
    *len = need;
    cred_put(c);
    return r;
}

static int get_pidfd(struct unix_sock *u, struct task *t, void *val, socklen_t *len)
{
    struct kernel *k = t->k;
    struct file *f;
    struct pid *pid;
    int fd;

    if (!u->has_peercred)
        return -ENODATA;
    mutex_lock(&k->tasks_lock);
    pid = pid_find(k, u->peercred.pid);
    if (pid)
        pid_get(pid);
    mutex_unlock(&k->tasks_lock);
    if (!pid)
        return -ESRCH;
    fd = pidfd_create(pid, 0, &f);
    pid_put(pid);
    if (fd)
        return fd;
    fd = fd_install(t->files, f, 0, true, task_rlimit(t, RLIMIT_NOFILE));
    file_put(f);
    return fd < 0 ? fd : sockopt_put_int(val, len, fd);
}

int unix_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct unix_sock *u = unix_of(s);
    struct ucred cred = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};

    if (level != SOL_SOCKET)
        return level == IPPROTO_TCP || level == SOL_IP ? -EOPNOTSUPP : -ENOPROTOOPT;
    switch (name) {
    case SO_PEERCRED:
        mutex_lock(&s->lock);
        if (u->has_peercred)
            cred = u->peercred;
        mutex_unlock(&s->lock);
        if (*len > sizeof(cred))
            *len = sizeof(cred);
        memcpy(val, &cred, *len);
        return 0;
    case SO_PEERGROUPS:
        return get_groups(u, val, len);
    case SO_PEERPIDFD:
        return get_pidfd(u, t, val, len);
    case SO_ACCEPTCONN:
        return sockopt_put_int(val, len, u->state == UNIX_LISTEN);
    default:
        return -ENOPROTOOPT;
    }
}

int unix_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len)
{
    return level == SOL_SOCKET ? -ENOPROTOOPT : -EOPNOTSUPP;
}
