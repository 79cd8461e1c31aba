/*
 * The code image of stub processes: zygote, mapper and guest threads. Mapped read-only into all of them.
 *
 * Guest threads and their memory are at the guest's mercy, so nothing in the guest section needs to be right for the sake of
 * anyone but the guest. The zygote and the mapper are trusted: they use no memory that a guest can write, not even a stack. A
 * guest thread that jumps to their instructions cannot make their system calls.
 */
#include "platform/arch/x86_64/pristine.inc"
#include "platform/pvmexec/layout.h"

#define NR_rt_sigaction   13
#define NR_rt_sigprocmask 14
#define NR_rt_sigreturn   15
#define NR_pwrite64       18
#define NR_sched_yield    24
#define NR_clone          56
#define NR_exit           60
#define NR_getppid        110
#define NR_sigaltstack    131
#define NR_prctl          157
#define NR_futex          202
#define NR_seccomp        317

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

/* Offsets in the kernel's signal frame, from where rsp points when a handler begins. */
#define FRAME_RIP 176

.macro EXPORT name
        .globl  \name
        .hidden \name
\name:
.endm

        .section .rodata
        .balign 64
EXPORT stub_image_start
EXPORT stub_image_entry
        PRISTINE_ENTRY stub_image_start

/*
 * The zygote. r12 image file, r13 pid of the sentry, r14 and r15 file offsets of the globals and birth pages.
 */
        movabs  $STUB_GLOBALS, %rdi
        mov     $4096, %esi
        mov     $1, %edx                /* PROT_READ */
        mov     $0x11, %r10d            /* MAP_SHARED | MAP_FIXED */
        mov     %r12d, %r8d
        mov     %r14, %r9
        mov     $NR_mmap, %eax
        syscall
        cmp     %rdi, %rax
        jne     stub_die
        movabs  $STUB_BIRTH, %rdi
        mov     $3, %edx                /* PROT_READ | PROT_WRITE */
        mov     %r15, %r9
        mov     $NR_mmap, %eax
        syscall
        cmp     %rdi, %rax
        jne     stub_die

        mov     $2, %edi                /* SIG_SETMASK */
        lea     all_signals(%rip), %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        mov     $NR_rt_sigprocmask, %eax
        syscall
        lea     signal_table(%rip), %rbx
1:      movzbl  (%rbx), %edi
        test    %edi, %edi
        jz      3f
        lea     action_fault(%rip), %rsi
        cmpb    $0, 1(%rbx)
        je      2f
        lea     action_kick(%rip), %rsi
2:      xor     %edx, %edx
        mov     $8, %r10d
        mov     $NR_rt_sigaction, %eax
        syscall
        test    %eax, %eax
        jnz     stub_die
        add     $2, %rbx
        jmp     1b
3:      mov     $38, %edi               /* PR_SET_NO_NEW_PRIVS */
        mov     $1, %esi
        xor     %edx, %edx
        xor     %r10d, %r10d
        xor     %r8d, %r8d
        mov     $NR_prctl, %eax
        syscall
        test    %eax, %eax
        jnz     stub_die
        mov     $1, %edi                /* SECCOMP_SET_MODE_FILTER */
        xor     %esi, %esi
        movabs  $(STUB_GLOBALS + GLOBAL_FPROG), %rdx
        mov     $NR_seccomp, %eax
        syscall
        test    %eax, %eax
        jnz     stub_die
        movabs  $STUB_BIRTH, %rbp

zygote_loop:
        mov     BIRTH_BELL(%rbp), %r14d /* before the look, so that a ring during it is not slept through */
        lea     BIRTH_FIRST(%rbp), %rbx
        mov     $BIRTH_SLOTS, %r15d
1:      cmpl    $BIRTH_REQUESTED, BIRTH_STATE(%rbx)
        je      zygote_spawn
        add     $BIRTH_SIZE, %rbx
        dec     %r15d
        jnz     1b
        lea     BIRTH_BELL(%rbp), %rdi
        mov     $FUTEX_WAIT, %esi
        mov     %r14d, %edx
        xor     %r10d, %r10d
        mov     $NR_futex, %eax
        syscall
EXPORT stub_zygote_wait_ip
        jmp     zygote_loop

zygote_spawn:
        movabs  $STUB_COMMANDS, %rdi
        mov     $4096, %esi
        mov     $1, %edx
        mov     $0x11, %r10d
        mov     %r12d, %r8d
        mov     BIRTH_COMMANDS(%rbx), %r9
        mov     $NR_mmap, %eax
        syscall
EXPORT stub_zygote_mmap_ip
        cmp     %rdi, %rax
        jne     1f
        mov     $0x8400, %edi           /* CLONE_FILES | CLONE_PARENT */
        xor     %esi, %esi
        xor     %edx, %edx
        xor     %r10d, %r10d
        xor     %r8d, %r8d
        mov     $NR_clone, %eax
        syscall
EXPORT stub_zygote_clone_ip
        test    %rax, %rax
        jz      stub_born
1:      mov     %eax, BIRTH_PID(%rbx)
        movl    $BIRTH_READY, BIRTH_STATE(%rbx)
        lea     BIRTH_STATE(%rbx), %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $NR_futex, %eax
        syscall
EXPORT stub_zygote_wake_ip
        jmp     zygote_loop

/* A new stub, of which the sentry knows already. */
stub_born:
        mov     $1, %edi                /* PR_SET_PDEATHSIG */
        mov     $9, %esi                /* SIGKILL */
        mov     $NR_prctl, %eax
        syscall
EXPORT stub_born_prctl_ip
        mov     $NR_getppid, %eax
        syscall
EXPORT stub_born_getppid_ip
        cmp     %r13d, %eax
        jne     stub_die
        movabs  $STUB_BIRTH, %rdi
        mov     $4096, %esi
        mov     $NR_munmap, %eax
        syscall
EXPORT stub_born_munmap_ip
        test    %eax, %eax
        jnz     stub_die
        movabs  $STUB_COMMANDS, %rbx
        xor     %r15d, %r15d

/*
 * The mapper. It waits for a new number of COMMANDS_SEQUENCE, makes the calls that the commands page lists, until one fails, and
 * reports by writing to the file behind that page, which nobody here has mapped writable. What it writes are bytes of its own
 * code image. rbx: commands page, r15: the sequence number seen last, r12: result of a call, r13: calls done.
 */
mapper_loop:
        mov     COMMANDS_SEQUENCE(%rbx), %eax
        cmp     %eax, %r15d
        jne     1f
        lea     COMMANDS_SEQUENCE(%rbx), %rdi
        mov     $FUTEX_WAIT, %esi
        mov     %r15d, %edx
        xor     %r10d, %r10d
        mov     $NR_futex, %eax
        syscall
EXPORT stub_mapper_wait_ip
        jmp     mapper_loop

1:      mov     %eax, %r15d
        mov     COMMANDS_COUNT(%rbx), %r14d
        xor     %r13d, %r13d
        lea     COMMANDS_OPS(%rbx), %rbp
2:      cmp     %r13d, %r14d
        je      mapper_report
        mov     8(%rbp), %rdi
        mov     16(%rbp), %rsi
        mov     24(%rbp), %rdx
        mov     32(%rbp), %r10
        mov     40(%rbp), %r8
        mov     48(%rbp), %r9
        mov     (%rbp), %eax
        cmp     $NR_clone, %eax
        je      3f
        syscall
EXPORT stub_mapper_op_ip
        mov     %rax, %r12
        cmp     $-4095, %rax
        jae     mapper_report_result
        inc     %r13d
        add     $OP_SIZE, %rbp
        jmp     2b
3:      syscall
EXPORT stub_mapper_clone_ip
        test    %rax, %rax
        jz      thread_born
        mov     %rax, %r12
        cmp     $-4095, %rax
        jae     mapper_report_result
        inc     %r13d                   /* a clone is the last of its list */

mapper_report_result:
        xor     %r14d, %r14d
4:      movzbl  %r12b, %eax
        lea     5f(%rip), %rbp
        jmp     mapper_write
5:      inc     %r14d
        shr     $8, %r12d               /* what is not written is zero already */
        jnz     4b
mapper_report:
        lea     1(%r13), %eax
        mov     $(COMMANDS_REPORT - COMMANDS_RESULT), %r14d
        lea     6f(%rip), %rbp
        jmp     mapper_write
6:      cmpl    $0, COMMANDS_ASLEEP(%rbx)
        je      mapper_loop
        lea     COMMANDS_REPORT(%rbx), %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        mov     $NR_futex, %eax
        syscall
EXPORT stub_mapper_wake_ip
        jmp     mapper_loop

/* Writes the byte eax to COMMANDS_RESULT + r14, and goes to rbp. */
mapper_write:
        mov     COMMANDS_FILE(%rbx), %edi
        lea     bytes(%rip), %rsi
        add     %rax, %rsi
        mov     $1, %edx
        mov     COMMANDS_OFFSET(%rbx), %r10
        lea     COMMANDS_RESULT(%r10, %r14), %r10
        mov     $NR_pwrite64, %eax
        syscall
EXPORT stub_mapper_write_ip
        jmp     *%rbp

/*
 * A new thread, all signals blocked and still as free as the mapper. r9 is its slot. Once dispatch is on, each system call from
 * outside of the guest section is a SIGSYS.
 */
thread_born:
        mov     %r9, %rbx
        wrgsbase %rbx
        lea     SLOT_SIGSTACK(%rbx), %rdi
        xor     %esi, %esi
        mov     $NR_sigaltstack, %eax
        syscall
EXPORT stub_init_sigstack_ip
        test    %eax, %eax
        jnz     stub_die
        mov     $59, %edi               /* PR_SET_SYSCALL_USER_DISPATCH */
        mov     $1, %esi                /* PR_SYS_DISPATCH_ON */
        movabs  $(STUB_CODE + guest_section - stub_image_start), %rdx
        mov     $(guest_section_end - guest_section), %r10d
        xor     %r8d, %r8d              /* no selector: a guest could write it */
        mov     $NR_prctl, %eax
        syscall
EXPORT stub_init_dispatch_ip
        test    %eax, %eax
        jnz     stub_die
        jmp     thread_begin

stub_die:
        ud2

/*
 * Waits until the turn of the slot in rbx is the guest's again, and unmaps what is to be unmapped before guest code runs. Clobbers what a system call does, and rax, rdx, rdi, rsi,
 * r10, r14 and r15.
 */
.macro AWAIT_TURN
        mov     SLOT_SPIN(%rbx), %edx
        movabs  $(STUB_GLOBALS + GLOBAL_CROWDED), %r14
10:     mov     SLOT_TURN(%rbx), %eax
        cmp     $TURN_SENTRY, %eax
        jb      14f
        cmp     $0, %edx
        je      11f
        dec     %edx
        pause
        cmpl    $0, SLOT_SPIN(%rbx)
        je      11f
        cmpl    $0, (%r14)
        je      10b
11:     mov     SLOT_YIELDS(%rbx), %r10d
13:     sub     $1, %r10d
        jb      15f
        mov     $NR_sched_yield, %eax
        lea     16f(%rip), %r15
        jmp     yield
16:     cmpl    $TURN_SENTRY, SLOT_TURN(%rbx)
        jae     13b
15:     mov     $TURN_SENTRY, %eax
        mov     $TURN_SENTRY_SLEEP, %edx
        lock cmpxchg %edx, SLOT_TURN(%rbx)
        cmp     $TURN_SENTRY, %eax
        jb      14f
        lea     SLOT_TURN(%rbx), %rdi
        mov     $FUTEX_WAIT, %esi
        mov     $TURN_SENTRY_SLEEP, %edx
        lea     12f(%rip), %r15
        jmp     futex
12:     mov     SLOT_TURN(%rbx), %eax
        cmp     $TURN_SENTRY, %eax
        jae     15b
14:     mov     SLOT_UNMAP_LEN(%rbx), %rsi
        test    %rsi, %rsi
        jz      17f
        mov     SLOT_UNMAP_ADDR(%rbx), %rdi
        lea     17f(%rip), %r15
        jmp     unmap
17:
.endm

/* The second half of handing over, after the turn became the sentry's and eax is what it was before. */
.macro WAKE_SENTRY
        cmp     $TURN_GUEST_SLEEP, %eax
        jne     20f
        lea     SLOT_TURN(%rbx), %rdi
        mov     $FUTEX_WAKE, %esi
        mov     $1, %edx
        lea     20f(%rip), %r15
        jmp     futex
20:
.endm

/*
 * Where all trampolines go, with gs known to be the slot, rax the number of the call and rcx where to go on. The FP state
 * stays in the registers all the time.
 */
        .balign 64
guest_section:
EXPORT stub_trampoline_common
        mov     %rax, %gs:SLOT_REGS + REGS_RAX
        mov     %rcx, %gs:SLOT_REGS + REGS_RCX
        mov     %rcx, %gs:SLOT_REGS + REGS_RIP
        mov     %rsp, %gs:SLOT_REGS + REGS_RSP
        mov     %rdi, %gs:SLOT_REGS + REGS_RDI
        mov     %rsi, %gs:SLOT_REGS + REGS_RSI
        mov     %rdx, %gs:SLOT_REGS + REGS_RDX
        mov     %r10, %gs:SLOT_REGS + REGS_R10
        mov     %r8, %gs:SLOT_REGS + REGS_R8
        mov     %r9, %gs:SLOT_REGS + REGS_R9
        mov     %rbx, %gs:SLOT_REGS + REGS_RBX
        mov     %rbp, %gs:SLOT_REGS + REGS_RBP
        mov     %r12, %gs:SLOT_REGS + REGS_R12
        mov     %r13, %gs:SLOT_REGS + REGS_R13
        mov     %r14, %gs:SLOT_REGS + REGS_R14
        mov     %r15, %gs:SLOT_REGS + REGS_R15
        mov     %gs:SLOT_SELF, %rbx
        lea     (SLOT_REGS + REGS_RFLAGS + 8)(%rbx), %rsp
        pushfq
        mov     (%rsp), %rax
        mov     %rax, (SLOT_REGS + REGS_R11)(%rbx)
        rdfsbase %rax
        mov     %rax, (SLOT_REGS + REGS_FS)(%rbx)
        movl    $HOW_TRAMPOLINE, SLOT_HOW(%rbx)
        mov     $TURN_SENTRY, %eax
        xchg    %eax, SLOT_TURN(%rbx)
/* From here to trampoline_end a kick finds the thread's registers in the sentry's hands. */
trampoline_posted:
        WAKE_SENTRY
trampoline_wait:
        AWAIT_TURN
        mov     SLOT_COMMAND(%rbx), %eax
        cmp     $COMMAND_RUN, %eax
        jne     3f
1:      lea     (SLOT_REGS + REGS_RFLAGS)(%rbx), %rsp
        popfq
        mov     %gs:SLOT_REGS + REGS_R15, %r15
        mov     %gs:SLOT_REGS + REGS_R14, %r14
        mov     %gs:SLOT_REGS + REGS_R13, %r13
        mov     %gs:SLOT_REGS + REGS_R12, %r12
        mov     %gs:SLOT_REGS + REGS_RBP, %rbp
        mov     %gs:SLOT_REGS + REGS_RBX, %rbx
        mov     %gs:SLOT_REGS + REGS_R11, %r11
        mov     %gs:SLOT_REGS + REGS_R10, %r10
        mov     %gs:SLOT_REGS + REGS_R9, %r9
        mov     %gs:SLOT_REGS + REGS_R8, %r8
        mov     %gs:SLOT_REGS + REGS_RAX, %rax
        mov     %gs:SLOT_REGS + REGS_RCX, %rcx
        mov     %gs:SLOT_REGS + REGS_RDX, %rdx
        mov     %gs:SLOT_REGS + REGS_RSI, %rsi
        mov     %gs:SLOT_REGS + REGS_RDI, %rdi
        mov     %gs:SLOT_REGS + REGS_RSP, %rsp
        jmp     *%gs:SLOT_REGS + REGS_RIP
3:      cmp     $COMMAND_RUN_SETFS, %eax
        jne     4f
2:      mov     (SLOT_REGS + REGS_FS)(%rbx), %rax
        wrfsbase %rax
        jmp     1b
4:      cmp     $COMMAND_RUN_LOAD, %eax
        jne     5f
        mov     SLOT_FP_FEATURES(%rbx), %eax
        mov     (SLOT_FP_FEATURES + 4)(%rbx), %edx
        xrstor64 SLOT_FP(%rbx)
        jmp     2b
5:      cmp     $COMMAND_SAVE, %eax
        jne     6f
        mov     SLOT_FP_FEATURES(%rbx), %eax
        mov     (SLOT_FP_FEATURES + 4)(%rbx), %edx
        xsave64 SLOT_FP(%rbx)
        movl    $HOW_TRAMPOLINE, SLOT_HOW(%rbx)
        mov     $TURN_SENTRY, %eax
        xchg    %eax, SLOT_TURN(%rbx)
        jmp     trampoline_posted
6:      cmp     $COMMAND_EXIT, %eax
        je      thread_exit
        int3                            /* COMMAND_TO_FRAME: the kernel makes the frame */
        jmp     trampoline_wait

/* A new thread, which can do no more than guest code can. A kick that came early is delivered here. */
thread_begin:
        mov     $2, %edi
        lea     SLOT_NO_SIGNALS(%rbx), %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        mov     $NR_rt_sigprocmask, %eax
        syscall
EXPORT stub_init_sigmask_ip
        jmp     trampoline_wait

futex:
        mov     $NR_futex, %eax
        xor     %r10d, %r10d
        syscall
EXPORT stub_futex_ip
        jmp     *%r15

yield:
        syscall
EXPORT stub_yield_ip
        jmp     *%r15

unmap:
        mov     $NR_munmap, %eax
        syscall
EXPORT stub_unmap_ip
        jmp     *%r15
trampoline_end:

thread_exit:
        xor     %edi, %edi
        mov     $NR_exit, %eax
        syscall
EXPORT stub_exit_ip
        ud2

/*
 * Signal handlers, on the slot's signal stack with all signals blocked. r12 stays the frame's address.
 */
        .balign 64
handler_fault:
        mov     %rsp, %r12
        mov     %rsp, %rbx
        and     $-SLOT_SIZE, %rbx
        mov     $HOW_FRAME, %r13d
frame_post:
        mov     %r12, SLOT_FRAME(%rbx)
        mov     %r13d, SLOT_HOW(%rbx)
        rdfsbase %rax
        mov     %rax, (SLOT_REGS + REGS_FS)(%rbx)
        rdgsbase %rax
        mov     %rax, (SLOT_REGS + REGS_GS)(%rbx)
        mov     $TURN_SENTRY, %eax
        xchg    %eax, SLOT_TURN(%rbx)
        WAKE_SENTRY
        AWAIT_TURN
        cmpl    $COMMAND_EXIT, SLOT_COMMAND(%rbx)
        je      thread_exit
        mov     (SLOT_REGS + REGS_FS)(%rbx), %rax
        wrfsbase %rax
        mov     (SLOT_REGS + REGS_GS)(%rbx), %rax
        wrgsbase %rax
frame_return:
        lea     8(%r12), %rsp
signal_restorer:
        mov     $NR_rt_sigreturn, %eax
        syscall
EXPORT stub_sigreturn_ip
        ud2

/*
 * A kick. Guest code is stopped. In stub code it means that the thread is on its way in or out: on the way in there is
 * nothing to do, since the sentry remembers the interrupt; on the way out, guest code must not be reached.
 */
handler_kick:
        mov     %rsp, %r12
        mov     %rsp, %rbx
        and     $-SLOT_SIZE, %rbx
        mov     $HOW_FRAME, %r13d
        mov     FRAME_RIP(%r12), %rax
        lea     stub_image_start(%rip), %rcx
        cmp     %rcx, %rax
        jb      frame_post
        lea     stub_image_end(%rip), %rcx
        cmp     %rcx, %rax
        jae     frame_post
        lea     trampoline_posted(%rip), %rcx
        cmp     %rcx, %rax
        jb      frame_return
        lea     trampoline_end(%rip), %rcx
        cmp     %rcx, %rax
        jae     frame_return
        cmpl    $TURN_SENTRY, SLOT_TURN(%rbx)
        jae     frame_return
        mov     $HOW_ABORTED, %r13d
        jmp     frame_post
guest_section_end:

        .balign 8
all_signals:
        .quad   -1
        /* struct sigaction: SA_SIGINFO | SA_ONSTACK | SA_RESTORER, everything blocked. */
action_fault:
        .quad   STUB_CODE + handler_fault - stub_image_start, 0x0c000004
        .quad   STUB_CODE + signal_restorer - stub_image_start, -1
action_kick:
        .quad   STUB_CODE + handler_kick - stub_image_start, 0x0c000004
        .quad   STUB_CODE + signal_restorer - stub_image_start, -1
signal_table:                           /* signal, whether it is the kick */
        .byte   4, 0, 5, 0, 7, 0, 8, 0, 11, 0, 31, 0, 23, 1, 0, 0
bytes:                                  /* each value, for the mapper to write from */
        .set    value, 0
        .rept   256
        .byte   value
        .set    value, value + 1
        .endr
EXPORT stub_image_end
        .section .note.GNU-stack, "", @progbits
