/*
 * The platform contract: how guest threads get on a CPU.
 *
 * A platform supplies *address spaces* and *contexts* and nothing else. platform_run() puts a guest thread's registers on
 * a CPU in an address space and returns when that thread makes a system call, faults, raises an exception or is interrupted.
 *
 * Who may call what:
 *  - A context belongs to the host thread that created it. Only that thread runs it, reads or writes its FP state and
 *    destroys it. platform_interrupt() may come from any thread while the context exists.
 *  - Address-space operations may come from any thread; the platform serialises them per address space. They may be called
 *    while guest threads run in it, and have taken full effect when they return.
 *
 * Everything that an event reports comes from the guest and may be forged by a hostile one: addresses are just numbers, and
 * a FAULT says only that the guest claims to have faulted. What a platform guarantees is that the guest can touch no memory
 * but what was mapped for it, and that an event always comes.
 *
 * Errors are negative errno values.
 */
#ifndef PLATFORM_PLATFORM_H
#define PLATFORM_PLATFORM_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct platform;
struct platform_as;
struct platform_context;

/* General-purpose registers of a guest thread. Segment selectors are the 64-bit user ones of Linux and not settable. */
struct guest_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint64_t rip, rflags, rsp;
    uint64_t fs_base, gs_base; /* canonical user addresses; run() rejects others with -EINVAL */
};

enum platform_event_kind {
    PLATFORM_EVENT_SYSCALL,     /* regs.rax is the number, rip is past the instruction, rcx/r11 are as the CPU leaves them */
    PLATFORM_EVENT_FAULT,       /* page fault: addr, access; regs.rip is the faulting instruction */
    PLATFORM_EVENT_EXCEPTION,   /* any other: signo, code, addr, trapno, error_code as Linux would report them */
    PLATFORM_EVENT_INTERRUPTED, /* platform_interrupt() was called, or the platform had to stop for its own reasons */
};

enum platform_access { PLATFORM_READ = 1, PLATFORM_WRITE = 2, PLATFORM_EXEC = 4 };

/*
 * `access` of a FAULT is the least that explains it: a platform that cannot tell (ptrace) reports a read first, and a write or
 * a fetch when the same instruction faults again after the read has been granted. So a FAULT that the owner finds permitted
 * already must be answered by running again.
 */
struct platform_event {
    enum platform_event_kind kind;
    unsigned int access; /* FAULT: one platform_access */
    int signo, code;     /* FAULT and EXCEPTION: the signal that Linux would send, and its si_code */
    uint64_t addr;       /* FAULT: the address touched; EXCEPTION: si_addr */
    uint32_t trapno, error_code;
};

/*
 * One change of an address space. Ranges are page aligned and lie within the guest's range (see platform_limits).
 * MAP replaces what was there. A private mapping's pages are never made private by the platform: write access is given
 * only where writing through to the file is meant.
 */
enum platform_op_kind { PLATFORM_MAP, PLATFORM_UNMAP, PLATFORM_PROTECT };

struct platform_op {
    enum platform_op_kind kind;
    int prot; /* PROT_*; MAP and PROTECT */
    uint64_t addr, len;
    int fd;        /* MAP: a descriptor of the sentry; it must stay open until the call returns */
    bool populate; /* MAP: prefault the range for the given access */
    uint64_t offset;
};

/* The guest may use [min, max) except for `hole`, which the platform keeps for itself (empty when start == end). */
struct platform_limits {
    uint64_t min, max;
    uint64_t hole_start, hole_end;
};

/*
 * What the platform asks of an address space's owner: reading and replacing guest program text, for system-call sites that it
 * rewrites. Called on a context's own thread inside platform_run(), with no platform lock held that an address-space
 * operation needs. Both are optional; without them no site is rewritten.
 */
struct platform_text_ops {
    /* Copies guest memory that is mapped private and executable; -EFAULT otherwise. */
    int (*read)(void *owner, uint64_t addr, void *buf, size_t len);
    /*
     * Replaces `len` (<= 8) bytes that lie within one 64-byte cache line by one atomic operation if they still equal
     * `old_bytes`, after breaking copy-on-write. -EAGAIN when they differ.
     */
    int (*patch)(void *owner, uint64_t addr, const void *old_bytes, const void *new_bytes, size_t len);
};

/* What the answers to the cheapest calls are; the sentry keeps them true for each context (platform_set_answers). */
struct platform_answers {
    int32_t pid, tid;
    uint32_t uid, euid, gid, egid;
};

struct platform_config {
    const char *name; /* "auto", "pvmexec", "pvmexec:stub", "pvmexec:kernel", "ptrace" */
};

/*
 * Starts a platform. On failure returns a negative errno and writes to `why` (of `why_len` bytes) one line that says what
 * the host forbids or lacks. Must be called before the process has other threads, by a thread that lives as long as the
 * platform: stub processes die with it. What it starts has the caller's credentials and namespaces, so they should be the
 * sentry's final ones, but is not subject to seccomp filters that the sentry installs later. Stub processes share the table of
 * file descriptors with the sentry, which must not unshare it.
 */
int must_check platform_create(const struct platform_config *config, struct platform **out, char *why, size_t why_len);
/* All contexts and address spaces must be gone. */
void platform_destroy(struct platform *p);
/* The name of what was chosen, with its engine: "pvmexec:stub". */
const char *platform_name(const struct platform *p);
const struct platform_limits *platform_limits(const struct platform *p);
/* Size in bytes of the FP state in XSAVE standard format, and the XCR0 features in it. */
size_t platform_fp_size(const struct platform *p);
uint64_t platform_fp_features(const struct platform *p);

/*
 * A new, empty address space. `fork_of`, if not NULL, is the one whose memory the owner is about to copy into it: sites
 * rewritten there work here as well.
 */
int must_check platform_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops,
                                  void *owner, struct platform_as **out);
/* No context may be running in it. */
void platform_as_destroy(struct platform_as *as);
/* Applies `n` changes in order; stops at the first that fails and returns its error (the earlier ones stay). */
int must_check platform_as_apply(struct platform_as *as, const struct platform_op *ops, size_t n);
/*
 * Unmaps a range on the calling thread's way back to guest code, which is cheaper than at once, if the platform can and the
 * caller's is the only context in `as`; false if not. It may not be counted on: what was mapped there must not be given to
 * others before the next platform_as_apply() that succeeds, or platform_as_destroy(), which see to it that it is unmapped.
 * Until then the owner must not apply anything to a part of the range only.
 */
bool platform_as_unmap_later(struct platform_as *as, uint64_t addr, uint64_t len);

/* Makes a context for the calling thread, with the FP state that Linux gives a fresh program. */
int must_check platform_context_create(struct platform *p, struct platform_context **out);
void platform_context_destroy(struct platform_context *ctx);
/* Tells what the guest may learn without asking; NULL: nothing, every call must come to the sentry (a seccomp filter watches).
 * Owner thread only. */
void platform_set_answers(struct platform_context *ctx, const struct platform_answers *answers);
/*
 * Runs until the next event. `as` may differ from the one of the last call (exec). Returns 0 and fills `ev`, or a negative
 * errno when the guest thread cannot be run any more (its stub was killed: -ESRCH; out of memory); the guest thread must then
 * be killed.
 */
int must_check platform_run(struct platform_context *ctx, struct platform_as *as, struct guest_regs *regs,
                            struct platform_event *ev);
/* Makes the current or the next platform_run() return INTERRUPTED soon. Any thread; async-signal-unsafe. */
void platform_interrupt(struct platform_context *ctx);
/* The owner is about to block for long or leave this address space: release what is only kept for a quick return. */
void platform_park(struct platform_context *ctx);
/* Copies the guest's FP state (platform_fp_size bytes) out or in. set() validates the header and mxcsr: -EINVAL. */
int must_check platform_fp_get(struct platform_context *ctx, void *buf);
int must_check platform_fp_set(struct platform_context *ctx, const void *buf);
/* Whether guest code runs on the context's own thread, so that the host's clock of that thread counts it as well. */
bool platform_on_caller(const struct platform *p);
/* Host CPU time in nanoseconds that guest code has used in this context so far. Any thread, while the context exists. */
uint64_t platform_cpu_time(struct platform_context *ctx);

#endif
