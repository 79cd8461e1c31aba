/* What the outside asks of the processes in a sandbox, and tells of their limits. */
#include "sentry/boot/boot_internal.h"

#include "sentry/kernel/pid.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/usage.h"
#include "sentry/mm/mm.h"
#include "sentry/mm/usercopy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The arguments as one line of what can be printed. */
static void read_command(struct task *t, char *out, size_t size)
{
    struct mm *mm = task_get_mm(t);
    struct mm_layout lay;
    size_t n = 0;

    if (mm) {
        mm_get_layout(mm, &lay);
        n = lay.arg_end > lay.arg_start ? lay.arg_end - lay.arg_start : 0;
        if (n > size - 1)
            n = size - 1;
        if (n && mm_copy_in(mm, out, guest_addr_of(lay.arg_start), n))
            n = 0;
        mm_put(mm);
    }
    while (n && !out[n - 1])
        n--;
    out[n] = '\0';
    /* Hostile text goes to somebody's terminal, and through a message that must be UTF-8. */
    for (size_t i = 0; i < n; i++)
        if (!out[i])
            out[i] = ' ';
        else if (out[i] < ' ' || out[i] > '~')
            out[i] = '?';
    if (n)
        return;
    snprintf(out, size, "[%.*s]", TASK_COMM_LEN - 1, t->comm);
    for (char *p = out; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

static bool describe(struct tgroup *tg, struct sandbox_process_info *out)
{
    struct task *t = task_find(tg->k, tg->tgid);
    struct rusage ru;
    struct cred *cred;

    if (!t)
        return false;
    *out = (struct sandbox_process_info){.pid = tg->tgid, .ppid = atomic_load(&tg->ppid)};
    mutex_lock(&tg->k->tasks_lock);
    out->threads = tg->nr_threads;
    mutex_unlock(&tg->k->tasks_lock);
    cred = task_get_cred(t);
    if (cred) {
        out->uid = cred->uid;
        cred_put(cred);
    }
    usage_of_tgroup(tg, &ru);
    out->cpu_ns = (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000000U +
                  (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1000U;
    out->started_ns = (uint64_t)(kernel_realtime_ns() - kernel_monotonic_ns()) + t->start_ns;
    read_command(t, out->command, sizeof(out->command));
    task_put(t);
    return true;
}

size_t sandbox_list(struct sandbox *sb, struct sandbox_process_info **out)
{
    struct sandbox_process_info *list = NULL, *more;
    struct tgroup *tg;
    size_t n = 0;

    for (pid_t nr = 1; (tg = tgroup_next(sb->k, nr)); tgroup_put(tg)) {
        nr = tg->tgid + 1;
        more = n % 16 == 0 ? realloc(list, (n + 16) * sizeof(*list)) : list;
        if (!more) {
            tgroup_put(tg);
            break;
        }
        list = more;
        n += describe(tg, &list[n]);
    }
    *out = list;
    return n;
}

void sandbox_set_limits(struct sandbox *sb, int64_t pids, int64_t memory, const struct limits *shown)
{
    struct kernel *k = sb->k;

    mutex_lock(&k->tasks_lock);
    if (pids >= 0)
        k->max_tasks = pids < UINT32_MAX ? (unsigned int)pids : 0;
    limits_merge(&k->limits, shown);
    mutex_unlock(&k->tasks_lock);
    if (memory >= 0)
        kernel_set_ram(k, memory && (uint64_t)memory < boot_host_ram() ? (uint64_t)memory : boot_host_ram());
}
