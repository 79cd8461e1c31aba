/* The line discipline: canonical editing, echo, raw reads with VMIN and VTIME, output processing, flow control. */
#include "pty_util.h"

#include <time.h>

TEST(defaults)
{
    struct pty p = pty_open();
    struct termios t;
    CHECK_OK(tcgetattr(p.slave, &t));
    CHECK_EQ(t.c_iflag, ICRNL | IXON);
    CHECK_EQ(t.c_oflag, OPOST | ONLCR);
    CHECK_EQ(t.c_lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
    CHECK_EQ(t.c_cc[VINTR], 3);
    CHECK_EQ(t.c_cc[VERASE], 127);
    CHECK_EQ(t.c_cc[VEOF], 4);
    CHECK_EQ(t.c_cc[VMIN], 1);
    CHECK_EQ(cfgetospeed(&t), B38400);
    pty_close(&p);
}

TEST(speeds_can_be_set)
{
    struct pty p = pty_open();
    struct termios t;
    CHECK_OK(tcgetattr(p.slave, &t));
    cfsetispeed(&t, B9600);
    cfsetospeed(&t, B9600);
    CHECK_OK(tcsetattr(p.slave, TCSANOW, &t));
    CHECK_OK(tcgetattr(p.slave, &t));
    CHECK_EQ(cfgetospeed(&t), B9600);
    CHECK_EQ(t.c_cflag & CSIZE, CS8);
    pty_close(&p);
}

TEST(lines_come_whole)
{
    struct pty p = pty_open();
    char buf[64];
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    pty_send(p.master, "par");
    CHECK(!pty_readable(p.slave, 50));
    pty_send(p.master, "tial\nsecond\n");
    CHECK_EQ(read(p.slave, buf, sizeof(buf)), 8);
    CHECK_EQ(memcmp(buf, "partial\n", 8), 0);
    CHECK_EQ(read(p.slave, buf, 3), 3);
    CHECK_EQ(read(p.slave, buf, sizeof(buf)), 4);
    CHECK_EQ(memcmp(buf, "ond\n", 4), 0);
    pty_close(&p);
}

TEST(eof_ends_a_line_and_at_its_beginning_the_file)
{
    struct pty p = pty_open();
    char buf[64];
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    pty_send(p.master, "abc\4");
    CHECK_EQ(read(p.slave, buf, sizeof(buf)), 3);
    pty_send(p.master, "\4");
    CHECK_EQ(read(p.slave, buf, sizeof(buf)), 0);
    pty_send(p.master, "abc\4");
    CHECK_EQ(read(p.slave, buf, 3), 3);
    CHECK(!pty_readable(p.slave, 30)); /* the mark went with the bytes */
    pty_close(&p);
}

TEST(editing)
{
    static const struct {
        const char *typed, *line;
    } rows[] = {
        {"abx\177c\n", "abc\n"},
        {"wrong\025right\n", "right\n"},
        {"one two\027three\n", "one three\n"},
        {"a\026\003b\n", "a\003b\n"},
        {"\177\177ok\n", "ok\n"},
        {"foo, bar  \027\027x\n", "x\n"},
        {"cr\r", "cr\n"},
        {"\026\177\n", "\177\n"},
        {"a\tb\177\177\177c\n", "c\n"},
    };
    struct pty p = pty_open();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        pty_send(p.master, rows[i].typed);
        CHECK_STR(pty_read(p.slave), rows[i].line);
    }
    pty_close(&p);
}

TEST(utf8_characters_are_erased_whole)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, 0, 0, IUTF8, 0, 0);
    pty_send(p.master, "a\xc3\xa4\xe2\x82\xac\177\n");
    CHECK_STR(pty_read(p.slave), "a\xc3\xa4\n");
    CHECK_STR(pty_drain(p.master), "a\xc3\xa4\xe2\x82\xac\b \b\r\n");
    pty_close(&p);
}

TEST(echo)
{
    static const struct {
        const char *typed, *shown;
    } rows[] = {
        {"hi\n", "hi\r\n"},
        {"ab\177\n", "ab\b \b\r\n"},
        {"abc\025\n", "abc\b \b\b \b\b \b\r\n"},
        {"\001x\n", "^Ax\r\n"},
        {"\001\177\n", "^A\b \b\b \b\r\n"},
        {"a\tb\n", "a\tb\r\n"},
        {"a\t\177\n", "a\t\b\b\b\b\b\b\b\r\n"},
        {"ab\022\n", "ab^R\r\nab\r\n"},
        {"\026\001\n", "^\b^A\r\n"},
        {"x\004", "x"},
    };
    struct pty p = pty_open();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        pty_send(p.master, rows[i].typed);
        const char *got = pty_drain(p.master);
        if (strcmp(got, rows[i].shown))
            guest_test_fail(__FILE__, __LINE__, "row %zu shows \"%s\"", i, got);
        pty_read(p.slave);
        tcflush(p.slave, TCIOFLUSH);
    }
    pty_close(&p);
}

TEST(echo_flags)
{
    struct pty p = pty_open();
    pty_modes(p.slave, ECHO, ECHONL, 0, 0, 0, 0);
    pty_send(p.master, "silent\n");
    CHECK_STR(pty_drain(p.master), "\r\n");
    pty_modes(p.slave, ECHOCTL, ECHO, 0, 0, 0, 0);
    pty_send(p.master, "\001\n");
    CHECK_STR(pty_drain(p.master), "\001\r\n");
    pty_modes(p.slave, ECHOE, ECHOPRT, 0, 0, 0, 0);
    pty_send(p.master, "abc\177\177d\n");
    CHECK_STR(pty_drain(p.master), "abc\\cb/d\r\n");
    pty_modes(p.slave, ECHOPRT | ECHOE | ECHOKE, 0, 0, 0, 0, 0);
    pty_send(p.master, "abc\177\025z\n");
    CHECK_STR(pty_drain(p.master), "abc\177\025\r\nz\r\n");
    pty_close(&p);
}

TEST(a_line_that_is_too_long_keeps_its_newline)
{
    static char buf[8192];
    struct pty p = pty_open();
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    memset(buf, 'x', 5000);
    CHECK_EQ(write(p.master, buf, 5000), 5000);
    pty_send(p.master, "\n");
    ssize_t n = read(p.slave, buf, sizeof(buf));
    CHECK_EQ(n, 4096);
    CHECK_EQ(buf[4095], '\n');
    pty_close(&p);
}

TEST(input_mappings)
{
    struct pty p = pty_open();
    pty_modes(p.slave, ECHO, 0, ICRNL, INLCR, 0, 0);
    pty_modes(p.slave, ICANON, 0, 0, 0, 0, 0);
    pty_send(p.master, "a\nb\r");
    CHECK(pty_readable(p.slave, 30000));
    CHECK_STR(pty_drain(p.slave), "a\rb\r");
    pty_modes(p.slave, 0, 0, INLCR, IGNCR, 0, 0);
    pty_send(p.master, "a\r\nb");
    CHECK_STR(pty_drain(p.slave), "a\nb");
    pty_modes(p.slave, 0, 0, IGNCR, ISTRIP, 0, 0);
    pty_send(p.master, "\xe1");
    CHECK_STR(pty_drain(p.slave), "a");
    pty_close(&p);
}

TEST(output_processing)
{
    struct pty p = pty_open();
    pty_send(p.slave, "a\nb\n");
    CHECK_STR(pty_drain(p.master), "a\r\nb\r\n");
    pty_modes(p.slave, 0, 0, 0, 0, ONLCR, 0);
    pty_send(p.slave, "a\nb\n");
    CHECK_STR(pty_drain(p.master), "a\nb\n");
    pty_modes(p.slave, 0, 0, 0, 0, 0, XTABS | ONLCR);
    pty_send(p.slave, "\rab\tc\n");
    CHECK_STR(pty_drain(p.master), "\rab      c\r\n");
    pty_modes(p.slave, 0, 0, 0, 0, XTABS | ONLCR, OCRNL);
    pty_send(p.slave, "a\rb");
    CHECK_STR(pty_drain(p.master), "a\nb");
    pty_modes(p.slave, 0, 0, 0, 0, OCRNL, ONOCR | ONLCR);
    pty_send(p.slave, "\r\n\rx\r");
    CHECK_STR(pty_drain(p.master), "\r\r\nx\r");
    pty_modes(p.slave, 0, 0, 0, 0, OPOST, 0);
    pty_send(p.slave, "a\nb\t\n");
    CHECK_STR(pty_drain(p.master), "a\nb\t\n");
    pty_close(&p);
}

static int raw_read(struct pty *p, int min, int time, char *buf, size_t n, int *ms)
{
    struct termios t;
    struct timespec a, b;
    CHECK_OK(tcgetattr(p->slave, &t));
    cfmakeraw(&t);
    t.c_cc[VMIN] = min;
    t.c_cc[VTIME] = time;
    CHECK_OK(tcsetattr(p->slave, TCSANOW, &t));
    clock_gettime(CLOCK_MONOTONIC, &a);
    int r = read(p->slave, buf, n);
    clock_gettime(CLOCK_MONOTONIC, &b);
    *ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
    return r;
}

TEST(raw_reads_by_min_and_time)
{
    struct pty p = pty_open();
    char buf[64];
    int ms;
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    CHECK_EQ(raw_read(&p, 0, 0, buf, sizeof(buf), &ms), 0);
    CHECK(ms < 50);
    CHECK_EQ(raw_read(&p, 0, 2, buf, sizeof(buf), &ms), 0);
    CHECK(ms >= 180 && ms < 1000);
    pty_send(p.master, "ab");
    CHECK_EQ(raw_read(&p, 0, 2, buf, sizeof(buf), &ms), 2);
    CHECK(ms < 150);
    pty_send(p.master, "abc");
    CHECK_EQ(raw_read(&p, 2, 0, buf, sizeof(buf), &ms), 3);
    pty_send(p.master, "a");
    CHECK_EQ(raw_read(&p, 5, 2, buf, sizeof(buf), &ms), 1); /* the time between bytes ran out */
    CHECK(ms >= 180 && ms < 1000);
    pty_send(p.master, "abcd");
    CHECK_EQ(raw_read(&p, 3, 0, buf, 2, &ms), 2); /* never more than asked for */
    CHECK_EQ(raw_read(&p, 1, 0, buf, sizeof(buf), &ms), 2);
    pty_close(&p);
}

TEST(min_counts_for_poll)
{
    struct pty p = pty_open();
    struct termios t;
    CHECK_OK(tcgetattr(p.slave, &t));
    cfmakeraw(&t);
    t.c_cc[VMIN] = 3;
    t.c_cc[VTIME] = 0;
    CHECK_OK(tcsetattr(p.slave, TCSANOW, &t));
    pty_send(p.master, "ab");
    CHECK(!pty_readable(p.slave, 50));
    pty_send(p.master, "c");
    CHECK(pty_readable(p.slave, 30000));
    pty_close(&p);
}

TEST(leaving_canonical_mode_frees_the_partial_line)
{
    struct pty p = pty_open();
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    pty_send(p.master, "partial");
    CHECK(!pty_readable(p.slave, 50));
    pty_modes(p.slave, ICANON, 0, 0, 0, 0, 0);
    CHECK_STR(pty_drain(p.slave), "partial");
    pty_send(p.master, "raw");
    CHECK(pty_readable(p.slave, 30000));
    pty_modes(p.slave, 0, ICANON, 0, 0, 0, 0);
    CHECK_STR(pty_drain(p.slave), "raw");
    pty_close(&p);
}

TEST(flushing)
{
    struct pty p = pty_open();
    int n;
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    pty_send(p.master, "gone\n");
    CHECK(pty_readable(p.slave, 30000));
    CHECK_OK(tcflush(p.slave, TCIFLUSH));
    CHECK_OK(ioctl(p.slave, FIONREAD, &n));
    CHECK_EQ(n, 0);
    pty_send(p.master, "gone too\n");
    CHECK(pty_readable(p.slave, 30000));
    struct termios t;
    CHECK_OK(tcgetattr(p.slave, &t));
    CHECK_OK(tcsetattr(p.slave, TCSAFLUSH, &t));
    CHECK(!pty_readable(p.slave, 30));
    CHECK_ERR(ioctl(p.slave, TCFLSH, 9), EINVAL);
    pty_close(&p);
}

TEST(control_s_stops_output_until_control_q)
{
    struct pty p = pty_open();
    pty_modes(p.slave, ECHO, 0, 0, 0, 0, 0);
    pty_send(p.master, "\023");
    usleep(200000);
    CHECK_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    CHECK_ERR(write(p.slave, "x", 1), EAGAIN);
    CHECK(!pty_readable(p.master, 30));
    pty_send(p.master, "\021");
    struct pollfd pf = {.fd = p.slave, .events = POLLOUT};
    CHECK_EQ(poll(&pf, 1, 30000), 1);
    CHECK_EQ(write(p.slave, "y", 1), 1);
    CHECK_STR(pty_drain(p.master), "y");
    pty_modes(p.slave, 0, 0, 0, IXANY, 0, 0);
    pty_send(p.master, "\023");
    usleep(200000);
    CHECK_ERR(write(p.slave, "x", 1), EAGAIN);
    pty_send(p.master, "a");
    CHECK_EQ(poll(&pf, 1, 30000), 1);
    pty_close(&p);
}

TEST(parmrk_doubles_0xff)
{
    struct pty p = pty_open();
    pty_modes(p.slave, ICANON | ECHO | ISIG, 0, ICRNL | IXON, PARMRK, 0, 0);
    pty_send(p.master, "a\377b");
    CHECK_STR(pty_drain(p.slave), "a\377\377b");
    pty_close(&p);
}

TEST(other_line_ends)
{
    struct pty p = pty_open();
    struct termios t;
    CHECK_OK(tcgetattr(p.slave, &t));
    t.c_cc[VEOL] = ';';
    t.c_cc[VEOL2] = '|';
    t.c_lflag &= ~ECHO;
    CHECK_OK(tcsetattr(p.slave, TCSANOW, &t));
    pty_send(p.master, "a;b|c\n");
    CHECK_STR(pty_read(p.slave), "a;");
    CHECK_STR(pty_read(p.slave), "b|");
    CHECK_STR(pty_read(p.slave), "c\n");
    pty_close(&p);
}

TEST(disabled_characters_are_ordinary)
{
    struct pty p = pty_open();
    struct termios t;
    CHECK_OK(tcgetattr(p.slave, &t));
    t.c_cc[VEOF] = 0;
    t.c_cc[VERASE] = 0;
    t.c_lflag &= ~ECHO;
    CHECK_OK(tcsetattr(p.slave, TCSANOW, &t));
    pty_send(p.master, "a\4b\177\n");
    CHECK_STR(pty_read(p.slave), "a\4b\177\n");
    pty_close(&p);
}

TEST_MAIN()
