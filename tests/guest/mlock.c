/* mlock(2) and its family: limits and accounting. */
#include "tests/guest/guest_test.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static long vm_lck(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kb = -1;

    while (f && fgets(line, sizeof(line), f))
        sscanf(line, "VmLck: %ld", &kb);
    if (f)
        fclose(f);
    return kb;
}

TEST(locks_are_counted_and_resident)
{
    unsigned char vec[8];
    char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    CHECK_EQ(vm_lck(), 0);
    CHECK_OK(mlock(p + 100, 2 * PAGE)); /* three pages are met */
    CHECK_EQ(vm_lck(), 12);
    CHECK_OK(mincore(p, 8 * PAGE, vec));
    CHECK_EQ(vec[0] & vec[1] & vec[2] & 1, 1);
    CHECK_OK(munlock(p + PAGE, PAGE));
    CHECK_EQ(vm_lck(), 8);
    CHECK_OK(munmap(p, 8 * PAGE));
    CHECK_EQ(vm_lck(), 0);
}

TEST(lock_on_fault)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    CHECK_OK(syscall(SYS_mlock2, p, 4 * PAGE, 1));
    CHECK_EQ(vm_lck(), 16);
    CHECK_ERR(syscall(SYS_mlock2, p, 4 * PAGE, 2), EINVAL);
    munmap(p, 4 * PAGE);
}

TEST(all_memory)
{
    int status;

    if (fork() == 0) {
        CHECK_ERR(mlockall(0), EINVAL);
        CHECK_ERR(mlockall(MCL_ONFAULT), EINVAL);
        CHECK_ERR(mlockall(8), EINVAL);
        CHECK_OK(mlockall(MCL_CURRENT | MCL_FUTURE));
        long before = vm_lck();
        CHECK(before > 0);
        CHECK(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0) != MAP_FAILED);
        CHECK_EQ(vm_lck(), before + 16);
        CHECK_OK(munlockall());
        CHECK_EQ(vm_lck(), 0);
        _exit(0);
    }
    CHECK_OK(wait(&status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        CHECK_EQ(status, 0);
}

TEST(locks_are_not_inherited)
{
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    int status;

    CHECK_OK(mlock(p, PAGE));
    if (fork() == 0)
        _exit(vm_lck() != 0);
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
    munmap(p, PAGE);
}

TEST(limits_of_the_unprivileged)
{
    struct rlimit lim = {4 * PAGE, 4 * PAGE}, none = {0, 0};
    int status;

    if (fork() == 0) {
        char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
        CHECK_OK(setrlimit(RLIMIT_MEMLOCK, &lim));
        if (geteuid() == 0)
            CHECK_OK(setresuid(65534, 65534, 65534));
        CHECK_OK(mlock(p, 4 * PAGE));
        CHECK_OK(mlock(p, 4 * PAGE)); /* again costs nothing */
        CHECK_ERR(mlock(p + 4 * PAGE, PAGE), ENOMEM);
        CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, ANON | MAP_LOCKED, -1, 0), EAGAIN);
        CHECK_ERR(mlockall(MCL_CURRENT), ENOMEM);
        CHECK_OK(munlock(p, 8 * PAGE));
        CHECK_OK(setrlimit(RLIMIT_MEMLOCK, &none));
        CHECK_ERR(mlock(p, PAGE), EPERM);
        CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, ANON | MAP_LOCKED, -1, 0), EPERM);
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
}

TEST(errors)
{
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(mlock(p, 3 * PAGE), ENOMEM);
    CHECK_ERR(munlock(p, 3 * PAGE), ENOMEM);
    CHECK_OK(munlock(p, PAGE));
    CHECK_OK(mlock(p, 0));
    munmap(p, 3 * PAGE);
}
TEST_MAIN()
