/*
 * What a sandbox keeps in the guest's own address space is in the guest's reach. These tests write over, and jump into,
 * everything that can be found above the guest's part of it, while sibling threads make calls. Whatever happens to the process
 * that does that, it must end when killed, and nobody else may notice. On the host kernel there is nothing to find, and the
 * tests pass as they are.
 */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define PAGE      4096UL
#define TOP       0x7ffffffff000UL
#define RANGE     0x100000000UL /* the last 4 GiB of user space */
#define STEP      0x100000UL    /* things start at multiples of this ... */
#define DENSE     24            /* ... and go on for some pages */
#define LOW_FIRST 0x10000UL     /* and there may be some very low */
#define LOW_LAST  0x100000UL

static sigjmp_buf fault_jmp;
static volatile sig_atomic_t fault_armed;

static void on_fault(int signo)
{
    if (fault_armed)
        siglongjmp(fault_jmp, 1);
    _exit(100 + signo);
}

static void catch_faults(void)
{
    static char stack[65536];
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER};

    sigaltstack(&ss, NULL);
    for (int s = 1; s < 32; s++)
        if (s == SIGSEGV || s == SIGBUS || s == SIGILL || s == SIGTRAP || s == SIGFPE || s == SIGSYS)
            sigaction(s, &sa, NULL);
}

/* Calls fn(page) for every page to try. */
static void for_each_candidate(void (*fn)(unsigned long page))
{
    for (unsigned long base = TOP + PAGE - RANGE; base < TOP; base += STEP)
        for (unsigned long i = 0; i < DENSE; i++)
            fn(base + i * PAGE);
    for (unsigned long page = LOW_FIRST; page < LOW_LAST; page += PAGE)
        fn(page);
}

/* Fills a page with a pattern if it can be written. */
static unsigned char pattern;

static void scribble(unsigned long page)
{
    fault_armed = 1;
    if (sigsetjmp(fault_jmp, 1) == 0)
        for (unsigned long i = 0; i < PAGE; i += 8)
            *(volatile unsigned long *)(page + i) = 0x0101010101010101UL * pattern;
    fault_armed = 0;
}

/* Jumps to some addresses of a page, if it can be executed at all. */
static void jump_into(unsigned long page)
{
    static const unsigned long numbers[] = {SYS_mmap, SYS_munmap, SYS_open, SYS_kill, SYS_clone, SYS_exit_group, SYS_read};

    for (volatile unsigned long off = 0; off < PAGE; off += 7) {
        unsigned long nr = numbers[off % 7], target = page + off;

        fault_armed = 1;
        if (sigsetjmp(fault_jmp, 1) == 0) {
            /* Registers as a thief would like them. */
            register unsigned long r10 __asm__("r10") = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
            register unsigned long r8 __asm__("r8") = 0;
            register unsigned long r9 __asm__("r9") = 0;

            __asm__ volatile("call *%0"
                             :
                             : "r"(target), "a"(nr), "D"(0x10000UL), "S"(PAGE), "d"(PROT_READ | PROT_WRITE), "r"(r10), "r"(r8),
                               "r"(r9)
                             : "rcx", "r11", "rbx", "r12", "r13", "r14", "r15", "memory", "cc");
        }
        fault_armed = 0;
        if (off == 0) {
            /* A page that is not there needs no second try. */
            fault_armed = 1;
            if (sigsetjmp(fault_jmp, 1) != 0) {
                fault_armed = 0;
                return;
            }
            (void)*(volatile char *)page;
            fault_armed = 0;
        }
    }
}

static void *make_calls(void *arg)
{
    char buf[64];
    int fd = open("/dev/zero", O_RDONLY);

    for (;;) {
        syscall(SYS_getppid);
        if (read(fd, buf, sizeof(buf)) < 0)
            break;
        sched_yield();
    }
    return NULL;
}

/* Runs `fn` over all candidates in a child with busy siblings; the child must be gone in the end, whatever became of it. */
static void run_hijack(void (*fn)(unsigned long page))
{
    pid_t pid = fork();
    int status = 0, i;

    CHECK_OK(pid);
    if (pid == 0) {
        pthread_t th;

        alarm(10);
        catch_faults();
        for (i = 0; i < 3; i++)
            pthread_create(&th, NULL, make_calls, NULL);
        for (i = 0; i < 2; i++) {
            pattern = i ? 0xff : 0;
            for_each_candidate(fn);
        }
        _exit(0);
    }
    for (i = 0; i < 120 && waitpid(pid, &status, WNOHANG) == 0; i++)
        usleep(50000);
    if (i == 120) {
        CHECK_OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
    }
}

/* What the rest of the system must still be able to do. */
static void check_unharmed(void)
{
    int fd, status;
    pid_t pid;
    char *p;

    CHECK_OK(fd = open("/proc/self/stat", O_RDONLY));
    close(fd);
    p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(p[i * PAGE], 0);
        p[i * PAGE] = 1;
    }
    munmap(p, 16 * PAGE);
    CHECK_OK(pid = fork());
    if (pid == 0)
        _exit(42);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 42 << 8);
}

TEST(scribbling_over_the_stub_harms_only_oneself)
{
    run_hijack(scribble);
    check_unharmed();
}

TEST(jumping_into_the_stub_harms_only_oneself)
{
    run_hijack(jump_into);
    check_unharmed();
}

TEST_MAIN()
