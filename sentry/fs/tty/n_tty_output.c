/*
 * The output side of the line discipline: OPOST processing and echo.
 *
 * Everything that leaves goes through put_processed(), which keeps track of the cursor's column: tabs, backspaces and the
 * erasing of tabs need it. Echoes that cannot leave now (output stopped or full) wait, already processed, in tty->echo and go
 * first when output can move again; when that is full too they are lost, as on Linux.
 */
#include "sentry/fs/tty/tty_internal.h"

#include <ctype.h>
#include <poll.h>
#include <string.h>

#define SPACES "        "

bool n_tty_is_continuation(const struct tty *tty, unsigned char c)
{
    return I(tty, IUTF8) && (c & 0xc0) == 0x80;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* Processes one byte into `r`; false, with nothing changed, when there is no room. */
static bool put_processed(struct tty *tty, struct tty_ring *r, unsigned char c) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;
    uint32_t spaces;

    if (r->cap - ring_used(r) < sizeof(SPACES))
        return false;
    if (!O(tty, OPOST)) {
        ring_put(r, &c, 1);
        return true;
    }
    switch (c) {
    case '\n':
        if (O(tty, ONLRET))
            in->column = 0;
        if (O(tty, ONLCR)) {
            in->canon_column = in->column = 0;
            ring_put(r, "\r\n", 2);
            return true;
        }
        in->canon_column = in->column;
        break;
    case '\r':
        if (O(tty, ONOCR) && in->column == 0)
            return true;
        if (O(tty, OCRNL)) {
            c = '\n';
            if (O(tty, ONLRET))
                in->canon_column = in->column = 0;
            break;
        }
        in->canon_column = in->column = 0;
        break;
    case '\t':
        spaces = 8 - (in->column & 7);
        in->column += spaces;
        if (O(tty, TABDLY) == XTABS) {
            ring_put(r, SPACES, spaces);
            return true;
        }
        break;
    case '\b':
        if (in->column > 0)
            in->column--;
        break;
    default:
        if (!is_control(c)) {
            if (O(tty, OLCUC))
                c = toupper(c);
            if (!n_tty_is_continuation(tty, c))
                in->column++;
        }
    }
    ring_put(r, &c, 1);
    return true;
}

static void wake_far_end(struct tty *tty) REQUIRES(tty->lock)
{
    waitq_wake(&tty->master_wq, POLLIN | POLLRDNORM);
}

size_t n_tty_write(struct tty *tty, const unsigned char *buf, size_t n)
{
    size_t done = 0;

    if (tty->stopped)
        return 0;
    n_tty_flush_echoes(tty);
    if (ring_used(&tty->echo))
        return 0;
    if (!O(tty, OPOST))
        done = ring_put(&tty->out, buf, n);
    else
        while (done < n && put_processed(tty, &tty->out, buf[done]))
            done++;
    if (done)
        wake_far_end(tty);
    return done;
}

void n_tty_flush_echoes(struct tty *tty)
{
    unsigned char chunk[256];
    bool moved = false;

    while (!tty->stopped && ring_used(&tty->echo)) {
        size_t n = ring_space(&tty->out);
        if (n == 0)
            break;
        n = ring_get(&tty->echo, chunk, n < sizeof(chunk) ? n : sizeof(chunk));
        ring_put(&tty->out, chunk, n);
        moved = true;
    }
    if (moved)
        wake_far_end(tty);
}

void n_tty_echo_raw(struct tty *tty, unsigned char c)
{
    bool direct = !tty->stopped && ring_used(&tty->echo) == 0;

    if (direct && put_processed(tty, &tty->out, c))
        wake_far_end(tty);
    else
        put_processed(tty, &tty->echo, c);
}

/* An input character as the user is to see it: controls as ^X with ECHOCTL. */
void n_tty_echo(struct tty *tty, unsigned char c)
{
    if (L(tty, ECHOCTL) && is_control(c) && c != '\t') {
        n_tty_echo_raw(tty, '^');
        n_tty_echo_raw(tty, c ^ 0100);
        return;
    }
    n_tty_echo_raw(tty, c);
}

/* Takes a tab off the screen: `columns` were used since the line began, or since the tab before it. */
void n_tty_echo_erase_tab(struct tty *tty, uint32_t columns, bool after_tab)
{
    uint32_t n;

    if (!after_tab)
        columns += tty->in.canon_column;
    for (n = 8 - (columns & 7); n > 0; n--)
        n_tty_echo_raw(tty, '\b');
}

void tty_packet_event(struct tty *tty, uint8_t clear, uint8_t set)
{
    if (!tty->packet)
        return;
    tty->packet_status = (tty->packet_status & ~clear) | set;
    waitq_wake(&tty->master_wq, POLLIN | POLLRDNORM | POLLPRI);
}

void tty_stop(struct tty *tty)
{
    if (tty->stopped)
        return;
    tty->stopped = true;
    tty_packet_event(tty, TIOCPKT_START, TIOCPKT_STOP);
}

void tty_start(struct tty *tty)
{
    if (!tty->stopped || tty->tco_stopped)
        return;
    tty->stopped = false;
    tty_packet_event(tty, TIOCPKT_STOP, TIOCPKT_START);
    n_tty_flush_echoes(tty);
    waitq_wake(&tty->wq, POLLOUT | POLLWRNORM);
}

void tty_flush_output(struct tty *tty)
{
    tty->out.tail = tty->out.head;
    tty->echo.tail = tty->echo.head;
    tty_packet_event(tty, 0, TIOCPKT_FLUSHWRITE);
    waitq_wake(&tty->wq, POLLOUT | POLLWRNORM);
}
