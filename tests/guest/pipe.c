/* pipe(2), pipe2(2): order, atomicity, capacity, packets, hang-ups, readiness. */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

static void *volatile bad_pointer = (void *)8;

#ifndef F_SETPIPE_SZ
#define F_SETPIPE_SZ 1031
#define F_GETPIPE_SZ 1032
#endif

static short ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST(bytes_come_out_in_order)
{
    char out[100], in[100];
    int fd[2];

    for (int i = 0; i < 100; i++)
        out[i] = (char)i;
    CHECK_OK(pipe(fd));
    for (int i = 0; i < 100; i += 10)
        CHECK_EQ(write(fd[1], out + i, 10), 10);
    CHECK_EQ(read(fd[0], in, 33), 33);
    CHECK_EQ(read(fd[0], in + 33, 67), 67);
    CHECK(memcmp(in, out, 100) == 0);
    close(fd[0]);
    close(fd[1]);
}

TEST(directions_are_checked)
{
    char c = 0;
    int fd[2];

    CHECK_OK(pipe(fd));
    CHECK_ERR(read(fd[1], &c, 1), EBADF);
    CHECK_ERR(write(fd[0], &c, 1), EBADF);
    CHECK_ERR(lseek(fd[0], 0, SEEK_SET), ESPIPE);
    CHECK_ERR(pread(fd[0], &c, 1, 0), ESPIPE);
    CHECK_ERR(pwrite(fd[1], &c, 1, 0), ESPIPE);
    close(fd[0]);
    close(fd[1]);
    CHECK_ERR(pipe2(fd, O_CREAT), EINVAL);
    CHECK_ERR(pipe(bad_pointer), EFAULT);
}

TEST(end_of_file_and_broken_pipe)
{
    char c = 'x';
    int fd[2];

    signal(SIGPIPE, SIG_IGN);
    CHECK_OK(pipe(fd));
    CHECK_EQ(write(fd[1], &c, 1), 1);
    close(fd[1]);
    CHECK_EQ(read(fd[0], &c, 1), 1);
    CHECK_EQ(read(fd[0], &c, 1), 0);
    CHECK_EQ(ready(fd[0], POLLIN), POLLHUP);
    close(fd[0]);

    CHECK_OK(pipe(fd));
    close(fd[0]);
    CHECK_ERR(write(fd[1], &c, 1), EPIPE);
    CHECK_EQ(write(fd[1], &c, 0), 0);
    CHECK_EQ(ready(fd[1], POLLOUT), POLLOUT | POLLERR);
    close(fd[1]);
    signal(SIGPIPE, SIG_DFL);
}

static volatile sig_atomic_t got_signal;

static void on_signal(int sig)
{
    got_signal = sig;
}

TEST(broken_pipe_raises_sigpipe)
{
    int fd[2];

    got_signal = 0;
    signal(SIGPIPE, on_signal);
    CHECK_OK(pipe(fd));
    close(fd[0]);
    CHECK_ERR(write(fd[1], "x", 1), EPIPE);
    CHECK_EQ(got_signal, SIGPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(fd[1]);
}

TEST(capacity_is_64k)
{
    static char buf[65536];
    int fd[2], n;

    CHECK_OK(pipe2(fd, O_NONBLOCK));
    CHECK_EQ(fcntl(fd[0], F_GETPIPE_SZ), 65536);
    CHECK_EQ(write(fd[1], buf, sizeof(buf)), 65536);
    CHECK_ERR(write(fd[1], buf, 1), EAGAIN);
    CHECK_EQ(ready(fd[1], POLLOUT), 0);
    CHECK_EQ(ioctl(fd[0], FIONREAD, &n), 0);
    CHECK_EQ(n, 65536);
    CHECK_EQ(read(fd[0], buf, 4095), 4095);
    CHECK_EQ(ready(fd[1], POLLOUT), 0);
    CHECK_ERR(write(fd[1], buf, 1), EAGAIN);
    CHECK_EQ(read(fd[0], buf, 1), 1);
    CHECK_EQ(ready(fd[1], POLLOUT), POLLOUT);
    CHECK_EQ(write(fd[1], buf, 5000), 4096);
    close(fd[0]);
    close(fd[1]);
}

TEST(one_byte_writes_share_pages)
{
    char buf[256];
    int fd[2], n = 0;

    CHECK_OK(pipe2(fd, O_NONBLOCK));
    while (write(fd[1], "x", 1) == 1)
        n++;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(n, 65536);
    n = 0;
    for (int r; (r = (int)read(fd[0], buf, sizeof(buf))) > 0;)
        n += r;
    CHECK_EQ(n, 65536);
    close(fd[0]);
    close(fd[1]);
}

TEST(small_writes_are_all_or_nothing)
{
    static char buf[65536];
    int fd[2];

    CHECK_OK(pipe2(fd, O_NONBLOCK));
    CHECK_EQ(write(fd[1], buf, 61440 + 4000), 65440);
    CHECK_ERR(write(fd[1], buf, 4096), EAGAIN);
    CHECK_EQ(write(fd[1], buf, 96), 96);
    CHECK_ERR(write(fd[1], buf, 1), EAGAIN);
    close(fd[0]);
    close(fd[1]);
}

TEST(size_can_be_changed)
{
    static char buf[65536];
    int fd[2];

    CHECK_OK(pipe2(fd, O_NONBLOCK));
    CHECK_EQ(fcntl(fd[1], F_SETPIPE_SZ, 5000), 8192);
    CHECK_EQ(fcntl(fd[0], F_GETPIPE_SZ), 8192);
    CHECK_EQ(write(fd[1], buf, sizeof(buf)), 8192);
    CHECK_ERR(fcntl(fd[1], F_SETPIPE_SZ, 4096), EBUSY);
    CHECK_EQ(fcntl(fd[1], F_SETPIPE_SZ, 16384), 16384);
    CHECK_EQ(write(fd[1], buf, sizeof(buf)), 8192);
    CHECK_EQ(read(fd[0], buf, sizeof(buf)), 16384);
    CHECK_EQ(fcntl(fd[1], F_SETPIPE_SZ, 1), 4096);
    CHECK_ERR(fcntl(fd[1], F_SETPIPE_SZ, 0x80000001u), EINVAL);
    CHECK_ERR(fcntl(0, F_GETPIPE_SZ) == -1 && errno == EBADF ? -1 : 0, EBADF);
    close(fd[0]);
    close(fd[1]);
}

TEST(packet_mode_keeps_boundaries)
{
    static char buf[65536];
    int fd[2];

    CHECK_OK(pipe2(fd, O_DIRECT | O_NONBLOCK));
    CHECK_EQ(fcntl(fd[1], F_GETFL) & O_DIRECT, O_DIRECT);
    CHECK_EQ(write(fd[1], "abc", 3), 3);
    CHECK_EQ(write(fd[1], "defgh", 5), 5);
    CHECK_EQ(write(fd[1], buf, 10000), 10000);
    CHECK_EQ(read(fd[0], buf, 100), 3);
    CHECK_EQ(read(fd[0], buf, 2), 2);
    CHECK(memcmp(buf, "de", 2) == 0);
    CHECK_EQ(read(fd[0], buf, sizeof(buf)), 4096);
    CHECK_EQ(read(fd[0], buf, sizeof(buf)), 4096);
    CHECK_EQ(read(fd[0], buf, sizeof(buf)), 10000 - 8192);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(write(fd[1], "x", 1), 1);
    CHECK_ERR(write(fd[1], "x", 1), EAGAIN);
    close(fd[0]);
    close(fd[1]);
}

static void *write_much(void *arg)
{
    static char buf[1 << 20];

    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (char)(i * 7 + i / 4096);
    return (void *)(intptr_t)write(*(int *)arg, buf, sizeof(buf));
}

TEST(blocking_write_writes_everything)
{
    static char buf[1 << 20];
    size_t got = 0;
    pthread_t th;
    void *written;
    int fd[2];

    CHECK_OK(pipe(fd));
    CHECK_EQ(pthread_create(&th, NULL, write_much, &fd[1]), 0);
    while (got < sizeof(buf)) {
        ssize_t n = read(fd[0], buf + got, got % 3 ? 10000 : 777);
        CHECK(n > 0);
        got += (size_t)n;
    }
    pthread_join(th, &written);
    CHECK_EQ((intptr_t)written, 1 << 20);
    for (size_t i = 0; i < sizeof(buf); i++)
        CHECK(buf[i] == (char)(i * 7 + i / 4096));
    close(fd[0]);
    close(fd[1]);
}

TEST(vectors_gather_and_scatter)
{
    char a[3], b[4], c[10];
    struct iovec out[3] = {{(void *)"abc", 3}, {NULL, 0}, {(void *)"defgh", 5}};
    struct iovec in[3] = {{a, 3}, {b, 4}, {c, 10}};
    int fd[2];

    CHECK_OK(pipe(fd));
    CHECK_EQ(writev(fd[1], out, 3), 8);
    CHECK_EQ(readv(fd[0], in, 3), 8);
    CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "defg", 4) == 0 && c[0] == 'h');
    close(fd[0]);
    close(fd[1]);
}

TEST(a_blocked_reader_is_interrupted)
{
    struct sigaction sa = {.sa_handler = on_signal};
    char c;
    int fd[2];

    CHECK_OK(pipe(fd));
    sigaction(SIGALRM, &sa, NULL);
    ualarm(50000, 0);
    CHECK_ERR(read(fd[0], &c, 1), EINTR);
    close(fd[0]);
    close(fd[1]);
}

TEST(a_blocked_reader_is_restarted)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int fd[2], st;
    char c = 0;
    pid_t pid;

    CHECK_OK(pipe(fd));
    sigaction(SIGUSR1, &sa, NULL);
    got_signal = 0;
    pid = fork();
    if (pid == 0) {
        wait_blocked(getppid(), getppid());
        kill(getppid(), SIGUSR1);
        usleep(50000);
        _exit(write(fd[1], "z", 1) != 1);
    }
    CHECK_EQ(read(fd[0], &c, 1), 1);
    CHECK_EQ(c, 'z');
    CHECK_EQ(got_signal, SIGUSR1);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK_EQ(st, 0);
    close(fd[0]);
    close(fd[1]);
}

TEST(stat_says_fifo)
{
    char link[64], path[64];
    struct stat st;
    int fd[2];

    CHECK_OK(pipe(fd));
    CHECK_OK(fstat(fd[0], &st));
    CHECK(S_ISFIFO(st.st_mode));
    CHECK_EQ(st.st_mode & 0777, 0600);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd[0]);
    CHECK(readlink(path, link, sizeof(link)) > 0);
    CHECK(strncmp(link, "pipe:[", 6) == 0);
    close(fd[0]);
    close(fd[1]);
}

TEST(proc_fd_reopens_a_pipe)
{
    char path[64], c = 0;
    int fd[2], again;

    CHECK_OK(pipe(fd));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd[1]);
    again = open(path, O_WRONLY);
    CHECK_OK(again);
    CHECK_EQ(write(again, "q", 1), 1);
    CHECK_EQ(read(fd[0], &c, 1), 1);
    CHECK_EQ(c, 'q');
    close(fd[1]);
    CHECK_EQ(ready(fd[0], POLLIN), 0);
    close(again);
    CHECK_EQ(ready(fd[0], POLLIN), POLLHUP);
    close(fd[0]);
}

TEST(bad_buffers_fault)
{
    int fd[2];

    CHECK_OK(pipe2(fd, O_NONBLOCK));
    CHECK_ERR(write(fd[1], bad_pointer, 10), EFAULT);
    CHECK_EQ(write(fd[1], "abc", 3), 3);
    CHECK_ERR(read(fd[0], bad_pointer, 3), EFAULT);
    CHECK_EQ(ready(fd[0], POLLIN), POLLIN);
    close(fd[0]);
    close(fd[1]);
}

TEST_MAIN()
