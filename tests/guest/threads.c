/* Threads of a process: ids, signals to them, exits in any order, exec and exit_group from a thread. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void *ids(void *arg)
{
    pid_t *out = arg;

    out[0] = getpid();
    out[1] = (pid_t)syscall(SYS_gettid);
    out[2] = getppid();
    return NULL;
}

TEST(threads_share_pid_and_differ_in_tid)
{
    pid_t got[3];
    pthread_t th;

    CHECK_EQ(pthread_create(&th, NULL, ids, got), 0);
    CHECK_EQ(pthread_join(th, NULL), 0);
    CHECK_EQ(got[0], getpid());
    CHECK(got[1] != getpid());
    CHECK_EQ(got[2], getppid());
}

static int run(void (*fn)(void))
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

static void *sleep_for_ever(void *arg)
{
    for (;;)
        pause();
    return NULL;
}

static void *spin_for_ever(void *arg)
{
    for (;;)
        ;
    return NULL;
}

static void *group_exit(void *arg)
{
    usleep(10000);
    syscall(SYS_exit_group, 33);
    return NULL;
}

static void exit_group_from_thread(void)
{
    pthread_t th;

    for (int i = 0; i < 4; i++)
        pthread_create(&th, NULL, i & 1 ? sleep_for_ever : spin_for_ever, NULL);
    pthread_create(&th, NULL, group_exit, NULL);
    sleep_for_ever(NULL);
}

TEST(exit_group_ends_all_threads)
{
    CHECK_EQ(run(exit_group_from_thread), 33 << 8);
}

static void *exit_later(void *arg)
{
    usleep(30000);
    syscall(SYS_exit, 0);
    return NULL;
}

static void leader_exits_first(void)
{
    pthread_t th;

    pthread_create(&th, NULL, exit_later, NULL);
    syscall(SYS_exit, 7);
}

/* The status is the one of the last thread, unless somebody called exit_group. */
TEST(leader_may_exit_first)
{
    int status = run(leader_exits_first);

    CHECK(WIFEXITED(status));
}

static void *exec_self(void *arg)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%d", getpid());
    execl("/proc/self/exe", "threads", "--check-alone", pid, NULL);
    _exit(99);
}

static void exec_from_thread(void)
{
    pthread_t th;

    for (int i = 0; i < 3; i++)
        pthread_create(&th, NULL, i ? sleep_for_ever : spin_for_ever, NULL);
    pthread_create(&th, NULL, exec_self, NULL);
    sleep_for_ever(NULL);
}

TEST(exec_from_a_thread_takes_over_the_process)
{
    CHECK_EQ(run(exec_from_thread), 0);
}

static volatile int calls;
static volatile pid_t handled_by;

static void on_signal(int sig)
{
    handled_by = (pid_t)syscall(SYS_gettid);
    calls++;
}

static volatile pid_t tid;
static volatile int go;

static void *wait_signal(void *arg)
{
    tid = (pid_t)syscall(SYS_gettid);
    while (!go)
        usleep(1000);
    return NULL;
}

TEST(tgkill_reaches_the_thread)
{
    pthread_t th;

    signal(SIGUSR1, on_signal);
    calls = go = tid = 0;
    pthread_create(&th, NULL, wait_signal, NULL);
    while (!tid)
        usleep(1000);
    CHECK_EQ(syscall(SYS_tgkill, getpid(), tid, SIGUSR1), 0);
    while (!calls)
        usleep(1000);
    CHECK_EQ(handled_by, tid);
    go = 1;
    pthread_join(th, NULL);
    /* A join waits for less than the end of the thread. */
    for (int i = 0; i < 1000 && syscall(SYS_tgkill, getpid(), tid, 0) == 0; i++)
        usleep(1000);
    CHECK_ERR(syscall(SYS_tgkill, getpid(), tid, 0), ESRCH);
}

TEST(process_signals_go_to_a_thread_that_takes_them)
{
    sigset_t set;
    pthread_t th;

    calls = go = tid = 0;
    pthread_create(&th, NULL, wait_signal, NULL);
    while (!tid)
        usleep(1000);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    while (!calls)
        usleep(1000);
    CHECK_EQ(handled_by, tid);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    go = 1;
    pthread_join(th, NULL);
}

static void *short_life(void *arg)
{
    return arg;
}

TEST(many_short_threads)
{
    pthread_t th[16];
    void *r;

    for (int round = 0; round < 20; round++) {
        for (long i = 0; i < 16; i++)
            CHECK_EQ(pthread_create(&th[i], NULL, short_life, (void *)i), 0);
        for (long i = 0; i < 16; i++) {
            CHECK_EQ(pthread_join(th[i], &r), 0);
            CHECK_EQ((long)r, i);
        }
    }
}

static void *fault(void *arg)
{
    *(volatile int *)16 = 1;
    return NULL;
}

static void fault_in_thread(void)
{
    struct rlimit no_core = {0, 0};
    pthread_t th;

    setrlimit(RLIMIT_CORE, &no_core);
    pthread_create(&th, NULL, fault, NULL);
    sleep_for_ever(NULL);
}

TEST(a_fault_in_a_thread_kills_the_process)
{
    CHECK_EQ(run(fault_in_thread) & 0x7f, SIGSEGV);
}

static void *fork_and_wait(void *arg)
{
    int status;

    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(5);
        if (waitpid(pid, &status, 0) != pid || status != 5 << 8)
            return (void *)1;
    }
    return NULL;
}

TEST(threads_fork_side_by_side)
{
    pthread_t th[4];
    void *r;

    for (int i = 0; i < 4; i++)
        pthread_create(&th[i], NULL, fork_and_wait, NULL);
    for (int i = 0; i < 4; i++) {
        pthread_join(th[i], &r);
        CHECK(r == NULL);
    }
}

static pid_t made;

static void *make_child(void *arg)
{
    made = fork();
    if (made == 0) {
        usleep(20000);
        _exit(6);
    }
    return NULL;
}

/* A child belongs to the process; with __WNOTHREAD only to the thread that made it, and after that one's end to another. */
TEST(children_survive_the_thread_that_made_them)
{
    pthread_t th;
    int status;

    pthread_create(&th, NULL, make_child, NULL);
    pthread_join(th, NULL);
    CHECK_EQ(waitpid(made, &status, 0), made);
    CHECK_EQ(status, 6 << 8);
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--check-alone") == 0)
        return !(getpid() == atoi(argv[2]) && (pid_t)syscall(SYS_gettid) == getpid());
    return guest_test_main(argc, argv);
}
