/* membarrier(2): commands, registrations and their rules. */
#include "sentry/kernel/membarrier.h"
#include "sentry/kernel/rseq.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/membarrier.h>

#ifndef MEMBARRIER_CMD_GET_REGISTRATIONS
#define MEMBARRIER_CMD_GET_REGISTRATIONS (1 << 9)
#endif

/* Which registration allows which command; 0: none is needed. */
static const struct {
    int cmd, needs;
    bool all;
} barriers[] = {
    {MEMBARRIER_CMD_GLOBAL, 0, true},
    {MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, true},
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, false},
    {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, false},
};

#define REGISTRATIONS                                                                       \
    (MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | \
     MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ)

static int restart_sections(struct task *t)
{
    if (!(atomic_load(&t->tg->membarrier) & MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ))
        return -EPERM;
    return rseq_restart_others(t);
}

int64_t sys_membarrier(struct task *t, const struct syscall_args *a)
{
    int cmd = arg_int(a, 0),
        supported = REGISTRATIONS | MEMBARRIER_CMD_GET_REGISTRATIONS | MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ;

    if (arg_uint(a, 1)) /* MEMBARRIER_CMD_FLAG_CPU goes with one command, and all threads are good enough for one CPU's */
        return cmd == MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ && arg_uint(a, 1) == 1 ? restart_sections(t) : -EINVAL;
    if (cmd == MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ)
        return restart_sections(t);
    if (cmd == MEMBARRIER_CMD_GET_REGISTRATIONS)
        return atomic_load(&t->tg->membarrier);
    for (size_t i = 0; i < ARRAY_SIZE(barriers); i++) {
        supported |= barriers[i].cmd;
        if (cmd != barriers[i].cmd)
            continue;
        if (barriers[i].needs && !(atomic_load(&t->tg->membarrier) & barriers[i].needs))
            return -EPERM;
        return membarrier_run(t, barriers[i].all);
    }
    if (cmd == MEMBARRIER_CMD_QUERY)
        return supported;
    if (cmd & ~REGISTRATIONS || __builtin_popcount((unsigned int)cmd) != 1)
        return -EINVAL;
    atomic_fetch_or(&t->tg->membarrier, cmd);
    return 0;
}
