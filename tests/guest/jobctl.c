/* Stopping and continuing, and the terminal's part in it. */
#include "tests/guest/guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

static volatile int chld, conts;
static volatile siginfo_t chld_info;

static void on_chld(int sig, siginfo_t *si, void *ctx)
{
    memcpy((void *)&chld_info, si, sizeof(*si));
    chld++;
}

static void on_cont(int sig)
{
    conts++;
}

static void handle_chld(int flags)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART | flags};

    sigaction(SIGCHLD, &sa, NULL);
    chld = 0;
}

static pid_t spinner(void)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            ;
    return pid;
}

TEST(sigchld_for_stop_and_continue)
{
    int status;
    pid_t pid;

    handle_chld(0);
    pid = spinner();
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK_EQ(chld, 1);
    CHECK_EQ(chld_info.si_code, CLD_STOPPED);
    CHECK_EQ(chld_info.si_status, SIGSTOP);
    kill(pid, SIGCONT);
    CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
    while (chld < 2)
        usleep(1000);
    CHECK_EQ(chld_info.si_code, CLD_CONTINUED);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    signal(SIGCHLD, SIG_DFL);
}

TEST(sa_nocldstop_silences_stops_only)
{
    int status;
    pid_t pid;

    handle_chld(SA_NOCLDSTOP);
    pid = spinner();
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK_EQ(chld, 0);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(chld, 1);
    signal(SIGCHLD, SIG_DFL);
}

TEST(stopped_processes_do_not_run_and_sigkill_still_works)
{
    int fds[2], status;
    char c;
    pid_t pid;

    CHECK_OK(pipe2(fds, O_NONBLOCK));
    pid = fork();
    if (pid == 0)
        for (;;) {
            if (write(fds[1], "x", 1) < 0 && errno != EAGAIN)
                _exit(1);
            usleep(1000);
        }
    usleep(20000);
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    while (read(fds[0], &c, 1) > 0)
        ;
    usleep(20000);
    CHECK_ERR(read(fds[0], &c, 1), EAGAIN);
    kill(pid, SIGTERM); /* stays pending */
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    close(fds[0]);
    close(fds[1]);
}

TEST(pending_signals_are_taken_after_continue)
{
    int status;
    pid_t pid = spinner();

    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    kill(pid, SIGTERM);
    kill(pid, SIGCONT);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WTERMSIG(status), SIGTERM);
}

TEST(sigcont_runs_its_handler)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGCONT, on_cont);
        raise(SIGSTOP);
        _exit(conts == 1 ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    kill(pid, SIGCONT);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(stop_and_cont_cancel_each_other_when_pending)
{
    sigset_t set, pending;

    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTSTP);
    raise(SIGCONT);
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGTSTP) && sigismember(&pending, SIGCONT));
    raise(SIGTSTP);
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGTSTP) && !sigismember(&pending, SIGCONT));
    raise(SIGCONT);
    signal(SIGCONT, SIG_IGN);
    signal(SIGCONT, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static volatile long counters[3];

static void *count(void *arg)
{
    for (;;) {
        counters[(long)arg]++;
        usleep(500);
    }
    return NULL;
}

TEST(all_threads_stop)
{
    int fds[2], status;
    pid_t pid;

    CHECK_OK(pipe(fds));
    pid = fork();
    if (pid == 0) {
        pthread_t th;
        for (long i = 0; i < 3; i++)
            pthread_create(&th, NULL, count, (void *)i);
        for (;;) {
            usleep(2000);
            if (write(fds[1], "x", 1) != 1)
                _exit(1);
        }
    }
    char buf[4096];
    CHECK_EQ(read(fds[0], buf, 1), 1);
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    while (read(fds[0], buf, sizeof(buf)) > 0)
        ;
    usleep(20000);
    CHECK_ERR(read(fds[0], buf, 1), EAGAIN);
    kill(pid, SIGCONT);
    fcntl(fds[0], F_SETFL, 0);
    CHECK(read(fds[0], buf, 1) == 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
}

/* A session on a pseudo-terminal; `fn` runs as its leader with the slave as fd 0. The exit status, and the master in *master.
 */
static pid_t on_pty(int *master, void (*fn)(int slave))
{
    int m = posix_openpt(O_RDWR | O_NOCTTY);
    pid_t pid;

    if (m < 0 || grantpt(m) || unlockpt(m))
        return -1;
    *master = m;
    pid = fork();
    if (pid == 0) {
        char name[64];
        if (setsid() < 0 || ptsname_r(m, name, sizeof(name)))
            _exit(101);
        int s = open(name, O_RDWR);
        if (s < 0)
            _exit(102);
        close(m);
        fn(s);
        _exit(0);
    }
    return pid;
}

static void foreground_and_background(int s)
{
    int status;
    struct sigaction ign = {.sa_handler = SIG_IGN};
    pid_t pid;

    /* Opening it made it our controlling terminal, with us in the foreground. */
    if (tcgetpgrp(s) != getpgrp() || tcgetsid(s) != getsid(0))
        _exit(1);
    /* A background reader is stopped by SIGTTIN. */
    pid = fork();
    if (pid == 0) {
        char c;
        setpgid(0, 0);
        _exit(read(s, &c, 1) == 1 ? 0 : 9);
    }
    setpgid(pid, pid);
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTTIN)
        _exit(2);
    /* One that ignores it gets EIO. */
    pid_t pid2 = fork();
    if (pid2 == 0) {
        char c;
        sigaction(SIGTTIN, &ign, NULL);
        setpgid(0, 0);
        _exit(read(s, &c, 1) == -1 && errno == EIO ? 0 : 9);
    }
    if (waitpid(pid2, &status, 0) != pid2 || status)
        _exit(3);
    /* Background tcsetpgrp stops with SIGTTOU; with it ignored it works. */
    pid2 = fork();
    if (pid2 == 0) {
        setpgid(0, 0);
        _exit(tcsetpgrp(s, getpgrp()) == 0 ? 0 : 9);
    }
    setpgid(pid2, pid2);
    if (waitpid(pid2, &status, WUNTRACED) != pid2 || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTTOU)
        _exit(4);
    kill(pid2, SIGKILL);
    waitpid(pid2, NULL, 0);
    /* The first one becomes the foreground and reads on. */
    if (tcsetpgrp(s, pid))
        _exit(5);
    kill(-pid, SIGCONT);
    if (waitpid(pid, &status, 0) != pid || status)
        _exit(6);
    sigaction(SIGTTOU, &ign, NULL);
    if (tcsetpgrp(s, getpgrp()))
        _exit(7);
    if (tcsetpgrp(s, 0x7fffffe) != -1 || errno != ESRCH)
        _exit(8);
}

TEST(terminal_foreground_and_background)
{
    int master, status;
    pid_t pid = on_pty(&master, foreground_and_background);

    if (pid < 0)
        SKIP("no pseudo-terminals");
    usleep(100000);
    CHECK_EQ(write(master, "line\n", 5), 5);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(master);
}

static void wait_for_int(int s)
{
    signal(SIGINT, SIG_DFL);
    if (write(s, "r", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

TEST(control_c_interrupts_the_foreground)
{
    int master, status;
    char c;
    pid_t pid = on_pty(&master, wait_for_int);

    if (pid < 0)
        SKIP("no pseudo-terminals");
    CHECK_EQ(read(master, &c, 1), 1);
    CHECK_EQ(write(master, "\003", 1), 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGINT);
    close(master);
}

TEST(closing_the_master_hangs_up)
{
    int master, status;
    char c;
    pid_t pid = on_pty(&master, wait_for_int);

    if (pid < 0)
        SKIP("no pseudo-terminals");
    CHECK_EQ(read(master, &c, 1), 1);
    close(master);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WTERMSIG(status), SIGHUP);
}

static void leader_exits(int s)
{
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGHUP, SIG_DFL);
        for (;;)
            pause();
    }
    wait_blocked(pid, pid);
    if (write(s, "r", 1) != 1)
        _exit(1);
}

TEST(leader_exit_hangs_up_the_foreground)
{
    int master, status;
    char buf[16];
    pid_t pid = on_pty(&master, leader_exits);

    if (pid < 0)
        SKIP("no pseudo-terminals");
    CHECK_EQ(read(master, buf, 1), 1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    /* When the last slave is closed by the dying child, the master sees EIO. */
    CHECK_ERR(read(master, buf, 1), EIO);
    close(master);
}

static void no_tty(int s)
{
    int fd;

    if (ioctl(s, TIOCNOTTY) && errno != 0)
        _exit(1);
    fd = open("/dev/tty", O_RDWR);
    if (fd >= 0 || errno != ENXIO)
        _exit(2);
    if (tcgetpgrp(s) != -1 || errno != ENOTTY)
        _exit(3);
    if (ioctl(s, TIOCSCTTY, 0))
        _exit(4);
    fd = open("/dev/tty", O_RDWR);
    if (fd < 0)
        _exit(5);
}

TEST(tiocnotty_and_tiocsctty)
{
    int master, status;
    pid_t pid;

    signal(SIGHUP, SIG_IGN); /* TIOCNOTTY hangs up the foreground, which is the leader itself */
    pid = on_pty(&master, no_tty);
    signal(SIGHUP, SIG_DFL);
    if (pid < 0)
        SKIP("no pseudo-terminals");
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(master);
}

TEST_MAIN()
