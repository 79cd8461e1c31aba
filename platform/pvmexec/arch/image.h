/*
 * The code image of stubs. All symbols are offsets from stub_image_start; those called _ip lie just behind a system-call
 * instruction, which is how a seccomp filter sees it.
 */
#ifndef PLATFORM_PVMEXEC_ARCH_IMAGE_H
#define PLATFORM_PVMEXEC_ARCH_IMAGE_H

#include "platform/pvmexec/layout.h"

#include <stdint.h>

extern const char stub_image_start[], stub_image_end[];
extern const char stub_image_entry[]; /* where the zygote begins, as a pristine process */

extern const char stub_zygote_wait_ip[], stub_zygote_mmap_ip[], stub_zygote_clone_ip[], stub_zygote_wake_ip[];
extern const char stub_born_prctl_ip[], stub_born_getppid_ip[], stub_born_munmap_ip[];
extern const char stub_mapper_wait_ip[], stub_mapper_op_ip[], stub_mapper_clone_ip[], stub_mapper_write_ip[],
    stub_mapper_wake_ip[];
extern const char stub_init_sigstack_ip[], stub_init_dispatch_ip[];
/* Of the guest section. */
extern const char stub_init_sigmask_ip[], stub_futex_ip[], stub_yield_ip[], stub_unmap_ip[], stub_sigreturn_ip[],
    stub_exit_ip[];

extern const char stub_trampoline_common[]; /* where all trampolines go */

static inline uint64_t stub_code_addr(const char *sym)
{
    return STUB_CODE + (uint64_t)(sym - stub_image_start);
}

#endif
