/* POSIX timers. */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t fired, last_value, last_overrun, last_code;
static volatile pid_t last_tid;

static void on_signal(int signo, siginfo_t *info, void *ctx)
{
    last_value = info->si_value.sival_int;
    last_overrun = info->si_overrun;
    last_code = info->si_code;
    last_tid = (pid_t)syscall(SYS_gettid);
    fired++; /* last: another thread may be waiting for it to read the rest */
}

static void handle(int signo)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    CHECK_OK(sigaction(signo, &sa, NULL));
    fired = 0;
}

static timer_t make(clockid_t clock, int signo, int value)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signo, .sigev_value.sival_int = value};
    timer_t t;

    CHECK_OK(timer_create(clock, &ev, &t));
    return t;
}

TEST(posix_timer_one_shot)
{
    struct itimerspec its = {.it_value = {0, 30000000}}, cur;
    timer_t t = make(CLOCK_MONOTONIC, SIGUSR1, 77);

    handle(SIGUSR1);
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    CHECK_OK(timer_gettime(t, &cur));
    CHECK(cur.it_value.tv_nsec > 0 && cur.it_value.tv_nsec <= 30000000);
    while (!fired)
        pause();
    CHECK_EQ(last_value, 77);
    CHECK_EQ(last_code, SI_TIMER);
    CHECK_OK(timer_gettime(t, &cur));
    CHECK_EQ(cur.it_value.tv_nsec, 0);
    CHECK_OK(timer_delete(t));
    CHECK_ERR(timer_delete(t), EINVAL);
}

TEST(posix_timer_overrun)
{
    struct itimerspec its = {{0, 1000000}, {0, 1000000}}, off = {0};
    timer_t t = make(CLOCK_REALTIME, SIGRTMIN, 5);
    sigset_t set;

    handle(SIGRTMIN);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    usleep(50000);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(fired >= 1);
    CHECK_OK(timer_settime(t, 0, &off, NULL));
    /* The first delivery stood for all the expirations while the signal was blocked. */
    CHECK(fired > 1 || last_overrun >= 20);
    CHECK_OK(timer_delete(t));
}

TEST(posix_timer_sigwait_and_getoverrun)
{
    struct itimerspec its = {{0, 1000000}, {0, 1000000}};
    timer_t t = make(CLOCK_MONOTONIC, SIGRTMIN + 1, 9);
    siginfo_t info;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    usleep(30000);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
    CHECK(info.si_overrun >= 10);
    CHECK_EQ(timer_getoverrun(t), info.si_overrun);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
    CHECK_OK(timer_delete(t));
    struct timespec none = {0, 0};
    sigtimedwait(&set, &info, &none);
    CHECK_ERR(sigtimedwait(&set, &info, &none), EAGAIN);
}

TEST(posix_timer_absolute_and_none)
{
    struct sigevent ev = {.sigev_notify = SIGEV_NONE};
    struct itimerspec its = {.it_value = {0, 20000000}}, cur;
    struct timespec now;
    timer_t t;

    CHECK_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    usleep(40000);
    CHECK_OK(timer_gettime(t, &cur));
    CHECK_EQ(cur.it_value.tv_nsec, 0);
    CHECK_OK(timer_delete(t));

    handle(SIGUSR1);
    t = make(CLOCK_REALTIME, SIGUSR1, 1);
    clock_gettime(CLOCK_REALTIME, &now);
    its.it_value = now;
    its.it_value.tv_sec -= 5;
    CHECK_OK(timer_settime(t, TIMER_ABSTIME, &its, NULL));
    usleep(20000);
    CHECK_EQ(fired, 1);
    CHECK_OK(timer_delete(t));
}

static volatile int stop;
static volatile pid_t thread_tid;

static void *thread(void *arg)
{
    thread_tid = (pid_t)syscall(SYS_gettid);
    while (!stop)
        usleep(1000);
    return NULL;
}

TEST(posix_timer_to_one_thread)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
    struct itimerspec its = {.it_value = {0, 10000000}};
    pthread_t th;
    timer_t t;

    handle(SIGUSR2);
    stop = 0;
    thread_tid = 0;
    pthread_create(&th, NULL, thread, NULL);
    while (!thread_tid)
        usleep(1000);
    ev._sigev_un._tid = thread_tid;
    CHECK_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    while (!fired)
        usleep(1000);
    CHECK_EQ(last_tid, thread_tid);
    stop = 1;
    pthread_join(th, NULL);
    CHECK_OK(timer_delete(t));
    ev._sigev_un._tid = 1 << 29;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &t), EINVAL);
}

TEST(posix_timer_on_cpu_time)
{
    struct itimerspec its = {{0, 20000000}, {0, 20000000}};
    timer_t t = make(CLOCK_PROCESS_CPUTIME_ID, SIGUSR1, 3);
    time_t start = time(NULL);

    handle(SIGUSR1);
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    while (fired < 3 && time(NULL) - start < 30)
        ;
    CHECK(fired >= 3);
    CHECK_OK(timer_delete(t));
    t = make(CLOCK_THREAD_CPUTIME_ID, SIGUSR1, 3);
    fired = 0;
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    usleep(100000);
    CHECK_EQ(fired, 0);
    while (fired < 2 && time(NULL) - start < 50)
        ;
    CHECK(fired >= 2);
    CHECK_OK(timer_delete(t));
}

static void notified(union sigval v)
{
    fired = v.sival_int;
}

TEST(posix_timer_in_a_libc_thread)
{
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 12, .sigev_notify_function = notified};
    struct itimerspec its = {.it_value = {0, 1000000}};
    timer_t t;

    fired = 0;
    CHECK_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
    CHECK_OK(timer_settime(t, 0, &its, NULL));
    while (!fired)
        usleep(1000);
    CHECK_EQ(fired, 12);
    CHECK_OK(timer_delete(t));
}

TEST(posix_timer_errors)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99};
    struct itimerspec bad = {.it_value = {0, 1000000000}}, its = {0};
    int t;

    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &t), EINVAL);
    ev.sigev_notify = 77;
    ev.sigev_signo = SIGUSR1;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &t), EINVAL);
    CHECK_ERR(syscall(SYS_timer_create, 99, NULL, &t), EINVAL);
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, NULL, &t), EOPNOTSUPP);
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, (void *)1), EFAULT);
    CHECK_ERR(syscall(SYS_timer_settime, 12345, 0, &its, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_timer_gettime, 12345, &its), EINVAL);
    CHECK_ERR(syscall(SYS_timer_getoverrun, 12345), EINVAL);
    CHECK_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &t));
    CHECK_ERR(syscall(SYS_timer_settime, t, 0, &bad, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_timer_settime, t, 0, NULL, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_timer_settime, t, 0, (void *)1, NULL), EFAULT);
    CHECK_OK(syscall(SYS_timer_delete, t));
}

TEST(posix_timer_is_not_inherited)
{
    timer_t t = make(CLOCK_MONOTONIC, SIGUSR1, 1);
    struct itimerspec cur;
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(timer_gettime(t, &cur) == -1 && errno == EINVAL ? 0 : 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(timer_delete(t));
}

TEST_MAIN()
