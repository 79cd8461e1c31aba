/* Into a container's network namespace and back with what was there, and how it gets to the sentry. */
#include "cmd/runsc-c/network/internal.h"
#include "sentry/boot/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct net_config *empty_config(void)
{
    struct net_config *c = malloc(sizeof(*c));

    if (c)
        net_config_init(c);
    return c;
}

/* Whether two names lead to one namespace. */
static bool same_namespace(const struct stat *a, const char *b)
{
    struct stat st;

    return stat(b, &st) == 0 && a->st_dev == st.st_dev && a->st_ino == st.st_ino;
}

int network_check(const struct container_spec *s, struct error *e)
{
    struct stat st;

    if (s->network != SPEC_NETWORK_SANDBOX || !s->netns.path)
        return 0;
    if (stat(s->netns.path, &st) < 0)
        return error_set(e, errno, "network namespace %s", s->netns.path);
    if (same_namespace(&st, "/proc/self/ns/net") || same_namespace(&st, "/proc/1/ns/net"))
        return error_set(e, 0,
                         "the container is to have the host's own network, which takes the runtime's flag --network=host");
    return 0;
}

static int take_inside(int netns_fd, struct net_config *c, const struct network_record *rec, struct error *e)
{
    int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), r;

    if (here < 0)
        return error_set(e, errno, "/proc/self/ns/net");
    if (setns(netns_fd, CLONE_NEWNET) < 0) {
        r = error_set(e, errno, "entering the network namespace");
    } else {
        r = network_take_here(c, rec, e);
        if (setns(here, CLONE_NEWNET) < 0 && r == 0)
            r = error_set(e, errno, "leaving the network namespace");
    }
    close(here);
    return r;
}

/* Without an interface there may still be settings. */
static bool says_something(const struct net_config *c)
{
    return c->nr_ifs > 0 || c->disable6 || c->lo_disable6;
}

int network_take(const char *path, pid_t pid, int state_fd, struct net_config **out, struct error *e)
{
    bool named = path && path[0];
    struct network_record rec = {.state_fd = named ? state_fd : -1, .path = path};
    char buf[64];
    int fd, r;

    *out = NULL;
    snprintf(buf, sizeof(buf), "/proc/%d/ns/net", (int)pid);
    fd = open(named ? path : buf, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(e, errno, "network namespace %s", named ? path : buf);
    *out = empty_config();
    r = *out ? take_inside(fd, *out, &rec, e) : error_set(e, ENOMEM, "network");
    close(fd);
    /* Who may not enter a new namespace could not have put anything into it either. */
    if (r == 0 ? says_something(*out) : (named || r != -EPERM))
        return r < 0 ? (network_free(*out), *out = NULL, error_prefix(e, r, "network")) : 0;
    network_free(*out);
    *out = NULL;
    return 0;
}

void network_free(struct net_config *c)
{
    int *fds[NET_CONFIG_FDS];
    int n = c ? net_config_fds(c, fds) : 0;

    for (int i = 0; i < n; i++)
        close(*fds[i]);
    free(c);
}

union control {
    char buf[CMSG_SPACE(sizeof(int) * NET_CONFIG_FDS)];
    struct cmsghdr align;
};

int network_send(int sock, const char *path, pid_t pid, int state_fd, struct error *e)
{
    struct net_config *c, none;
    int *fds[NET_CONFIG_FDS], r = network_take(path, pid, state_fd, &c, e), n;
    struct iovec iov = {c ? c : &none, sizeof(none)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    union control control = {{0}};

    if (r < 0)
        return r;
    net_config_init(&none);
    n = net_config_fds(c ? c : &none, fds);
    if (n > 0) {
        struct cmsghdr *h;

        mh.msg_control = control.buf;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
        h = CMSG_FIRSTHDR(&mh);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
        for (int i = 0; i < n; i++)
            memcpy(CMSG_DATA(h) + sizeof(int) * (size_t)i, fds[i], sizeof(int));
    }
    if (sendmsg(sock, &mh, MSG_NOSIGNAL) < 0)
        r = error_set(e, errno, "handing over the network");
    network_free(c);
    return r;
}

int network_receive(int sock, struct net_config **out, struct error *e)
{
    struct net_config *c = empty_config();
    struct iovec iov = {c, sizeof(*c)};
    union control control;
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    struct cmsghdr *h;
    int *fds[NET_CONFIG_FDS], n;

    *out = NULL;
    if (!c)
        return error_set(e, ENOMEM, "network");
    if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*c)) {
        free(c);
        return error_set(e, 0, "whoever started the sandbox has died");
    }
    close(sock);
    n = net_config_fds(c, fds);
    h = CMSG_FIRSTHDR(&mh);
    for (int i = 0; h && i < n; i++)
        memcpy(fds[i], CMSG_DATA(h) + sizeof(int) * (size_t)i, sizeof(int));
    *out = c;
    return 0;
}
