/*
 * ITIMER_REAL and POSIX timers.
 *
 * A process gets its table when it first sets a timer. Timers on wall clocks are ktimers; those on CPU clocks are driven by
 * cpu_timer.c. As in Linux, an interval timer that has expired does not run again until its signal is taken from the queue
 * (posix_timer_dequeued()), and is then moved on by as many intervals as have passed: the extra ones are its overrun. A hostile
 * interval of a nanosecond so costs nothing while nobody handles the signal.
 *
 * A ktimer's callback that lost a race against timer_settime() finds that the deadline lies ahead and does nothing.
 *
 * Locks: posix_timers->lock -> siglock -> the timer queue's.
 */
#include "sentry/kernel/posix_timer.h"

#include "sentry/host/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/time.h>

/* Timers whose signals nobody takes (ignored ones, SIGALRM) run on their own; this bounds how often. */
#define MIN_PERIOD_NS 100000

static void itimer_real_fire(struct ktimer *kt)
{
    struct posix_timers *pts = container_of(kt, struct posix_timers, real.kt);
    int64_t now = kernel_monotonic_ns(), behind;
    ksiginfo info;

    mutex_lock(&pts->lock);
    if (now >= pts->real.deadline) {
        siginfo_kernel(&info, SIGALRM, SI_KERNEL);
        signal_send_tgroup(pts->tg, &info);
        if (pts->real.interval) {
            behind = (now - pts->real.deadline) / pts->real.interval;
            pts->real.deadline += (behind + 1) * pts->real.interval;
            if (pts->real.deadline - now < MIN_PERIOD_NS)
                pts->real.deadline = now + MIN_PERIOD_NS;
        } else {
            pts->real.deadline = KTIMER_NEVER;
        }
        ktimer_set(&pts->real.kt, pts->real.deadline);
    }
    mutex_unlock(&pts->lock);
}

struct posix_timers *posix_timers_peek(struct tgroup *tg)
{
    return __atomic_load_n(&tg->timers, __ATOMIC_ACQUIRE);
}

struct posix_timers *posix_timers_of(struct tgroup *tg)
{
    struct posix_timers *pts = posix_timers_peek(tg), *first;

    if (pts)
        return pts;
    pts = calloc(1, sizeof(*pts));
    if (!pts)
        return NULL;
    mutex_init(&pts->lock);
    pts->tg = tg;
    list_init(&pts->list);
    ktimer_init(&pts->real.kt, tg->k->loop, itimer_real_fire);
    pts->real.deadline = KTIMER_NEVER;
    cpu_timers_init(pts);
    mutex_lock(&tg->siglock);
    first = tg->timers;
    if (!first)
        __atomic_store_n(&tg->timers, pts, __ATOMIC_RELEASE);
    mutex_unlock(&tg->siglock);
    if (!first)
        return pts;
    mutex_fini(&pts->lock);
    free(pts);
    return first;
}

static int64_t time_to_go(int64_t deadline, int64_t now, int64_t least)
{
    return deadline == KTIME_MAX ? 0 : deadline - now > least ? deadline - now : least;
}

static struct timer_spec cpu_itimer_get(struct posix_timers *pts, const struct cpu_timer *ct)
{
    struct timer_spec spec = {.interval = ct->interval};

    if (ct->deadline != KTIME_MAX)
        spec.value = time_to_go(ct->deadline, cpu_timer_now(pts->tg, ct), 1000);
    return spec;
}

static struct timer_spec itimer_get_locked(struct posix_timers *pts, int which)
{
    switch (which) {
    case ITIMER_REAL:
        return (struct timer_spec){.value = time_to_go(pts->real.deadline, kernel_monotonic_ns(), 1000),
                                   .interval = pts->real.interval};
    case ITIMER_VIRTUAL:
        return cpu_itimer_get(pts, &pts->virt);
    default:
        return cpu_itimer_get(pts, &pts->prof);
    }
}

int itimer_get(struct task *t, int which, struct timer_spec *cur)
{
    struct posix_timers *pts = posix_timers_peek(t->tg);

    *cur = (struct timer_spec){0};
    if (!pts)
        return 0;
    mutex_lock(&pts->lock);
    *cur = itimer_get_locked(pts, which);
    mutex_unlock(&pts->lock);
    return 0;
}

int itimer_set(struct task *t, int which, const struct timer_spec *new_spec, struct timer_spec *old)
{
    struct posix_timers *pts = new_spec->value ? posix_timers_of(t->tg) : posix_timers_peek(t->tg);

    *old = (struct timer_spec){0};
    if (!pts)
        return new_spec->value ? -ENOMEM : 0;
    mutex_lock(&pts->lock);
    *old = itimer_get_locked(pts, which);
    if (which == ITIMER_REAL) {
        pts->real.interval = new_spec->interval;
        pts->real.deadline = new_spec->value ? time_add_saturating(kernel_monotonic_ns(), new_spec->value) : KTIMER_NEVER;
        ktimer_set(&pts->real.kt, pts->real.deadline);
    } else {
        struct cpu_timer *ct = which == ITIMER_VIRTUAL ? &pts->virt : &pts->prof;

        ct->interval = new_spec->interval;
        ct->deadline = new_spec->value ? time_add_saturating(cpu_timer_now(pts->tg, ct), new_spec->value) : KTIME_MAX;
        cpu_timers_rearm(pts);
    }
    mutex_unlock(&pts->lock);
    return 0;
}

static void posix_timer_put(struct posix_timer *pt)
{
    if (ref_put(&pt->ref))
        free(pt);
}

static int64_t posix_timer_now(const struct posix_timer *pt)
{
    return pt->on_cpu_clock ? cpu_timer_now(pt->table->tg, &pt->cpu) : kernel_monotonic_ns();
}

/* Lets the timer run towards pt->deadline, or stops it. */
static void posix_timer_start(struct posix_timer *pt, bool run)
{
    int64_t at = run && pt->notify != SIGEV_NONE ? pt->deadline : KTIME_MAX;

    if (!pt->on_cpu_clock) {
        ktimer_set(&pt->kt, at);
        return;
    }
    pt->cpu.deadline = at;
    cpu_timers_rearm(pt->table);
}

/* Moves the deadline beyond `now`; by how many intervals. */
static int64_t posix_timer_forward(struct posix_timer *pt, int64_t now)
{
    int64_t n;

    if (now < pt->deadline)
        return 0;
    n = (now - pt->deadline) / pt->interval + 1;
    pt->deadline = time_add_saturating(pt->deadline, n * pt->interval);
    return n;
}

void posix_timer_expire(struct posix_timer *pt, int64_t now)
{
    int queued;

    ref_get(&pt->ref);
    queued = signal_queue_timer(pt->table->tg, pt->target, &pt->q);
    if (queued != 0)
        posix_timer_put(pt);
    if (queued == 0 || queued == 1) {
        if (queued == 1)
            pt->overrun++;
        pt->signal_pending = true;
        pt->queued_setting = pt->setting;
        pt->cpu.deadline = KTIME_MAX;
        if (!pt->interval)
            pt->deadline = KTIME_MAX;
        return;
    }
    if (!pt->interval || queued < 0) {
        pt->deadline = pt->cpu.deadline = KTIME_MAX;
        return;
    }
    pt->overrun += posix_timer_forward(pt, now);
    if (pt->deadline - now < MIN_PERIOD_NS)
        pt->deadline = now + MIN_PERIOD_NS;
    if (pt->on_cpu_clock)
        pt->cpu.deadline = pt->deadline;
    else
        ktimer_set(&pt->kt, pt->deadline);
}

static void posix_timer_fire(struct ktimer *kt)
{
    struct posix_timer *pt = container_of(kt, struct posix_timer, kt);
    int64_t now = kernel_monotonic_ns();

    mutex_lock(&pt->table->lock);
    if (!pt->deleted && now >= pt->deadline && !(pt->signal_pending && pt->queued_setting == pt->setting))
        posix_timer_expire(pt, now);
    mutex_unlock(&pt->table->lock);
}

void posix_timer_dequeued(struct tgroup *tg, void *timer, ksiginfo *info)
{
    struct posix_timer *pt = timer;

    mutex_lock(&pt->table->lock);
    if (!pt->deleted && pt->signal_pending && pt->queued_setting == pt->setting) {
        if (pt->interval) {
            pt->overrun += posix_timer_forward(pt, posix_timer_now(pt)) - 1;
            posix_timer_start(pt, true);
        }
        pt->overrun_last = pt->overrun > 0 ? pt->overrun : 0;
        pt->overrun = 0;
        info->si_overrun = pt->overrun_last > INT_MAX ? INT_MAX : (int)pt->overrun_last;
    }
    pt->signal_pending = false;
    mutex_unlock(&pt->table->lock);
    posix_timer_put(pt);
}

void posix_timer_dropped(void *timer)
{
    posix_timer_put(timer);
}

static struct posix_timer *posix_timer_find(struct posix_timers *pts, int id)
{
    struct posix_timer *pt;

    list_for_each_entry(pt, &pts->list, node) {
        if (pt->id == id)
            return pt;
    }
    return NULL;
}

/* The timer with its table's lock held; NULL when there is none. */
static struct posix_timer *posix_timer_lock(struct task *t, int id) NO_THREAD_SAFETY_ANALYSIS
{
    struct posix_timers *pts = posix_timers_peek(t->tg);
    struct posix_timer *pt;

    if (!pts)
        return NULL;
    mutex_lock(&pts->lock);
    pt = posix_timer_find(pts, id);
    if (!pt)
        mutex_unlock(&pts->lock);
    return pt;
}

static void posix_timer_unlock(struct posix_timer *pt) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_unlock(&pt->table->lock);
}

static bool clock_has_timers(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;
}

/* What the timer measures, or why it cannot. */
static int posix_timer_set_clock(struct task *t, struct posix_timer *pt, clockid_t clock)
{
    bool per_thread;

    pt->clock = clock;
    pt->cpu.deadline = KTIME_MAX;
    if (clock_has_timers(clock))
        return 0;
    if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM || clock == CLOCK_MONOTONIC_RAW ||
        clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE)
        return -EOPNOTSUPP;
    pt->on_cpu_clock = true;
    if (clock == CLOCK_PROCESS_CPUTIME_ID)
        return 0;
    if (clock == CLOCK_THREAD_CPUTIME_ID) {
        pt->cpu.task = task_get(t);
        return 0;
    }
    if (clock >= 0)
        return -EINVAL;
    pt->cpu.task = kclock_cpu_task(t, clock, &per_thread);
    if (!pt->cpu.task || pt->cpu.task->tg != t->tg)
        return -EINVAL;
    pt->cpu.user_only = ((unsigned int)clock & 3) == 1;
    if (!per_thread) {
        task_put(pt->cpu.task);
        pt->cpu.task = NULL;
    }
    return 0;
}

static int posix_timer_set_notify(struct task *t, struct posix_timer *pt, const struct posix_timer_params *p)
{
    pt->notify = p->notify;
    if (p->notify != SIGEV_NONE && p->notify != SIGEV_SIGNAL && p->notify != SIGEV_THREAD &&
        p->notify != (SIGEV_SIGNAL | SIGEV_THREAD_ID))
        return -EINVAL;
    if (p->notify != SIGEV_NONE && (p->signo < 1 || p->signo > KERNEL_NSIG))
        return -EINVAL;
    if (p->notify & SIGEV_THREAD_ID) {
        pt->target = task_find(t->k, p->tid);
        if (!pt->target || pt->target->tg != t->tg)
            return -EINVAL;
    }
    pt->q.timer = pt;
    pt->q.info.si_signo = p->signo;
    pt->q.info.si_code = SI_TIMER;
    pt->q.info.si_value = p->value;
    list_init(&pt->q.node);
    return 0;
}

static void posix_timer_release(struct posix_timer *pt)
{
    if (pt->target)
        task_put(pt->target);
    if (pt->cpu.task)
        task_put(pt->cpu.task);
    pt->target = pt->cpu.task = NULL;
    posix_timer_put(pt);
}

int posix_timer_create(struct task *t, const struct posix_timer_params *p)
{
    struct posix_timers *pts = posix_timers_of(t->tg);
    uint64_t limit = task_rlimit(t, RLIMIT_SIGPENDING);
    struct posix_timer *pt;
    int ret;

    if (!pts)
        return -EAGAIN;
    pt = calloc(1, sizeof(*pt));
    if (!pt)
        return -EAGAIN;
    ref_init(&pt->ref);
    pt->table = pts;
    pt->deadline = KTIME_MAX;
    ktimer_init(&pt->kt, t->k->loop, posix_timer_fire);
    ret = posix_timer_set_clock(t, pt, p->clock);
    if (!ret)
        ret = posix_timer_set_notify(t, pt, p);
    if (ret) {
        posix_timer_release(pt);
        return ret;
    }
    mutex_lock(&pts->lock);
    if (pts->nr >= limit) {
        ret = -EAGAIN;
    } else {
        do {
            pt->id = pts->next_id;
            pts->next_id = (pts->next_id + 1) & INT_MAX;
        } while (posix_timer_find(pts, pt->id));
        pt->q.info.si_timerid = pt->id;
        if (p->value_is_id)
            pt->q.info.si_int = pt->id;
        list_add_tail(&pt->node, &pts->list);
        pts->nr++;
        ret = pt->id;
    }
    mutex_unlock(&pts->lock);
    if (ret < 0)
        posix_timer_release(pt);
    return ret;
}

static struct timer_spec posix_timer_get_locked(struct posix_timer *pt)
{
    struct timer_spec spec = {.interval = pt->interval};
    int64_t now;

    if (pt->deadline == KTIME_MAX)
        return spec;
    now = posix_timer_now(pt);
    if (pt->interval && (pt->notify == SIGEV_NONE || pt->signal_pending))
        pt->overrun += posix_timer_forward(pt, now);
    spec.value = time_to_go(pt->deadline, now, pt->notify == SIGEV_NONE ? 0 : 1);
    return spec;
}

int posix_timer_settime(struct task *t, int id, bool absolute, const struct timer_spec *new_spec, struct timer_spec *old)
{
    struct posix_timer *pt = posix_timer_lock(t, id);

    if (!pt)
        return -EINVAL;
    *old = posix_timer_get_locked(pt);
    pt->setting++;
    pt->overrun = pt->overrun_last = 0;
    pt->interval = new_spec->interval;
    if (!new_spec->value)
        pt->deadline = KTIME_MAX;
    else if (pt->on_cpu_clock)
        pt->deadline = absolute ? new_spec->value : time_add_saturating(posix_timer_now(pt), new_spec->value);
    else
        pt->deadline = kclock_to_monotonic(pt->clock, new_spec->value, absolute);
    posix_timer_start(pt, true);
    posix_timer_unlock(pt);
    return 0;
}

int posix_timer_gettime(struct task *t, int id, struct timer_spec *cur)
{
    struct posix_timer *pt = posix_timer_lock(t, id);

    if (!pt)
        return -EINVAL;
    *cur = posix_timer_get_locked(pt);
    posix_timer_unlock(pt);
    return 0;
}

int posix_timer_getoverrun(struct task *t, int id)
{
    struct posix_timer *pt = posix_timer_lock(t, id);
    int64_t n;

    if (!pt)
        return -EINVAL;
    n = pt->overrun_last;
    posix_timer_unlock(pt);
    return n > INT_MAX ? INT_MAX : (int)n;
}

static void posix_timer_unlink(struct posix_timer *pt)
{
    list_del_init(&pt->node);
    pt->table->nr--;
    pt->deleted = true;
    pt->cpu.deadline = KTIME_MAX;
}

int posix_timer_delete(struct task *t, int id)
{
    struct posix_timer *pt = posix_timer_lock(t, id);

    if (!pt)
        return -EINVAL;
    posix_timer_unlink(pt);
    if (pt->on_cpu_clock)
        cpu_timers_rearm(pt->table);
    posix_timer_unlock(pt);
    ktimer_cancel_sync(&pt->kt);
    posix_timer_release(pt);
    return 0;
}

void tgroup_timers_init(struct tgroup *tg)
{
    tg->timers = NULL;
    atomic_store(&tg->cpu_timers_armed, false);
}

/* Takes one timer out of the table; NULL when it is empty. */
static struct posix_timer *posix_timer_unlink_first(struct posix_timers *pts)
{
    struct posix_timer *pt = NULL;

    mutex_lock(&pts->lock);
    if (!list_empty(&pts->list)) {
        pt = list_first_entry(&pts->list, struct posix_timer, node);
        posix_timer_unlink(pt);
    } else {
        pts->next_id = 0;
        cpu_timers_rearm(pts);
    }
    mutex_unlock(&pts->lock);
    return pt;
}

void tgroup_timers_exec(struct tgroup *tg)
{
    struct posix_timers *pts = posix_timers_peek(tg);
    struct posix_timer *pt;

    if (!pts)
        return;
    while ((pt = posix_timer_unlink_first(pts))) {
        ktimer_cancel_sync(&pt->kt);
        posix_timer_release(pt);
    }
}

void tgroup_timers_exit(struct tgroup *tg)
{
    struct posix_timers *pts = posix_timers_peek(tg);

    if (!pts)
        return;
    tgroup_timers_exec(tg);
    ktimer_cancel_sync(&pts->real.kt);
    ktimer_cancel_sync(&pts->tick);
    mutex_lock(&tg->siglock);
    __atomic_store_n(&tg->timers, NULL, __ATOMIC_RELEASE);
    atomic_store(&tg->cpu_timers_armed, false);
    mutex_unlock(&tg->siglock);
    mutex_fini(&pts->lock);
    free(pts);
}
