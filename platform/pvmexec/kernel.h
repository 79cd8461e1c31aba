/*
 * The kernel engine, inside: process_vm_exec(2) itself, on a host kernel with the series of hostkernel/.
 *
 * An address space is a descriptor of the host kernel for memory without a task, changed by pvm_change(2). A context is a set
 * of registers and an XSAVE area in the sentry's memory; the sentry's own thread enters the guest's address space with them and
 * comes back with what the guest did. Nothing of the sentry or of the platform is in the guest's reach, so it has the whole of
 * user space and there is nothing in it to defend. See docs/platforms.md.
 *
 * There are no locks: the host kernel serialises changes, and all of a context but what is atomic belongs to its thread.
 */
#ifndef PLATFORM_PVMEXEC_KERNEL_H
#define PLATFORM_PVMEXEC_KERNEL_H

#include "hostkernel/uapi/process_vm_exec.h"
#include "platform/internal.h"

#include <stdatomic.h>

struct kernel_platform {
    struct platform base;
    pid_t pid;
    /* Both clocks when the platform started: what comes between them and now is the rate of the time-stamp counter. */
    uint64_t start_tsc, start_ns;
};

struct kernel_as {
    struct platform_as base;
    int fd;
};

/* Where interrupt() finds the thread. */
enum kernel_kick {
    KICK_AWAY,    /* in the sentry; the interrupt word is enough */
    KICK_RUNNING, /* at or in process_vm_exec(2): it takes a signal */
    KICK_SENDING, /* somebody is sending that */
    KICK_SENT,    /* it has been sent: the thread takes it in before it goes on, so that no call of the sentry's is cut short */
};

/* All that a run touches here lies together, in one page where the XSAVE area is not too large. */
struct kernel_context {
    struct platform_context base;
    struct pvm_context pvm;
    atomic_int tid;  /* of the thread that runs it; 0 before the first run */
    atomic_int kick; /* enum kernel_kick */
    /* Ticks spent in the guest, times two, plus one while it is there: then the ticks are less those of the clock at entry. */
    atomic_ullong ticks;
    /* The XSAVE area: fp.host_size bytes, with pvm.pkru besides; up to date between two runs. */
    _Alignas(64) unsigned char fp[];
};

/* kernel_as.c */
int kernel_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                     struct platform_as **out);
void kernel_as_destroy(struct platform_as *as);
int kernel_as_apply(struct platform_as *as, const struct platform_op *ops, size_t n);

/* kernel_context.c */
extern const struct platform_vtable kernel_vtable;
uint64_t kernel_now_ns(void);

/* kernel.c */
void kernel_platform_destroy(struct platform *p);

/*
 * process_vm_exec(2) with the extended state loaded and stored; 0 or a negative errno. Not by syscall(3), which is one more
 * page of text and one of data to touch; so the compiler has to be told that the vector registers are lost.
 */
static inline int kernel_exec(int fd, struct pvm_context *pvm)
{
    register long size __asm__("rdx") = sizeof(*pvm), flags __asm__("r10") = PVM_RUN_FPU_LOAD | PVM_RUN_FPU_SAVE;
    long r;

    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "0"((long)__NR_process_vm_exec), "D"((long)fd), "S"(pvm), "r"(size), "r"(flags)
                     : "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return (int)r;
}

#endif
