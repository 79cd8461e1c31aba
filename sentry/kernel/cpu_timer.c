/*
 * Timers on CPU time, and RLIMIT_CPU.
 *
 * Nothing interrupts a guest thread when a certain CPU time is reached, so while a process has such a timer armed it is looked
 * at from time to time: a ktimer (the tick) goes off when the earliest timer could be reached if all threads ran all the time,
 * makes the threads that are in the guest leave it, and says that a look is due. The first thread that is about to enter the
 * guest again takes the look: sums up times, sends signals, sets the next tick. When the tick finds that no thread runs,
 * nothing can expire: it is not set again ("parked") until a thread is about to enter the guest. So a sleeping process costs no
 * wake-ups.
 */
#include "sentry/host/loop.h"
#include "sentry/kernel/posix_timer.h"

#define MIN_TICK_NS 1000000
#define MAX_TICK_NS (60 * NSEC_PER_SEC)

int64_t cpu_timer_now(struct tgroup *tg, const struct cpu_timer *ct)
{
    struct cputime now = ct->task ? task_cputime(ct->task) : tgroup_cputime(tg);

    return ct->user_only ? now.user : now.user + now.system;
}

static struct rlimit64 cpu_rlimit(struct tgroup *tg)
{
    struct rlimit64 rl;

    mutex_lock(&tg->siglock);
    rl = tg->rlimits[RLIMIT_CPU];
    mutex_unlock(&tg->siglock);
    return rl;
}

static int64_t seconds_ns(uint64_t s)
{
    return s >= (uint64_t)(KTIME_MAX / NSEC_PER_SEC) ? KTIME_MAX : (int64_t)s * NSEC_PER_SEC;
}

static int64_t at_least(int64_t deadline, int64_t now)
{
    return deadline == KTIME_MAX ? KTIME_MAX : deadline > now ? deadline - now : 0;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* CPU time to go to whatever comes first; KTIME_MAX when nothing is armed. */
static int64_t cpu_time_to_go(struct posix_timers *pts)
{
    struct cputime now = tgroup_cputime(pts->tg);
    struct rlimit64 rl = cpu_rlimit(pts->tg);
    struct posix_timer *pt;
    int64_t left = min64(at_least(pts->virt.deadline, now.user), at_least(pts->prof.deadline, now.user + now.system));

    left = min64(left, at_least(min64(seconds_ns(rl.rlim_cur), seconds_ns(rl.rlim_max)), now.user + now.system));
    list_for_each_entry(pt, &pts->list, node) {
        if (pt->on_cpu_clock && pt->cpu.deadline != KTIME_MAX)
            left = min64(left, at_least(pt->cpu.deadline, cpu_timer_now(pts->tg, &pt->cpu)));
    }
    return left;
}

void cpu_timers_rearm(struct posix_timers *pts)
{
    int64_t left = cpu_time_to_go(pts), tick;
    unsigned int parallel = atomic_load(&pts->tg->nr_threads), cpus = pts->tg->k->nr_cpus;

    if (left == KTIME_MAX) {
        atomic_store(&pts->tg->cpu_timers_armed, false);
        ktimer_cancel(&pts->tick);
        return;
    }
    parallel = parallel < cpus ? parallel : cpus;
    tick = left / (parallel ? parallel : 1);
    tick = tick < MIN_TICK_NS ? MIN_TICK_NS : tick > MAX_TICK_NS ? MAX_TICK_NS : tick;
    atomic_store(&pts->tg->cpu_timers_armed, true);
    atomic_store(&pts->parked, false);
    ktimer_set(&pts->tick, kernel_monotonic_ns() + tick);
}

static void cpu_timers_tick(struct ktimer *kt)
{
    struct posix_timers *pts = container_of(kt, struct posix_timers, tick);
    struct tgroup *tg = pts->tg;
    bool running = false;
    struct task *t;

    atomic_store(&pts->parked, true);
    mutex_lock(&tg->siglock);
    list_for_each_entry(t, &tg->threads, thread_node) {
        if (t->exiting || atomic_load(&t->state) != TASK_RUNNING)
            continue;
        running = true;
        atomic_store(&pts->due, true);
        if (t->ctx && (atomic_load(&t->guest_seq) & 1))
            platform_interrupt(t->ctx);
    }
    mutex_unlock(&tg->siglock);
    if (running)
        atomic_store(&pts->parked, false);
}

void cpu_timers_init(struct posix_timers *pts)
{
    ktimer_init(&pts->tick, pts->tg->k->loop, cpu_timers_tick);
    pts->virt = (struct cpu_timer){.deadline = KTIME_MAX, .user_only = true};
    pts->prof = (struct cpu_timer){.deadline = KTIME_MAX};
}

/* Sends an itimer's signal if its time has come. */
static void cpu_itimer_check(struct posix_timers *pts, struct cpu_timer *ct, int64_t now, int signo)
{
    ksiginfo info;

    if (now < ct->deadline)
        return;
    siginfo_kernel(&info, signo, SI_KERNEL);
    signal_send_tgroup(pts->tg, &info);
    if (ct->interval)
        ct->deadline = time_add_saturating(ct->deadline, ((now - ct->deadline) / ct->interval + 1) * ct->interval);
    else
        ct->deadline = KTIME_MAX;
}

/* SIGXCPU at the soft limit and each second from then on, SIGKILL at the hard one. */
static void cpu_rlimit_check(struct tgroup *tg, int64_t now)
{
    struct rlimit64 rl = cpu_rlimit(tg);
    ksiginfo info;
    int signo = 0;

    if (now >= seconds_ns(rl.rlim_max)) {
        signo = SIGKILL;
    } else if (now >= seconds_ns(rl.rlim_cur)) {
        signo = SIGXCPU;
        mutex_lock(&tg->siglock);
        if (tg->rlimits[RLIMIT_CPU].rlim_cur == rl.rlim_cur)
            tg->rlimits[RLIMIT_CPU].rlim_cur = (uint64_t)(now / NSEC_PER_SEC) + 1;
        mutex_unlock(&tg->siglock);
    }
    if (!signo)
        return;
    siginfo_kernel(&info, signo, SI_KERNEL);
    signal_send_tgroup(tg, &info);
}

bool cpu_timers_due(struct tgroup *tg)
{
    struct posix_timers *pts = posix_timers_peek(tg);

    return pts && (atomic_load(&pts->due) || atomic_load(&pts->parked));
}

void cpu_timers_check(struct task *t)
{
    struct posix_timers *pts = posix_timers_peek(t->tg);
    struct posix_timer *pt;
    struct cputime now;

    if (!cpu_timers_due(t->tg))
        return;
    mutex_lock(&pts->lock);
    atomic_store(&pts->due, false);
    now = tgroup_cputime(t->tg);
    cpu_itimer_check(pts, &pts->virt, now.user, SIGVTALRM);
    cpu_itimer_check(pts, &pts->prof, now.user + now.system, SIGPROF);
    list_for_each_entry(pt, &pts->list, node) {
        if (pt->on_cpu_clock && pt->cpu.deadline != KTIME_MAX) {
            int64_t at = cpu_timer_now(t->tg, &pt->cpu);

            if (at >= pt->cpu.deadline)
                posix_timer_expire(pt, at);
            else if (pt->cpu.task && pt->cpu.task->exiting)
                pt->cpu.deadline = KTIME_MAX; /* its time stands still */
        }
    }
    cpu_rlimit_check(t->tg, now.user + now.system);
    cpu_timers_rearm(pts);
    mutex_unlock(&pts->lock);
}

void cpu_timers_rlimit_changed(struct tgroup *tg)
{
    struct rlimit64 rl = cpu_rlimit(tg);
    struct posix_timers *pts =
        rl.rlim_cur == RLIM64_INFINITY && rl.rlim_max == RLIM64_INFINITY ? posix_timers_peek(tg) : posix_timers_of(tg);

    if (!pts)
        return;
    mutex_lock(&pts->lock);
    cpu_timers_rearm(pts);
    mutex_unlock(&pts->lock);
}
