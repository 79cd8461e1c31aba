/*
 * The guest half of the system-call fuzzer (tests/sentry/fuzz is the host's). It is a container's init and makes worker after
 * worker, each of which makes random system calls on several threads, with arguments that fit their kinds in table.def more
 * often than not. A worker may do to itself what it likes. What counts is that the sentry survives, and lets everything be
 * killed.
 *
 *     fuzz_calls SEED SECONDS [COUNT]
 *
 * Prints "worker SEED" before each one, so that the last line names the one to run again alone (COUNT 1); then "done" and
 * waits for the end of stdin, for whoever wants to look at what is left in the sentry.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    THREADS = 3,
    CALLS = 250,      /* of a thread */
    CHILD_CALLS = 12, /* of a child that a call has made */
    WORKER_MS = 400,  /* a worker that sleeps somewhere is killed after this */
    DEATH_MS = 20000, /* and has to be gone after this, however busy the machine */
    ARENA = 64 * 4096,
};

static const struct call {
    int nr;
    const char *name, *args;
} table[] = {
#define SYSCALL(nr, name, handler, support, args) {nr, #name, args},
#include "sentry/syscalls/table.def"
#undef SYSCALL
};

/* These end the worker or the container, which is no news. */
static const int skipped[] = {SYS_exit, SYS_exit_group, SYS_reboot, SYS_vfork, SYS_rt_sigreturn};

static const char *const paths[] = {
    "/tmp/a",
    "/tmp/b",
    "/tmp/dir",
    "/tmp/dir/x",
    "/tmp/link",
    "/tmp",
    "/",
    ".",
    "..",
    "",
    "a",
    "dir",
    "../tmp/a",
    "/tmp/fifo",
    "/tmp/sock",
    "/root/on-host",
    "/root",
    "/etc/none",
    "/bin/busybox",
    "/fuzz_calls",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/pts/0",
    "/dev/fd/3",
    "/dev/shm",
    "/proc",
    "/proc/self/mem",
    "/proc/self/maps",
    "/proc/self/status",
    "/proc/self/fd/5",
    "/proc/self/exe",
    "/proc/self/cwd/a",
    "/proc/self/root",
    "/proc/self/smaps",
    "/proc/self/mountinfo",
    "/proc/self/ns/mnt",
    "/proc/self/oom_score_adj",
    "/proc/self/comm",
    "/proc/self/environ",
    "/proc/self/stat",
    "/proc/self/pagemap",
    "/proc/self/task",
    "/proc/1/stat",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/mounts",
    "/proc/net/tcp",
    "/proc/net/unix",
    "/proc/locks",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/core/somaxconn",
    "/proc/sysvipc/shm",
    "/sys",
    "/sys/devices/system/cpu",
    "/sys/class/net",
    "/tmp/a/b/c",
    "//tmp//a//",
    "/tmp/./dir/../b",
    "user.x",
    "trusted.y",
    "tmpfs",
    "proc",
    "overlay",
    "lowerdir=/root,upperdir=/tmp/dir,workdir=/tmp",
    "size=4k",
    "\xff\xfe",
    "%s%n",
};

static const uint64_t edges[] = {
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    64,
    127,
    128,
    255,
    256,
    511,
    512,
    4095,
    4096,
    4097,
    65535,
    65536,
    1 << 20,
    (1 << 20) + 1,
    INT32_MAX,
    1ULL << 31,
    UINT32_MAX,
    1ULL << 32,
    1ULL << 40,
    (1ULL << 47) - 4096,
    1ULL << 47,
    1ULL << 62,
    INT64_MAX,
    1ULL << 63,
    UINT64_MAX - 4095,
    UINT64_MAX - 1,
    UINT64_MAX,
};

static const unsigned int ioctls[] = {
    0x5401, 0x5402, 0x5403,     0x5404,     0x5405,     0x5409,     0x540b, 0x540e,     0x540f, 0x5410, 0x5411,     0x5412,
    0x5413, 0x5414, 0x541b,     0x541d,     0x5420,     0x5421,     0x5422, 0x5429,     0x5432, 0x5441, 0x5450,     0x5451,
    0x5452, 0x5460, 0x80045430, 0x40045431, 0x802c542a, 0x402c542b, 0x8912, 0x8913,     0x8914, 0x8915, 0x8927,     0x8933,
    0x8904, 0x890b, 0x80086601, 0x40086602, 0xc0206611, 0x5421,     0x1260, 0x80081272, 0xb701, 0xb703, 0xc0686611,
};

static unsigned char *arena; /* then a page that cannot be read, and one that cannot be written */
static int budget_of_children;

struct rng {
    uint64_t s;
};

static uint64_t next(struct rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static uint64_t below(struct rng *r, uint64_t n)
{
    return next(r) % n;
}

static uint64_t edge(struct rng *r)
{
    return edges[below(r, sizeof(edges) / sizeof(edges[0]))];
}

static uint64_t pointer(struct rng *r)
{
    switch (below(r, 16)) {
    case 0:
        return 0;
    case 1:
        return (uint64_t)arena + ARENA - below(r, 64); /* runs into the page that is not there */
    case 2:
        return (uint64_t)arena + ARENA + 4096 + below(r, 64) * 8;
    case 3:
        return edge(r);
    default:
        return (uint64_t)arena + below(r, ARENA / 64) * 64 + (below(r, 8) ? 0 : below(r, 64));
    }
}

static uint64_t number(struct rng *r)
{
    switch (below(r, 8)) {
    case 0:
        return edge(r);
    case 1:
        return next(r);
    case 2:
        return 1ULL << below(r, 64);
    case 3:
        return (1ULL << below(r, 32)) | (1ULL << below(r, 32));
    default:
        return below(r, 24);
    }
}

/* What the calls will find behind their pointers: vectors, times, descriptors, names, nonsense. */
static void fill_arena(struct rng *r)
{
    uint64_t *w = (uint64_t *)(arena + below(r, ARENA / 4096) * 4096);

    for (size_t i = 0; i < 512; i++) {
        switch (below(r, 10)) {
        case 0:
            w[i] = pointer(r);
            break;
        case 1:
            w[i] = number(r);
            break;
        case 2:
            w[i] = below(r, 40) | below(r, 40) << 32;
            break;
        case 3:
            w[i] = below(r, 1000000000);
            break;
        case 4:
            memcpy(&w[i], "/tmp/a\0", 8);
            break;
        case 5:
            w[i] = (below(r, 3) ? below(r, 42) : AF_NETLINK) | next(r) << 16; /* an address family and the rest */
            break;
        default:
            w[i] = below(r, 16);
        }
    }
}

static uint64_t argument(struct rng *r, char kind)
{
    switch (kind) {
    case 'f':
        return below(r, 12) ? 3 + below(r, 40) : number(r);
    case 'D':
        return below(r, 2) ? (uint64_t)AT_FDCWD : 3 + below(r, 40);
    case 's':
        if (below(r, 8) == 0)
            return pointer(r);
        return (uint64_t)paths[below(r, sizeof(paths) / sizeof(paths[0]))];
    case 'p':
    case 'b':
    case 'v':
    case 't':
    case 'S':
    case 'I':
    case 'w':
    case 'a':
        return pointer(r);
    case 'z':
        return below(r, 3) ? below(r, 8192) : edge(r);
    case 'g':
        return below(r, 70);
    case 'i':
        return below(r, 6) ? ioctls[below(r, sizeof(ioctls) / sizeof(ioctls[0]))] : next(r);
    case 'P':
        return below(r, 8);
    case 'o':
        return below(r, 010000);
    default:
        return number(r);
    }
}

static void one_call(struct rng *r)
{
    const struct call *c;
    uint64_t a[6] = {0};
    pid_t self = getpid();
    bool skip;

    do {
        c = &table[below(r, sizeof(table) / sizeof(table[0]))];
        skip = false;
        for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++)
            skip |= skipped[i] == c->nr;
    } while (skip);
    for (size_t i = 0; i < 6 && c->args[i]; i++)
        a[i] = argument(r, c->args[i]);
    /* A few calls want more than kinds say to be worth it. */
    if (c->nr == SYS_mmap && below(r, 4))
        a[0] = 0, a[1] &= 0xfffff, a[3] = (below(r, 2) ? MAP_PRIVATE : MAP_SHARED) | (below(r, 2) ? MAP_ANONYMOUS : 0);
    if ((c->nr == SYS_mmap || c->nr == SYS_mremap) && below(r, 8))
        a[1] &= 0xffffff; /* all of memory, now and then only */
    if (c->nr == SYS_clone)
        a[1] = below(r, 4) ? 0 : (uint64_t)arena + ARENA / 2, a[0] &= below(r, 4) ? ~(uint64_t)(CLONE_VM | CLONE_VFORK) : ~0ULL;
    if (c->nr == SYS_kill || c->nr == SYS_tkill || c->nr == SYS_tgkill)
        a[0] = below(r, 3) ? (uint64_t)self : below(r, 30);
    if (c->nr == SYS_socket || c->nr == SYS_socketpair)
        a[0] = below(r, 2) ? AF_UNIX : below(r, 20), a[1] = 1 + below(r, 6), a[2] = below(r, 3) ? 0 : below(r, 20);
    /* Who makes the workers must be left able to: it is fair to stop or change it, but ends the test. */
    if ((c->nr == SYS_ptrace && a[1] == 1) || ((c->nr == SYS_prlimit64 || c->nr == SYS_process_vm_writev) && a[0] == 1))
        return;
    syscall(c->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (getpid() != self) { /* a child, which does a little and goes */
        if (budget_of_children-- <= 0)
            _exit(0);
        for (int i = 0; i < CHILD_CALLS; i++)
            one_call(r);
        _exit(0);
    }
}

/* Returns from a signal by a frame with some of it changed: the sentry restores registers from guest memory. */
static void scribble_on_frame(int signo, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    struct rng r = {(uint64_t)time(NULL) ^ (uint64_t)(uintptr_t)&r ^ (uint64_t)getpid() << 20};
    unsigned char *fp = (unsigned char *)uc->uc_mcontext.fpregs;

    for (int i = 0; i < 3; i++) {
        switch (below(&r, 4)) {
        case 0:
            ((uint64_t *)uc)[below(&r, sizeof(*uc) / 8)] = number(&r);
            break;
        case 1:
            uc->uc_mcontext.gregs[below(&r, 23)] = (greg_t)number(&r);
            break;
        case 2:
            if (fp)
                ((uint64_t *)fp)[below(&r, 600 / 8)] = number(&r);
            break;
        default:
            uc->uc_mcontext.fpregs = (void *)pointer(&r);
        }
    }
}

static void ignore(int signo)
{
}

static void *thread(void *arg)
{
    struct rng r = {(uint64_t)(uintptr_t)arg};

    for (int i = 0; i < CALLS; i++) {
        if (i % 8 == 0)
            fill_arena(&r);
        if (below(&r, 200) == 0)
            raise(SIGUSR2);
        one_call(&r);
    }
    return NULL;
}

/* Something of every kind that a descriptor can be. */
static void open_things(void)
{
    int p[2];

    mkdir("/tmp/dir", 0777);
    mkfifo("/tmp/fifo", 0666);
    symlink("/tmp/dir/../a", "/tmp/link");
    open("/tmp/a", O_RDWR | O_CREAT, 0666);
    open("/tmp/b", O_RDWR | O_CREAT | O_APPEND, 0666);
    open("/root/on-host", O_RDWR | O_CREAT, 0666);
    open("/tmp", O_RDONLY | O_DIRECTORY);
    open("/root", O_PATH);
    open("/proc/self", O_RDONLY | O_DIRECTORY);
    open("/proc/self/mem", O_RDWR);
    open("/dev/zero", O_RDWR);
    open("/dev/ptmx", O_RDWR | O_NOCTTY);
    open("/tmp/fifo", O_RDWR | O_NONBLOCK);
    pipe(p);
    pipe2(p, O_NONBLOCK);
    for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++)
        socketpair(AF_UNIX, type, 0, p);
    socket(AF_UNIX, SOCK_STREAM, 0);
    socket(AF_INET, SOCK_STREAM, 0);
    socket(AF_INET, SOCK_DGRAM, 0);
    socket(AF_INET6, SOCK_STREAM, 0);
    socket(AF_NETLINK, SOCK_RAW, 0);
    epoll_create1(0);
    eventfd(3, 0);
    timerfd_create(CLOCK_MONOTONIC, 0);
    signalfd(-1, &(sigset_t){{1 << (SIGUSR1 - 1)}}, 0);
    inotify_init1(IN_NONBLOCK);
    syscall(SYS_memfd_create, "m", 2);
    syscall(SYS_pidfd_open, getpid(), 0);
}

static _Noreturn void worker(uint64_t seed)
{
    static const struct {
        int resource;
        rlim_t max;
    } limits[] = {{RLIMIT_AS, 1 << 30}, {RLIMIT_FSIZE, 8 << 20}, {RLIMIT_NPROC, 64}, {RLIMIT_CPU, 5}, {RLIMIT_NOFILE, 200}};
    pthread_t other[THREADS - 1];
    struct rng r = {seed};

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        setrlimit(limits[i].resource, &(struct rlimit){limits[i].max, limits[i].max});
    for (int fd = 0; fd < 3; fd++)
        dup2(open("/dev/null", O_RDWR), fd);
    unshare(CLONE_NEWNS);
    unshare(CLONE_NEWIPC);
    unshare(CLONE_NEWUTS);
    budget_of_children = 20;
    arena = mmap(NULL, ARENA + 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(arena + ARENA, 4096, PROT_NONE);
    mprotect(arena + ARENA + 4096, 8192, PROT_READ);
    for (int i = 0; i < ARENA / 4096; i++)
        fill_arena(&r);
    open_things();
    signal(SIGALRM, ignore);
    siginterrupt(SIGALRM, 1);
    sigaction(SIGUSR2, &(struct sigaction){.sa_sigaction = scribble_on_frame, .sa_flags = SA_SIGINFO}, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 5000}, {0, 5000}}, NULL);
    if (below(&r, 2))
        setuid(1000);
    for (int i = 0; i < THREADS - 1; i++)
        pthread_create(&other[i], NULL, thread, (void *)(uintptr_t)next(&r));
    thread((void *)(uintptr_t)next(&r));
    _exit(0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    if (ftw->level > 0)
        remove(path);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Waits until there is no child any more; false when time is up. */
static bool reap_all(int64_t until)
{
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);

        if (pid < 0 && errno == ECHILD)
            return true;
        if (pid == 0) {
            if (now_ms() > until)
                return false;
            usleep(2000);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 2 ? strtoull(argv[1], NULL, 0) : 0;
    int64_t end = now_ms() + 1000 * (argc > 2 ? atoi(argv[2]) : 0);
    long count = argc > 3 ? atol(argv[3]) : -1;
    char c;

    if (argc < 3)
        return 0; /* a worker has executed us */
    if (getpid() != 1)
        return 1; /* not on anybody's own system */
    for (; count != 0 && now_ms() < end; count--, seed++) {
        pid_t pid;

        dprintf(STDOUT_FILENO, "worker %llu\n", (unsigned long long)seed);
        pid = fork();
        if (pid == 0)
            worker(seed);
        if (pid < 0)
            return 2;
        if (!reap_all(now_ms() + WORKER_MS)) {
            int64_t until = now_ms() + DEATH_MS;

            do {
                kill(-1, SIGKILL);
                kill(-1, SIGCONT);
            } while (!reap_all(now_ms() + 500) && now_ms() < until);
            if (!reap_all(now_ms())) {
                dprintf(STDOUT_FILENO, "cannot be killed\n");
                return 3;
            }
        }
        nftw("/tmp", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    dprintf(STDOUT_FILENO, "done\n");
    return read(STDIN_FILENO, &c, 1) < 0;
}
