/* Terminals and job control: controlling terminals, foreground groups, signals from the keyboard, background access, hang-up.
 */
#include "pty_util.h"

#include <signal.h>
#include <sys/wait.h>

/* A child that leads a new session whose controlling terminal is the slave; runs `fn` there. Exits with what it returns. */
static pid_t spawn_session(struct pty *p, int (*fn)(struct pty *p))
{
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        alarm(15);
        close(p->master);
        if (setsid() < 0 || ioctl(p->slave, TIOCSCTTY, 0) < 0)
            _exit(100);
        _exit(fn(p));
    }
    return pid;
}

static int exit_of(pid_t pid)
{
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void wait_for_text(int fd, const char *text)
{
    char buf[256];
    size_t n = 0;
    while (n < sizeof(buf) - 1 && pty_readable(fd, 30000)) {
        ssize_t r = read(fd, buf + n, 1);
        CHECK(r == 1);
        n++;
        buf[n] = 0;
        if (strstr(buf, text))
            return;
    }
    guest_test_fail(__FILE__, __LINE__, "\"%s\" did not come", text);
}

static int check_basics(struct pty *p)
{
    pid_t id;
    int tty = open("/dev/tty", O_RDWR);
    if (tty < 0)
        return 1;
    if (tcgetpgrp(tty) != getpgrp() || tcgetsid(tty) != getpid())
        return 2;
    if (ioctl(p->slave, TIOCSCTTY, 0) < 0)
        return 3; /* it is ours already */
    if (tcsetpgrp(tty, 1 << 22) == 0 || (errno != ESRCH && errno != EPERM))
        return 4;
    id = -1;
    errno = 0;
    if (ioctl(tty, TIOCSPGRP, &id) == 0 || errno != EINVAL)
        return 5;
    if (ioctl(tty, TIOCNOTTY) < 0)
        return 6;
    errno = 0;
    if (open("/dev/tty", O_RDWR) >= 0 || errno != ENXIO)
        return 7;
    errno = 0;
    if (tcgetpgrp(p->slave) != -1 || errno != ENOTTY)
        return 8;
    return 0;
}

TEST(controlling_terminal)
{
    struct pty p = pty_open();
    signal(SIGHUP, SIG_IGN); /* inherited: TIOCNOTTY of a leader hangs its group up */
    pid_t pid = spawn_session(&p, check_basics);
    CHECK_EQ(exit_of(pid), 0);
    signal(SIGHUP, SIG_DFL);
    pty_close(&p);
}

TEST(open_makes_it_controlling_unless_noctty)
{
    struct pty p = pty_open();
    pid_t pid = fork();
    if (pid == 0) {
        if (setsid() < 0)
            _exit(1);
        int fd = open(p.name, O_RDWR | O_NOCTTY);
        if (fd < 0 || open("/dev/tty", O_RDWR) >= 0)
            _exit(2);
        fd = open(p.name, O_RDWR);
        if (fd < 0 || open("/dev/tty", O_RDWR) < 0)
            _exit(3);
        _exit(tcgetsid(fd) == getpid() ? 0 : 4);
    }
    CHECK_EQ(exit_of(pid), 0);
    pty_close(&p);
}

TEST(one_terminal_serves_one_session)
{
    struct pty p = pty_open();
    int sync[2];
    char c;
    CHECK_OK(pipe(sync));
    pid_t owner = fork();
    if (owner == 0) {
        setsid();
        ioctl(p.slave, TIOCSCTTY, 0);
        write(sync[1], "x", 1);
        pause();
        _exit(0);
    }
    CHECK_EQ(read(sync[0], &c, 1), 1);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        errno = 0;
        int r = ioctl(p.slave, TIOCSCTTY, 0);
        _exit(r < 0 && errno == EPERM ? 0 : 1);
    }
    CHECK_EQ(exit_of(pid), 0);
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    close(sync[0]);
    close(sync[1]);
    pty_close(&p);
}

static volatile sig_atomic_t got_signal;

static void note(int signo)
{
    got_signal = signo;
}

static int wait_for_signals(struct pty *p)
{
    static const int wanted[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct sigaction sa = {.sa_handler = note};
        sigaction(wanted[i], &sa, NULL);
    }
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        got_signal = 0;
        write(p->slave, "R", 1);
        for (int j = 0; j < 3000 && !got_signal; j++)
            usleep(10000);
        if (got_signal != wanted[i])
            return 10 + i;
        write(p->slave, "G", 1);
    }
    return 0;
}

TEST(the_keyboard_signals_the_foreground_group)
{
    struct pty p = pty_open();
    struct winsize ws = {.ws_row = 10, .ws_col = 20};
    pid_t pid = spawn_session(&p, wait_for_signals);
    wait_for_text(p.master, "R");
    pty_send(p.master, "\003");
    wait_for_text(p.master, "G");
    wait_for_text(p.master, "R");
    pty_send(p.master, "\034");
    wait_for_text(p.master, "G");
    wait_for_text(p.master, "R");
    pty_send(p.master, "\032");
    wait_for_text(p.master, "G");
    wait_for_text(p.master, "R");
    CHECK_OK(ioctl(p.master, TIOCSWINSZ, &ws));
    wait_for_text(p.master, "G");
    CHECK_EQ(exit_of(pid), 0);
    pty_close(&p);
}

static int interrupted_read(struct pty *p)
{
    struct sigaction sa = {.sa_handler = note};
    char buf[64];
    sigaction(SIGINT, &sa, NULL);
    write(p->slave, "R", 1);
    errno = 0;
    if (read(p->slave, buf, sizeof(buf)) != -1 || errno != EINTR)
        return 1;
    write(p->slave, "I", 1);
    ssize_t n = read(p->slave, buf, sizeof(buf)); /* what was typed before the interrupt is gone */
    return n == 3 && memcmp(buf, "ok\n", 3) == 0 ? 0 : 2;
}

TEST(an_interrupt_flushes_what_was_typed)
{
    struct pty p = pty_open();
    pid_t pid = spawn_session(&p, interrupted_read);
    wait_for_text(p.master, "R");
    wait_blocked(pid, pid);
    pty_send(p.master, "lost\003");
    wait_for_text(p.master, "I");
    pty_send(p.master, "ok\n");
    CHECK_EQ(exit_of(pid), 0);
    pty_close(&p);
}

/* A background child of the session's leader that does `what`; how it ends or stops. */
static int background_child(struct pty *p, int (*what)(struct pty *p))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        _exit(what(p));
    }
    setpgid(pid, pid);
    if (waitpid(pid, &status, WUNTRACED) != pid)
        return -1;
    if (WIFSTOPPED(status)) {
        int sig = WSTOPSIG(status);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return 1000 + sig;
    }
    return WEXITSTATUS(status);
}

static int do_read(struct pty *p)
{
    char c;
    errno = 0;
    return read(p->slave, &c, 1) < 0 && errno == EIO ? 7 : 8;
}

static int do_read_ignoring(struct pty *p)
{
    signal(SIGTTIN, SIG_IGN);
    return do_read(p);
}

static int do_write(struct pty *p)
{
    return write(p->slave, "w", 1) == 1 ? 7 : 8;
}

static int do_write_ignoring(struct pty *p)
{
    signal(SIGTTOU, SIG_IGN);
    return do_write(p);
}

static int do_tcsetattr(struct pty *p)
{
    struct termios t;
    tcgetattr(p->slave, &t);
    return tcsetattr(p->slave, TCSANOW, &t) == 0 ? 7 : 8;
}

static int do_tcsetpgrp(struct pty *p)
{
    return tcsetpgrp(p->slave, getpgrp()) == 0 ? 7 : 8;
}

static int do_tcsetpgrp_blocked(struct pty *p)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return do_tcsetpgrp(p);
}

static int check_background(struct pty *p)
{
    struct termios t;
    if (background_child(p, do_read) != 1000 + SIGTTIN)
        return 1;
    if (background_child(p, do_read_ignoring) != 7)
        return 2;
    if (background_child(p, do_write) != 7)
        return 3;
    if (background_child(p, do_tcsetattr) != 1000 + SIGTTOU)
        return 4;
    if (background_child(p, do_tcsetpgrp) != 1000 + SIGTTOU)
        return 5;
    tcgetattr(p->slave, &t);
    t.c_lflag |= TOSTOP;
    tcsetattr(p->slave, TCSANOW, &t);
    if (background_child(p, do_write) != 1000 + SIGTTOU)
        return 6;
    if (background_child(p, do_write_ignoring) != 7)
        return 7;
    if (background_child(p, do_tcsetpgrp_blocked) != 7)
        return 8;
    return 0;
}

TEST(background_groups_are_stopped)
{
    struct pty p = pty_open();
    pid_t pid = spawn_session(&p, check_background);
    CHECK_EQ(exit_of(pid), 0);
    pty_close(&p);
}

static int job_in_foreground(struct pty *p)
{
    int status;
    signal(SIGTTOU, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        signal(SIGTTOU, SIG_DFL);
        setpgid(0, 0);
        while (tcgetpgrp(p->slave) != getpgrp())
            usleep(1000);
        write(p->slave, "J", 1);
        read(p->slave, &c, 1);
        _exit(c == 'k' ? 0 : 1);
    }
    setpgid(pid, pid);
    tcsetpgrp(p->slave, pid);
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTSTP)
        return 1;
    tcsetpgrp(p->slave, getpgrp());
    write(p->slave, "S", 1);
    tcsetpgrp(p->slave, pid);
    kill(-pid, SIGCONT);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
        return 2;
    tcsetpgrp(p->slave, getpgrp());
    return 0;
}

TEST(a_job_is_suspended_and_resumed)
{
    struct pty p = pty_open();
    pid_t pid = spawn_session(&p, job_in_foreground);
    wait_for_text(p.master, "J");
    pty_send(p.master, "\032");
    wait_for_text(p.master, "S");
    pty_send(p.master, "k\n");
    CHECK_EQ(exit_of(pid), 0);
    pty_close(&p);
}

static int wait_for_hangup(struct pty *p)
{
    struct sigaction sa = {.sa_handler = note};
    char c;
    sigaction(SIGHUP, &sa, NULL);
    write(p->slave, "R", 1);
    for (int i = 0; i < 3000 && got_signal != SIGHUP; i++)
        usleep(10000);
    if (got_signal != SIGHUP)
        return 1;
    if (read(p->slave, &c, 1) != 0)
        return 2;
    errno = 0;
    if (write(p->slave, "x", 1) >= 0 || errno != EIO)
        return 3;
    errno = 0;
    return open("/dev/tty", O_RDWR) < 0 && errno == ENXIO ? 0 : 4;
}

TEST(closing_the_master_hangs_the_session_up)
{
    struct pty p = pty_open();
    pid_t pid = spawn_session(&p, wait_for_hangup);
    wait_for_text(p.master, "R");
    close(p.master);
    CHECK_EQ(exit_of(pid), 0);
    close(p.slave);
}

static int leader_with_child(struct pty *p)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction sa = {.sa_handler = note};
        sigaction(SIGHUP, &sa, NULL);
        write(p->slave, "R", 1);
        for (int i = 0; i < 3000 && got_signal != SIGHUP; i++)
            usleep(10000);
        write(p->slave, got_signal == SIGHUP ? "H" : "N", 1);
        _exit(0);
    }
    char c;
    read(p->slave, &c, 1);
    return 0;
}

TEST(the_leaders_exit_hangs_the_foreground_group_up)
{
    struct pty p = pty_open();
    pid_t pid = spawn_session(&p, leader_with_child);
    wait_for_text(p.master, "R");
    pty_send(p.master, "\n");
    CHECK_EQ(exit_of(pid), 0);
    wait_for_text(p.master, "H");
    pty_close(&p);
}

TEST(masters_tell_the_foreground_group)
{
    struct pty p = pty_open();
    pid_t id = 0;
    CHECK_OK(ioctl(p.master, TIOCGPGRP, &id));
    CHECK_EQ(id, 0);
    pid_t pid = spawn_session(&p, wait_for_hangup);
    wait_for_text(p.master, "R");
    CHECK_OK(ioctl(p.master, TIOCGPGRP, &id));
    CHECK_EQ(id, pid);
    CHECK_OK(ioctl(p.master, TIOCGSID, &id));
    CHECK_EQ(id, pid);
    CHECK_ERR(ioctl(p.slave, TIOCGPGRP, &id), ENOTTY); /* not our controlling terminal */
    close(p.master);
    exit_of(pid);
    close(p.slave);
}

TEST_MAIN()
