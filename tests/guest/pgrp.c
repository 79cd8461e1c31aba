/* Process groups and sessions. */
#include "tests/guest/guest_test.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int run(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}

static pid_t sleeper(void)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

static void reap(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

TEST(children_inherit_group_and_session)
{
    pid_t pid = sleeper();

    CHECK_EQ(getpgid(pid), getpgrp());
    CHECK_EQ(getsid(pid), getsid(0));
    CHECK_EQ(getpgid(0), getpgrp());
    reap(pid);
}

TEST(setpgid_moves_children)
{
    pid_t a = sleeper(), b = sleeper();

    CHECK_OK(setpgid(a, 0));
    CHECK_EQ(getpgid(a), a);
    CHECK_OK(setpgid(b, a));
    CHECK_EQ(getpgid(b), a);
    CHECK_OK(kill(-a, SIGKILL));
    CHECK_EQ(waitpid(-a, NULL, 0) == a || 1, 1);
    CHECK_OK(waitpid(-a, NULL, 0));
    CHECK_ERR(kill(-a, 0), ESRCH);
}

TEST(setpgid_errors)
{
    pid_t a = sleeper();

    CHECK_ERR(setpgid(0, -1), EINVAL);
    CHECK_ERR(setpgid(0x7ffffff, 0), ESRCH);
    CHECK_ERR(setpgid(a, 0x7fffffe), EPERM);
    if (getppid() > 0) /* else this is pid 1 */
        CHECK_ERR(setpgid(getppid(), 0), ESRCH);
    CHECK_ERR(getpgid(0x7ffffff), ESRCH);
    CHECK_ERR(getsid(0x7ffffff), ESRCH);
    reap(a);
}

static void new_session(void)
{
    pid_t sid = setsid();

    CHECK_EQ(sid, getpid());
    CHECK_EQ(getsid(0), sid);
    CHECK_EQ(getpgrp(), sid);
    CHECK_ERR(setsid(), EPERM);
    CHECK_ERR(setpgid(0, 0), EPERM);
    pid_t child = sleeper();
    CHECK_EQ(getsid(child), sid);
    CHECK_OK(setpgid(child, 0));
    reap(child);
}

TEST(setsid_makes_a_leader)
{
    CHECK_EQ(run(new_session), 0);
}

static void group_leader_cannot(void)
{
    CHECK_OK(setpgid(0, 0));
    CHECK_ERR(setsid(), EPERM);
}

TEST(setsid_fails_for_group_leaders)
{
    CHECK_EQ(run(group_leader_cannot), 0);
}

TEST(setpgid_across_sessions_fails)
{
    int fds[2], to[2];
    char c;

    CHECK_OK(pipe(fds));
    CHECK_OK(pipe(to));
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (write(fds[1], "x", 1) != 1 || read(to[0], &c, 1) != 1)
            _exit(1);
        _exit(0);
    }
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_ERR(setpgid(pid, getpgrp()), EPERM);
    CHECK_EQ(write(to[1], "x", 1), 1);
    CHECK_OK(waitpid(pid, NULL, 0));
    close(fds[0]), close(fds[1]), close(to[0]), close(to[1]);
}

TEST(setpgid_after_exec_fails)
{
    int fds[2];
    char c;

    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execl("/proc/self/exe", "pgrp", "--sleep", NULL);
        _exit(1);
    }
    close(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_ERR(setpgid(pid, pid), EACCES);
    reap(pid);
    close(fds[0]);
}

static volatile int hups, conts;

static void on_hup(int sig)
{
    hups++;
}

static void on_cont(int sig)
{
    conts++;
}

/* A stopped group loses its last parent in the session: SIGHUP, then SIGCONT. */
TEST(orphaned_stopped_group_gets_hangup)
{
    int fds[2];
    char c = 0;

    CHECK_OK(pipe(fds));
    pid_t middle = fork();
    if (middle == 0) {
        setsid();
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGHUP, on_hup);
            signal(SIGCONT, on_cont);
            setpgid(0, 0);
            raise(SIGSTOP);
            while (!hups || !conts)
                usleep(1000);
            _exit(write(fds[1], "k", 1) != 1);
        }
        waitpid(pid, NULL, WUNTRACED);
        _exit(0);
    }
    CHECK_OK(waitpid(middle, NULL, 0));
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(c, 'k');
    close(fds[0]), close(fds[1]);
}

/* Terminal stops are not for orphaned groups; SIGSTOP is. */
TEST(orphaned_groups_do_not_stop_from_the_terminal)
{
    int fds[2];
    char c = 0;

    CHECK_OK(pipe(fds));
    pid_t middle = fork();
    if (middle == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            setsid();
            raise(SIGTSTP);
            _exit(write(fds[1], "k", 1) != 1);
        }
        _exit(0);
    }
    CHECK_OK(waitpid(middle, NULL, 0));
    CHECK_EQ(read(fds[0], &c, 1), 1);
    close(fds[0]), close(fds[1]);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--sleep") == 0) {
        if (write(1, "x", 1) != 1)
            return 1;
        for (;;)
            pause();
    }
    return guest_test_main(argc, argv);
}
