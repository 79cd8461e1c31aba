/*
 * Guests that set their registers and modes to what no program should have. Whatever it is, an event comes (or run() refuses
 * the registers), the sentry's own thread has its modes as before, and the context goes on to serve a well-behaved guest.
 */
#include "tests/platform/harness.h"

#include <errno.h>

PROGRAM(prog_count_plain);
PROGRAM(prog_flags);
PROGRAM(prog_modes);
PROGRAM(prog_compat);

#define RFLAGS_TF   0x100ULL
#define RFLAGS_IF   0x200ULL
#define RFLAGS_IOPL 0x3000ULL
#define RFLAGS_NT   0x4000ULL
#define RFLAGS_RF   0x10000ULL
#define RFLAGS_VM   0x20000ULL
#define RFLAGS_AC   0x40000ULL
#define RFLAGS_VIPS 0x180000ULL /* VIF and VIP */

/* The modes of the calling thread that compiled code stands on. */
struct modes {
    uint64_t flags;
    uint32_t mxcsr;
    uint16_t fcw, ftw, ds, es, fs, gs;
};

static struct modes modes_now(void)
{
    struct modes m = {0};
    uint16_t env[14];

    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(m.flags));
    __asm__ volatile("stmxcsr %0" : "=m"(m.mxcsr));
    __asm__ volatile("fnstenv %0\n\tfldenv %0" : "+m"(env));
    m.fcw = env[0];
    m.ftw = env[4];
    __asm__ volatile("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
                     : "=r"(m.ds), "=r"(m.es), "=r"(m.fs), "=r"(m.gs));
    m.flags &= RFLAGS_TF | RFLAGS_IF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC | 0x400 /* DF */;
    return m;
}

static struct modes before;

static void check_modes(void)
{
    struct modes now = modes_now();

    check_eq(now.flags, before.flags);
    check_eq(now.mxcsr, before.mxcsr);
    check_eq(now.fcw, before.fcw);
    check_eq(now.ftw, before.ftw);
    check_eq(now.ds, before.ds);
    check_eq(now.es, before.es);
    check_eq(now.fs, before.fs);
    check_eq(now.gs, before.gs);
}

/* Runs until anything but an interrupt. False if the registers were refused. */
static bool run_any(struct guest *g)
{
    int r = platform_run(g->ctx, g->as, &g->regs, &g->ev);

    check_modes();
    check(r == 0 || r == -EINVAL);
    if (r == 0)
        check(g->ev.kind != PLATFORM_EVENT_INTERRUPTED);
    return r == 0;
}

/* The context still works. */
static void expect_calls(struct guest *g)
{
    g->regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = GUEST_STACK + 4096, .rflags = 0x202};
    for (int i = 0; i < 3; i++) {
        guest_run_to_call(g, 1000);
        check_modes();
    }
}

static void no_flag_gives_rights(void)
{
    struct guest g;

    before = modes_now();
    guest_init(&g, &prog_flags);
    for (uint64_t flags = 1; flags < 1ULL << 22; flags <<= 1) {
        if (flags == RFLAGS_TF)
            continue;
        g.regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = GUEST_STACK + 4096, .rflags = flags};
        check(run_any(&g));

        check_eq(g.ev.kind, PLATFORM_EVENT_SYSCALL);
        check_eq(g.regs.rbx & (RFLAGS_IOPL | RFLAGS_VM | RFLAGS_VIPS), 0);
        check(g.regs.rbx & RFLAGS_IF);
    }
    g.regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = GUEST_STACK + 4096, .rflags = ~RFLAGS_TF};
    check(run_any(&g));
    check_eq(g.ev.kind, PLATFORM_EVENT_SYSCALL);
    check_eq(g.regs.rbx & (RFLAGS_IOPL | RFLAGS_VM | RFLAGS_VIPS), 0);
    expect_calls(&g);
    guest_fini(&g);
}

static void resume_flag_does_not_stop_single_steps(void)
{
    struct guest g;

    before = modes_now();
    guest_init(&g, &prog_count_plain);
    g.regs.rflags = 0x202 | RFLAGS_TF | RFLAGS_RF;
    for (int i = 0; i < 3; i++) {
        check(run_any(&g));
        if (g.ev.kind == PLATFORM_EVENT_SYSCALL)
            continue;
        check_eq(g.ev.kind, PLATFORM_EVENT_EXCEPTION);
        check_eq(g.ev.signo, SIGTRAP);
        g.regs.rflags |= RFLAGS_RF;
    }
    expect_calls(&g);
    guest_fini(&g);
}

static void addresses_outside_of_user_space_fault(void)
{
    static const uint64_t bad[] = {0x7ffffffff000,     0x800000000000,     0x8000000000000000, 0xffff800000000000,
                                   0xffffffff81000000, 0xffffffffff600000, 0xffffffffff600400, 0xffffffffffffffff};
    struct guest g;

    before = modes_now();
    guest_init(&g, &prog_flags);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        /* To fetch from there. The old vsyscall page may be one that the host answers for. */
        g.regs = (struct guest_regs){.rip = bad[i], .rsp = GUEST_STACK + 2048, .rflags = 0x202};
        if (run_any(&g) && bad[i] >> 12 != 0xffffffffff600)
            check(g.ev.kind == PLATFORM_EVENT_FAULT || g.ev.kind == PLATFORM_EVENT_EXCEPTION);
        expect_calls(&g);
        /* As a stack. */
        g.regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = bad[i], .rflags = 0x202};
        if (run_any(&g)) {
            check(g.ev.kind == PLATFORM_EVENT_FAULT || g.ev.kind == PLATFORM_EVENT_EXCEPTION);
            check(g.ev.signo == SIGSEGV || g.ev.signo == SIGBUS);
        }
        expect_calls(&g);
    }
    guest_fini(&g);
}

static void bases_outside_of_user_space_are_refused(void)
{
    static const uint64_t bad[] = {0x7ffffffff000, 0x800000000000, 0xffff800000000000, 0xffffffffffffffff};
    struct guest g;

    before = modes_now();
    guest_init(&g, &prog_flags);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        g.regs.fs_base = bad[i];
        check(!run_any(&g));
        g.regs.fs_base = 0;
        g.regs.gs_base = bad[i];
        check(!run_any(&g));
        g.regs.gs_base = 0;
    }
    expect_calls(&g);
    guest_fini(&g);
}

static void modes_of_the_guest_stay_with_the_guest(void)
{
    struct guest g;

    before = modes_now();
    guest_init(&g, &prog_modes);
    for (int i = 0; i < 40; i++) {
        guest_run_to_call(&g, 1000);
        check_modes();
    }
    guest_fini(&g);
}

static void code_in_32_bit_mode_ends_in_an_event(void)
{
    static const unsigned char code[][8] = {
        {0xcd, 0x80},             /* int $0x80 */
        {0x0f, 0x05},             /* syscall */
        {0x0f, 0x34},             /* sysenter */
        {0xf4},                   /* hlt */
        {0x0f, 0x0b},             /* ud2 */
        {0xcc},                   /* int3 */
        {0xa1, 0, 0, 0, 0x70},    /* mov 0x70000000, %eax */
        {0xea, 0, 0, 0, 0, 0x33}, /* ljmp $0x33, $0 */
    };
    struct guest g;

    before = modes_now();
    guest_init(&g, &prog_compat);
    map(g.as, GUEST_STACK, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, g.stack_off);
    for (size_t i = 0; i < ARRAY_SIZE(code); i++) {
        struct guest h;

        memcpy(guest_data(&g), code[i], 8);
        g.regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = GUEST_STACK + 4096, .rflags = 0x202};
        run_any(&g);
        /* Elsewhere, since a thread may stay in that mode. */
        guest_init(&h, &prog_flags);
        expect_calls(&h);
        guest_fini(&h);
    }
    guest_fini(&g);
}

const struct test hostile_tests[] = {
    {"no_flag_gives_rights", no_flag_gives_rights},
    {"resume_flag_does_not_stop_single_steps", resume_flag_does_not_stop_single_steps},
    {"addresses_outside_of_user_space_fault", addresses_outside_of_user_space_fault},
    {"bases_outside_of_user_space_are_refused", bases_outside_of_user_space_are_refused},
    {"modes_of_the_guest_stay_with_the_guest", modes_of_the_guest_stay_with_the_guest},
    {"code_in_32_bit_mode_ends_in_an_event", code_in_32_bit_mode_ends_in_an_event},
    {NULL, NULL},
};
