/* FP and vector state across signals, fork and exec of handlers: what the frame saves, handlers see and sigreturn restores. */
#include "tests/guest/guest_test.h"

#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>

static volatile int calls;
static volatile unsigned int handler_mxcsr, handler_fcw;
static volatile int magic_ok;
static volatile unsigned int patch_mxcsr;

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
    ucontext_t *uc = ctx;
    unsigned char *fp = (unsigned char *)uc->uc_mcontext.fpregs;
    unsigned int mxcsr, magic1, xsize, magic2;
    unsigned short fcw;

    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(fcw));
    handler_mxcsr = mxcsr;
    handler_fcw = fcw;
    memcpy(&magic1, fp + 464, 4);
    memcpy(&xsize, fp + 464 + 16, 4);
    memcpy(&magic2, fp + xsize, 4);
    magic_ok = magic1 == 0x46505853 && magic2 == 0x46505845 && ((uintptr_t)fp & 63) == 0;
    /* Clobber everything a handler may. */
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15; fninit; fldpi; fldpi" ::
                         : "xmm0", "xmm7", "xmm15", "st", "st(1)");
    if (patch_mxcsr)
        memcpy(fp + 24, (const void *)&patch_mxcsr, 4);
    calls++;
}

static void setup(void)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

    calls = 0;
    patch_mxcsr = 0;
    sigaction(SIGUSR1, &sa, NULL);
}

/* The system call is made between the loads and the checks, so that only the kernel can keep the values. */
static inline long kill_inline(long pid, long sig)
{
    long r;

    __asm__ volatile("syscall" : "=a"(r) : "0"(62L), "D"(pid), "S"(sig) : "rcx", "r11", "memory");
    return r;
}

TEST(sse_registers_survive)
{
    unsigned long a[2] = {0x1122334455667788, 0x99aabbccddeeff00}, b[2] = {5, 6}, c[2] = {7, 8}, out[6];
    long r, pid = getpid();

    setup();
    __asm__ volatile("movdqu (%[a]), %%xmm0; movdqu (%[b]), %%xmm7; movdqu (%[c]), %%xmm15;"
                     "mov $62, %%eax; syscall;"
                     "movdqu %%xmm0, (%[o]); movdqu %%xmm7, 16(%[o]); movdqu %%xmm15, 32(%[o])"
                     : "=&a"(r)
                     : [a] "r"(a), [b] "r"(b), [c] "r"(c), [o] "r"(out), "D"(pid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm15");
    CHECK_EQ(r, 0);
    CHECK_EQ(calls, 1);
    CHECK(magic_ok);
    CHECK_EQ(memcmp(out, a, 16), 0);
    CHECK_EQ(memcmp(out + 2, b, 16), 0);
    CHECK_EQ(memcmp(out + 4, c, 16), 0);
}

static int has_avx(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & (1 << 28)) && (c & (1 << 27));
}

TEST(avx_upper_halves_survive)
{
    unsigned long v[4] = {1, 2, 3, 0xdeadbeefcafef00d}, out[4];
    long r, pid = getpid();

    if (!has_avx())
        SKIP("no AVX");
    setup();
    __asm__ volatile("vmovdqu (%[v]), %%ymm5; mov $62, %%eax; syscall; vmovdqu %%ymm5, (%[o]); vzeroupper"
                     : "=&a"(r)
                     : [v] "r"(v), [o] "r"(out), "D"(pid), "S"((long)SIGUSR1)
                     : "rcx", "r11", "memory", "xmm5");
    CHECK_EQ(calls, 1);
    CHECK_EQ(memcmp(out, v, 32), 0);
}

TEST(control_words_are_default_in_the_handler_and_restored_after)
{
    unsigned int mxcsr = 0x1f80 | 0x6000, after; /* round to zero */
    unsigned short fcw = 0x27f, fcw_after;

    setup();
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    __asm__ volatile("fldcw %0" ::"m"(fcw));
    kill_inline(getpid(), SIGUSR1);
    __asm__ volatile("stmxcsr %0" : "=m"(after));
    __asm__ volatile("fnstcw %0" : "=m"(fcw_after));
    mxcsr = 0x1f80;
    fcw = 0x37f;
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    __asm__ volatile("fldcw %0" ::"m"(fcw));
    CHECK_EQ(calls, 1);
    CHECK_EQ(handler_mxcsr, 0x1f80);
    CHECK_EQ(handler_fcw, 0x37f);
    CHECK_EQ(after & 0x6000, 0x6000);
    CHECK_EQ(fcw_after, 0x27f);
}

TEST(handler_may_change_the_saved_state)
{
    unsigned int after, mxcsr = 0x1f80;

    setup();
    patch_mxcsr = 0x1f80 | 0x2000;
    kill_inline(getpid(), SIGUSR1);
    __asm__ volatile("stmxcsr %0" : "=m"(after));
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
    CHECK_EQ(after & 0x6000, 0x2000);
}

TEST(bad_mxcsr_in_the_frame_kills)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        setup();
        signal(SIGSEGV, SIG_DFL);
        patch_mxcsr = 0xffffffff;
        kill_inline(getpid(), SIGUSR1);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

static unsigned int get_mxcsr(void)
{
    unsigned int v;

    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}

static void set_mxcsr(unsigned int v)
{
    __asm__ volatile("ldmxcsr %0" ::"m"(v));
}

TEST(fork_copies_the_control_words)
{
    int status;
    pid_t pid;

    set_mxcsr(0x1f80 | 0x4000);
    pid = fork();
    if (pid == 0)
        _exit((get_mxcsr() & 0x6000) == 0x4000 ? 0 : 1);
    set_mxcsr(0x1f80);
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
}

static volatile int stop;

static void *compute(void *arg)
{
    int n = (int)(long)arg;
    double x = 0;

    for (long i = 1; !stop; i++) {
        double y = 0;
        for (int j = 1; j < 1000; j++)
            y += 1.0 / (j + n);
        if (i > 1 && y != x)
            return (void *)1;
        x = y;
    }
    return NULL;
}

TEST(state_is_kept_under_a_storm_of_signals)
{
    pthread_t th[2];
    void *r, *bad = NULL;

    setup();
    stop = 0;
    for (long i = 0; i < 2; i++)
        pthread_create(&th[i], NULL, compute, (void *)i);
    for (int i = 0; i < 300; i++) {
        pthread_kill(th[i & 1], SIGUSR1);
        usleep(200);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) {
        pthread_join(th[i], &r);
        if (r)
            bad = r;
    }
    CHECK(calls > 0);
    CHECK(bad == NULL);
}

TEST_MAIN()
