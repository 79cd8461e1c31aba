/* SCM_CREDENTIALS, SO_PASSCRED, SO_PEERCRED, SO_PEERGROUPS. */
#include "guest_test.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/wait.h>

static ssize_t send_cred(int s, const struct ucred *c)
{
    union {
        char buf[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } u = {0};
    char b = 'x';
    struct iovec iov = {&b, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);

    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_CREDENTIALS;
    h->cmsg_len = CMSG_LEN(sizeof(*c));
    memcpy(CMSG_DATA(h), c, sizeof(*c));
    return sendmsg(s, &m, 0);
}

static bool recv_cred(int s, struct ucred *c)
{
    union {
        char buf[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } u = {0};
    char b[16];
    struct iovec iov = {b, sizeof(b)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf)};
    struct cmsghdr *h;

    CHECK(recvmsg(s, &m, 0) > 0);
    h = CMSG_FIRSTHDR(&m);
    if (!h || h->cmsg_type != SCM_CREDENTIALS)
        return false;
    memcpy(c, CMSG_DATA(h), sizeof(*c));
    return true;
}

TEST(passcred_tells_who_sent)
{
    struct ucred c = {0};
    int s[2], on = 1, st;
    pid_t pid;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "x", 1), 1);
    CHECK(!recv_cred(s[1], &c));
    CHECK_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    pid = fork();
    if (pid == 0)
        _exit(write(s[0], "x", 1) != 1);
    CHECK(recv_cred(s[1], &c));
    CHECK_EQ(c.pid, pid);
    CHECK_EQ(c.uid, getuid());
    CHECK_EQ(c.gid, getgid());
    waitpid(pid, &st, 0);
    close(s[0]);
    close(s[1]);
}

TEST(explicit_credentials)
{
    struct ucred c = {.pid = getpid(), .uid = getuid(), .gid = getgid()}, got, lie = c;
    int s[2], on = 1, st;
    pid_t pid;

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    CHECK_EQ(send_cred(s[0], &c), 1);
    CHECK(recv_cred(s[1], &got));
    CHECK(memcmp(&got, &c, sizeof(c)) == 0);
    pid = fork();
    if (pid == 0) {
        if (getuid() == 0 && (setgroups(0, NULL) || setgid(4242) || setuid(4242)))
            _exit(2);
        lie.pid = getpid();
        lie.uid = 1;
        lie.gid = getgid();
        if (send_cred(s[0], &lie) != -1 || errno != EPERM)
            _exit(3);
        lie.uid = getuid();
        lie.pid = 1;
        if (send_cred(s[0], &lie) != -1 || errno != EPERM)
            _exit(4);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK_EQ(st, 0);
    close(s[0]);
    close(s[1]);
}

TEST(bytes_of_different_senders_are_not_joined)
{
    char buf[16];
    int s[2], on = 1, st;
    pid_t pid;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    CHECK_EQ(write(s[0], "aa", 2), 2);
    CHECK_EQ(write(s[0], "aa", 2), 2);
    pid = fork();
    if (pid == 0)
        _exit(write(s[0], "bb", 2) != 2);
    waitpid(pid, &st, 0);
    CHECK_EQ(recv(s[1], buf, sizeof(buf), 0), 4);
    CHECK_EQ(recv(s[1], buf, sizeof(buf), 0), 2);
    close(s[0]);
    close(s[1]);
}

TEST(peer_credentials)
{
    struct ucred c = {0};
    socklen_t len = sizeof(c);
    gid_t groups[64];
    int s[2], fd = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len));
    CHECK_EQ(c.pid, 0);
    CHECK_EQ(c.uid, (uid_t)-1);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &c, &len));
    CHECK_EQ(c.pid, getpid());
    CHECK_EQ(c.uid, geteuid());
    len = sizeof(groups);
    CHECK_OK(getsockopt(s[0], SOL_SOCKET, 59 /* SO_PEERGROUPS */, groups, &len));
    CHECK_EQ(len, (size_t)getgroups(0, NULL) * sizeof(gid_t));
    close(fd);
    close(s[0]);
    close(s[1]);
}

TEST_MAIN()
