/*
 * The seccomp program of stubs. The zygote installs it once, and every process and thread of stubs inherits it.
 *
 * It allows nothing but the calls of the stub code, each at its own instruction, known by the address behind it; everything
 * else traps. It cannot tell threads apart: what keeps a guest thread from the mapper's instructions is Syscall User Dispatch,
 * which is on in guest threads and turns every system call from outside of the guest section of the stub code into a SIGSYS
 * before seccomp is asked. It is on before the first guest instruction, has no selector that could be written, and no rule
 * that holds in the guest section would turn it off. So a guest thread can make the calls below that are marked as such.
 *
 * More than one program, for threads or processes, would be as good a fence. But a program is freed with its last user, and a
 * guest that forks a lot would have the host free thousands, which it does one by one behind a global lock.
 *
 * The program begins with the instruction pointer. That is what nearly always decides, and it spares the kernel from finding
 * out which calls the program allows unconditionally, which takes longer than all the rest of installing it.
 */
#include "platform/pvmexec/arch/image.h"
#include "platform/pvmexec/stub.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

struct builder {
    struct sock_filter *insns;
    unsigned short n;
};

static void emit(struct builder *b, struct sock_filter insn)
{
    b->insns[b->n++] = insn;
}

static void load(struct builder *b, size_t off)
{
    emit(b, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)off));
}

static void ret(struct builder *b, uint32_t verdict)
{
    emit(b, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/* Goes on if the loaded word is `k`, else skips `skip` instructions. */
static void expect(struct builder *b, uint32_t k, uint8_t skip)
{
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, skip));
}

/* Allows the calls `nrs` at the instruction before `ip`, and traps others there. The pointer is loaded. */
static void rule(struct builder *b, const char *ip, const uint32_t *nrs, uint8_t n)
{
    expect(b, (uint32_t)stub_code_addr(ip), (uint8_t)(n + 3));
    load(b, offsetof(struct seccomp_data, nr));
    for (uint8_t i = 0; i < n; i++)
        emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nrs[i], (uint8_t)(n - i), 0));
    ret(b, SECCOMP_RET_TRAP);
    ret(b, SECCOMP_RET_ALLOW);
}

#define RULE(b, ip, ...) \
    rule(b, ip, (const uint32_t[]){__VA_ARGS__}, (uint8_t)(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)))

static void begin(struct builder *b)
{
    load(b, offsetof(struct seccomp_data, instruction_pointer) + 4);
    expect(b, STUB_CODE >> 32, 1);
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
    ret(b, SECCOMP_RET_TRAP);
    load(b, offsetof(struct seccomp_data, instruction_pointer));
}

/* Waits and wake-ups on the stub's own slots, and nothing of futex(2) besides. */
static void guest_futex_rule(struct builder *b)
{
    expect(b, (uint32_t)stub_code_addr(stub_futex_ip), 13);
    load(b, offsetof(struct seccomp_data, nr));
    expect(b, SYS_futex, 10);
    load(b, offsetof(struct seccomp_data, args[1]));
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAIT, 1, 0));
    expect(b, FUTEX_WAKE, 7);
    load(b, offsetof(struct seccomp_data, args[1]) + 4);
    expect(b, 0, 5);
    load(b, offsetof(struct seccomp_data, args[0]) + 4);
    expect(b, STUB_SLOTS >> 32, 3);
    load(b, offsetof(struct seccomp_data, args[0]));
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)STUB_SLOTS, 0, 1));
    ret(b, SECCOMP_RET_ALLOW);
    ret(b, SECCOMP_RET_TRAP);
}

/* What guests may have mapped, and nothing of the stub's own: the process may serve another guest one day. */
static void guest_unmap_rule(struct builder *b)
{
    expect(b, (uint32_t)stub_code_addr(stub_unmap_ip), 10);
    load(b, offsetof(struct seccomp_data, nr));
    expect(b, SYS_munmap, 7);
    load(b, offsetof(struct seccomp_data, args[0]) + 4);
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, STUB_UNMAP_END >> 32, 5, 0));
    load(b, offsetof(struct seccomp_data, args[1]) + 4);
    expect(b, 0, 3);
    load(b, offsetof(struct seccomp_data, args[1]));
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)(STUB_CODE - STUB_UNMAP_END), 1, 0));
    ret(b, SECCOMP_RET_ALLOW);
    ret(b, SECCOMP_RET_TRAP);
}

void stub_write_filter(unsigned char *globals)
{
    struct builder b = {.insns = (struct sock_filter *)(globals + GLOBAL_FILTER)};
    struct sock_fprog prog = {.filter = (struct sock_filter *)(STUB_GLOBALS + GLOBAL_FILTER)};

    begin(&b);
    /* The guest section. */
    guest_futex_rule(&b);
    RULE(&b, stub_yield_ip, SYS_sched_yield);
    guest_unmap_rule(&b);
    RULE(&b, stub_sigreturn_ip, SYS_rt_sigreturn);
    RULE(&b, stub_init_sigmask_ip, SYS_rt_sigprocmask);
    RULE(&b, stub_exit_ip, SYS_exit);
    /* The mapper's. */
    RULE(&b, stub_mapper_wait_ip, SYS_futex);
    RULE(&b, stub_mapper_op_ip, SYS_mmap, SYS_munmap, SYS_mprotect);
    RULE(&b, stub_mapper_write_ip, SYS_pwrite64);
    RULE(&b, stub_mapper_wake_ip, SYS_futex);
    RULE(&b, stub_mapper_clone_ip, SYS_clone);
    RULE(&b, stub_init_sigstack_ip, SYS_sigaltstack);
    RULE(&b, stub_init_dispatch_ip, SYS_prctl);
    RULE(&b, stub_born_prctl_ip, SYS_prctl);
    RULE(&b, stub_born_getppid_ip, SYS_getppid);
    RULE(&b, stub_born_munmap_ip, SYS_munmap);
    /* The zygote's. */
    RULE(&b, stub_zygote_wait_ip, SYS_futex);
    RULE(&b, stub_zygote_mmap_ip, SYS_mmap);
    RULE(&b, stub_zygote_clone_ip, SYS_clone);
    RULE(&b, stub_zygote_wake_ip, SYS_futex);
    ret(&b, SECCOMP_RET_TRAP);
    prog.len = b.n;
    memcpy(globals + GLOBAL_FPROG, &prog, sizeof(prog));
}
