/* process_vm_readv, process_vm_writev, kcmp, getrandom, sysinfo. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>

static char area[8192] __attribute__((aligned(4096)));

static pid_t start_child(void)
{
    pid_t pid;

    strcpy(area, "parent's");
    pid = fork();
    if (pid == 0) {
        strcpy(area, "child's");
        pause();
        _exit(0);
    }
    wait_blocked(pid, pid);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

TEST(process_vm_reads_and_writes)
{
    pid_t pid = start_child();
    char a[4], b[8];
    struct iovec local[2] = {{a, 4}, {b, 8}}, remote = {area, 8};

    CHECK_EQ(process_vm_readv(pid, local, 2, &remote, 1, 0), 8);
    CHECK(memcmp(a, "chil", 4) == 0 && memcmp(b, "d's", 4) == 0);
    local[0] = (struct iovec){"changed", 8};
    CHECK_EQ(process_vm_writev(pid, local, 1, &remote, 1, 0), 8);
    local[0] = (struct iovec){b, 8};
    CHECK_EQ(process_vm_readv(pid, local, 1, &remote, 1, 0), 8);
    CHECK_STR(b, "changed");
    CHECK_STR(area, "parent's");
    end_child(pid);
}

TEST(process_vm_partial_and_errors)
{
    pid_t pid = start_child();
    char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char buf[8192];
    struct iovec local = {buf, 8192}, remote = {area, 16}, nowhere = {(void *)8, 8}, half = {hole, 8192};

    munmap(hole + 4096, 4096);
    CHECK_EQ(process_vm_readv(getpid(), &local, 1, &half, 1, 0), 4096);
    CHECK_ERR(process_vm_readv(pid, &local, 1, &nowhere, 1, 0), EFAULT);
    CHECK_ERR(process_vm_readv(pid, &local, 1, &remote, 1, 1), EINVAL);
    CHECK_ERR(process_vm_readv(pid, &local, 1, &remote, 1025, 0), EINVAL);
    CHECK_ERR(process_vm_readv(1 << 29, &local, 1, &remote, 1, 0), ESRCH);
    CHECK_ERR(syscall(SYS_process_vm_readv, pid, (void *)1, 1, &remote, 1, 0), EFAULT);
    CHECK_EQ(process_vm_readv(pid, &local, 0, &remote, 1, 0), 0);
    end_child(pid);
}

TEST(process_vm_needs_permission)
{
    pid_t pid = start_child(), other;
    struct iovec local = {(char[8]){0}, 8}, remote = {area, 8};
    int status;

    if (getuid() != 0) {
        end_child(pid);
        SKIP("needs root");
    }
    other = fork();
    if (other == 0) {
        if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
            _exit(2);
        CHECK_ERR(process_vm_readv(pid, &local, 1, &remote, 1, 0), EPERM);
        CHECK_ERR(syscall(SYS_kcmp, pid, getpid(), KCMP_VM, 0, 0), EPERM);
        _exit(0);
    }
    waitpid(other, &status, 0);
    CHECK_EQ(status, 0);
    end_child(pid);
}

TEST(kcmp_compares)
{
    pid_t pid = start_child(), self = getpid();
    int fd = open("/dev/null", O_RDONLY), twin = dup(fd), other = open("/dev/null", O_RDONLY);
    long r = syscall(SYS_kcmp, self, self, KCMP_VM, 0, 0);

    if (r == -1 && (errno == ENOSYS || errno == EPERM)) {
        end_child(pid);
        SKIP("no kcmp");
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(syscall(SYS_kcmp, self, self, KCMP_FILE, fd, twin), 0);
    CHECK(syscall(SYS_kcmp, self, self, KCMP_FILE, fd, other) > 0);
    CHECK(syscall(SYS_kcmp, self, pid, KCMP_VM, 0, 0) > 0);
    CHECK(syscall(SYS_kcmp, self, pid, KCMP_FILES, 0, 0) > 0);
    CHECK_ERR(syscall(SYS_kcmp, self, self, KCMP_FILE, 9999, fd), EBADF);
    CHECK_ERR(syscall(SYS_kcmp, self, self, 99, 0, 0), EINVAL);
    CHECK_ERR(syscall(SYS_kcmp, self, 1 << 29, KCMP_VM, 0, 0), ESRCH);
    end_child(pid);
}

TEST(getrandom_rules)
{
    unsigned char a[64] = {0}, b[64] = {0};
    static unsigned char big[100000];

    CHECK_EQ(getrandom(a, sizeof(a), 0), 64);
    CHECK_EQ(getrandom(b, sizeof(b), GRND_NONBLOCK | GRND_RANDOM), 64);
    CHECK(memcmp(a, b, 64) != 0);
    CHECK_EQ(getrandom(big, sizeof(big), 0), sizeof(big));
    CHECK_EQ(getrandom(a, 0, 0), 0);
    CHECK_ERR(getrandom(a, 8, 0x100), EINVAL);
    CHECK_ERR(getrandom(a, 8, GRND_RANDOM | 4), EINVAL);
    CHECK_ERR(syscall(SYS_getrandom, (void *)1, 8, 0), EFAULT);
}

TEST(sysinfo_is_plausible)
{
    struct sysinfo info;

    CHECK_OK(sysinfo(&info));
    CHECK(info.totalram > 0 && info.freeram <= info.totalram);
    CHECK(info.uptime > 0 && info.procs >= 1 && info.mem_unit >= 1);
    CHECK_ERR(syscall(SYS_sysinfo, (void *)1), EFAULT);
}

TEST_MAIN()
