/* splice, tee, vmsplice, copy_file_range. */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int temp_file(const char *contents)
{
    char name[] = "/tmp/guest-splice-XXXXXX";
    int fd = mkstemp(name);

    CHECK_OK(fd);
    unlink(name);
    CHECK_EQ(write(fd, contents, strlen(contents)), strlen(contents));
    lseek(fd, 0, SEEK_SET);
    return fd;
}

TEST(file_to_pipe_to_file)
{
    int in = temp_file("hello, world"), out = temp_file(""), p[2];
    char buf[32] = "";
    loff_t off = 7;

    CHECK_OK(pipe(p));
    CHECK_EQ(splice(in, &off, p[1], NULL, 100, 0), 5);
    CHECK_EQ(off, 12);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 0);
    CHECK_EQ(splice(in, NULL, p[1], NULL, 5, 0), 5);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 5);
    off = 2;
    CHECK_EQ(splice(p[0], NULL, out, &off, 8, 0), 8);
    CHECK_EQ(off, 10);
    CHECK_EQ(pread(out, buf, sizeof(buf), 2), 8);
    CHECK_STR(buf, "worldhel");
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 2);
    close(in);
    close(out);
    close(p[0]);
    close(p[1]);
}

TEST(splice_errors)
{
    int f = temp_file("abc"), p[2], q[2], app, ev = eventfd(0, 0);
    loff_t off = 0, neg = -1;

    CHECK_OK(pipe(p));
    CHECK_OK(pipe(q));
    CHECK_ERR(splice(f, NULL, f, NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(-1, NULL, p[1], NULL, 1, 0), EBADF);
    CHECK_ERR(splice(f, NULL, p[0], NULL, 1, 0), EBADF);
    CHECK_ERR(splice(p[1], NULL, f, NULL, 1, 0), EBADF);
    CHECK_ERR(splice(p[0], &off, f, NULL, 1, 0), ESPIPE);
    CHECK_ERR(splice(f, NULL, p[1], &off, 1, 0), ESPIPE);
    CHECK_ERR(splice(f, &neg, p[1], NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(p[0], NULL, p[1], NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(p[0], NULL, ev, NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(p[0], NULL, q[1], NULL, 1, 0x100), EINVAL);
    CHECK_EQ(splice(p[0], NULL, q[1], NULL, 0, 0), 0);
    CHECK_ERR(splice(p[0], NULL, q[1], NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_OK(fcntl(f, F_SETFL, O_APPEND));
    CHECK_EQ(write(p[1], "x", 1), 1);
    CHECK_ERR(splice(p[0], NULL, f, NULL, 1, 0), EINVAL);
    app = open("/tmp", O_RDONLY);
    CHECK_ERR(splice(app, NULL, p[1], NULL, 1, 0), EINVAL);
    close(app);
    close(f);
    close(ev);
    close(p[0]);
    close(p[1]);
    close(q[0]);
    close(q[1]);
}

TEST(pipe_to_pipe_moves)
{
    char buf[32] = "";
    int p[2], q[2];

    CHECK_OK(pipe(p));
    CHECK_OK(pipe(q));
    CHECK_EQ(write(p[1], "abcdef", 6), 6);
    CHECK_EQ(splice(p[0], NULL, q[1], NULL, 4, 0), 4);
    CHECK_EQ(read(q[0], buf, sizeof(buf)), 4);
    CHECK_STR(buf, "abcd");
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 2);
    close(p[1]);
    CHECK_EQ(splice(p[0], NULL, q[1], NULL, 4, 0), 0);
    close(p[0]);
    close(q[0]);
    close(q[1]);
}

TEST(tee_copies)
{
    char a[32] = "", b[32] = "";
    int p[2], q[2];

    CHECK_OK(pipe(p));
    CHECK_OK(pipe(q));
    CHECK_EQ(write(p[1], "abcdef", 6), 6);
    CHECK_EQ(tee(p[0], q[1], 100, 0), 6);
    CHECK_EQ(read(p[0], a, sizeof(a)), 6);
    CHECK_EQ(read(q[0], b, sizeof(b)), 6);
    CHECK_STR(a, "abcdef");
    CHECK_STR(b, "abcdef");
    CHECK_ERR(tee(p[0], p[1], 1, 0), EINVAL);
    CHECK_ERR(tee(p[0], 1000, 1, 0), EBADF);
    CHECK_ERR(tee(p[0], q[1], 1, SPLICE_F_NONBLOCK), EAGAIN);
    close(p[1]);
    CHECK_EQ(tee(p[0], q[1], 1, 0), 0);
    close(p[0]);
    close(q[0]);
    close(q[1]);
}

TEST(vmsplice_both_ways)
{
    char buf[8] = "";
    struct iovec out[2] = {{(void *)"abc", 3}, {(void *)"de", 2}}, in = {buf, sizeof(buf)};
    int p[2], f = temp_file("");

    CHECK_OK(pipe(p));
    CHECK_EQ(vmsplice(p[1], out, 2, 0), 5);
    CHECK_EQ(vmsplice(p[0], &in, 1, 0), 5);
    CHECK_STR(buf, "abcde");
    CHECK_ERR(vmsplice(f, out, 2, 0), EBADF);
    CHECK_ERR(vmsplice(p[1], out, 1025, 0), EINVAL);
    CHECK_EQ(vmsplice(p[1], out, 0, 0), 0);
    close(f);
    close(p[0]);
    close(p[1]);
}

TEST(pipe_to_socket_and_back)
{
    char buf[32] = "";
    int p[2], s[2];

    CHECK_OK(pipe(p));
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(p[1], "abcdef", 6), 6);
    CHECK_EQ(splice(p[0], NULL, s[0], NULL, 100, 0), 6);
    CHECK_EQ(splice(s[1], NULL, p[1], NULL, 100, 0), 6);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 6);
    CHECK_STR(buf, "abcdef");
    close(p[0]);
    close(p[1]);
    close(s[0]);
    close(s[1]);
}

TEST(splice_waits_for_data)
{
    int p[2], q[2], st;
    char c = 0;
    pid_t pid;

    CHECK_OK(pipe(p));
    CHECK_OK(pipe(q));
    pid = fork();
    if (pid == 0) {
        usleep(50000);
        _exit(write(p[1], "w", 1) != 1);
    }
    CHECK_EQ(splice(p[0], NULL, q[1], NULL, 10, 0), 1);
    CHECK_EQ(read(q[0], &c, 1), 1);
    CHECK_EQ(c, 'w');
    waitpid(pid, &st, 0);
    close(p[0]);
    close(p[1]);
    close(q[0]);
    close(q[1]);
}

TEST(splice_to_a_pipe_without_readers_breaks)
{
    int f = temp_file("abc"), p[2];

    signal(SIGPIPE, SIG_IGN);
    CHECK_OK(pipe(p));
    close(p[0]);
    CHECK_ERR(splice(f, NULL, p[1], NULL, 1, 0), EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(f);
    close(p[1]);
}

TEST(copy_file_range_copies)
{
    int in = temp_file("0123456789"), out = temp_file(""), p[2];
    char buf[32] = "";
    loff_t a = 2, b = 1;

    CHECK_EQ(copy_file_range(in, &a, out, &b, 4, 0), 4);
    CHECK_EQ(a, 6);
    CHECK_EQ(b, 5);
    CHECK_EQ(pread(out, buf, sizeof(buf), 1), 4);
    CHECK_STR(buf, "2345");
    CHECK_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 10);
    CHECK_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 0);
    CHECK_ERR(copy_file_range(in, NULL, out, NULL, 1, 1), EINVAL);
    a = 0, b = 2;
    CHECK_ERR(copy_file_range(in, &a, in, &b, 4, 0), EINVAL);
    b = 4;
    CHECK_EQ(copy_file_range(in, &a, in, &b, 4, 0), 4);
    CHECK_OK(pipe(p));
    CHECK_ERR(copy_file_range(in, NULL, p[1], NULL, 1, 0), EINVAL);
    close(p[0]);
    close(p[1]);
    close(in);
    close(out);
}

TEST_MAIN()
