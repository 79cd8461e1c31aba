/* AF_UNIX stream sockets: names, connecting, bytes, ends. */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static struct sockaddr_un name_of(const char *s, socklen_t *len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    /* '@' begins an abstract name. */
    memcpy(a.sun_path, s, strlen(s));
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(s) + (s[0] != '@'));
    if (s[0] == '@')
        a.sun_path[0] = 0;
    return a;
}

static int bind_name(int fd, const char *s)
{
    socklen_t len;
    struct sockaddr_un a = name_of(s, &len);

    return bind(fd, (void *)&a, len);
}

static int connect_name(int fd, const char *s)
{
    socklen_t len;
    struct sockaddr_un a = name_of(s, &len);

    return connect(fd, (void *)&a, len);
}

static int make_socket(int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);

    CHECK_OK(fd);
    return fd;
}

static short ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST(a_pair_talks)
{
    char buf[16] = "";
    int s[2], n;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "hello", 5), 5);
    CHECK_EQ(send(s[0], ", world", 7, 0), 7);
    CHECK_EQ(ioctl(s[1], FIONREAD, &n), 0);
    CHECK_EQ(n, 12);
    CHECK_EQ(recv(s[1], buf, 3, MSG_PEEK), 3);
    CHECK_EQ(recv(s[1], buf, sizeof(buf), MSG_PEEK), 12);
    CHECK_EQ(read(s[1], buf, 3), 3);
    CHECK_EQ(read(s[1], buf, sizeof(buf)), 9);
    CHECK(memcmp(buf, "lo, world", 9) == 0);
    CHECK_ERR(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(send(s[0], buf, 0, 0), 0);
    CHECK_ERR(recv(s[1], buf, 1, MSG_DONTWAIT), EAGAIN);
    close(s[0]);
    close(s[1]);
}

TEST(abstract_names)
{
    struct sockaddr_un a;
    socklen_t len = sizeof(a);
    int l = make_socket(0), c = make_socket(0), d = make_socket(0), conn;

    CHECK_ERR(connect_name(c, "@guest-none"), ECONNREFUSED);
    CHECK_OK(bind_name(l, "@guest-abstract"));
    CHECK_ERR(bind_name(d, "@guest-abstract"), EADDRINUSE);
    CHECK_ERR(bind_name(l, "@guest-other"), EINVAL);
    CHECK_ERR(connect_name(c, "@guest-abstract"), ECONNREFUSED);
    CHECK_OK(listen(l, 5));
    CHECK_OK(connect_name(c, "@guest-abstract"));
    CHECK_ERR(connect_name(c, "@guest-abstract"), EISCONN);
    CHECK_EQ(ready(l, POLLIN), POLLIN);
    conn = accept(l, (void *)&a, &len);
    CHECK_OK(conn);
    CHECK_EQ(len, 2);
    len = sizeof(a);
    CHECK_OK(getpeername(c, (void *)&a, &len));
    CHECK_EQ(len, 2 + 15);
    CHECK(memcmp(a.sun_path, "\0guest-abstract", 15) == 0);
    close(l);
    CHECK_OK(bind_name(d, "@guest-abstract"));
    close(c);
    close(d);
    close(conn);
}

TEST(path_names)
{
    struct sockaddr_un a;
    socklen_t len = sizeof(a);
    char path[64];
    struct stat st;
    int l = make_socket(0), c = make_socket(0), d = socket(AF_UNIX, SOCK_DGRAM, 0), file;

    snprintf(path, sizeof(path), "/tmp/guest-unix-%d", getpid());
    unlink(path);
    CHECK_ERR(connect_name(c, path), ENOENT);
    CHECK_OK(bind_name(l, path));
    CHECK_OK(stat(path, &st));
    CHECK(S_ISSOCK(st.st_mode));
    CHECK_ERR(open(path, O_RDWR), ENXIO);
    CHECK_ERR(bind_name(c, path), EADDRINUSE);
    CHECK_ERR(connect_name(c, path), ECONNREFUSED);
    CHECK_OK(listen(l, 1));
    CHECK_ERR(connect_name(d, path), EPROTOTYPE);
    CHECK_OK(connect_name(c, path));
    CHECK_OK(getsockname(l, (void *)&a, &len));
    CHECK_EQ(len, offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    CHECK_STR(a.sun_path, path);
    close(c);
    close(l);
    c = make_socket(0);
    CHECK_ERR(connect_name(c, path), ECONNREFUSED);
    unlink(path);
    file = open(path, O_CREAT | O_RDWR, 0600);
    CHECK_ERR(connect_name(c, path), ECONNREFUSED);
    close(file);
    unlink(path);
    close(c);
    close(d);
}

TEST(autobind_makes_a_name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(a);
    int fd = make_socket(0);

    CHECK_OK(bind(fd, (void *)&a, sizeof(sa_family_t)));
    CHECK_OK(getsockname(fd, (void *)&a, &len));
    CHECK_EQ(len, 2 + 6);
    CHECK_EQ(a.sun_path[0], 0);
    close(fd);
}

TEST(argument_errors)
{
    struct sockaddr_un a = {.sun_family = AF_INET};
    socklen_t len = sizeof(a);
    char c = 0;
    int fd = make_socket(0), s[2];

    CHECK_ERR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_ERR(socket(AF_UNIX, SOCK_STREAM, 9), EPROTONOSUPPORT);
    CHECK_ERR(socket(9999, SOCK_STREAM, 0), EAFNOSUPPORT);
    CHECK_ERR(socket(AF_UNIX, 1000, 0), EINVAL);
    CHECK_ERR(bind(fd, (void *)&a, len), EINVAL);
    CHECK_ERR(bind(fd, (void *)&a, 200), EINVAL);
    CHECK_ERR(listen(fd, 1), EINVAL);
    CHECK_ERR(accept(fd, NULL, NULL), EINVAL);
    CHECK_ERR(send(fd, &c, 1, MSG_NOSIGNAL), ENOTCONN);
    CHECK_ERR(recv(fd, &c, 1, 0), EINVAL);
    CHECK_ERR(getpeername(fd, (void *)&a, &len), ENOTCONN);
    CHECK_ERR(shutdown(fd, 7), EINVAL);
    CHECK_ERR(listen(0, 1) == -1 && errno == ENOTSOCK ? -1 : 0, ENOTSOCK);
    CHECK_ERR(bind(-1, (void *)&a, 2), EBADF);
    CHECK_EQ(ready(fd, POLLIN | POLLOUT), POLLOUT | POLLHUP);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_ERR(sendto(s[0], &c, 1, 0, (void *)&a, sizeof(a)), EISCONN);
    close(fd);
    close(s[0]);
    close(s[1]);
}

TEST(shutdown_halves)
{
    char c;
    int s[2];

    signal(SIGPIPE, SIG_IGN);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "a", 1), 1);
    CHECK_OK(shutdown(s[0], SHUT_WR));
    CHECK_ERR(write(s[0], "b", 1), EPIPE);
    CHECK_EQ(ready(s[1], POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
    CHECK_EQ(read(s[1], &c, 1), 1);
    CHECK_EQ(read(s[1], &c, 1), 0);
    CHECK_EQ(write(s[1], "c", 1), 1);
    CHECK_EQ(read(s[0], &c, 1), 1);
    CHECK_OK(shutdown(s[1], SHUT_WR));
    CHECK_EQ(ready(s[1], POLLIN | POLLOUT | POLLRDHUP) & POLLHUP, POLLHUP);
    CHECK_EQ(read(s[0], &c, 1), 0);
    close(s[0]);
    close(s[1]);
    signal(SIGPIPE, SIG_DFL);
}

TEST(closing_with_unread_data_resets)
{
    char c;
    int s[2];

    signal(SIGPIPE, SIG_IGN);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "abc", 3), 3);
    CHECK_EQ(write(s[1], "x", 1), 1);
    close(s[1]);
    CHECK_EQ(ready(s[0], POLLIN) & (POLLIN | POLLERR | POLLHUP), POLLIN | POLLERR | POLLHUP);
    CHECK_EQ(read(s[0], &c, 1), 1);
    CHECK_ERR(read(s[0], &c, 1), ECONNRESET);
    CHECK_EQ(read(s[0], &c, 1), 0);
    CHECK_ERR(write(s[0], &c, 1), EPIPE);
    close(s[0]);
    signal(SIGPIPE, SIG_DFL);
}

TEST(closing_the_listener_resets_waiting_clients)
{
    char c;
    int l = make_socket(0), k = make_socket(0);

    CHECK_OK(bind_name(l, "@guest-closing"));
    CHECK_OK(listen(l, 1));
    CHECK_OK(connect_name(k, "@guest-closing"));
    close(l);
    CHECK_ERR(read(k, &c, 1), ECONNRESET);
    close(k);
}

TEST(backlog_is_limited)
{
    int l = make_socket(0), c[3];

    CHECK_OK(bind_name(l, "@guest-backlog"));
    CHECK_OK(listen(l, 1));
    for (int i = 0; i < 3; i++)
        c[i] = make_socket(SOCK_NONBLOCK);
    CHECK_OK(connect_name(c[0], "@guest-backlog"));
    CHECK_OK(connect_name(c[1], "@guest-backlog"));
    CHECK_ERR(connect_name(c[2], "@guest-backlog"), EAGAIN);
    close(accept(l, NULL, NULL));
    CHECK_OK(connect_name(c[2], "@guest-backlog"));
    for (int i = 0; i < 3; i++)
        close(c[i]);
    close(l);
}

static void *accept_later(void *arg)
{
    usleep(50000);
    return (void *)(intptr_t)accept(*(int *)arg, NULL, NULL);
}

TEST(a_blocking_connect_waits_for_the_backlog)
{
    int l = make_socket(0), c[3];
    pthread_t th;
    void *conn;

    CHECK_OK(bind_name(l, "@guest-backlog2"));
    CHECK_OK(listen(l, 0));
    c[0] = make_socket(0);
    c[1] = make_socket(0);
    CHECK_OK(connect_name(c[0], "@guest-backlog2"));
    pthread_create(&th, NULL, accept_later, &l);
    CHECK_OK(connect_name(c[1], "@guest-backlog2"));
    pthread_join(th, &conn);
    CHECK((intptr_t)conn >= 0);
    close((int)(intptr_t)conn);
    close(c[0]);
    close(c[1]);
    close(l);
}

TEST(receive_timeout)
{
    struct timeval tv = {.tv_usec = 50000}, got;
    socklen_t len = sizeof(got);
    struct timespec a, b;
    char c;
    int s[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    CHECK_OK(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len));
    CHECK_EQ(got.tv_usec / 10000, 5);
    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_ERR(recv(s[0], &c, 1, 0), EAGAIN);
    CHECK_ERR(read(s[0], &c, 1), EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &b);
    CHECK((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 95);
    close(s[0]);
    close(s[1]);
}

TEST(send_buffer_fills)
{
    static char buf[65536];
    int s[2], v = 0;
    socklen_t len = sizeof(v);
    ssize_t n, total = 0, got = 0;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    CHECK_OK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &len));
    CHECK(v >= 4608);
    while ((n = write(s[0], buf, sizeof(buf))) > 0)
        total += n;
    CHECK_EQ(errno, EAGAIN);
    CHECK(total > 50000);
    CHECK_EQ(ready(s[0], POLLOUT), 0);
    CHECK_EQ(ioctl(s[0], SIOCOUTQ, &v), 0);
    CHECK(v >= 50000);
    while ((n = read(s[1], buf, sizeof(buf))) > 0)
        got += n;
    CHECK_EQ(got, total);
    CHECK_EQ(ready(s[0], POLLOUT), POLLOUT);
    CHECK_EQ(ioctl(s[0], SIOCOUTQ, &v), 0);
    CHECK_EQ(v, 0);
    v = 10000;
    CHECK_OK(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
    CHECK_OK(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, &len));
    CHECK_EQ(v, 20000);
    close(s[0]);
    close(s[1]);
}

static void *write_parts(void *arg)
{
    int fd = *(int *)arg;

    for (int i = 0; i < 5; i++) {
        usleep(10000);
        if (write(fd, "0123456789", 10) != 10)
            abort();
    }
    return NULL;
}

TEST(waitall_waits_for_all)
{
    char buf[50];
    pthread_t th;
    int s[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pthread_create(&th, NULL, write_parts, &s[0]);
    CHECK_EQ(recv(s[1], buf, 50, MSG_WAITALL), 50);
    pthread_join(th, NULL);
    close(s[0]);
    close(s[1]);
}

static void *pump(void *arg)
{
    int fd = *(int *)arg;
    static char buf[100000];

    for (int i = 0; i < 100; i++) {
        memset(buf, i, sizeof(buf));
        if (write(fd, buf, sizeof(buf)) != sizeof(buf))
            abort();
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

TEST(ten_megabytes_arrive_in_order)
{
    char buf[30000];
    size_t at = 0;
    pthread_t th;
    ssize_t n;
    int s[2];

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pthread_create(&th, NULL, pump, &s[0]);
    while ((n = read(s[1], buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < n; i++, at++)
            CHECK_EQ(buf[i], (char)(at / 100000));
    CHECK_EQ(at, 100 * 100000);
    pthread_join(th, NULL);
    close(s[0]);
    close(s[1]);
}

TEST(sigpipe_unless_told_otherwise)
{
    int s[2], st;
    pid_t pid;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    close(s[1]);
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    pid = fork();
    if (pid == 0) {
        send(s[0], "x", 1, 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGPIPE);
    close(s[0]);
}

TEST(options_read_back)
{
    int fd = make_socket(0), v, on = 1;
    socklen_t len = sizeof(v);

    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len));
    CHECK_EQ(v, SOCK_STREAM);
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len));
    CHECK_EQ(v, AF_UNIX);
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &v, &len));
    CHECK_EQ(v, 0);
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len));
    CHECK_EQ(v, 0);
    CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_PASSCRED, &v, &len));
    CHECK_EQ(v, 1);
    CHECK_ERR(getsockopt(fd, SOL_SOCKET, 9999, &v, &len), ENOPROTOOPT);
    CHECK_ERR(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, 1), EINVAL);
    CHECK_ERR(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, NULL, 4), EFAULT);
    close(fd);
}

TEST_MAIN()
