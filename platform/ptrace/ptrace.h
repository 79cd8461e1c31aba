/*
 * The ptrace backend, inside.
 *
 * Each address space is a *stub process* with an untraced leader that sleeps in pause(2) in code which nobody can write, and
 * one *tracee* thread for each context that runs there. The tracer of a tracee is the host thread that owns the context, as
 * ptrace wants; the guest runs by PTRACE_SYSEMU, so no system call that it makes is ever executed.
 *
 * Changing the address space means making one of the stub's threads execute mmap(2). If the caller owns a tracee there, it is
 * that one; if not, the caller attaches to the leader, injects its calls and lets go again. New tracees and new stub
 * processes are clones, injected in the same way into the leader, or into the leader of the *zygote*, a stub that never runs
 * a guest.
 *
 * Locks: ptrace_as.lock, then ptrace_platform.lock.
 */
#ifndef PLATFORM_PTRACE_PTRACE_H
#define PLATFORM_PTRACE_PTRACE_H

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/refcount.h"
#include "platform/arch/pristine.h"
#include "platform/internal.h"

#include <stdatomic.h>
#include <sys/user.h>

struct ptrace_platform {
    struct platform base;
    struct pristine_image image;
    pid_t zygote;
    struct mutex lock;
    struct list_head zombies GUARDED_BY(lock); /* killed stub processes that could not be reaped yet */
};

struct ptrace_as {
    struct platform_as base;
    struct refcount refs; /* the owner's, and one of each context that has its tracee here */
    struct mutex lock;    /* serialises injections, whichever thread executes them */
    pid_t pid;
};

struct ptrace_context {
    struct platform_context base;
    struct ptrace_as *as; /* where the tracee lives; NULL before the first run. Owner thread only, like all that follows */
    atomic_int pid;       /* of its stub process */
    atomic_int tid;       /* the tracee, stopped whenever the owner is not inside run(); 0 if there is none */
    atomic_bool in_guest; /* run() is about to resume or has resumed the tracee */
    atomic_bool interrupted;
    atomic_ullong cpu_time_before;  /* of former tracees */
    uint64_t fault_rip, fault_addr; /* of the last fault */
    unsigned int fault_repeats;
    struct user_regs_struct there; /* the tracee's registers as last read */
    bool there_known;              /* and not changed since */
    bool fp_pending;               /* fp_saved is newer than the tracee's state */
    unsigned char *fp_saved;       /* host_size bytes; allocated when first needed */
};

/* inject.c */

/* Where the code that a tracer makes a stub run is. */
uint64_t ptrace_code_addr(const struct ptrace_platform *p, const char *sym);
/* Waits for `tid`, a tracee of this thread, to stop or die; returns the wait status, or a negative errno. */
int must_check ptrace_wait(pid_t tid);
/* Executes a system call in a stopped tracee of this thread, whose registers are lost. -ESRCH if it died. */
int must_check ptrace_inject(pid_t tid, long nr, const uint64_t args[6], int64_t *result);
/* Becomes the tracer of a leader, stopped and ready for injections; and leaves it again, asleep in its loop. */
int must_check ptrace_leader_attach(pid_t pid);
void ptrace_leader_detach(pid_t pid);
/* Makes the stopped leader clone; returns the id of the new thread or process, which is stopped and this thread's tracee. */
pid_t must_check ptrace_leader_clone(pid_t pid, uint64_t flags);

/* as.c */
int ptrace_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                     struct platform_as **out);
void ptrace_as_destroy(struct platform_as *as);
int ptrace_as_apply(struct platform_as *as, const struct platform_op *ops, size_t n);
void ptrace_as_put(struct ptrace_as *as);
/* Starts a tracee thread for the calling thread. Returns its id. */
pid_t must_check ptrace_as_spawn(struct ptrace_as *as);
/* Reaps what can be reaped of the killed stub processes; all of them, if `wait`. */
void ptrace_reap_zombies(struct ptrace_platform *p, bool wait);

/* ptrace.c */
void ptrace_platform_destroy(struct platform *p);

/* context.c */
extern const struct platform_vtable ptrace_vtable;
/* A stopped tracee that the calling thread owns in `as`, or 0. Its registers may be changed. */
pid_t ptrace_own_tracee(struct ptrace_as *as);

#endif
