/* POSIX message queues. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define NAME "/runsc-c-test"

static mqd_t make(long max, long size, int flags)
{
    struct mq_attr attr = {.mq_maxmsg = max, .mq_msgsize = size};
    mqd_t q;

    mq_unlink(NAME);
    q = mq_open(NAME, O_RDWR | O_CREAT | O_EXCL | flags, 0600, &attr);
    CHECK_OK(q);
    return q;
}

TEST(mqueue_priorities)
{
    mqd_t q = make(5, 32, 0);
    struct mq_attr attr;
    unsigned int prio;
    char buf[32];

    CHECK_OK(mq_send(q, "low", 4, 1));
    CHECK_OK(mq_send(q, "high", 5, 9));
    CHECK_OK(mq_send(q, "low2", 5, 1));
    CHECK_OK(mq_getattr(q, &attr));
    CHECK_EQ(attr.mq_curmsgs, 3);
    CHECK_EQ(attr.mq_maxmsg, 5);
    CHECK_EQ(mq_receive(q, buf, 32, &prio), 5);
    CHECK_STR(buf, "high");
    CHECK_EQ(prio, 9);
    CHECK_EQ(mq_receive(q, buf, 32, NULL), 4);
    CHECK_STR(buf, "low");
    CHECK_EQ(mq_receive(q, buf, 32, NULL), 5);
    CHECK_STR(buf, "low2");
    CHECK_OK(mq_close(q));
    CHECK_OK(mq_unlink(NAME));
    CHECK_ERR(mq_unlink(NAME), ENOENT);
}

TEST(mqueue_open_errors)
{
    struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 5};
    mqd_t q = make(5, 32, 0);

    CHECK_ERR(mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600, NULL), EEXIST);
    CHECK_ERR(mq_open("/runsc-c-none", O_RDWR), ENOENT);
    CHECK_ERR(mq_open("/runsc-c-none", O_RDWR | O_CREAT, 0600, &bad), EINVAL);
    CHECK_ERR(syscall(SYS_mq_open, "a/b", O_RDWR | O_CREAT, 0600, NULL), EACCES);
    CHECK_ERR(syscall(SYS_mq_open, "", O_RDWR | O_CREAT, 0600, NULL), ENOENT);
    CHECK_ERR(syscall(SYS_mq_open, (void *)1, O_RDWR, 0, NULL), EFAULT);
    CHECK_EQ(fcntl(q, F_GETFD), FD_CLOEXEC);
    CHECK_OK(mq_close(q));
    CHECK_OK(mq_unlink(NAME));
}

TEST(mqueue_send_and_receive_errors)
{
    mqd_t q = make(1, 16, O_NONBLOCK), ro;
    struct timespec past = {1, 0}, bad = {0, 1000000000};
    struct mq_attr attr = {0};
    char buf[32] = {0};

    CHECK_ERR(mq_receive(q, buf, 16, NULL), EAGAIN);
    CHECK_ERR(mq_send(q, buf, 17, 0), EMSGSIZE);
    CHECK_ERR(mq_receive(q, buf, 15, NULL), EMSGSIZE);
    CHECK_ERR(mq_send(q, buf, 1, 32768), EINVAL);
    CHECK_OK(mq_send(q, buf, 16, 0));
    CHECK_ERR(mq_send(q, buf, 16, 0), EAGAIN);
    CHECK_OK(mq_setattr(q, &attr, NULL));
    CHECK_ERR(mq_timedsend(q, buf, 1, 0, &past), ETIMEDOUT);
    CHECK_ERR(mq_timedsend(q, buf, 1, 0, &bad), EINVAL);
    ro = mq_open(NAME, O_RDONLY);
    CHECK_ERR(mq_send(ro, buf, 1, 0), EBADF);
    CHECK_ERR(mq_send(-1, buf, 1, 0), EBADF);
    CHECK_ERR(mq_send(1, buf, 1, 0), EBADF);
    CHECK_EQ(mq_receive(ro, buf, 16, NULL), 16);
    CHECK_ERR(mq_timedreceive(ro, buf, 16, NULL, &past), ETIMEDOUT);
    mq_close(ro);
    mq_close(q);
    mq_unlink(NAME);
}

TEST(mqueue_blocks_between_processes)
{
    mqd_t q = make(1, 16, 0);
    char buf[16];
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        for (int i = 0; i < 20; i++)
            if (mq_send(q, (char[16]){(char)i}, 16, 0))
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(mq_receive(q, buf, 16, NULL), 16);
        CHECK_EQ(buf[0], i);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    mq_close(q);
    mq_unlink(NAME);
}

TEST(mqueue_poll)
{
    mqd_t q = make(1, 16, 0);
    struct pollfd p = {.fd = q, .events = POLLIN | POLLOUT};

    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLOUT);
    CHECK_OK(mq_send(q, "x", 1, 0));
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLIN);
    mq_close(q);
    mq_unlink(NAME);
}

static volatile sig_atomic_t got, got_code, got_value;

static void on_signal(int signo, siginfo_t *info, void *ctx)
{
    got++;
    got_code = info->si_code;
    got_value = info->si_value.sival_int;
}

TEST(mqueue_notifies_once)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    mqd_t q = make(3, 16, O_NONBLOCK);
    char buf[16];
    int status;
    pid_t pid;

    sigaction(SIGUSR1, &sa, NULL);
    CHECK_OK(mq_notify(q, &ev));
    pid = fork();
    if (pid == 0)
        _exit(mq_notify(q, &ev) == -1 && errno == EBUSY ? 0 : 1);
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
    CHECK_OK(mq_send(q, "a", 1, 0));
    CHECK_EQ(got, 1);
    CHECK_EQ(got_code, SI_MESGQ);
    CHECK_EQ(got_value, 42);
    CHECK_EQ(mq_receive(q, buf, 16, NULL), 1);
    CHECK_OK(mq_send(q, "a", 1, 0));
    CHECK_EQ(got, 1);
    CHECK_OK(mq_notify(q, &ev));
    CHECK_OK(mq_notify(q, NULL));
    ev.sigev_notify = 99;
    CHECK_ERR(syscall(SYS_mq_notify, q, &ev), EINVAL);
    CHECK_ERR(mq_notify(-1, NULL), EBADF);
    mq_close(q);
    mq_unlink(NAME);
}

static void on_thread(union sigval v)
{
    got = v.sival_int;
}

TEST(mqueue_notifies_in_a_libc_thread)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread, .sigev_value.sival_int = 33};
    mqd_t q = make(3, 16, O_NONBLOCK);

    got = 0;
    CHECK_OK(mq_notify(q, &ev));
    CHECK_OK(mq_send(q, "a", 1, 0));
    while (!got)
        usleep(1000);
    CHECK_EQ(got, 33);
    mq_close(q);
    mq_unlink(NAME);
}

TEST(mqueue_outlives_unlink)
{
    mqd_t q = make(2, 16, 0);
    char buf[16];

    CHECK_OK(mq_unlink(NAME));
    CHECK_OK(mq_send(q, "x", 1, 0));
    CHECK_EQ(mq_receive(q, buf, 16, NULL), 1);
    mq_close(q);
}

TEST_MAIN()
