/*
 * The system-call table. table.def names every x86-64 call once:
 *
 *     SYSCALL(nr, name, handler, support, "argument kinds")
 *
 * From it come the dispatch table, the strace printer, `runsc-c syscalls` and docs/compatibility.md. Handlers fetch their
 * arguments from guest memory, check them and call the subsystem; nothing else lives in sentry/syscalls/.
 */
#ifndef SENTRY_SYSCALLS_SYSCALLS_H
#define SENTRY_SYSCALLS_SYSCALLS_H

#include "lib/guest_addr.h"
#include "sentry/kernel/task.h"

#include <errno.h>

struct syscall_args {
    uint64_t v[6]; /* rdi rsi rdx r10 r8 r9 */
};

typedef int64_t syscall_fn(struct task *t, const struct syscall_args *a);

enum syscall_support {
    SUPPORT_FULL,    /* as Linux */
    SUPPORT_PARTIAL, /* some flags or cases are refused, with the errno that Linux gives for unsupported */
    SUPPORT_NONE,    /* ENOSYS (or EPERM where a container would see that), counted and logged once */
};

struct syscall_desc {
    const char *name;
    syscall_fn *fn;
    enum syscall_support support;
    const char *args; /* one letter an argument, see strace.c */
};

#define NR_SYSCALLS 463

extern const struct syscall_desc syscall_table[NR_SYSCALLS];

/* Serves one call; the result that goes to rax, or a restart code. */
int64_t syscall_dispatch(struct task *t, uint64_t nr, const struct syscall_args *a);
/* The handler of all that is not implemented. */
int64_t sys_ni(struct task *t, const struct syscall_args *a);

/* Argument access with the C types that the kernel gives them. */
static inline int arg_int(const struct syscall_args *a, int i)
{
    return (int)a->v[i];
}
static inline unsigned int arg_uint(const struct syscall_args *a, int i)
{
    return (unsigned int)a->v[i];
}
static inline int64_t arg_long(const struct syscall_args *a, int i)
{
    return (int64_t)a->v[i];
}
static inline size_t arg_size(const struct syscall_args *a, int i)
{
    return (size_t)a->v[i];
}
static inline guest_addr arg_addr(const struct syscall_args *a, int i)
{
    return guest_addr_of(a->v[i]);
}

#define SYSCALL(nr, name, handler, support, args) syscall_fn handler;
#include "sentry/syscalls/table.def"
#undef SYSCALL

#endif
