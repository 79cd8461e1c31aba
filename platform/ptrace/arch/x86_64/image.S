/* The code image of ptrace stubs: the leader sleeps in `idle`; tracers make threads run `call` to inject a system call. */
#include "platform/arch/x86_64/pristine.inc"

        .section .rodata
        .globl  ptrace_image_start, ptrace_image_end, ptrace_image_entry, ptrace_image_idle, ptrace_image_call
        .hidden ptrace_image_start, ptrace_image_end, ptrace_image_entry, ptrace_image_idle, ptrace_image_call
        .balign 64
ptrace_image_start:
ptrace_image_entry:
        PRISTINE_ENTRY ptrace_image_start
ptrace_image_idle:
        mov     $34, %eax               /* pause */
        syscall
        jmp     ptrace_image_idle
ptrace_image_call:
        syscall
        int3
        ud2
ptrace_image_end:
        .section .note.GNU-stack, "", @progbits
