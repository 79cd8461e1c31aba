/*
 * The pid table: an array of pointers indexed by number, reserved whole and touched page by page as numbers are used, and the
 * count of tasks per real user.
 *
 * Numbers are given out cyclically: the search goes on after the last one given, up to pid_max, then from PID_RESERVED (the low
 * ones are for those who start early). A full turn without a free slot means that there is none.
 */
#include "sentry/kernel/pid.h"

#include "sentry/kernel/task.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PID_RESERVED    300
#define PID_TABLE_BYTES (PID_MAX_LIMIT * sizeof(struct pid *))

struct user_count {
    uid_t uid;
    unsigned int n;
};

struct pid_table {
    struct pid **slots; /* PID_MAX_LIMIT of them */
    pid_t last;
    pid_t max;     /* numbers are below */
    pid_t highest; /* no slot above it was ever used: bounds the walks of /proc */
    unsigned int nr_used;
    struct user_count *users;
    size_t nr_users, cap_users;
};

int pid_table_create(struct pid_table **out)
{
    struct pid_table *pt = calloc(1, sizeof(*pt));
    void *slots;

    if (!pt)
        return -ENOMEM;
    slots = mmap(NULL, PID_TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slots == MAP_FAILED) {
        free(pt);
        return -ENOMEM;
    }
    pt->slots = (struct pid **)slots;
    pt->max = PID_MAX_DEFAULT;
    *out = pt;
    return 0;
}

void pid_table_destroy(struct pid_table *pt)
{
    if (!pt)
        return;
    munmap(pt->slots, PID_TABLE_BYTES);
    free(pt->users);
    free(pt);
}

struct pid *pid_alloc(struct kernel *k)
{
    struct pid_table *pt = k->pids;
    struct pid *pid;
    pid_t nr = pt->last;

    if ((pid_t)pt->nr_used >= pt->max - 1)
        return NULL;
    do {
        nr++;
        if (nr >= pt->max)
            nr = pt->max > PID_RESERVED ? PID_RESERVED : 1;
        if (nr == pt->last && pt->slots[nr])
            return NULL;
    } while (pt->slots[nr]);

    pid = calloc(1, sizeof(*pid));
    if (!pid)
        return NULL;
    ref_init(&pid->ref);
    ref_get(&pid->ref); /* the table's */
    pid->nr = nr;
    pid->k = k;
    waitq_init(&pid->exit_wq);
    pt->slots[nr] = pid;
    pt->last = nr;
    pt->nr_used++;
    if (nr > pt->highest)
        pt->highest = nr;
    return pid;
}

struct pid *pid_find(struct kernel *k, pid_t nr)
{
    if (nr <= 0 || nr >= PID_MAX_LIMIT || nr > k->pids->highest)
        return NULL;
    return k->pids->slots[nr];
}

void pid_release(struct pid *pid)
{
    struct pid_table *pt = pid->k->pids;

    if (pid->task || pid->tgroup || pid->pgrp || pid->session || pt->slots[pid->nr] != pid)
        return;
    pt->slots[pid->nr] = NULL;
    pt->nr_used--;
    pid_put(pid);
}

struct pid *pid_get(struct pid *pid)
{
    ref_get(&pid->ref);
    return pid;
}

void pid_put(struct pid *pid)
{
    if (!pid || !ref_put(&pid->ref))
        return;
    waitq_fini(&pid->exit_wq);
    free(pid);
}

pid_t pid_max(struct kernel *k)
{
    mutex_lock(&k->tasks_lock);
    pid_t max = k->pids->max;
    mutex_unlock(&k->tasks_lock);
    return max;
}

int pid_max_set(struct kernel *k, pid_t max)
{
    if (max < PID_MAX_MIN || max > PID_MAX_LIMIT)
        return -EINVAL;
    mutex_lock(&k->tasks_lock);
    k->pids->max = max;
    mutex_unlock(&k->tasks_lock);
    return 0;
}

pid_t pid_last(struct kernel *k)
{
    mutex_lock(&k->tasks_lock);
    pid_t last = k->pids->last;
    mutex_unlock(&k->tasks_lock);
    return last;
}

struct tgroup *tgroup_next(struct kernel *k, pid_t from)
{
    struct tgroup *tg = NULL;

    mutex_lock(&k->tasks_lock);
    for (pid_t nr = from < 1 ? 1 : from; nr <= k->pids->highest && !tg; nr++)
        if (k->pids->slots[nr] && k->pids->slots[nr]->tgroup)
            tg = tgroup_get(k->pids->slots[nr]->tgroup);
    mutex_unlock(&k->tasks_lock);
    return tg;
}

struct task *tgroup_next_task(struct tgroup *tg, pid_t from)
{
    struct task *t, *best = NULL;

    mutex_lock(&tg->k->tasks_lock);
    list_for_each_entry(t, &tg->threads, thread_node) {
        if (t->tid >= from && (!best || t->tid < best->tid))
            best = t;
    }
    if (best)
        task_get(best);
    mutex_unlock(&tg->k->tasks_lock);
    return best;
}

static struct user_count *user_count_find(struct pid_table *pt, uid_t uid)
{
    for (size_t i = 0; i < pt->nr_users; i++)
        if (pt->users[i].uid == uid)
            return &pt->users[i];
    return NULL;
}

void user_nproc_add(struct kernel *k, uid_t uid, int delta)
{
    struct pid_table *pt = k->pids;
    struct user_count *u = user_count_find(pt, uid);

    if (!u) {
        if (pt->nr_users == pt->cap_users) {
            size_t cap = pt->cap_users ? 2 * pt->cap_users : 8;
            struct user_count *grown = realloc(pt->users, cap * sizeof(*grown));
            if (!grown)
                return; /* this user's tasks go uncounted */
            pt->users = grown;
            pt->cap_users = cap;
        }
        u = &pt->users[pt->nr_users++];
        *u = (struct user_count){.uid = uid};
    }
    if (delta > 0 || u->n >= (unsigned int)-delta)
        u->n += (unsigned int)delta;
    if (u->n == 0)
        *u = pt->users[--pt->nr_users];
}

unsigned int user_nproc(struct kernel *k, uid_t uid)
{
    const struct user_count *u = user_count_find(k->pids, uid);

    return u ? u->n : 0;
}
