/*
 * The dispatch table, made from table.def, and the one place through which every guest call goes.
 *
 * Numbers that Linux does not have, and those that nothing serves, get ENOSYS; the latter are logged once each.
 */
#include "sentry/syscalls/syscalls.h"

#include "lib/log.h"
#include "sentry/syscalls/strace.h"

const struct syscall_desc syscall_table[NR_SYSCALLS] = {
#define SYSCALL(nr, name, handler, support, args) [nr] = {#name, handler, support, args},
#include "sentry/syscalls/table.def"
#undef SYSCALL
};

int64_t syscall_dispatch(struct task *t, uint64_t nr, const struct syscall_args *a)
{
    if (unlikely(nr >= NR_SYSCALLS || !syscall_table[nr].fn))
        return -ENOSYS;
    if (unlikely(t->k->strace))
        return strace_call(t, &syscall_table[nr], a);
    return syscall_table[nr].fn(t, a);
}

int64_t sys_ni(struct task *t, const struct syscall_args *a)
{
    uint64_t nr = (uint64_t)t->orig_rax;

    if (nr < NR_SYSCALLS) {
        unsigned long long bit = 1ULL << (nr % 64);
        if (!(atomic_fetch_or(&t->k->unserved_calls[nr / 64], bit) & bit))
            log_warn("[%d %s] %s is not implemented", t->tid, t->comm, syscall_table[nr].name);
    }
    return -ENOSYS;
}
