/*
 * The broker of --network=host: a small process in the container's network namespace that makes sockets for a sentry that may
 * make none, and binds them to privileged ports where the container has the capability for that. It holds nothing but its end
 * of a socket pair and the tables of /proc/net, has of capabilities the two that it is for, and ends when the sentry does, upon
 * the end of the file. What the sentry could ask for if it were taken over is what the filter says (BROKER in filter_gen.c).
 */
#include "cmd/runsc-c/network/internal.h"
#include "lib/compiler.h"
#include "sentry/boot/net_broker.h"
#include "sentry/boot/spec.h"
#include "sentry/host/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the broker tells the command when it is ready, or has failed. */
struct ready {
    int result;
    pid_t pid;
    struct error error;
};

#define HELLO_FDS (NET_BROKER_NR_FILES + 1)

union control {
    char buf[CMSG_SPACE(sizeof(int) * HELLO_FDS)];
    struct cmsghdr align;
};

static int send_with_fds(int sock, const void *data, size_t len, const int *fds, size_t n)
{
    struct iovec iov = {(void *)data, len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    union control control = {{0}};
    struct cmsghdr *h;

    if (n > 0) {
        mh.msg_control = control.buf;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        h = CMSG_FIRSTHDR(&mh);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(h), fds, sizeof(int) * n);
    }
    return sendmsg(sock, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* --- serving --- */

static int make_socket(const struct net_broker_request *q)
{
    int fd = socket(q->family, q->type | SOCK_NONBLOCK | SOCK_CLOEXEC, q->protocol);

    return fd < 0 ? -errno : fd;
}

/* What the filter lets through: anything else would end us. */
static bool may_make(const struct net_broker_request *q)
{
    static const int kinds[][3] = {
#define X(family, type, protocol) {family, type, protocol},
#include "sentry/host/socket_kinds.def"
#undef X
    };

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (q->family == kinds[i][0] && q->type == kinds[i][1] && q->protocol == kinds[i][2])
            return true;
    return false;
}

/* An address of the Internet's: a name of another family might be a path. */
static int bind_to(int fd, const struct net_broker_request *q)
{
    sa_family_t family;

    if (fd < 0 || q->addr_len < sizeof(family) || q->addr_len > sizeof(q->addr))
        return -EINVAL;
    memcpy(&family, q->addr, sizeof(family));
    if (family != AF_INET && family != AF_INET6)
        return -EAFNOSUPPORT;
    return bind(fd, (const struct sockaddr *)q->addr, q->addr_len) < 0 ? -errno : 0;
}

/* A request, and the descriptor that came with it or -1. False: the sentry has gone. */
static bool receive(int sock, struct net_broker_request *q, int *fd)
{
    struct iovec iov = {q, sizeof(*q)};
    union control control;
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = CMSG_SPACE(sizeof(int))};
    struct cmsghdr *h;
    ssize_t n;

    do
        n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    *fd = -1;
    if (n != (ssize_t)sizeof(*q))
        return false;
    h = CMSG_FIRSTHDR(&mh);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(h), sizeof(*fd));
    return true;
}

static void serve(int sock)
{
    struct net_broker_request q;
    int with;

    while (receive(sock, &q, &with)) {
        struct net_broker_reply reply = {.result = -EINVAL};
        int made = -1;

        if (q.what == NET_BROKER_SOCKET && may_make(&q))
            reply.result = made = make_socket(&q);
        else if (q.what == NET_BROKER_BIND)
            reply.result = bind_to(with, &q);
        if (made >= 0)
            reply.result = 0;
        if (send_with_fds(sock, &reply, sizeof(reply), &made, made >= 0) < 0)
            break;
        if (made >= 0)
            close(made);
        if (with >= 0)
            close(with);
    }
}

/* --- getting there --- */

static int join_namespaces(int net, int user, struct error *e)
{
    if (net < 0 || setns(net, CLONE_NEWNET) == 0)
        return 0;
    /* A user's sandbox has its network namespace in its user namespace, in which we are root. */
    if (errno == EPERM && user >= 0 && setns(user, CLONE_NEWUSER) == 0 && setns(net, CLONE_NEWNET) == 0)
        return 0;
    return error_set(e, errno, "entering the network namespace");
}

static int open_netns(const struct container_spec *s, pid_t sentry, int *net, int *user, struct error *e)
{
    char path[64];

    *net = *user = -1;
    if (!s->netns.given)
        return 0; /* the host's, in which we are */
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)sentry);
    *net = open(s->netns.path ? s->netns.path : path, O_RDONLY | O_CLOEXEC);
    if (*net < 0)
        return error_set(e, errno, "network namespace %s", s->netns.path ? s->netns.path : path);
    if (!s->netns.path) {
        snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)sentry);
        *user = open(path, O_RDONLY | O_CLOEXEC);
    }
    return 0;
}

/* A new namespace's loopback is down, and it is the runtime's to change that. */
static int loopback_up(struct error *e)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) < 0)
        ret = error_set(e, errno, "loopback interface");
    if (fd >= 0)
        close(fd);
    return ret;
}

/* One of the spec's settings of the namespace. Names have dots, or slashes where a part of theirs has a dot. */
static int write_setting(const struct spec_sysctl *s, struct error *e)
{
    char path[256];
    int fd, r = 0;

    if (snprintf(path, sizeof(path), "/proc/sys/%s", s->name) >= (int)sizeof(path) || strstr(s->name, ".."))
        return error_set(e, EINVAL, "sysctl %s", s->name);
    for (char *p = path + strlen("/proc/sys/"); !strchr(s->name, '/') && *p; p++)
        if (*p == '.')
            *p = '/';
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || write(fd, s->value, strlen(s->value)) < 0)
        r = error_set(e, errno, "sysctl %s", s->name);
    if (fd >= 0)
        close(fd);
    return r;
}

/* The container's settings that are its network's are the namespace's; as with runc, a container on the host's has none. */
static int apply_settings(const struct container_spec *s, bool own, struct error *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->nr_sysctls; i++) {
        if (strncmp(s->sysctls[i].name, "net", 3) != 0 || !strchr("./", s->sysctls[i].name[3]))
            continue;
        r = own ? write_setting(&s->sysctls[i], e)
                : error_set(e, 0, "sysctl %s is not allowed in the host's network namespace", s->sysctls[i].name);
    }
    return r;
}

static void read_numbers(const char *path, int32_t *v, int n)
{
    FILE *f = fopen(path, "re");

    for (int i = 0; f && i < n; i++)
        if (fscanf(f, "%d", &v[i]) != 1)
            break;
    if (f)
        fclose(f);
}

/* Opens what the sentry is greeted with; the number of descriptors. */
static int collect(struct net_broker_hello *hello, int fds[HELLO_FDS], struct error *e)
{
    int32_t ports[2] = {32768, 60999};
    char path[64];
    int n = 0;

    *hello = (struct net_broker_hello){.size = sizeof(*hello), .unprivileged_port = 1024, .somaxconn = 4096};
    read_numbers("/proc/sys/net/ipv4/ip_local_port_range", ports, 2);
    hello->port_min = ports[0];
    hello->port_max = ports[1];
    read_numbers("/proc/sys/net/ipv4/ip_unprivileged_port_start", &hello->unprivileged_port, 1);
    read_numbers("/proc/sys/net/core/somaxconn", &hello->somaxconn, 1);
    fds[n] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[n] < 0)
        return error_set(e, errno, "socket");
    n++;
    for (size_t i = 0; i < NET_BROKER_NR_FILES; i++) {
        snprintf(path, sizeof(path), "/proc/self/net/%s", net_broker_files[i]);
        fds[n] = open(path, O_RDONLY | O_CLOEXEC);
        if (fds[n] >= 0) {
            hello->files |= 1U << i;
            n++;
        }
    }
    return n;
}

/* Capabilities, core dumps, other descriptors, other calls. */
static int shed(int sock, const struct container_spec *s, struct error *e)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2], keep[2] = {{0}};
    uint64_t wanted = s->process.caps.bounding & ((1ULL << CAP_NET_BIND_SERVICE) | (1ULL << CAP_NET_RAW));

    if (syscall(SYS_capget, &header, now) < 0)
        return error_set(e, errno, "capabilities");
    keep[0].effective = keep[0].permitted = now[0].permitted & (uint32_t)wanted;
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || syscall(SYS_capset, &header, keep) < 0)
        return error_set(e, errno, "capabilities");
    if (close_range(3, (unsigned int)sock - 1, 0) < 0 || close_range((unsigned int)sock + 1, ~0U, 0) < 0)
        return error_set(e, errno, "descriptors");
    return host_filter_install("broker", false, NULL);
}

static _Noreturn void broker(int sock, int ready_fd, const struct container_spec *s, int net, int user)
{
    struct ready ready = {.pid = getpid()};
    struct net_broker_hello hello;
    int fds[HELLO_FDS], n = 0, lock = -1, null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    prctl(PR_SET_NAME, "runsc-c-net");
    ready.result = join_namespaces(net, user, &ready.error);
    /* Interfaces that a sandbox's stack has are of no use to the host's. */
    if (ready.result == 0 && net >= 0)
        ready.result = lock = network_lock(&ready.error);
    if (lock >= 0)
        close(lock);
    if (ready.result >= 0 && net >= 0 && !s->netns.path)
        ready.result = loopback_up(&ready.error);
    if (ready.result >= 0)
        ready.result = apply_settings(s, net >= 0, &ready.error);
    if (ready.result >= 0)
        ready.result = n = collect(&hello, fds, &ready.error);
    if (ready.result >= 0)
        ready.result = send_with_fds(sock, &hello, sizeof(hello), fds, (size_t)n);
    if (write(ready_fd, &ready, sizeof(ready)) != (ssize_t)sizeof(ready) || ready.result < 0)
        _exit(1);
    for (int i = 0; i < 3; i++)
        dup2(null_fd, i);
    if (shed(sock, s, &ready.error) < 0)
        _exit(1);
    serve(sock);
    _exit(0);
}

int network_broker_start(int sock, const struct container_spec *s, pid_t sentry, pid_t *pid, struct error *e)
{
    struct ready ready = {.pid = 0};
    int net, user, p[2], r = open_netns(s, sentry, &net, &user, e);
    pid_t child = -1;

    if (r < 0)
        return r;
    if (pipe2(p, O_CLOEXEC) < 0)
        return error_set(e, errno, "pipe");
    /* Not our child, for we do not wait for it. */
    child = fork();
    if (child == 0) {
        if (fork() == 0)
            broker(sock, p[1], s, net, user);
        _exit(0);
    }
    r = child < 0 ? error_set(e, errno, "fork") : 0;
    close(p[1]);
    if (child > 0) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
        if (read(p[0], &ready, sizeof(ready)) != (ssize_t)sizeof(ready))
            r = error_set(e, 0, "the process that is to make the container's sockets has died");
        else if (ready.result < 0)
            r = (*e = ready.error, ready.result);
    }
    close(p[0]);
    if (net >= 0)
        close(net);
    if (user >= 0)
        close(user);
    *pid = ready.pid;
    return r;
}
