/*
 * A memory barrier on all threads, by making those that run in the guest leave it: coming out of platform_run() and going in
 * again orders everything. Threads that are not in the guest have had their barrier when they came out.
 */
#include "sentry/kernel/membarrier.h"

#include "sentry/kernel/pid.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define SPINS 200

struct watched {
    struct task *task;
    unsigned int seq;
};

struct watch_list {
    struct watched *v;
    size_t nr, cap;
};

static int watch_add(struct watch_list *wl, struct task *t, unsigned int seq)
{
    if (wl->nr == wl->cap) {
        size_t cap = wl->cap ? wl->cap * 2 : 16;
        struct watched *v = realloc(wl->v, cap * sizeof(*v));

        if (!v)
            return -ENOMEM;
        wl->v = v;
        wl->cap = cap;
    }
    wl->v[wl->nr++] = (struct watched){.task = task_get(t), .seq = seq};
    return 0;
}

static int watch_tgroup(struct watch_list *wl, struct task *t, struct tgroup *tg, bool all)
{
    struct task *u;
    int err = 0;

    mutex_lock(&tg->siglock);
    list_for_each_entry(u, &tg->threads, thread_node) {
        unsigned int seq = atomic_load(&u->guest_seq);

        if (u == t || !(seq & 1) || !u->ctx || !(all || u->mm == t->mm))
            continue;
        err = watch_add(wl, u, seq);
        if (err)
            break;
        platform_interrupt(u->ctx);
    }
    mutex_unlock(&tg->siglock);
    return err;
}

static void wait_until_left(const struct watched *w)
{
    for (unsigned int i = 0; atomic_load(&w->task->guest_seq) == w->seq; i++) {
        if (i < SPINS)
            sched_yield();
        else
            usleep(50);
    }
}

int membarrier_run(struct task *t, bool all)
{
    struct watch_list wl = {0};
    struct tgroup *tg;
    pid_t pid = 0;
    int err = 0;

    atomic_thread_fence(memory_order_seq_cst);
    for (; !err && (tg = tgroup_next(t->k, pid + 1)); tgroup_put(tg)) {
        pid = tg->tgid;
        err = watch_tgroup(&wl, t, tg, all);
    }
    for (size_t i = 0; i < wl.nr; i++) {
        if (!err)
            wait_until_left(&wl.v[i]);
        task_put(wl.v[i].task);
    }
    free(wl.v);
    return err;
}
