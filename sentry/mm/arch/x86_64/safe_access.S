/*
 * See safe_access.h. All between safe_access_begin and safe_access_end may fault: it leaves rsp alone, so that the handler can
 * go on at safe_access_fault, which returns from whatever routine it was.
 */
    .text
    .globl safe_access_begin, safe_access_end, safe_access_fault
    .hidden safe_access_begin, safe_access_end, safe_access_fault
    .p2align 4
safe_access_begin:

/* long safe_copy(void *dst, const void *src, size_t n): overlapping moves up to 64 bytes, then the microcode's own copy. */
    .globl safe_copy
    .hidden safe_copy
    .type safe_copy, @function
safe_copy:
    cmp $16, %rdx
    jb 1f
    cmp $32, %rdx
    ja 2f
    movups (%rsi), %xmm0
    movups -16(%rsi,%rdx), %xmm1
    movups %xmm0, (%rdi)
    movups %xmm1, -16(%rdi,%rdx)
    xor %eax, %eax
    ret
2:  cmp $64, %rdx
    ja 3f
    movups (%rsi), %xmm0
    movups 16(%rsi), %xmm1
    movups -32(%rsi,%rdx), %xmm2
    movups -16(%rsi,%rdx), %xmm3
    movups %xmm0, (%rdi)
    movups %xmm1, 16(%rdi)
    movups %xmm2, -32(%rdi,%rdx)
    movups %xmm3, -16(%rdi,%rdx)
    xor %eax, %eax
    ret
3:  mov %rdx, %rcx
    rep movsb
    xor %eax, %eax
    ret
1:  cmp $8, %edx
    jb 4f
    mov (%rsi), %rax
    mov -8(%rsi,%rdx), %rcx
    mov %rax, (%rdi)
    mov %rcx, -8(%rdi,%rdx)
    xor %eax, %eax
    ret
4:  cmp $4, %edx
    jb 5f
    mov (%rsi), %eax
    mov -4(%rsi,%rdx), %ecx
    mov %eax, (%rdi)
    mov %ecx, -4(%rdi,%rdx)
    xor %eax, %eax
    ret
5:  test %edx, %edx
    jz 6f
    movzbl (%rsi), %eax
    cmp $1, %edx
    je 7f
    movzwl -2(%rsi,%rdx), %ecx
    mov %cx, -2(%rdi,%rdx)
7:  mov %al, (%rdi)
6:  xor %eax, %eax
    ret
    .size safe_copy, . - safe_copy

/* long safe_zero(void *dst, size_t n) */
    .globl safe_zero
    .hidden safe_zero
    .type safe_zero, @function
safe_zero:
    mov %rsi, %rcx
    xor %eax, %eax
    rep stosb
    ret
    .size safe_zero, . - safe_zero

/* long safe_load32(const uint32_t *p, uint32_t *val) */
    .globl safe_load32
    .hidden safe_load32
    .type safe_load32, @function
safe_load32:
    mov (%rdi), %ecx
    mov %ecx, (%rsi)
    xor %eax, %eax
    ret
    .size safe_load32, . - safe_load32

/* long safe_store32(uint32_t *p, uint32_t val) */
    .globl safe_store32
    .hidden safe_store32
    .type safe_store32, @function
safe_store32:
    xchg %esi, (%rdi)
    xor %eax, %eax
    ret
    .size safe_store32, . - safe_store32

/* long safe_cmpxchg32(uint32_t *p, uint32_t *expected, uint32_t desired) */
    .globl safe_cmpxchg32
    .hidden safe_cmpxchg32
    .type safe_cmpxchg32, @function
safe_cmpxchg32:
    mov (%rsi), %eax
    lock cmpxchg %edx, (%rdi)
    mov %eax, (%rsi)
    xor %eax, %eax
    ret
    .size safe_cmpxchg32, . - safe_cmpxchg32

/* long safe_cmpxchg64(void *p, uint64_t *expected, uint64_t desired) */
    .globl safe_cmpxchg64
    .hidden safe_cmpxchg64
    .type safe_cmpxchg64, @function
safe_cmpxchg64:
    mov (%rsi), %rax
    lock cmpxchg %rdx, (%rdi)
    mov %rax, (%rsi)
    xor %eax, %eax
    ret
    .size safe_cmpxchg64, . - safe_cmpxchg64

safe_access_end:

safe_access_fault:
    mov $-1, %rax
    ret

    .section .note.GNU-stack, "", @progbits
