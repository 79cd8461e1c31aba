/* alarm, setitimer, getitimer, RLIMIT_CPU. Each test runs in a child, because the harness uses alarm() itself. */
#include "tests/guest/guest_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t fired;

static void on_signal(int signo)
{
    fired++;
}

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Runs `fn` in a child: its exit status. */
static int in_child(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void real_timer(void)
{
    struct itimerval itv = {.it_value = {0, 30000}}, old;
    int64_t start = now_ns();

    signal(SIGALRM, on_signal);
    CHECK_OK(setitimer(ITIMER_REAL, &itv, NULL));
    CHECK_OK(getitimer(ITIMER_REAL, &old));
    CHECK(old.it_value.tv_usec > 0 && old.it_value.tv_usec <= 30000);
    CHECK_EQ(pause(), -1);
    CHECK_EQ(fired, 1);
    CHECK(now_ns() - start >= 29000000);
    CHECK_OK(getitimer(ITIMER_REAL, &old));
    CHECK_EQ(old.it_value.tv_usec, 0);
}

TEST(itimer_real_fires_once)
{
    CHECK_EQ(in_child(real_timer), 0);
}

static void periodic(void)
{
    struct itimerval itv = {{0, 10000}, {0, 10000}}, off = {0}, old;

    signal(SIGALRM, on_signal);
    CHECK_OK(setitimer(ITIMER_REAL, &itv, NULL));
    while (fired < 5)
        pause();
    CHECK_OK(setitimer(ITIMER_REAL, &off, &old));
    CHECK_EQ(old.it_interval.tv_usec, 10000);
    fired = 0;
    usleep(50000);
    CHECK_EQ(fired, 0);
}

TEST(itimer_real_repeats_until_disarmed)
{
    CHECK_EQ(in_child(periodic), 0);
}

static void alarm_rules(void)
{
    CHECK_EQ(alarm(10), 0);
    CHECK_EQ(alarm(20), 10);
    CHECK_EQ(alarm(0), 20);
    CHECK_EQ(alarm(0), 0);
    alarm(1);
    if (fork() == 0)
        _exit(alarm(0) != 0); /* not inherited */
    int status;
    wait(&status);
    CHECK_EQ(status, 0);
    pause();
}

TEST(itimer_alarm_kills)
{
    int status = in_child(alarm_rules);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

static void cpu_timer(int which, int signo)
{
    struct itimerval itv = {{0, 20000}, {0, 20000}}, old;
    int64_t start = now_ns();

    signal(signo, on_signal);
    CHECK_OK(setitimer(which, &itv, NULL));
    while (fired < 3 && now_ns() - start < 60000000000)
        ;
    CHECK(fired >= 3);
    CHECK_OK(getitimer(which, &old));
    CHECK_EQ(old.it_interval.tv_usec, 20000);
    CHECK(now_ns() - start >= 55000000);
}

static void virtual_timer(void)
{
    cpu_timer(ITIMER_VIRTUAL, SIGVTALRM);
}

static void prof_timer(void)
{
    cpu_timer(ITIMER_PROF, SIGPROF);
}

TEST(itimer_virtual_and_prof_count_cpu_time)
{
    CHECK_EQ(in_child(virtual_timer), 0);
    CHECK_EQ(in_child(prof_timer), 0);
}

static void prof_asleep(void)
{
    struct itimerval itv = {{0, 0}, {0, 50000}};

    signal(SIGPROF, on_signal);
    CHECK_OK(setitimer(ITIMER_PROF, &itv, NULL));
    usleep(200000);
    CHECK_EQ(fired, 0);
}

TEST(itimer_prof_stands_still_while_asleep)
{
    CHECK_EQ(in_child(prof_asleep), 0);
}

TEST(itimer_errors)
{
    struct itimerval itv = {.it_value = {0, 1000000}}, neg = {.it_value = {-1, 0}};

    CHECK_ERR(setitimer(ITIMER_REAL, &itv, NULL), EINVAL);
    CHECK_ERR(setitimer(ITIMER_REAL, &neg, NULL), EINVAL);
    itv.it_value.tv_usec = 0;
    CHECK_ERR(setitimer((enum __itimer_which)3, &itv, NULL), EINVAL);
    CHECK_ERR(getitimer((enum __itimer_which)3, &itv), EINVAL);
    CHECK_ERR(getitimer(ITIMER_PROF, (void *)1), EFAULT);
}

static void over_soft_limit(void)
{
    struct rlimit rl = {1, 2};

    signal(SIGXCPU, on_signal);
    CHECK_OK(setrlimit(RLIMIT_CPU, &rl));
    while (!fired)
        ;
    _exit(42);
}

TEST(itimer_rlimit_cpu_soft)
{
    int status = in_child(over_soft_limit);

    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void over_hard_limit(void)
{
    struct rlimit rl = {1, 1};

    CHECK_OK(setrlimit(RLIMIT_CPU, &rl));
    for (;;)
        ;
}

TEST(itimer_rlimit_cpu_hard)
{
    int status = in_child(over_hard_limit);

    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_MAIN()
