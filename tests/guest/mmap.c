/* mmap(2) and munmap(2): placement, flags, errors. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE   4096UL
#define ANON   (MAP_PRIVATE | MAP_ANONYMOUS)
#define FAILED ((long)-1)

static sigjmp_buf fault_out;
static volatile int fault_code, fault_signo;
static void *volatile fault_addr;

static void on_fault(int signo, siginfo_t *info, void *ctx)
{
    fault_signo = signo;
    fault_code = info->si_code;
    fault_addr = info->si_addr;
    siglongjmp(fault_out, 1);
}

static void catch_faults(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
}

/* The signal that reading (or writing) a byte raises; 0 if none. */
static int touch(volatile char *p, int write)
{
    catch_faults();
    fault_signo = 0;
    if (sigsetjmp(fault_out, 1) == 0) {
        if (write)
            *p = 1;
        else
            (void)*p;
    }
    return fault_signo;
}

TEST(anonymous_memory_is_zero)
{
    char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    CHECK(p != MAP_FAILED);
    for (size_t i = 0; i < 64 * PAGE; i += 512)
        CHECK_EQ(p[i], 0);
    memset(p, 1, 64 * PAGE);
    CHECK_OK(munmap(p, 64 * PAGE));
    char *q = mmap(p, 64 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    CHECK(q == p); /* a free hint is taken */
    for (size_t i = 0; i < 64 * PAGE; i += 512)
        CHECK_EQ(q[i], 0);
    CHECK_OK(munmap(q, 64 * PAGE));
}

TEST(a_taken_hint_is_no_error)
{
    char *p = mmap(NULL, PAGE, PROT_READ, ANON, -1, 0);
    char *q = mmap(p, PAGE, PROT_READ, ANON, -1, 0);

    CHECK(q != MAP_FAILED && q != p);
    munmap(p, PAGE);
    munmap(q, PAGE);
}

TEST(unmapped_memory_faults)
{
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    memset(p, 1, 3 * PAGE);
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_EQ(touch(p, 1), 0);
    CHECK_EQ(touch(p + PAGE, 0), SIGSEGV);
    CHECK_EQ(fault_code, SEGV_MAPERR);
    CHECK(fault_addr == p + PAGE);
    CHECK_EQ(touch(p + 2 * PAGE, 0), 0);
    CHECK_OK(munmap(p, 3 * PAGE)); /* holes are no error */
    CHECK_OK(munmap(p, 3 * PAGE));
}

TEST(protection_is_kept)
{
    char *p = mmap(NULL, PAGE, PROT_READ, ANON, -1, 0), *q = mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0);

    CHECK_EQ(touch(p, 0), 0);
    CHECK_EQ(touch(p, 1), SIGSEGV);
    CHECK_EQ(fault_code, SEGV_ACCERR);
    CHECK_EQ(touch(q, 0), SIGSEGV);
    CHECK_EQ(fault_code, SEGV_ACCERR);
    munmap(p, PAGE);
    munmap(q, PAGE);
}

TEST(errors_of_mmap)
{
    int rd = open("/proc/self/exe", O_RDONLY), wr, dir = open("/", O_RDONLY | O_DIRECTORY), pipefd[2];
    char name[] = "/tmp/mmapXXXXXX";

    wr = mkstemp(name);
    CHECK_OK(ftruncate(wr, PAGE));
    close(wr);
    wr = open(name, O_WRONLY);
    CHECK_OK(wr);
    CHECK_OK(pipe(pipefd));
    CHECK_ERR((long)mmap(NULL, 0, PROT_READ, ANON, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, rd, 1), EINVAL);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, rd, 0), EACCES);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wr, 0), EACCES);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipefd[0], 0), ENODEV);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
    CHECK_ERR((long)mmap((void *)1, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, -PAGE, PROT_READ, ANON, -1, 0), ENOMEM);
    CHECK_ERR((long)mmap((void *)-PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, rd, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_GROWSDOWN | MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, 0x03 /* SHARED_VALIDATE */ | 0x80000 /* SYNC */, rd, 0), EOPNOTSUPP);
    CHECK_ERR((long)mmap(NULL, 1UL << 46, PROT_READ | PROT_WRITE, ANON, -1, 0), ENOMEM);
    CHECK_ERR(munmap((void *)1, PAGE), EINVAL);
    CHECK_ERR(munmap(NULL, 0), EINVAL);
    CHECK_ERR(munmap((void *)PAGE, -PAGE), EINVAL);
    close(pipefd[0]);
    close(pipefd[1]);
    close(dir);
    close(wr);
    close(rd);
    unlink(name);
}

TEST(fixed_replaces_and_noreplace_does_not)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    memset(p, 7, 4 * PAGE);
    CHECK(mmap(p + PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == p + PAGE);
    CHECK_EQ(p[0], 7);
    CHECK_EQ(p[PAGE], 0);
    CHECK_EQ(p[2 * PAGE], 7);
    CHECK_ERR((long)mmap(p, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK_ERR((long)mmap(p - PAGE * 0, 8 * PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK_OK(munmap(p, PAGE));
    CHECK(mmap(p, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p);
    CHECK_OK(munmap(p, 4 * PAGE));
}

TEST(low_mappings)
{
    char *p = mmap(NULL, PAGE, PROT_READ, ANON | MAP_32BIT, -1, 0);

    CHECK(p != MAP_FAILED && (unsigned long)p < 1UL << 31);
    munmap(p, PAGE);
}

TEST(populate_and_locked_are_resident)
{
    unsigned char vec[16];
    char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, ANON | MAP_POPULATE, -1, 0);

    CHECK(p != MAP_FAILED);
    CHECK_OK(mincore(p, 16 * PAGE, vec));
    for (int i = 0; i < 16; i++)
        CHECK_EQ(vec[i] & 1, 1);
    munmap(p, 16 * PAGE);
    CHECK_ERR(mincore(p, PAGE, vec), ENOMEM);
    CHECK_ERR(mincore((void *)1, PAGE, vec), EINVAL);
}

TEST(untouched_pages_are_not_resident)
{
    unsigned char vec[64];
    char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    int resident = 0;

    madvise(p, 64 * PAGE, MADV_NOHUGEPAGE);
    p[3 * PAGE] = 1;
    CHECK_OK(mincore(p, 64 * PAGE, vec));
    CHECK_EQ(vec[3] & 1, 1);
    for (int i = 0; i < 64; i++)
        resident += vec[i] & 1;
    CHECK(resident <= 16); /* a kernel may bring in some pages around a touched one */
    CHECK_ERR(mincore(p, 64 * PAGE, (unsigned char *)8), EFAULT);
    munmap(p, 64 * PAGE);
}

TEST(shared_anonymous_memory_is_shared_with_a_child)
{
    volatile int *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    CHECK((void *)p != MAP_FAILED);
    if (fork() == 0) {
        p[1] = 42;
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(p[1], 42);
    munmap((void *)p, PAGE);
}

TEST(address_space_limit)
{
    struct rlimit old, new;
    int status;

    if (fork() == 0) {
        CHECK_OK(getrlimit(RLIMIT_AS, &old));
        new = old;
        new.rlim_cur = 64UL << 20;
        CHECK_OK(setrlimit(RLIMIT_AS, &new));
        CHECK_ERR((long)mmap(NULL, 128UL << 20, PROT_NONE, ANON, -1, 0), ENOMEM);
        CHECK(mmap(NULL, 1UL << 20, PROT_NONE, ANON, -1, 0) != MAP_FAILED);
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
}

TEST(data_limit_counts_private_writable_memory)
{
    struct rlimit lim = {32UL << 20, 32UL << 20};
    int status;

    if (fork() == 0) {
        CHECK_OK(setrlimit(RLIMIT_DATA, &lim));
        CHECK_ERR((long)mmap(NULL, 64UL << 20, PROT_READ | PROT_WRITE, ANON, -1, 0), ENOMEM);
        char *p = mmap(NULL, 64UL << 20, PROT_READ, ANON, -1, 0);
        CHECK(p != MAP_FAILED);
        CHECK_ERR(mprotect(p, 64UL << 20, PROT_READ | PROT_WRITE), ENOMEM);
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
}

TEST(many_mappings)
{
    enum { N = 2000 };
    char *p = mmap(NULL, 2 * N * PAGE, PROT_NONE, ANON, -1, 0);

    CHECK(p != MAP_FAILED);
    for (int i = 0; i < N; i++)
        CHECK(mmap(p + 2 * i * PAGE, PAGE, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0) == p + 2 * i * PAGE);
    for (int i = 0; i < N; i++)
        p[2 * i * PAGE] = (char)i;
    for (int i = 0; i < N; i++)
        CHECK_EQ(p[2 * i * PAGE], (char)i);
    CHECK_OK(munmap(p, 2 * N * PAGE));
    CHECK_EQ(touch(p, 0), SIGSEGV);
}

TEST(scattered_pages_of_a_large_mapping)
{
    size_t len = 1UL << 30, step = 257 * PAGE;
    char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, ANON | MAP_NORESERVE, -1, 0);

    CHECK(p != MAP_FAILED);
    for (size_t i = 0; i < len; i += step)
        p[i] = (char)(i / step);
    for (size_t i = 0; i < len; i += step)
        CHECK_EQ(p[i], (char)(i / step));
    CHECK_OK(munmap(p, len));
}

TEST(code_written_at_run_time_runs)
{
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
    unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

    memcpy(p, code, sizeof(code));
    CHECK_OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    CHECK_EQ(((int (*)(void))(void *)p)(), 42);
    CHECK_OK(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
    p[1] = 43;
    CHECK_EQ(((int (*)(void))(void *)p)(), 43);
    munmap(p, PAGE);
}

TEST(remapping_file_pages)
{
    char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    for (int i = 0; i < 4; i++)
        p[i * PAGE] = (char)('a' + i);
    CHECK_OK(remap_file_pages(p, PAGE, 0, 2, 0));
    CHECK_EQ(p[0], 'c');
    CHECK_EQ(p[PAGE], 'b');
    p[0] = 'x';
    CHECK_EQ(p[2 * PAGE], 'x');
    CHECK_ERR(remap_file_pages(p, PAGE, PROT_READ, 2, 0), EINVAL);
    munmap(p, 4 * PAGE);
    CHECK_ERR(remap_file_pages(p, PAGE, 0, 2, 0), EINVAL);
}

TEST(system_calls_check_guest_pointers)
{
    char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
    int fd = open("/dev/zero", O_RDONLY), out = open("/dev/null", O_WRONLY);

    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(read(fd, p + PAGE, 8), EFAULT);
    CHECK_EQ(read(fd, p + PAGE - 8, 8), 8);
    CHECK_OK(mprotect(p, PAGE, PROT_READ));
    CHECK_ERR(read(fd, p, 8), EFAULT);
    CHECK_EQ(write(out, p, 8), 8);
    CHECK_OK(mprotect(p, PAGE, PROT_NONE));
    CHECK_ERR(open(p, O_RDONLY), EFAULT);
    close(fd);
    close(out);
    munmap(p, PAGE);
}
TEST_MAIN()
