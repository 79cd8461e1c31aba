/* Using up what there is of something: each time the errno that Linux has for it, and all is well again afterwards. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

/* Runs fn in a child with a limit, as an ordinary user: root's processes and queued signals are not limited. */
static int with_limit(int resource, rlim_t limit, void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (setrlimit(resource, &(struct rlimit){limit, limit}) || setuid(61234))
            _exit(100);
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void expect(bool ok, int code)
{
    if (!ok)
        _exit(code);
}

static void use_descriptors(void)
{
    int fd[64], p[2], n = 0;

    while ((fd[n] = eventfd(0, 0)) >= 0)
        n++;
    expect(errno == EMFILE && n > 50, 1);
    expect(pipe(p) < 0 && errno == EMFILE, 2);
    expect(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EMFILE, 3);
    expect(socketpair(AF_UNIX, SOCK_STREAM, 0, p) < 0 && errno == EMFILE, 4);
    expect(epoll_create1(0) < 0 && errno == EMFILE, 5);
    expect(dup(0) < 0 && errno == EMFILE, 6);
    expect(open("/dev/null", O_RDONLY) < 0 && errno == EMFILE, 7);
    close(fd[--n]);
    expect(pipe(p) < 0 && errno == EMFILE, 8); /* one is not enough, and none is lost */
    expect((fd[n] = eventfd(0, 0)) >= 0, 9);
    while (n >= 0)
        close(fd[n--]);
    expect(pipe(p) == 0, 10);
}

TEST(descriptors)
{
    CHECK_EQ(with_limit(RLIMIT_NOFILE, 64, use_descriptors), 0);
}

static void *sleep_for_ever(void *arg)
{
    pause();
    return NULL;
}

static void use_threads(void)
{
    pthread_attr_t attr;
    pthread_t t;
    int n = 0, r;
    pid_t pid;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    while ((r = pthread_create(&t, &attr, sleep_for_ever, NULL)) == 0)
        n++;
    expect(r == EAGAIN && n == 39, 1);
    pid = fork();
    expect(pid < 0 && errno == EAGAIN, 2);
}

TEST(threads_and_processes)
{
    CHECK_EQ(with_limit(RLIMIT_NPROC, 40, use_threads), 0);
    CHECK_EQ(with_limit(RLIMIT_NPROC, 40, use_threads), 0); /* the first ones are gone and count no more */
}

static void use_timers(void)
{
    timer_t t;
    int n = 0;

    while (timer_create(CLOCK_MONOTONIC, NULL, &t) == 0)
        n++;
    expect(errno == EAGAIN && n > 0 && n <= 20, 1);
}

static void use_signals(void)
{
    sigset_t set;
    int n = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (sigqueue(getpid(), SIGRTMIN, (union sigval){n}) == 0)
        n++;
    expect(errno == EAGAIN && n > 0 && n <= 20, 1);
    for (; n > 0; n--)
        expect(sigwaitinfo(&set, NULL) == SIGRTMIN, 2);
    expect(sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0, 3);
}

TEST(timers_and_queued_signals)
{
    CHECK_EQ(with_limit(RLIMIT_SIGPENDING, 20, use_timers), 0);
    CHECK_EQ(with_limit(RLIMIT_SIGPENDING, 20, use_signals), 0);
}

TEST(mappings)
{
    size_t page = 4096, max = 70000, n = 0;
    char *area = mmap(NULL, 2 * max * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(area != MAP_FAILED);
    while (n < max && mprotect(area + 2 * n * page, page, PROT_READ) == 0)
        n++;
    CHECK(errno == ENOMEM && n > 30000 && n < 33000); /* vm.max_map_count is 65530, and each makes two */
    CHECK_ERR(munmap(area + (2 * n + 3) * page, page), ENOMEM);
    CHECK_OK(munmap(area, 2 * max * page));
    area = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    area[0] = 1;
}

TEST(nested_epolls)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int ep[8], event = eventfd(1, 0), depth = 0;

    for (int i = 0; i < 8; i++)
        ep[i] = epoll_create1(0);
    CHECK_OK(epoll_ctl(ep[0], EPOLL_CTL_ADD, event, &ev));
    while (depth < 7 && epoll_ctl(ep[depth + 1], EPOLL_CTL_ADD, ep[depth], &ev) == 0)
        depth++;
    CHECK(errno == ELOOP && depth >= 4 && depth <= 6);
    CHECK_ERR(epoll_ctl(ep[0], EPOLL_CTL_ADD, ep[depth], &ev), ELOOP);
    CHECK_EQ(epoll_wait(ep[depth], &ev, 1, 0), 1);
    for (int i = 0; i < 8; i++)
        close(ep[i]);
    close(event);
}

TEST(memory_of_pipes_that_nobody_reads)
{
    char buf[4096] = {0};
    int p[2], n = 0;

    CHECK_OK(pipe2(p, O_NONBLOCK));
    while (write(p[1], buf, sizeof(buf)) == sizeof(buf))
        n++;
    CHECK(errno == EAGAIN && n == 16);
    close(p[0]);
    close(p[1]);
}

TEST_MAIN()
