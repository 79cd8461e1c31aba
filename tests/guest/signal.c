/* Sending, blocking, queueing and taking signals. */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static volatile int calls, order[64], nr_order;
static volatile siginfo_t last;

static void count(int sig)
{
    calls++;
}

static void record(int sig, siginfo_t *si, void *ctx)
{
    calls++;
    memcpy((void *)&last, si, sizeof(last));
    if (nr_order < 64)
        order[nr_order++] = si->si_code == SI_QUEUE ? sig * 1000 + si->si_value.sival_int : sig;
}

static void handle(int sig, int flags)
{
    struct sigaction sa = {.sa_flags = flags | SA_SIGINFO, .sa_sigaction = record};

    sigaction(sig, &sa, NULL);
    calls = nr_order = 0;
}

static void block(int how, int a, int b)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, a);
    if (b)
        sigaddset(&set, b);
    sigprocmask(how, &set, NULL);
}

TEST(kill_self_runs_the_handler_before_returning)
{
    handle(SIGUSR1, 0);
    CHECK_OK(kill(getpid(), SIGUSR1));
    CHECK_EQ(calls, 1);
    CHECK_EQ(last.si_signo, SIGUSR1);
    CHECK_EQ(last.si_code, SI_USER);
    CHECK_EQ(last.si_pid, getpid());
    CHECK_EQ(last.si_uid, getuid());
    CHECK_OK(raise(SIGUSR1));
    CHECK_EQ(last.si_code, SI_TKILL);
}

TEST(blocked_signals_wait_and_standard_ones_merge)
{
    sigset_t pending;

    handle(SIGUSR1, 0);
    block(SIG_BLOCK, SIGUSR1, 0);
    for (int i = 0; i < 3; i++)
        kill(getpid(), SIGUSR1);
    CHECK_EQ(calls, 0);
    CHECK_OK(sigpending(&pending));
    CHECK(sigismember(&pending, SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1, 0);
    CHECK_EQ(calls, 1);
}

TEST(realtime_signals_queue_in_order)
{
    static const int want[] = {36 * 1000 + 1, 36 * 1000 + 2, 37 * 1000 + 3};

    handle(36, 0);
    handle(37, 0);
    block(SIG_BLOCK, 36, 37);
    CHECK_OK(sigqueue(getpid(), 37, (union sigval){.sival_int = 3}));
    CHECK_OK(sigqueue(getpid(), 36, (union sigval){.sival_int = 1}));
    CHECK_OK(sigqueue(getpid(), 36, (union sigval){.sival_int = 2}));
    sigset_t set;
    siginfo_t si;
    sigemptyset(&set);
    sigaddset(&set, 36);
    sigaddset(&set, 37);
    for (int i = 0; i < 3; i++) {
        int sig = sigwaitinfo(&set, &si);
        CHECK_EQ(sig * 1000 + si.si_value.sival_int, want[i]);
        CHECK_EQ(si.si_code, SI_QUEUE);
    }
    block(SIG_UNBLOCK, 36, 37);
    CHECK_EQ(calls, 0);
}

TEST(sa_nodefer_and_mask_during_the_handler)
{
    struct sigaction sa = {.sa_handler = count}, old;

    sigaction(SIGUSR2, &sa, &old);
    CHECK_EQ(old.sa_handler == SIG_DFL, 1);
    sigaction(SIGUSR2, NULL, &old);
    CHECK(old.sa_handler == count);
}

static volatile int depth, max_depth, mask_ok;

static void nested(int sig)
{
    sigset_t set;

    depth++;
    if (depth > max_depth)
        max_depth = depth;
    sigprocmask(SIG_BLOCK, NULL, &set);
    mask_ok = sigismember(&set, SIGUSR1) && sigismember(&set, SIGHUP);
    if (depth < 3)
        raise(sig);
    depth--;
}

TEST(handlers_block_their_own_signal_unless_nodefer)
{
    struct sigaction sa = {.sa_handler = nested};

    sigaddset(&sa.sa_mask, SIGHUP);
    depth = max_depth = 0;
    sigaction(SIGUSR1, &sa, NULL);
    signal(SIGUSR1, SIG_DFL);
    sigaction(SIGUSR1, &sa, NULL);
    depth = 2; /* so that it does not raise for ever */
    raise(SIGUSR1);
    CHECK_EQ(mask_ok, 1);
    depth = max_depth = 0;
    sa.sa_flags = SA_NODEFER;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    CHECK_EQ(max_depth, 3);
}

TEST(sa_resethand_restores_the_default)
{
    struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESETHAND}, old;

    calls = 0;
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    CHECK_EQ(calls, 1);
    sigaction(SIGUSR1, NULL, &old);
    CHECK(old.sa_handler == SIG_DFL);
}

TEST(sigkill_and_sigstop_are_untouchable)
{
    struct sigaction sa = {.sa_handler = count}, old;
    sigset_t set, now;

    CHECK_ERR(sigaction(SIGKILL, &sa, NULL), EINVAL);
    CHECK_ERR(sigaction(SIGSTOP, &sa, NULL), EINVAL);
    CHECK_OK(sigaction(SIGKILL, NULL, &old));
    CHECK_ERR(sigaction(65, &sa, NULL), EINVAL);
    sigfillset(&set);
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, &old.sa_mask));
    sigprocmask(SIG_BLOCK, NULL, &now);
    sigprocmask(SIG_SETMASK, &old.sa_mask, NULL);
    CHECK(!sigismember(&now, SIGKILL) && !sigismember(&now, SIGSTOP) && sigismember(&now, SIGTERM));
    CHECK_EQ(syscall(SYS_rt_sigprocmask, 99, &set, NULL, 8), -1);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4), -1);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(syscall(SYS_rt_sigaction, SIGUSR1, (void *)8, NULL, 8), -1);
    CHECK_EQ(errno, EFAULT);
}

TEST(ignoring_discards_what_is_pending)
{
    sigset_t pending;

    handle(SIGUSR1, 0);
    block(SIG_BLOCK, SIGUSR1, 0);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1, 0);
    signal(SIGUSR1, SIG_DFL);
}

TEST(sigsuspend_waits_with_another_mask_and_restores)
{
    sigset_t none, now;

    handle(SIGUSR1, 0);
    block(SIG_BLOCK, SIGUSR1, 0);
    raise(SIGUSR1);
    sigemptyset(&none);
    CHECK_ERR(sigsuspend(&none), EINTR);
    CHECK_EQ(calls, 1);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1, 0);
}

TEST(sigtimedwait_times_out_and_takes)
{
    struct timespec ts = {.tv_nsec = 20000000}, bad = {.tv_nsec = 1000000000}, a, b;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_ERR(sigtimedwait(&set, NULL, &ts), EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &b);
    CHECK((b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec >= 20000000);
    CHECK_ERR(sigtimedwait(&set, NULL, &bad), EINVAL);
    raise(SIGUSR1);
    CHECK_EQ(sigtimedwait(&set, NULL, &ts), SIGUSR1);

    pid_t me = getpid(), pid = fork();
    if (pid == 0) {
        wait_blocked(me, me);
        kill(me, SIGUSR1);
        _exit(0);
    }
    siginfo_t si;
    CHECK_EQ(sigwaitinfo(&set, &si), SIGUSR1);
    CHECK_EQ(si.si_pid, pid);
    waitpid(pid, NULL, 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

TEST(sigtimedwait_takes_signals_that_are_ignored_by_default)
{
    sigset_t set;
    pid_t pid;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid = fork();
    if (pid == 0) {
        usleep(20000);
        _exit(0);
    }
    CHECK_EQ(sigwaitinfo(&set, NULL), SIGCHLD);
    waitpid(pid, NULL, 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

TEST(kill_errors)
{
    CHECK_ERR(kill(getpid(), 65), EINVAL);
    CHECK_ERR(kill(getpid(), -1), EINVAL);
    CHECK_ERR(kill(0x7ffffff, 0), ESRCH);
    CHECK_ERR(kill(-0x7ffffff, 0), ESRCH);
    CHECK_OK(kill(getpid(), 0));
    CHECK_OK(kill(0, 0));
    CHECK_EQ(syscall(SYS_tgkill, getpid(), 0, SIGUSR1), -1);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(syscall(SYS_tgkill, getpid() + 1, getpid(), 0), -1);
    CHECK_EQ(errno, ESRCH);
    CHECK_EQ(syscall(SYS_tkill, -1, 0), -1);
    CHECK_EQ(errno, EINVAL);
}

TEST(queueinfo_cannot_pretend_to_be_the_kernel)
{
    siginfo_t si = {.si_code = SI_USER};
    pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    long r = syscall(SYS_rt_sigqueueinfo, pid, SIGTERM, &si);
    int err = errno;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK_EQ(r, -1);
    CHECK_EQ(err, EPERM);
}

TEST(permission_is_by_user)
{
    pid_t pid;
    int status;

    if (getuid() != 0)
        SKIP("needs root");
    pid = fork();
    if (pid == 0) {
        if (setresuid(12345, 12345, 12345))
            _exit(9);
        _exit(kill(getppid(), 0) == -1 && errno == EPERM ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
}

static sigjmp_buf segv_out;
static void *volatile segv_addr;
static volatile int segv_code;

static void on_segv(int sig, siginfo_t *si, void *ctx)
{
    segv_addr = si->si_addr;
    segv_code = si->si_code;
    siglongjmp(segv_out, 1);
}

TEST(faults_become_signals_with_address_and_code)
{
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGFPE, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    sigaction(SIGTRAP, &sa, NULL);
    if (!sigsetjmp(segv_out, 1))
        *(volatile char *)(p + 5) = 1;
    CHECK(segv_addr == p + 5);
    CHECK_EQ(segv_code, SEGV_ACCERR);
    munmap(p, 4096);
    if (!sigsetjmp(segv_out, 1))
        *(volatile char *)(p + 6) = 1;
    CHECK(segv_addr == p + 6);
    CHECK_EQ(segv_code, SEGV_MAPERR);
    if (!sigsetjmp(segv_out, 1))
        __asm__ volatile("xor %%eax, %%eax; xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" ::: "eax", "ecx", "edx");
    CHECK_EQ(segv_code, FPE_INTDIV);
    if (!sigsetjmp(segv_out, 1))
        __asm__ volatile("ud2");
    CHECK_EQ(segv_code, ILL_ILLOPN);
    if (!sigsetjmp(segv_out, 1))
        __asm__ volatile("int3");
    CHECK_EQ(segv_code, SI_KERNEL);
    if (!sigsetjmp(segv_out, 1))
        __asm__ volatile("hlt"); /* privileged */
    CHECK_EQ(segv_code, SI_KERNEL);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGFPE, SIG_DFL);
    signal(SIGILL, SIG_DFL);
    signal(SIGTRAP, SIG_DFL);
}

TEST(blocked_fault_kills)
{
    struct rlimit no_core = {0, 0};
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        block(SIG_BLOCK, SIGSEGV, 0);
        *(volatile int *)0 = 1;
        _exit(0);
    }
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

TEST(default_actions)
{
    static const struct {
        int sig, dies;
    } cases[] = {{SIGTERM, 1}, {SIGUSR1, 1}, {SIGPIPE, 1}, {SIGCHLD, 0}, {SIGURG, 0}, {SIGWINCH, 0},
                 {SIGCONT, 0}, {SIGALRM, 1}, {SIGIO, 1},   {40, 1},      {SIGKILL, 1}};
    int status;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            signal(cases[i].sig, SIG_DFL);
            kill(getpid(), cases[i].sig);
            _exit(77);
        }
        waitpid(pid, &status, 0);
        if (cases[i].dies)
            CHECK_EQ(status & 0x7f, cases[i].sig);
        else
            CHECK_EQ(status, 77 << 8);
    }
}

TEST(kill_minus_one_spares_the_sender)
{
    int status;
    pid_t pid;

    if (getuid() != 0)
        SKIP("needs another user");
    pid = fork();
    if (pid == 0) {
        if (setresuid(23456, 23456, 23456))
            _exit(9);
        pid_t victim = fork();
        if (victim == 0)
            for (;;)
                pause();
        wait_blocked(victim, victim);
        kill(-1, SIGKILL);
        if (waitpid(victim, &status, 0) != victim || !WIFSIGNALED(status))
            _exit(8);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
}

TEST(sigreturn_restores_the_mask_from_the_frame)
{
    sigset_t now;

    handle(SIGUSR1, 0);
    raise(SIGUSR1);
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(!sigismember(&now, SIGUSR1));
}

static volatile long busy_loops;

TEST(signals_interrupt_pure_computation)
{
    struct timespec ts = {.tv_nsec = 30000000};
    pid_t me = getpid(), pid;

    handle(SIGUSR1, 0);
    pid = fork();
    if (pid == 0) {
        nanosleep(&ts, NULL);
        kill(me, SIGUSR1);
        _exit(0);
    }
    while (!calls)
        busy_loops++;
    CHECK_EQ(calls, 1);
    waitpid(pid, NULL, 0);
}

TEST_MAIN()
