/* Restartable sequences: registration, abort by signals, and per-CPU data without atomic operations. */
#include "tests/guest/guest_test.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STR_(x) #x
#define STR(x)  STR_(x)

static struct rseq *area(void)
{
    return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* libc registers each thread; the tests use its area. */
#define NEED_RSEQ()                             \
    do {                                        \
        if (!__rseq_size)                       \
            SKIP("rseq is not to be had here"); \
    } while (0)

TEST(rseq_registration_rules)
{
    NEED_RSEQ();
    CHECK_ERR(syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG), EBUSY);
    CHECK_ERR(syscall(SYS_rseq, area(), 32, 0, 1), EPERM);
    CHECK_ERR(syscall(SYS_rseq, (char *)area() + 32, 32, 0, RSEQ_SIG), EINVAL);
    CHECK_ERR(syscall(SYS_rseq, area(), 32, 4, RSEQ_SIG), EINVAL);
    CHECK_ERR(syscall(SYS_rseq, area(), 32, 1, 1), EPERM);
    CHECK_OK(syscall(SYS_rseq, area(), 32, 1, RSEQ_SIG));
    CHECK_ERR(syscall(SYS_rseq, area(), 32, 1, RSEQ_SIG), EINVAL);
    CHECK_EQ((int)area()->cpu_id, -1);
    CHECK_ERR(syscall(SYS_rseq, (char *)area() + 8, 32, 0, RSEQ_SIG), EINVAL);
    CHECK_ERR(syscall(SYS_rseq, area(), 16, 0, RSEQ_SIG), EINVAL);
    CHECK_OK(syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG));
}

TEST(rseq_cpu_numbers_are_valid)
{
    cpu_set_t set, one;
    int cpu = 0;

    NEED_RSEQ();
    CHECK_OK(sched_getaffinity(0, sizeof(set), &set));
    for (int i = 0; i < 1000; i++)
        CHECK(CPU_ISSET(area()->cpu_id, &set));
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_OK(sched_setaffinity(0, sizeof(one), &one));
    CHECK_EQ(area()->cpu_id, cpu);
    CHECK_EQ(area()->cpu_id_start, cpu);
    CHECK_OK(sched_setaffinity(0, sizeof(set), &set));
}

static volatile sig_atomic_t handled;

static void on_signal(int signo)
{
    handled++;
}

/* Spins inside a critical section until it is aborted. */
static void spin_until_aborted(void)
{
    __asm__ volatile(".pushsection __rseq_cs, \"aw\"\n\t"
                     ".balign 32\n\t"
                     "77: .long 0, 0\n\t"
                     ".quad 1f, 2f - 1f, 4f\n\t"
                     ".popsection\n\t"
                     "leaq 77b(%%rip), %%rax\n\t"
                     "movq %%rax, 8(%0)\n\t"
                     "1: pause\n\t"
                     "jmp 1b\n\t"
                     "2: ud2\n\t"
                     ".byte 0x0f, 0xb9, 0x3d\n\t"
                     ".long " STR(RSEQ_SIG) "\n\t"
                                            "4:\n\t"
                     :
                     : "r"(area())
                     : "rax", "memory", "cc");
}

static void *signal_soon(void *arg)
{
    usleep(50000);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

TEST(rseq_signal_aborts_the_section)
{
    pthread_t self = pthread_self(), t;

    NEED_RSEQ();
    signal(SIGUSR1, on_signal);
    handled = 0;
    pthread_create(&t, NULL, signal_soon, &self);
    while (!handled) /* the host's own scheduler aborts it too */
        spin_until_aborted();
    CHECK_EQ(handled, 1);
    CHECK_EQ(area()->rseq_cs, 0);
    pthread_join(t, NULL);
}

static volatile int done;

static void *restart_often(void *arg)
{
    while (!done) {
        usleep(1000);
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0))
            return NULL;
    }
    return arg;
}

TEST(rseq_membarrier_aborts_the_section)
{
    pthread_t t;
    void *ret;

    NEED_RSEQ();
    CHECK_ERR(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0), EPERM);
    CHECK_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0));
    done = 0;
    pthread_create(&t, NULL, restart_often, "ok");
    for (int i = 0; i < 20; i++)
        spin_until_aborted();
    done = 1;
    pthread_join(t, &ret);
    CHECK(ret != NULL);
}

#define MAX_CPUS 1024
static struct {
    volatile long count;
    char pad[56];
} per_cpu[MAX_CPUS];

/* counter[cpu]++ in two instructions and with a delay between them; false if it was aborted. */
static int add_on_cpu(long *counters, uint32_t cpu)
{
    long *slot = (long *)((char *)counters + (size_t)cpu * 64);

    __asm__ goto(".pushsection __rseq_cs, \"aw\"\n\t"
                 ".balign 32\n\t"
                 "77: .long 0, 0\n\t"
                 ".quad 1f, 2f - 1f, 4f\n\t"
                 ".popsection\n\t"
                 "leaq 77b(%%rip), %%rax\n\t"
                 "movq %%rax, 8(%0)\n\t"
                 "1: cmpl %1, 4(%0)\n\t"
                 "jne 4f\n\t"
                 "movq (%2), %%rcx\n\t"
                 "movl $40, %%eax\n\t"
                 "3: pause\n\t"
                 "decl %%eax\n\t"
                 "jnz 3b\n\t"
                 "incq %%rcx\n\t"
                 "movq %%rcx, (%2)\n\t"
                 "2: jmp 5f\n\t"
                 ".byte 0x0f, 0xb9, 0x3d\n\t"
                 ".long " STR(RSEQ_SIG) "\n\t"
                                        "4: jmp %l[aborted]\n\t"
                                        "5:\n\t"
                 :
                 : "r"(area()), "r"(cpu), "r"(slot)
                 : "rax", "rcx", "memory", "cc"
                 : aborted);
    return 1;
aborted:
    return 0;
}

#define ADDS    20000
#define THREADS 6

static void *add_many(void *arg)
{
    for (int i = 0; i < ADDS; i++) {
        while (!add_on_cpu((long *)per_cpu, area()->cpu_id_start))
            ;
        if (i % 512 == 0)
            sched_yield();
        if (arg && i % 1024 == 0)
            usleep(100);
    }
    return NULL;
}

static long total(void)
{
    long sum = 0;

    for (int i = 0; i < MAX_CPUS; i++)
        sum += per_cpu[i].count;
    return sum;
}

TEST(rseq_per_cpu_counters_add_up)
{
    pthread_t t[THREADS];

    NEED_RSEQ();
    while (!add_on_cpu((long *)per_cpu, area()->cpu_id_start))
        ;
    CHECK_EQ(total(), 1);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, add_many, i % 2 ? "sleeps" : NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(total(), 1 + (long)THREADS * ADDS);
}

TEST(rseq_child_of_fork_keeps_it)
{
    int status;
    pid_t pid;

    NEED_RSEQ();
    pid = fork();
    if (pid == 0) {
        CHECK_ERR(syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG), EBUSY);
        memset(per_cpu, 0, sizeof(per_cpu));
        add_many(NULL);
        _exit(total() != ADDS);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* A descriptor without the signature before its abort address is an attack, and answered with SIGSEGV. */
TEST(rseq_bad_descriptor_kills)
{
    static struct rseq_cs cs __attribute__((aligned(32)));
    int status;
    pid_t pid;

    NEED_RSEQ();
    pid = fork();
    if (pid == 0) {
        cs.start_ip = 0x1000;
        cs.post_commit_offset = 16;
        cs.abort_ip = (uintptr_t)&cs;
        area()->rseq_cs = (uintptr_t)&cs;
        for (int i = 0; i < 1000; i++) {
            usleep(1000);
            raise(SIGCHLD);
        }
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

TEST_MAIN()
