/* Guest programs of the platform tests. Position independent; GUEST_DATA is at 0x500000. */
        .section .rodata

.macro PROGRAM name
        .globl  \name\()_start, \name\()_end
        .hidden \name\()_start, \name\()_end
        .balign 64
\name\()_start:
.endm
.macro END name
\name\()_end:
.endm

/* Calls 1000 with rbx counted up, for ever. */
PROGRAM prog_count
1:      mov     $1000, %eax
        syscall
        inc     %rbx
        jmp     1b
END prog_count

/* As prog_count, but by a site that cannot be rewritten. */
PROGRAM prog_count_plain
        mov     $1000, %ebp
1:      mov     %rbp, %rax
        syscall
        inc     %rbx
        jmp     1b
END prog_count_plain

/* As prog_count, as the C library's syscall() does it. */
PROGRAM prog_count_libc
        mov     $1000, %ebp
1:      mov     %rbp, %rax
        syscall
        cmp     $-4095, %rax
        jae     2f
        inc     %rbx
        jmp     1b
2:      ud2
END prog_count_libc

/* getpid for ever. */
PROGRAM prog_getpid
1:      mov     $39, %eax
        syscall
        inc     %rbx
        dec     %rcx
        mov     %rbx, 0x500000
        cmp     %r15, %rbx
        jne     1b
        mov     $1000, %eax
        syscall
        jmp     1b
END prog_getpid

/* Every register holds something known over a call. */
PROGRAM prog_regs
        mov     $0x101, %rbx
        mov     $0x102, %rbp
        mov     $0x103, %rdx
        mov     $0x104, %rsi
        mov     $0x105, %rdi
        mov     $0x108, %r8
        mov     $0x109, %r9
        mov     $0x10a, %r10
        mov     $0x10c, %r12
        mov     $0x10d, %r13
        mov     $0x10e, %r14
        mov     $0x10f, %r15
        std
        stc
        mov     $7, %eax
        syscall
        mov     $8, %eax
        syscall
        jmp     prog_regs_start
END prog_regs

/* Reads a byte from rsi, writes one to rdi, jumps to rdx; one call after each. */
PROGRAM prog_faults
        mov     (%rsi), %al
        mov     $1, %eax
        syscall
        movb    $1, (%rdi)
        mov     $2, %eax
        syscall
        jmp     *%rdx
END prog_faults

PROGRAM prog_div
        xor     %edx, %edx
        xor     %ecx, %ecx
        div     %ecx
END prog_div
PROGRAM prog_ud2
        ud2
END prog_ud2
PROGRAM prog_int3
        int3
        nop
END prog_int3
PROGRAM prog_gp
        mov     $0x8000000000000000, %rax
        mov     (%rax), %eax
END prog_gp
PROGRAM prog_hlt
        hlt
END prog_hlt
PROGRAM prog_int80
        mov     $20, %eax
        int     $0x80
        nop
END prog_int80
PROGRAM prog_step
        pushfq
        orq     $0x100, (%rsp)
        popfq
        nop
        nop
END prog_step
PROGRAM prog_spin
1:      inc     %rbx
        jmp     1b
END prog_spin

/* fs and gs through their instructions. rdi: fs, rsi: gs, both to be set if not 0. */
PROGRAM prog_segments
        test    %rdi, %rdi
        jz      1f
        wrfsbase %rdi
1:      test    %rsi, %rsi
        jz      2f
        wrgsbase %rsi
2:      mov     $1, %eax
        syscall
        rdfsbase %r8
        rdgsbase %r9
        mov     $2, %eax
        syscall
        jmp     2b
END prog_segments

/* Reads %fs:0 and %gs:0 for ever. */
PROGRAM prog_segment_reads
1:      mov     %fs:0, %r8
        mov     %gs:0, %r9
        mov     $1, %eax
        syscall
        jmp     1b
END prog_segment_reads

PROGRAM prog_fp
1:      mov     $1, %eax
        syscall
        movdqu  %xmm3, 0x500000
        stmxcsr 0x500010
        fnstcw  0x500014
        mov     $2, %eax
        syscall
        movdqu  0x500020, %xmm3
        mov     $3, %eax
        syscall
        jmp     1b
END prog_fp

/* zmm31 and zmm0 from the data page; calls; stores them at 128. */
PROGRAM prog_avx512
        vmovdqu64 0x500000, %zmm31
        vmovdqu64 0x500000, %zmm0
1:      mov     $1, %eax
        syscall
        vmovdqu64 %zmm31, 0x500080
        vmovdqu64 %zmm0, 0x5000c0
        jmp     1b
END prog_avx512

/* Writes a byte to each page from rsi on. */
PROGRAM prog_touch
1:      movb    $1, (%rsi)
        add     $4096, %rsi
        jmp     1b
END prog_touch

/* r15 rounds of a loop before each call. */
PROGRAM prog_work
1:      mov     %r15, %rbx
2:      dec     %rbx
        jnz     2b
        mov     $1000, %eax
        syscall
        jmp     1b
END prog_work

/* Writes to random places of the slots from rdi on, rsi of them, for ever. rbx seeds. */
PROGRAM prog_scribble
1:      mov     %rbx, %rax
        shl     $13, %rax
        xor     %rax, %rbx
        mov     %rbx, %rax
        shr     $7, %rax
        xor     %rax, %rbx
        mov     %rbx, %rax
        shl     $17, %rax
        xor     %rax, %rbx
        /* Slot, offset and value from different bits. */
        mov     %rbx, %rax
        shr     $40, %rax
        xor     %edx, %edx
        div     %rsi
        shl     $14, %rdx
        add     %rdi, %rdx
        mov     %rbx, %rcx
        shr     $20, %rcx
        and     $0x3ff8, %ecx
        test    $0x1, %bl
        jz      2f
        and     $0xf8, %ecx
2:      or      $0x1000, %ecx
        mov     %ebx, %eax
        test    $0x2, %bl
        jz      3f
        and     $3, %eax
        mov     %eax, (%rdx, %rcx)
        jmp     1b
3:      test    $0x4, %bl
        jz      4f
        lea     (%rdx, %rcx), %rax
        and     $~7, %rax
4:      mov     %rax, (%rdx, %rcx)
        jmp     1b
END prog_scribble

/* Registers and target from the data page (struct jump_regs). */
PROGRAM prog_jump
        mov     0x500078, %rsp
        mov     0x500070, %rax
        test    %rax, %rax
        jz      1f
        wrgsbase %rax
        mov     0x500000, %rax
        mov     0x500008, %rdi
        mov     0x500010, %rsi
        mov     0x500018, %rdx
        mov     0x500020, %r10
        mov     0x500028, %r8
        mov     0x500030, %r9
        mov     0x500038, %rbx
        mov     0x500040, %rbp
        mov     0x500048, %r12
        mov     0x500050, %r13
        mov     0x500058, %r14
        mov     0x500060, %r15
        jmp     *0x500068
1:      mov     $1000, %eax
        syscall
        jmp     1b
END prog_jump

/* Says that it waits, in the word at rdi, and goes on to r15 instead. */
PROGRAM prog_feign
        movl    $2, (%rdi)              /* TURN_SENTRY */
        jmp     *%r15
END prog_feign

/* Three kinds of sites in turn; a read of (rsi) after each. rbx counts calls. */
PROGRAM prog_stress
1:      mov     $1000, %eax
        syscall
        cmp     $7, %rax
        jne     9f
        inc     %rbx
        mov     (%rsi), %al
        mov     $1001, %ebp
        mov     %rbp, %rax
        syscall
        cmp     $-4095, %rax
        jae     9f
        cmp     $7, %rax
        jne     9f
        inc     %rbx
        mov     (%rsi), %al
        mov     $1002, %ebp
        mov     %rbp, %rax
        syscall
        nop
        cmp     $7, %eax
        jne     9f
        inc     %rbx
        mov     (%rsi), %al
        jmp     1b
9:      ud2
END prog_stress

/* What the flags look like from inside; rbx. */
PROGRAM prog_flags
1:      pushfq
        pop     %rbx
        mov     $1000, %eax
        syscall
        jmp     1b
END prog_flags

/* Leaves everything of the thread's modes as badly as user code can, and makes calls. */
PROGRAM prog_modes
        mov     $0x2b, %eax
        mov     %eax, %ds
        mov     %eax, %es
        movl    $0xff80, 0x500000
        movw    $0x0000, 0x500008
1:      ldmxcsr 0x500000        /* round to zero, exceptions still masked */
        fninit
        fldcw   0x500008        /* all x87 exceptions unmasked, single precision */
        fldpi                   /* and the stack moved */
        std
        mov     $1000, %eax
        syscall
        cld
        jmp     1b
END prog_modes

/* Goes to 32-bit mode and executes the first eight bytes of the data page, on the stack page. QEMU's far return cannot do it. */
PROGRAM prog_compat
        mov     0x500000, %rax
        mov     %rax, 0x600100
        movl    $0x600100, 0x500010
        movw    $0x23, 0x500014
        ljmpl   *0x500010
END prog_compat

        .section .note.GNU-stack, "", @progbits
