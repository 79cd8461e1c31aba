#include "sentry/control/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void close_fds(struct control_buf *b)
{
    for (int i = 0; i < b->nr_fds; i++)
        if (b->fds[i] >= 0)
            close(b->fds[i]);
    b->nr_fds = 0;
}

void control_buf_fini(struct control_buf *b)
{
    close_fds(b);
    free(b->data);
    *b = (struct control_buf){0};
}

static int reserve(struct control_buf *b, size_t size)
{
    uint8_t *p;

    if (size <= b->size)
        return 0;
    p = realloc(b->data, size);
    if (!p)
        return -ENOMEM;
    b->data = p;
    b->size = size;
    return 0;
}

size_t control_buf_size(const struct control_buf *b)
{
    uint32_t n;

    memcpy(&n, b->data, sizeof(n));
    return n;
}

/* Keeps the descriptors of one recvmsg(); too many are closed and an error. */
static int take_fds(struct control_buf *b, struct msghdr *mh)
{
    int r = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        int n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + (size_t)i * sizeof(fd), sizeof(fd));
            if (b->nr_fds < CONTROL_MAX_FDS) {
                b->fds[b->nr_fds++] = fd;
            } else {
                close(fd);
                r = -EPROTO;
            }
        }
    }
    return mh->msg_flags & MSG_CTRUNC ? -EPROTO : r;
}

/* Reads towards `want` bytes in the buffer: 1 when they are there. */
static int fill(int sock, struct control_buf *b, size_t want)
{
    while (b->len < want) {
        union {
            char buf[CMSG_SPACE(sizeof(int) * CONTROL_MAX_FDS)];
            struct cmsghdr align;
        } control;
        struct iovec iov = {b->data + b->len, want - b->len};
        struct msghdr mh = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
        ssize_t n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        if (n == 0)
            return -ECONNRESET;
        b->len += (size_t)n;
        r = take_fds(b, &mh);
        if (r < 0)
            return r;
    }
    return 1;
}

int control_recv(int sock, struct control_buf *b)
{
    size_t size;
    int r = reserve(b, 4);

    if (r == 0)
        r = fill(sock, b, 4);
    if (r <= 0)
        return r;
    size = control_buf_size(b);
    if (size > CONTROL_MAX_MESSAGE)
        return -EMSGSIZE;
    r = reserve(b, size + 4);
    return r < 0 ? r : fill(sock, b, size + 4);
}

void control_buf_next(struct control_buf *b)
{
    close_fds(b);
    b->len = 0;
}

static int send_all(int sock, const uint8_t *data, size_t len, const int *fds, int nr_fds)
{
    union {
        char buf[CMSG_SPACE(sizeof(int) * CONTROL_MAX_FDS)];
        struct cmsghdr align;
    } control = {{0}};

    while (len > 0) {
        struct iovec iov = {(void *)data, len};
        struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;

        if (nr_fds > 0) {
            struct cmsghdr *c;
            mh.msg_control = control.buf;
            mh.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nr_fds);
            c = CMSG_FIRSTHDR(&mh);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nr_fds);
            memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)nr_fds);
        }
        n = sendmsg(sock, &mh, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
        nr_fds = 0;
    }
    return 0;
}

int control_send(int sock, const ProtobufCMessage *msg, const int *fds, int nr_fds)
{
    size_t size = protobuf_c_message_get_packed_size(msg);
    uint32_t prefix = (uint32_t)size;
    uint8_t *buf;
    int r;

    if (size > CONTROL_MAX_MESSAGE || nr_fds > CONTROL_MAX_FDS)
        return -EMSGSIZE;
    buf = malloc(size + 4);
    if (!buf)
        return -ENOMEM;
    memcpy(buf, &prefix, sizeof(prefix));
    protobuf_c_message_pack(msg, buf + 4);
    r = send_all(sock, buf, size + 4, fds, nr_fds);
    free(buf);
    return r;
}

static size_t count(const char **v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}

int control_process_pack(const struct spec_process *p, RunscC__Process *out)
{
    RunscC__Caps *caps = malloc(sizeof(*caps));
    RunscC__Rlimit *limits = calloc(p->nr_rlimits + 1, sizeof(*limits));
    RunscC__Rlimit **list = calloc(p->nr_rlimits + 1, sizeof(RunscC__Rlimit *));

    runsc_c__process__init(out);
    out->caps = caps;
    out->rlimits = list;
    if (!caps || !limits || !list) {
        free(limits);
        free(list);
        free(caps);
        return -ENOMEM;
    }
    list[0] = limits; /* also when there are none, for the free */
    out->n_argv = count(p->argv);
    out->argv = (char **)p->argv;
    out->n_envp = count(p->envp);
    out->envp = (char **)p->envp;
    out->cwd = (char *)(p->cwd ? p->cwd : "/");
    out->uid = p->uid;
    out->gid = p->gid;
    out->umask = p->umask;
    out->n_groups = p->nr_groups;
    out->groups = (uint32_t *)p->groups;
    runsc_c__caps__init(caps);
    caps->bounding = p->caps.bounding;
    caps->effective = p->caps.effective;
    caps->inheritable = p->caps.inheritable;
    caps->permitted = p->caps.permitted;
    caps->ambient = p->caps.ambient;
    out->n_rlimits = p->nr_rlimits;
    for (size_t i = 0; i < p->nr_rlimits; i++) {
        list[i] = &limits[i];
        runsc_c__rlimit__init(&limits[i]);
        limits[i].resource = (uint32_t)p->rlimits[i].resource;
        limits[i].soft = p->rlimits[i].soft;
        limits[i].hard = p->rlimits[i].hard;
    }
    out->no_new_privs = p->no_new_privs;
    out->terminal = p->terminal;
    out->rows = p->rows;
    out->cols = p->cols;
    out->oom_score_adj = p->oom_score_adj;
    out->nice = p->nice;
    out->sched_policy = p->sched_policy;
    out->sched_priority = p->sched_priority;
    out->ioprio = p->ioprio;
    out->personality = p->personality;
    out->n_cpus = p->bound ? SPEC_CPU_WORDS : 0;
    out->cpus = (uint64_t *)p->cpus;
    return 0;
}

void control_process_pack_free(RunscC__Process *p)
{
    free(p->caps);
    free(p->rlimits[0]);
    free(p->rlimits);
}

static const char **terminated(char **v, size_t n)
{
    const char **out = calloc(n + 1, sizeof(*out));

    if (out && n)
        memcpy(out, v, n * sizeof(*out));
    return out;
}

int control_process_unpack(const RunscC__Process *p, struct spec_process *out)
{
    struct spec_rlimit *limits = calloc(p->n_rlimits + 1, sizeof(*limits));

    *out = (struct spec_process){
        .argv = terminated(p->argv, p->n_argv),
        .envp = terminated(p->envp, p->n_envp),
        .cwd = p->cwd,
        .uid = p->uid,
        .gid = p->gid,
        .umask = p->umask,
        .groups = p->groups,
        .nr_groups = p->n_groups,
        .rlimits = limits,
        .nr_rlimits = p->n_rlimits,
        .no_new_privs = p->no_new_privs,
        .terminal = p->terminal,
        .rows = (unsigned short)p->rows,
        .cols = (unsigned short)p->cols,
        .oom_score_adj = p->oom_score_adj,
        .nice = p->nice,
        .sched_policy = p->sched_policy,
        .sched_priority = p->sched_priority,
        .ioprio = p->ioprio,
        .personality = p->personality,
        .bound = p->n_cpus > 0,
    };
    for (size_t i = 0; i < p->n_cpus && i < SPEC_CPU_WORDS; i++)
        out->cpus[i] = p->cpus[i];
    if (!out->argv || !out->envp || !limits || p->n_argv == 0) {
        control_process_unpack_free(out);
        return p->n_argv == 0 ? -EINVAL : -ENOMEM;
    }
    if (p->caps)
        out->caps = (struct spec_caps){p->caps->bounding, p->caps->effective, p->caps->inheritable, p->caps->permitted,
                                       p->caps->ambient};
    for (size_t i = 0; i < p->n_rlimits; i++)
        limits[i] = (struct spec_rlimit){(int)p->rlimits[i]->resource, p->rlimits[i]->soft, p->rlimits[i]->hard};
    return 0;
}

void control_process_unpack_free(struct spec_process *p)
{
    free(p->argv);
    free(p->envp);
    free((void *)p->rlimits);
}
