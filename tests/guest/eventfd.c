/* eventfd(2). */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

    return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

TEST(counter_adds_up_and_is_taken)
{
    int fd = eventfd(3, EFD_NONBLOCK);
    uint64_t v = 4;

    CHECK_OK(fd);
    CHECK_EQ(write(fd, &v, 8), 8);
    CHECK_EQ(read(fd, &v, 8), 8);
    CHECK_EQ(v, 7);
    CHECK_ERR(read(fd, &v, 8), EAGAIN);
    CHECK_EQ(ready(fd), POLLOUT);
    close(fd);
}

TEST(semaphore_gives_one_at_a_time)
{
    int fd = eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE);
    uint64_t v;

    CHECK_OK(fd);
    CHECK_EQ(read(fd, &v, 8), 8);
    CHECK_EQ(v, 1);
    CHECK_EQ(read(fd, &v, 8), 8);
    CHECK_EQ(v, 1);
    CHECK_ERR(read(fd, &v, 8), EAGAIN);
    close(fd);
}

TEST(limits)
{
    int fd = eventfd(0, EFD_NONBLOCK);
    uint64_t v = UINT64_MAX;

    CHECK_ERR(write(fd, &v, 8), EINVAL);
    v = UINT64_MAX - 1;
    CHECK_EQ(write(fd, &v, 8), 8);
    CHECK_EQ(ready(fd), POLLIN);
    v = 1;
    CHECK_ERR(write(fd, &v, 8), EAGAIN);
    CHECK_ERR(write(fd, &v, 7), EINVAL);
    CHECK_ERR(read(fd, &v, 7), EINVAL);
    CHECK_EQ(read(fd, &v, 8), 8);
    CHECK_EQ(v, UINT64_MAX - 1);
    CHECK_ERR(eventfd(0, 0x10), EINVAL);
    close(fd);
}

TEST(reader_waits_for_writer)
{
    int fd = eventfd(0, EFD_CLOEXEC), st;
    uint64_t v = 5;
    pid_t pid = fork();

    if (pid == 0) {
        usleep(30000);
        _exit(write(fd, &v, 8) != 8);
    }
    v = 0;
    CHECK_EQ(read(fd, &v, 8), 8);
    CHECK_EQ(v, 5);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    CHECK_EQ(st, 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

TEST(writer_waits_for_room)
{
    int fd = eventfd(0, 0), st;
    uint64_t v = UINT64_MAX - 1;
    pid_t pid;

    CHECK_EQ(write(fd, &v, 8), 8);
    pid = fork();
    if (pid == 0) {
        usleep(30000);
        _exit(read(fd, &v, 8) != 8);
    }
    v = 9;
    CHECK_EQ(write(fd, &v, 8), 8);
    CHECK_EQ(read(fd, &v, 8), 8);
    CHECK_EQ(v, 9);
    CHECK_EQ(waitpid(pid, &st, 0), pid);
    close(fd);
}

TEST_MAIN()
