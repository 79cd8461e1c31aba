/* execve and execveat. The program runs itself as what is executed. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const char self[] = "/proc/self/exe";

static int run(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(98);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void args(void)
{
    char *argv[] = {"exec", "--args", "one", "", "two words", NULL}, *envp[] = {"A=1", "B=", NULL};

    execve(self, argv, envp);
}

TEST(arguments_and_environment_arrive)
{
    CHECK_EQ(run(args), 0);
}

static void state(void)
{
    sigset_t set;
    int keep = open("/dev/null", O_RDONLY), gone = open("/dev/null", O_RDONLY | O_CLOEXEC);
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
    char a[16], b[16], pid[16];

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_SETMASK, &set, NULL);
    kill(getpid(), SIGUSR1);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGHUP, (void (*)(int))(uintptr_t)exit);
    sigaltstack(&ss, NULL);
    alarm(100);
    snprintf(a, sizeof(a), "%d", keep);
    snprintf(b, sizeof(b), "%d", gone);
    snprintf(pid, sizeof(pid), "%d", getpid());
    execl(self, "exec", "--state", a, b, pid, NULL);
}

TEST(what_exec_keeps_and_drops)
{
    CHECK_EQ(run(state), 0);
}

static char *volatile bad = (char *)8;

TEST(errors)
{
    char *argv[] = {"x", NULL}, name[] = "/tmp/exec-XXXXXX";
    int fd = mkstemp(name);

    CHECK_OK(fd);
    CHECK_ERR(execve("/nonexistent", argv, argv), ENOENT);
    CHECK_ERR(execve("", argv, argv), ENOENT);
    CHECK_ERR(execve("/tmp", argv, argv), EACCES);
    CHECK_ERR(execve("/dev/null/x", argv, argv), ENOTDIR);
    CHECK_ERR(execve(bad, argv, argv), EFAULT);
    CHECK_ERR(execve(name, argv, argv), EACCES); /* no x bit, even for root */
    CHECK_OK(fchmod(fd, 0755));
    CHECK_ERR(execve(name, argv, argv), ETXTBSY);
    close(fd);
    CHECK_ERR(execve(name, argv, argv), ENOEXEC);
    CHECK_ERR(execve(name, (char **)bad, argv), EFAULT);
    unlink(name);
}

TEST(too_long_arguments)
{
    size_t n = 131073;
    char *big = malloc(n + 1), *argv[] = {"x", big, NULL};

    memset(big, 'a', n);
    big[n] = 0;
    CHECK_ERR(execve(self, argv, NULL), E2BIG);
    free(big);
}

static void many(void)
{
    static char *argv[4000];

    for (int i = 0; i < 3999; i++)
        argv[i] = i == 1 ? "--count" : "0123456789012345678901234567890123456789";
    execve(self, argv, NULL);
}

TEST(many_arguments)
{
    CHECK_EQ(run(many), 3999 % 251);
}

static void scripts(void)
{
    char name[] = "/tmp/script-XXXXXX", exe[256], line[400];
    int fd = mkstemp(name);
    ssize_t n = readlink(self, exe, sizeof(exe) - 1);

    if (n < 0)
        _exit(97);
    exe[n] = 0;
    n = snprintf(line, sizeof(line), "#!%s --script arg with spaces\n", exe);
    if (write(fd, line, (size_t)n) != n)
        _exit(96);
    fchmod(fd, 0755);
    close(fd);
    execl(name, "ignored", "extra", NULL);
}

TEST(scripts_run_their_interpreter)
{
    CHECK_EQ(run(scripts), 0);
}

static void by_fd(void)
{
    int fd = open(self, O_PATH);
    char *argv[] = {"exec", "--ok", NULL};

    syscall(SYS_execveat, fd, "", argv, NULL, AT_EMPTY_PATH);
}

static void by_dirfd(void)
{
    int fd = open("/proc/self", O_RDONLY | O_DIRECTORY);
    char *argv[] = {"exec", "--ok", NULL};

    syscall(SYS_execveat, fd, "exe", argv, NULL, 0);
}

TEST(execveat)
{
    char *argv[] = {"exec", "--ok", NULL};

    CHECK_EQ(run(by_fd), 0);
    CHECK_EQ(run(by_dirfd), 0);
    CHECK_EQ(syscall(SYS_execveat, -1, "", argv, NULL, AT_EMPTY_PATH), -1);
    CHECK_EQ(errno, EBADF);
    CHECK_EQ(syscall(SYS_execveat, AT_FDCWD, "/tmp", argv, NULL, 0x40000000), -1);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(syscall(SYS_execveat, AT_FDCWD, self, argv, NULL, AT_SYMLINK_NOFOLLOW), -1);
    CHECK_EQ(errno, ELOOP);
}

static void empty_argv(void)
{
    char *argv[] = {NULL}, *envp[] = {"EMPTY=1", NULL};

    execve(self, argv, envp);
}

TEST(argv_is_never_empty)
{
    CHECK_EQ(run(empty_argv), 55);
}

static char copy_name[] = "/tmp/exec-copy-XXXXXX";

static int copy_self(void)
{
    char buf[65536];
    int in = open(self, O_RDONLY), out;
    ssize_t n;

    strcpy(copy_name, "/tmp/exec-copy-XXXXXX");
    out = mkstemp(copy_name);
    if (in < 0 || out < 0)
        return -1;
    while ((n = read(in, buf, sizeof(buf))) > 0)
        if (write(out, buf, (size_t)n) != n)
            return -1;
    close(in);
    fchmod(out, 0755);
    close(out);
    return 0;
}

static void as_nobody(void)
{
    if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
        _exit(95);
    execl(copy_name, "exec", "--ids", NULL);
}

static void as_nobody_no_new_privs(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    as_nobody();
}

TEST(set_user_id)
{
    if (getuid() != 0)
        SKIP("needs root");
    CHECK_OK(copy_self());
    CHECK_EQ(run(as_nobody), 1); /* euid 65534, not secure */
    CHECK_OK(chown(copy_name, 1234, 1234));
    CHECK_OK(chmod(copy_name, 04755));
    int r = run(as_nobody);
    if (r == 1) {
        unlink(copy_name);
        SKIP("/tmp is nosuid");
    }
    CHECK_EQ(r, 2); /* euid 1234, secure */
    CHECK_EQ(run(as_nobody_no_new_privs), 1);
    unlink(copy_name);
}

static void lose_caps(void)
{
    execl(copy_name, "exec", "--caps", NULL);
}

static void lose_caps_as_nobody(void)
{
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    if (setresuid(65534, 65534, 65534))
        _exit(95);
    execl(copy_name, "exec", "--caps", NULL);
}

TEST(capabilities_follow_root)
{
    if (getuid() != 0)
        SKIP("needs root");
    CHECK_OK(copy_self());
    CHECK_EQ(run(lose_caps), 1);
    CHECK_EQ(run(lose_caps_as_nobody), 0);
    unlink(copy_name);
}

static void vfork_exec(void)
{
    int status;
    pid_t pid = vfork();

    if (pid == 0) {
        execl(self, "exec", "--ok", NULL);
        _exit(94);
    }
    waitpid(pid, &status, 0);
    _exit(WEXITSTATUS(status));
}

TEST(vfork_and_exec)
{
    CHECK_EQ(run(vfork_exec), 0);
}

static int exec_args(int argc, char **argv, char **envp)
{
    return !(argc == 5 && !strcmp(argv[2], "one") && !*argv[3] && !strcmp(argv[4], "two words") && !argv[5] &&
             !strcmp(envp[0], "A=1") && !strcmp(envp[1], "B=") && !envp[2]);
}

static int exec_state(char **argv)
{
    struct sigaction sa;
    sigset_t set, pending;
    stack_t ss;

    sigprocmask(SIG_BLOCK, NULL, &set);
    sigpending(&pending);
    if (!sigismember(&set, SIGUSR1) || !sigismember(&pending, SIGUSR1))
        return 1;
    if (sigaction(SIGUSR2, NULL, &sa) || sa.sa_handler != SIG_IGN)
        return 2;
    if (sigaction(SIGHUP, NULL, &sa) || sa.sa_handler != SIG_DFL)
        return 3;
    if (sigaltstack(NULL, &ss) || ss.ss_flags != SS_DISABLE)
        return 4;
    if (fcntl(atoi(argv[2]), F_GETFD) != 0 || fcntl(atoi(argv[3]), F_GETFD) != -1)
        return 5;
    if (atoi(argv[4]) != getpid())
        return 6;
    if (alarm(0) == 0)
        return 7;
    return 0;
}

static int exec_caps(void)
{
    struct {
        unsigned int version;
        int pid;
    } h = {0x20080522, 0};
    struct {
        unsigned int e, p, i;
    } d[2];

    if (syscall(SYS_capget, &h, d))
        return 9;
    return (d[0].e & 1) && (d[0].p & 1);
}

int main(int argc, char **argv, char **envp)
{
    const char *mode = argc > 1 ? argv[1] : "";

    if (getenv("EMPTY"))
        return argc == 1 && argv[0][0] == 0 ? 55 : 56;
    if (!strcmp(mode, "--args"))
        return exec_args(argc, argv, envp);
    if (!strcmp(mode, "--state"))
        return exec_state(argv);
    if (!strcmp(mode, "--ok"))
        return 0;
    if (!strcmp(mode, "--count"))
        return argc % 251;
    if (!strcmp(mode, "--script arg with spaces")) {
        unlink(argv[2]);
        return !(argc == 4 && strstr(argv[2], "/tmp/script-") && !strcmp(argv[3], "extra"));
    }
    if (!strcmp(mode, "--ids"))
        return geteuid() == 65534 && !getauxval(AT_SECURE) && getauxval(AT_EUID) == 65534 ? 1
               : geteuid() == 1234 && getauxval(AT_SECURE) && getauxval(AT_EUID) == 1234  ? 2
                                                                                          : 3;
    if (!strcmp(mode, "--caps"))
        return exec_caps();
    return guest_test_main(argc, argv);
}
