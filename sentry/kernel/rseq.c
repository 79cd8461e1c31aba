/*
 * Restartable sequences: critical sections of the guest that must start over when the thread loses its CPU.
 *
 * The registered area tells the thread its CPU number and tells us, by a pointer to a descriptor, which range of code is
 * critical. When the thread has been off its CPU, or takes a signal, inside that range, it continues at the descriptor's abort
 * address, before which the registered signature must stand.
 */
#include "sentry/kernel/rseq.h"

#include "sentry/kernel/cpus.h"
#include "sentry/kernel/task.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

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

/* Continues at the abort address if the instruction pointer is inside the critical section. -errno: the guest's data is bad. */
static int rseq_abort_section(struct task *t)
{
    guest_addr slot = guest_add(t->rseq.area, offsetof(struct rseq_abi, rseq_cs));
    struct rseq_cs_abi cs;
    uint64_t ptr, zero = 0;
    uint32_t sig;
    int err = copy_in(t, &ptr, slot, sizeof(ptr));

    if (err || !ptr)
        return err;
    err = copy_in(t, &cs, guest_addr_of(ptr), sizeof(cs));
    if (err)
        return err;
    if (cs.version || cs.flags || cs.start_ip + cs.post_commit_offset < cs.start_ip ||
        cs.abort_ip - cs.start_ip < cs.post_commit_offset)
        return -EINVAL;
    err = copy_in(t, &sig, guest_addr_of(cs.abort_ip - sizeof(sig)), sizeof(sig));
    if (err)
        return err;
    if (sig != t->rseq.sig)
        return -EINVAL;
    err = copy_out(t, slot, &zero, sizeof(zero));
    if (!err && t->regs.rip - cs.start_ip < cs.post_commit_offset)
        t->regs.rip = cs.abort_ip;
    return err;
}

bool rseq_signal_delivery(struct task *t)
{
    return guest_is_null(t->rseq.area) || rseq_abort_section(t) == 0;
}

bool rseq_resume(struct task *t)
{
    uint32_t ids[2];

    if (guest_is_null(t->rseq.area))
        return true;
    if (rseq_abort_section(t))
        return false;
    ids[0] = ids[1] = task_cpu(t);
    return copy_out(t, t->rseq.area, ids, sizeof(ids)) == 0;
}

void rseq_clone(struct task *child, const struct task *parent, unsigned long clone_flags)
{
    if (clone_flags & CLONE_VM)
        child->rseq.area = GUEST_NULL;
    else
        child->rseq = parent->rseq;
    if (!(clone_flags & CLONE_THREAD))
        atomic_store(&child->tg->membarrier, atomic_load(&parent->tg->membarrier));
}

void rseq_exec(struct task *t)
{
    t->rseq.area = GUEST_NULL;
    atomic_store(&t->tg->membarrier, 0);
}
