/* futex(2): waiting, waking, bit sets, requeueing, wake-op, timeouts, futex_waitv; what sentry/kernel/futex.c serves. */
#include "tests/guest/guest_test.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static long futex(void *addr, int op, unsigned int val, const void *timeout_or_val2, void *addr2, unsigned int val3)
{
    return syscall(SYS_futex, addr, op, val, timeout_or_val2, addr2, val3);
}

static atomic_uint word, word2;
static atomic_int woken, waiter_tid;

static void *waiter(void *op)
{
    waiter_tid = gettid();
    if (futex(&word, (int)(intptr_t)op, 0, NULL, NULL, FUTEX_BITSET_MATCH_ANY) == 0)
        atomic_fetch_add(&woken, 1);
    return NULL;
}

/* Starts a thread that begins with storing its id in waiter_tid, and waits until it sleeps. */
static void start_sleeper(pthread_t *t, void *(*fn)(void *), void *arg)
{
    waiter_tid = 0;
    CHECK_EQ(pthread_create(t, NULL, fn, arg), 0);
    while (!waiter_tid)
        usleep(100);
    wait_blocked(0, waiter_tid);
}

/* Lets `n` threads wait for `word`. */
static void start_waiters(pthread_t *t, int n, int op)
{
    word = 0;
    woken = 0;
    for (int i = 0; i < n; i++)
        start_sleeper(&t[i], waiter, (void *)(intptr_t)op);
}

static void join(pthread_t *t, int n)
{
    for (int i = 0; i < n; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
}

static int64_t now_ns(clockid_t c)
{
    struct timespec ts;
    clock_gettime(c, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

TEST(futex_wait_checks_the_value)
{
    word = 5;
    CHECK_ERR(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 4, NULL, NULL, 0), EAGAIN);
}

TEST(futex_bad_arguments)
{
    struct timespec bad = {0, 1000000000}, neg = {-1, 0};

    word = 0;
    CHECK_ERR(futex((char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex((char *)&word + 2, FUTEX_WAKE, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex((void *)4096, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
    CHECK_ERR(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_WAIT, 0, &neg, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_WAIT, 0, (void *)1, NULL, 0), EFAULT);
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_FD, 0, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(futex(&word, 99, 0, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(futex(&word, FUTEX_CMP_REQUEUE, -1, NULL, &word2, 0), EINVAL);
}

TEST(futex_wake_counts)
{
    pthread_t t[4];

    start_waiters(t, 4, FUTEX_WAIT_PRIVATE);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0), 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 1);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 0);
    join(t, 4);
    CHECK_EQ(woken, 4);
}

static void *bit_waiter(void *bits)
{
    waiter_tid = gettid();
    if (futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (unsigned int)(intptr_t)bits) == 0)
        atomic_fetch_or(&woken, (int)(intptr_t)bits);
    return NULL;
}

TEST(futex_bitset_selects)
{
    pthread_t t[3];

    word = 0;
    woken = 0;
    for (int i = 0; i < 3; i++)
        start_sleeper(&t[i], bit_waiter, (void *)(intptr_t)(1 << i));
    CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2), 1);
    pthread_join(t[1], NULL);
    CHECK_EQ(woken, 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 5), 2);
    pthread_join(t[0], NULL);
    pthread_join(t[2], NULL);
}

TEST(futex_requeue_moves_waiters)
{
    pthread_t t[5];

    start_waiters(t, 5, FUTEX_WAIT_PRIVATE);
    CHECK_ERR(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1, &word2, 7), EAGAIN);
    CHECK_EQ(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &word2, 0), 3);
    CHECK_EQ(futex(&word2, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
    CHECK_EQ(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)10, &word2, 0), 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 0);
    CHECK_EQ(futex(&word2, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
    join(t, 5);
    CHECK_EQ(woken, 5);
}

TEST(futex_wake_op_changes_and_wakes)
{
    pthread_t t[2];

    start_waiters(t, 2, FUTEX_WAIT_PRIVATE);
    word2 = 10;
    /* word2 += 5; the old value was 10, so that the second word's waiters are woken as well (there are none). */
    CHECK_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word2, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 10)), 1);
    CHECK_EQ(word2, 15);
    /* The waited-for word as second one, with a comparison that fails and one that holds. */
    CHECK_EQ(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word, FUTEX_OP(FUTEX_OP_OR, 4, FUTEX_OP_CMP_GT, 0)), 0);
    CHECK_EQ(word, 4);
    CHECK_EQ(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &word, FUTEX_OP(FUTEX_OP_ANDN, 4, FUTEX_OP_CMP_EQ, 4)), 1);
    CHECK_EQ(word, 0);
    CHECK_EQ(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 0, NULL, &word,
                   FUTEX_OP((FUTEX_OP_OPARG_SHIFT | FUTEX_OP_SET), 6, FUTEX_OP_CMP_LT, 0)),
             0);
    CHECK_EQ(word, 64);
    CHECK_ERR(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 0, NULL, &word, FUTEX_OP(7, 6, FUTEX_OP_CMP_LT, 0)), ENOSYS);
    join(t, 2);
}

TEST(futex_timeouts)
{
    struct timespec rel = {0, 50000000}, abs;
    int64_t start = now_ns(CLOCK_MONOTONIC), took;

    word = 0;
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, &rel, NULL, 0), ETIMEDOUT);
    took = now_ns(CLOCK_MONOTONIC) - start;
    CHECK(took >= 50000000);
    clock_gettime(CLOCK_MONOTONIC, &abs);
    abs.tv_sec -= 1;
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &abs, NULL, ~0u), ETIMEDOUT);
    clock_gettime(CLOCK_REALTIME, &abs);
    abs.tv_nsec += 50000000;
    if (abs.tv_nsec >= 1000000000) {
        abs.tv_nsec -= 1000000000;
        abs.tv_sec++;
    }
    start = now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &abs, NULL, ~0u), ETIMEDOUT);
    took = now_ns(CLOCK_MONOTONIC) - start;
    CHECK(took >= 45000000);
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

TEST(futex_wait_is_interrupted_or_restarted)
{
    struct sigaction sa = {.sa_handler = on_signal};
    struct timespec rel = {100, 0};
    pthread_t self = pthread_self(), t;

    word = 0;
    sigaction(SIGUSR1, &sa, NULL);
    pthread_create(&t, NULL, interrupt_sleeper, &self);
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0), EINTR);
    pthread_join(t, NULL);
    sa.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &sa, NULL);
    pthread_create(&t, NULL, interrupt_sleeper, &self);
    /* With a timeout it uses a restart block, which a handler ends with EINTR even under SA_RESTART. */
    CHECK_ERR(futex(&word, FUTEX_WAIT_PRIVATE, 0, &rel, NULL, 0), EINTR);
    pthread_join(t, NULL);
}

TEST(futex_shared_between_processes)
{
    atomic_uint *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t pid;

    CHECK(shared != MAP_FAILED);
    pid = fork();
    if (pid == 0) {
        while (*shared == 0)
            futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0);
        _exit(*shared == 7 ? 0 : 1);
    }
    wait_blocked(pid, pid);
    *shared = 7;
    CHECK_EQ(futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(futex_private_is_not_shared_after_fork)
{
    static atomic_uint mine;
    struct timespec rel = {2, 0};
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(futex(&mine, FUTEX_WAIT_PRIVATE, 0, &rel, NULL, 0) == -1 && errno == ETIMEDOUT ? 0 : 1);
    wait_blocked(pid, pid);
    CHECK_EQ(futex(&mine, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static void *fifo_waiter(void *arg)
{
    waiter_tid = gettid();
    futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    *(int *)arg = atomic_fetch_add(&woken, 1);
    return NULL;
}

TEST(futex_wakes_in_order_of_arrival)
{
    pthread_t t[4];
    int order[4];

    word = 0;
    woken = 0;
    for (int i = 0; i < 4; i++)
        start_sleeper(&t[i], fifo_waiter, &order[i]);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
        pthread_join(t[i], NULL);
        CHECK_EQ(order[i], i);
    }
}

static void *nothing(void *arg)
{
    return NULL;
}

TEST(futex_clear_child_tid_wakes_a_joiner)
{
    pthread_t t;

    /* pthread_join() waits for exactly that. */
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(pthread_create(&t, NULL, nothing, NULL), 0);
        CHECK_EQ(pthread_join(t, NULL), 0);
    }
}

struct waitv {
    uint64_t val, uaddr;
    uint32_t flags, reserved;
};

static void *wake_second(void *arg)
{
    wait_blocked(0, getpid());
    futex(&word2, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    return NULL;
}

TEST(futex_waitv_waits_for_any)
{
    struct waitv w[2] = {{0, (uintptr_t)&word, 2 | 128, 0}, {0, (uintptr_t)&word2, 2 | 128, 0}};
    struct timespec abs;
    pthread_t t;
    long r;

    word = word2 = 0;
    if (syscall(449, w, 0, 0, NULL, 0) == -1 && errno == ENOSYS)
        SKIP("no futex_waitv");
    CHECK_ERR(syscall(449, w, 0, 0, NULL, 0), EINVAL);
    CHECK_ERR(syscall(449, w, 129, 0, NULL, 0), EINVAL);
    CHECK_ERR(syscall(449, w, 2, 1, NULL, 0), EINVAL);
    clock_gettime(CLOCK_MONOTONIC, &abs);
    CHECK_ERR(syscall(449, w, 2, 0, &abs, CLOCK_MONOTONIC), ETIMEDOUT);
    CHECK_ERR(syscall(449, w, 2, 0, &abs, CLOCK_BOOTTIME), EINVAL);
    w[1].val = 1;
    CHECK_ERR(syscall(449, w, 2, 0, NULL, 0), EAGAIN);
    w[1].val = 0;
    pthread_create(&t, NULL, wake_second, NULL);
    r = syscall(449, w, 2, 0, NULL, 0);
    CHECK_EQ(r, 1);
    pthread_join(t, NULL);
    w[0].flags = 1 | 128;
    CHECK_ERR(syscall(449, w, 2, 0, NULL, 0), EINVAL);
}

static pthread_mutex_t storm_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t storm_cond = PTHREAD_COND_INITIALIZER;
static int storm_turn;

static void *storm(void *arg)
{
    int me = (int)(intptr_t)arg;

    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&storm_lock);
        while (storm_turn != me)
            pthread_cond_wait(&storm_cond, &storm_lock);
        storm_turn = (me + 1) % 4;
        pthread_cond_broadcast(&storm_cond);
        pthread_mutex_unlock(&storm_lock);
    }
    return NULL;
}

TEST(futex_condition_variables_under_load)
{
    pthread_t t[4];

    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, storm, (void *)(intptr_t)i);
    join(t, 4);
}

TEST_MAIN()
