/* Copy-on-write after fork, seen from all sides. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE  4096UL
#define PAGES 600

static char *map(int flags)
{
    char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    for (int i = 0; i < PAGES; i++)
        p[i * PAGE] = (char)i;
    return p;
}

static void check_child(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(writes_of_a_child_do_not_reach_its_parent)
{
    char *p = map(MAP_PRIVATE);
    pid_t pid = fork();

    if (pid == 0) {
        for (int i = 0; i < PAGES; i += 3)
            p[i * PAGE] = 99;
        for (int i = 0; i < PAGES; i++)
            if (p[i * PAGE] != (char)(i % 3 ? i : 99))
                _exit(1);
        _exit(0);
    }
    check_child(pid);
    for (int i = 0; i < PAGES; i++)
        CHECK_EQ(p[i * PAGE], (char)i);
    munmap(p, PAGES * PAGE);
}

TEST(writes_of_a_parent_do_not_reach_its_child)
{
    char *p = map(MAP_PRIVATE), c = 0;
    int fd[2];
    pid_t pid;

    CHECK_OK(pipe(fd));
    pid = fork();
    if (pid == 0) {
        if (read(fd[0], &c, 1) != 1)
            _exit(2);
        for (int i = 0; i < PAGES; i++)
            if (p[i * PAGE] != (char)i)
                _exit(1);
        _exit(0);
    }
    for (int i = 0; i < PAGES; i++)
        p[i * PAGE] = 77;
    CHECK_EQ(write(fd[1], &c, 1), 1);
    check_child(pid);
    close(fd[0]);
    close(fd[1]);
    munmap(p, PAGES * PAGE);
}

TEST(system_calls_break_sharing_too)
{
    char *p = map(MAP_PRIVATE);
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open("/dev/zero", O_RDONLY);
        if (read(fd, p, PAGES * PAGE) != PAGES * PAGE)
            _exit(1);
        for (int i = 0; i < PAGES; i++)
            if (p[i * PAGE])
                _exit(2);
        _exit(0);
    }
    check_child(pid);
    for (int i = 0; i < PAGES; i++)
        CHECK_EQ(p[i * PAGE], (char)i);
    munmap(p, PAGES * PAGE);
}

TEST(generations)
{
    char *p = map(MAP_PRIVATE);

    for (int g = 0; g < 6; g++) {
        pid_t pid = fork();
        if (pid == 0) {
            p[g * PAGE] = 50;
            pid_t inner = fork();
            if (inner == 0) {
                p[g * PAGE] = 51;
                _exit(p[(g + 1) * PAGE] != (char)(g + 1));
            }
            int status;
            waitpid(inner, &status, 0);
            _exit(status || p[g * PAGE] != 50);
        }
        p[(PAGES - 1 - g) * PAGE]++;
        check_child(pid);
        CHECK_EQ(p[g * PAGE], (char)g);
        CHECK_EQ(p[(PAGES - 1 - g) * PAGE], (char)(PAGES - g));
    }
    munmap(p, PAGES * PAGE);
}

TEST(private_file_mappings)
{
    char name[] = "/tmp/cowXXXXXX", c, *p;
    int fd = mkstemp(name);
    pid_t pid;

    CHECK_OK(ftruncate(fd, 64 * PAGE));
    for (int i = 0; i < 64; i++)
        CHECK_EQ(pwrite(fd, &(char){(char)i}, 1, i * (off_t)PAGE), 1);
    p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    p[3 * PAGE] = 100;
    pid = fork();
    if (pid == 0) {
        if (p[3 * PAGE] != 100 || p[4 * PAGE] != 4)
            _exit(1);
        p[4 * PAGE] = 101;
        p[3 * PAGE] = 102;
        _exit(0);
    }
    check_child(pid);
    CHECK_EQ(p[3 * PAGE], 100);
    CHECK_EQ(p[4 * PAGE], 4);
    CHECK_EQ(pread(fd, &c, 1, 3 * PAGE), 1);
    CHECK_EQ(c, 3);
    /* A page that was not written yet shows what the file has. */
    CHECK_EQ(pwrite(fd, "z", 1, 60 * PAGE), 1);
    CHECK_EQ(p[60 * PAGE], 'z');
    munmap(p, 64 * PAGE);
    close(fd);
    unlink(name);
}

static char *shared_page;
static volatile int stop;

static void *writer(void *arg)
{
    unsigned long n = 0;

    while (!stop)
        ((volatile unsigned long *)shared_page)[1] = ++n;
    return (void *)n;
}

TEST(a_thread_that_writes_while_its_process_forks_loses_nothing)
{
    pthread_t th;
    void *n;

    shared_page = map(MAP_PRIVATE);
    stop = 0;
    CHECK_EQ(pthread_create(&th, NULL, writer, NULL), 0);
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            unsigned long a = ((volatile unsigned long *)shared_page)[1];
            usleep(1000);
            _exit(((volatile unsigned long *)shared_page)[1] != a); /* the child's copy stands still */
        }
        check_child(pid);
    }
    stop = 1;
    pthread_join(th, &n);
    CHECK_EQ(((unsigned long *)shared_page)[1], (unsigned long)n);
    munmap(shared_page, PAGES * PAGE);
}
TEST_MAIN()
