/*
 * Everything about processes at once: a tree of processes whose threads fork, exec, stop, continue, kill each other and exit
 * for some seconds. What is checked is that it ends: nobody hangs, nothing is left, and the kernel survives.
 */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define NR_PIDS 32768 /* each process has a slot of its own, so that all can be found in the end */

struct shared {
    volatile pid_t pids[NR_PIDS];
    volatile int stop;
    volatile unsigned int used;
    volatile pid_t sid;
    volatile unsigned int ops;
};
static struct shared *sh;

static unsigned int rnd(unsigned int *seed, unsigned int n)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % n;
}

static void on_signal(int sig)
{
}

static int is_ours(pid_t pid)
{
    return pid > 1 && getsid(pid) == sh->sid;
}

static pid_t recent_pid(unsigned int *seed)
{
    unsigned int n = sh->used < 40 ? sh->used : 40;

    return n ? sh->pids[(sh->used - 1 - rnd(seed, n)) % NR_PIDS] : 0;
}

static void *thread_main(void *arg)
{
    unsigned int seed = (unsigned int)(long)arg;

    for (int i = 0; i < 20 && !sh->stop; i++) {
        if (rnd(&seed, 2))
            syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
        else
            sched_yield();
    }
    switch (rnd(&seed, 20)) {
    case 0:
        execl("/proc/self/exe", "storm", "--quit", NULL);
        break;
    case 1:
        _exit(3);
    case 2:
        syscall(SYS_exit, 0);
    }
    return NULL;
}

static void act(unsigned int *seed, int depth);

static void child_main(unsigned int seed, int depth)
{
    sh->pids[__sync_fetch_and_add(&sh->used, 1) % NR_PIDS] = getpid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < 15 && !sh->stop; i++)
        act(&seed, depth);
    _exit((int)rnd(&seed, 256));
}

static void act(unsigned int *seed, int depth)
{
    static const int signals[] = {SIGUSR1, SIGUSR1, SIGUSR2, SIGSTOP, SIGCONT, SIGTSTP, SIGTERM, SIGKILL, 40, 0};
    pthread_t th;
    pid_t pid;

    __sync_fetch_and_add(&sh->ops, 1);
    switch (rnd(seed, 8)) {
    case 0:
    case 1:
        if (depth < 3) {
            unsigned int s = *seed + (unsigned int)getpid() * 2654435761U;
            pid = fork();
            if (pid == 0)
                child_main(s, depth + 1);
        }
        break;
    case 2:
        pid = vfork();
        if (pid == 0) {
            execl("/proc/self/exe", "storm", "--quit", NULL);
            _exit(1);
        }
        break;
    case 3:
        if (pthread_create(&th, NULL, thread_main, (void *)(long)*seed) == 0)
            pthread_detach(th);
        break;
    case 4:
    case 5:
        pid = recent_pid(seed);
        if (is_ours(pid))
            kill(pid, signals[rnd(seed, sizeof(signals) / sizeof(signals[0]))]);
        break;
    case 6:
        waitpid(-1, NULL, WNOHANG | (rnd(seed, 2) ? WUNTRACED | WCONTINUED : 0));
        break;
    case 7:
        setpgid(0, 0);
        break;
    }
}

static void storm(void)
{
    struct timespec t0, now;
    struct rlimit no_core = {0, 0};
    unsigned int seed = 42;

    sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(sh != MAP_FAILED);
    sh->sid = setsid();
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGUSR1, on_signal);
    signal(SIGHUP, SIG_IGN); /* groups become orphaned with stopped members all the time */
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (;;) {
        for (int i = 0; i < 6; i++) {
            unsigned int s = rnd(&seed, 1u << 30);
            pid_t pid = fork();
            if (pid == 0)
                child_main(s, 0);
        }
        usleep(20000);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - t0.tv_sec >= 3)
            break;
    }
    sh->stop = 1;
    /* Whoever is stopped is killed; everybody else ends by itself or dies with its parent. */
    for (int i = 0; i < 2000; i++) {
        for (unsigned int j = 0; j < sh->used && j < NR_PIDS; j++)
            if (sh->pids[j] != getpid() && is_ours(sh->pids[j]))
                kill(sh->pids[j], SIGKILL);
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
            ;
        if (pid < 0 && errno == ECHILD)
            break;
        usleep(2000);
    }
    CHECK_ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
    CHECK(sh->ops > 100);
}

TEST(storm_of_processes_ends)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        storm();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--quit") == 0)
        return 0;
    return guest_test_main(argc, argv);
}
