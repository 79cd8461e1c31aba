/*
 * The kernel engine: process_vm_exec(2) itself, on a host kernel that has the patch of hostkernel/. No released kernel has it,
 * and the number is not assigned, so there is nothing to ask the host about yet.
 */
#include "platform/internal.h"

#include <errno.h>
#include <stdio.h>

int pvmexec_kernel_create(struct platform **out, char *why, size_t why_len)
{
    snprintf(why, why_len, "this host kernel has no process_vm_exec system call");
    return -ENOSYS;
}
