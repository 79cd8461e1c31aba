/* Pseudo-terminals for the tests of terminals. */
#ifndef TESTS_GUEST_PTY_UTIL_H
#define TESTS_GUEST_PTY_UTIL_H

#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

struct pty {
    int master, slave;
    char name[64];
};

static inline struct pty pty_open(void)
{
    struct pty p;
    p.master = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK_OK(p.master);
    CHECK_OK(grantpt(p.master));
    CHECK_OK(unlockpt(p.master));
    CHECK_EQ(ptsname_r(p.master, p.name, sizeof(p.name)), 0);
    p.slave = open(p.name, O_RDWR | O_NOCTTY);
    CHECK_OK(p.slave);
    return p;
}

static inline void pty_close(struct pty *p)
{
    close(p->slave);
    close(p->master);
}

/* Whether `fd` becomes ready for reading within `ms`. */
static inline bool pty_readable(int fd, int ms)
{
    struct pollfd pf = {.fd = fd, .events = POLLIN};
    return poll(&pf, 1, ms) == 1 && (pf.revents & POLLIN);
}

/* Everything that comes within a short while, terminated. */
static inline const char *pty_drain(int fd)
{
    static char buf[1 << 16];
    size_t n = 0;
    while (n < sizeof(buf) - 1 && pty_readable(fd, n ? 100 : 1000)) {
        ssize_t r = read(fd, buf + n, sizeof(buf) - 1 - n);
        if (r <= 0)
            break;
        n += r;
    }
    buf[n] = 0;
    return buf;
}

static inline void pty_send(int fd, const char *text)
{
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
}

/* Reads once; what came, terminated. */
static inline const char *pty_read(int fd)
{
    static char buf[8192];
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    CHECK_OK(n);
    buf[n] = 0;
    return buf;
}

/* Clears and sets local, input and output mode flags. */
static inline void pty_modes(int fd, tcflag_t loff, tcflag_t lon, tcflag_t ioff, tcflag_t ion, tcflag_t ooff, tcflag_t oon)
{
    struct termios t;
    CHECK_OK(tcgetattr(fd, &t));
    t.c_lflag = (t.c_lflag & ~loff) | lon;
    t.c_iflag = (t.c_iflag & ~ioff) | ion;
    t.c_oflag = (t.c_oflag & ~ooff) | oon;
    CHECK_OK(tcsetattr(fd, TCSANOW, &t));
}

#endif
