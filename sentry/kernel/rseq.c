/*
 * Restartable sequences: critical sections of the guest that must start over when the thread loses its CPU.
 *
 * The registered area tells the thread its CPU number and tells us, by a pointer to a descriptor, which range of code is
 * critical. When the thread has been off its CPU, or takes a signal, inside that range, it continues at the descriptor's abort
 * address, before which the registered signature must stand.
 *
 * What the guest builds on that is per-CPU data without atomic operations: no two threads of a process may be inside critical
 * sections on the same CPU at once. The host's scheduler does not tell us when it switches threads, so "CPU" here is a token:
 * while a process uses critical sections, a thread may be in the guest only while it owns one of its affinity's CPUs (struct
 * rseq_cpu). A thread that is not in the guest keeps its CPU until somebody takes it; it then notices on its way in, aborts its
 * critical section, and gets another one. When more threads want to run than there are CPUs, they take turns.
 *
 * libc registers every thread but uses no critical sections, and should not pay: the tokens come into being when a descriptor
 * pointer is first seen, when a thread that has set one starts another, has slept, or takes a signal. Allocators that use rseq
 * set it with their first allocation, which comes before their program's second thread.
 *
 * Taking a CPU from a thread is Dekker's algorithm: the taker writes the new owner and then reads guest_seq; the thread writes
 * guest_seq and then reads the owner (rseq_resume_due()). If it was in the guest it is interrupted and waited for.
 *
 * Locks: rseq_cpus->lock -> siglock.
 */
#include "sentry/kernel/rseq.h"

#include "sentry/kernel/cpus.h"
#include "sentry/kernel/membarrier.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>

#define TURN_NS     3000000 /* how long a thread may keep its CPU while others wait */
#define ENTRY_NS    100000
#define POLL_NS     500000 /* how often the first one in the queue looks */
#define MIN_LEN     32     /* of struct rseq, as first published */
#define CPU_ID_NONE UINT32_MAX

/* struct rseq and struct rseq_cs of the kernel's ABI. */
struct rseq_abi {
    uint32_t cpu_id_start, cpu_id;
    uint64_t rseq_cs;
    uint32_t flags, node_id, mm_cid;
};
struct rseq_cs_abi {
    uint32_t version, flags;
    uint64_t start_ip, post_commit_offset, abort_ip;
};

struct rseq_waiter {
    struct list_head node;
    struct task *task;
};

struct rseq_cpus {
    struct mutex lock;
    struct list_head waiting; /* of rseq_waiter: only the first one tries */
    unsigned int nr;
    struct rseq_cpu cpu[];
};

static struct rseq_cpus *cpus_of(struct task *t)
{
    return __atomic_load_n(&t->tg->rseq_cpus, __ATOMIC_ACQUIRE);
}

static bool cpu_allowed(struct task *t, unsigned int cpu)
{
    uint64_t mask[CPU_MASK_WORDS];

    task_get_affinity(t, mask);
    return mask[cpu / 64] >> (cpu % 64) & 1;
}

/* The descriptor that the guest has set; 0: none. */
static int section_pointer(struct task *t, uint64_t *ptr)
{
    return copy_in(t, ptr, guest_add(t->rseq.area, offsetof(struct rseq_abi, rseq_cs)), sizeof(*ptr));
}

/* Continues at the abort address if the instruction pointer is inside the critical section. -errno: the guest's data is bad. */
static int abort_section(struct task *t)
{
    static const uint64_t none;
    struct rseq_cs_abi cs;
    uint64_t ptr;
    uint32_t sig;
    int err = section_pointer(t, &ptr);

    if (err || !ptr)
        return err;
    err = copy_in(t, &cs, guest_addr_of(ptr), sizeof(cs));
    if (err)
        return err;
    if (cs.version || cs.start_ip + cs.post_commit_offset < cs.start_ip || cs.abort_ip - cs.start_ip < cs.post_commit_offset)
        return -EINVAL;
    err = copy_in(t, &sig, guest_addr_of(cs.abort_ip - sizeof(sig)), sizeof(sig));
    if (err)
        return err;
    if (sig != t->rseq.sig || cs.flags)
        return -EINVAL;
    err = copy_out(t, guest_add(t->rseq.area, offsetof(struct rseq_abi, rseq_cs)), &none, sizeof(none));
    if (!err && t->regs.rip - cs.start_ip < cs.post_commit_offset)
        t->regs.rip = cs.abort_ip;
    return err;
}

static int publish_cpu(struct task *t, uint32_t cpu)
{
    const uint32_t ids[2] = {cpu == CPU_ID_NONE ? 0 : cpu, cpu}, node_and_cid[2] = {0, cpu == CPU_ID_NONE ? 0 : cpu};
    int err = copy_out(t, t->rseq.area, ids, sizeof(ids));

    if (!err)
        err = copy_out(t, guest_add(t->rseq.area, offsetof(struct rseq_abi, node_id)), node_and_cid, sizeof(node_and_cid));
    if (!err)
        t->rseq.cpu = cpu;
    return err;
}

/* Makes the new owner of `c` the only one: who had it is out of the guest when this returns. lock held. */
static void take_cpu(struct rseq_cpu *c, struct task *t)
{
    struct task *old = atomic_exchange(&c->owner, t);
    unsigned int seq;

    c->since = kernel_monotonic_ns();
    if (!old || old == t)
        return;
    seq = atomic_load(&old->guest_seq);
    if (!(seq & 1))
        return;
    mutex_lock(&old->tg->siglock);
    if (old->ctx)
        platform_interrupt(old->ctx);
    mutex_unlock(&old->tg->siglock);
    while (atomic_load(&old->guest_seq) == seq)
        sched_yield();
}

/*
 * Is the owner neither in the guest nor on its way there? One that got its CPU just now is let go in first, or threads would
 * keep taking it from each other.
 */
static bool owner_idle(const struct rseq_cpu *c, struct task *owner, int64_t now)
{
    if (atomic_load(&owner->guest_seq) & 1)
        return false;
    return atomic_load_explicit(&owner->state, memory_order_relaxed) != TASK_RUNNING || now - c->since >= ENTRY_NS;
}

/*
 * A CPU that t may have: the one it had before, or another that is free or whose owner is idle; with `turn_over` also the one
 * that was kept longest. NULL: none.
 */
static struct rseq_cpu *choose_cpu(struct rseq_cpus *cpus, struct task *t, int64_t now, bool turn_over)
{
    struct rseq_cpu *available = NULL, *oldest = NULL;
    uint64_t mask[CPU_MASK_WORDS];

    task_get_affinity(t, mask);
    for (unsigned int i = 0; i < cpus->nr; i++) {
        struct rseq_cpu *c = &cpus->cpu[i];
        struct task *owner = atomic_load(&c->owner);

        if (!(mask[i / 64] >> (i % 64) & 1))
            continue;
        if (!owner || owner == t || owner_idle(c, owner, now)) {
            if (owner == t || i == t->rseq.cpu)
                return c;
            if (!available)
                available = c;
        } else if (!oldest || c->since < oldest->since) {
            oldest = c;
        }
    }
    return available || !turn_over ? available : oldest;
}

/* Waits until `t` owns a CPU of its own. Only death ends it early. */
static void acquire_cpu(struct rseq_cpus *cpus, struct task *t)
{
    struct rseq_waiter w = {.task = t};
    int64_t began = 0;
    struct rseq_cpu *c;
    bool first = true;

    list_init(&w.node);
    mutex_lock(&cpus->lock);
    for (;;) {
        int64_t now = kernel_monotonic_ns();

        if (list_empty(&w.node))
            first = list_empty(&cpus->waiting);
        else
            first = list_first_entry(&cpus->waiting, struct rseq_waiter, node) == &w;
        c = first ? choose_cpu(cpus, t, now, began && now - began >= TURN_NS) : NULL;
        if (c || atomic_load(&t->fatal))
            break;
        if (list_empty(&w.node)) {
            list_add_tail(&w.node, &cpus->waiting);
            began = now;
        }
        mutex_unlock(&cpus->lock);
        if (task_block_killable(t, first ? now + POLL_NS : TASK_NO_DEADLINE) == -ERESTARTSYS)
            sched_yield();
        mutex_lock(&cpus->lock);
    }
    list_del_init(&w.node);
    if (c) {
        take_cpu(c, t);
        t->rseq.held = c;
    }
    if (!list_empty(&cpus->waiting))
        task_wake(list_first_entry(&cpus->waiting, struct rseq_waiter, node)->task);
    mutex_unlock(&cpus->lock);
}

static void release_cpu(struct task *t)
{
    struct rseq_cpus *cpus = cpus_of(t);
    struct rseq_cpu *c = t->rseq.held;
    struct task *self = t;

    t->rseq.held = NULL;
    if (!cpus || !c)
        return;
    mutex_lock(&cpus->lock);
    atomic_compare_exchange_strong(&c->owner, &self, NULL);
    mutex_unlock(&cpus->lock);
}

/* The process uses critical sections: from now on its threads run on CPUs of their own. */
static struct rseq_cpus *activate(struct task *t)
{
    struct rseq_cpus *cpus = cpus_of(t), *first;
    struct task *other;

    if (cpus)
        return cpus;
    cpus = calloc(1, sizeof(*cpus) + t->k->nr_cpus * sizeof(cpus->cpu[0]));
    if (!cpus)
        return NULL;
    mutex_init(&cpus->lock);
    list_init(&cpus->waiting);
    cpus->nr = t->k->nr_cpus;
    mutex_lock(&t->tg->siglock);
    first = t->tg->rseq_cpus;
    if (!first) {
        __atomic_store_n(&t->tg->rseq_cpus, cpus, __ATOMIC_RELEASE);
        list_for_each_entry(other, &t->tg->threads, thread_node)
            atomic_store(&other->rseq.resume, true);
    }
    mutex_unlock(&t->tg->siglock);
    if (first) {
        mutex_fini(&cpus->lock);
        free(cpus);
        return first;
    }
    /* Those in the guest come out and find that they have to get a CPU. */
    return membarrier_run(t, false) ? NULL : cpus;
}

bool rseq_resume(struct task *t)
{
    struct rseq_cpus *cpus = cpus_of(t);
    uint32_t cpu;
    uint64_t ptr;

    atomic_store(&t->rseq.resume, false);
    if (!cpus) {
        if (section_pointer(t, &ptr))
            return false;
        if (ptr && !(cpus = activate(t)))
            return false;
    }
    if (cpus) {
        if (t->rseq.held && atomic_load(&t->rseq.held->owner) == t) {
            if (cpu_allowed(t, (unsigned int)(t->rseq.held - cpus->cpu)))
                return true;
            release_cpu(t);
        }
        acquire_cpu(cpus, t);
        if (abort_section(t))
            return false;
        cpu = t->rseq.held ? (uint32_t)(t->rseq.held - cpus->cpu) : t->rseq.cpu;
    } else {
        cpu = task_cpu(t);
    }
    return cpu == t->rseq.cpu || publish_cpu(t, cpu) == 0;
}

bool rseq_signal_delivery(struct task *t)
{
    uint64_t ptr;

    if (guest_is_null(t->rseq.area))
        return true;
    if (section_pointer(t, &ptr))
        return false;
    return !ptr || (activate(t) && abort_section(t) == 0);
}

int rseq_restart_others(struct task *t)
{
    struct rseq_cpus *cpus = activate(t);

    if (!cpus)
        return -ENOMEM;
    mutex_lock(&cpus->lock);
    for (unsigned int i = 0; i < cpus->nr; i++)
        if (&cpus->cpu[i] != t->rseq.held)
            atomic_store(&cpus->cpu[i].owner, NULL);
    mutex_unlock(&cpus->lock);
    return membarrier_run(t, false);
}

static int check_registered(const struct task *t, guest_addr area, uint32_t len, uint32_t sig)
{
    if (t->rseq.area.a != area.a || guest_is_null(area) || t->rseq.len != len)
        return -EINVAL;
    return t->rseq.sig != sig ? -EPERM : 0;
}

/* Different ones for the first threads of a process, as long as nobody needs more than that. */
static unsigned int first_cpu(struct task *t)
{
    unsigned int cpu = (unsigned int)(t->tid - t->tg->tgid) % t->k->nr_cpus;

    return cpu_allowed(t, cpu) ? cpu : task_cpu(t);
}

int rseq_register(struct task *t, guest_addr area, uint32_t len, uint32_t sig)
{
    static const uint64_t none;
    int err;

    if (!guest_is_null(t->rseq.area)) {
        err = check_registered(t, area, len, sig);
        return err ? err : -EBUSY;
    }
    if (len < MIN_LEN || area.a % MIN_LEN)
        return -EINVAL;
    t->rseq.area = area;
    t->rseq.len = len;
    t->rseq.sig = sig;
    t->rseq.cpu = CPU_ID_NONE;
    err = copy_out(t, guest_add(area, offsetof(struct rseq_abi, rseq_cs)), &none, sizeof(none));
    if (!err)
        err = publish_cpu(t, first_cpu(t));
    if (err)
        t->rseq.area = GUEST_NULL;
    else
        atomic_store(&t->rseq.resume, true);
    return err ? -EFAULT : 0;
}

int rseq_unregister(struct task *t, guest_addr area, uint32_t len, uint32_t sig)
{
    int err = check_registered(t, area, len, sig);

    if (err)
        return err;
    err = publish_cpu(t, CPU_ID_NONE);
    release_cpu(t);
    t->rseq.area = GUEST_NULL;
    return err;
}

void rseq_clone(struct task *child, struct task *parent, unsigned long clone_flags)
{
    uint64_t ptr;

    if (!(clone_flags & CLONE_VM)) {
        child->rseq.area = parent->rseq.area;
        child->rseq.len = parent->rseq.len;
        child->rseq.sig = parent->rseq.sig;
        child->rseq.cpu = parent->rseq.cpu;
        atomic_store(&child->rseq.resume, true);
    }
    if (!(clone_flags & CLONE_THREAD)) {
        atomic_store(&child->tg->membarrier, atomic_load(&parent->tg->membarrier));
    } else if (!guest_is_null(parent->rseq.area) && !cpus_of(parent) && !section_pointer(parent, &ptr) && ptr) {
        /* Whoever has no memory for it will notice when it comes back from here. */
        activate(parent);
    }
}

void rseq_tgroup_free(struct tgroup *tg)
{
    struct rseq_cpus *cpus = tg->rseq_cpus;

    if (!cpus)
        return;
    tg->rseq_cpus = NULL;
    mutex_fini(&cpus->lock);
    free(cpus);
}

void rseq_exec(struct task *t)
{
    release_cpu(t);
    t->rseq.area = GUEST_NULL;
    atomic_store(&t->tg->membarrier, 0);
    rseq_tgroup_free(t->tg);
}

void rseq_exit(struct task *t)
{
    release_cpu(t);
    t->rseq.area = GUEST_NULL;
}
