/* Pseudo-terminals: names, both ends, hang-up, packet mode, locks and the calls of the master. */
#include "pty_util.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

TEST(slaves_have_names_and_numbers)
{
    struct pty p = pty_open();
    unsigned int nr;
    struct stat st;
    char want[64];
    CHECK_OK(ioctl(p.master, TIOCGPTN, &nr));
    snprintf(want, sizeof(want), "/dev/pts/%u", nr);
    CHECK_STR(p.name, want);
    CHECK_OK(stat(p.name, &st));
    CHECK(S_ISCHR(st.st_mode));
    CHECK_EQ(major(st.st_rdev), 136);
    CHECK_EQ(minor(st.st_rdev), nr);
    CHECK(isatty(p.slave));
    CHECK(isatty(p.master));
    char tty[64];
    CHECK_EQ(ttyname_r(p.slave, tty, sizeof(tty)), 0);
    CHECK_STR(tty, p.name);
    CHECK_ERR(ioctl(p.slave, TIOCGPTN, &nr), ENOTTY);
    pty_close(&p);
    CHECK_ERR(stat(want, &st), ENOENT);
}

TEST(devpts_lists_them)
{
    struct pty p = pty_open();
    struct statfs sf;
    bool found = false, ptmx = false;
    CHECK_OK(statfs("/dev/pts", &sf));
    CHECK_EQ(sf.f_type, 0x1cd1);
    DIR *d = opendir("/dev/pts");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        found |= strcmp(e->d_name, p.name + strlen("/dev/pts/")) == 0;
        ptmx |= strcmp(e->d_name, "ptmx") == 0;
    }
    closedir(d);
    CHECK(found && ptmx);
    pty_close(&p);
}

TEST(owner_and_mode_stay_when_changed)
{
    struct pty p = pty_open();
    struct stat st;
    CHECK_OK(chmod(p.name, 0640));
    CHECK_OK(stat(p.name, &st));
    CHECK_EQ(st.st_mode & 07777, 0640);
    CHECK_EQ(st.st_uid, geteuid());
    pty_close(&p);
}

TEST(a_locked_slave_cannot_be_opened)
{
    int m = open("/dev/ptmx", O_RDWR | O_NOCTTY), v;
    char name[64];
    CHECK_OK(m);
    CHECK_OK(ioctl(m, TIOCGPTLCK, &v));
    CHECK_EQ(v, 1);
    CHECK_EQ(ptsname_r(m, name, sizeof(name)), 0);
    CHECK_ERR(open(name, O_RDWR | O_NOCTTY), EIO);
    v = 0;
    CHECK_OK(ioctl(m, TIOCSPTLCK, &v));
    int s = open(name, O_RDWR | O_NOCTTY);
    CHECK_OK(s);
    close(s);
    close(m);
}

TEST(gptpeer_opens_the_slave)
{
    int m = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK_OK(m);
    CHECK_OK(unlockpt(m));
    int s = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_OK(s);
    CHECK_EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
    pty_send(s, "x");
    CHECK_STR(pty_read(m), "x");
    close(s);
    close(m);
}

TEST(bytes_go_both_ways)
{
    struct pty p = pty_open();
    pty_send(p.master, "line\n");
    CHECK_STR(pty_read(p.slave), "line\n");
    CHECK_STR(pty_drain(p.master), "line\r\n");
    pty_send(p.slave, "out\n");
    CHECK_STR(pty_drain(p.master), "out\r\n");
    pty_close(&p);
}

TEST(a_large_write_blocks_until_read)
{
    struct pty p = pty_open();
    static char big[200000], got[200000];
    pty_modes(p.slave, 0, 0, 0, 0, OPOST, 0);
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = 'a' + i % 26;
    pid_t pid = fork();
    if (pid == 0)
        _exit(write(p.slave, big, sizeof(big)) == sizeof(big) ? 0 : 1);
    size_t n = 0;
    while (n < sizeof(got)) {
        ssize_t r = read(p.master, got + n, sizeof(got) - n);
        CHECK(r > 0);
        n += r;
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(memcmp(big, got, sizeof(big)), 0);
    pty_close(&p);
}

TEST(a_nonblocking_writer_is_stopped_by_eagain)
{
    struct pty p = pty_open();
    char chunk[4096];
    ssize_t r, total = 0;
    memset(chunk, 'x', sizeof(chunk));
    CHECK_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    while ((r = write(p.slave, chunk, sizeof(chunk))) > 0)
        total += r;
    CHECK_EQ(errno, EAGAIN);
    CHECK(total >= 4096 && total < 1 << 20);
    struct pollfd pf = {.fd = p.slave, .events = POLLOUT};
    CHECK_EQ(poll(&pf, 1, 0), 0);
    while (pty_readable(p.master, 50)) {
        r = read(p.master, chunk, sizeof(chunk));
        CHECK(r > 0);
        total -= r;
    }
    CHECK_EQ(total, 0);
    CHECK_EQ(poll(&pf, 1, 1000), 1);
    pty_close(&p);
}

TEST(reading_an_idle_master_nonblocking_is_eagain)
{
    struct pty p = pty_open();
    char c;
    CHECK_OK(fcntl(p.master, F_SETFL, O_NONBLOCK));
    CHECK_ERR(read(p.master, &c, 1), EAGAIN);
    CHECK_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    CHECK_ERR(read(p.slave, &c, 1), EAGAIN);
    pty_close(&p);
}

TEST(closing_the_slave_gives_the_master_eio)
{
    struct pty p = pty_open();
    char buf[16];
    pty_send(p.slave, "bye");
    close(p.slave);
    struct pollfd pf = {.fd = p.master, .events = POLLIN};
    CHECK_EQ(poll(&pf, 1, 1000), 1);
    CHECK(pf.revents & POLLHUP);
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 3);
    CHECK_ERR(read(p.master, buf, sizeof(buf)), EIO);
    p.slave = open(p.name, O_RDWR | O_NOCTTY);
    CHECK_OK(p.slave);
    CHECK_EQ(poll(&pf, 1, 0), 0);
    pty_close(&p);
}

TEST(closing_the_master_hangs_the_slave_up)
{
    struct pty p = pty_open();
    char c;
    struct termios t;
    close(p.master);
    CHECK_EQ(read(p.slave, &c, 1), 0);
    CHECK_ERR(write(p.slave, "x", 1), EIO);
    CHECK_ERR(tcgetattr(p.slave, &t), EIO);
    struct pollfd pf = {.fd = p.slave, .events = POLLIN};
    CHECK_EQ(poll(&pf, 1, 0), 1);
    CHECK((pf.revents & (POLLIN | POLLHUP)) == (POLLIN | POLLHUP));
    CHECK_ERR(open(p.name, O_RDWR | O_NOCTTY), ENOENT);
    close(p.slave);
}

TEST(a_blocked_reader_wakes_when_the_master_closes)
{
    struct pty p = pty_open();
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(p.master);
        errno = 0;
        _exit(read(p.slave, &c, 1) < 0 && errno == EIO ? 0 : 1);
    }
    wait_blocked(pid, pid);
    close(p.master);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(p.slave);
}

TEST(window_size_is_shared)
{
    struct pty p = pty_open();
    struct winsize ws = {.ws_row = 50, .ws_col = 132, .ws_xpixel = 1, .ws_ypixel = 2}, got;
    CHECK_OK(ioctl(p.master, TIOCSWINSZ, &ws));
    memset(&got, 0, sizeof(got));
    CHECK_OK(ioctl(p.slave, TIOCGWINSZ, &got));
    CHECK_EQ(memcmp(&ws, &got, sizeof(ws)), 0);
    pty_close(&p);
}

TEST(modes_are_shared)
{
    struct pty p = pty_open();
    struct termios t;
    CHECK_OK(tcgetattr(p.master, &t));
    CHECK(t.c_lflag & ICANON);
    t.c_lflag &= ~(ICANON | ECHO);
    CHECK_OK(tcsetattr(p.master, TCSANOW, &t));
    CHECK_OK(tcgetattr(p.slave, &t));
    CHECK(!(t.c_lflag & (ICANON | ECHO)));
    pty_close(&p);
}

TEST(packet_mode_marks_data_and_events)
{
    struct pty p = pty_open();
    char buf[64];
    int on = 1;
    CHECK_OK(ioctl(p.master, TIOCPKT, &on));
    pty_send(p.slave, "data");
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 5);
    CHECK_EQ(buf[0], TIOCPKT_DATA);
    CHECK_EQ(memcmp(buf + 1, "data", 4), 0);
    CHECK_OK(tcflush(p.slave, TCIFLUSH));
    struct pollfd pf = {.fd = p.master, .events = POLLIN | POLLPRI};
    CHECK_EQ(poll(&pf, 1, 1000), 1);
    CHECK(pf.revents & POLLPRI);
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 1);
    CHECK_EQ(buf[0], TIOCPKT_FLUSHREAD);
    pty_modes(p.slave, 0, 0, IXON, 0, 0, 0);
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 1);
    CHECK_EQ(buf[0], TIOCPKT_NOSTOP);
    pty_modes(p.slave, 0, 0, 0, IXON, 0, 0);
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 1);
    CHECK_EQ(buf[0], TIOCPKT_DOSTOP);
    CHECK_OK(tcflow(p.slave, TCOOFF));
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 1);
    CHECK_EQ(buf[0], TIOCPKT_STOP);
    CHECK_OK(tcflow(p.slave, TCOON));
    CHECK_EQ(read(p.master, buf, sizeof(buf)), 1);
    CHECK_EQ(buf[0], TIOCPKT_START);
    pty_close(&p);
}

TEST(exclusive_mode)
{
    struct pty p = pty_open();
    int v;
    CHECK_OK(ioctl(p.slave, TIOCEXCL));
    CHECK_OK(ioctl(p.slave, TIOCGEXCL, &v));
    CHECK_EQ(v, 1);
    CHECK_OK(ioctl(p.slave, TIOCNXCL));
    CHECK_OK(ioctl(p.slave, TIOCGEXCL, &v));
    CHECK_EQ(v, 0);
    pty_close(&p);
}

TEST(fionread_counts_whole_lines)
{
    struct pty p = pty_open();
    int n;
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    pty_send(p.master, "abc");
    usleep(100000);
    CHECK_OK(ioctl(p.slave, FIONREAD, &n));
    CHECK_EQ(n, 0);
    pty_send(p.master, "\ndef\n");
    CHECK(pty_readable(p.slave, 30000));
    usleep(100000);
    CHECK_OK(ioctl(p.slave, FIONREAD, &n));
    CHECK_EQ(n, 8);
    pty_send(p.slave, "12345");
    CHECK(pty_readable(p.master, 30000));
    usleep(100000);
    CHECK_OK(ioctl(p.master, FIONREAD, &n));
    CHECK_EQ(n, 5);
    pty_close(&p);
}

TEST(terminals_do_not_seek)
{
    struct pty p = pty_open();
    char c;
    CHECK_ERR(lseek(p.slave, 0, SEEK_SET), ESPIPE);
    CHECK_ERR(pread(p.slave, &c, 1, 0), ESPIPE);
    CHECK_ERR(ioctl(p.slave, 0x1234, 0), ENOTTY);
    pty_close(&p);
}

TEST(many_pairs_at_once)
{
    struct pty p[40];
    for (int i = 0; i < 40; i++)
        p[i] = pty_open();
    for (int i = 0; i < 40; i++)
        for (int j = 0; j < i; j++)
            CHECK(strcmp(p[i].name, p[j].name) != 0);
    for (int i = 0; i < 40; i++)
        pty_close(&p[i]);
}

TEST_MAIN()
