/* The pid table: sequence, reuse, limits. */
#include "sentry/kernel/pid.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

static struct kernel *make_kernel(void)
{
    struct kernel *k = calloc(1, sizeof(*k));

    mutex_init(&k->tasks_lock);
    cr_assert_eq(pid_table_create(&k->pids), 0);
    return k;
}

static void drop(struct pid *pid)
{
    pid_release(pid);
    pid_put(pid);
}

Test(pid, numbers_go_up_and_are_not_reused_at_once)
{
    struct kernel *k = make_kernel();
    struct pid *a = pid_alloc(k), *b = pid_alloc(k);

    cr_assert_eq(a->nr, 1);
    cr_assert_eq(b->nr, 2);
    cr_assert_eq(pid_find(k, 2), b);
    drop(b);
    cr_assert_null(pid_find(k, 2));
    cr_assert_eq(pid_alloc(k)->nr, 3);
    cr_assert_eq(pid_last(k), 3);
    cr_assert_null(pid_find(k, 0));
    cr_assert_null(pid_find(k, -1));
    cr_assert_null(pid_find(k, PID_MAX_LIMIT + 5));
}

Test(pid, wraps_above_the_reserved_ones)
{
    struct kernel *k = make_kernel();
    struct pid *first = pid_alloc(k), *pid;

    cr_assert_eq(pid_max_set(k, 400), 0);
    for (int nr = 2; nr < 400; nr++) {
        pid = pid_alloc(k);
        cr_assert_eq(pid->nr, nr);
        drop(pid);
    }
    pid = pid_alloc(k);
    cr_assert_eq(pid->nr, 300);
    cr_assert_eq(pid_find(k, 1), first);
}

Test(pid, full_table_says_so)
{
    struct kernel *k = make_kernel();
    struct pid *pid = NULL, *last = NULL;
    int n = 0;

    cr_assert_eq(pid_max_set(k, PID_MAX_MIN), 0);
    while ((pid = pid_alloc(k))) {
        last = pid;
        n++;
    }
    cr_assert_eq(n, PID_MAX_MIN - 1);
    pid_t nr = last->nr;
    drop(last);
    cr_assert_eq(pid_alloc(k)->nr, nr);
}

Test(pid, limits_of_pid_max)
{
    struct kernel *k = make_kernel();

    cr_assert_eq(pid_max(k), PID_MAX_DEFAULT);
    cr_assert_eq(pid_max_set(k, PID_MAX_MIN - 1), -EINVAL);
    cr_assert_eq(pid_max_set(k, PID_MAX_LIMIT + 1), -EINVAL);
}

Test(pid, a_number_stays_while_it_names_something)
{
    struct kernel *k = make_kernel();
    struct pid *pid = pid_alloc(k);

    pid->pgrp = (struct pgrp *)k; /* only looked at for being there */
    pid_release(pid);
    cr_assert_eq(pid_find(k, pid->nr), pid);
    pid->pgrp = NULL;
    pid_release(pid);
    cr_assert_null(pid_find(k, pid->nr));
    pid_put(pid);
}

Test(pid, tasks_of_a_user_are_counted)
{
    struct kernel *k = make_kernel();

    for (uid_t u = 0; u < 20; u++)
        user_nproc_add(k, u, 1);
    user_nproc_add(k, 7, 2);
    cr_assert_eq(user_nproc(k, 7), 3);
    user_nproc_add(k, 7, -3);
    cr_assert_eq(user_nproc(k, 7), 0);
    cr_assert_eq(user_nproc(k, 19), 1);
}
