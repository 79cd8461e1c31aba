/* Many threads that change one address space at once, with system calls on memory that comes and goes. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define PAGE    4096UL
#define ANON    (MAP_PRIVATE | MAP_ANONYMOUS)
#define THREADS 6
#define ROUNDS  400

static volatile int failed_line;
static char *arena; /* changed by all: what is in it is anybody's guess, but nobody may crash */

#define EXPECT(cond)                \
    do {                            \
        if (!(cond))                \
            failed_line = __LINE__; \
    } while (0)

static void run(void *(*fn)(void *))
{
    pthread_t th[THREADS];

    failed_line = 0;
    for (long i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&th[i], NULL, fn, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    CHECK_EQ(failed_line, 0);
}

static void *own_mappings(void *arg)
{
    unsigned int seed = (unsigned int)(long)arg;

    for (int i = 0; i < ROUNDS; i++) {
        size_t pages = 1 + (size_t)rand_r(&seed) % 40;
        char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0), *q;
        EXPECT(p != MAP_FAILED);
        for (size_t j = 0; j < pages; j++) {
            EXPECT(p[j * PAGE] == 0);
            p[j * PAGE] = (char)((long)arg + (long)j);
        }
        if (i % 3 == 0) {
            q = mremap(p, pages * PAGE, (pages + 20) * PAGE, MREMAP_MAYMOVE);
            EXPECT(q != MAP_FAILED);
            p = q;
            munmap(p + pages * PAGE, 20 * PAGE);
        }
        if (i % 5 == 0) {
            EXPECT(mprotect(p, pages * PAGE, PROT_READ) == 0);
            EXPECT(mprotect(p, pages * PAGE, PROT_READ | PROT_WRITE) == 0);
        }
        for (size_t j = 0; j < pages; j++)
            EXPECT(p[j * PAGE] == (char)((long)arg + (long)j));
        EXPECT(munmap(p, pages * PAGE) == 0);
    }
    return NULL;
}

TEST(each_thread_sees_its_own_mappings_only)
{
    run(own_mappings);
}

static void *first_touch(void *arg)
{
    for (size_t i = 0; i < 4096; i++)
        __atomic_fetch_add(&arena[i * PAGE], 1, __ATOMIC_RELAXED);
    return NULL;
}

TEST(threads_that_touch_the_same_pages_first_find_one_page)
{
    arena = mmap(NULL, 4096 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    run(first_touch);
    for (size_t i = 0; i < 4096; i++)
        CHECK_EQ(arena[i * PAGE], THREADS);
    munmap(arena, 4096 * PAGE);
}

static void *calls_on_vanishing_memory(void *arg)
{
    unsigned int seed = (unsigned int)(long)arg + 77;
    int zero = open("/dev/zero", O_RDONLY), fd[2];

    EXPECT(pipe(fd) == 0);
    for (int i = 0; i < ROUNDS * 3; i++) {
        size_t at = (size_t)rand_r(&seed) % 60 * PAGE, len = (size_t)(1 + rand_r(&seed) % 4) * PAGE;
        ssize_t r;
        switch (rand_r(&seed) % 6) {
        case 0:
            EXPECT(mmap(arena + at, len, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0) == arena + at);
            break;
        case 1:
            EXPECT(munmap(arena + at, len) == 0);
            break;
        case 2:
            mprotect(arena + at, len, rand_r(&seed) % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
            break;
        case 3:
            madvise(arena + at, len, MADV_DONTNEED);
            break;
        case 4:
            r = read(zero, arena + at, len);
            EXPECT(r == -1 ? errno == EFAULT : r > 0);
            break;
        default:
            r = write(fd[1], arena + at, 100);
            EXPECT(r == -1 ? errno == EFAULT : r == 100);
            if (r == 100) {
                r = read(fd[0], arena + at + 200, 100);
                if (r == -1) { /* the bytes are still there: take them out */
                    char buf[100];
                    EXPECT(errno == EFAULT && read(fd[0], buf, 100) == 100);
                } else if (r < 100) {
                    char buf[100];
                    EXPECT(read(fd[0], buf, 100 - (size_t)r) == 100 - r);
                }
            }
        }
    }
    close(zero);
    close(fd[0]);
    close(fd[1]);
    return NULL;
}

TEST(system_calls_survive_memory_that_vanishes)
{
    /* Fenced in, or the stack of a thread that starts later could reach into a hole that others have made at an end. */
    char *fence = mmap(NULL, 66 * PAGE, PROT_NONE, ANON, -1, 0);
    arena = fence + PAGE;
    CHECK_OK(mprotect(arena, 64 * PAGE, PROT_READ | PROT_WRITE));
    run(calls_on_vanishing_memory);
    munmap(fence, 66 * PAGE);
}

static void *fork_and_check(void *arg)
{
    char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    for (int i = 0; i < 15; i++) {
        int status = -1;
        memset(p, i, 16 * PAGE);
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t j = 0; j < 16 * PAGE; j += 128)
                if (p[j] != (char)i)
                    _exit(1);
            _exit(0);
        }
        memset(p, 99, 16 * PAGE);
        EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
    }
    munmap(p, 16 * PAGE);
    return NULL;
}

TEST(threads_that_fork_at_the_same_time)
{
    run(fork_and_check);
}
TEST_MAIN()
