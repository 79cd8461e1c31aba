/* The event loop and the timer queue. */
#include "lib/waitq.h"
#include "sentry/host/loop.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ktimer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct host_loop *loop;
static pthread_t thread;

static void *run(void *arg)
{
    host_loop_run(loop);
    return NULL;
}

static void start(void)
{
    cr_assert_eq(host_loop_create(&loop), 0);
    cr_assert_eq(pthread_create(&thread, NULL, run, NULL), 0);
}

static void stop(void)
{
    host_loop_stop(loop);
    pthread_join(thread, NULL);
    host_loop_destroy(loop);
}

TestSuite(loop, .init = start, .fini = stop, .timeout = 20);

struct test_timer {
    struct ktimer kt;
    int64_t due, fired;
    atomic_int count;
};

static int64_t last_due;
static atomic_int total, out_of_order;

static void on_fire(struct ktimer *kt)
{
    struct test_timer *t = container_of(kt, struct test_timer, kt);

    t->fired = kernel_monotonic_ns();
    if (t->due < last_due)
        atomic_fetch_add(&out_of_order, 1);
    last_due = t->due;
    atomic_fetch_add(&t->count, 1);
    atomic_fetch_add(&total, 1);
}

static void wait_for(atomic_int *n, int value)
{
    while (atomic_load(n) < value)
        usleep(1000);
}

Test(loop, timers_fire_in_order_and_not_early)
{
    enum { N = 500 };
    struct test_timer *t = calloc(N, sizeof(*t));
    int64_t now = kernel_monotonic_ns();

    srand(1);
    for (int i = 0; i < N; i++) {
        ktimer_init(&t[i].kt, loop, on_fire);
        t[i].due = now + 50000000 + rand() % 100000000;
    }
    for (int i = 0; i < N; i++)
        ktimer_set(&t[i].kt, t[i].due);
    wait_for(&total, N);
    cr_assert_eq(atomic_load(&out_of_order), 0);
    for (int i = 0; i < N; i++)
        cr_assert(t[i].fired >= t[i].due);
    free(t);
}

Test(loop, cancelled_timers_do_not_fire)
{
    enum { N = 300 };
    struct test_timer *t = calloc(N, sizeof(*t));
    int64_t now = kernel_monotonic_ns();

    for (int i = 0; i < N; i++) {
        ktimer_init(&t[i].kt, loop, on_fire);
        t[i].due = now + 100000000 + (i * 7919) % 1000;
        ktimer_set(&t[i].kt, t[i].due);
    }
    for (int i = 0; i < N; i += 3)
        cr_assert(ktimer_cancel(&t[i].kt));
    for (int i = 1; i < N; i += 3) {
        t[i].due = now + 50000000;
        ktimer_set(&t[i].kt, t[i].due);
    }
    wait_for(&total, N - N / 3);
    usleep(50000);
    for (int i = 0; i < N; i++)
        cr_assert_eq(atomic_load(&t[i].count), i % 3 ? 1 : 0);
    cr_assert_not(ktimer_cancel(&t[1].kt));
    for (int i = 0; i < N; i++)
        ktimer_cancel_sync(&t[i].kt);
    free(t);
}

static void on_fire_again(struct ktimer *kt)
{
    struct test_timer *t = container_of(kt, struct test_timer, kt);

    usleep(2000);
    if (atomic_fetch_add(&t->count, 1) < 1000)
        ktimer_set(kt, 0);
}

Test(loop, cancel_sync_ends_a_timer_that_sets_itself)
{
    struct test_timer t = {.count = 0};
    int seen;

    ktimer_init(&t.kt, loop, on_fire_again);
    ktimer_set(&t.kt, 0);
    wait_for(&t.count, 5);
    ktimer_cancel_sync(&t.kt);
    seen = atomic_load(&t.count);
    usleep(20000);
    cr_assert_eq(atomic_load(&t.count), seen);
}

static struct host_work work;
static atomic_int worked;

static void on_work(struct host_work *w)
{
    atomic_fetch_add(&worked, 1);
}

Test(loop, posted_work_runs)
{
    work.fn = on_work;
    host_loop_post(loop, &work);
    wait_for(&worked, 1);
}

static atomic_int woken;

static bool on_wake(struct waitq_entry *e, uint32_t events)
{
    if (events & POLLIN)
        atomic_fetch_add(&woken, 1);
    return true;
}

Test(loop, watched_descriptors_wake_their_queue)
{
    struct waitq_entry e = {.mask = POLLIN, .wake = on_wake};
    struct waitq wq;
    int64_t handle;
    int fd[2];

    waitq_init(&wq);
    list_init(&e.node);
    waitq_add(&wq, &e);
    cr_assert_eq(pipe(fd), 0);
    cr_assert_eq(write(fd[1], "x", 1), 1);
    handle = host_loop_watch(loop, fd[0], &wq);
    cr_assert(handle > 0);
    wait_for(&woken, 1); /* what was there before counts */
    cr_assert_eq(write(fd[1], "x", 1), 1);
    wait_for(&woken, 2);
    usleep(20000);
    cr_assert_eq(atomic_load(&woken), 2); /* an edge each, although nobody has read */
    host_loop_unwatch(loop, handle);
    cr_assert_eq(write(fd[1], "x", 1), 1);
    usleep(20000);
    cr_assert_eq(atomic_load(&woken), 2);
    waitq_remove(&e);
    waitq_fini(&wq);
}

Test(loop, regular_files_cannot_be_watched)
{
    FILE *f = tmpfile();
    struct waitq wq;

    waitq_init(&wq);
    cr_assert_eq(host_loop_watch(loop, fileno(f), &wq), -EPERM);
    waitq_fini(&wq);
    fclose(f);
}
