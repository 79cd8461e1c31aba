/* Reading clocks. */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>

static int64_t ns(struct timespec ts)
{
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int64_t read_clock(clockid_t c)
{
    struct timespec ts;

    CHECK_OK(syscall(SYS_clock_gettime, c, &ts));
    return ns(ts);
}

static const clockid_t clocks[] = {CLOCK_REALTIME,         CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                                   CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME,  CLOCK_TAI,           CLOCK_PROCESS_CPUTIME_ID,
                                   CLOCK_THREAD_CPUTIME_ID};

TEST(clock_all_go_forward)
{
    for (size_t i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
        int64_t a = read_clock(clocks[i]), b;

        for (volatile int spin = 0; spin < 100000; spin++)
            ;
        b = read_clock(clocks[i]);
        CHECK(a > 0 && b >= a);
    }
}

TEST(clock_vdso_agrees_with_the_call)
{
    for (int i = 0; i < 7; i++) {
        struct timespec before, middle, after;

        CHECK_OK(syscall(SYS_clock_gettime, clocks[i], &before));
        CHECK_OK(clock_gettime(clocks[i], &middle));
        CHECK_OK(syscall(SYS_clock_gettime, clocks[i], &after));
        CHECK(ns(before) <= ns(middle) && ns(middle) <= ns(after));
    }
}

TEST(clock_errors)
{
    struct timespec ts;

    CHECK_ERR(syscall(SYS_clock_gettime, 99, &ts), EINVAL);
    CHECK_ERR(syscall(SYS_clock_gettime, -1, &ts), EINVAL);
    CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, (void *)1), EFAULT);
    CHECK_ERR(syscall(SYS_clock_getres, 99, &ts), EINVAL);
    CHECK_OK(syscall(SYS_clock_getres, CLOCK_REALTIME, NULL));
    CHECK_OK(clock_getres(CLOCK_MONOTONIC, &ts));
    CHECK(ts.tv_sec == 0 && ts.tv_nsec == 1);
    CHECK_OK(clock_gettime(CLOCK_MONOTONIC, &ts));
    CHECK_ERR(clock_settime(CLOCK_MONOTONIC, &ts), EINVAL);
}

TEST(clock_cpu_time_counts_work)
{
    int64_t process = read_clock(CLOCK_PROCESS_CPUTIME_ID), start = read_clock(CLOCK_THREAD_CPUTIME_ID);
    struct timespec nap = {0, 100000000}, wall0, wall1;

    clock_gettime(CLOCK_MONOTONIC, &wall0);
    do
        clock_gettime(CLOCK_MONOTONIC, &wall1);
    while (read_clock(CLOCK_THREAD_CPUTIME_ID) - start < 20000000 && ns(wall1) - ns(wall0) < 60000000000);
    CHECK(read_clock(CLOCK_THREAD_CPUTIME_ID) - start >= 20000000);
    CHECK(read_clock(CLOCK_PROCESS_CPUTIME_ID) - process >= 20000000);
    start = read_clock(CLOCK_THREAD_CPUTIME_ID);
    nanosleep(&nap, NULL);
    CHECK(read_clock(CLOCK_THREAD_CPUTIME_ID) - start < 100000000);
}

static volatile int stop;

static void *burn(void *arg)
{
    while (!stop)
        ;
    return NULL;
}

TEST(clock_of_another_thread)
{
    clockid_t c;
    pthread_t t;
    int64_t a;

    stop = 0;
    pthread_create(&t, NULL, burn, NULL);
    CHECK_EQ(pthread_getcpuclockid(t, &c), 0);
    a = read_clock(c);
    for (int i = 0; i < 3000 && read_clock(c) - a < 20000000; i++)
        usleep(10000);
    CHECK(read_clock(c) - a >= 20000000);
    stop = 1;
    pthread_join(t, NULL);
    CHECK_EQ(clock_getcpuclockid(0, &c), 0);
    CHECK(read_clock(c) > 20000000);
}

TEST(clock_of_day_and_times)
{
    struct timeval tv;
    struct timezone tz;
    struct tms tms;
    time_t t;

    CHECK_OK(syscall(SYS_gettimeofday, &tv, &tz));
    CHECK(llabs((long long)tv.tv_sec - read_clock(CLOCK_REALTIME) / 1000000000) <= 1);
    CHECK_ERR(syscall(SYS_gettimeofday, (void *)1, NULL), EFAULT);
    CHECK_OK(syscall(SYS_time, &t));
    CHECK(llabs((long long)t - tv.tv_sec) <= 1);
    CHECK(times(&tms) > 0);
    CHECK_ERR(syscall(SYS_times, (void *)1), EFAULT);
}

TEST(clock_child_times_are_added)
{
    struct tms a, b;
    struct rusage ru;
    pid_t pid;

    times(&a);
    pid = fork();
    if (pid == 0) {
        int64_t start = read_clock(CLOCK_PROCESS_CPUTIME_ID);

        while (read_clock(CLOCK_PROCESS_CPUTIME_ID) - start < 100000000)
            ;
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    times(&b);
    CHECK(b.tms_cutime + b.tms_cstime - a.tms_cutime - a.tms_cstime >= 5);
    CHECK_OK(getrusage(RUSAGE_CHILDREN, &ru));
    CHECK(ru.ru_utime.tv_sec + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec + ru.ru_stime.tv_usec > 0);
    CHECK_ERR(getrusage(5, &ru), EINVAL);
}

TEST(clock_adjtimex_reads)
{
    struct timex tx = {.modes = 0};

    CHECK(adjtimex(&tx) >= 0);
    CHECK(tx.tick > 0);
    CHECK_ERR(syscall(SYS_adjtimex, (void *)1), EFAULT);
}

TEST_MAIN()
