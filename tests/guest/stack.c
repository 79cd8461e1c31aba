/* The stack: it grows by itself, as far as RLIMIT_STACK, and keeps its distance from what is below. */
#include "tests/guest/guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PAGE 4096UL

static __attribute__((noinline)) int deep(int n)
{
    volatile char buf[8192];

    buf[0] = (char)n;
    buf[sizeof(buf) - 1] = (char)n;
    return n == 0 ? 0 : deep(n - 1) + (buf[0] == buf[sizeof(buf) - 1]);
}

TEST(grows_on_demand)
{
    CHECK_EQ(deep(500), 500); /* 4 MB */
}

TEST(jumps_over_untouched_pages)
{
    volatile char *p = __builtin_alloca(2 << 20);

    p[0] = 1;
    CHECK_EQ(p[0], 1);
}

TEST(ends_at_its_limit)
{
    struct rlimit lim;
    int status;
    pid_t pid;

    CHECK_OK(getrlimit(RLIMIT_STACK, &lim));
    pid = fork();
    if (pid == 0) {
        struct rlimit small = {1 << 20, lim.rlim_max};
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        setrlimit(RLIMIT_STACK, &small);
        _exit(deep(1000) != 1000); /* other tests may have grown it already */
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

TEST(read_writes_to_the_part_not_yet_there)
{
    volatile char *p = __builtin_alloca(512 << 10);
    int fd[2];

    CHECK_OK(pipe(fd));
    CHECK_EQ(write(fd[1], "abc", 3), 3);
    CHECK_EQ(read(fd[0], (void *)p, 3), 3);
    CHECK_EQ(p[1], 'b');
    close(fd[0]);
    close(fd[1]);
}

TEST(growsdown_mappings_grow)
{
    size_t room = 512 * PAGE;
    char *area = mmap(NULL, room + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

    CHECK(area != MAP_FAILED);
    CHECK_OK(munmap(area, room + PAGE));
    p = mmap(area + room, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK(p == area + room);
    for (size_t i = 1; i < 128; i++)
        *(volatile char *)(p - i * PAGE) = 1;
    CHECK_OK(munmap(p - 127 * PAGE, 128 * PAGE));
}

static volatile sig_atomic_t hit;
static sigjmp_buf out;

static void on_segv(int signo)
{
    hit++;
    siglongjmp(out, 1);
}

TEST(the_guard_gap_stops_growth)
{
    size_t room = 1024 * PAGE;
    char *area = mmap(NULL, room + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p, *wall;
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536}, none = {.ss_flags = SS_DISABLE};
    struct sigaction sa = {.sa_handler = on_segv, .sa_flags = SA_ONSTACK};

    CHECK_OK(munmap(area, room + PAGE));
    p = mmap(area + room, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    wall = mmap(area, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(p == area + room && wall == area);
    sigaltstack(&ss, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    hit = 0;
    *(volatile char *)(area + 400 * PAGE) = 1; /* far enough from the wall */
    CHECK_EQ(hit, 0);
    if (sigsetjmp(out, 1) == 0)
        *(volatile char *)(area + 100 * PAGE) = 1;
    CHECK_EQ(hit, 1);
    signal(SIGSEGV, SIG_DFL);
    sigaltstack(&none, NULL);
    free(ss.ss_sp);
    munmap(area, room + PAGE);
}

static void *thread_main(void *arg)
{
    return (void *)(long)deep((int)(long)arg);
}

TEST(threads_have_stacks_of_their_own)
{
    pthread_t th[8];
    void *r;

    for (long i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&th[i], NULL, thread_main, (void *)(100 + i)), 0);
    for (long i = 0; i < 8; i++) {
        pthread_join(th[i], &r);
        CHECK_EQ((long)r, 100 + i);
    }
}

TEST(maps_shows_it)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], *here = (char *)&line;
    int found = 0;

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        unsigned long start, end;
        if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &start, &end) == 2)
            found = (unsigned long)here >= start && (unsigned long)here < end;
    }
    fclose(f);
    CHECK(found);
}
TEST_MAIN()
