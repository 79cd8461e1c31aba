/*
 * The layout of a thread's floating-point and vector state as the host has it, and checks on a state that comes from
 * elsewhere. On x86-64 that is the standard (non-compacted) XSAVE format.
 */
#ifndef PLATFORM_ARCH_FPSTATE_H
#define PLATFORM_ARCH_FPSTATE_H

#include "lib/compiler.h"

#include <stddef.h>
#include <stdint.h>

struct fp_layout {
    size_t size;         /* bytes of a state with all of `features` */
    uint64_t features;   /* XCR0 bits that guests have */
    size_t host_size;    /* bytes of a state with everything that the host has enabled: what ptrace transfers */
    uint32_t mxcsr_mask; /* bits of MXCSR that may be set */
    size_t pkru;         /* where the protection-key rights are; 0: the CPU has none */
};

/* Asks the CPU. -ENOTSUP without XSAVE. */
int must_check fp_layout_probe(struct fp_layout *fp);
/* Writes the state of a fresh program to `buf` (fp->size bytes). */
void fp_init_state(const struct fp_layout *fp, void *buf);
/* -EINVAL unless the CPU would accept `buf`. */
int must_check fp_check(const struct fp_layout *fp, const void *buf);
/*
 * Clears what the kernel leaves beside the state proper (the software bytes of its signal frames), and features that guests do
 * not have, so that a state taken from a frame is one that fp_check accepts.
 */
void fp_scrub(const struct fp_layout *fp, void *buf);
/* For a platform that keeps the protection-key rights elsewhere: puts them into a state, and takes them out of one (`otherwise`
 * if it says nothing of them). Both without effect on a CPU that has none. */
void fp_put_pkru(const struct fp_layout *fp, void *buf, uint32_t pkru);
uint32_t fp_take_pkru(const struct fp_layout *fp, void *buf, uint32_t otherwise);

#endif
