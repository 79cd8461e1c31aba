#include "sentry/kernel/cpus.h"

#include "sentry/kernel/task.h"
#include "sentry/loader/vdso.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

static uint64_t existing_cpus(const struct kernel *k, unsigned int word)
{
    unsigned int first = word * 64;

    if (k->nr_cpus <= first)
        return 0;
    return k->nr_cpus - first >= 64 ? ~0ULL : (1ULL << (k->nr_cpus - first)) - 1;
}

static bool mask_empty(const uint64_t mask[CPU_MASK_WORDS])
{
    for (unsigned int i = 0; i < CPU_MASK_WORDS; i++)
        if (mask[i])
            return false;
    return true;
}

int task_set_affinity(struct task *t, const uint64_t mask[CPU_MASK_WORDS])
{
    uint64_t effective[CPU_MASK_WORDS];
    bool bound = false;

    for (unsigned int i = 0; i < CPU_MASK_WORDS; i++) {
        effective[i] = mask[i] & existing_cpus(t->k, i);
        bound |= effective[i] != existing_cpus(t->k, i);
    }
    if (mask_empty(effective))
        return -EINVAL;
    if (bound)
        vdso_getcpu_by_call(t->k);
    mutex_lock(&t->tg->siglock);
    memcpy(t->cpu_affinity, effective, sizeof(effective));
    atomic_store(&t->rseq.resume, true); /* it may have to leave its CPU */
    mutex_unlock(&t->tg->siglock);
    return 0;
}

void task_get_affinity(struct task *t, uint64_t mask[CPU_MASK_WORDS])
{
    mutex_lock(&t->tg->siglock);
    memcpy(mask, t->cpu_affinity, sizeof(t->cpu_affinity));
    mutex_unlock(&t->tg->siglock);
    if (!mask_empty(mask))
        return;
    for (unsigned int i = 0; i < CPU_MASK_WORDS; i++)
        mask[i] = existing_cpus(t->k, i);
}

void sched_clone(struct task *child, const struct task *parent)
{
    child->nice = parent->nice;
    child->sched_policy = parent->sched_policy;
    child->sched_priority = parent->sched_priority;
    child->ioprio = parent->ioprio;
    memcpy(child->cpu_affinity, parent->cpu_affinity, sizeof(child->cpu_affinity));
    if (!(child->sched_policy & SCHED_RESET_ON_FORK))
        return;
    child->sched_policy &= ~SCHED_RESET_ON_FORK;
    if (child->sched_policy == SCHED_FIFO || child->sched_policy == SCHED_RR) {
        child->sched_policy = SCHED_OTHER;
        child->sched_priority = 0;
        child->nice = 0;
    } else if (child->nice < 0) {
        child->nice = 0;
    }
}

unsigned int task_cpu(struct task *t)
{
    bool told = !guest_is_null(t->rseq.area) && t->rseq.cpu < t->k->nr_cpus;
    int host = told ? (int)t->rseq.cpu : sched_getcpu();
    unsigned int cpu = host < 0 ? 0 : (unsigned int)host % t->k->nr_cpus;
    uint64_t mask[CPU_MASK_WORDS];

    task_get_affinity(t, mask);
    if (mask[cpu / 64] >> (cpu % 64) & 1)
        goto out;
    cpu = atomic_load_explicit(&t->last_cpu, memory_order_relaxed);
    if (!(mask[cpu / 64] >> (cpu % 64) & 1))
        for (cpu = 0; !(mask[cpu / 64] >> (cpu % 64) & 1); cpu++)
            ;
out:
    atomic_store_explicit(&t->last_cpu, cpu, memory_order_relaxed);
    return cpu;
}
