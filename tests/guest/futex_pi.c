/* Priority-inheritance futexes, as sentry/kernel/futex_pi.c serves them. */
#include "tests/guest/guest_test.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static long futex(void *addr, int op, unsigned int val, const void *timeout_or_val2, void *addr2, unsigned int val3)
{
    return syscall(SYS_futex, addr, op, val, timeout_or_val2, addr2, val3);
}

static unsigned int gettid_u(void)
{
    return (unsigned int)syscall(SYS_gettid);
}

static atomic_uint lock, cond;
static atomic_int entered;

TEST(futex_pi_free_lock)
{
    lock = 0;
    CHECK_OK(futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CHECK_EQ(lock & FUTEX_TID_MASK, gettid_u());
    CHECK_ERR(futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
    CHECK_ERR(futex(&lock, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CHECK_EQ(lock, 0);
    CHECK_ERR(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0), EPERM);
}

TEST(futex_pi_owner_must_exist)
{
    lock = 0x3ffffff0;
    CHECK_ERR(futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), ESRCH);
    lock = FUTEX_OWNER_DIED;
    CHECK_OK(futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CHECK_EQ(lock, FUTEX_OWNER_DIED | gettid_u());
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static void *contender(void *arg)
{
    if (futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0) {
        *(unsigned int *)arg = lock;
        if ((lock & FUTEX_TID_MASK) == gettid_u())
            atomic_fetch_add(&entered, 1);
        futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    }
    return NULL;
}

TEST(futex_pi_hands_over)
{
    pthread_t t[3];
    unsigned int seen[3];

    entered = 0;
    lock = gettid_u();
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, contender, &seen[i]);
    wait_others_blocked(3);
    CHECK_EQ(lock, gettid_u() | FUTEX_WAITERS);
    CHECK_EQ(entered, 0);
    CHECK_ERR(futex(&lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(entered, 3);
    CHECK_EQ(lock & FUTEX_TID_MASK, 0);
}

static void *try_locker(void *arg)
{
    *(int *)arg = futex(&lock, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == -1 ? errno : 0;
    return NULL;
}

static void *timed_locker(void *arg)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += 30000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }
    *(int *)arg = futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, &ts, NULL, 0) == -1 ? errno : 0;
    return NULL;
}

TEST(futex_pi_trylock_and_timeout)
{
    pthread_t t;
    int err;

    lock = gettid_u();
    pthread_create(&t, NULL, try_locker, &err);
    pthread_join(t, NULL);
    CHECK_EQ(err, EAGAIN);
    pthread_create(&t, NULL, timed_locker, &err);
    pthread_join(t, NULL);
    CHECK_EQ(err, ETIMEDOUT);
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CHECK_EQ(lock, 0);
}

static atomic_uint other_lock;

static void *cross(void *arg)
{
    other_lock = gettid_u();
    atomic_store(&entered, 1);
    if (futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0)
        futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    futex(&other_lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    return NULL;
}

TEST(futex_pi_detects_a_circle)
{
    pthread_t t;

    entered = 0;
    lock = gettid_u();
    pthread_create(&t, NULL, cross, NULL);
    while (!entered)
        usleep(1000);
    wait_others_blocked(1);
    CHECK_ERR(futex(&other_lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0), EDEADLK);
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    pthread_join(t, NULL);
}

static void *requeued(void *arg)
{
    if (futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &lock, 0) == 0) {
        if ((lock & FUTEX_TID_MASK) == gettid_u())
            atomic_fetch_add(&entered, 1);
        futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
    }
    return NULL;
}

TEST(futex_pi_requeue)
{
    pthread_t t[3];

    entered = 0;
    cond = 0;
    lock = gettid_u();
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, requeued, NULL);
    wait_others_blocked(3);
    CHECK_ERR(futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, (void *)10, &lock, 0), EINVAL);
    CHECK_ERR(futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &lock, 5), EAGAIN);
    CHECK_ERR(futex(&cond, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &lock, 0), 3);
    CHECK_EQ(entered, 0);
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(entered, 3);

    /* With the lock free the first one gets it at once. */
    entered = 0;
    lock = 0;
    pthread_create(&t[0], NULL, requeued, NULL);
    wait_others_blocked(1);
    CHECK_EQ(futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)10, &lock, 0), 1);
    pthread_join(t[0], NULL);
    CHECK_EQ(entered, 1);
}

static void *dies_with_it(void *arg)
{
    lock = gettid_u();
    atomic_store(&entered, 1);
    wait_blocked(0, getpid());
    return NULL;
}

TEST(futex_pi_owner_death_passes_it_on)
{
    pthread_t t;

    entered = 0;
    pthread_create(&t, NULL, dies_with_it, NULL);
    while (!entered)
        sched_yield(); /* not asleep */
    CHECK_OK(futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    CHECK_EQ(lock & (FUTEX_TID_MASK | FUTEX_OWNER_DIED), gettid_u() | FUTEX_OWNER_DIED);
    pthread_join(t, NULL);
    CHECK_OK(futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

static pthread_mutex_t mutex;
static long counter;

static void *count(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

TEST(futex_pi_mutexes_exclude)
{
    pthread_mutexattr_t attr;
    pthread_t t[4];

    pthread_mutexattr_init(&attr);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT), 0);
    CHECK_EQ(pthread_mutex_init(&mutex, &attr), 0);
    counter = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, count, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(counter, 80000);
}

TEST_MAIN()
