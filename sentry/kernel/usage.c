#include "sentry/kernel/usage.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/mm/mm.h"

static void timeval_add_ns(struct timeval *tv, int64_t ns)
{
    int64_t us = tv->tv_usec + ns / 1000;

    tv->tv_sec += us / 1000000;
    tv->tv_usec = us % 1000000;
}

static void add_times(struct rusage *ru, const struct cputime *times)
{
    timeval_add_ns(&ru->ru_utime, times->user);
    timeval_add_ns(&ru->ru_stime, times->system);
}

static void add_switches(struct rusage *ru, struct task *t)
{
    ru->ru_nvcsw += (long)atomic_load_explicit(&t->nr_voluntary_switches, memory_order_relaxed);
    ru->ru_nivcsw += (long)atomic_load_explicit(&t->nr_involuntary_switches, memory_order_relaxed);
}

/* Memory belongs to the address space: the figures of a process are those of the one it has or had last. */
static void set_mm_figures(struct rusage *ru, struct mm *mm)
{
    struct mm_stats st;

    mm_get_stats(mm, &st);
    if (ru->ru_maxrss < (long)(st.rss_peak / 1024))
        ru->ru_maxrss = (long)(st.rss_peak / 1024);
    ru->ru_minflt += (long)st.minor_faults;
    ru->ru_majflt += (long)st.major_faults;
}

void usage_fold_thread(struct tgroup *tg, struct task *t, const struct cputime *times)
{
    add_times(&tg->dead_threads, times);
    add_switches(&tg->dead_threads, t);
}

void usage_note_mm(struct task *t)
{
    struct tgroup *tg = t->tg;
    struct rusage ru = {0};

    bool others;

    mutex_lock(&tg->siglock);
    others = tg->nr_live > 0 && !tg->group_exec && t->exiting;
    mutex_unlock(&tg->siglock);
    if (others) /* they still use it */
        return;
    set_mm_figures(&ru, t->mm);
    mutex_lock(&tg->siglock);
    if (tg->dead_threads.ru_maxrss < ru.ru_maxrss)
        tg->dead_threads.ru_maxrss = ru.ru_maxrss;
    tg->dead_threads.ru_minflt += ru.ru_minflt;
    tg->dead_threads.ru_majflt += ru.ru_majflt;
    mutex_unlock(&tg->siglock);
}

void usage_add(struct rusage *a, const struct rusage *b)
{
    timeval_add_ns(&a->ru_utime, b->ru_utime.tv_sec * 1000000000LL + b->ru_utime.tv_usec * 1000LL);
    timeval_add_ns(&a->ru_stime, b->ru_stime.tv_sec * 1000000000LL + b->ru_stime.tv_usec * 1000LL);
    if (a->ru_maxrss < b->ru_maxrss)
        a->ru_maxrss = b->ru_maxrss;
    a->ru_minflt += b->ru_minflt;
    a->ru_majflt += b->ru_majflt;
    a->ru_nvcsw += b->ru_nvcsw;
    a->ru_nivcsw += b->ru_nivcsw;
}

void usage_of_task(struct task *t, struct rusage *out)
{
    struct cputime times = task_cputime(t);
    struct mm *mm = task_get_mm(t);

    *out = (struct rusage){0};
    add_times(out, &times);
    add_switches(out, t);
    if (mm) {
        set_mm_figures(out, mm);
        mm_put(mm);
    }
}

void usage_of_tgroup(struct tgroup *tg, struct rusage *out)
{
    struct cputime times = tgroup_cputime(tg);
    struct task *t;
    struct mm *mm = NULL;

    mutex_lock(&tg->siglock);
    *out = tg->dead_threads;
    list_for_each_entry(t, &tg->threads, thread_node) {
        if (!t->times_folded)
            add_switches(out, t);
        if (t->mm && !mm)
            mm = mm_get(t->mm);
    }
    mutex_unlock(&tg->siglock);
    out->ru_utime = out->ru_stime = (struct timeval){0};
    add_times(out, &times);
    if (mm) {
        set_mm_figures(out, mm);
        mm_put(mm);
    }
}

void usage_of_children(struct tgroup *tg, struct rusage *out)
{
    mutex_lock(&tg->k->tasks_lock);
    *out = tg->dead_children;
    mutex_unlock(&tg->k->tasks_lock);
}
