/* madvise(2), process_madvise(2). */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

static char *map(int flags)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    memset(p, 5, 4 * PAGE);
    return p;
}

TEST(dontneed_zeroes_private_memory)
{
    char *p = map(MAP_PRIVATE), *s = map(MAP_SHARED);

    CHECK_OK(madvise(p + PAGE, PAGE, MADV_DONTNEED));
    CHECK_EQ(p[0], 5);
    CHECK_EQ(p[PAGE], 0);
    CHECK_EQ(p[2 * PAGE], 5);
    CHECK_OK(madvise(s, 4 * PAGE, MADV_DONTNEED));
    CHECK_EQ(s[0], 5); /* shared memory keeps its contents */
    munmap(p, 4 * PAGE);
    munmap(s, 4 * PAGE);
}

TEST(remove_punches_shared_memory)
{
    char *s = map(MAP_SHARED), *p = map(MAP_PRIVATE);

    CHECK_OK(madvise(s + PAGE, PAGE, MADV_REMOVE));
    CHECK_EQ(s[0], 5);
    CHECK_EQ(s[PAGE], 0);
    CHECK_EQ(s[2 * PAGE], 5);
    CHECK_ERR(madvise(p, PAGE, MADV_REMOVE), EINVAL);
    munmap(p, 4 * PAGE);
    munmap(s, 4 * PAGE);
}

TEST(free_keeps_what_is_written_afterwards)
{
    char *p = map(MAP_PRIVATE), *s = map(MAP_SHARED);

    CHECK_OK(madvise(p, 4 * PAGE, MADV_FREE));
    p[0] = 6;
    CHECK_EQ(p[0], 6);
    CHECK(p[PAGE] == 0 || p[PAGE] == 5);
    CHECK_ERR(madvise(s, PAGE, MADV_FREE), EINVAL);
    munmap(p, 4 * PAGE);
    munmap(s, 4 * PAGE);
}

TEST(fork_advice)
{
    char *gone = map(MAP_PRIVATE), *wiped = map(MAP_PRIVATE), *kept = map(MAP_PRIVATE), *s = map(MAP_SHARED);
    int status;

    CHECK_OK(madvise(gone, 4 * PAGE, MADV_DONTFORK));
    CHECK_OK(madvise(wiped, 4 * PAGE, MADV_WIPEONFORK));
    CHECK_OK(madvise(kept, 4 * PAGE, MADV_WIPEONFORK));
    CHECK_OK(madvise(kept, 4 * PAGE, MADV_KEEPONFORK));
    CHECK_ERR(madvise(s, 4 * PAGE, MADV_WIPEONFORK), EINVAL);
    if (fork() == 0) {
        unsigned char vec;
        if (wiped[0] != 0 || kept[0] != 5)
            _exit(1);
        _exit(mincore(gone, PAGE, &vec) != -1 || errno != ENOMEM);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
    CHECK_EQ(wiped[0], 5);
    munmap(gone, 4 * PAGE);
    munmap(wiped, 4 * PAGE);
    munmap(kept, 4 * PAGE);
    munmap(s, 4 * PAGE);
}

TEST(populate)
{
    unsigned char vec[4];
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    CHECK_OK(madvise(p, 4 * PAGE, MADV_POPULATE_WRITE));
    CHECK_OK(mincore(p, 4 * PAGE, vec));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(vec[i] & 1, 1);
    CHECK_OK(mprotect(p, PAGE, PROT_READ));
    CHECK_OK(madvise(p, 4 * PAGE, MADV_POPULATE_READ));
    CHECK_ERR(madvise(p, 4 * PAGE, MADV_POPULATE_WRITE), EINVAL);
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(madvise(p, 4 * PAGE, MADV_POPULATE_READ), ENOMEM);
    munmap(p, 4 * PAGE);
}

TEST(accepted_advice)
{
    static const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP, 20, 21};
    char *p = map(MAP_PRIVATE);

    for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
        CHECK_OK(madvise(p, 4 * PAGE, advice[i]));
    CHECK_EQ(p[0], 5);
    munmap(p, 4 * PAGE);
}

TEST(errors)
{
    char *p = map(MAP_PRIVATE);

    CHECK_ERR(madvise(p + 1, PAGE, MADV_NORMAL), EINVAL);
    CHECK_ERR(madvise(p, PAGE, 12345), EINVAL);
    CHECK_ERR(madvise(p, PAGE, 5), EINVAL);
    CHECK_ERR(madvise(p, -PAGE + 1, MADV_NORMAL), EINVAL);
    CHECK_OK(madvise(p, 0, MADV_NORMAL));
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(madvise(p, 4 * PAGE, MADV_DONTNEED), ENOMEM);
    CHECK_EQ(p[2 * PAGE], 0); /* it went on behind the hole */
    CHECK_ERR(madvise(p + PAGE, PAGE, MADV_DONTNEED), ENOMEM);
    if (mlock(p, PAGE) == 0) {
        CHECK_ERR(madvise(p, PAGE, MADV_DONTNEED), EINVAL);
        munlock(p, PAGE);
    }
    munmap(p, 4 * PAGE);
}

TEST(of_another_process)
{
    char *p = map(MAP_PRIVATE);
    struct iovec iov = {p, 4 * PAGE};
    int fd = (int)syscall(434, getpid(), 0);

    if (fd < 0)
        SKIP("no pidfd_open");
    CHECK_EQ(syscall(440, fd, &iov, 1, 20, 0), 4 * PAGE);
    CHECK_ERR(syscall(440, fd, &iov, 1, 20, 1), EINVAL);
    CHECK_ERR(syscall(440, -1, &iov, 1, 20, 0), EBADF);
    CHECK_ERR(syscall(440, fd, &iov, 1, 12345, 0), EINVAL);
    close(fd);
    munmap(p, 4 * PAGE);
}
TEST_MAIN()
