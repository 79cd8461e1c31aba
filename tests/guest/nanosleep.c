/* nanosleep, clock_nanosleep: durations, remainders, restarts. */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

TEST(nanosleep_sleeps_long_enough)
{
    struct timespec ts = {0, 30000000};
    int64_t start = now_ns(), took;

    CHECK_OK(nanosleep(&ts, NULL));
    took = now_ns() - start;
    CHECK(took >= 30000000);
    ts.tv_nsec = 0;
    CHECK_OK(nanosleep(&ts, NULL));
}

TEST(nanosleep_checks_its_argument)
{
    struct timespec bad = {0, 1000000000}, neg = {-1, 0}, neg_ns = {0, -1};

    CHECK_ERR(nanosleep(&bad, NULL), EINVAL);
    CHECK_ERR(nanosleep(&neg, NULL), EINVAL);
    CHECK_ERR(nanosleep(&neg_ns, NULL), EINVAL);
    CHECK_ERR(nanosleep((void *)1, NULL), EFAULT);
}

static void on_signal(int signo)
{
}

static void *interrupt_sleeper(void *arg)
{
    wait_blocked(0, getpid());
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

TEST(nanosleep_reports_the_rest)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct timespec ts = {100, 0}, rem = {0, 0};
    pthread_t self = pthread_self(), t;

    sigaction(SIGUSR1, &sa, NULL);
    pthread_create(&t, NULL, interrupt_sleeper, &self);
    CHECK_ERR(nanosleep(&ts, &rem), EINTR);
    pthread_join(t, NULL);
    CHECK(rem.tv_sec > 0 && rem.tv_sec < 100);
}

TEST(nanosleep_continues_after_stop)
{
    int status;
    int64_t start = now_ns();
    pid_t pid = fork();

    if (pid == 0) {
        struct timespec ts = {0, 300000000};
        _exit(nanosleep(&ts, NULL) == 0 ? 0 : 1);
    }
    usleep(50000);
    kill(pid, SIGSTOP);
    usleep(50000);
    kill(pid, SIGCONT);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(now_ns() - start >= 290000000);
}

TEST(clock_nanosleep_absolute)
{
    struct timespec ts;
    int64_t start = now_ns();

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += 30000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0);
    CHECK(now_ns() - start >= 29000000);
    /* The past, on several clocks. */
    ts.tv_sec = 1;
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0);
    CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL), 0);
    CHECK_EQ(clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &ts, NULL), 0);
}

TEST(clock_nanosleep_errors)
{
    struct timespec ts = {0, 1}, bad = {0, 1000000000};

    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(77, 0, &ts, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC_RAW, 0, &ts, NULL), ENOTSUP);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC_COARSE, 0, &ts, NULL), ENOTSUP);
    CHECK_EQ(clock_nanosleep(CLOCK_TAI, 0, &ts, NULL), 0);
}

static volatile int stop;

static void *burn(void *arg)
{
    while (!stop)
        ;
    return NULL;
}

TEST(clock_nanosleep_on_cpu_time)
{
    struct timespec ts = {0, 50000000};
    pthread_t t;

    stop = 0;
    pthread_create(&t, NULL, burn, NULL);
    CHECK_EQ(clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, 0, &ts, NULL), 0);
    stop = 1;
    pthread_join(t, NULL);
}

TEST_MAIN()
