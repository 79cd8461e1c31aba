/* Scheduling calls, affinity, priorities, I/O priorities, getcpu. */
#include "tests/guest/guest_test.h"

#include <grp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};

/* Runs `fn` in a child that has no privileges: its exit status. */
static int unprivileged(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (getuid() == 0 && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
            _exit(2);
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

TEST(sched_policy_defaults)
{
    struct sched_param p;

    CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
    CHECK_OK(sched_getparam(0, &p));
    CHECK_EQ(p.sched_priority, 0);
    CHECK_OK(sched_setscheduler(0, SCHED_BATCH, &p));
    CHECK_EQ(sched_getscheduler(getpid()), SCHED_BATCH);
    CHECK_OK(sched_setscheduler(0, SCHED_OTHER, &p));
}

TEST(sched_argument_errors)
{
    struct sched_param p = {0}, one = {1};
    struct timespec ts;

    CHECK_ERR(sched_setscheduler(0, 99, &p), EINVAL);
    CHECK_ERR(sched_setscheduler(0, SCHED_OTHER, &one), EINVAL);
    CHECK_ERR(sched_setscheduler(0, SCHED_FIFO, &p), EINVAL);
    CHECK_ERR(sched_setscheduler(0, SCHED_OTHER, NULL), EINVAL);
    CHECK_ERR(sched_setscheduler(-1, SCHED_OTHER, &p), EINVAL);
    CHECK_ERR(sched_setscheduler(1 << 29, SCHED_OTHER, &p), ESRCH);
    CHECK_ERR(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, (void *)1), EFAULT);
    CHECK_ERR(sched_getparam(1 << 29, &p), ESRCH);
    CHECK_ERR(sched_getscheduler(-1), EINVAL);
    CHECK_ERR(sched_rr_get_interval(-1, &ts), EINVAL);
    CHECK_OK(sched_rr_get_interval(0, &ts));
}

TEST(sched_priority_ranges)
{
    CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
    CHECK_EQ(sched_get_priority_min(SCHED_RR), 1);
    CHECK_EQ(sched_get_priority_max(SCHED_OTHER), 0);
    CHECK_EQ(sched_get_priority_min(SCHED_BATCH), 0);
    CHECK_EQ(sched_get_priority_max(SCHED_IDLE), 0);
    CHECK_ERR(sched_get_priority_max(99), EINVAL);
}

static void no_realtime(void)
{
    struct sched_param one = {1}, zero = {0};

    CHECK_ERR(sched_setscheduler(0, SCHED_FIFO, &one), EPERM);
    CHECK_ERR(sched_setscheduler(getppid(), SCHED_OTHER, &zero), EPERM);
    CHECK_ERR(setpriority(PRIO_PROCESS, 0, -5), EACCES);
    CHECK_ERR(setpriority(PRIO_PROCESS, 1, 5), EPERM);
    CHECK_OK(setpriority(PRIO_PROCESS, 0, 5));
    errno = 0;
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 5);
    CHECK_ERR(setpriority(PRIO_PROCESS, 0, 0), EACCES);
    CHECK_EQ(nice(3), 8);
    CHECK_ERR(syscall(SYS_ioprio_set, 1, 0, 1 << 13), EPERM);
}

TEST(sched_unprivileged_limits)
{
    CHECK_EQ(unprivileged(no_realtime), 0);
}

TEST(sched_attr)
{
    struct attr a = {0};

    CHECK_OK(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0));
    CHECK_EQ(a.policy, SCHED_OTHER);
    CHECK(a.size >= 48);
    a = (struct attr){.size = sizeof(a), .policy = SCHED_OTHER, .nice = 3};
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_OK(syscall(SYS_sched_setattr, 0, &a, 0));
        CHECK_EQ(getpriority(PRIO_PROCESS, 0), 3);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
    CHECK_ERR(syscall(SYS_sched_getattr, 0, &a, 47, 0), EINVAL);
    CHECK_ERR(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 1), EINVAL);
    CHECK_ERR(syscall(SYS_sched_getattr, 0, NULL, sizeof(a), 0), EINVAL);
    a.size = 5;
    CHECK_ERR(syscall(SYS_sched_setattr, 0, &a, 0), E2BIG);
    CHECK(a.size >= 48);
}

TEST(sched_affinity)
{
    cpu_set_t set, one;
    unsigned int cpu, node;
    int first = 0, n;
    unsigned long small;

    CHECK_OK(sched_getaffinity(0, sizeof(set), &set));
    n = CPU_COUNT(&set);
    CHECK(n >= 1);
    while (!CPU_ISSET(first, &set))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK_OK(sched_setaffinity(0, sizeof(one), &one));
    CHECK_OK(sched_getaffinity(0, sizeof(one), &one));
    CHECK_EQ(CPU_COUNT(&one), 1);
    CHECK_OK(syscall(SYS_getcpu, &cpu, &node, NULL));
    CHECK_EQ(cpu, first);
    CHECK_OK(sched_setaffinity(0, sizeof(set), &set));
    CPU_ZERO(&one);
    CHECK_ERR(sched_setaffinity(0, sizeof(one), &one), EINVAL);
    CHECK_ERR(sched_setaffinity(1 << 29, sizeof(set), &set), ESRCH);
    CHECK_ERR(syscall(SYS_sched_getaffinity, 0, 7, &small), EINVAL);
    CHECK_ERR(syscall(SYS_sched_getaffinity, 0, sizeof(set), (void *)1), EFAULT);
    CHECK_EQ(sysconf(_SC_NPROCESSORS_ONLN) >= n, 1);
}

TEST(sched_getpriority_errors)
{
    CHECK_ERR(getpriority(7, 0), EINVAL);
    CHECK_ERR(getpriority(PRIO_PROCESS, 1 << 29), ESRCH);
    CHECK_ERR(setpriority(PRIO_USER, -2, 0), ESRCH);
    errno = 0;
    getpriority(PRIO_PGRP, 0);
    CHECK_EQ(errno, 0);
    getpriority(PRIO_USER, 0);
    CHECK_EQ(errno, 0);
}

TEST(sched_ioprio)
{
    CHECK_OK(syscall(SYS_ioprio_get, 1, 0));
    CHECK_OK(syscall(SYS_ioprio_set, 1, 0, (2 << 13) | 5));
    CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), (2 << 13) | 5);
    CHECK_ERR(syscall(SYS_ioprio_set, 1, 0, 7 << 13), EINVAL);
    CHECK_ERR(syscall(SYS_ioprio_set, 9, 0, 2 << 13), EINVAL);
    CHECK_ERR(syscall(SYS_ioprio_get, 1, 1 << 29), ESRCH);
    CHECK_OK(syscall(SYS_ioprio_set, 1, 0, 0));
}

TEST(sched_yield_succeeds)
{
    CHECK_EQ(sched_yield(), 0);
}

TEST_MAIN()
