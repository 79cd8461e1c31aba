/* The code image of ptrace stubs; offsets are from its start. */
#ifndef PLATFORM_PTRACE_ARCH_IMAGE_H
#define PLATFORM_PTRACE_ARCH_IMAGE_H

extern const char ptrace_image_start[], ptrace_image_end[];
extern const char ptrace_image_entry[]; /* where a pristine process begins */
extern const char ptrace_image_idle[];  /* the leader's endless pause(2) */
extern const char ptrace_image_call[];  /* a system-call instruction and a breakpoint */

#endif
