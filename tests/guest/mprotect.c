/* mprotect(2), pkeys without hardware, and mseal(2). */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static sigjmp_buf fault_out;
static volatile int fault_signo;

static void on_fault(int signo)
{
    fault_signo = signo;
    siglongjmp(fault_out, 1);
}

static int touch(volatile char *p, int write)
{
    signal(SIGSEGV, on_fault);
    fault_signo = 0;
    if (sigsetjmp(fault_out, 1) == 0) {
        if (write)
            *p = *p + 1;
        else
            (void)*p;
    }
    return fault_signo;
}

/* Lines of /proc/self/maps that lie in [p, p+len). */
static int nr_mappings(char *p, size_t len)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned long start, end;
    char line[512];
    int n = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%lx-%lx", &start, &end) == 2 && start >= (unsigned long)p && end <= (unsigned long)p + len)
            n++;
    if (f)
        fclose(f);
    return n;
}

TEST(protection_changes_take_effect)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    memset(p, 1, 4 * PAGE);
    CHECK_OK(mprotect(p + PAGE, PAGE, PROT_READ));
    CHECK_EQ(touch(p, 1), 0);
    CHECK_EQ(touch(p + PAGE, 0), 0);
    CHECK_EQ(touch(p + PAGE, 1), SIGSEGV);
    CHECK_OK(mprotect(p + PAGE, PAGE, PROT_NONE));
    CHECK_EQ(touch(p + PAGE, 0), SIGSEGV);
    CHECK_OK(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE));
    CHECK_EQ(touch(p + PAGE, 1), 0);
    CHECK_EQ(p[PAGE], 2);
    munmap(p, 4 * PAGE);
}

TEST(mappings_split_and_merge)
{
    char *p = mmap(NULL, 6 * PAGE, PROT_NONE, ANON, -1, 0);

    CHECK_OK(mprotect(p + PAGE, 4 * PAGE, PROT_READ));
    CHECK_OK(mprotect(p + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE));
    CHECK_EQ(nr_mappings(p + PAGE, 4 * PAGE), 3);
    CHECK_OK(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
    CHECK_EQ(nr_mappings(p + PAGE, 4 * PAGE), 1);
    munmap(p, 6 * PAGE);
}

TEST(errors)
{
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0), *f;
    int fd = open("/proc/self/exe", O_RDONLY);

    CHECK_ERR(mprotect(p + 1, PAGE, PROT_READ), EINVAL);
    CHECK_OK(mprotect(p, 0, PROT_READ));
    CHECK_ERR(mprotect(p, PAGE, 0x100), EINVAL);
    CHECK_ERR(mprotect(p, -PAGE * 2, PROT_READ), ENOMEM);
    CHECK_ERR(mprotect(p, PAGE, PROT_READ | PROT_GROWSDOWN), EINVAL);
    CHECK_ERR(mprotect(p, PAGE, PROT_READ | PROT_GROWSUP), EINVAL);
    CHECK_ERR(mprotect(p, PAGE, PROT_READ | PROT_GROWSUP | PROT_GROWSDOWN), EINVAL);
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(mprotect(p, 3 * PAGE, PROT_READ), ENOMEM);
    CHECK_EQ(touch(p, 1), SIGSEGV); /* what came before the hole was done */
    f = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(f != MAP_FAILED);
    CHECK_ERR(mprotect(f, PAGE, PROT_READ | PROT_WRITE), EACCES);
    CHECK_OK(mprotect(f, PAGE, PROT_NONE));
    munmap(f, PAGE);
    f = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK_OK(mprotect(f, PAGE, PROT_READ | PROT_WRITE));
    CHECK_EQ(f[0], 0x7f);
    f[0] = 1;
    munmap(f, PAGE);
    close(fd);
    munmap(p, PAGE);
    munmap(p + 2 * PAGE, PAGE);
}

TEST(a_shared_page_stays_shared_when_it_gets_writable_again)
{
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    int status;

    p[0] = 1;
    if (fork() == 0) {
        CHECK_OK(mprotect(p, PAGE, PROT_READ));
        CHECK_OK(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
        p[0] = 2;
        _exit(p[0] != 2);
    }
    CHECK_OK(mprotect(p, PAGE, PROT_READ));
    CHECK_OK(mprotect(p, PAGE, PROT_READ | PROT_WRITE));
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
    CHECK_EQ(p[0], 1);
    munmap(p, PAGE);
}

TEST(pkeys_of_a_cpu_without_them)
{
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    long key = syscall(SYS_pkey_alloc, 0, 0);

    CHECK_OK(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, -1));
    CHECK_EQ(touch(p, 1), SIGSEGV);
    if (key < 0) {
        CHECK_ERR(syscall(SYS_pkey_alloc, 0, 0), ENOSPC);
        CHECK_ERR(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 5), EINVAL);
        CHECK_ERR(syscall(SYS_pkey_free, 5), EINVAL);
    } else {
        syscall(SYS_pkey_free, key);
    }
    CHECK_ERR(syscall(SYS_pkey_alloc, 1, 0), EINVAL);
    munmap(p, PAGE);
}

TEST(sealed_memory_cannot_be_changed)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ, ANON, -1, 0);
    int status;

    if (syscall(462, p, 0, 0) == -1 && errno == ENOSYS)
        SKIP("no mseal");
    if (fork() == 0) {
        CHECK_OK(syscall(462, p + PAGE, 2 * PAGE, 0));
        CHECK_ERR(mprotect(p + PAGE, PAGE, PROT_NONE), EPERM);
        CHECK_ERR(munmap(p, 4 * PAGE), EPERM);
        CHECK_ERR((long)mremap(p + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EPERM);
        CHECK_ERR(madvise(p + PAGE, PAGE, MADV_DONTNEED), EPERM);
        CHECK_ERR((long)mmap(p + PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), EPERM);
        CHECK_OK(munmap(p, PAGE));
        CHECK_ERR(syscall(462, p, 2 * PAGE, 0), ENOMEM);
        CHECK_ERR(syscall(462, p + PAGE, PAGE, 1), EINVAL);
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
    munmap(p, 4 * PAGE);
}
TEST_MAIN()
