/* What the contract says about one guest thread: registers, faults, exceptions, interrupts, FP state, address spaces. */
#include "tests/platform/harness.h"

#include <cpuid.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

PROGRAM(prog_count);
PROGRAM(prog_count_plain);
PROGRAM(prog_count_libc);
PROGRAM(prog_regs);
PROGRAM(prog_faults);
PROGRAM(prog_div);
PROGRAM(prog_ud2);
PROGRAM(prog_int3);
PROGRAM(prog_gp);
PROGRAM(prog_hlt);
PROGRAM(prog_int80);
PROGRAM(prog_step);
PROGRAM(prog_spin);
PROGRAM(prog_touch);
PROGRAM(prog_segments);
PROGRAM(prog_segment_reads);
PROGRAM(prog_fp);
PROGRAM(prog_avx512);

static void calls_carry_registers_both_ways(void)
{
    struct guest g;

    guest_init(&g, &prog_regs);
    for (int i = 0; i < 100; i++) {
        guest_run_to_call(&g, 7);
        check_eq(g.regs.rbx, 0x101);
        check_eq(g.regs.rbp, 0x102);
        check_eq(g.regs.rdx, 0x103);
        check_eq(g.regs.rsi, 0x104);
        check_eq(g.regs.rdi, 0x105);
        check_eq(g.regs.r8, 0x108);
        check_eq(g.regs.r9, 0x109);
        check_eq(g.regs.r10, 0x10a);
        check_eq(g.regs.r12, 0x10c);
        check_eq(g.regs.r13, 0x10d);
        check_eq(g.regs.r14, 0x10e);
        check_eq(g.regs.r15, 0x10f);
        check_eq(g.regs.rsp, GUEST_STACK + 4096);
        check_eq(g.regs.rcx, g.regs.rip);
        check_eq(g.regs.rflags & 0x401, 0x401);
        g.regs.rax = 0x200;
        g.regs.rbx = 0x201;
        g.regs.rbp = 0x202;
        g.regs.rdx = 0x203;
        g.regs.rsi = 0x204;
        g.regs.rdi = 0x205;
        g.regs.r8 = 0x208;
        g.regs.r9 = 0x209;
        g.regs.r10 = 0x20a;
        g.regs.r11 = 0x20b;
        g.regs.r12 = 0x20c;
        g.regs.r13 = 0x20d;
        g.regs.r14 = 0x20e;
        g.regs.r15 = 0x20f;
        g.regs.rsp -= 64;
        g.regs.rflags = 0x202 | 0x40;
        guest_run_to_call(&g, 8);
        check_eq(g.regs.rbx, 0x201);
        check_eq(g.regs.rbp, 0x202);
        check_eq(g.regs.rdx, 0x203);
        check_eq(g.regs.rsi, 0x204);
        check_eq(g.regs.rdi, 0x205);
        check_eq(g.regs.r8, 0x208);
        check_eq(g.regs.r9, 0x209);
        check_eq(g.regs.r10, 0x20a);
        check_eq(g.regs.r12, 0x20c);
        check_eq(g.regs.r13, 0x20d);
        check_eq(g.regs.r14, 0x20e);
        check_eq(g.regs.r15, 0x20f);
        check_eq(g.regs.rsp, GUEST_STACK + 4096 - 64);
        check_eq(g.regs.rflags & 0x441, 0x40);
        g.regs.rsp += 64;
    }
    guest_fini(&g);
}

static void loop_of_calls(const struct program *prog)
{
    struct guest g;

    guest_init(&g, prog);
    for (unsigned int i = 0; i < 20000; i++) {
        guest_run_to_call(&g, 1000);
        check_eq(g.regs.rbx, i);
        g.regs.rax = 5;
    }
    guest_fini(&g);
}

static void many_calls_at_one_site(void)
{
    loop_of_calls(&prog_count);
    loop_of_calls(&prog_count_plain);
    loop_of_calls(&prog_count_libc);
}

static void expect_fault(struct guest *g, uint64_t addr, unsigned int access)
{
    guest_run(g);
    check_eq(g->ev.kind, PLATFORM_EVENT_FAULT);
    check_eq(g->ev.addr, addr);
    check_eq(g->ev.signo, SIGSEGV);
    /* A platform that cannot tell a write from a read asks for the read first, and again until it is mapped. */
    if (g->ev.access == PLATFORM_READ && access == PLATFORM_WRITE) {
        if (g->ev.code == SEGV_MAPERR)
            return;
        guest_run(g);
        check_eq(g->ev.kind, PLATFORM_EVENT_FAULT);
        check_eq(g->ev.addr, addr);
    }
    check_eq(g->ev.access, access);
}

static void faults_tell_address_and_access(void)
{
    struct guest g;
    uint64_t rip;

    guest_init(&g, &prog_faults);
    g.regs.rsi = 0x10000000;
    g.regs.rdi = 0x10001234;
    g.regs.rdx = 0x10003000;
    expect_fault(&g, 0x10000000, PLATFORM_READ);
    check_eq(g.regs.rip, GUEST_CODE);
    map(g.as, 0x10000000, 4096, PROT_READ, g.data_off);
    guest_run_to_call(&g, 1);
    expect_fault(&g, 0x10001234, PLATFORM_WRITE);
    check_eq(g.ev.code, SEGV_MAPERR);
    map(g.as, 0x10001000, 4096, PROT_READ, g.data_off);
    expect_fault(&g, 0x10001234, PLATFORM_WRITE);
    check_eq(g.ev.code, SEGV_ACCERR);
    map(g.as, 0x10001000, 4096, PROT_READ | PROT_WRITE, g.data_off);
    guest_run_to_call(&g, 2);
    check_eq(guest_data(&g)[0x234], 1);
    expect_fault(&g, 0x10003000, PLATFORM_EXEC);
    check_eq(g.regs.rip, 0x10003000);
    map(g.as, 0x10003000, 4096, PROT_READ, g.code_off);
    expect_fault(&g, 0x10003000, PLATFORM_EXEC);
    map(g.as, 0x10003000, 4096, PROT_READ | PROT_EXEC, g.code_off);
    rip = 0x10000000;
    unmap(g.as, rip, 4096);
    expect_fault(&g, rip, PLATFORM_READ);
    check_eq(g.regs.rip, 0x10003000);
    guest_fini(&g);
}

static void expect_exception(const struct program *prog, int signo, int code, uint64_t addr, uint64_t rip)
{
    struct guest g;

    guest_init(&g, prog);
    for (int i = 0; i < 3; i++) {
        guest_run(&g);
        check_eq(g.ev.kind, PLATFORM_EVENT_EXCEPTION);
        check_eq(g.ev.signo, signo);
        check_eq(g.ev.code, code);
        check_eq(g.ev.addr, addr);
        check_eq(g.regs.rip, GUEST_CODE + rip);
        g.regs.rip = GUEST_CODE;
    }
    guest_fini(&g);
}

static void exceptions_are_those_of_linux(void)
{
    expect_exception(&prog_div, SIGFPE, FPE_INTDIV, GUEST_CODE + 4, 4);
    expect_exception(&prog_ud2, SIGILL, ILL_ILLOPN, GUEST_CODE, 0);
    expect_exception(&prog_int3, SIGTRAP, SI_KERNEL, 0, 1);
    expect_exception(&prog_gp, SIGSEGV, SI_KERNEL, 0, 10);
    expect_exception(&prog_hlt, SIGSEGV, SI_KERNEL, 0, 0);
    expect_exception(&prog_int80, SIGSEGV, SI_KERNEL, 0, 5);
}

static void single_steps_trap(void)
{
    struct guest g;

    guest_init(&g, &prog_step);
    guest_run(&g);
    check_eq(g.ev.kind, PLATFORM_EVENT_EXCEPTION);
    check_eq(g.ev.signo, SIGTRAP);
    check_eq(g.ev.code, TRAP_TRACE);
    check_eq(g.ev.trapno, 1);
    guest_fini(&g);
}

static void *interrupter(void *arg)
{
    struct guest *g = arg;

    usleep(20000);
    platform_interrupt(g->ctx);
    return NULL;
}

static void interrupt_stops_a_spinning_guest(void)
{
    struct guest g;
    uint64_t last = 0;

    guest_init(&g, &prog_spin);
    for (int i = 0; i < 10; i++) {
        /* A busy machine may let the guest do nothing before the interrupt comes. */
        do {
            pthread_t t;

            pthread_create(&t, NULL, interrupter, &g);
            guest_run(&g);
            check_eq(g.ev.kind, PLATFORM_EVENT_INTERRUPTED);
            pthread_join(t, NULL);
        } while (g.regs.rbx == last);
        check(g.regs.rbx > last);
        last = g.regs.rbx;
    }
    guest_fini(&g);
}

static void interrupt_before_run_is_kept(void)
{
    struct guest g;

    guest_init(&g, &prog_count);
    platform_interrupt(g.ctx);
    guest_run(&g);
    check_eq(g.ev.kind, PLATFORM_EVENT_INTERRUPTED);
    guest_run_to_call(&g, 1000);
    platform_interrupt(g.ctx);
    platform_interrupt(g.ctx);
    guest_run(&g);
    check_eq(g.ev.kind, PLATFORM_EVENT_INTERRUPTED);
    check_eq(g.regs.rbx, 0);
    guest_run_to_call(&g, 1000);
    check_eq(g.regs.rbx, 1);
    guest_fini(&g);
}

static void *early_interrupter(void *arg)
{
    struct guest *g = arg;

    usleep((unsigned int)rand() % 150);
    platform_interrupt(g->ctx);
    return NULL;
}

static void interrupt_reaches_a_thread_at_its_birth(void)
{
    for (int i = 0; i < 200; i++) {
        struct guest g;
        pthread_t t;

        guest_init(&g, &prog_spin);
        pthread_create(&t, NULL, early_interrupter, &g);
        guest_run(&g);
        check_eq(g.ev.kind, PLATFORM_EVENT_INTERRUPTED);
        pthread_join(t, NULL);
        guest_fini(&g);
    }
}

static void interrupt_storms_lose_nothing(void)
{
    struct guest g;

    guest_init(&g, &prog_count);
    for (int i = 0; i < 300; i++) {
        pthread_t t;
        int interrupts = 0;
        uint64_t last = g.regs.rbx;

        pthread_create(&t, NULL, early_interrupter, &g);
        while (!interrupts) {
            guest_run(&g);
            if (g.ev.kind == PLATFORM_EVENT_INTERRUPTED) {
                interrupts++;
                continue;
            }
            check_eq(g.ev.kind, PLATFORM_EVENT_SYSCALL);
            check_eq(g.regs.rax, 1000);
            check(g.regs.rbx == last || g.regs.rbx == last + 1);
            last = g.regs.rbx;
            g.regs.rax = 5;
        }
        pthread_join(t, NULL);
    }
    guest_fini(&g);
}

static void segment_bases_come_and_go(void)
{
    struct guest g;

    guest_init(&g, &prog_segments);
    g.regs.fs_base = 0x1111000;
    guest_run_to_call(&g, 1);
    check_eq(g.regs.fs_base, 0x1111000);
    check_eq(g.regs.gs_base, 0);
    g.regs.gs_base = 0x2222000;
    guest_run_to_call(&g, 2);
    check_eq(g.regs.r8, 0x1111000);
    check_eq(g.regs.r9, 0x2222000);
    check_eq(g.regs.fs_base, 0x1111000);
    check_eq(g.regs.gs_base, 0x2222000);
    g.regs.rip = GUEST_CODE;
    g.regs.rdi = 0x3333000;
    g.regs.rsi = 0x4444000;
    for (int i = 0; i < 50; i++) {
        guest_run_to_call(&g, 1);
        check_eq(g.regs.fs_base, 0x3333000);
        check_eq(g.regs.gs_base, 0x4444000);
        guest_run_to_call(&g, 2);
    }
    g.regs.gs_base = 0;
    g.regs.fs_base = 0;
    for (int i = 0; i < 50; i++) {
        guest_run_to_call(&g, 1);
        check_eq(g.regs.fs_base, 0);
        check_eq(g.regs.gs_base, 0);
        guest_run_to_call(&g, 2);
        check_eq(g.regs.r8, 0);
    }
    g.regs.fs_base = 0x800000000000;
    check_eq(platform_run(g.ctx, g.as, &g.regs, &g.ev), -EINVAL);
    guest_fini(&g);
}

static void segment_bases_address_memory(void)
{
    struct guest g;

    guest_init(&g, &prog_segment_reads);
    g.regs.fs_base = GUEST_DATA;
    g.regs.gs_base = GUEST_DATA + 8;
    guest_data(&g)[0] = 17;
    guest_data(&g)[8] = 18;
    for (int i = 0; i < 50; i++) {
        guest_run_to_call(&g, 1);
        check_eq(g.regs.r8, 17);
        check_eq(g.regs.r9, 18);
    }
    guest_fini(&g);
}

static void fresh_fp_state_is_that_of_linux(void)
{
    struct guest g;
    uint32_t mxcsr;
    uint16_t fcw;

    guest_init(&g, &prog_fp);
    guest_run_to_call(&g, 1);
    memset(guest_data(&g), 0xff, 32);
    guest_run_to_call(&g, 2);
    for (int i = 0; i < 16; i++)
        check_eq(guest_data(&g)[i], 0);
    memcpy(&mxcsr, guest_data(&g) + 16, 4);
    memcpy(&fcw, guest_data(&g) + 20, 2);
    check_eq(mxcsr, 0x1f80);
    check_eq(fcw, 0x37f);
    guest_fini(&g);
}

static void fp_state_is_read_and_written(void)
{
    size_t size = platform_fp_size(test_platform);
    unsigned char *fp = aligned_alloc(64, (size + 63) & ~63UL);
    struct guest g;
    uint32_t mxcsr = 0x3f80, bad = 0x80001f80;

    guest_init(&g, &prog_fp);
    for (int round = 0; round < 20; round++) {
        guest_run_to_call(&g, 1);
        check_eq(platform_fp_get(g.ctx, fp), 0);
        memset(fp + 160 + 3 * 16, 0x40 + round, 16);
        memcpy(fp + 24, &mxcsr, 4);
        check_eq(platform_fp_set(g.ctx, fp), 0);
        guest_run_to_call(&g, 2);
        for (int i = 0; i < 16; i++)
            check_eq(guest_data(&g)[i], 0x40 + round);
        check_eq(memcmp(guest_data(&g) + 16, &mxcsr, 4), 0);
        memset(guest_data(&g) + 32, 0x60 + round, 16);
        guest_run_to_call(&g, 3);
        check_eq(platform_fp_get(g.ctx, fp), 0);
        for (int i = 0; i < 16; i++)
            check_eq(fp[160 + 3 * 16 + i], 0x60 + round);
        check_eq(platform_fp_set(g.ctx, fp), 0);
    }
    memcpy(fp + 24, &bad, 4);
    check_eq(platform_fp_set(g.ctx, fp), -EINVAL);
    memcpy(fp + 24, &mxcsr, 4);
    fp[530] = 1;
    check_eq(platform_fp_set(g.ctx, fp), -EINVAL);
    fp[530] = 0;
    check_eq(platform_fp_set(g.ctx, fp), 0);
    guest_fini(&g);
    free(fp);
}

static void vector_registers_survive_calls(void)
{
    struct guest g;

    if (!__builtin_cpu_supports("avx512f"))
        return;
    guest_init(&g, &prog_avx512);
    for (int i = 0; i < 64; i++)
        guest_data(&g)[i] = (unsigned char)(i + 1);
    for (int round = 0; round < 100; round++) {
        guest_run_to_call(&g, 1);
        if (round == 0)
            continue;
        check_eq(memcmp(guest_data(&g), guest_data(&g) + 128, 64), 0);
        check_eq(memcmp(guest_data(&g), guest_data(&g) + 192, 64), 0);
        memset(guest_data(&g) + 128, 0, 128);
    }
    guest_fini(&g);
}

static void exec_moves_a_context(void)
{
    struct guest a, b;

    guest_init(&a, &prog_count);
    for (int i = 0; i < 100; i++) {
        guest_run_to_call(&a, 1000);
        guest_init_as(&b, &prog_regs, NULL);
        platform_as_destroy(a.as);
        a.as = b.as;
        a.regs.rip = GUEST_CODE;
        guest_run_to_call(&a, 7);
        guest_init_as(&b, &prog_count, NULL);
        platform_as_destroy(a.as);
        a.as = b.as;
        a.regs.rip = GUEST_CODE;
    }
    guest_fini(&a);
}

static void ops_are_checked(void)
{
    const struct platform_limits *lim = platform_limits(test_platform);
    struct platform_op op = {.kind = PLATFORM_MAP, .prot = PROT_READ, .addr = lim->max, .len = 4096, .fd = mem_fd};
    struct guest g;

    guest_init(&g, &prog_count);
    check_eq(platform_as_apply(g.as, &op, 1), -EINVAL);
    op.addr = lim->max - 4096;
    op.len = 8192;
    check_eq(platform_as_apply(g.as, &op, 1), -EINVAL);
    op.addr = 0;
    check_eq(platform_as_apply(g.as, &op, 1), -EINVAL);
    op.addr = 0x10000001;
    check_eq(platform_as_apply(g.as, &op, 1), -EINVAL);
    op.addr = 0x10000000;
    op.fd = -1;
    check_eq(platform_as_apply(g.as, &op, 1), -EBADF);
    if (lim->hole_start != lim->hole_end) {
        op.fd = mem_fd;
        op.addr = lim->hole_start;
        op.len = 4096;
        check_eq(platform_as_apply(g.as, &op, 1), -EINVAL);
    }
    guest_run_to_call(&g, 1000);
    guest_fini(&g);
}

struct thread {
    pthread_t t;
    struct guest g;
    struct platform_as *as;
    unsigned int n;
};

static void *count_thread(void *arg)
{
    struct thread *t = arg;

    guest_init_context(&t->g);
    for (unsigned int i = 0; i < t->n; i++) {
        guest_run_to_call(&t->g, 1000);
        check_eq(t->g.regs.rbx, i);
    }
    platform_context_destroy(t->g.ctx);
    return NULL;
}

static void many_threads_in_one_address_space(void)
{
    struct thread t[16] = {0};
    struct guest g;

    guest_init(&g, &prog_count);
    guest_run_to_call(&g, 1000);
    for (int i = 0; i < 16; i++) {
        t[i].g = g;
        t[i].n = 500;
        pthread_create(&t[i].t, NULL, count_thread, &t[i]);
    }
    for (int i = 0; i < 16; i++)
        pthread_join(t[i].t, NULL);
    guest_run_to_call(&g, 1000);
    guest_fini(&g);
}

static void *own_as_thread(void *arg)
{
    for (int k = 0; k < 10; k++) {
        struct guest g;

        guest_init(&g, &prog_count);
        for (unsigned int i = 0; i < 100; i++) {
            guest_run_to_call(&g, 1000);
            check_eq(g.regs.rbx, i);
            map(g.as, 0x10000000, 4096, PROT_READ, g.data_off);
            unmap(g.as, 0x10000000, 4096);
        }
        guest_fini(&g);
    }
    return NULL;
}

static void many_address_spaces(void)
{
    pthread_t t[8];

    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, own_as_thread, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
}

static void *unmapper(void *arg)
{
    struct guest *g = arg;

    usleep(10000);
    unmap(g->as, GUEST_CODE, 4096);
    return NULL;
}

#define TOUCHED 0x10000000ULL

/* The program touches one page after the other from TOUCHED on; where it faults first. */
static uint64_t first_fault(struct guest *g)
{
    g->regs.rip = GUEST_CODE;
    g->regs.rsi = TOUCHED;
    do
        guest_run(g);
    while (g->ev.kind == PLATFORM_EVENT_INTERRUPTED);
    check_eq(g->ev.kind, PLATFORM_EVENT_FAULT);
    return g->ev.addr;
}

static void pages_unmapped_later_are_gone_when_the_guest_runs(void)
{
    uint64_t a = mem_alloc(4096), b = mem_alloc(4096);
    struct guest g, other;

    guest_init(&g, &prog_touch);
    check_eq(first_fault(&g), TOUCHED);
    map(g.as, TOUCHED, 4096, PROT_READ | PROT_WRITE, a);
    check_eq(first_fault(&g), TOUCHED + 4096);
    if (platform_as_unmap_later(g.as, TOUCHED, 4096)) {
        check_eq(first_fault(&g), TOUCHED);

        /* A new mapping in its place stays, whether it is made before the guest runs or after. */
        map(g.as, TOUCHED, 4096, PROT_READ | PROT_WRITE, a);
        check_eq(first_fault(&g), TOUCHED + 4096);
        check(platform_as_unmap_later(g.as, TOUCHED, 4096));
        map(g.as, TOUCHED, 4096, PROT_READ | PROT_WRITE, b);
        check_eq(first_fault(&g), TOUCHED + 4096);
        check_eq(mem[b], 1);

        /* An interrupt does not lose it; nor does it unmap more than it should later. */
        check(platform_as_unmap_later(g.as, TOUCHED, 4096));
        platform_interrupt(g.ctx);
        guest_run(&g);
        check_eq(g.ev.kind, PLATFORM_EVENT_INTERRUPTED);
        check_eq(first_fault(&g), TOUCHED);
        map(g.as, TOUCHED + 4096, 4096, PROT_READ | PROT_WRITE, a);
        map(g.as, TOUCHED, 4096, PROT_READ | PROT_WRITE, b);
        check_eq(first_fault(&g), TOUCHED + 8192);

        /* With company it is refused. */
        other = g;
        guest_init_context(&other);
        check_eq(first_fault(&other), TOUCHED + 8192);
        check(!platform_as_unmap_later(other.as, TOUCHED, 4096));
        platform_context_destroy(other.ctx);
    }
    guest_fini(&g);
}

static void unmapping_reaches_a_running_guest(void)
{
    struct guest g;
    pthread_t t;

    guest_init(&g, &prog_spin);
    pthread_create(&t, NULL, unmapper, &g);
    guest_run(&g);
    check_eq(g.ev.kind, PLATFORM_EVENT_FAULT);
    check_eq(g.ev.addr, g.regs.rip);
    check_eq(g.ev.access, PLATFORM_EXEC);
    pthread_join(t, NULL);
    guest_fini(&g);
}

static void cpu_time_counts_guest_work(void)
{
    struct guest g;

    guest_init(&g, &prog_spin);
    /* The machine may be busy with other things for most of the time. */
    for (int i = 0; i < 200 && platform_cpu_time(g.ctx) < 5000000; i++) {
        pthread_t t;

        pthread_create(&t, NULL, interrupter, &g);
        guest_run(&g);
        pthread_join(t, NULL);
    }
    check(platform_cpu_time(g.ctx) >= 5000000);
    check(platform_cpu_time(g.ctx) < 1000000000);
    guest_fini(&g);
}

const struct test basic_tests[] = {
    {"calls_carry_registers_both_ways", calls_carry_registers_both_ways},
    {"many_calls_at_one_site", many_calls_at_one_site},
    {"faults_tell_address_and_access", faults_tell_address_and_access},
    {"exceptions_are_those_of_linux", exceptions_are_those_of_linux},
    {"single_steps_trap", single_steps_trap},
    {"interrupt_stops_a_spinning_guest", interrupt_stops_a_spinning_guest},
    {"interrupt_before_run_is_kept", interrupt_before_run_is_kept},
    {"interrupt_reaches_a_thread_at_its_birth", interrupt_reaches_a_thread_at_its_birth},
    {"interrupt_storms_lose_nothing", interrupt_storms_lose_nothing},
    {"segment_bases_come_and_go", segment_bases_come_and_go},
    {"segment_bases_address_memory", segment_bases_address_memory},
    {"fresh_fp_state_is_that_of_linux", fresh_fp_state_is_that_of_linux},
    {"fp_state_is_read_and_written", fp_state_is_read_and_written},
    {"vector_registers_survive_calls", vector_registers_survive_calls},
    {"exec_moves_a_context", exec_moves_a_context},
    {"ops_are_checked", ops_are_checked},
    {"many_threads_in_one_address_space", many_threads_in_one_address_space},
    {"many_address_spaces", many_address_spaces},
    {"unmapping_reaches_a_running_guest", unmapping_reaches_a_running_guest},
    {"pages_unmapped_later_are_gone_when_the_guest_runs", pages_unmapped_later_are_gone_when_the_guest_runs},
    {"cpu_time_counts_guest_work", cpu_time_counts_guest_work},
    {NULL, NULL},
};
