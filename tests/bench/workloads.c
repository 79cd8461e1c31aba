/*
 * The micro-benchmarks of `runsc-c bench`: run inside a container, each prints "name<TAB>nanoseconds per operation".
 *
 *     workloads [NAME...]      all of them, or the named ones
 *     workloads true           exits at once (start-up time)
 *     workloads time NAME CMD [ARG...]   runs a program and prints how long it took
 *
 * A workload repeats its operation in batches until about 150 ms have passed and reports the fastest batch's mean, after a
 * warm-up long enough for call sites to get hot. Static, no libraries, so that nothing but the operation is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUDGET_NS 150000000LL
#define BATCHES   5
#define PAGE      4096UL

static const char *self_path;

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void check(long r, const char *what)
{
    if (r < 0)
        die(what);
}

/* Nanoseconds that op(arg) takes. */
static double measure(void (*op)(void *arg), void *arg)
{
    int64_t start, elapsed;
    double best = 1e18;
    long n = 1;

    for (;;) { /* warm up and find a batch of a fair length */
        start = now_ns();
        for (long i = 0; i < n; i++)
            op(arg);
        elapsed = now_ns() - start;
        if (elapsed > BUDGET_NS / BATCHES / 2)
            break;
        n *= 2;
    }
    for (int b = 0; b < BATCHES; b++) {
        double per;

        start = now_ns();
        for (long i = 0; i < n; i++)
            op(arg);
        per = (double)(now_ns() - start) / (double)n;
        if (per < best)
            best = per;
    }
    return best;
}

/* The cheapest call that the kernel must serve, in the form `mov $nr,%eax; syscall`. */
static void op_getppid_inline(void *arg)
{
    long r;

    __asm__ volatile("movl $110, %%eax\n\tsyscall" : "=a"(r) : : "rcx", "r11", "memory");
}

static void op_getppid_libc(void *arg)
{
    syscall(SYS_getppid);
}

/* The same in a form that nobody rewrites: nothing before or after the instruction is recognisable. */
static void op_getppid_bare(void *arg)
{
    long r = SYS_getppid;

    __asm__ volatile("nop\n\tsyscall\n\tnop" : "+a"(r) : : "rcx", "r11", "memory");
}

static void op_getpid(void *arg)
{
    getpid();
}

static void op_clock_gettime(void *arg)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
}

static void op_read1(void *arg)
{
    char c;

    check(read(*(int *)arg, &c, 1), "read");
}

static char page_buf[PAGE];

static void op_pread(void *arg)
{
    check(pread(*(int *)arg, page_buf, PAGE, 0), "pread");
}

static void op_open_close(void *arg)
{
    int fd = open(arg, O_RDONLY);

    check(fd, "open");
    close(fd);
}

static void op_pipe(void *arg)
{
    int *fd = arg;
    char c = 1;

    check(write(fd[1], &c, 1), "write");
    check(read(fd[0], &c, 1), "read");
}

static void op_pingpong(void *arg)
{
    int fd = *(int *)arg;
    char c = 1;

    check(write(fd, &c, 1), "write");
    check(read(fd, &c, 1), "read");
}

static void op_mmap(void *arg)
{
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("mmap");
    *(volatile char *)p = 1;
    munmap(p, PAGE);
}

static void op_fork(void *arg)
{
    pid_t pid = fork();

    check(pid, "fork");
    if (pid == 0)
        _exit(0);
    check(waitpid(pid, NULL, 0), "waitpid");
}

static void op_exec(void *arg)
{
    pid_t pid = fork();

    check(pid, "fork");
    if (pid == 0) {
        execl(self_path, "workloads", "true", (char *)NULL);
        _exit(127);
    }
    check(waitpid(pid, NULL, 0), "waitpid");
}

static double with_file(const char *path, void (*op)(void *))
{
    int fd = open(path, O_RDONLY);
    double r;

    check(fd, path);
    r = measure(op, &fd);
    close(fd);
    return r;
}

static double wl_read_zero(void)
{
    return with_file("/dev/zero", op_read1);
}

static double wl_pread(void)
{
    return with_file(self_path, op_pread);
}

static double wl_open_close(void)
{
    return measure(op_open_close, (void *)self_path);
}

static double wl_pipe(void)
{
    int fd[2];
    double r;

    check(pipe(fd), "pipe");
    r = measure(op_pipe, fd);
    close(fd[0]);
    close(fd[1]);
    return r;
}

/* A round trip between two processes. */
static double wl_pingpong(void)
{
    int sv[2];
    double r;
    pid_t pid;

    check(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), "socketpair");
    pid = fork();
    check(pid, "fork");
    if (pid == 0) {
        char c;

        close(sv[0]);
        while (read(sv[1], &c, 1) == 1)
            if (write(sv[1], &c, 1) != 1)
                break;
        _exit(0);
    }
    close(sv[1]);
    r = measure(op_pingpong, &sv[0]);
    close(sv[0]);
    waitpid(pid, NULL, 0);
    return r;
}

/* Per 4 KiB page of a 256 MiB mapping; the fastest of three. */
static double wl_first_touch(void)
{
    size_t len = 256UL << 20;
    double best = 1e18;

    for (int i = 0; i < 3; i++) {
        char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int64_t start = now_ns();
        double per;

        if (p == MAP_FAILED)
            die("mmap");
        for (size_t off = 0; off < len; off += PAGE)
            *(volatile char *)(p + off) = 1;
        per = (double)(now_ns() - start) / (double)(len / PAGE);
        if (per < best)
            best = per;
        munmap(p, len);
    }
    return best;
}

/* Eight threads in a ring hand a byte on through pipes: every hand-over is a context switch. */
#define STORM_THREADS 8
#define STORM_ROUNDS  400

static int storm_pipe[STORM_THREADS][2];

static void *storm_thread(void *arg)
{
    long i = (long)arg;
    char c;

    for (int n = 0; n < STORM_ROUNDS; n++) {
        check(read(storm_pipe[i][0], &c, 1), "read");
        check(write(storm_pipe[(i + 1) % STORM_THREADS][1], &c, 1), "write");
    }
    return NULL;
}

static double wl_storm(void)
{
    pthread_t th[STORM_THREADS];
    int64_t start;
    double r;
    char c = 1;

    for (int i = 0; i < STORM_THREADS; i++)
        check(pipe(storm_pipe[i]), "pipe");
    for (long i = 0; i < STORM_THREADS; i++)
        if (pthread_create(&th[i], NULL, storm_thread, (void *)i))
            die("pthread_create");
    start = now_ns();
    /* Two bytes in the ring, so that several threads are runnable at a time. */
    check(write(storm_pipe[0][1], &c, 1), "write");
    check(write(storm_pipe[STORM_THREADS / 2][1], &c, 1), "write");
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(th[i], NULL);
    r = (double)(now_ns() - start) / (STORM_THREADS * STORM_ROUNDS);
    for (int i = 0; i < STORM_THREADS; i++) {
        close(storm_pipe[i][0]);
        close(storm_pipe[i][1]);
    }
    return r;
}

/*
 * Many threads that all make calls and do nothing else, from when all of them exist until the last has made its last call: time
 * of the whole, per call and CPU. With a platform that keeps its cost this is what one thread's call takes.
 */
#define CROWD_THREADS 64
#define CROWD_CALLS   400

struct crowd {
    pthread_barrier_t ready;
    atomic_int left;
    int64_t end;
};

static void *crowd_thread(void *arg)
{
    struct crowd *c = arg;

    pthread_barrier_wait(&c->ready);
    for (int i = 0; i < CROWD_CALLS; i++)
        op_getppid_inline(NULL);
    if (atomic_fetch_sub(&c->left, 1) == 1)
        c->end = now_ns();
    return NULL;
}

static double wl_crowd(void)
{
    struct crowd c = {.left = CROWD_THREADS};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t th[CROWD_THREADS];
    int64_t start;
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        cpus = CPU_COUNT(&set);
    pthread_barrier_init(&c.ready, NULL, CROWD_THREADS + 1);
    for (int i = 0; i < CROWD_THREADS; i++)
        if (pthread_create(&th[i], NULL, crowd_thread, &c))
            die("pthread_create");
    start = now_ns();
    pthread_barrier_wait(&c.ready);
    for (int i = 0; i < CROWD_THREADS; i++)
        pthread_join(th[i], NULL);
    pthread_barrier_destroy(&c.ready);
    return (double)(c.end - start) * (double)cpus / (CROWD_THREADS * CROWD_CALLS);
}

/* Either an operation without an argument, or a function that prepares one. */
static const struct {
    const char *name;
    void (*op)(void *arg);
    double (*run)(void);
} workloads[] = {
    {"getpid", op_getpid, NULL},
    {"getppid-inline", op_getppid_inline, NULL},
    {"getppid-libc", op_getppid_libc, NULL},
    {"getppid-bare", op_getppid_bare, NULL},
    {"clock_gettime", op_clock_gettime, NULL},
    {"read-zero", NULL, wl_read_zero},
    {"pread-4k", NULL, wl_pread},
    {"open-close", NULL, wl_open_close},
    {"pipe", NULL, wl_pipe},
    {"unix-pingpong", NULL, wl_pingpong},
    {"mmap-touch-munmap", op_mmap, NULL},
    {"first-touch", NULL, wl_first_touch},
    {"fork", op_fork, NULL},
    {"fork-exec", op_exec, NULL},
    {"switch-storm", NULL, wl_storm},
    {"getppid-64threads", NULL, wl_crowd},
};

static int time_command(const char *name, char **argv)
{
    int64_t start = now_ns();
    pid_t pid = fork();
    int status;

    check(pid, "fork");
    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is for results */
        execvp(argv[0], argv);
        _exit(127);
    }
    check(waitpid(pid, &status, 0), "waitpid");
    if (status != 0) {
        fprintf(stderr, "%s: %s failed\n", name, argv[0]);
        return 1;
    }
    printf("%s\t%.1f\n", name, (double)(now_ns() - start));
    return 0;
}

int main(int argc, char **argv)
{
    size_t n = sizeof(workloads) / sizeof(workloads[0]);

    if (argc > 1 && !strcmp(argv[1], "true"))
        return 0;
    if (argc > 3 && !strcmp(argv[1], "time"))
        return time_command(argv[2], argv + 3);
    self_path = argv[0];
    for (size_t i = 0; i < n; i++) {
        int wanted = argc == 1;

        for (int j = 1; j < argc; j++)
            wanted |= !strcmp(argv[j], workloads[i].name);
        if (wanted) {
            printf("%s\t%.1f\n", workloads[i].name, workloads[i].op ? measure(workloads[i].op, NULL) : workloads[i].run());
            fflush(stdout);
        }
    }
    return 0;
}
