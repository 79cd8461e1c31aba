/* Mapped files: what is shared with read and write, what happens at the end of the file, and when it is cut. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE 4096UL

static sigjmp_buf fault_out;
static volatile int fault_signo, fault_code;

static void on_fault(int signo, siginfo_t *info, void *ctx)
{
    fault_signo = signo;
    fault_code = info->si_code;
    siglongjmp(fault_out, 1);
}

static int touch(volatile char *p, int write)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    fault_signo = 0;
    if (sigsetjmp(fault_out, 1) == 0) {
        if (write)
            *p = 1;
        else
            (void)*p;
    }
    return fault_signo;
}

/* Every test runs on a file of the root file system, on one in /tmp, and on a memfd. */
static const char *const dirs[] = {"/var/tmp", "/tmp", NULL};
#define KINDS 3

static int make_file(int kind, size_t pages)
{
    char name[64];
    int fd;

    if (dirs[kind]) {
        snprintf(name, sizeof(name), "%s/filemapXXXXXX", dirs[kind]);
        fd = mkstemp(name);
        if (fd < 0)
            fd = memfd_create("filemap", 0); /* a read-only root */
        else
            unlink(name);
    } else {
        fd = memfd_create("filemap", 0);
    }
    CHECK_OK(fd);
    CHECK_OK(ftruncate(fd, (off_t)(pages * PAGE)));
    for (size_t i = 0; i < pages; i++)
        CHECK_EQ(pwrite(fd, &(char){(char)('a' + i % 26)}, 1, (off_t)(i * PAGE)), 1);
    return fd;
}

TEST(shared_mappings_and_file_calls_see_the_same)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = make_file(kind, 40);
        char *p = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c;
        char *q = mmap(NULL, 40 * PAGE, PROT_READ, MAP_SHARED, fd, 0);

        CHECK(p != MAP_FAILED && q != MAP_FAILED);
        for (int i = 0; i < 40; i++)
            CHECK_EQ(p[i * PAGE], 'a' + i % 26);
        p[5 * PAGE] = 'X';
        CHECK_EQ(pread(fd, &c, 1, 5 * PAGE), 1);
        CHECK_EQ(c, 'X');
        CHECK_EQ(q[5 * PAGE], 'X');
        CHECK_EQ(pwrite(fd, "Y", 1, 6 * PAGE), 1);
        CHECK_EQ(p[6 * PAGE], 'Y');
        CHECK_EQ(q[6 * PAGE], 'Y');
        CHECK_OK(msync(p, 40 * PAGE, MS_SYNC));
        close(fd); /* the mapping keeps the file */
        p[7 * PAGE] = 'Z';
        CHECK_EQ(q[7 * PAGE], 'Z');
        munmap(p, 40 * PAGE);
        munmap(q, 40 * PAGE);
    }
}

TEST(beyond_the_end_is_sigbus)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = make_file(kind, 2);
        char *p;

        CHECK_OK(ftruncate(fd, PAGE + 100));
        p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK_EQ(p[PAGE + 99], 0);
        CHECK_EQ(touch(p + 2 * PAGE - 1, 0), 0); /* the rest of the last page is zero */
        CHECK_EQ(p[2 * PAGE - 1], 0);
        CHECK_EQ(touch(p + 2 * PAGE, 0), SIGBUS);
        CHECK_EQ(fault_code, BUS_ADRERR);
        CHECK_EQ(touch(p + 2 * PAGE, 1), SIGBUS);
        /* A longer file makes it reachable. */
        CHECK_OK(ftruncate(fd, 4 * PAGE));
        CHECK_EQ(touch(p + 2 * PAGE, 1), 0);
        CHECK_EQ(p[3 * PAGE], 0);
        munmap(p, 4 * PAGE);
        close(fd);
    }
}

TEST(truncation_takes_mapped_pages_away)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = make_file(kind, 8);
        char *s = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

        for (int i = 0; i < 8; i++) {
            CHECK_EQ(s[i * PAGE], 'a' + i);
            CHECK_EQ(p[i * PAGE], 'a' + i);
        }
        p[PAGE] = 'P';
        p[6 * PAGE] = 'Q';
        CHECK_OK(ftruncate(fd, 3 * PAGE));
        CHECK_EQ(s[2 * PAGE], 'c');
        CHECK_EQ(p[PAGE], 'P');
        CHECK_EQ(touch(s + 3 * PAGE, 0), SIGBUS);
        CHECK_EQ(touch(p + 3 * PAGE, 0), SIGBUS);
        CHECK_EQ(touch(p + 6 * PAGE, 0), SIGBUS); /* private copies go, too */
        CHECK_OK(ftruncate(fd, 8 * PAGE));
        CHECK_EQ(s[4 * PAGE], 0);
        CHECK_EQ(p[6 * PAGE], 0);
        munmap(s, 8 * PAGE);
        munmap(p, 8 * PAGE);
        close(fd);
    }
}

TEST(system_calls_on_cut_mappings_fail_politely)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = make_file(kind, 4), null = open("/dev/null", O_WRONLY), pipefd[2];
        char *s = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        CHECK_OK(pipe(pipefd));
        CHECK_EQ(write(pipefd[1], s + 3 * PAGE, 10), 10);
        CHECK_OK(ftruncate(fd, PAGE));
        CHECK_ERR(write(pipefd[1], s + 3 * PAGE, 10), EFAULT);
        CHECK_ERR(read(pipefd[0], s + 3 * PAGE, 10), EFAULT);
        CHECK_EQ(write(pipefd[1], s, 10), 10);
        CHECK_ERR(open(s + 2 * PAGE, O_RDONLY), EFAULT);
        close(pipefd[0]);
        close(pipefd[1]);
        close(null);
        close(fd);
        munmap(s, 4 * PAGE);
    }
}

TEST(calls_read_and_write_mapped_files_in_place)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = make_file(kind, 40), pipefd[2];
        char *s = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c;
        char *big = malloc(40 * PAGE);

        CHECK_OK(pipe(pipefd));
        CHECK_EQ(write(pipefd[1], s + 3 * PAGE - 4, 8), 8);
        CHECK_EQ(read(pipefd[0], s + 9 * PAGE - 4, 8), 8);
        CHECK_EQ(s[9 * PAGE], 'd');
        CHECK_EQ(pread(fd, &c, 1, 9 * PAGE), 1);
        CHECK_EQ(c, 'd');
        /* Onto itself, through the mapping. */
        CHECK_EQ(pread(fd, s + 20 * PAGE, 10 * PAGE, 0), 10 * PAGE);
        CHECK_EQ(s[21 * PAGE], 'b');
        CHECK_EQ(pwrite(fd, s + 20 * PAGE, 8 * PAGE, 30 * PAGE), 8 * PAGE);
        CHECK_EQ(s[31 * PAGE], 'b');
        free(big);
        close(pipefd[0]);
        close(pipefd[1]);
        close(fd);
        munmap(s, 40 * PAGE);
    }
}

TEST(holes_read_as_zero_after_punching)
{
    for (int kind = 1; kind < KINDS; kind++) {
        int fd = make_file(kind, 8);
        char *s = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        char *p = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

        CHECK_EQ(s[3 * PAGE], 'd');
        p[3 * PAGE] = 'P';
        CHECK_EQ(p[4 * PAGE], 'e');
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * PAGE, 2 * PAGE) == -1 && errno == EOPNOTSUPP)
            SKIP("no hole punching");
        CHECK_EQ(s[3 * PAGE], 0);
        CHECK_EQ(s[5 * PAGE], 'f');
        CHECK_EQ(p[3 * PAGE], 'P'); /* private copies stay */
        CHECK_EQ(p[4 * PAGE], 0);
        munmap(s, 8 * PAGE);
        munmap(p, 8 * PAGE);
        close(fd);
    }
}

TEST(writing_through_a_mapping_changes_mtime)
{
    int fd = make_file(2, 1);
    char *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct timespec old[2] = {{1, 0}, {1, 0}};
    struct stat st;

    CHECK_OK(futimens(fd, old));
    s[0] = 'x';
    CHECK_OK(msync(s, PAGE, MS_SYNC));
    CHECK_OK(fstat(fd, &st));
    munmap(s, PAGE);
    close(fd);
}

TEST(seals)
{
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    char *s;

    CHECK_OK(ftruncate(fd, PAGE));
    s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(s != MAP_FAILED);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    munmap(s, PAGE);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(s != MAP_FAILED);
    munmap(s, PAGE);
    close(fd);
}

TEST(a_child_shares_the_mapping)
{
    for (int kind = 0; kind < KINDS; kind++) {
        int fd = make_file(kind, 4), status;
        char *s = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (fork() == 0) {
            s[2 * PAGE] = 'C';
            _exit(s[PAGE] != 'b');
        }
        CHECK_OK(wait(&status));
        CHECK_EQ(status, 0);
        CHECK_EQ(s[2 * PAGE], 'C');
        munmap(s, 4 * PAGE);
        close(fd);
    }
}

TEST(dev_zero)
{
    int fd = open("/dev/zero", O_RDWR), status;
    char *p, *s;

    CHECK_OK(fd);
    p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    s = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED && s != MAP_FAILED);
    CHECK_EQ(p[PAGE], 0);
    p[PAGE] = 1;
    if (fork() == 0) {
        s[0] = p[PAGE];
        _exit(0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(s[0], 1);
    munmap(p, 2 * PAGE);
    munmap(s, 2 * PAGE);
    close(fd);
}

TEST(errors_of_msync)
{
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK_ERR(msync(p + 1, PAGE, MS_SYNC), EINVAL);
    CHECK_ERR(msync(p, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    CHECK_ERR(msync(p, PAGE, 8), EINVAL);
    CHECK_OK(msync(p, 3 * PAGE, MS_ASYNC));
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(msync(p, 3 * PAGE, MS_ASYNC), ENOMEM);
    if (mlock(p, PAGE) == 0) {
        CHECK_ERR(msync(p, PAGE, MS_INVALIDATE), EBUSY);
        munlock(p, PAGE);
    }
    munmap(p, 3 * PAGE);
}

TEST(a_running_program_cannot_be_written)
{
    char name[] = "/tmp/textXXXXXX", buf[65536];
    int in = open("/proc/self/exe", O_RDONLY), out = mkstemp(name), status;
    ssize_t n;
    pid_t pid;
    int fd[2];

    while ((n = read(in, buf, sizeof(buf))) > 0)
        CHECK_EQ(write(out, buf, (size_t)n), n);
    fchmod(out, 0755);
    CHECK_OK(pipe(fd));
    pid = fork();
    if (pid == 0) { /* open for writing: it cannot be run */
        execl(name, name, (char *)NULL);
        _exit(errno == ETXTBSY ? 3 : 4);
    }
    CHECK_OK(waitpid(pid, &status, 0));
    CHECK_EQ(WEXITSTATUS(status), 3);
    close(out);
    pid = fork();
    if (pid == 0) {
        dup2(fd[0], 0);
        close(fd[1]);
        do /* the loop below has it open for writing now and then */
            execl(name, name, "wait_for_input", (char *)NULL);
        while (errno == ETXTBSY);
        _exit(5);
    }
    close(fd[0]);
    for (int i = 0; i < 15000; i++) { /* until it runs */
        out = open(name, O_WRONLY);
        if (out < 0)
            break;
        close(out);
        usleep(2000);
    }
    CHECK_EQ(out, -1);
    CHECK_EQ(errno, ETXTBSY);
    close(fd[1]);
    CHECK_OK(waitpid(pid, &status, 0));
    CHECK_EQ(status, 0);
    out = open(name, O_WRONLY);
    CHECK_OK(out);
    close(out);
    close(in);
    unlink(name);
}

/* Run by the test above only. */
TEST(wait_for_input)
{
    char c;

    if (!isatty(0) && lseek(0, 0, SEEK_CUR) == -1 && errno == ESPIPE)
        while (read(0, &c, 1) > 0)
            ;
}
TEST_MAIN()
