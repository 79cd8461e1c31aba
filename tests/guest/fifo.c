/* Named pipes: how they are opened, and what they share. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[64];

static void make(void)
{
    snprintf(path, sizeof(path), "/tmp/guest-fifo-%d", getpid());
    unlink(path);
    CHECK_OK(mkfifo(path, 0600));
}

static short ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST(nonblocking_writer_needs_a_reader)
{
    int r, w;

    make();
    CHECK_ERR(open(path, O_WRONLY | O_NONBLOCK), ENXIO);
    r = open(path, O_RDONLY | O_NONBLOCK);
    CHECK_OK(r);
    w = open(path, O_WRONLY | O_NONBLOCK);
    CHECK_OK(w);
    CHECK_EQ(write(w, "hi", 2), 2);
    close(r);
    close(w);
    unlink(path);
}

TEST(reader_without_writer_sees_no_hangup)
{
    char c;
    int r, w;

    make();
    r = open(path, O_RDONLY | O_NONBLOCK);
    CHECK_OK(r);
    CHECK_EQ(ready(r, POLLIN), 0);
    CHECK_EQ(read(r, &c, 1), 0);
    w = open(path, O_WRONLY);
    CHECK_OK(w);
    CHECK_ERR(read(r, &c, 1), EAGAIN);
    close(w);
    CHECK_EQ(ready(r, POLLIN), POLLHUP);
    close(r);
    unlink(path);
}

TEST(openers_wait_for_each_other)
{
    char buf[8] = "";
    int fd, st;
    pid_t pid;

    make();
    pid = fork();
    if (pid == 0) {
        usleep(50000);
        fd = open(path, O_WRONLY);
        _exit(fd < 0 || write(fd, "hello", 5) != 5);
    }
    fd = open(path, O_RDONLY);
    CHECK_OK(fd);
    CHECK_EQ(read(fd, buf, sizeof(buf)), 5);
    CHECK_STR(buf, "hello");
    CHECK_EQ(read(fd, buf, sizeof(buf)), 0);
    close(fd);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK_EQ(st, 0);

    pid = fork();
    if (pid == 0) {
        usleep(50000);
        fd = open(path, O_RDONLY);
        _exit(fd < 0 || read(fd, buf, 1) != 1);
    }
    fd = open(path, O_WRONLY);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "x", 1), 1);
    close(fd);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK_EQ(st, 0);
    unlink(path);
}

static void on_alarm(int sig)
{
}

TEST(a_waiting_open_is_interrupted)
{
    struct sigaction sa = {.sa_handler = on_alarm};

    make();
    sigaction(SIGALRM, &sa, NULL);
    ualarm(50000, 0);
    CHECK_ERR(open(path, O_RDONLY), EINTR);
    /* The open that was given up is no reader. */
    CHECK_ERR(open(path, O_WRONLY | O_NONBLOCK), ENXIO);
    unlink(path);
}

TEST(read_write_open_never_waits)
{
    char c = 0;
    int fd;

    make();
    fd = open(path, O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "a", 1), 1);
    CHECK_EQ(read(fd, &c, 1), 1);
    CHECK_EQ(c, 'a');
    close(fd);
    unlink(path);
}

TEST(contents_go_with_the_last_close)
{
    char c;
    int fd;

    make();
    fd = open(path, O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "old", 3), 3);
    close(fd);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    CHECK_OK(fd);
    CHECK_EQ(read(fd, &c, 1), 0);
    close(fd);
    unlink(path);
}

TEST(an_unlinked_fifo_lives_on)
{
    char c = 0;
    int r, w;

    make();
    r = open(path, O_RDONLY | O_NONBLOCK);
    w = open(path, O_WRONLY);
    CHECK(r >= 0 && w >= 0);
    unlink(path);
    CHECK_EQ(write(w, "k", 1), 1);
    CHECK_EQ(read(r, &c, 1), 1);
    CHECK_EQ(c, 'k');
    close(r);
    close(w);
}

TEST_MAIN()
