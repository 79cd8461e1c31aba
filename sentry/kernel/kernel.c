/* The kernel as a whole: making and unmaking it, signals and pauses from outside. */
#include "sentry/kernel/boot.h"

#include "sentry/kernel/futex.h"
#include "sentry/kernel/ipc.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/loader/loader.h"
#include "sentry/mm/mm.h"
#include "sentry/socket/net.h"
#include "vfs/epoll.h"
#include "vfs/pipe.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int kernel_create(const struct kernel_params *p, struct kernel **out)
{
    struct kernel *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    k->platform = p->platform;
    k->memfile = p->memfile;
    k->loop = p->loop;
    k->nr_cpus = p->nr_cpus;
    k->total_ram = p->total_ram;
    k->max_tasks = p->max_tasks;
    k->limits = p->limits;
    k->strace = p->strace;
    k->uid_map = p->uid_map;
    k->gid_map = p->gid_map;
    k->boot_monotonic_ns = kernel_monotonic_ns();
    mutex_init(&k->tasks_lock);
    mutex_init(&k->uts.lock);
    waitq_init(&k->tasks_gone);
    task_threads_init(&k->threads);
    snprintf(k->uts.nodename, sizeof(k->uts.nodename), "%s", p->hostname ? p->hostname : "localhost");
    snprintf(k->uts.domainname, sizeof(k->uts.domainname), "%s", p->domainname ? p->domainname : "(none)");

    pipe_boot();
    epoll_boot();
    r = pid_table_create(&k->pids);
    if (!r)
        r = futex_table_create(&k->futexes);
    if (!r)
        r = ipc_namespace_create(k, &k->ipc);
    if (!r)
        r = net_create(k, &k->net);
    if (!r)
        r = mm_shared_create(k->platform, k->memfile, k->total_ram, &k->mm_shared);
    if (!r)
        r = vdso_init(k, p->tsc_clock);
    if (r) {
        kernel_destroy(k);
        return r;
    }
    *out = k;
    return 0;
}

void kernel_destroy(struct kernel *k)
{
    task_threads_fini(&k->threads);
    if (k->vdso)
        vdso_fini(k);
    mm_shared_destroy(k->mm_shared);
    net_destroy(k->net);
    if (k->ipc)
        ipc_namespace_destroy(k->ipc);
    if (k->futexes)
        futex_table_destroy(k->futexes);
    pid_table_destroy(k->pids);
    waitq_fini(&k->tasks_gone);
    mutex_fini(&k->uts.lock);
    mutex_fini(&k->tasks_lock);
    free(k);
}

static int signal_outside(struct tgroup *tg, int signo)
{
    ksiginfo info;
    int r = 0;

    if (signo == 0)
        return 0;
    siginfo_kernel(&info, signo, SI_USER);
    mutex_lock(&tg->siglock);
    r = signal_send_locked(tg, NULL, &info, true);
    mutex_unlock(&tg->siglock);
    return r;
}

int kernel_signal_external(struct kernel *k, pid_t pid, int signo)
{
    struct tgroup *tg;
    int r = -ESRCH;

    if (signo < 0 || signo > KERNEL_NSIG)
        return -EINVAL;
    if (pid > 0) {
        tg = tgroup_find(k, pid);
        if (!tg)
            return -ESRCH;
        r = signal_outside(tg, signo);
        tgroup_put(tg);
        return r;
    }
    for (pid_t nr = 1; (tg = tgroup_next(k, nr)); tgroup_put(tg)) {
        nr = tg->tgid + 1;
        if (signal_outside(tg, signo) == 0)
            r = 0;
    }
    return r;
}

/* Threads in the guest come out; threads that sleep in a call do not notice. */
static void nudge(struct tgroup *tg, bool paused)
{
    struct task *t;

    mutex_lock(&tg->siglock);
    list_for_each_entry(t, &tg->threads, thread_node) {
        if (!paused)
            task_wake(t);
        else if (t->ctx)
            platform_interrupt(t->ctx);
    }
    mutex_unlock(&tg->siglock);
}

void kernel_release_init(struct kernel *k)
{
    struct tgroup *init = tgroup_find(k, 1);

    if (!init)
        return;
    atomic_store(&init->held, false);
    nudge(init, false);
    tgroup_put(init);
}

void kernel_set_ram(struct kernel *k, uint64_t bytes)
{
    __atomic_store_n(&k->total_ram, bytes, __ATOMIC_RELAXED);
    mm_shared_set_ram(k->mm_shared, bytes);
}

void kernel_pause(struct kernel *k, bool paused)
{
    struct tgroup *tg;

    atomic_store(&k->paused, paused);
    for (pid_t nr = 1; (tg = tgroup_next(k, nr)); tgroup_put(tg)) {
        nr = tg->tgid + 1;
        nudge(tg, paused);
    }
}

struct idle_wait {
    struct waitq_entry entry;
    sem_t sem;
};

static bool idle_wake(struct waitq_entry *entry, uint32_t events)
{
    sem_post(&container_of(entry, struct idle_wait, entry)->sem);
    return true;
}

int kernel_wait_idle(struct kernel *k, int timeout_ms)
{
    struct idle_wait w = {.entry = {.mask = ~0U, .wake = idle_wake}};
    struct timespec deadline;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (deadline.tv_nsec >= 1000000000L) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000L;
    }
    sem_init(&w.sem, 0, 0);
    list_init(&w.entry.node);
    waitq_add(&k->tasks_gone, &w.entry);
    for (;;) {
        mutex_lock(&k->tasks_lock); /* the last thread lets go of it after its last look at `k` */
        bool idle = atomic_load(&k->nr_threads) == 0;
        mutex_unlock(&k->tasks_lock);
        if (idle)
            break;
        if (timeout_ms < 0)
            sem_wait(&w.sem);
        else if (sem_clockwait(&w.sem, CLOCK_MONOTONIC, &deadline) && errno == ETIMEDOUT) {
            r = -ETIMEDOUT;
            break;
        }
    }
    waitq_remove(&w.entry);
    sem_destroy(&w.sem);
    return r;
}
