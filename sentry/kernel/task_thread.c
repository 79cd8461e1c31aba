#include "sentry/kernel/task_thread.h"

#include "sentry/kernel/task.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#define STACK_SIZE (192 * 1024)
#define IDLE_MAX   8

struct task_thread {
    struct task_threads *pool;
    struct list_head node; /* in pool->idle */
    pthread_t self;
    pid_t tid;
    sem_t wake; /* there is a task, or NULL for the end */
    struct task *task;
    void (*main)(struct task *t);
};

void task_threads_init(struct task_threads *p)
{
    mutex_init(&p->lock);
    list_init(&p->idle);
    pthread_cond_init(&p->gone, NULL);
}

void task_threads_fini(struct task_threads *p)
{
    struct task_thread *th, *next;

    mutex_lock(&p->lock);
    p->stop = true;
    list_for_each_entry_safe(th, next, &p->idle, node) {
        list_del_init(&th->node);
        th->task = NULL;
        sem_post(&th->wake);
    }
    while (p->nr > 0)
        pthread_cond_wait(&p->gone, &p->lock.m);
    mutex_unlock(&p->lock);
    pthread_cond_destroy(&p->gone);
    mutex_fini(&p->lock);
}

/* Whether there is another task to run. If not, the thread does not count any more. */
static bool next_task(struct task_threads *p, struct task_thread *th)
{
    bool stay;

    mutex_lock(&p->lock);
    stay = !p->stop && p->nr_idle < IDLE_MAX;
    if (stay) {
        list_add(&th->node, &p->idle);
        p->nr_idle++;
    }
    mutex_unlock(&p->lock);
    if (stay) {
        while (sem_wait(&th->wake))
            ;
        if (th->task)
            return true;
    }
    return false;
}

static void *thread_main(void *arg)
{
    struct task_thread *th = arg;
    struct task_threads *p = th->pool;

    th->self = pthread_self();
    th->tid = gettid();
    do
        th->main(th->task);
    while (next_task(p, th));
    sem_destroy(&th->wake);
    free(th);
    mutex_lock(&p->lock);
    if (--p->nr == 0)
        pthread_cond_signal(&p->gone);
    mutex_unlock(&p->lock);
    return NULL;
}

static int new_thread(struct task_threads *p, struct task *t, void (*main)(struct task *t))
{
    struct task_thread *th = calloc(1, sizeof(*th));
    pthread_attr_t attr;
    int r;

    if (!th)
        return -EAGAIN;
    th->pool = p;
    th->task = t;
    th->main = main;
    list_init(&th->node);
    sem_init(&th->wake, 0, 0);
    mutex_lock(&p->lock);
    p->nr++;
    mutex_unlock(&p->lock);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    r = pthread_create(&t->thread, &attr, thread_main, th);
    pthread_attr_destroy(&attr);
    if (r == 0)
        return 0;
    mutex_lock(&p->lock);
    p->nr--;
    mutex_unlock(&p->lock);
    sem_destroy(&th->wake);
    free(th);
    return -EAGAIN;
}

/* As a new thread would, an idle one takes over where its maker may run, which is where it is wanted. */
static void inherit_cpus(const struct task_thread *th)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        sched_setaffinity(th->tid, sizeof(set), &set);
}

int task_threads_run(struct task_threads *p, struct task *t, void (*main)(struct task *t))
{
    struct task_thread *th = NULL;

    mutex_lock(&p->lock);
    if (!list_empty(&p->idle)) {
        th = list_first_entry(&p->idle, struct task_thread, node);
        list_del_init(&th->node);
        p->nr_idle--;
    }
    mutex_unlock(&p->lock);
    if (!th)
        return new_thread(p, t, main);
    inherit_cpus(th);
    t->thread = th->self;
    th->task = t;
    th->main = main;
    sem_post(&th->wake);
    return 0;
}
