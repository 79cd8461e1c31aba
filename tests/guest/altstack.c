/* sigaltstack and the shape of signal frames. */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static char stack[65536] __attribute__((aligned(16)));
static volatile uintptr_t handler_sp;
static volatile int flags_inside, change_inside, calls;
static volatile stack_t seen;

static int on_stack(uintptr_t sp)
{
    return sp >= (uintptr_t)stack && sp < (uintptr_t)stack + sizeof(stack);
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
    stack_t now, other = {.ss_sp = stack, .ss_size = 8192};
    ucontext_t *uc = ctx;

    handler_sp = (uintptr_t)__builtin_frame_address(0);
    sigaltstack(NULL, &now);
    flags_inside = now.ss_flags;
    change_inside = sigaltstack(&other, NULL) == -1 ? errno : 0;
    memcpy((void *)&seen, &uc->uc_stack, sizeof(seen));
    calls++;
}

static void use(int sig, int flags)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};

    sigaction(sig, &sa, NULL);
    calls = 0;
    change_inside = -1;
}

static void set(unsigned int flags)
{
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack), .ss_flags = (int)flags};

    CHECK_OK(sigaltstack(&ss, NULL));
}

TEST(starts_disabled)
{
    stack_t now;

    CHECK_OK(sigaltstack(NULL, &now));
    CHECK_EQ(now.ss_flags, SS_DISABLE);
}

TEST(handler_runs_on_it_only_with_sa_onstack)
{
    set(0);
    use(SIGUSR1, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(on_stack(handler_sp));
    CHECK_EQ(flags_inside, SS_ONSTACK);
    CHECK_EQ(change_inside, EPERM);
    CHECK(seen.ss_sp == stack && seen.ss_size == sizeof(stack));
    use(SIGUSR1, 0);
    raise(SIGUSR1);
    CHECK(!on_stack(handler_sp));
    CHECK_EQ(flags_inside, 0);
}

TEST(errors)
{
    stack_t ss = {.ss_sp = stack, .ss_size = 100}, now;

    CHECK_ERR(sigaltstack(&ss, NULL), ENOMEM);
    ss.ss_size = sizeof(stack);
    ss.ss_flags = 77;
    CHECK_ERR(sigaltstack(&ss, NULL), EINVAL);
    CHECK_ERR(sigaltstack((stack_t *)8, NULL), EFAULT);
    ss.ss_flags = SS_DISABLE;
    CHECK_OK(sigaltstack(&ss, NULL));
    CHECK_OK(sigaltstack(NULL, &now));
    CHECK_EQ(now.ss_flags, SS_DISABLE);
    CHECK_EQ(now.ss_size, 0);
}

TEST(autodisarm_disables_inside_and_comes_back)
{
    stack_t now;

    set(SS_AUTODISARM);
    use(SIGUSR1, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(on_stack(handler_sp));
    CHECK_EQ(flags_inside, SS_DISABLE);
    CHECK_EQ(change_inside, 0);
    CHECK_OK(sigaltstack(NULL, &now));
    CHECK_EQ((unsigned int)now.ss_flags, SS_AUTODISARM);
    CHECK(now.ss_sp == stack && now.ss_size == sizeof(stack));
    set(SS_DISABLE);
}

TEST(stack_overflow_is_caught)
{
    struct rlimit no_core = {0, 0};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        set(0);
        struct sigaction sa = {.sa_flags = SA_ONSTACK, .sa_handler = (void (*)(int))(uintptr_t)_exit};
        sigaction(SIGSEGV, &sa, NULL);
        __asm__ volatile("1: push %%rax; jmp 1b" ::: "memory");
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, SIGSEGV << 8); /* _exit(signo) */
}

TEST(unwritable_stack_kills)
{
    struct rlimit no_core = {0, 0};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        use(SIGUSR1, 0);
        use(SIGSEGV, 0);
        __asm__ volatile("mov $8, %%rsp; mov $62, %%eax; syscall; ud2" ::"D"((long)getpid()), "S"((long)SIGUSR1) : "memory");
    }
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(frame_is_aligned_and_spares_the_red_zone)
{
    long ok;

    use(SIGUSR1, 0);
    __asm__ volatile("movq $0x1234567, -8(%%rsp); movq $0x7654321, -128(%%rsp); mov $62, %%eax; syscall;"
                     "xor %%eax, %%eax; cmpq $0x1234567, -8(%%rsp); jne 1f; cmpq $0x7654321, -128(%%rsp); jne 1f; inc %%eax; 1:"
                     : "=a"(ok)
                     : "D"((long)getpid()), "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory", "cc");
    CHECK_EQ(ok, 1);
    CHECK_EQ(calls, 1);
    CHECK_EQ(handler_sp % 16, 0); /* frame pointer: return address and rbp are pushed below a 16-byte boundary */
}

static volatile unsigned long saved_rbx, saved_flags, saved_cs;

static void edit_context(int sig, siginfo_t *si, void *ctx)
{
    ucontext_t *uc = ctx;

    saved_rbx = (unsigned long)uc->uc_mcontext.gregs[REG_RBX];
    saved_flags = (unsigned long)uc->uc_mcontext.gregs[REG_EFL];
    saved_cs = (unsigned long)uc->uc_mcontext.gregs[REG_CSGSFS];
    uc->uc_mcontext.gregs[REG_R12] = 0x5555;
    uc->uc_mcontext.gregs[REG_EFL] |= 0x3200; /* IOPL and IF are not for users */
    uc->uc_mcontext.gregs[REG_EFL] |= 1;      /* carry is */
}

TEST(handler_may_edit_registers_within_limits)
{
    struct sigaction sa = {.sa_sigaction = edit_context, .sa_flags = SA_SIGINFO};
    unsigned long r12, flags;

    sigaction(SIGUSR1, &sa, NULL);
    __asm__ volatile("mov $0xabcdef, %%ebx; mov $1, %%r12d; mov $62, %%eax; syscall; pushfq; pop %1; mov %%r12, %0"
                     : "=&r"(r12), "=&r"(flags)
                     : "D"((long)getpid()), "S"((long)SIGUSR1)
                     : "rax", "rbx", "rcx", "r11", "r12", "memory", "cc");
    CHECK_EQ(saved_rbx, 0xabcdef);
    CHECK_EQ(r12, 0x5555);
    CHECK(flags & 1);
    CHECK_EQ(flags & 0x3000, 0);
    CHECK_EQ(saved_cs & 0xffff, 0x33);
}

static volatile int depth;

static void recurse(int sig)
{
    if (++depth < 5)
        raise(SIGUSR1);
}

TEST(nested_signals_share_the_alternate_stack)
{
    struct sigaction sa = {.sa_handler = recurse, .sa_flags = SA_ONSTACK | SA_NODEFER};

    set(0);
    depth = 0;
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    CHECK_EQ(depth, 5);
    set(SS_DISABLE);
}

static void *thread_altstack(void *arg)
{
    stack_t now;

    return sigaltstack(NULL, &now) == 0 && now.ss_flags == SS_DISABLE ? NULL : arg;
}

TEST(threads_do_not_inherit_it)
{
    pthread_t th;
    void *r;

    set(0);
    pthread_create(&th, NULL, thread_altstack, (void *)1);
    pthread_join(th, &r);
    set(SS_DISABLE);
    CHECK(r == NULL);
}

TEST_MAIN()
