/* wait4 and waitid. */
#include "tests/guest/guest_test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static pid_t child_exit(int code)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(code);
    return pid;
}

static pid_t child_sleep(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        for (;;)
            pause();
    }
    return pid;
}

static void kill_and_reap(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

TEST(wait_without_children_is_echild)
{
    siginfo_t si;

    CHECK_ERR(wait(NULL), ECHILD);
    CHECK_ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
    CHECK_ERR(waitid(P_ALL, 0, &si, WEXITED), ECHILD);
    CHECK_ERR(waitpid(getppid(), NULL, 0), ECHILD);
}

TEST(wait_bad_options_are_einval)
{
    siginfo_t si;

    CHECK_ERR(waitpid(-1, NULL, -1), EINVAL);
    CHECK_ERR(waitpid(-1, NULL, WNOWAIT), EINVAL);
    CHECK_ERR(waitid(P_ALL, 0, &si, 0), EINVAL);
    CHECK_ERR(waitid(P_ALL, 0, &si, WNOHANG), EINVAL);
    CHECK_ERR(waitid(99, 0, &si, WEXITED), EINVAL);
    CHECK_ERR(waitid(P_PID, 0, &si, WEXITED), EINVAL);
    CHECK_EQ(syscall(SYS_wait4, (int)0x80000000, NULL, 0, NULL), -1);
    CHECK_EQ(errno, ESRCH);
}

TEST(wnohang_returns_zero_while_running)
{
    pid_t pid = child_sleep();
    siginfo_t si;

    memset(&si, 0xff, sizeof(si));
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    CHECK_OK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG));
    CHECK_EQ(si.si_pid, 0);
    CHECK_EQ(si.si_signo, 0);
    kill_and_reap(pid);
}

TEST(waitid_reports_exit_and_wnowait_leaves_it)
{
    pid_t pid = child_exit(3);
    siginfo_t si;

    for (int i = 0; i < 3; i++) {
        memset(&si, 0, sizeof(si));
        CHECK_OK(waitid(P_PID, (id_t)pid, &si, WEXITED | (i < 2 ? WNOWAIT : 0)));
        CHECK_EQ(si.si_signo, SIGCHLD);
        CHECK_EQ(si.si_code, CLD_EXITED);
        CHECK_EQ(si.si_pid, pid);
        CHECK_EQ(si.si_status, 3);
        CHECK_EQ(si.si_uid, getuid());
    }
    CHECK_ERR(waitid(P_PID, (id_t)pid, &si, WEXITED), ECHILD);
}

TEST(death_by_signal)
{
    pid_t pid = child_sleep();
    siginfo_t si;
    int status;

    CHECK_OK(kill(pid, SIGTERM));
    CHECK_OK(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT));
    CHECK_EQ(si.si_code, CLD_KILLED);
    CHECK_EQ(si.si_status, SIGTERM);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGTERM);
}

TEST(stop_and_continue_are_reported_once)
{
    pid_t pid = child_sleep();
    siginfo_t si;
    int status;

    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
    CHECK_OK(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
    CHECK(WIFCONTINUED(status));
    CHECK_EQ(waitpid(pid, &status, WCONTINUED | WNOHANG), 0);

    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_OK(waitid(P_PID, (id_t)pid, &si, WSTOPPED));
    CHECK_EQ(si.si_code, CLD_STOPPED);
    CHECK_EQ(si.si_status, SIGSTOP);
    CHECK_OK(kill(pid, SIGCONT));
    CHECK_OK(waitid(P_PID, (id_t)pid, &si, WCONTINUED));
    CHECK_EQ(si.si_code, CLD_CONTINUED);
    CHECK_EQ(si.si_status, SIGCONT);
    kill_and_reap(pid);
}

TEST(wait_by_process_group)
{
    pid_t a = child_sleep(), b = child_sleep();
    int status;

    CHECK_OK(setpgid(a, a));
    CHECK_OK(setpgid(b, a));
    kill(b, SIGKILL);
    CHECK_EQ(waitpid(-a, &status, 0), b);
    kill(a, SIGKILL);
    CHECK_EQ(waitpid(-a, &status, 0), a);
    CHECK_ERR(waitpid(-a, &status, 0), ECHILD);
    a = child_exit(0);
    CHECK_EQ(waitpid(0, &status, 0), a);
}

TEST(ignored_sigchld_reaps_by_itself)
{
    struct sigaction sa = {.sa_handler = SIG_IGN}, old;
    pid_t pid;

    sigaction(SIGCHLD, &sa, &old);
    pid = child_exit(0);
    CHECK(pid > 0);
    CHECK_ERR(waitpid(pid, NULL, 0), ECHILD);
    CHECK_ERR(kill(pid, 0), ESRCH);
    sigaction(SIGCHLD, &old, NULL);
}

TEST(sa_nocldwait_reaps_by_itself)
{
    struct sigaction sa = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT}, old;

    sigaction(SIGCHLD, &sa, &old);
    child_exit(0);
    CHECK_ERR(wait(NULL), ECHILD);
    sigaction(SIGCHLD, &old, NULL);
}

static volatile sig_atomic_t got_chld;
static volatile siginfo_t chld_info;

static void on_chld(int sig, siginfo_t *si, void *ctx)
{
    got_chld++;
    memcpy((void *)&chld_info, si, sizeof(chld_info));
}

TEST(sigchld_carries_the_status)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART}, old;
    pid_t pid;
    int status;

    got_chld = 0;
    sigaction(SIGCHLD, &sa, &old);
    pid = child_exit(9);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(got_chld, 1);
    CHECK_EQ(chld_info.si_pid, pid);
    CHECK_EQ(chld_info.si_code, CLD_EXITED);
    CHECK_EQ(chld_info.si_status, 9);
    sigaction(SIGCHLD, &old, NULL);
}

TEST(wait_is_interrupted_without_sa_restart)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO}, old;
    pid_t pid = child_sleep(), killer;

    sigaction(SIGUSR1, &sa, &old);
    killer = fork();
    if (killer == 0) {
        wait_blocked(getppid(), getppid());
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    CHECK_ERR(waitpid(pid, NULL, 0), EINTR);
    CHECK_EQ(waitpid(killer, NULL, 0), killer);
    kill_and_reap(pid);
    sigaction(SIGUSR1, &old, NULL);
}

TEST(wait_rusage_has_times)
{
    struct rusage ru, all;
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct rusage me;
        do {
            for (volatile int i = 0; i < 1000000; i++)
                ;
            getrusage(RUSAGE_SELF, &me);
        } while (me.ru_utime.tv_sec * 1000000 + me.ru_utime.tv_usec < 60000);
        _exit(0);
    }
    CHECK_EQ(wait4(pid, &status, 0, &ru), pid);
    CHECK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec >= 50000);
    CHECK_OK(getrusage(RUSAGE_CHILDREN, &all));
    CHECK(all.ru_utime.tv_sec * 1000000 + all.ru_utime.tv_usec >= 50000);
}

TEST(wait_with_bad_pointers_is_efault)
{
    child_exit(0);
    CHECK_EQ(syscall(SYS_wait4, -1, (void *)8, 0, NULL), -1);
    CHECK_EQ(errno, EFAULT);
}

TEST_MAIN()
