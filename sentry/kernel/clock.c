/*
 * Reading clocks, and struct timespec in guest memory. Wall clocks come straight from the host (its vDSO answers without a
 * system call); CPU clocks are made of what the platform and the host's thread clocks say.
 */
#include "sentry/kernel/clock.h"

#include "sentry/kernel/pid.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <sys/time.h>

/* Fields of a dynamic CPU clock id, as in the kernel's posix-timers_types.h. */
enum { CPUCLOCK_PROF = 0, CPUCLOCK_VIRT = 1, CPUCLOCK_SCHED = 2, CPUCLOCK_WHICH_MASK = 3, CPUCLOCK_PER_THREAD = 4 };

static int64_t host_clock_ns(clockid_t clock)
{
    struct timespec ts;

    if (clock_gettime(clock, &ts))
        return 0;
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t kernel_monotonic_ns(void)
{
    return host_clock_ns(CLOCK_MONOTONIC);
}

int64_t kernel_realtime_ns(void)
{
    return host_clock_ns(CLOCK_REALTIME);
}

int64_t kernel_boottime_ns(void)
{
    return host_clock_ns(CLOCK_BOOTTIME);
}

void task_clock_start(struct task *t)
{
    if (pthread_getcpuclockid(pthread_self(), &t->sentry_cpu_clock) == 0)
        t->sentry_cpu_start = host_clock_ns(t->sentry_cpu_clock);
}

/* t->ctx must stay: the task's own thread, or siglock held. */
static struct cputime cputime_stable(struct task *t)
{
    struct cputime ct;

    if (t->ctx)
        atomic_store_explicit(&t->utime_ns, platform_cpu_time(t->ctx), memory_order_relaxed);
    ct.user = (int64_t)atomic_load_explicit(&t->utime_ns, memory_order_relaxed);
    ct.system = t->sentry_cpu_clock ? host_clock_ns(t->sentry_cpu_clock) - t->sentry_cpu_start : 0;
    if (platform_on_caller(t->k->platform))
        ct.system = ct.system > ct.user ? ct.system - ct.user : 0;
    return ct;
}

struct cputime task_cputime(struct task *t)
{
    struct cputime ct;

    if (pthread_equal(t->thread, pthread_self()))
        return cputime_stable(t);
    mutex_lock(&t->tg->siglock);
    ct = cputime_stable(t);
    mutex_unlock(&t->tg->siglock);
    return ct;
}

static int64_t timeval_ns(const struct timeval *tv)
{
    return tv->tv_sec * NSEC_PER_SEC + tv->tv_usec * 1000;
}

struct cputime tgroup_cputime(struct tgroup *tg)
{
    struct cputime sum;
    struct task *t;

    mutex_lock(&tg->siglock);
    sum.user = timeval_ns(&tg->dead_threads.ru_utime);
    sum.system = timeval_ns(&tg->dead_threads.ru_stime);
    list_for_each_entry(t, &tg->threads, thread_node) {
        struct cputime ct;

        if (t->times_folded)
            continue;
        ct = cputime_stable(t);
        sum.user += ct.user;
        sum.system += ct.system;
    }
    mutex_unlock(&tg->siglock);
    return sum;
}

struct cputime tgroup_children_cputime(struct tgroup *tg)
{
    struct cputime ct;

    mutex_lock(&tg->k->tasks_lock);
    ct.user = timeval_ns(&tg->dead_children.ru_utime);
    ct.system = timeval_ns(&tg->dead_children.ru_stime);
    mutex_unlock(&tg->k->tasks_lock);
    return ct;
}

static int64_t cputime_of(struct cputime ct, unsigned int which)
{
    return which == CPUCLOCK_VIRT ? ct.user : ct.user + ct.system;
}

struct task *kclock_cpu_task(struct task *t, clockid_t clock, bool *per_thread)
{
    unsigned int bits = (unsigned int)clock & 7;
    pid_t pid = ~(clock >> 3);
    struct task *target;

    *per_thread = bits & CPUCLOCK_PER_THREAD;
    if (clock >= 0 || (bits & CPUCLOCK_WHICH_MASK) > CPUCLOCK_SCHED)
        return NULL;
    target = pid ? task_find(t->k, pid) : task_get(t);
    if (!target)
        return NULL;
    /* Only threads of the same process may be measured one by one; a process is named by its leader. */
    if (*per_thread ? target->tg != t->tg : pid && target->tid != target->tg->tgid && target != t) {
        task_put(target);
        return NULL;
    }
    return target;
}

static int cpu_clock_get(struct task *t, clockid_t clock, int64_t *ns)
{
    bool per_thread;
    struct task *target = kclock_cpu_task(t, clock, &per_thread);

    if (!target)
        return -EINVAL;
    *ns = cputime_of(per_thread ? task_cputime(target) : tgroup_cputime(target->tg), (unsigned int)clock & CPUCLOCK_WHICH_MASK);
    task_put(target);
    return 0;
}

int kclock_get(struct task *t, clockid_t clock, int64_t *ns)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
        *ns = host_clock_ns(clock);
        return 0;
    case CLOCK_REALTIME_ALARM:
        *ns = host_clock_ns(CLOCK_REALTIME);
        return 0;
    case CLOCK_BOOTTIME_ALARM:
        *ns = host_clock_ns(CLOCK_BOOTTIME);
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *ns = cputime_of(tgroup_cputime(t->tg), CPUCLOCK_SCHED);
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *ns = cputime_of(task_cputime(t), CPUCLOCK_SCHED);
        return 0;
    default:
        return cpu_clock_get(t, clock, ns);
    }
}

int64_t time_add_saturating(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? KTIME_MAX : sum;
}

int64_t kclock_to_monotonic(clockid_t clock, int64_t ns, bool absolute)
{
    int64_t now = kernel_monotonic_ns();

    if (absolute) {
        if (clock == CLOCK_MONOTONIC)
            return ns;
        /* Relative to that clock's now; in the past is fine. */
        ns -= clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM ? host_clock_ns(CLOCK_BOOTTIME)
              : clock == CLOCK_TAI                                     ? host_clock_ns(CLOCK_TAI)
                                                                       : host_clock_ns(CLOCK_REALTIME);
    }
    return time_add_saturating(now, ns);
}

int timespec_in(struct task *t, guest_addr a, int64_t *ns)
{
    struct timespec ts;
    int err = copy_in(t, &ts, a, sizeof(ts));

    if (err)
        return err;
    if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= NSEC_PER_SEC)
        return -EINVAL;
    *ns = timespec_to_ns(ts);
    return 0;
}

int timespec_out(struct task *t, guest_addr a, int64_t ns)
{
    struct timespec ts = ns_to_timespec(ns);

    return copy_out(t, a, &ts, sizeof(ts));
}

int timeval_in(struct task *t, guest_addr a, int64_t *ns)
{
    struct timeval tv;
    int err = copy_in(t, &tv, a, sizeof(tv));

    if (err)
        return err;
    if (tv.tv_sec < 0 || tv.tv_usec < 0 || tv.tv_usec >= 1000000)
        return -EINVAL;
    *ns = timespec_to_ns((struct timespec){.tv_sec = tv.tv_sec, .tv_nsec = tv.tv_usec * 1000});
    return 0;
}

int timeval_out(struct task *t, guest_addr a, int64_t ns)
{
    struct timeval tv = {.tv_sec = ns / NSEC_PER_SEC, .tv_usec = ns % NSEC_PER_SEC / 1000};

    return copy_out(t, a, &tv, sizeof(tv));
}

void kernel_cpu_stat(struct kernel *k, struct kernel_cpu_stat *out)
{
    int64_t uptime = kernel_boottime_ns();
    struct tgroup *tg;
    pid_t pid = 0;

    *out = (struct kernel_cpu_stat){
        .context_switches = atomic_load(&k->nr_switches),
        .forks = atomic_load(&k->nr_forks),
        .btime = (kernel_realtime_ns() - uptime) / NSEC_PER_SEC,
    };
    /* What the living have used, and what those used whom they have waited for. */
    while ((tg = tgroup_next(k, pid + 1))) {
        struct cputime own = tgroup_cputime(tg), children = tgroup_children_cputime(tg);
        struct task *t;

        pid = tg->tgid;
        out->user += own.user + children.user;
        out->system += own.system + children.system;
        for (pid_t tid = 0; (t = tgroup_next_task(tg, tid + 1)); task_put(t)) {
            tid = t->tid;
            if (atomic_load_explicit(&t->state, memory_order_relaxed) == TASK_RUNNING)
                out->nr_running++;
        }
        tgroup_put(tg);
    }
    out->idle = uptime * k->nr_cpus - out->user - out->system;
    if (out->idle < 0)
        out->idle = 0;
}
