/*
 * The seccomp programs of stubs.
 *
 * Two are in force in a guest thread: the mapper's, which it inherits, and its own. The kernel takes the stricter verdict, and
 * the guest's own says "trap" to all but four calls of the stub code, known by the address behind their instruction. So a
 * guest thread that jumps to the mapper's instructions gets its SIGSYS there like anywhere else.
 *
 * Both begin with the instruction pointer. That is what nearly always decides, and it spares the kernel from finding out which
 * calls the program allows unconditionally, which takes longer than all the rest of installing it.
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

/* Gives `verdict` to the calls `nrs` at the instruction before `ip`, and traps others there. The pointer is loaded. */
static void rule(struct builder *b, const char *ip, uint32_t verdict, const uint32_t *nrs, uint8_t n)
{
    expect(b, (uint32_t)stub_code_addr(ip), (uint8_t)(n + 3));
    load(b, offsetof(struct seccomp_data, nr));
    for (uint8_t i = 0; i < n; i++)
        emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nrs[i], (uint8_t)(n - i), 0));
    ret(b, SECCOMP_RET_TRAP);
    ret(b, verdict);
}

#define RULE(b, ip, verdict, ...) \
    rule(b, ip, verdict, (const uint32_t[]){__VA_ARGS__}, (uint8_t)(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)))

static void begin(struct builder *b)
{
    load(b, offsetof(struct seccomp_data, instruction_pointer) + 4);
    expect(b, STUB_CODE >> 32, 1);
    emit(b, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
    ret(b, SECCOMP_RET_TRAP);
    load(b, offsetof(struct seccomp_data, instruction_pointer));
}

static void mapper_filter(struct builder *b)
{
    begin(b);
    RULE(b, stub_futex_ip, SECCOMP_RET_ALLOW, SYS_futex);
    RULE(b, stub_sigreturn_ip, SECCOMP_RET_ALLOW, SYS_rt_sigreturn);
    RULE(b, stub_mapper_notify_ip, SECCOMP_RET_USER_NOTIF, SYS_getpid);
    RULE(b, stub_mapper_op_ip, SECCOMP_RET_ALLOW, SYS_mmap, SYS_munmap, SYS_mprotect);
    RULE(b, stub_mapper_clone_ip, SECCOMP_RET_ALLOW, SYS_clone);
    RULE(b, stub_init_sigstack_ip, SECCOMP_RET_ALLOW, SYS_sigaltstack);
    RULE(b, stub_init_seccomp_ip, SECCOMP_RET_ALLOW, SYS_seccomp);
    RULE(b, stub_init_sigmask_ip, SECCOMP_RET_ALLOW, SYS_rt_sigprocmask);
    RULE(b, stub_birth_wake_ip, SECCOMP_RET_ALLOW, SYS_futex);
    RULE(b, stub_exit_ip, SECCOMP_RET_ALLOW, SYS_exit);
    ret(b, SECCOMP_RET_TRAP);
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

static void guest_filter(struct builder *b)
{
    begin(b);
    guest_futex_rule(b);
    RULE(b, stub_sigreturn_ip, SECCOMP_RET_ALLOW, SYS_rt_sigreturn);
    RULE(b, stub_init_sigmask_ip, SECCOMP_RET_ALLOW, SYS_rt_sigprocmask);
    RULE(b, stub_exit_ip, SECCOMP_RET_ALLOW, SYS_exit);
    ret(b, SECCOMP_RET_TRAP);
}

static void write_program(unsigned char *globals, void (*build)(struct builder *), uint32_t prog_off, uint32_t insns_off)
{
    struct builder b = {.insns = (struct sock_filter *)(globals + insns_off)};
    struct sock_fprog prog = {0};

    build(&b);
    prog.len = b.n;
    prog.filter = (struct sock_filter *)(STUB_GLOBALS + insns_off);
    memcpy(globals + prog_off, &prog, sizeof(prog));
}

void stub_write_filters(void *globals)
{
    write_program(globals, guest_filter, GLOBAL_GUEST_FPROG, GLOBAL_GUEST_FILTER);
    write_program(globals, mapper_filter, GLOBAL_MAPPER_FPROG, GLOBAL_MAPPER_FILTER);
}
