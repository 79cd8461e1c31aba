/* mremap(2). */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#define PAGE 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static sigjmp_buf fault_out;
static volatile int fault_signo;

static void on_fault(int signo)
{
    fault_signo = signo;
    siglongjmp(fault_out, 1);
}

static int touch(volatile char *p)
{
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    fault_signo = 0;
    if (sigsetjmp(fault_out, 1) == 0)
        (void)*p;
    return fault_signo;
}

/* A mapping with room above it. */
static char *map(size_t pages, size_t room)
{
    char *p = mmap(NULL, (pages + room) * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    CHECK(p != MAP_FAILED);
    if (room)
        CHECK_OK(munmap(p + pages * PAGE, room * PAGE));
    for (size_t i = 0; i < pages; i++)
        p[i * PAGE] = (char)('a' + i);
    return p;
}

TEST(grows_in_place_when_there_is_room)
{
    char *p = map(2, 4);

    CHECK(mremap(p, 2 * PAGE, 6 * PAGE, 0) == p);
    CHECK_EQ(p[PAGE], 'b');
    CHECK_EQ(p[5 * PAGE], 0);
    CHECK_ERR((long)mremap(p, 6 * PAGE, 1UL << 46, MREMAP_MAYMOVE), ENOMEM);
    munmap(p, 6 * PAGE);
}

TEST(moves_when_there_is_none)
{
    char *p = map(4, 0), *q;

    CHECK_OK(mprotect(p + 2 * PAGE, 2 * PAGE, PROT_READ)); /* a wall above */
    CHECK_ERR((long)mremap(p, 2 * PAGE, 8 * PAGE, 0), ENOMEM);
    q = mremap(p, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED && q != p);
    CHECK_EQ(q[0], 'a');
    CHECK_EQ(q[PAGE], 'b');
    CHECK_EQ(q[7 * PAGE], 0);
    CHECK_EQ(touch(p), SIGSEGV);
    CHECK_EQ(touch(p + 2 * PAGE), 0);
    munmap(q, 8 * PAGE);
    munmap(p, 4 * PAGE);
}

TEST(shrinks)
{
    char *p = map(4, 0);

    CHECK(mremap(p, 4 * PAGE, PAGE, 0) == p);
    CHECK_EQ(p[0], 'a');
    CHECK_EQ(touch(p + PAGE), SIGSEGV);
    munmap(p, PAGE);
}

TEST(moves_to_a_fixed_place)
{
    char *p = map(2, 0), *q = map(4, 0);

    CHECK(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + PAGE) == q + PAGE);
    CHECK_EQ(q[0], 'a');
    CHECK_EQ(q[PAGE], 'a');
    CHECK_EQ(q[2 * PAGE], 'b');
    CHECK_EQ(q[3 * PAGE], 'd');
    CHECK_EQ(touch(p), SIGSEGV);
    q[2 * PAGE] = 'x';
    CHECK_EQ(q[2 * PAGE], 'x');
    munmap(q, 4 * PAGE);
}

TEST(dontunmap_leaves_an_empty_mapping)
{
    char *p = map(2, 0), *q = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

    CHECK(q != MAP_FAILED && q != p);
    CHECK_EQ(q[PAGE], 'b');
    CHECK_EQ(p[PAGE], 0);
    munmap(p, 2 * PAGE);
    munmap(q, 2 * PAGE);
}

TEST(length_zero_duplicates_a_shared_mapping)
{
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *q;

    q = mremap(p, 0, PAGE, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED && q != p);
    p[5] = 9;
    CHECK_EQ(q[5], 9);
    munmap(q, PAGE);
    munmap(p, PAGE);
}

TEST(file_offsets_move_along)
{
    char name[] = "/tmp/mremapXXXXXX", *p, *q;
    int fd = mkstemp(name);

    CHECK_OK(ftruncate(fd, 4 * PAGE));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pwrite(fd, &(char){(char)('a' + i)}, 1, i * (off_t)PAGE), 1);
    p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
    CHECK_EQ(p[0], 'b');
    q = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED);
    CHECK_EQ(q[0], 'b');
    CHECK_EQ(q[2 * PAGE], 'd');
    CHECK_EQ(touch(q + 3 * PAGE), SIGBUS);
    q[PAGE] = 'x';
    char c;
    CHECK_EQ(pread(fd, &c, 1, 2 * PAGE), 1);
    CHECK_EQ(c, 'x');
    munmap(q, 4 * PAGE);
    close(fd);
    unlink(name);
}

TEST(errors)
{
    char *p = map(4, 0);

    CHECK_ERR((long)mremap(p + 1, PAGE, PAGE, 0), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, 0, 0), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, PAGE, 0x80), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, PAGE, MREMAP_FIXED, p + 2 * PAGE), EINVAL);
    CHECK_ERR((long)mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_FIXED | MREMAP_MAYMOVE, p + PAGE), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, 2 * PAGE, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, NULL), EINVAL);
    CHECK_ERR((long)mremap(p, 0, PAGE, MREMAP_MAYMOVE), EINVAL);
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR((long)mremap(p, 3 * PAGE, 8 * PAGE, MREMAP_MAYMOVE), EFAULT);
    CHECK_ERR((long)mremap(p + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    munmap(p, 4 * PAGE);
}
TEST_MAIN()
