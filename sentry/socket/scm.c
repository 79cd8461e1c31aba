#include "sentry/socket/scm.h"

#include "sentry/kernel/task.h"
#include "sentry/socket/socket.h"
#include "sentry/socket/unix/unix.h"
#include "vfs/file.h"

#include <errno.h>
#include <linux/net_tstamp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

void scm_init(struct scm *scm, struct task *t)
{
    *scm = (struct scm){.cred = {.pid = t->tg->tgid, .uid = t->cred->euid, .gid = t->cred->egid}};
}

void scm_fds_free(struct scm_fds *fds)
{
    if (!fds)
        return;
    if (fds->net)
        unix_fds_landed(fds);
    for (int i = 0; i < fds->n; i++)
        file_put(fds->file[i]);
    free(fds);
}

void scm_fini(struct scm *scm)
{
    scm_fds_free(scm->fds);
    scm->fds = NULL;
}

static int parse_rights(struct scm *scm, struct task *t, const char *data, size_t len)
{
    size_t n = len / sizeof(int);

    if (n == 0)
        return 0;
    if (!scm->fds) {
        scm->fds = malloc(sizeof(*scm->fds));
        if (!scm->fds)
            return -ENOMEM;
        scm->fds->n = 0;
        scm->fds->net = NULL;
    }
    if (n > SCM_MAX_FD || scm->fds->n + (int)n > SCM_MAX_FD)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        struct file *f;
        int fd;

        memcpy(&fd, data + i * sizeof(int), sizeof(fd));
        f = fd < 0 ? NULL : fd_get_raw(t->files, fd);
        if (!f)
            return -EBADF;
        scm->fds->file[scm->fds->n++] = f;
    }
    return 0;
}

/* Whoever has the capability may say what it likes; others only what is true of them. */
static int parse_credentials(struct scm *scm, struct task *t, const char *data, size_t len)
{
    const struct cred *c = t->cred;
    struct tgroup *tg;
    struct ucred u;

    if (len != sizeof(u))
        return -EINVAL;
    memcpy(&u, data, sizeof(u));
    if ((u.pid != t->tg->tgid && !cred_has_cap(c, CAP_SYS_ADMIN)) ||
        (u.uid != c->uid && u.uid != c->euid && u.uid != c->suid && !cred_has_cap(c, CAP_SETUID)) ||
        (u.gid != c->gid && u.gid != c->egid && u.gid != c->sgid && !cred_has_cap(c, CAP_SETGID)))
        return -EPERM;
    if (u.pid != t->tg->tgid) {
        tg = tgroup_find(t->k, u.pid);
        if (!tg)
            return -ESRCH;
        tgroup_put(tg);
    }
    scm->cred = u;
    return 0;
}

static int parse_socket_level(struct scm *scm, struct task *t, int family, const struct cmsghdr *h, const char *data,
                              size_t len)
{
    if ((h->cmsg_type == SCM_RIGHTS || h->cmsg_type == SCM_CREDENTIALS) && (family == AF_INET || family == AF_INET6))
        return 0; /* Linux passes over them */
    switch (h->cmsg_type) {
    case SO_MARK:
        if (len != sizeof(scm->mark))
            return -EINVAL;
        if (!cred_has_cap(t->cred, CAP_NET_RAW) && !cred_has_cap(t->cred, CAP_NET_ADMIN))
            return -EPERM;
        memcpy(&scm->mark, data, sizeof(scm->mark));
        scm->has_mark = true;
        return 0;
    case SO_TIMESTAMPING:
        if (len != sizeof(scm->timestamping))
            return -EINVAL;
        memcpy(&scm->timestamping, data, sizeof(scm->timestamping));
        return scm->timestamping & ~SOCK_STAMP_TX ? -EINVAL : 0;
    case SCM_RIGHTS:
        return family == AF_UNIX ? parse_rights(scm, t, data, len) : -EINVAL;
    case SCM_CREDENTIALS:
        return family == AF_UNIX || family == AF_NETLINK ? parse_credentials(scm, t, data, len) : -EINVAL;
    default:
        return -EINVAL;
    }
}

static int parse_int(const char *data, size_t len, int *out)
{
    if (len != sizeof(int))
        return -EINVAL;
    memcpy(out, data, sizeof(*out));
    return 0;
}

static int parse_ip(struct scm *scm, const struct cmsghdr *h, const char *data, size_t len)
{
    struct in_pktinfo info;

    switch (h->cmsg_type) {
    case IP_PKTINFO:
        if (len != sizeof(info))
            return -EINVAL;
        memcpy(&info, data, sizeof(info));
        memset(&scm->src, 0, sizeof(scm->src));
        scm->src.s6_addr[10] = scm->src.s6_addr[11] = 0xff;
        memcpy(&scm->src.s6_addr[12], &info.ipi_spec_dst, sizeof(info.ipi_spec_dst));
        scm->has_src = info.ipi_spec_dst.s_addr != 0;
        scm->oif = info.ipi_ifindex;
        return 0;
    case IP_TTL:
        scm->has_ttl = true;
        return parse_int(data, len, &scm->ttl) || scm->ttl < 1 || scm->ttl > 255 ? -EINVAL : 0;
    case IP_TOS:
        scm->has_tos = true;
        return parse_int(data, len, &scm->tos) || scm->tos < 0 || scm->tos > 255 ? -EINVAL : 0;
    default:
        return -EINVAL;
    }
}

static int parse_ipv6(struct scm *scm, const struct cmsghdr *h, const char *data, size_t len)
{
    struct in6_pktinfo info;

    switch (h->cmsg_type) {
    case IPV6_PKTINFO:
        if (len < sizeof(info))
            return -EINVAL;
        memcpy(&info, data, sizeof(info));
        scm->src = info.ipi6_addr;
        scm->has_src = !IN6_IS_ADDR_UNSPECIFIED(&info.ipi6_addr);
        scm->oif = (int)info.ipi6_ifindex;
        return 0;
    case IPV6_HOPLIMIT:
        scm->has_ttl = true;
        return parse_int(data, len, &scm->ttl) || scm->ttl < -1 || scm->ttl > 255 ? -EINVAL : 0;
    case IPV6_TCLASS:
        scm->has_tos = true;
        return parse_int(data, len, &scm->tos) || scm->tos < -1 || scm->tos > 255 ? -EINVAL : 0;
    default:
        return -EINVAL;
    }
}

int scm_parse(struct scm *scm, struct task *t, int family, const char *buf, size_t len)
{
    size_t at = 0;

    while (len - at >= sizeof(struct cmsghdr)) {
        struct cmsghdr h;
        const char *data = buf + at + CMSG_LEN(0);
        size_t n;
        int r = 0;

        memcpy(&h, buf + at, sizeof(h));
        if (h.cmsg_len < sizeof(h) || h.cmsg_len > len - at)
            return -EINVAL;
        n = h.cmsg_len - CMSG_LEN(0);
        if (h.cmsg_level == SOL_SOCKET)
            r = parse_socket_level(scm, t, family, &h, data, n);
        else if (h.cmsg_level == SOL_IP && (family == AF_INET || family == AF_INET6))
            r = parse_ip(scm, &h, data, n);
        else if (h.cmsg_level == SOL_IPV6 && family == AF_INET6)
            r = parse_ipv6(scm, &h, data, n);
        else if (h.cmsg_level == SOL_UDP && h.cmsg_type == UDP_SEGMENT && (family == AF_INET || family == AF_INET6)) {
            r = n == sizeof(scm->gso_size) ? 0 : -EINVAL;
            if (!r)
                memcpy(&scm->gso_size, data, sizeof(scm->gso_size));
        }
        if (r)
            return r;
        if (CMSG_ALIGN(h.cmsg_len) >= len - at)
            break;
        at += CMSG_ALIGN(h.cmsg_len);
    }
    return 0;
}

void cmsg_put(struct cmsg_writer *w, int level, int type, const void *data, size_t len)
{
    struct cmsghdr h = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type};
    size_t space = CMSG_SPACE(len);

    if (!w)
        return;
    if (w->left < sizeof(h)) {
        w->out_flags |= MSG_CTRUNC;
        return;
    }
    if (w->left < h.cmsg_len) {
        w->out_flags |= MSG_CTRUNC;
        h.cmsg_len = w->left;
    }
    if (copy_out(w->t, guest_add(w->at, w->used), &h, sizeof(h)) ||
        copy_out(w->t, guest_add(w->at, w->used + CMSG_LEN(0)), data, h.cmsg_len - CMSG_LEN(0))) {
        w->fault = true;
        return;
    }
    if (space > w->left)
        space = w->left;
    w->left -= space;
    w->used += space;
}

void cmsg_put_fds(struct cmsg_writer *w, const struct scm_fds *fds)
{
    size_t room = w && w->left > CMSG_LEN(0) ? (w->left - CMSG_LEN(0)) / sizeof(int) : 0;
    int max = room < (size_t)fds->n ? (int)room : fds->n, fd[SCM_MAX_FD], n = 0;

    if (!w)
        return;
    while (n < max) {
        fd[n] = fd_install(w->t->files, fds->file[n], 0, w->cloexec, task_rlimit(w->t, RLIMIT_NOFILE));
        if (fd[n] < 0)
            break;
        n++;
    }
    if (n > 0) {
        cmsg_put(w, SOL_SOCKET, SCM_RIGHTS, fd, (size_t)n * sizeof(int));
        for (int i = 0; i < n && w->fault; i++)
            fd_close(w->t->files, task_caller(w->t), fd[i]);
    }
    if (n < fds->n)
        w->out_flags |= MSG_CTRUNC;
}

void cmsg_put_timestamp(struct cmsg_writer *w, const struct socket *s, int64_t realtime_ns)
{
    /* The types for a 64-bit time_t, which this one is anyway, have names of their own. */
    bool new = s->timestamp_new;

    if (!w || !realtime_ns)
        return;
    if (s->timestamp_ns) {
        struct timespec ts = {.tv_sec = realtime_ns / 1000000000, .tv_nsec = realtime_ns % 1000000000};
        cmsg_put(w, SOL_SOCKET, new ? 64 /* SO_TIMESTAMPNS_NEW */ : SCM_TIMESTAMPNS, &ts, sizeof(ts));
    } else if (s->timestamp) {
        struct timeval tv = {.tv_sec = realtime_ns / 1000000000, .tv_usec = realtime_ns % 1000000000 / 1000};
        cmsg_put(w, SOL_SOCKET, new ? 63 /* SO_TIMESTAMP_NEW */ : SCM_TIMESTAMP, &tv, sizeof(tv));
    }
    if (s->timestamping & SOF_TIMESTAMPING_RX_SOFTWARE && s->timestamping & SOF_TIMESTAMPING_SOFTWARE) {
        struct timespec ts[3] = {{.tv_sec = realtime_ns / 1000000000, .tv_nsec = realtime_ns % 1000000000}};
        cmsg_put(w, SOL_SOCKET, new ? 65 /* SO_TIMESTAMPING_NEW */ : SCM_TIMESTAMPING, ts, sizeof(ts));
    }
}

void cmsg_put_drops(struct cmsg_writer *w, const struct socket *s, uint64_t drops)
{
    uint32_t n = (uint32_t)drops;

    if (w && s->rxq_ovfl && n)
        cmsg_put(w, SOL_SOCKET, SO_RXQ_OVFL, &n, sizeof(n));
}
