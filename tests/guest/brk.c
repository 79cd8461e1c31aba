/* brk(2). */
#include "tests/guest/guest_test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE 4096UL

static unsigned long kernel_brk(unsigned long to)
{
    return (unsigned long)syscall(SYS_brk, to);
}

TEST(grows_and_shrinks)
{
    unsigned long start = kernel_brk(0), top = ((start + PAGE - 1) & -PAGE) + 64 * PAGE;

    CHECK_EQ(kernel_brk(top + 5), top + 5);
    memset((void *)start, 1, top - start);
    *(char *)(top + PAGE - 1) = 1; /* pages are whole */
    CHECK_EQ(kernel_brk(top), top);
    CHECK_EQ(kernel_brk(start), start);
    CHECK_EQ(kernel_brk(top), top);
    CHECK_EQ(*(char *)(top - PAGE), 0); /* what was given back is zero when it comes again */
    CHECK_EQ(kernel_brk(start), start);
}

TEST(refusals_return_the_present_end)
{
    unsigned long start = kernel_brk(0);

    CHECK_EQ(kernel_brk(1), start);
    CHECK_EQ(kernel_brk(-PAGE), start);
    CHECK_EQ(kernel_brk(start + (1UL << 46)), start);
}

TEST(does_not_run_into_a_mapping)
{
    unsigned long start = kernel_brk(0), wall = ((start + PAGE - 1) & -PAGE) + 16 * PAGE;

    CHECK(mmap((void *)wall, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)wall);
    CHECK_EQ(kernel_brk(wall), start); /* a page stays free between */
    CHECK_EQ(kernel_brk(wall - PAGE), wall - PAGE);
    CHECK_EQ(kernel_brk(start), start);
    CHECK_OK(munmap((void *)wall, PAGE));
}

TEST(data_limit)
{
    struct rlimit lim = {1UL << 20, 1UL << 20};
    int status;

    if (fork() == 0) {
        unsigned long start = kernel_brk(0);
        CHECK_OK(setrlimit(RLIMIT_DATA, &lim));
        CHECK_EQ(kernel_brk(start + (4UL << 20)), start);
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
}
TEST_MAIN()
